"""Which states are kept: every step is gone back over once, within the memory given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rulec.runtime.schedule import Costs, Move, borders, extent, inner_room, least_bytes, stretches, there_and_back


class Simulation:
    """The tape of `rulec.runtime.unroll`, with numbers for tensors."""

    def __init__(self, costs: Costs) -> None:
        self.costs, self.now, self.most, self.forward, self.undone = costs, 0, 0, 0, list[int]()

    def hold(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)

    def run(self, begin: int, end: int, room: int | None) -> None:
        parts = stretches(end - begin, self.costs, room)
        if parts == 1:
            self.hold((end - begin) * self.costs.step)
            self.forward += end - begin
            self.undone += range(end - 1, begin - 1, -1)
            self.now -= (end - begin) * self.costs.step
            return
        cuts, own = [begin + b for b in borders(end - begin, parts)], inner_room(parts, self.costs, room)
        self.hold((parts - 1) * self.costs.state)
        self.forward += cuts[-2] - begin
        for place in range(parts - 1, -1, -1):
            self.run(cuts[place], cuts[place + 1], own)
            if place:
                self.now -= self.costs.state


costs = st.builds(Costs, st.integers(1, 50), st.integers(0, 500))


@given(st.integers(1, 200), costs, st.integers(1, 20000) | st.none())
def test_every_step_is_undone_once_from_last_to_first(steps: int, cost: Costs, room: int | None):
    found = Simulation(cost)
    found.run(0, steps, room)
    assert found.undone == list(range(steps - 1, -1, -1))


@given(st.integers(1, 200), costs, st.floats(1.0, 30.0))
def test_the_memory_given_is_enough_where_one_cut_suffices(steps: int, cost: Costs, factor: float):
    room = int(least_bytes(steps, cost) * factor) + 1
    found = Simulation(cost)
    found.run(0, steps, room)
    assert found.most <= room
    assert found.forward <= 2 * steps


@given(st.integers(1, 300), costs)
def test_with_much_memory_nothing_is_done_twice(steps: int, cost: Costs):
    found = Simulation(cost)
    found.run(0, steps, steps * cost.step)
    assert found.forward == steps


@given(st.integers(1, 400), st.integers(1, 50))
def test_least_memory_grows_with_the_square_root(steps: int, state: int):
    cost = Costs(state, 3 * state)
    assert least_bytes(steps, cost) <= 2 * (steps * state * cost.step) ** 0.5 + cost.step + state


def test_less_memory_means_more_steps():
    cost = Costs(10, 40)
    forward = []
    for room in (10000, 800, 300, 200):
        found = Simulation(cost)
        found.run(0, 100, room)
        assert found.most <= room
        forward.append(found.forward)
    assert forward == sorted(forward) and len(set(forward)) > 2


# --- Moves -----------------------------------------------------------------------------------


def states_of(steps: int, moves: list[Move], cost: Costs) -> list[int]:
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


@given(st.integers(1, 200), costs, st.integers(1, 20000) | st.none())
def test_moves_undo_every_step_once_from_last_to_first(steps: int, cost: Costs, room: int | None):
    moves = there_and_back(steps, cost, room)
    assert states_of(steps, moves, cost) == list(range(steps - 1, -1, -1))


@given(st.integers(1, 200), costs, st.floats(1.0, 30.0))
def test_moves_need_the_memory_given_and_the_last_state(steps: int, cost: Costs, factor: float):
    room = int(least_bytes(steps, cost) * factor) + 1
    assert extent(there_and_back(steps, cost, room), cost) <= room + 2 * cost.state
