"""Training curves as TensorBoard events, where the package is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rulec.meta import messages
from rulec.source import RuleError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def event_writer(folder: Path) -> SummaryWriter:
    """Open an event file in a folder. Raises `RuleError` (`tensorboard-missing`), which says how to install it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RuleError([messages.tensorboard_missing()]) from error
    return SummaryWriter(str(folder))


def write_row(writer: SummaryWriter, record: dict[str, object]) -> None:
    """Write one record of `History.records`: a curve per quantity and member."""
    step = record["step"]
    for name, values in record.items():
        if isinstance(values, list):
            for member, value in enumerate(values):
                writer.add_scalar(f"{name}/member {member}", float(value), step)
