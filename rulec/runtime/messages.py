"""Diagnostics of compiling and calling a rule from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rulec.source import Diagnostic


def unknown_choice(what: str, given: object, known: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-choice",
        f"there is no {what} `{given}`",
        notes=(f"known: {', '.join(known) or 'none'}",),
        help=f"use one of these as {what}" if known else "leave it out",
    )


def no_gpu() -> Diagnostic:
    return Diagnostic(
        "no-gpu", "device `cuda` is not available", notes=("torch sees no GPU",), help='use `device="cpu"`'
    )


def kernel_on_gpu() -> Diagnostic:
    return Diagnostic(
        "kernel-on-gpu",
        "backend `kernel` generates code for the processor, and device is `cuda`",
        help='use `backend="auto"`, or `device="cpu"`',
    )


def triton_on_cpu(variable: str) -> Diagnostic:
    return Diagnostic(
        "triton-on-cpu",
        "backend `triton` generates code for a GPU, and device is `cpu`",
        notes=(f"for tests, {variable}=1 in the environment lets Triton run its kernels in Python",),
        help='use `device="cuda"`, or `backend="auto"`',
    )


def wrong_memory(given: object) -> Diagnostic:
    return Diagnostic(
        "wrong-memory",
        f"`memory` cannot be {given!r}",
        notes=("it bounds what an unroll keeps for its reverse pass",),
        help='give a number of bytes from 1, "least", or None to keep everything',
    )


def kernel_in_full() -> Diagnostic:
    return Diagnostic(
        "kernel-in-full",
        "backend `kernel` multiplies in full precision, and precision is `bf16`",
        help='use `backend="auto"`, or `precision="full"`',
    )


def wrong_count(what: str, given: object) -> Diagnostic:
    return Diagnostic(
        "wrong-count",
        f"`{what}` cannot be {given!r}",
        notes=("it is the length of a leading axis",),
        help=f"give a whole number from 1, or leave `{what}` out",
    )


def missing_entry(kind: str, name: str, known: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "missing-entry",
        f"the {kind} has no entry `{name}`",
        notes=(f"it has {', '.join(known) or 'none'}",),
        help=f"start from `step.init_{kind}(seed=0)`",
    )


def wrong_shape(what: str, given: Sequence[int], expected: Sequence[object]) -> Diagnostic:
    return Diagnostic(
        "wrong-shape",
        f"`{what}` has shape {list(given)}, not {list(expected)}",
        help=f"give `{what}` the shape {list(expected)}",
    )


def needs_batch(names: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "needs-batch",
        "the initial state needs to know the batch size",
        notes=(f"the rule keeps neuron states: {', '.join(names)}",),
        help="call `step.init_state(seed=0, batch=32)`",
    )


def no_rule(name: str, known: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-rule",
        f"there is no rule `{name}`",
        notes=(f"defined: {', '.join(known) or 'none'}",),
        help="name one of these after the file: FILE:NAME",
    )


def not_finite(name: str) -> Diagnostic:
    return Diagnostic("not-finite", f"`{name}` is not finite", help="give a genome from before the divergence")


def cannot_write(path: Path, reason: str) -> Diagnostic:
    return Diagnostic("cannot-write", f"{path} cannot be written", notes=(reason,), help="choose another place")


def pulled_twice() -> Diagnostic:
    return Diagnostic(
        "pulled-twice",
        "the gradient of an unroll was asked for a second time",
        notes=("what it needs is used up by the first time",),
        help="take all gradients in one call of `torch.autograd.grad`, or unroll again",
    )
