"""Monitoring of a GPU while times are measured, with a simulated GPU."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import pynvml  # type: ignore[import-untyped]
import pytest

from bench.gpu import guard as guard_module
from bench.gpu.guard import MAX_GAP_S, GpuSample, Guard, UnavailableGpu, process_owner, watching
from tests.unit.test_gpu_facts import H100, Library, Refusal, hopper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.gpu.guard import Owner

GIB = 1024**3
CALM = GpuSample(
    at=0.0, sm_mhz=1980, memory_mhz=2619, temperature_c=40, power_w=300.0, memory_mb=1000, reasons=0, processes={}
)
POWER_CAP, SLOWDOWN, SOFT_HEAT, SYNC, HARD_HEAT, BRAKE = 0x4, 0x8, 0x20, 0x10, 0x40, 0x80


@dataclass
class SimulatedGpu:
    """A GPU whose sample is ``now``, at the time ``clock`` or at the real time."""

    now: GpuSample = CALM
    clock: float | None = None
    count: int = field(default=0)

    def sample(self) -> GpuSample:
        self.count += 1
        return dataclasses.replace(self.now, at=time.monotonic() if self.clock is None else self.clock)


def watched(
    gpu: SimulatedGpu,
    *samples: tuple[float, Mapping[str, Any]],
    owners: Mapping[int, Owner] | None = None,
    workers: int = 1,
) -> Guard:
    """Return a guard with samples at these moments, after a first one at 0, before anything runs."""
    known = owners or {}
    guard = Guard(gpu, owner=lambda pid: known.get(pid, "unknown"))
    guard.workers = workers
    gpu.clock = 0.0
    guard.sample()
    for moment, changes in samples:
        gpu.clock, gpu.now = moment, dataclasses.replace(CALM, **changes)
        guard.sample()
    return guard


def test_a_summary_has_the_ranges_of_its_samples() -> None:
    guard = watched(
        SimulatedGpu(),
        (0.2, {"sm_mhz": 1500, "power_w": 500.0}),
        (0.4, {"temperature_c": 60, "memory_mhz": 2000, "memory_mb": 5000}),
        (0.6, {"sm_mhz": 300}),
    )
    assert guard.summary(0.1, 0.5) == {
        "samples": 3,
        "sm_mhz": [1500, 1980],
        "memory_mhz": [2000, 2619],
        "temperature_c": 60,
        "power_w": 500.0,
        "memory_mb": 5000,
        "reasons": [],
        "foreign": [],
        "discarded": "",
    }


def test_a_short_interval_includes_the_last_sample_before_it() -> None:
    guard = watched(SimulatedGpu(), (0.2, {"reasons": HARD_HEAT}), (0.4, {}))
    summary = guard.summary(0.25, 0.3)
    assert (summary["samples"], summary["discarded"]) == (1, "throttled: hardware thermal slowdown")
    assert guard.summary(0.45, 0.5)["discarded"] == ""


@pytest.mark.parametrize(
    ("bits", "reasons", "discarded"),
    [
        (0x1, ["idle"], ""),
        (0x2, ["application clocks"], ""),
        (POWER_CAP, ["power cap"], ""),
        (SYNC, ["sync boost"], ""),
        (0x100, ["display clocks"], ""),
        (SLOWDOWN, ["hardware slowdown"], "throttled: hardware slowdown"),
        (SOFT_HEAT, ["software thermal slowdown"], "throttled: software thermal slowdown"),
        (HARD_HEAT, ["hardware thermal slowdown"], "throttled: hardware thermal slowdown"),
        (BRAKE, ["power brake"], "throttled: power brake"),
        (POWER_CAP | SLOWDOWN | BRAKE, ["power cap", "hardware slowdown", "power brake"],
         "throttled: hardware slowdown, power brake"),
        (1 << 40, ["bit 40"], ""),
    ],
)  # fmt: skip
def test_throttling_discards_a_time_and_settings_do_not(bits: int, reasons: list[str], discarded: str) -> None:
    summary = watched(SimulatedGpu(), (0.2, {"reasons": bits})).summary(0.1, 0.3)
    assert (summary["reasons"], summary["discarded"]) == (reasons, discarded)
    assert "unwatched" not in summary


class TestSharing:
    """Which processes on the GPU are not ours."""

    def foreign(
        self, *samples: Mapping[int, int], owners: Mapping[int, Owner] | None = None, workers: int = 1
    ) -> list[str]:
        gpu = SimulatedGpu(now=dataclasses.replace(CALM, processes=samples[0]))
        timed = [(0.2 * number, {"processes": held}) for number, held in enumerate(samples[1:], 1)]
        summary = watched(gpu, *timed, owners=owners, workers=workers).summary(0.1, 9.0)
        assert bool(summary["foreign"]) == summary["discarded"].startswith("shared: ")
        return list(summary["foreign"])

    def test_a_worker_is_ours(self) -> None:
        assert self.foreign({}, {7: 900}, owners={7: "ours"}) == []

    def test_other_processes_are_foreign(self) -> None:
        foreign = self.foreign({}, {7: 900, 8: 512}, {7: 900, 8: 700}, owners={7: "ours", 8: "other"})
        assert foreign == ["process 8 holds 700 MiB"]

    def test_a_second_worker_belongs_to_another_run(self) -> None:
        foreign = self.foreign({}, {7: 900}, {9: 800, 7: 900}, owners={7: "ours", 9: "ours"})
        assert foreign == ["process 9 holds 800 MiB"]

    @pytest.mark.parametrize("owner", ["ours", "unknown"])
    def test_both_sides_of_a_pair_are_ours_and_a_third_process_is_not(self, owner: Owner) -> None:
        owners: dict[int, Owner] = dict.fromkeys((7, 8, 9, 10), owner)
        assert self.foreign({}, {7: 900}, {8: 900, 7: 900}, owners=owners, workers=2) == []
        assert self.foreign({}, {7: 900, 8: 900}, {8: 900}, {9: 900, 8: 900}, owners=owners, workers=2) == []
        foreign = self.foreign({}, {7: 900, 8: 900}, {9: 5, 8: 900, 7: 900}, owners=owners, workers=2)
        assert foreign == ["process 9 holds 5 MiB"]

    def test_one_unknown_process_counts_as_our_worker(self) -> None:
        assert self.foreign({}, {7: 900}, {7: 950}) == []

    def test_so_does_the_next_one(self) -> None:
        assert self.foreign({}, {7: 900}, {}, {9: 900}) == []

    def test_further_unknown_processes_are_foreign_in_any_order(self) -> None:
        foreign = self.foreign({}, {7: 900}, {8: 5, 7: 900}, {7: 900, 8: 5})
        assert foreign == ["process 8 holds 5 MiB"]

    def test_next_to_a_known_worker_an_unknown_process_is_foreign(self) -> None:
        assert self.foreign({}, {7: 900, 8: 5}, owners={7: "ours"}) == ["process 8 holds 5 MiB"]

    @pytest.mark.parametrize("kind", ["unknown", "ours"])
    def test_an_earlier_process_is_foreign(self, kind: Owner) -> None:
        """Even if it is a worker: then a killed run left it behind."""
        assert self.foreign({8: 5}, {8: 5, 7: 900}, owners={8: kind}) == ["process 8 holds 5 MiB"]

    def test_a_reused_id_is_a_new_process(self) -> None:
        gpu = SimulatedGpu(now=dataclasses.replace(CALM, processes={8: 5}))
        guard = watched(gpu, (0.2, {"processes": {}}), (0.4, {"processes": {8: 900}}), owners={8: "ours"})
        assert guard.summary(0.3, 0.5)["foreign"] == []

    def test_both_causes_are_reported(self) -> None:
        guard = watched(SimulatedGpu(), (0.2, {"reasons": SOFT_HEAT, "processes": {8: 5}}), owners={8: "other"})
        assert (
            guard.summary(0.1, 0.3)["discarded"]
            == "throttled: software thermal slowdown; shared: process 8 holds 5 MiB"
        )


class TestUnwatched:
    """Incomplete monitoring is always reported."""

    def test_an_unavailable_gpu(self) -> None:
        with Guard(UnavailableGpu("there is no NVML here")) as guard:
            summary = guard.summary(time.monotonic(), time.monotonic())
        assert summary == {
            "samples": 0, "reasons": [], "foreign": [], "discarded": "", "unwatched": "there is no NVML here",
        }  # fmt: skip

    def test_missing_processes(self) -> None:
        guard = watched(SimulatedGpu(), (0.2, {"processes": None, "why": "other processes cannot be listed"}))
        summary = guard.summary(0.1, 0.3)
        assert (summary["samples"], summary["unwatched"]) == (2, "other processes cannot be listed")

    def test_detected_throttling_is_still_reported(self) -> None:
        guard = watched(SimulatedGpu(), (0.2, {"processes": None, "reasons": BRAKE, "why": "x"}))
        summary = guard.summary(0.1, 0.3)
        assert (summary["discarded"], summary["unwatched"]) == ("throttled: power brake", "x")

    @pytest.mark.parametrize(
        ("moments", "interval"),
        [((5.0,), (4.8, 5.1)), ((0.2,), (0.1, 4.0)), ((0.2, 4.0), (0.1, 4.1)), ((), (3.0, 3.1))],
    )
    def test_a_gap_between_samples(self, moments: tuple[float, ...], interval: tuple[float, float]) -> None:
        summary = watched(SimulatedGpu(), *((moment, {}) for moment in moments)).summary(*interval)
        assert summary["unwatched"].startswith("the GPU was not sampled for ")
        assert float(summary["unwatched"].split()[-2]) > MAX_GAP_S

    def test_no_sample_at_all(self) -> None:
        assert "unwatched" in Guard(SimulatedGpu()).summary(0.0, 0.1)


def test_it_samples_while_it_is_entered_and_not_after() -> None:
    gpu = SimulatedGpu()
    with Guard(gpu, period_s=0.01) as guard:
        start = time.monotonic()
        while gpu.count < 5:
            time.sleep(0.01)
        summary = guard.summary(start, time.monotonic())
    count = gpu.count
    time.sleep(0.05)
    assert (summary["samples"] >= 4, summary["discarded"], gpu.count) == (True, "", count)


def test_the_current_problem_is_that_of_now() -> None:
    gpu = SimulatedGpu(now=dataclasses.replace(CALM, reasons=HARD_HEAT))
    guard = Guard(gpu)
    guard.sample()
    assert guard.current_problem() == "throttled: hardware thermal slowdown"
    gpu.now = CALM
    guard.sample()
    assert guard.current_problem() == ""


class TestProcessOwner:
    """The command line of a process tells who started it."""

    @pytest.fixture
    def start(self) -> Iterator[Callable[..., int]]:
        """Start processes that wait, with these arguments, and return their ids."""
        children = []

        def started(*arguments: str) -> int:
            command = [sys.executable, "-c", "print(flush=True); input()", *arguments]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            children.append(child)
            assert child.stdout
            child.stdout.readline()
            return child.pid

        yield started
        for child in children:
            child.communicate(b"\n")

    @pytest.mark.parametrize("initial", [True, False])
    def test_a_worker_is_ours(
        self,
        start: Callable[..., int],
        monkeypatch: pytest.MonkeyPatch,
        initial: bool,  # noqa: FBT001
    ) -> None:
        monkeypatch.setattr(guard_module, "_in_initial_namespace", lambda: initial)
        assert process_owner(start("-m", "bench.suite.worker_start", "{}")) == "ours"
        assert process_owner(start("-m", "bench.suite.timing_start", "{}")) == "ours"

    @pytest.mark.parametrize(("initial", "owner"), [(True, "other"), (False, "unknown")])
    def test_another_process_is_known_only_in_the_initial_namespace(
        self,
        start: Callable[..., int],
        monkeypatch: pytest.MonkeyPatch,
        initial: bool,  # noqa: FBT001
        owner: Owner,
    ) -> None:
        monkeypatch.setattr(guard_module, "_in_initial_namespace", lambda: initial)
        assert process_owner(start("--note", "like bench.suite.worker")) == owner

    def test_a_process_that_does_not_exist_is_unknown(self) -> None:
        assert process_owner(2**22 + 1) == "unknown"

    def test_a_process_that_hides_its_command_line_is_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(_: psutil.Process) -> list[str]:
            raise psutil.AccessDenied

        monkeypatch.setattr(psutil.Process, "cmdline", denied)
        assert process_owner(os.getpid()) == "unknown"

    def test_on_this_host(self) -> None:
        assert process_owner(os.getpid()) in ("other", "unknown")


class TestNvml:
    """NVIDIA's module with a simulated library."""

    @pytest.fixture
    def summarize(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        def summarized(changes: Mapping[str, Any]) -> dict[str, Any]:
            answers = {
                **hopper(),
                "nvmlDeviceGetHandleByUUID": 100,
                "nvmlDeviceIsMigDeviceHandle": 0,
                "nvmlDeviceGetPowerUsage": 412_345,
                "nvmlDeviceGetMemoryInfo": {"total": 80 * GIB, "used": 3 * GIB},
                "nvmlDeviceGetCurrentClocksEventReasons": POWER_CAP,
                **changes,
            }
            library = Library({name: answer for name, answer in answers.items() if answer is not None})
            monkeypatch.setattr(pynvml, "nvmlLib", library)
            monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
            with watching(H100) as guard:
                return guard.summary(time.monotonic(), time.monotonic())

        return summarized

    def test_a_gpu_reports_everything(self, summarize: Callable[..., dict[str, Any]]) -> None:
        assert summarize({}) == {
            "samples": 1, "sm_mhz": [345, 345], "memory_mhz": [2619, 2619], "temperature_c": 31, "power_w": 412.3,
            "memory_mb": 3072, "reasons": ["power cap"], "foreign": [], "discarded": "",
        }  # fmt: skip

    def test_older_drivers_have_older_functions(self, summarize: Callable[..., dict[str, Any]]) -> None:
        summary = summarize({
            "nvmlDeviceGetCurrentClocksEventReasons": None,
            "nvmlDeviceGetCurrentClocksThrottleReasons": SLOWDOWN,
            "nvmlDeviceGetComputeRunningProcesses_v3": None,
            "nvmlDeviceGetComputeRunningProcesses_v2": {4711: 5 * 1024**2},
        })  # fmt: skip
        assert summary["discarded"] == "throttled: hardware slowdown; shared: process 4711 holds 5 MiB"
        assert "unwatched" not in summary

    def test_temperature_and_power_are_optional(self, summarize: Callable[..., dict[str, Any]]) -> None:
        refuse = Refusal(pynvml.NVML_ERROR_NOT_SUPPORTED)
        summary = summarize({"nvmlDeviceGetTemperature": refuse, "nvmlDeviceGetPowerUsage": refuse})
        assert not {"temperature_c", "power_w", "unwatched"} & set(summary)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("nvmlDeviceGetCurrentClocksEventReasons", "throttling cannot be read (NVML error: Not Supported)"),
            ("nvmlDeviceGetComputeRunningProcesses_v3", "other processes cannot be listed (NVML error: Not Supported)"),
        ],
    )
    def test_throttling_and_processes_are_not(
        self, summarize: Callable[..., dict[str, Any]], name: str, words: str
    ) -> None:
        summary = summarize({name: Refusal(pynvml.NVML_ERROR_NOT_SUPPORTED)})
        assert (summary["unwatched"], summary["samples"]) == (words, 1)

    def test_a_lost_gpu_is_reported(self, summarize: Callable[..., dict[str, Any]]) -> None:
        lost = Refusal(pynvml.NVML_ERROR_GPU_IS_LOST)
        summary = summarize(
            dict.fromkeys((name for name in hopper() if "Device" in name and "Count" not in name), lost)
        )
        assert (summary["samples"], summary["unwatched"]) == (0, "throttling cannot be read (NVML error: GPU is lost)")

    def test_a_mig_device_has_the_clocks_of_its_gpu(self, summarize: Callable[..., dict[str, Any]]) -> None:
        queried: list[tuple[str, Any]] = []

        def of(name: str, answer: Any) -> Callable[..., Any]:
            def answered(handle: Any, *_: Any) -> Any:
                queried.append((name, handle))
                return answer

            return answered

        summary = summarize({
            "nvmlDeviceIsMigDeviceHandle": 1,
            "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": 200,
            "nvmlDeviceGetClockInfo": of("clock", 1410),
            "nvmlDeviceGetCurrentClocksEventReasons": of("reasons", 0),
            "nvmlDeviceGetMemoryInfo": of("memory", {"used": GIB}),
        })  # fmt: skip
        assert summary["memory_mb"] == 1024
        assert dict(queried) == {"clock": 200, "reasons": 200, "memory": 100}

    def test_no_driver_or_no_such_gpu(self, summarize: Callable[..., dict[str, Any]]) -> None:
        summary = summarize({"nvmlInitWithFlags": Refusal(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)})
        assert (summary["samples"], summary["unwatched"]) == (0, "NVML does not answer (Driver Not Loaded)")
        summary = summarize({"nvmlDeviceGetHandleByUUID": Refusal(pynvml.NVML_ERROR_NOT_FOUND)})
        assert summary["unwatched"].startswith(f"NVML does not find the GPU {H100} (")

    def test_on_this_host(self) -> None:
        """On any host there is an answer and no exception."""
        with watching("GPU-0") as guard:
            assert guard.summary(time.monotonic(), time.monotonic())["unwatched"]
