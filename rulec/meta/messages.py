"""Every diagnostic about meta-learning: one function per id, all the words in one place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rulec.semantics.typed import Domain
from rulec.source import Diagnostic, Span


def _listing(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _suggest(name: str, candidates: Sequence[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else otherwise


# --- The outer step --------------------------------------------------------------------------


def unknown_outer(name: str, known: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-outer",
        f"there is no outer step `{name}`",
        notes=(f"known: {_listing(known)}",),
        help=_suggest(name, known, "name one of these, or one of a file: `steps.rule:NAME`"),
    )


def other_inner_rule(span: Span, outer: str, inner: str, compiled: str) -> Diagnostic:
    return Diagnostic(
        "other-inner-rule",
        f"outer `{outer}` trains the rule `{inner}`, but `{compiled}` was compiled",
        span,
        f"`{inner}` is named here",
        help=f"compile `{inner}`, or write `inner rule for ...`, which trains any rule",
    )


def wrong_setting(span: Span, name: str, value: object, wanted: str) -> Diagnostic:
    return Diagnostic(
        "wrong-setting",
        f"`{name}` cannot be {value}",
        span,
        f"it must be {wanted}",
        help=f"give {wanted}",
    )


def horizon_differs(span: Span, horizon: int, steps: int) -> Diagnostic:
    return Diagnostic(
        "horizon-differs",
        f"inner loops of {horizon} updates are no whole number of meta-steps of {steps} updates",
        span,
        f"begins anew after {horizon} updates",
        help=f"give `inner_steps` (--inner-steps) that divide {horizon}: {_divisors(horizon)}",
    )


def _divisors(number: int) -> str:
    found = [k for k in range(1, number + 1) if number % k == 0]
    return ", ".join(map(str, found if len(found) < 8 else [*found[:6], "...", number]))


def needs_count(span: Span, method: str) -> Diagnostic:
    return Diagnostic(
        "needs-count",
        f"`through {method}` needs the number of updates to go back through",
        span,
        "one whole number from 1 is expected in parentheses",
        help=f"write `through {method}(3)`",
    )


def unknown_solver(span: Span, name: str, known: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-solver",
        f"there is no solver `{name}`" if name else "`implicit` needs a solver",
        span,
        notes=(f"known: {_listing(known)}",),
        help="write `through implicit(cg, steps = 5)`, or `through implicit(neumann, steps = 5)`",
    )


def start_forgotten(span: Span, method: str) -> Diagnostic:
    return Diagnostic(
        "start-forgotten",
        f"`through {method}` does not look back to where the inner loop begins",
        span,
        "no gradient would reach this initial value",
        notes=("it would, if updates were drawn back there: `inner ... plus 1.0 * norm(w - init(w))^2`",),
        help="learn it `through unroll` or `through first_order`",
    )


def starts_alone(span: Span) -> Diagnostic:
    return Diagnostic(
        "starts-alone",
        "`through reptile` learns initial values alone",
        span,
        "reptile says nothing about this",
        help="write `meta init(w)`, or another hypergradient such as `through first_order`",
    )


def not_symmetric(span: Span | None, rule: str, left: float, right: float) -> Diagnostic:
    return Diagnostic(
        "not-symmetric",
        f"conjugate gradients need a symmetric Jacobian, and that of an update of `{rule}` is not",
        span,
        notes=(f"for random vectors u and v, u.(J - I)v = {left:.4g} and v.(J - I)u = {right:.4g}",),
        help="write `through implicit(neumann, steps = 5)`, which does without",
    )


def option_differs(span: Span, name: str, wanted: object, compiled: object) -> Diagnostic:
    return Diagnostic(
        "option-differs",
        f"the outer step wants `{name} = {wanted}`, but the rule was compiled with `{name} = {compiled}`",
        span,
        "options are fixed when a rule is compiled",
        help=f'compile with `options={{"{name}": {wanted!r}}}`',
    )


def plus_without_gradient(span: Span, outer: str, rule: str) -> Diagnostic:
    return Diagnostic(
        "plus-without-gradient",
        f"outer `{outer}` adds a term to what the inner rule minimises, and `{rule}` has no gradient to add it to",
        span,
        "has a derivative by every parameter, which such a rule does not ask for",
        help="train a rule that updates by `grad(loss, w)`, such as `sgd`",
    )


def nothing_to_learn(span: Span, rule: str) -> Diagnostic:
    return Diagnostic(
        "nothing-to-learn",
        f"rule `{rule}` has no genome, so `meta genome` has nothing to learn",
        span,
        help="give the rule a `genome` section, or write `meta init(w)`",
    )


def unknown_meta_entry(span: Span, name: str, known: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-meta-parameter",
        f"the compiled rule has no genome entry `{name}`",
        span,
        "not an entry",
        notes=(f"its entries are {_listing(known)}",),
        help=_suggest(name, known, "name one of these"),
    )


def unknown_initial(span: Span, name: str, known: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-initial",
        f"the compiled rule has no synapse state `{name}` whose initial value could be learned",
        span,
        "not a synapse state",
        notes=(f"its states are {_listing(known)}",),
        help=_suggest(name, known, "name one of these"),
    )


def error_has_no_gradient(span: Span, method: str) -> Diagnostic:
    return Diagnostic(
        "error-has-no-gradient",
        f"`error` is flat almost everywhere, so `{method}` finds no gradient",
        span,
        "`minimize error` is asked for here",
        help="write `minimize loss on query`, or `through cma` with `by cma(sigma = 0.3)`",
    )


def support_not_judged(span: Span, method: str) -> Diagnostic:
    return Diagnostic(
        "support-not-judged",
        f"`{method}` differentiates what is found on the query alone",
        span,
        "an objective on the support",
        help="write `through unroll`, or leave this objective out",
    )


def goes_on(span: Span, method: str) -> Diagnostic:
    return Diagnostic(
        "inner-loop-goes-on",
        f"`{method}` begins each inner loop anew",
        span,
        "asks for inner loops that are longer than a meta-step",
        help="write `for N steps`, without `of`, or use another hypergradient",
    )


def name_taken(span: Span, name: str, rule: str) -> Diagnostic:
    return Diagnostic(
        "duplicate-name",
        f"`{name}` is a name of rule `{rule}`, too",
        span,
        "declared by the outer step",
        help=f"rename it: `outer_{name}`",
    )


def no_such_layers(span: Span, network: str, count: int) -> Diagnostic:
    return Diagnostic(
        "no-such-layers",
        f"the network `{network}` has no such layers",
        span,
        f"it has {count} connection{'s' if count > 1 else ''} with weights",
        notes=("they are counted from the input, or with a minus from the output",),
        help=f"use numbers from 1 to {count}, or from -1 to -{count}",
    )


def factor_too_long(span: Span) -> Diagnostic:
    return Diagnostic(
        "factor-too-long",
        "`evograd` reads factors that are products and quotients of numbers and entries",
        span,
        "something else",
        help="declare one entry for it in the outer step's genome",
    )


def checkpoint_misplaced(span: Span, method: str) -> Diagnostic:
    return Diagnostic(
        "checkpoint-misplaced",
        f"`{method}` keeps no inner loop in memory, so `with checkpoint` has no meaning",
        span,
        help="remove `with checkpoint`",
    )


def unexpected_argument(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "unexpected-argument",
        f"`{name}` takes no values without a name",
        span,
        "a value without a name",
        help="name it, or remove it",
    )


def unknown_optimizer(span: Span, name: str, known: Sequence[str], method: str) -> Diagnostic:
    return Diagnostic(
        "unknown-optimizer",
        f"`{name}` cannot be the outer optimiser of `through {method}`",
        span,
        "not available here",
        notes=(f"available: {_listing(known)}",),
        help=_suggest(name, known, f"write `by {known[0]}(...)`"),
    )


def not_positive(span: Span | None, name: str, value: object) -> Diagnostic:
    return Diagnostic(
        "not-positive",
        f"`{name}` cannot be {value!r}",
        span,
        "a positive number is needed" if span else "",
        help=f"give `{name}` a positive number",
    )


def not_below_one(span: Span, name: str, value: object) -> Diagnostic:
    return Diagnostic(
        "not-below-one",
        f"`{name}` cannot be {value!r}",
        span,
        "a running mean keeps less than everything",
        help=f"give `{name}` a number below 1",
    )


def population_too_small(span: Span, value: object) -> Diagnostic:
    return Diagnostic(
        "population-too-small",
        f"a generation cannot have {value!r} candidates",
        span,
        "too few to learn from",
        help="give `population` a whole number from 2",
    )


def tasks_differ(span: Span, outer: str, wanted: int, compiled: int) -> Diagnostic:
    return Diagnostic(
        "tasks-differ",
        f"outer `{outer}` asks for {wanted} tasks at once, but the rule was compiled for {compiled}",
        span,
        f"`tasks = {wanted}`",
        help=f"compile with `tasks={wanted}`, or without `tasks`",
    )


# --- Calls -----------------------------------------------------------------------------------


def wrong_number(name: str, value: object, least: int) -> Diagnostic:
    return Diagnostic(
        "wrong-count",
        f"`{name}` cannot be {value!r}",
        notes=(f"it is a whole number from {least}",),
        help=f"give `{name}` a whole number from {least}",
    )


def sizes_differ(network: str, expected: object, task: str, given: object, what: str) -> Diagnostic:
    return Diagnostic(
        "task-does-not-fit",
        f"the network `{network}` has {what} {expected}, but the task `{task}` has {given}",
        help=f"compile for a network whose {what} is {given}",
    )


def wrong_start(name: str, given: Sequence[int], expected: Sequence[int]) -> Diagnostic:
    return Diagnostic(
        "wrong-shape",
        f"`{name}` of the given genome has shape {list(given)}, not {list(expected)}",
        help="give one genome, or one per member: start from `step.init_genome(seed=0)`",
    )


def start_outside(span: Span | None, name: str, value: float, member: int | None, domain: Domain) -> Diagnostic:
    whose = "" if member is None else f" of member {member}"
    low = "0" if domain.low is None else f"{domain.low:g}"
    high = "1" if domain.high is None else f"{domain.high:g}"
    wanted = {"positive": "a number above 0", "real": "a finite number"}.get(
        domain.name, f"a number from {low} to {high}"
    )
    return Diagnostic(
        "outside-domain",
        f"`{name}`{whose} begins at {value:g} in the given genome, which is not in its domain",
        span,
        f"`{name}` is declared here" if span else "",
        notes=(f"its domain is `{domain}`, and meta-learning begins with what a bijection makes of the value",),
        help=f"give `{name}` {wanted}, or declare another domain",
    )


def missing_genome_entry(name: str, given: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "missing-entry",
        f"the genome has no entry `{name}`",
        notes=(f"it has {_listing(given)}",),
        help="start from `step.init_genome(seed=0)`",
    )


def all_retired(steps: Sequence[int], patience: int) -> Diagnostic:
    return Diagnostic(
        "all-members-diverged",
        "no genome is left: the loss or the gradient of every member stopped being finite",
        notes=(f"given up at meta-step {', '.join(map(str, steps))}, each after {patience} such steps in a row",),
        help="lower `lr`, use fewer inner steps, or normalise in the rule",
    )


def no_updates(value: object) -> Diagnostic:
    return Diagnostic(
        "wrong-updates",
        f"`updates` cannot be {value!r}",
        notes=("it lists numbers of weight updates, from 0",),
        help="write `updates=(0, 1, 5, 10)`",
    )


# --- Checkpoints -----------------------------------------------------------------------------


def no_checkpoint_found(folder: Path) -> Diagnostic:
    return Diagnostic(
        "no-checkpoint",
        f"there is no run to resume in {folder}",
        notes=("no file `checkpoint-*.pt` is there",),
        help="start one: leave `resume` out",
    )


def folder_missing(what: str) -> Diagnostic:
    return Diagnostic("no-folder", f"`{what}` needs the folder of the run", help="give `out`, the folder of its files")


def folder_in_use(folder: Path) -> Diagnostic:
    return Diagnostic(
        "folder-in-use",
        f"{folder} holds another run",
        notes=("it has checkpoints, and they would be overwritten",),
        help="continue it with `--resume` (from Python, `resume=True`), or choose another folder",
    )


def damaged_checkpoint(path: Path, reason: str) -> Diagnostic:
    return Diagnostic(
        "damaged-checkpoint",
        f"{path} cannot be read as a checkpoint",
        notes=(reason,),
        help=f"delete {path.name}: the one before it is used then",
    )


def other_checkpoint(path: Path, differences: Mapping[str, tuple[object, object]]) -> Diagnostic:
    notes = tuple(f"{name}: {then} in the checkpoint, {now} now" for name, (then, now) in differences.items())
    return Diagnostic(
        "other-run",
        f"{path} belongs to another run: {_listing(differences)} differ",
        notes=notes,
        help="repeat the call that began it, or choose another folder",
    )


# --- Many processes ---------------------------------------------------------------------------


def too_many_processes(span: Span, processes: int, tasks: int, genomes: int) -> Diagnostic:
    most = max(tasks, genomes)
    return Diagnostic(
        "too-many-processes",
        f"there is no work for {processes} processes",
        span,
        f"this outer step tries {_counted(genomes, 'genome')} at a time, on {_counted(tasks, 'task')} each",
        notes=("processes share the tasks of a meta-step, or else the genomes",),
        help=f"start {most} at most: `--nproc-per-node {most}`" if most > 1 else "give a population: `--population 8`",
    )


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def process_lost(processes: int, reason: str) -> Diagnostic:
    lines = reason.strip().splitlines()
    return Diagnostic(
        "process-lost",
        f"of the {processes} processes of this run one is gone",
        notes=(lines[0][:200],) if lines else (),
        help="let torchrun start them again from the last checkpoint: `--max-restarts 3`",
    )


def processes_differ(processes: int) -> Diagnostic:
    return Diagnostic(
        "processes-differ",
        f"the {processes} processes of this run do not do the same",
        notes=("rule, task, settings, seed, and the checkpoint that is resumed must be the same in all of them",),
        help="start all of them with one command, and let `--out` be on a file system that they share",
    )


def no_gpu_left(place: int, gpus: int) -> Diagnostic:
    return Diagnostic(
        "no-gpu-left",
        f"there is no GPU for process {place} of this machine, counted from zero",
        notes=(f"it has {gpus}, and each process needs one of its own",),
        help=f"start {gpus} at most: `--nproc-per-node {gpus}`",
    )


# --- Genome files ----------------------------------------------------------------------------


def no_genome_file(path: Path) -> Diagnostic:
    return Diagnostic(
        "no-genome-file",
        f"there is no file {path}",
        help="give the path of a `.safetensors` file that meta-training wrote",
    )


def not_a_genome_file(path: Path, reason: str) -> Diagnostic:
    return Diagnostic(
        "not-a-genome-file",
        f"{path} is not a genome file",
        notes=(reason,),
        help="give a `.safetensors` file that `save_genome` wrote",
    )


def unknown_version(path: Path, version: str, known: str) -> Diagnostic:
    return Diagnostic(
        "unknown-genome-version",
        f"{path} has format {version}, and this program reads format {known}",
        help="read it with the release that wrote it",
    )


def missing_from_file(path: Path, names: Sequence[str], rule: str) -> Diagnostic:
    return Diagnostic(
        "missing-genome-entries",
        f"{path} lacks {_listing(names)}",
        notes=(f"rule `{rule}` needs them",),
        help=f"give a genome of `{rule}`",
    )


def extra_in_file(path: Path, names: Sequence[str], rule: str) -> Diagnostic:
    return Diagnostic(
        "extra-genome-entries",
        f"{path} has {_listing(names)}, which rule `{rule}` has not",
        help=f"give a genome of `{rule}`",
    )


def wrong_genome_shape(
    name: str, given: Sequence[int], expected: Sequence[int], causes: tuple[str, ...], help: str
) -> Diagnostic:
    return Diagnostic(
        "wrong-genome-shape",
        f"`{name}` has shape {list(given)} in the file, but the compiled rule needs {list(expected)}",
        notes=causes,
        help=help,
    )


def outside_its_domain(name: str, domain: str) -> Diagnostic:
    return Diagnostic(
        "outside-domain",
        f"`{name}` lies outside its domain in the file",
        notes=(f"it must be {domain}",),
        help="give a genome that was learned in this domain",
    )


def not_finite(name: str) -> Diagnostic:
    return Diagnostic(
        "not-finite", f"`{name}` is not finite in the file", help="give a genome from before the divergence"
    )


def other_rule_hash(path: Path, then: str, now: str, rule: str) -> Diagnostic:
    return Diagnostic(
        "other-rule-text",
        f"{path} was learned with another text of rule `{rule}`",
        notes=(f"hash {then} then, {now} now", "names and shapes agree"),
        help=f"compare with the text beside it: {path.with_suffix('.rule').name}",
        severity="warning",
    )


def tensorboard_missing() -> Diagnostic:
    return Diagnostic("tensorboard-missing", "TensorBoard is not installed", help="pip install 'rulec[tensorboard]'")
