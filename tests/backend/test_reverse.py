"""One step differentiated by the compiler, against autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rulec.backend.reverse import reversible
from tests.backend.test_planned import draws, program, step


def both_gradients(
    function: Callable[..., Sequence[Tensor]], wrt: Sequence[int]
) -> tuple[list[Tensor], list[Tensor | None], list[Tensor], list[Tensor | None]]:
    """Return results and gradients, by the compiled step and by autograd."""
    arguments = draws(7)
    made = reversible(function, [a.clone() for a in arguments], wrt)
    out = made.forward(*arguments)
    results, residuals = out[: made.results], out[made.results :]
    cotangents = [torch.cos(torch.arange(r.numel(), dtype=r.dtype)).reshape(r.shape) for r in results]
    found = made.backward(*(arguments[k] for k in made.reads), *residuals, *(cotangents[k] for k in made.pulls))
    leaves = [a.clone().requires_grad_(k in wrt) for k, a in enumerate(arguments)]
    expected = list(function(*leaves))
    total = sum((r * c).sum() for r, c in zip(expected, cotangents, strict=True) if r.requires_grad)
    slopes = (
        torch.autograd.grad(total, [leaves[k] for k in wrt], allow_unused=True) if made.pulls else [None] * len(wrt)
    )
    return list(results), list(found), expected, list(slopes)


def assert_close(one: Tensor | None, other: Tensor | None) -> None:
    blank = torch.zeros(())
    torch.testing.assert_close(
        blank.double() if one is None else one, blank.double() if other is None else other, rtol=1e-10, atol=1e-10
    )


@settings(max_examples=60)
@given(
    st.lists(step, min_size=1, max_size=10),
    st.lists(st.integers(0, 12), min_size=1, max_size=3),
    st.sets(st.integers(0, 2), min_size=1),
)
def test_like_autograd(steps: list[tuple[int, int, int]], results: list[int], wrt: set[int]):
    made, found, expected, slopes = both_gradients(program(steps, results), sorted(wrt))
    for one, other in zip(made, expected, strict=True):
        assert_close(one, other)
    for one, other in zip(found, slopes, strict=True):
        if one is None or other is None:
            assert one is None or not one.any()
            assert other is None or not other.any()
        else:
            assert_close(one, other)


def test_arguments_of_one_form_are_told_apart():
    # A tracer that is given one tensor twice takes all reads for reads of the second.
    _, found, _, slopes = both_gradients(lambda a, b, c: [3 * a + b * c], [0, 1, 2])
    for one, other in zip(found, slopes, strict=True):
        assert_close(one, other)


def test_the_same_example_twice_is_refused():
    one = draws(1)[0]
    with pytest.raises(AssertionError):
        reversible(lambda a, b: [a + b], [one, one], [0])


def test_views_are_not_kept():
    made = reversible(lambda a, b, c: [torch.bmm(a.transpose(1, 2), b)], draws(1), [0, 1])
    assert made.residual_bytes == 0 and len(made.forward.graph.find_nodes(op="placeholder")) == 3


def test_without_derivatives_nothing_is_kept():
    made = reversible(lambda a, b, c: [torch.tanh(a) * b], draws(1), [])
    assert made.residual_bytes == 0 and made.pulls == () and made.reads == ()
