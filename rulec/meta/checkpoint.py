"""Checkpoints of meta-training: what a run needs to go on as if it had never stopped.

All chance is keyed by the seed and the meta-step, so there are no generators to save.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from rulec.meta import messages
from rulec.meta.history import History, history_from
from rulec.meta.hypergradients.interface import Search
from rulec.runtime.atomic import write_bytes
from rulec.source import RuleError

VERSION = 1
KEPT = 2

_NAME = re.compile(r"checkpoint-(\d{8})\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """The search after `done` meta-steps. `identity` is what makes two runs the same run."""

    done: int
    search: Search
    history: History
    identity: Mapping[str, object]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write atomically and keep the last two. Raises `RuleError` (`cannot-write`)."""
    content = io.BytesIO()
    torch.save(
        {
            "version": VERSION,
            "done": checkpoint.done,
            "free": _plain(checkpoint.search.free),
            "memory": _plain(checkpoint.search.memory),
            "history": checkpoint.history.tensors(),
            "identity": dict(checkpoint.identity),
        },
        content,
    )
    path = folder / f"checkpoint-{checkpoint.done:08d}.pt"
    write_bytes(path, content.getvalue())
    for old in checkpoints_in(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the latest last."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if _NAME.fullmatch(path.name))


def load_checkpoint(folder: Path, identity: Mapping[str, object], device: torch.device) -> Checkpoint:
    """Read the latest checkpoint of a run.

    Raises `RuleError` if there is none, if it cannot be read (`damaged-checkpoint`), or if it belongs to another run (`other-run`),
    naming everything that differs.
    """
    paths = checkpoints_in(folder)
    if not paths:
        raise RuleError([messages.no_checkpoint_found(folder)])
    path = paths[-1]
    content = _read(path)
    then = content["identity"]
    differing = {
        key: (then.get(key), identity.get(key)) for key in {**then, **identity} if then.get(key) != identity.get(key)
    }
    if differing:
        raise RuleError([messages.other_checkpoint(path, differing)])
    search = Search(*({name: value.to(device) for name, value in content[part].items()} for part in ("free", "memory")))
    return Checkpoint(content["done"], search, history_from(content["history"]), then)


def _read(path: Path) -> dict:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its readers do: zip, pickle, end of file
        reason = str(error).strip().splitlines()
        raise RuleError([messages.damaged_checkpoint(path, reason[0] if reason else type(error).__name__)]) from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        version = content.get("version") if isinstance(content, dict) else None
        raise RuleError(
            [messages.damaged_checkpoint(path, f"format {version}, and this program reads format {VERSION}")]
        )
    return content
