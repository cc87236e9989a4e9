"""The timing pass is bounded and warmed up, and every call is compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.suite import timing
from bench.suite.kernels import Traced
from bench.suite.timing import MAX_CALLS, MAX_WARMUPS, MIN_CALLS, Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[float]], None]:
    """Replace the clock, so that calls seem to take the times that a test defines."""

    def take(seconds: Iterator[float]) -> None:
        monkeypatch.setattr(timing, "timed", lambda call: (call(), Clock(next(seconds), 0.0, 0)))

    return take


def test_the_series_is_bounded() -> None:
    assert len(timing.steady(lambda: 1, 0.0, lambda _: True).clocks) == MIN_CALLS
    assert len(timing.steady(lambda: 1, 1e-9, lambda _: True).clocks) == MIN_CALLS
    assert len(timing.steady(lambda: 1, 1e9, lambda _: True).clocks) == MAX_CALLS


def test_the_warm_up_ends_when_two_calls_take_about_the_same_time(pace: Callable[[Iterator[float]], None]) -> None:
    pace(iter([9.0, 5.0, 1.0, 1.05, *[1.0] * MAX_CALLS]))
    found = timing.steady(lambda: 1, 100.0, lambda _: True)
    # at most five warm-ups; the fourth call took about as long as the third
    assert (found.warmups, found.agrees) == (4, True)
    assert {clock.wall for clock in found.clocks} == {1.0}


def test_the_warm_up_is_limited_if_times_never_settle(pace: Callable[[Iterator[float]], None]) -> None:
    pace(iter([2.0**-number for number in range(100)]))
    found = timing.steady(lambda: 1, 1000.0, lambda _: True)
    assert (found.warmups, len(found.clocks)) == (MAX_WARMUPS, MAX_CALLS)


def test_one_long_call_is_enough_warm_up(pace: Callable[[Iterator[float]], None]) -> None:
    pace(iter([30.0] * 100))
    found = timing.steady(lambda: 1, 100.0, lambda _: True)
    assert found.warmups == 1
    assert len(found.clocks) == 4, "until the budget is used up"


def test_calls_stop_when_the_budget_is_used_up(pace: Callable[[Iterator[float]], None]) -> None:
    pace(iter([1.0] * 100))
    assert len(timing.steady(lambda: 1, 8.0, lambda _: True).clocks) == 8
    pace(iter([50.0] * 100))
    assert len(timing.steady(lambda: 1, 8.0, lambda _: True).clocks) == MIN_CALLS


@given(st.integers(0, MAX_CALLS))
def test_a_single_differing_call_is_detected_anywhere(other: int) -> None:
    """Warm-up calls are compared, too."""
    calls = iter(range(1000))
    compared: list[int] = []

    def same(call: int) -> bool:
        compared.append(call)
        return call != other

    found = timing.steady(lambda: next(calls), 1e9, same)
    assert compared == list(range(found.warmups + len(found.clocks)))
    assert len(compared) > other
    assert found.agrees is False


def test_equal_calls_agree() -> None:
    assert timing.steady(lambda: 1, 0.0, lambda _: True).agrees is True


def test_times_are_rounded_to_four_digits() -> None:
    assert timing.walls((Clock(1 / 3, 2 / 3, 1),)) == {"steady_s": [0.3333], "steady_cpu_s": [0.6667]}
    assert timing.seconds(1.23456e-5) == 1.235e-5


class TestFinish:
    """The time covers the work until it is complete on its device."""

    def gpu(self, done: list[str], *, sync: bool = True) -> Any:
        """A fake TensorFlow, with or without the function that waits for all devices (since 2.12)."""
        facts = {"sync_devices": lambda: done.append("sync")} if sync else {}
        return SimpleNamespace(
            test=SimpleNamespace(experimental=SimpleNamespace(**facts)),
            reshape=lambda tensor, shape: tensor.flat(shape),
        )

    def test_lazy_steps_are_computed_while_timed(self) -> None:
        made: list[int] = []

        def steps() -> Iterator[dict[str, int]]:
            for number in range(3):
                made.append(number)
                yield {"loss": number}

        for device in ("cpu", "gpu"):
            made.clear()
            # a custom kernel may return a generator instead of a sequence
            lazy: Any = steps()
            value = timing.finisher(self.gpu([]), device)(Traced({"x": 1}, lazy))
            assert made == [0, 1, 2]
            assert value == Traced({"x": 1}, ({"loss": 0}, {"loss": 1}, {"loss": 2}))

    def test_only_a_gpu_is_synchronised(self) -> None:
        done: list[str] = []
        outputs = {"x": 1}
        assert timing.finisher(self.gpu(done), "cpu")(outputs) is outputs
        assert done == []
        assert timing.finisher(self.gpu(done), "gpu")(outputs) is outputs
        assert done == ["sync"]

    def test_before_2_12_one_element_of_every_tensor_is_copied(self) -> None:
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
        work = finish(lambda: {"x": Tensor("never")})  # building the inputs returns a function, not outputs
        assert callable(work)
        assert copied == ["x", "weight", "loss"]
