"""The timing pass: bounded, warmed up, and every call of it compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.suite import timing
from bench.suite.kernels import Traced
from bench.suite.timing import FEWEST, MOST, MOST_WARMUPS, Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[float]], None]:
    """Calls that take what a test says, and no time."""

    def take(seconds: Iterator[float]) -> None:
        monkeypatch.setattr(timing, "timed", lambda call: (call(), Clock(next(seconds), 0.0, 0)))

    return take


def test_the_series_is_bounded() -> None:
    assert len(timing.steady(lambda: 1, 0.0, lambda _: True).clocks) == FEWEST
    assert len(timing.steady(lambda: 1, 1e-9, lambda _: True).clocks) == FEWEST
    assert len(timing.steady(lambda: 1, 1e9, lambda _: True).clocks) == MOST


def test_it_is_warm_when_two_calls_take_alike(pace: Callable[[Iterator[float]], None]) -> None:
    pace(iter([9.0, 5.0, 1.0, 1.05, *[1.0] * MOST]))
    found = timing.steady(lambda: 1, 100.0, lambda _: True)
    # five warm-ups at most; the fourth call was like the third
    assert (found.warmups, found.agrees) == (4, True)
    assert {clock.wall for clock in found.clocks} == {1.0}


def test_what_never_settles_is_warmed_up_five_times(pace: Callable[[Iterator[float]], None]) -> None:
    pace(iter([2.0**-number for number in range(100)]))
    found = timing.steady(lambda: 1, 1000.0, lambda _: True)
    assert (found.warmups, len(found.clocks)) == (MOST_WARMUPS, MOST)


def test_one_long_call_is_warm_up_enough(pace: Callable[[Iterator[float]], None]) -> None:
    pace(iter([30.0] * 100))
    found = timing.steady(lambda: 1, 100.0, lambda _: True)
    assert found.warmups == 1
    assert len(found.clocks) == 4, "until the budget is spent"


def test_calls_end_where_the_budget_does(pace: Callable[[Iterator[float]], None]) -> None:
    pace(iter([1.0] * 100))
    assert len(timing.steady(lambda: 1, 8.0, lambda _: True).clocks) == 8
    pace(iter([50.0] * 100))
    assert len(timing.steady(lambda: 1, 8.0, lambda _: True).clocks) == FEWEST


@given(st.integers(0, MOST))
def test_a_single_other_call_is_seen_wherever_it_is(other: int) -> None:
    """The first is warm-up: it counts too."""
    calls = iter(range(1000))
    asked: list[int] = []

    def same(call: int) -> bool:
        asked.append(call)
        return call != other

    found = timing.steady(lambda: next(calls), 1e9, same)
    assert asked == list(range(found.warmups + len(found.clocks)))
    assert len(asked) > other
    assert found.agrees is False


def test_calls_that_agree_say_so() -> None:
    assert timing.steady(lambda: 1, 0.0, lambda _: True).agrees is True


def test_the_record_holds_four_digits() -> None:
    assert timing.walls((Clock(1 / 3, 2 / 3, 1),)) == {"steady_s": [0.3333], "steady_cpu_s": [0.6667]}
    assert timing.seconds(1.23456e-5) == 1.235e-5


class TestFinish:
    """What is timed is the work until it is complete, on the device it runs on."""

    def gpu(self, done: list[str], *, sync: bool = True) -> Any:
        """As much of TensorFlow as a finisher asks: with the call that waits for all devices, or of before 2.12."""
        facts = {"sync_devices": lambda: done.append("sync")} if sync else {}
        return SimpleNamespace(
            test=SimpleNamespace(experimental=SimpleNamespace(**facts)),
            reshape=lambda tensor, shape: tensor.flat(shape),
        )

    def test_steps_are_made_inside_the_clock(self) -> None:
        made: list[int] = []

        def steps() -> Iterator[dict[str, int]]:
            for number in range(3):
                made.append(number)
                yield {"loss": number}

        for device in ("cpu", "gpu"):
            made.clear()
            # a generator is no sequence, and a user's kernel may return one all the same
            lazy: Any = steps()
            value = timing.finisher(self.gpu([]), device)(Traced({"x": 1}, lazy))
            assert made == [0, 1, 2]
            assert value == Traced({"x": 1}, ({"loss": 0}, {"loss": 1}, {"loss": 2}))

    def test_a_gpu_is_waited_for_after_each_work_and_a_cpu_never(self) -> None:
        done: list[str] = []
        outputs = {"x": 1}
        assert timing.finisher(self.gpu(done), "cpu")(outputs) is outputs
        assert done == []
        assert timing.finisher(self.gpu(done), "gpu")(outputs) is outputs
        assert done == ["sync"]

    def test_before_2_12_one_number_of_every_tensor_is_copied(self) -> None:
        copied: list[str] = []

        class Tensor:
            def __init__(self, name: str) -> None:
                self.name = name

            def flat(self, shape: list[int]) -> Tensor:
                assert shape == [-1]
                return self

            def __getitem__(self, key: slice) -> Tensor:
                assert key == slice(None, 1)
                return self

            def numpy(self) -> None:
                copied.append(self.name)

        finish = timing.finisher(self.gpu([], sync=False), "gpu")
        finish({"x": Tensor("x"), "host": 3.0})
        finish(Traced({"weight": Tensor("weight")}, [{"loss": Tensor("loss")}]))
        work = finish(lambda: {"x": Tensor("never")})  # what builds the inputs returns a work, no outputs
        assert callable(work)
        assert copied == ["x", "weight", "loss"]
