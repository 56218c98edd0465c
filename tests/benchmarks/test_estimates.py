"""What is said of hypergradients: of exact ones, of estimates that vary, and of made-up ones."""

import pytest
import torch

from benchmarks.estimates import by_hand, estimator, exact, exact_of_segments
from benchmarks.hypergradients import judged

NET = "64-4-10:tanh"


def test_the_exact_gradient_is_that_of_a_loop_by_hand() -> None:
    torch.testing.assert_close(exact(NET, 4), by_hand(NET, 4), rtol=1e-9, atol=0)


@pytest.mark.parametrize("through", ["unroll with checkpoint", "forward", "truncated(5)"])
def test_exact_ways(through: str) -> None:
    torch.testing.assert_close(estimator(through, NET, 4).estimate(7), exact(NET, 4), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("through", "updates"),
    [("es(sigma = 0.01, pairs = 64)", 4), ("pes(sigma = 0.01, pairs = 64)", 5)],
)
def test_evolution_is_of_the_same_gradient(through: str, updates: int) -> None:
    made = estimator(through, NET, updates)
    found = judged(torch.stack([made.estimate(n) for n in range(40)]), exact_of_segments(NET, updates))
    assert found["bias"] < 4 * found["standard error"] < 0.4
    assert found["variance"] > 0


def test_judged() -> None:
    expected = torch.tensor([3.0, 4.0])
    assert judged(expected[None], expected) == {"bias": 0, "cosine": pytest.approx(1), "variance": 0}
    found = judged(torch.tensor([[3.0, 4.0], [3.0, 6.0]]), expected)
    assert found["bias"] == pytest.approx(1 / 5)
    assert found["variance"] == pytest.approx(2 / 25)
    assert found["standard error"] == pytest.approx(1 / 5)
