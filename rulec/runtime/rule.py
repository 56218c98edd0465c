"""Rules from Python: `rulec.load`, `rulec.parse` and `Rule.compile`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rulec.ir.build import build
from rulec.ir.graph import Program
from rulec.runtime import messages
from rulec.semantics import typed as t
from rulec.semantics.check import Library, check_library, check_preset, imported_nets, load_library, shipped_rules
from rulec.semantics.outers import check_outer
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, RuleError, Source
from rulec.syntax import read_source

if TYPE_CHECKING:
    import torch

    from rulec.network.graph import Network
    from rulec.runtime.compiled import CompiledRule


@dataclass(frozen=True)
class Rule:
    """A checked rule of a file, with the other definitions at hand."""

    name: str
    library: Library = field(repr=False)

    @property
    def doc(self) -> str | None:
        return self.library.rules[self.name].doc

    @property
    def text(self) -> str:
        return self.library.source.text

    @property
    def hash(self) -> str:
        """A digest of the rule's meaning: the same for the same rule formatted otherwise."""
        return hashlib.sha256(repr(self.library.rules[self.name]).encode()).hexdigest()[:16]

    def typed(self, options: Mapping[str, t.OptionValue] | None = None, genome: str | None = None) -> t.Rule:
        """Choose the options, and optionally named genome values. Raises `RuleError`."""
        found = Diagnostics()
        if genome is not None:
            preset = self.library.presets.get(genome)
            if preset is None:
                raise RuleError([messages.unknown_choice("genome", genome, list(self.library.presets))])
            rule = check_preset(preset, self.library, found, options)
        else:
            node = self.library.rules[self.name]
            rule = check_rule(node, found, options or {}, self.library.ignored, imported_nets(self.library, node))
        found.raise_errors()
        assert rule is not None
        return rule

    def program(
        self,
        options: Mapping[str, t.OptionValue] | None = None,
        genome: str | Mapping[str, torch.Tensor] | None = None,
        *,
        components: bool = False,
    ) -> Program:
        """Build the rule; numbers of a genome, (without population axis), are folded in: see `compile`.

        With `components`, every index of known extent is written out, so that each formula stands alone.
        """
        if genome is None or isinstance(genome, str):
            program = build(self.typed(options, genome))
            genome = {}
        else:
            program = build(self.typed(options))
        if not genome and not components:
            return program
        from rulec.runtime.specialised import specialised

        return specialised(program, genome, components)

    def outer(self, name: str, options: Mapping[str, t.OptionValue] | None = None) -> t.Outer:
        """Return an outer step of the same file, or a shipped one. Raises `RuleError`."""
        found = Diagnostics()
        library = self.library if name in self.library.outers else shipped_outers()
        if name not in library.outers:
            raise RuleError(
                [messages.unknown_choice("outer step", name, [*self.library.outers, *shipped_outers().outers])]
            )
        outer = check_outer(library.outers[name], {**library.rules, **self.library.rules}, found, options)
        found.raise_errors()
        assert outer is not None
        return outer

    def compile(
        self,
        net: str | Network | torch.nn.Module,
        *,
        population: int | None = None,
        tasks: int | None = None,
        replicas: int | None = None,
        options: Mapping[str, t.OptionValue] | None = None,
        genome: str | Mapping[str, torch.Tensor] | None = None,
        loss: str = "cross_entropy",
        device: str = "cpu",
        dtype: str | torch.dtype = "float32",
        backend: str = "auto",
        precision: str = "full",
        input_shape: tuple[int, ...] | None = None,
        outputs: int | None = None,
    ) -> CompiledRule:
        """Compile the rule for a network: a spec such as `784-128-10`, or a module with its `input_shape`.

        `population`, `tasks` and `replicas` add leading axes. `loss` is cross_entropy or mse. `genome` is the name of
        genome values in the file, which `init_genome` then begins with; or it holds the numbers of a genome, such as
        `load_genome(path).genome`: these are folded into the step, whose `genome_spec` keeps only what cannot be folded
        (nets, entries per layer or along an index of the outputs).

        `precision` is that of matrix products in unrolls; everything else stays in `dtype`. `tf32` rounds their factors to 10 bits
        after the point (on NVIDIA GPUs; elsewhere it is `full`): about 1e-3 of a prediction. `bf16` rounds factors and results to
        7 bits: about 1e-2 of a prediction, up to 1e-1 of a gradient through several updates.
        Raises `RuleError`.
        """
        from rulec.runtime.compile import Settings, compile_program

        settings = Settings(population, tasks, replicas, loss, device, dtype, backend, precision, input_shape, outputs)
        return compile_program(self.program(options, genome), self.hash, self.text, net, settings)


def load(path: str | Path, name: str | None = None) -> Rule:
    """Read and check a `.rule` file (or a shipped rule by name, such as `blur`); `FILE:NAME` or `name` picks a rule.

    Raises `RuleError` with every diagnostic of the file.
    """
    text = str(path)
    if name is None and ":" in Path(text).name:
        text, _, name = text.rpartition(":")
    place = Path(text)
    if not place.exists() and place.suffix == "" and (shipped_rules() / f"{text}.rule").exists():
        place = shipped_rules() / f"{text}.rule"
    source, problems = read_source(place)
    problems.raise_errors()
    return _rule(source, place.parent, name or None, place.stem)


def parse(text: str, name: str | None = None) -> Rule:
    """Check a rule given as text. Raises `RuleError` with every diagnostic."""
    return _rule(Source("<text>", text), None, name, "")


def _rule(source: Source, folder: Path | None, name: str | None, stem: str) -> Rule:
    found = Diagnostics()
    library = load_library(source, found, folder)
    check_library(library, found)
    found.raise_errors()
    own = [n for n in library.own if n in library.rules]
    chosen = name or (stem if stem in own else own[0] if own else "")
    if chosen not in library.rules:
        raise RuleError([messages.no_rule(chosen, own)])
    return Rule(chosen, library)


_SHIPPED: list[Library] = []


def shipped_outers() -> Library:
    if not _SHIPPED:
        source, found = read_source(shipped_rules() / "outers.rule")
        _SHIPPED.append(load_library(source, found, shipped_rules()))
    return _SHIPPED[0]


__all__ = ["Rule", "load", "parse", "shipped_outers"]
