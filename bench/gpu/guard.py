"""Monitor a GPU from the host while times are measured: clocks, temperature, power, throttling and other processes.

A throttled or shared GPU is slow for reasons that have nothing to do with the kernel, so a time measured on it is
meaningless. NVML is therefore sampled a few times a second, and the samples of a measurement are summarised in the
record next to it.

Which of NVML's clock event reasons (nvml.h) discard a time:

* Hardware slowdown (clocks halved or worse, because of heat, the power supply's brake or a power spike), software and
  hardware thermal slowdown (the GPU or its memory is too hot) and power brake depend on the environment of the GPU or
  on the last minutes, and may be gone an hour later. The time is discarded.
* Power cap: the clocks are what the configured power limit allows for *this* work. A heavy kernel is always measured
  so, the limit is one of the GPU's facts, and no repetition would be free of it. Reported, not discarded.
* Sync boost, application and display clocks are settings that hold for the whole run; idle means that there was
  nothing to do at that moment. Reported, not discarded.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

import psutil

from bench.gpu.facts import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")
#: Who started a process.
Owner = Literal["ours", "other", "unknown"]

#: Seconds between two samples.
PERIOD_S = 0.2
#: After a gap between samples of more than this many seconds, it is unknown what happened meanwhile.
MAX_GAP_S = 1.0
#: Hardware slowdown, software thermal slowdown, hardware thermal slowdown, power brake.
HARMFUL = 0x8 | 0x20 | 0x40 | 0x80

#: One of these arguments is in the command line of every process that measures.
WORKERS = frozenset({"bench.suite.worker_start", "bench.suite.timing_start"})
#: The inode of the initial process namespace, which Linux fixes (PROC_PID_INIT_INO).
_INITIAL_NAMESPACE = "pid:[4026531836]"
_MIB = 1024**2


@dataclass(frozen=True, kw_only=True)
class GpuSample:
    """What NVML reported at one moment, ``at`` seconds of time.monotonic(); None is what it did not report.

    ``reasons`` are the bits of its clock event reasons; ``processes`` maps the ids of processes that compute on the
    GPU to the MiB that they use. ``why`` says why one of these two is missing; "" if both are present.
    """

    at: float
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    memory_mb: int | None = None
    reasons: int | None = None
    processes: Mapping[int, int] | None = None
    why: str = ""

    @property
    def unreadable(self) -> bool:
        """Whether neither throttling nor sharing could be detected."""
        return self.reasons is None and self.processes is None


#: A sample, and the MiB used by the processes in it that are not ours.
_Entry = tuple[GpuSample, "Mapping[int, int]"]


class GpuHandle(Protocol):
    """A GPU that can be sampled."""

    def sample(self) -> GpuSample:
        """Take one sample now; what cannot be read is None, and nothing is raised."""


class Guard:
    """Samples a GPU every ``period_s`` seconds while its context is entered, and summarises the samples of an interval.

    Enter it before anything of ours runs on the GPU: processes that already compute on it are not ours. ``owner``
    returns who started a process. ``workers`` is the number of our processes that may be on the GPU at the same time:
    the two sides of a pair, else one.
    """

    workers = 1

    def __init__(
        self, handle: GpuHandle, *, period_s: float = PERIOD_S, owner: Callable[[int], Owner] | None = None
    ) -> None:
        self._handle = handle
        self._period_s = period_s
        self._owner = owner or process_owner
        self._entries: list[_Entry] = []
        self._earlier: set[int] | None = None
        self._ours: set[int] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._monitor, name="tfrepro-guard", daemon=True)

    def __enter__(self) -> Self:
        """Take the first sample, then continue in a thread."""
        self.sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._ended.set()
        self._thread.join()

    def sample(self) -> None:
        """Take one more sample now."""
        with self._lock:
            sample = self._handle.sample()
            self._entries.append((sample, self._foreign(sample.processes or {})))

    def summary(self, start: float, end: float) -> dict[str, Any]:
        """Summarise the samples between two moments (seconds of time.monotonic()) in the form that the record stores.

        The last sample before the interval is included: lines reach the host slightly later than they were written,
        and a short measurement may lie between two samples.

        Returns:
            Among others ``samples``, the number of samples; ``discarded``, why a time in this interval must be
            discarded ("" if it need not be); and, only if monitoring was incomplete, ``unwatched`` with the reason.
        """
        with self._lock:
            entries = _within(self._entries, start, end)
        samples = [sample for sample, _ in entries]
        peak: dict[int, int] = {}
        for _, foreign in entries:
            for pid, mib in foreign.items():
                peak[pid] = max(mib, peak.get(pid, 0))
        reasons, harmful = _reasons(samples)
        others = [f"process {pid} holds {mib} MiB" for pid, mib in sorted(peak.items())]
        summary: dict[str, Any] = {
            "samples": sum(not sample.unreadable for sample in samples),
            **_range("sm_mhz", [sample.sm_mhz for sample in samples]),
            **_range("memory_mhz", [sample.memory_mhz for sample in samples]),
            **_highest("temperature_c", [sample.temperature_c for sample in samples]),
            **_highest("power_w", [sample.power_w for sample in samples]),
            **_highest("memory_mb", [sample.memory_mb for sample in samples]),
            "reasons": reasons,
            "foreign": others,
            "discarded": _discarded(harmful, others),
        }
        missing = next((sample.why for sample in samples if sample.why), "") or _gap(samples, start, end)
        return {**summary, "unwatched": missing} if missing else summary

    def current_problem(self) -> str:
        """Return why a time measured at this moment would be discarded, or ""."""
        self.sample()
        with self._lock:
            now = self._entries[-1][0].at
        return str(self.summary(now, now)["discarded"])

    def _monitor(self) -> None:
        while not self._ended.wait(self._period_s):
            self.sample()

    def _foreign(self, processes: Mapping[int, int]) -> dict[int, int]:
        """Return the processes that are not ours: all except our workers, or else as many unknown processes.

        There are never more than ``workers`` of them on a GPU, so a further one belongs to another run. A process that
        was there before is never ours. From another process namespace a worker cannot be recognised, so an unknown
        process is assumed to be one.
        """
        if self._earlier is None:
            self._earlier = set(processes)
        self._earlier &= set(processes)  # the system may reuse the id of a process that has ended
        owners = {pid: self._owner(pid) for pid in processes if pid not in self._earlier}
        workers = [pid for pid, owner in owners.items() if owner == "ours"]
        likely = workers or [pid for pid, owner in owners.items() if owner == "unknown"]
        self._ours &= set(likely)
        newer = [pid for pid in likely if pid not in self._ours]
        self._ours.update(newer[: max(0, self.workers - len(self._ours))])
        return {pid: mib for pid, mib in processes.items() if pid not in self._ours}


def _within(entries: Sequence[_Entry], start: float, end: float) -> Sequence[_Entry]:
    """Return the entries of an interval and the last one before it."""
    first = bisect_left(entries, start, key=lambda entry: entry[0].at)
    return entries[max(first - 1, 0) : bisect_right(entries, end, key=lambda entry: entry[0].at)]


def _gap(samples: Sequence[GpuSample], start: float, end: float) -> str:
    """Return that an interval has a gap without samples, or ""."""
    moments = [sample.at for sample in samples]
    points = [min([start, *moments]), *moments, end]
    longest = max(later - earlier for earlier, later in pairwise(points))
    return f"the GPU was not sampled for {longest:.1f} s" if longest > MAX_GAP_S or not samples else ""


def _reasons(samples: Sequence[GpuSample]) -> tuple[list[str], list[str]]:
    """Return all clock event reasons, and those that discard a time, in the order of their bits."""
    bits = 0
    for sample in samples:
        bits |= sample.reasons or 0
    known = [(EVENTS.get(1 << place, f"bit {place}"), 1 << place) for place in range(bits.bit_length())]
    active = [(name, bit) for name, bit in known if bits & bit]
    return [name for name, _ in active], [name for name, bit in active if bit & HARMFUL]


def _discarded(harmful: list[str], others: list[str]) -> str:
    causes = (("throttled", harmful), ("shared", others))
    return "; ".join(f"{label}: {', '.join(details)}" for label, details in causes if details)


def _range(name: str, values: Sequence[float | None]) -> dict[str, list[float]]:
    known = [value for value in values if value is not None]
    return {name: [min(known), max(known)]} if known else {}


def _highest(name: str, values: Sequence[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    return {name: max(known)} if known else {}


def process_owner(pid: int) -> Owner:
    """Return who started a process of this host, judging by its command line.

    NVML reports ids of the initial process namespace. In another namespace the same number is a different process or
    none, and a host may hide the processes of other users.
    """
    try:
        command = psutil.Process(pid).cmdline()
    except (psutil.Error, OSError):
        return "unknown"
    if WORKERS.intersection(command):
        return "ours"
    return "other" if any(command) and _in_initial_namespace() else "unknown"


def _in_initial_namespace() -> bool:
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _INITIAL_NAMESPACE
    except OSError:
        return False


@contextmanager
def watching(uuid: str) -> Iterator[Guard]:
    """Yield a guard of the GPU with this UUID; if NVML does not answer, its summaries say why nothing was sampled."""
    with _opened(uuid) as handle, Guard(handle) as guard:
        yield guard


class UnavailableGpu:
    """Stands in for a GPU that cannot be sampled, and gives the reason."""

    def __init__(self, why: str) -> None:
        self._why = why

    def sample(self) -> GpuSample:
        """Return an empty sample with the reason."""
        return GpuSample(at=time.monotonic(), why=self._why)


class NvmlGpu:
    """A GPU or MIG device; ``nvml`` is the initialised module, ``device`` its handle."""

    def __init__(self, nvml: Any, device: Any) -> None:
        self._nvml = nvml
        self._device = device
        self._gpu = device  # clocks, temperature and power of a MIG device are those of its GPU
        with suppress(nvml.NVMLError):
            if nvml.nvmlDeviceIsMigDeviceHandle(device):
                self._gpu = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device)

    def sample(self) -> GpuSample:
        """Read everything; if throttling or processes cannot be read, the sample says why."""
        nvml, gpu = self._nvml, self._gpu
        sample = GpuSample(
            at=time.monotonic(),
            sm_mhz=self._value(lambda: int(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM))),
            memory_mhz=self._value(lambda: int(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM))),
            temperature_c=self._value(lambda: int(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))),
            power_w=self._value(lambda: round(nvml.nvmlDeviceGetPowerUsage(gpu) / 1000, 1)),
            memory_mb=self._value(lambda: int(nvml.nvmlDeviceGetMemoryInfo(self._device).used) // _MIB),
        )
        try:
            sample = replace(sample, reasons=self._reasons())
        except nvml.NVMLError as error:
            sample = replace(sample, why=f"throttling cannot be read (NVML error: {error})")
        try:
            sample = replace(sample, processes=self._processes())
        except (nvml.NVMLError, nvml.NVMLLibraryMismatchError) as error:
            sample = replace(sample, why=sample.why or f"other processes cannot be listed (NVML error: {error})")
        return sample

    def _value(self, read: Callable[[], T]) -> T | None:
        """Return a reading, or None if this GPU does not support it."""
        try:
            return read()
        except self._nvml.NVMLError:
            return None

    def _reasons(self) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._gpu))
        except self._nvml.NVMLError_FunctionNotFound:  # drivers before 535 have it under its old name
            return int(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._gpu))

    def _processes(self) -> dict[int, int]:
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses_v3(self._device)
        except self._nvml.NVMLError_FunctionNotFound:  # drivers before 510
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses_v2(self._device)
        return {int(process.pid): int(process.usedGpuMemory or 0) // _MIB for process in processes}


@contextmanager
def _opened(uuid: str) -> Iterator[GpuHandle]:
    """Yield the GPU with a UUID while NVML is initialised, or a stand-in with the reason why there is none."""
    try:
        import pynvml  # type: ignore[import-untyped]  # noqa: PLC0415 - without it, times are measured unmonitored
    except ImportError as error:
        yield UnavailableGpu(f"the Python module pynvml cannot be imported ({error})")
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield UnavailableGpu(f"NVML does not answer ({error})")
        return
    try:
        yield _handle(pynvml, uuid)
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _handle(nvml: Any, uuid: str) -> GpuHandle:
    try:
        return NvmlGpu(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid))
    except nvml.NVMLError as error:
        return UnavailableGpu(f"NVML does not find the GPU {uuid} ({error})")
