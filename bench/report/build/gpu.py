"""What the processes and the host saw of the GPU: libraries, driver, clocks, and the times that are left out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from bench.report.build.columns import labels
from bench.report.formatting import DASH, clean, listed
from bench.report.view import Fact, Notice
from bench.verdict import gpu_timing
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.store.run_info import ColumnInfo
    from bench.suite.record import Record, Sample
    from bench.verdict.results import RunResults, Verdict

_MOST_VALUES = 4
_MOST_ITEMS = 12
#: What the host's watch writes down, with its label and unit.
_WATCHED = (
    ("sm_mhz", "SM clock", "MHz"),
    ("memory_mhz", "Memory clock", "MHz"),
    ("temperature_c", "Highest temperature of a sample", "°C"),
    ("power_w", "Highest power of a sample", "W"),
    ("memory_mb", "Highest memory in use on the GPU", "MB"),
)
#: CUDA's numbers: 12040 is 12.4.
_MAJOR, _MINOR, _DIGITS = 1000, 10, 6


def facts(results: RunResults, column: ColumnInfo) -> tuple[Fact, ...]:
    """GPU, driver, CUDA libraries as the processes loaded them, and what the host saw while times were taken."""
    if column.device == "cpu":
        return ()
    records = list(_records(results, column))
    processes = [process.provenance for record in records for process in record.processes]
    cuda = [_mapping(one.get("cuda")) for one in processes]
    names = sorted({str(name) for one in cuda for name in one} - {"driver"})
    rows = [
        ("GPU", _several(_device(_mapping(one.get("gpu"))) for one in processes)),
        ("Driver", _several(_driver(record) for record in records)),
        ("libcuda", _several(_libcuda(one) for one in processes)),
        *((clean(name), _several(_text(one.get(name)) for one in cuda)) for name in names),
        *_seen([sample for record in records for sample in record.samples]),
    ]
    return tuple(Fact(label=label, value=value) for label, value in rows if value)


def measured(results: RunResults) -> str:
    """The GPUs of all columns with their drivers, "" where no process had one."""
    found = {
        ", ".join(
            filter(None, (_device(_mapping(process.provenance.get("gpu"))), f"driver {driver}" if driver else ""))
        )
        for column in results.info.columns
        if column.device != "cpu"
        for record in _records(results, column)
        for driver in [_driver(record)]
        for process in record.processes
    }
    return "; ".join(sorted(filter(None, found)))


def notices(results: RunResults) -> list[Notice]:
    """Times that are left out, and times that nobody watched."""
    names = dict(zip((column.id for column in results.info.columns), labels(results), strict=True))
    told = []
    lost = [one for one in results.verdicts if one.discarded and not one.control]
    if lost:
        none = sum(one.timing is None for one in lost)
        text = (
            f"{count(len(lost), 'verdict')} without the times of a throttled or shared GPU, {none} of them without any "
            "other: their time and overhead are not shown. The bits stand, for clocks change none."
        )
        tally = Counter(
            (one.column, one.discarded.word, why) for one in lost if one.discarded for why in one.discarded.reasons
        )
        left_out = [
            f"{names[column]}: {word} ({clean(why)}), {count(number, 'verdict')}"
            for (column, word, why), number in tally.items()
        ]
        told.append(Notice(kind="warn", title="Times left out", text=text, items=_few(left_out)))
    gpus = {column.id for column in results.info.columns if column.device != "cpu"}
    timed = (one for one in results.verdicts if one.column in gpus and one.timing and not one.control)
    unwatched = list(dict.fromkeys(one.column for one in timed if _unwatched(one)))
    if unwatched:
        where = listed([names[column] for column in unwatched])
        text = f"Clocks were not watched, or not all the while, as times were taken on {where}."
        items = _few(_excuses(results, unwatched))
        told.append(Notice(kind="note", title="Clocks not watched", text=text, items=items))
    return told


def _unwatched(verdict: Verdict) -> bool:
    """Whether a time was taken while nobody looked at the GPU."""
    return any(not gpu_timing.watched(sample) for said in verdict.observations for sample in said.timings)


def _excuses(results: RunResults, columns: Iterable[str]) -> list[str]:
    """Why nobody watched, as far as the host said so."""
    found: dict[str, None] = {}
    for column in results.info.columns:
        if column.id in columns:
            for record in _records(results, column):
                told = ((sample.guard or {}).get("unwatched") for sample in record.samples)
                found |= {clean(why): None for why in told if isinstance(why, str) and why}
    return list(found)


def _records(results: RunResults, column: ColumnInfo) -> Iterator[Record]:
    keys = ((column.id, variation, mode) for variation in results.variations for mode in ("off", "on"))
    return (kept.record for key in keys for kept in results.groups.get(key, ()))


def _device(known: Mapping[str, Any]) -> str:
    """``NVIDIA H200, compute capability 9.0, 132 SMs, GPU-1a2b...``."""
    capability = known.get("compute_capability")
    version = ".".join(map(str, capability)) if isinstance(capability, list) else _text(capability)
    rows = (
        _text(known.get("device_name")),
        version and f"compute capability {clean(version)}",
        known.get("sm_count") and f"{_text(known['sm_count'])} SMs",
        _text(known.get("uuid")),
    )
    return ", ".join(str(row) for row in rows if row)


def _driver(record: Record) -> str:
    """``550.54.15, CUDA 12.4 at most``, as the host's NVML told the request."""
    told = record.request.gpu
    number = str(told.get("cuda") or "")
    known = number.isdecimal() and len(number) <= _DIGITS
    newest = f"{int(number) // _MAJOR}.{int(number) % _MAJOR // _MINOR}" if known else ""
    return ", ".join(filter(None, (_text(told.get("driver")), newest and f"CUDA {newest} at most")))


def _libcuda(provenance: Mapping[str, Any]) -> str:
    """What the process's own driver library says, and where it lies: it is the host's, so no lock can pin it."""
    version = _text(_mapping(provenance.get("cuda")).get("driver"))
    path = _text(_mapping(provenance.get("cuda_files")).get("libcuda"))
    return ", ".join(filter(None, (version and f"CUDA {version} at most", path)))


def _seen(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """The range of what the host watched over all samples, and how often it saw something else."""
    seen = [sample.guard for sample in samples if sample.guard]
    rows = [(label, _range((one.get(key) for one in seen), unit)) for key, label, unit in _WATCHED]
    for key, label in (("reasons", "Throttle reasons"), ("foreign", "Other processes")):
        listings = (one.get(key) for one in seen)
        found = Counter(_text(one) for told in listings if isinstance(told, list | tuple) for one in told)
        rows.append((label, listed([f"{reason} ({number})" for reason, number in found.most_common()], _MOST_VALUES)))
    return rows


def _range(values: Iterable[Any], unit: str) -> str:
    flat = [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]
    numbers = [one for one in flat if type(one) in (int, float)]
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


def _few(items: Sequence[str]) -> tuple[str, ...]:
    more = len(items) - _MOST_ITEMS
    return (*items[:_MOST_ITEMS], *([f"and {more} more"] if more > 0 else []))
