"""Which states are kept: every step is gone back over once, within the memory given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rulec.runtime.unrolls.schedule import Costs, Move, least_bytes, there_and_back

costs = st.builds(Costs, st.integers(1, 50), st.integers(0, 500))


def undone_by(steps: int, moves: list[Move], cost: Costs) -> list[int]:
    """Carry out moves on a stack that holds step numbers; return the steps in the order in which they are undone."""
    memory, undone, turned = {0: 0}, list[int](), 0
    for move in moves:
        length = move.end - move.begin
        if move.kind == "turn":
            assert memory[move.place] == steps == move.begin
            turned += 1
        elif move.kind == "advance":
            assert memory[move.place] == move.begin
            memory[move.place + cost.state] = move.end
        elif move.kind == "record":
            assert memory[move.place] == move.begin
            memory |= {move.place + k * cost.step: move.begin + k for k in range(length + 1)}
        else:
            for k in reversed(range(length)):
                assert memory[move.place + k * cost.step] == move.begin + k
                undone.append(move.begin + k)
    assert turned == 1
    return undone


def extent(moves: list[Move], costs: Costs) -> int:
    """Return how much memory some moves need, without what the turn keeps."""
    kept = {"advance": costs.state, "record": costs.step, "turn": 0, "pull": costs.step}
    return max(m.place + kept[m.kind] * (1 if m.kind == "advance" else m.end - m.begin) for m in moves) + costs.state


def made_by(moves: list[Move]) -> int:
    """Return how many steps are made, those that are made again included."""
    return sum(m.end - m.begin for m in moves if m.kind in ("advance", "record"))


@given(st.integers(1, 200), costs, st.integers(1, 20000) | st.none())
def test_every_step_is_undone_once_from_last_to_first(steps: int, cost: Costs, room: int | None):
    moves = there_and_back(steps, cost, room)
    assert undone_by(steps, moves, cost) == list(range(steps - 1, -1, -1))


@given(st.integers(1, 200), costs, st.floats(1.0, 30.0))
def test_the_memory_given_is_enough_where_one_cut_suffices(steps: int, cost: Costs, factor: float):
    room = int(least_bytes(steps, cost) * factor) + 1
    moves = there_and_back(steps, cost, room)
    assert extent(moves, cost) <= room + 2 * cost.state  # and the states at both ends
    assert made_by(moves) <= 2 * steps


@given(st.integers(1, 300), costs)
def test_with_much_memory_nothing_is_done_twice(steps: int, cost: Costs):
    assert made_by(there_and_back(steps, cost, steps * cost.step)) == steps


@given(st.integers(1, 400), st.integers(1, 50))
def test_least_memory_grows_with_the_square_root(steps: int, state: int):
    cost = Costs(state, 3 * state)
    assert least_bytes(steps, cost) <= 2 * (steps * state * cost.step) ** 0.5 + cost.step + state


def test_less_memory_means_more_steps():
    cost = Costs(10, 40)
    forward = []
    for room in (10000, 800, 300, 200):
        moves = there_and_back(100, cost, room)
        assert extent(moves, cost) <= room + 2 * cost.state
        forward.append(made_by(moves))
    assert forward == sorted(forward) and len(set(forward)) > 2
