"""What meta-training returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rulec.meta.evaluate import Curve
from rulec.meta.history import History
from rulec.runtime.compiled import Genome, State


@dataclass(frozen=True)
class MetaResult:
    """The learned genomes. `best` is chosen by the meta-training scores alone; the held-out curves only report.

    `genome` is that of the best member, without population axis; `genomes` has all of them, (members, ...). `initial` holds
    learned initial states of the best member. `scores` are objectives on fresh meta-training episodes, lower is better.
    Inner loops make `inner_steps` weight updates before they are judged: "@t" means after t updates.
    """

    genome: Genome
    genomes: Genome
    initial: State
    best: int
    scores: tuple[float, ...]
    held_out: tuple[Curve, ...]  # per member
    history: History
    retired: tuple[int | None, ...]  # the meta-step at which a member was given up
    bad_steps: tuple[int, ...]
    steps: int
    inner_steps: int
    seed: int
    outer: str
    interrupted: bool
    paths: dict[str, Path]
    through: str = ""  # the hypergradient and why, where the outer step names none

    def rows(self) -> list[dict[str, object]]:
        """Return one record per member, for a table."""
        return [
            {
                "member": k,
                "best": k == self.best,
                "meta-train score": score,
                f"held-out accuracy @{self.inner_steps}": curve.at(self.inner_steps),
                "sd": curve.accuracy_sd[curve.updates.index(self.inner_steps)],
                "bad steps": self.bad_steps[k],
                "retired at": self.retired[k],
            }
            for k, (score, curve) in enumerate(zip(self.scores, self.held_out, strict=True))
        ]
