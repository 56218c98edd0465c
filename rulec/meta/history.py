"""What meta-training measured, step by step and member by member."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from rulec.meta.hypergradients.interface import Step

COLUMNS = ("loss", "accuracy", "norm", "bad")


@dataclass
class History:
    """One row per meta-step, in lists that grow; the held-out rows know their step."""

    rows: list[Step] = field(default_factory=list)
    held_out_at: list[int] = field(default_factory=list)  # number of meta-steps done
    held_out_rows: list[Tensor] = field(default_factory=list)  # (2, members): loss, accuracy

    def column(self, name: str) -> Tensor:
        """Return `loss`, `accuracy`, `norm` or `bad` as (steps, members)."""
        rows = [getattr(row, name).cpu() for row in self.rows]
        return torch.stack(rows) if rows else torch.zeros(0, 0)

    @property
    def loss(self) -> Tensor:
        return self.column("loss")

    @property
    def accuracy(self) -> Tensor:
        return self.column("accuracy")

    @property
    def bad_steps(self) -> Tensor:
        """Return how many steps of each member were not finite: (members,)."""
        return self.column("bad").sum(0)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as tensors, to be read back by `history_from`."""
        held_out = torch.stack(self.held_out_rows).cpu() if self.held_out_rows else torch.zeros(0, 2, 0)
        columns = {name: self.column(name) for name in COLUMNS}
        return {**columns, "held_out": held_out, "held_out_at": torch.tensor(self.held_out_at, dtype=torch.int64)}

    def record(self, number: int) -> dict[str, object]:
        """Return meta-step `number`, counted from zero, as a plain record for files: lists with a place per member."""
        row = self.rows[number]
        record: dict[str, object] = {"step": number + 1, **{name: getattr(row, name).tolist() for name in COLUMNS}}
        if number + 1 in self.held_out_at:
            loss, accuracy = self.held_out_rows[self.held_out_at.index(number + 1)].tolist()
            record |= {"held_out_loss": loss, "held_out_accuracy": accuracy}
        return record

    def records(self) -> list[dict[str, object]]:
        return [self.record(number) for number in range(len(self.rows))]


def history_from(tensors: dict[str, Tensor]) -> History:
    rows = [Step(*parts) for parts in zip(*(tensors[name] for name in COLUMNS), strict=True)]
    return History(rows, tensors["held_out_at"].tolist(), list(tensors["held_out"]))
