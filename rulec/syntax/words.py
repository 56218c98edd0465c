"""The words that can begin a line, where they can, and what such a line looks like."""

from __future__ import annotations

from rulec.syntax.heads import BLOCK_KINDS

CHOICES = ("if", "elif", "else")
DEFINITIONS = ("from", "rule", "outer", "net")
SECTIONS = ("option", "index", "genome", "neuron", "synapse", "broadcast", "laws", "repeat")
CLAUSES = ("option", "genome", "inner", "meta", "minimize", "maximize", "through", "by", "key", "tasks")
RESERVED = ("if", "elif", "else", "and", "or", "not")

LINE_WORDS: dict[str, tuple[str, ...]] = {
    "top_line": (*DEFINITIONS, *SECTIONS, *BLOCK_KINDS, *CHOICES),
    "section_line": ("from", *SECTIONS, *BLOCK_KINDS, *CHOICES),
    "block_line": (*BLOCK_KINDS, "repeat", *CHOICES),
    "clause_line": CLAUSES,
}

WORD_EXAMPLES = {
    "from": "from nets.rule use f, g",
    "rule": 'rule backprop "gradient descent by the chain rule"',
    "outer": 'outer maml "Finn et al. 2017"',
    "net": "net f : 6 -> 32 -> 1 (relu)",
    "option": "option states = 2",
    "index": "index k, l : states",
    "genome": "genome per layer",
    "neuron": "neuron",
    "synapse": "synapse",
    "broadcast": "broadcast",
    "laws": "laws",
    "input": "input i",
    "forward": "forward i -> j",
    "output": "output j",
    "backward": "backward i <- j",
    "update": "update i -> j",
    "generate": "generate i -> j",
    "repeat": "repeat 20:",
    "if": "if states == 2",
    "elif": "elif states == 3",
    "else": "else",
    "inner": "inner sgd(lr = 0.4) for 5 steps on support",
    "meta": "meta init(w), sgd.lr",
    "minimize": "minimize loss on query",
    "maximize": "maximize accuracy on query",
    "through": "through implicit(cg, steps = 5)",
    "by": "by adam(lr = 0.001), tasks = 32",
    "key": "key e = permutation",
    "tasks": "tasks y = permute(y, e)",
}

LINE_EXAMPLES = {
    "genome_line": "lr : positive = 0.1",
    "preset_line": "lr = 0.1",
    "state_line": "w[i,j] = normal(0, 1)",
    "statement_line": "z[j] = sum[i](w[i,j] * x[i]) + b[j]",
    "law_line": "gradient : update(w) == -lr * grad(mean[n](loss), w)",
}

LINE_NOUNS = {
    "genome_line": "an entry of the genome",
    "preset_line": "an entry of the genome",
    "state_line": "the name of a state",
    "statement_line": "a statement",
    "law_line": "the name of a law",
}

BODY_EXAMPLES = {
    "genome_line": LINE_EXAMPLES["genome_line"],
    "preset_line": LINE_EXAMPLES["preset_line"],
    "state_line": LINE_EXAMPLES["state_line"],
    "statement_line": LINE_EXAMPLES["statement_line"],
    "law_line": LINE_EXAMPLES["law_line"],
    "block_line": WORD_EXAMPLES["forward"],
    "section_line": WORD_EXAMPLES["forward"],
    "clause_line": WORD_EXAMPLES["minimize"],
}
