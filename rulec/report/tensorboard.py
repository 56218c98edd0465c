"""The training curves of a finished run for TensorBoard; a run under way writes its own with `tensorboard=True`."""

from __future__ import annotations

from pathlib import Path

from rulec.meta.history import History
from rulec.meta.tensorboard import event_writer, write_row


def write_events(history: History, folder: str | Path) -> Path:
    """Write every meta-step of a history as events. Raises `RuleError` (`tensorboard-missing`) where TensorBoard is not installed."""
    folder = Path(folder)
    with event_writer(folder) as writer:
        for record in history.records():
            write_row(writer, record)
    return folder
