"""Yes-or-no questions about points of the square [-1, 1]^2.

A function is drawn in two stages: once per task it fixes what is left to chance (an angle, a centre), and the
sampler that comes out then gives as many points and answers as are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

Sampler = Callable[[int, Generator], tuple[Tensor, Tensor]]  # count to points (count, 2) and answers (count,), bool
Function = Callable[[Generator], Sampler]
Question = Callable[[Tensor, Tensor], Tensor]  # x (count,), y (count,) to answers (count,)

_NOISE = 0.05  # standard deviation of the points around a curve


def over_square(question: Question) -> Sampler:
    """Ask `question` about points that are uniform on the square."""

    def sample(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        points = 2 * torch.rand(count, 2, generator=generator) - 1
        return points, question(points[:, 0], points[:, 1])

    return sample


def fixed(question: Question) -> Function:
    return lambda generator: over_square(question)


def _between(low: float, high: float, generator: Generator, *size: int) -> Tensor:
    return low + (high - low) * torch.rand(size, generator=generator)


# --- Questions about uniform points ----------------------------------------------------------


def disc(radius: float) -> Question:
    return lambda x, y: x**2 + y**2 < radius**2


def random_circle(generator: Generator) -> Sampler:
    """Ask whether a point lies in a disc: centre in [-0.5, 0.5]^2, radius from 0.4 to 0.8."""
    centre = _between(-0.5, 0.5, generator, 2)
    radius = _between(0.4, 0.8, generator)
    return over_square(lambda x, y: (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)


def random_xor(generator: Generator) -> Sampler:
    """Ask whether the projections on two directions, 45 to 135 degrees apart, differ in sign."""
    first = _between(0, 2 * math.pi, generator)
    second = first + _between(math.pi / 4, 3 * math.pi / 4, generator)
    return over_square(lambda x, y: (x * first.cos() + y * first.sin()) * (x * second.cos() + y * second.sin()) < 0)


# --- Clouds of points; half of them are a yes ------------------------------------------------


def _coin(count: int, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) < 0.5


def _blurred(x: Tensor, y: Tensor, generator: Generator, spread: float = _NOISE) -> Tensor:
    points = torch.stack((x, y), dim=-1)
    return (points + spread * torch.randn(points.shape, generator=generator)).clamp(-1, 1)


def _moons(angle: Tensor) -> Sampler:
    """Two half circles that reach into each other, as a whole turned by `angle`."""

    def sample(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        yes = _coin(count, generator)
        turn = _between(0, math.pi, generator, count)
        x = (torch.where(yes, turn.cos(), 1 - turn.cos()) - 0.5) / 1.75
        y = (torch.where(yes, turn.sin(), 0.5 - turn.sin()) - 0.25) / 1.75
        return _blurred(x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos(), generator), yes

    return sample


def two_moons(generator: Generator) -> Sampler:
    return _moons(torch.zeros(()))


def rotated_moons(generator: Generator) -> Sampler:
    return _moons(_between(0, 2 * math.pi, generator))


def concentric_circles(generator: Generator) -> Sampler:
    """Yes on a circle of radius 0.4, no on one of radius 0.8."""

    def sample(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        yes = _coin(count, generator)
        turn = _between(0, 2 * math.pi, generator, count)
        radius = torch.where(yes, 0.4, 0.8)
        return _blurred(radius * turn.cos(), radius * turn.sin(), generator), yes

    return sample


def blobs(generator: Generator) -> Sampler:
    """One of five blobs against the other four; they stand on a circle that is turned by chance."""
    offset = _between(0, 2 * math.pi, generator)

    def sample(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        yes = _coin(count, generator)
        blob = torch.where(yes, 0, torch.randint(1, 5, (count,), generator=generator))
        angle = offset + blob * (2 * math.pi / 5)
        return _blurred(0.65 * angle.cos(), 0.65 * angle.sin(), generator, spread=0.12), yes

    return sample


HALF = math.sqrt(2 / math.pi)  # the disc of this radius covers half of the square

FUNCTIONS: dict[str, Function] = {
    "xor": fixed(lambda x, y: x * y < 0),
    "nxor": fixed(lambda x, y: x * y >= 0),
    "or": fixed(lambda x, y: (x > 0) | (y > 0)),
    "and": fixed(lambda x, y: (x > 0) & (y > 0)),
    "quadrant_and": fixed(lambda x, y: (x < 0) & (y > 0)),
    "circle": fixed(disc(HALF)),
    "small_circle": fixed(disc(0.5)),
    "square": fixed(lambda x, y: (x.abs() < math.sqrt(0.5)) & (y.abs() < math.sqrt(0.5))),
    "cross": fixed(lambda x, y: (x.abs() < 0.3) | (y.abs() < 0.3)),
    "triangle": fixed(lambda x, y: 2 * x.abs() + y < 1),
    "slice": fixed(lambda x, y: torch.atan2(y, x).abs() < math.pi / 3),
    "random_circle": random_circle,
    "random_xor": random_xor,
    "two_moons": two_moons,
    "rotated_moons": rotated_moons,
    "concentric_circles": concentric_circles,
    "blobs": blobs,
}
