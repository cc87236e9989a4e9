"""Watches a GPU from the host while times are taken: clocks, heat, power, throttling, processes of other people.

A throttled or shared GPU is slow for reasons that are not the kernel's, and a time taken on it says nothing. So NVML
is asked a few times a second, and what it said while a sample was taken goes into the record beside the sample.

Which of NVML's clock event reasons (nvml.h) make a time worthless:

* hardware slowdown (clocks are halved or worse: heat, the power supply's brake, or a spike of power), software and
  hardware thermal slowdown (the card or its memory is too hot), power brake: the state of the room, the rack or the
  last minutes, which the next hour does not have. Spoiled.
* power cap: the clocks are what the set power limit allows for *this* work. A heavy kernel is always measured so,
  the limit is one of the GPU's facts, and no retake would ever be without it. Told, and not discarded.
* sync boost, application and display clocks: clocks that somebody has set, and that hold for the whole run. Idle:
  there was nothing to do at that moment. Told, and not discarded.
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

from bench.gpu.facts import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")
#: Whose a process is.
Whose = Literal["ours", "other", "unknown"]

#: Seconds between two looks.
PERIOD_S = 0.2
#: Nobody looked for longer than this, in seconds: what happened meanwhile is not known.
BLIND_S = 1.0
#: Hardware slowdown, software thermal slowdown, hardware thermal slowdown, power brake.
HARMFUL = 0x8 | 0x20 | 0x40 | 0x80

#: In the command line of every process that measures.
WORKER = b"bench.suite.worker"
#: The inode of the first process namespace, as Linux fixes it (PROC_PID_INIT_INO).
_FIRST_NAMESPACE = "pid:[4026531836]"
_MIB = 1024**2


@dataclass(frozen=True, kw_only=True)
class GpuSample:
    """What NVML said at one moment, ``at`` seconds of time.monotonic; None is what it did not tell.

    ``reasons`` are the bits of its clock event reasons, ``processes`` the ids of processes that compute on the GPU
    with the MiB they hold. ``why`` says why one of these two is missing, "" where both are there.
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
        """Whether neither throttling nor sharing could be seen."""
        return self.reasons is None and self.processes is None


#: A look, and the MiB of the processes in it that are not ours.
_Seen = tuple[GpuSample, "Mapping[int, int]"]


class Card(Protocol):
    """A GPU that can be looked at."""

    def look(self) -> GpuSample:
        """One look, now; what cannot be read is None, nothing is raised."""


class Guard:
    """Looks at a GPU every ``period_s`` seconds while it is entered, and tells what was seen in an interval.

    Enter it before anything of ours runs on the GPU: who computes there already is not of ours. ``whose`` says of a
    process id whose it is.
    """

    def __init__(self, card: Card, *, period_s: float = PERIOD_S, whose: Callable[[int], Whose] | None = None) -> None:
        self._card = card
        self._period_s = period_s
        self._whose = whose or whose_process
        self._looks: list[_Seen] = []
        self._before: set[int] | None = None
        self._taken = -1
        self._hold = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tfrepro-guard", daemon=True)

    def __enter__(self) -> Self:
        """Take the first look, then go on looking."""
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def look(self) -> None:
        """GpuSample once more, now."""
        with self._hold:
            found = self._card.look()
            self._looks.append((found, self._foreign(found.processes or {})))

    def seen(self, start: float, end: float) -> dict[str, Any]:
        """What was seen between two moments (seconds of time.monotonic), as the record holds it.

        The last look before the interval counts with it: lines reach the host a little later than they were written,
        and a short sample may lie between two looks. ``samples`` counts the looks. ``discarded`` says why a time of
        this interval is none, "" where it is one. ``unwatched``, only there where it is so, says why what was seen is
        not all that must have been.
        """
        with self._hold:
            inside = _inside(self._looks, start, end)
        looks = [look for look, _ in inside]
        held: dict[int, int] = {}
        for _, foreign in inside:
            for pid, mib in foreign.items():
                held[pid] = max(mib, held.get(pid, 0))
        reasons, harm = _reasons(looks)
        others = [f"process {pid} holds {mib} MiB" for pid, mib in sorted(held.items())]
        told: dict[str, Any] = {
            "samples": sum(not look.unreadable for look in looks),
            **_range("sm_mhz", [look.sm_mhz for look in looks]),
            **_range("memory_mhz", [look.memory_mhz for look in looks]),
            **_highest("temperature_c", [look.temperature_c for look in looks]),
            **_highest("power_w", [look.power_w for look in looks]),
            **_highest("memory_mb", [look.memory_mb for look in looks]),
            "reasons": reasons,
            "foreign": others,
            "discarded": _discarded(harm, others),
        }
        missing = next((look.why for look in looks if look.why), "") or _gap(looks, start, end)
        return {**told, "unwatched": missing} if missing else told

    def trouble(self) -> str:
        """What would discarded a time at this moment, as in ``discarded``."""
        self.look()
        with self._hold:
            now = self._looks[-1][0].at
        return str(self.seen(now, now)["discarded"])

    def _watch(self) -> None:
        while not self._ended.wait(self._period_s):
            self.look()

    def _foreign(self, processes: Mapping[int, int]) -> dict[int, int]:
        """The processes that are not ours: all but one, which is a worker, or else an unknown one.

        Workers run one after the other on a GPU, so a second one is another run's. Who was there before is never ours.
        In another process namespace a worker cannot be recognised, so one unknown process is taken for it.
        """
        if self._before is None:
            self._before = set(processes)
        self._before &= set(processes)  # an id may be given out again
        kinds = {pid: self._whose(pid) for pid in processes if pid not in self._before}
        workers = [pid for pid, kind in kinds.items() if kind == "ours"]
        likely = workers or [pid for pid, kind in kinds.items() if kind == "unknown"]
        if self._taken not in likely:
            self._taken = likely[0] if likely else -1
        return {pid: mib for pid, mib in processes.items() if pid != self._taken}


def _inside(looks: Sequence[_Seen], start: float, end: float) -> Sequence[_Seen]:
    """The looks of an interval, with the last one before it."""
    first = bisect_left(looks, start, key=lambda one: one[0].at)
    return looks[max(first - 1, 0) : bisect_right(looks, end, key=lambda one: one[0].at)]


def _gap(looks: Sequence[GpuSample], start: float, end: float) -> str:
    """Why an interval was not watched to its end: nobody looked for too long."""
    moments = [look.at for look in looks]
    points = [min([start, *moments]), *moments, end]
    longest = max(later - one for one, later in pairwise(points))
    return f"nobody looked for {longest:.1f} s" if longest > BLIND_S or not looks else ""


def _reasons(looks: Sequence[GpuSample]) -> tuple[list[str], list[str]]:
    """All reasons that were given, and those that make a time worthless, in the order of their bits."""
    bits = 0
    for look in looks:
        bits |= look.reasons or 0
    named = [(EVENTS.get(1 << place, f"bit {place}"), 1 << place) for place in range(bits.bit_length())]
    given = [(name, bit) for name, bit in named if bits & bit]
    return [name for name, _ in given], [name for name, bit in given if bit & HARMFUL]


def _discarded(harm: list[str], others: list[str]) -> str:
    told = [f"{word}: {', '.join(found)}" for word, found in (("throttled", harm), ("shared", others)) if found]
    return "; ".join(told)


def _range(name: str, values: Sequence[float | None]) -> dict[str, list[float]]:
    known = [value for value in values if value is not None]
    return {name: [min(known), max(known)]} if known else {}


def _highest(name: str, values: Sequence[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    return {name: max(known)} if known else {}


def whose_process(pid: int, root: Path = Path("/proc")) -> Whose:
    """Whose a process of this host is, as far as its command line tells.

    NVML tells the ids of the first process namespace. In another one the same number is another process, or none;
    and on a host that hides the processes of others there is nothing to read.
    """
    try:
        words = (root / str(pid) / "cmdline").read_bytes().split(b"\0")
        home = str((root / "self" / "ns" / "pid").readlink()) == _FIRST_NAMESPACE
    except OSError:
        return "unknown"
    if WORKER in words:
        return "ours"
    return "other" if home and any(words) else "unknown"


@contextmanager
def watching(uuid: str) -> Iterator[Guard]:
    """A guard over the GPU of this UUID; where NVML does not answer, one that says why it sees nothing."""
    with _opened(uuid) as card, Guard(card) as guard:
        yield guard


class Nobody:
    """Stands where no GPU can be looked at, and says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def look(self) -> GpuSample:
        """Nothing is seen."""
        return GpuSample(at=time.monotonic(), why=self._why)


class NvmlCard:
    """A GPU, or a MIG device, through NVIDIA's module: ``nvml`` is initialised, ``device`` is its handle."""

    def __init__(self, nvml: Any, device: Any) -> None:
        self._nvml = nvml
        self._device = device
        self._card = device  # clocks, heat and power of a MIG device are its card's
        with suppress(nvml.NVMLError):
            if nvml.nvmlDeviceIsMigDeviceHandle(device):
                self._card = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device)

    def look(self) -> GpuSample:
        """Ask for everything; the two that guard the times must answer, or the look says why they did not."""
        nvml, card = self._nvml, self._card
        found = GpuSample(
            at=time.monotonic(),
            sm_mhz=self._value(lambda: int(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM))),
            memory_mhz=self._value(lambda: int(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM))),
            temperature_c=self._value(lambda: int(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU))),
            power_w=self._value(lambda: round(nvml.nvmlDeviceGetPowerUsage(card) / 1000, 1)),
            memory_mb=self._value(lambda: int(nvml.nvmlDeviceGetMemoryInfo(self._device).used) // _MIB),
        )
        try:
            found = replace(found, reasons=self._reasons())
        except nvml.NVMLError as error:
            found = replace(found, why=f"throttling cannot be read (NVML says: {error})")
        try:
            found = replace(found, processes=self._processes())
        except (nvml.NVMLError, nvml.NVMLLibraryMismatchError) as error:
            found = replace(found, why=found.why or f"other processes cannot be listed (NVML says: {error})")
        return found

    def _value(self, ask: Callable[[], T]) -> T | None:
        """An answer, or None where this card has none."""
        try:
            return ask()
        except self._nvml.NVMLError:
            return None

    def _reasons(self) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._card))
        except self._nvml.NVMLError_FunctionNotFound:  # drivers before 535 know it by its old name
            return int(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._card))

    def _processes(self) -> dict[int, int]:
        try:
            found = self._nvml.nvmlDeviceGetComputeRunningProcesses_v3(self._device)
        except self._nvml.NVMLError_FunctionNotFound:  # drivers before 510
            found = self._nvml.nvmlDeviceGetComputeRunningProcesses_v2(self._device)
        return {int(one.pid): int(one.usedGpuMemory or 0) // _MIB for one in found}


@contextmanager
def _opened(uuid: str) -> Iterator[Card]:
    """The GPU of a UUID, NVML held open; Nobody where that does not work."""
    try:
        import pynvml  # type: ignore[import-untyped]  # noqa: PLC0415 - a host without it measures, unwatched
    except ImportError as error:
        yield Nobody(f"the Python module pynvml cannot be loaded ({error})")
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield Nobody(f"NVML does not answer ({error})")
        return
    try:
        yield _card(pynvml, uuid)
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _card(nvml: Any, uuid: str) -> Card:
    try:
        return NvmlCard(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid))
    except nvml.NVMLError as error:
        return Nobody(f"NVML does not find the GPU {uuid} ({error})")
