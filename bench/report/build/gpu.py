"""Show what the processes and the host saw of the GPU: libraries, driver, clocks, and discarded times."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from bench.report.build.columns import labels_by_column
from bench.report.formatting import DASH, clean, few, listed
from bench.report.view import Fact, Notice
from bench.verdict import gpu_timing
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.store.run_info import ColumnInfo
    from bench.suite.record import Record
    from bench.verdict.results import RunResults

_MOST_VALUES = 4
#: What the host recorded while times were taken, with its label and unit.
_WATCHED = (
    ("sm_mhz", "SM clock", "MHz"),
    ("memory_mhz", "Memory clock", "MHz"),
    ("temperature_c", "Highest temperature", "°C"),
    ("power_w", "Highest power", "W"),
    ("memory_mb", "Highest memory in use on the GPU", "MB"),
)
#: CUDA's version numbers: 12040 is 12.4.
_MAJOR, _MINOR, _DIGITS = 1000, 10, 6


def facts(results: RunResults, column: ColumnInfo) -> tuple[Fact, ...]:
    """Return GPU, driver, the CUDA libraries that the processes loaded, and what the host saw during timing."""
    if column.device == "cpu":
        return ()
    records = list(_records(results, column))
    processes = [process.provenance for record in records for process in record.processes]
    cuda = [_mapping(provenance.get("cuda")) for provenance in processes]
    names = sorted({str(name) for libraries in cuda for name in libraries} - {"driver"})
    rows = [
        ("GPU", _several(_device(_mapping(provenance.get("gpu"))) for provenance in processes)),
        ("Driver", _several(_driver(record) for record in records)),
        ("libcuda", _several(_libcuda(provenance) for provenance in processes)),
        *((clean(name), _several(_text(libraries.get(name)) for libraries in cuda)) for name in names),
        *_seen(_guards(results, column)),
    ]
    return tuple(Fact(label=label, value=value) for label, value in rows if value)


def measured(results: RunResults) -> str:
    """Return the GPUs of all columns with their drivers, "" where no process had one."""
    names = {
        ", ".join(
            filter(None, (_device(_mapping(process.provenance.get("gpu"))), f"driver {driver}" if driver else ""))
        )
        for column in results.info.columns
        if column.device != "cpu"
        for record in _records(results, column)
        for driver in [_driver(record)]
        for process in record.processes
    }
    return "; ".join(sorted(filter(None, names)))


def notices(results: RunResults) -> list[Notice]:
    """Warn of discarded times, and of times that were taken without watching the clocks."""
    names = labels_by_column(results)
    unwatched = [
        column.id
        for column in results.info.columns
        if column.device != "cpu" and not all(map(gpu_timing.watched, results.times.of_column(column.id)))
    ]
    return [*_discarded(results, names), *([_not_monitored(results, names, unwatched)] if unwatched else [])]


def _discarded(results: RunResults, names: Mapping[str, str]) -> list[Notice]:
    verdicts = [verdict for verdict in results.verdicts if verdict.discarded and not verdict.control]
    if not verdicts:
        return []
    none = sum(verdict.timing is None for verdict in verdicts)
    text = (
        f"Times that were taken on a throttled or shared GPU are left out of {count(len(verdicts), 'result')}. {none} "
        "of them have no other times, so their time and overhead are not shown. Bits are not affected by clocks."
    )
    tally = Counter(
        (verdict.column, verdict.discarded.word, reason)
        for verdict in verdicts
        if verdict.discarded
        for reason in verdict.discarded.reasons
    )
    items = [
        f"{names[column]}: {word} ({clean(reason)}), {count(number, 'result')}"
        for (column, word, reason), number in tally.items()
    ]
    return [Notice(kind="warn", title="Times left out", text=text, items=few(items))]


def _not_monitored(results: RunResults, names: Mapping[str, str], columns: Sequence[str]) -> Notice:
    where = listed([names[column] for column in columns])
    text = f"The GPU clocks were not monitored during all timings on {where}."
    return Notice(kind="note", title="GPU clocks not monitored", text=text, items=few(_excuses(results, columns)))


def _excuses(results: RunResults, columns: Iterable[str]) -> list[str]:
    """Return why the GPU was not monitored, as far as the host reported it."""
    reasons: dict[str, None] = {}
    for column in results.info.columns:
        if column.id in columns:
            reported = (guard.get("unwatched") for guard in _guards(results, column))
            reasons |= {clean(reason): None for reason in reported if isinstance(reason, str) and reason}
    return list(reasons)


def _records(results: RunResults, column: ColumnInfo) -> Iterator[Record]:
    keys = ((column.id, variation, mode) for variation in results.variations for mode in ("off", "on"))
    return (kept.record for key in keys for kept in results.groups.get(key, ()))


def _device(gpu: Mapping[str, Any]) -> str:
    """Return ``NVIDIA H200, compute capability 9.0, 132 SMs, GPU-1a2b...``."""
    capability = gpu.get("compute_capability")
    version = ".".join(map(str, capability)) if isinstance(capability, list) else _text(capability)
    rows = (
        _text(gpu.get("device_name")),
        version and f"compute capability {clean(version)}",
        gpu.get("sm_count") and f"{_text(gpu['sm_count'])} SMs",
        _text(gpu.get("uuid")),
    )
    return ", ".join(str(row) for row in rows if row)


def _driver(record: Record) -> str:
    """Return ``550.54.15, CUDA 12.4 at most``, as the host's NVML reported it."""
    gpu = record.request.gpu
    number = str(gpu.get("cuda") or "")
    known = number.isdecimal() and len(number) <= _DIGITS
    newest = f"{int(number) // _MAJOR}.{int(number) % _MAJOR // _MINOR}" if known else ""
    return ", ".join(filter(None, (_text(gpu.get("driver")), newest and f"CUDA {newest} at most")))


def _libcuda(provenance: Mapping[str, Any]) -> str:
    """Return the version and path of the driver library in the process. It is the host's, so no lock pins it."""
    version = _text(_mapping(provenance.get("cuda")).get("driver"))
    path = _text(_mapping(provenance.get("cuda_files")).get("libcuda"))
    return ", ".join(filter(None, (version and f"CUDA {version} at most", path)))


def _guards(results: RunResults, column: ColumnInfo) -> list[Mapping[str, Any]]:
    """Return what the host saw of the GPU while each kernel was timed."""
    return [timed.guard for timed in results.times.of_column(column.id) if timed.guard]


def _seen(seen: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the range of each value that the host recorded, and how often it saw throttling or other processes."""
    rows = [(label, _range((guard.get(key) for guard in seen), unit)) for key, label, unit in _WATCHED]
    for key, label in (("reasons", "Throttle reasons"), ("foreign", "Other processes")):
        lists = [value for guard in seen if isinstance(value := guard.get(key), list | tuple)]
        tally = Counter(_text(item) for items in lists for item in items)
        rows.append((label, listed([f"{reason} ({number})" for reason, number in tally.most_common()], _MOST_VALUES)))
    return rows


def _range(values: Iterable[Any], unit: str) -> str:
    flat = [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]
    numbers = [item for item in flat if type(item) in (int, float)]
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    return f"{low:.0f} {unit}" if low == high else f"{low:.0f}{DASH}{high:.0f} {unit}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return "" if value is None else clean(str(value))


def _several(values: Iterable[str]) -> str:
    return listed(list(dict.fromkeys(filter(None, values))), _MOST_VALUES)
