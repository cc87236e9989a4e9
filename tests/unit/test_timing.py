"""When a kernel counts as warmed up, how times are rounded, and what a timed call covers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.suite import timing
from bench.suite.kernels import Traced
from bench.suite.timing import MAX_WARMUPS, Clock, is_warm
from bench.verdict.timing import median

if TYPE_CHECKING:
    from collections.abc import Iterator


def warm_up(seconds: Iterator[float], budget_s: float) -> list[float]:
    """Return the calls, by their wall time, that a warm-up makes."""
    calls: list[Clock] = []
    while not is_warm(calls, budget_s):
        calls.append(Clock(next(seconds), 0.0, 0))
    return [clock.wall for clock in calls]


@pytest.mark.parametrize(
    ("seconds", "budget_s", "calls"),
    [
        ([9.0, 5.0, 1.0, 1.05], 100.0, 4),
        ([9.0, 1.05, 1.0], 100.0, 3),
        ([1.0, 1.1], 100.0, 2),
        ([2.0**-number for number in range(9)], 100.0, MAX_WARMUPS),
        ([30.0], 100.0, 1),
        ([1.0], 0.0, 1),
        ([8.0, 4.0, 13.0], 100.0, 3),
    ],
    ids=["settled", "settled downwards", "settled at the limit", "never settled", "long", "no budget", "budget used"],
)
def test_the_warm_up_ends(seconds: list[float], budget_s: float, calls: int) -> None:
    """Two calls of about the same time end it, and so do too many of them or a quarter of the budget."""
    assert warm_up(iter([*seconds, *[1e-9, 1.0] * 9]), budget_s) == seconds[:calls]


def test_times_are_rounded_to_four_digits() -> None:
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


def test_times_that_no_clock_shows_do_not_count() -> None:
    assert median([8.9e307, 8.9e307, 2.0]) == 2.0
    assert median([float("inf"), float("nan"), 0.0, -1.0]) is None


def test_each_step_of_a_generator_keeps_its_own_values() -> None:
    def steps() -> Iterator[dict[str, Any]]:
        array = np.zeros(2)
        for number in range(3):
            array += number
            yield {"array": array, "list": [array], "tuple": (array,)}

    made = timing.materialise(Traced({}, steps()))  # type: ignore[arg-type] # a worker accepts a generator
    assert [step["array"].tolist() for step in made.steps] == [[0, 0], [1, 1], [3, 3]]
    assert [step["list"][0].tolist() for step in made.steps] == [[0, 0], [1, 1], [3, 3]]
    assert [step["tuple"][0].tolist() for step in made.steps] == [[0, 0], [1, 1], [3, 3]]
