"""Checks that what run.json claims is what the records say: nothing on a page may be a fact that no record has.

A record says where it was measured: its request has the run, engine, host, environment and lock, and its processes
have the CPU, the versions and the time. ``contradiction`` compares one request and its processes with run.json, so that
it serves a round (``bench.suite.record``) and each side of a pair (``bench.suite.paired_record``) alike. A fact that
run.json leaves empty claims nothing, except for the lock hash, the engine and the run: these every record has.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bench.suite.paired_record import SideProcess
from bench.suite.record import Process
from bench.verdict.invalid_measurement import mapping, shorten
from bench.verdict.requested import as_requested, without_gpu

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.suite.paired_record import PairedRecord
    from bench.suite.record import Request

    #: What is compared, what run.json says of it, and what the record says.
    Claim = tuple[str, str, str]

AnyProcess = Process | SideProcess

#: How far the clock of a host may be off between the start of a run, its processes and its end.
CLOCK_TOLERANCE = timedelta(minutes=5)
#: How far in the future a time may be, by the clock of the host that reads it: a day allows for a wrong time zone.
FUTURE_TOLERANCE = timedelta(days=1)

#: How long after the start of its last process a run may finish.
END_TOLERANCE = timedelta(days=1)

_COLUMN = re.compile(r"tf(?P<tensorflow>.+?)-(?P<cuda>cpu|cuda[^-]+)(?:-[^@]*)?-py(?P<python>\d+)@(?P<device>.+)")
#: Part of a GPU's UUID in the name of its device, where a run has two GPUs of one model.
_PART_OF_UUID = re.compile(r"-[0-9a-f]{8,}$")
#: Characters of a fact in a sentence: an image id has 71.
_MOST_SHOWN = 80
_STAMP = "%Y%m%dT%H%M%SZ"


def model_of(column: ColumnInfo) -> str:
    """Return the short name of the device without the digits that tell apart two GPUs of one model."""
    return _PART_OF_UUID.sub("", column.device)


def contradiction(
    info: RunInfo,
    column: ColumnInfo,
    request: Request,
    processes: Sequence[AnyProcess],
    *,
    reused_from: str = "",
) -> str:
    """Say what run.json claims about a column that this record contradicts, or return "".

    ``reused_from`` is the run that measured the record by ``RunInfo.reused``, "" where it is not listed there.
    """
    if other := _other_kernel(info, request):
        return other
    claims = [*_of_request(info, column, request, reused_from)]
    for process in processes:
        claims += _of_process(info, column, process)
    for what, claimed, recorded in claims:
        if claimed != recorded:
            return _sentence(what, claimed, recorded)
    return next(filter(None, (_wrong_time(info, column, process, reused_from) for process in processes)), "")


def _other_kernel(info: RunInfo, request: Request) -> str:
    """Name a requested kernel that run.json lacks, or of which it says wrongly whether it is custom; "" if none is."""
    known = {kernel.name: "custom" if kernel.file else "of the suite" for kernel in info.kernels}
    for name in request.kernels:
        recorded = "custom" if name in request.kernel_files else "of the suite"
        if name not in known:
            return f"run.json has no kernel {shorten(name)}, but a record has"
        if known[name] != recorded:
            return _sentence(f"kernel {shorten(name)}", known[name], recorded)
    return ""


def pair_contradiction(info: RunInfo, record: PairedRecord, *, reused_from: str = "") -> str:
    """Say what in the record of a pair is not what run.json or the comparison promises, or return "".

    Both sides are checked like a round: against run.json, and what was in effect against what was requested.
    """
    columns = {column.id: column for column in info.columns}
    a, b = record.requests["a"], record.requests["b"]
    if record.suite_hash != info.suite_hash:
        return _sentence("suite", info.suite_hash, record.suite_hash)
    wanted = {
        "overhead": a.column == b.column and (a.mode, b.mode) == ("off", "on"),
        "noise-floor": a.column == b.column and (a.mode, b.mode) == ("off", "off"),
        "upgrade": a.column != b.column and a.mode == b.mode,
    }
    if not wanted.get(record.comparison):
        return f"{record.comparison} cannot compare {a.column} {a.mode} with {b.column} {b.mode}"
    for side, request in record.requests.items():
        column = columns.get(request.column)
        if column is None:
            return f"run.json has no column {shorten(request.column)}, but a pair has"
        processes = [process for process in record.processes if process.side == side]
        reason = contradiction(info, column, request, processes, reused_from=reused_from)
        invalid = without_gpu(column, processes) or as_requested(info, column, request, processes)
        if reason or invalid:
            return reason or (invalid.reason if invalid else "")
    return ""


def run_contradiction(info: RunInfo, column: ColumnInfo, starts: Iterable[str], read_at: str = "") -> str:
    """Say how run.json contradicts itself or the clock about a column, or return "".

    ``starts`` are the times at which the processes of its run started that were not reused. ``read_at`` is the time at
    which run.json was read, ISO 8601; "" checks nothing against the clock.
    """
    started, finished, run = _times(info, column)
    last = max(filter(None, map(_time, starts)), default=None)
    now = _time(read_at)
    made = _stamp(run)
    if started and finished and finished < started:
        return f"run.json says that the run started at {_shown(started)}, but finished at {_shown(finished)}"
    for what, time in (("started", started), ("finished", finished)):
        if now and time and time > now + FUTURE_TOLERANCE:
            return f"run.json says that the run {what} at {_shown(time)}, which is in the future"
    merged = bool(info.merged_from) and not column.origin  # it was finished anew by the import
    if finished and last and not merged and finished > last + END_TOLERANCE:
        return f"run.json says that the run finished at {_shown(finished)}, but the last process started {_shown(last)}"
    if started and made and abs(started - made) > CLOCK_TOLERANCE:
        return f"run.json says that the run {shorten(run)} started at {_shown(started)}"
    return _wrong_label(column)


def _wrong_label(column: ColumnInfo) -> str:
    """Say how the names of a column contradict each other, or return ""."""
    if (column.device == "cpu") != (column.cuda == "cpu"):
        return f"run.json says that a column for the device {column.device} has CUDA {column.cuda}"
    if column.device == "cpu" and (column.gpu or column.cudnn or column.kind not in ("cpu", "local")):
        return f"run.json says that a column for the CPU has {column.gpu or column.cudnn or column.kind}"
    match = _COLUMN.fullmatch(column.id)
    names = {
        "tensorflow": column.tensorflow.partition("+")[0].replace("-", ""),
        "cuda": "cpu" if column.cuda == "cpu" else f"cuda{column.cuda}",
        "python": column.python.replace(".", ""),
    }
    for key, value in names.items():
        if match and match[key].replace("-", "") != value:
            return f"run.json says that {column.id} has {key} {getattr(column, key)}"
    if column.host and not column.id.endswith(f"@{column.device}-{column.host}"):
        return f"run.json says that {column.id} is a column of the host {column.host}"
    if match and not match["device"].startswith(column.device):
        return f"run.json says that {column.id} has the device {column.device}"
    return _wrong_environment(column)


def _wrong_environment(column: ColumnInfo) -> str:
    """Say how a column contradicts the environment that it names, or return ""."""
    inner = column.environment.get("lock_hash", column.lock_hash)
    if inner != column.lock_hash:
        lock, built = column.lock_hash[:_MOST_SHOWN] or "empty", inner[:_MOST_SHOWN] or "empty"
        return f"run.json says that the lock hash is {lock}, but that of its environment is {built}"
    identity, image = (column.environment.get(key, "") for key in ("identity", "image"))
    if identity and image and identity != image:
        return f"run.json says that the image is {image[:_MOST_SHOWN]}, but its environment is {identity[:_MOST_SHOWN]}"
    return ""


def _of_request(info: RunInfo, column: ColumnInfo, request: Request, reused_from: str) -> Iterator[Claim]:
    context = {key: str(value) for key, value in request.context.items()}
    host = _host(info, column)
    environment = column.environment.get("identity") or column.environment.get("image") or ""
    yield "lock hash", column.lock_hash, context.get("lock_hash", "")
    yield "engine", _engine(info, column), context.get("engine", "")
    yield "host", host.get("name", ""), context.get("host", "")
    if environment:
        yield "environment", environment, context.get("environment", "")
    run = reused_from or _times(info, column)[2]
    if run:
        yield "run", run, context.get("run", "")
    driver = str(request.gpu.get("driver") or "")
    claimed = re.search(r"\bdriver ([0-9.]+)", host.get("gpu", ""))
    if claimed and driver:
        yield "driver", claimed[1], driver


def _of_process(info: RunInfo, column: ColumnInfo, process: AnyProcess) -> Iterator[Claim]:
    facts, host = process.provenance, _host(info, column)
    for what, claimed, key in (("CPU", host.get("cpu"), "cpu_model"), ("number of cores", host.get("cores"), "cores")):
        if claimed and facts.get(key) is not None:
            yield what, claimed, str(facts[key])
    # the part after "-with-" is the C library, and a container has its own
    system, own = (text.partition("-with-")[0] for text in (host.get("system", ""), str(facts.get("kernel") or "")))
    if system.startswith("Linux-") and own:
        yield "system", system, own
    yield from _of_gpu(column, host, str(mapping(facts.get("gpu")).get("device_name") or ""))


def _of_gpu(column: ColumnInfo, host: Mapping[str, str], name: str) -> Iterator[Claim]:
    if column.device in ("cpu", "gpu") or not name or column.gpu.startswith("MIG-"):
        return  # driver and NVML may name a slice differently
    words = re.sub(r"[^a-z0-9]+", "-", name.lower())
    if f"-{model_of(column)}-" not in f"-{words}-":
        yield "device", column.device, name
    elif host.get("gpu") and name not in host["gpu"]:
        yield "GPU", host["gpu"], name


def _wrong_time(info: RunInfo, column: ColumnInfo, process: AnyProcess, reused_from: str) -> str:
    """Say how the start of a process contradicts the start and end of its run, or return ""."""
    own, (started, finished, _) = _time(process.started), _times(info, column)
    if own is None:
        return ""
    first, last = (_stamp(reused_from), started) if reused_from else (started, finished)
    if (first and own < first - CLOCK_TOLERANCE) or (last and own > last + CLOCK_TOLERANCE):
        limits = f"{_shown(first) or 'unknown'} to {_shown(last) or 'now'}"
        run = f"the run {reused_from}" if reused_from else "the run"
        return f"run.json says that {run} lasted from {limits}, but a process started at {_shown(own)}"
    return ""


def _times(info: RunInfo, column: ColumnInfo) -> tuple[datetime | None, datetime | None, str]:
    """Return start, end and id of the run that measured a column; those of an imported one are in its origin."""
    if column.origin:
        started, finished, run = (str(column.origin.get(key, "")) for key in ("started", "finished", "run"))
    else:
        started, finished, run = info.started, info.finished, info.merged_from or info.id
    return _time(started), _time(finished), run


def _host(info: RunInfo, column: ColumnInfo) -> dict[str, str]:
    return {key: str(value) for key, value in (column.origin or info.host).items()}


def _engine(info: RunInfo, column: ColumnInfo) -> str:
    return str(column.origin.get("engine", "")) if column.origin else info.engine


def _sentence(what: str, claimed: str, recorded: str) -> str:
    return (
        f"run.json says that the {what} is {claimed[:_MOST_SHOWN] or 'empty'}, "
        f"but a record says {recorded[:_MOST_SHOWN] or 'nothing'}"
    )


def _time(text: str) -> datetime | None:
    """Return a time in UTC, None if a text is no time; one without a zone is in UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _stamp(run: str) -> datetime | None:
    """Return the time in the id of a run (``20261129T112058Z-41fe``), None if there is none."""
    try:
        return datetime.strptime(run.partition("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def _shown(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC") if time else ""
