"""Whether this host can run a plan, and what to do where it cannot: engine, disk, memory, GPUs, every column."""

from __future__ import annotations

import os
import shutil
import textwrap
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import errors, host
from bench.engines import diagnosis, select
from bench.engines.docker import DockerEngine
from bench.gpu import facts
from bench.plan import preflight

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.engines.base import Engine
    from bench.gpu.facts import Gpu, GpuInventory
    from bench.plan.column import Column
    from bench.plan.planner import Plan

#: Of the JSON.
SCHEMA = 1

_WIDTH = 100
_MIB = 1024**2
#: MiB of free memory below which the doctor warns; TensorFlow with its libraries and the largest kernels need room.
_MEMORY_NEED_MB = 4000
#: Words of clock events that say that a GPU is held back now, not merely idle or set so.
_BRAKES = ("hardware", "thermal", "power brake")


@dataclass(frozen=True, kw_only=True)
class Engines:
    """The engine that would run the plan, and why. ``name`` is "" where the one asked for cannot be used."""

    name: str
    why: str
    way: str
    uv: str
    docker: diagnosis.Docker


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes that ``what`` needs in a folder, and those free there."""

    what: str
    folder: Path
    need: int
    free: int


@dataclass(frozen=True, kw_only=True)
class ColumnLine:
    """One column: its status, and in one line what is known of it ("ok" where nothing); ``rules`` are behind it.

    ``built`` says that its environment stands.
    """

    column: str
    gpu: str
    status: str
    line: str
    built: bool
    rules: tuple[preflight.Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that was found. ``todo`` has one sentence for each thing to do; ``code`` is the exit code.

    ``memory_mb`` is free memory in MiB, 0 where unknown.
    """

    engines: Engines
    host: Mapping[str, str]
    memory_mb: int
    disks: tuple[Disk, ...]
    survey: GpuInventory
    columns: tuple[ColumnLine, ...]
    notes: tuple[str, ...]
    todo: tuple[str, ...]
    code: int


def examine(plan: Plan, engine_name: str, root: Path, reports: Path) -> Findings:
    """GpuSample at this host with the eyes of a plan.

    ``engine_name`` is what --engine names, ``root`` the checkout, ``reports`` where pages go (it need not exist).
    The exit code is 0 where a column can run, 4 where the engine cannot be used or the disk has no room, 5 where no
    column can run because the GPU that was demanded is missing, else 3. Nothing is changed; a host in trouble is
    described, never raised.
    """
    survey = facts.survey()
    docker = diagnosis.docker(column.pair.base for column in plan.columns)
    engine, engines = _engine(engine_name, root, docker)
    built, disks = _environments(engine, plan)
    disks = (*disks, _disk("records and logs", reports, 0))
    gpus = {gpu.uuid: gpu for gpu in survey.gpus}
    columns = tuple(_column(column, gpus.get(column.gpu), survey.driver, column.id in built) for column in plan.columns)
    memory = _memory_mb()
    return Findings(
        engines=engines,
        host=host.facts(survey),
        memory_mb=memory,
        disks=disks,
        survey=survey,
        columns=columns,
        notes=tuple(plan.notes),
        todo=tuple(dict.fromkeys(_todo(engines, disks, memory, survey, columns))),
        code=_code(engines, disks, columns),
    )


def _engine(name: str, root: Path, docker: diagnosis.Docker) -> tuple[Engine | None, Engines]:
    version = diagnosis.uv_version()
    try:
        engine, why = select.choose(name, root)
    except errors.TfreproError as error:
        return None, Engines(name="", why=str(error), way=error.hint, uv=version, docker=docker)
    return engine, Engines(name=engine.name, why=why, way="", uv=version, docker=docker)


def _environments(engine: Engine | None, plan: Plan) -> tuple[set[str], tuple[Disk, ...]]:
    """Ids of the columns whose environments stand, and the room that the others need."""
    if engine is None:
        return set(), ()
    try:
        if isinstance(engine, DockerEngine):
            with closing(engine):
                return _standing(engine, plan)
        return _standing(engine, plan)
    except errors.TfreproError:  # the daemon has gone since; diagnosis has told of it
        return set(), ()


def _standing(engine: Engine, plan: Plan) -> tuple[set[str], tuple[Disk, ...]]:
    built = {column.id for column in plan.ready if engine.cached(column)}
    return built, (_disk("environments", *engine.disk_need(plan.ready)),)


def _disk(what: str, folder: Path, need: int) -> Disk:
    """The nearest parent that can be seen; its file system is the one that fills."""
    for there in (folder, *folder.parents):
        try:
            return Disk(what=what, folder=there, need=need, free=shutil.disk_usage(there).free)
        except OSError:
            continue
    return Disk(what=what, folder=folder, need=need, free=0)


def _column(column: Column, gpu: Gpu | None, driver: str, built: bool) -> ColumnLine:  # noqa: FBT001 - a fact, no switch
    """The line of a column: why it cannot run, else what the preflight says of it."""
    fired: tuple[preflight.Rule, ...] = ()
    line = column.reason or column.advice or "ok"
    if gpu is not None and not column.pair.refused and column.pair.cuda != "cpu":
        advice = preflight.advise(column.pair, gpu, driver)
        fired = advice.rules
        line = column.reason or advice.text
    return ColumnLine(column=column.id, gpu=column.gpu, status=column.status, line=line, built=built, rules=fired)


def _code(engines: Engines, disks: Sequence[Disk], columns: Sequence[ColumnLine]) -> int:
    if not engines.name or any(disk.need > disk.free for disk in disks):
        return errors.ENGINE
    if any(column.status == "ready" for column in columns):
        return errors.OK
    return errors.NO_GPU if any(column.status == "gpu-not-visible" for column in columns) else errors.NOTHING


def _todo(
    engines: Engines, disks: Sequence[Disk], memory_mb: int, survey: GpuInventory, columns: Sequence[ColumnLine]
) -> Iterator[str]:
    """What to do, what keeps a run from starting first."""
    yield from _engine_todo(engines)
    for disk in disks:
        if disk.need > disk.free:
            lack = f"{disk.need / 1e9:.1f} GB are needed for {disk.what} and {disk.free / 1e9:.1f} GB are free"
            yield f"{disk.folder}: {lack}. Free some, or select fewer pairs with --env."
        elif not os.access(disk.folder, os.W_OK) and disk.what == "records and logs":
            yield f"{disk.folder}: {disk.what} cannot be written there. Name another folder with --reports."
    if 0 < memory_mb < _MEMORY_NEED_MB:
        yield f"Only {memory_mb} MiB of memory are free; a column with fewer than {_MEMORY_NEED_MB} may be killed."
    if any(column.status == "gpu-not-visible" for column in columns) and survey.why:
        yield f"No GPU: {survey.why}"
    yield from (f"{trouble}." for trouble in survey.troubles)
    for gpu in survey.gpus:
        yield from _gpu_todo(gpu)
    if survey.gpus and os.environ.get("CUDA_VISIBLE_DEVICES"):
        yield "CUDA_VISIBLE_DEVICES is set and not heeded: choose GPUs with --device UUID."
    for column in columns:
        yield from (rule.remedy for rule in column.rules if rule.remedy)


def _engine_todo(engines: Engines) -> Iterator[str]:
    docker = engines.docker
    if not engines.name:
        yield f"{engines.why}. {engines.way}".strip()
    if engines.name == "docker":
        for base, here in docker.bases.items():
            if not here:
                yield (
                    f"The base image {base} is not here and will be pulled. Where no registry can be reached make it "
                    "with 'nox -s base-image', or bring it with 'docker load'."
                )
    elif not docker.answers:
        yield f"For containers: {docker.daemon}."
    elif not docker.builds:
        yield f"For containers: {docker.builder}."


def _gpu_todo(gpu: Gpu) -> Iterator[str]:
    card = gpu.facts.get("MIG", "").rpartition(" of ")[2] if gpu.uuid.startswith("MIG-") else gpu.uuid
    for process, held in gpu.processes.items():
        size = f"{held} MiB" if held else "an unknown amount of memory"
        yield (
            f"{gpu.uuid}: another process ({_process(process)}) holds {size} on it. End it or wait: times would "
            "suffer, and free memory can steer which algorithm is picked."
        )
    if gpu.facts.get("compute mode") == "prohibited":
        yield f"{gpu.uuid}: its compute mode forbids computing. Allow it: nvidia-smi -i {card} -c 0"
    if gpu.facts.get("persistence") == "off":
        yield f"{gpu.uuid}: persistence is off, so each process wakes the driver: nvidia-smi -i {card} -pm 1"
    brakes = gpu.facts.get("clock events", "")
    if any(word in brakes for word in _BRAKES):
        yield f"{gpu.uuid}: it is held back now ({brakes}). GpuSample at its cooling and power before times are taken."
    if _floats(gpu):
        most = gpu.facts.get("max SM clock MHz", "MHZ")
        yield (
            f"{gpu.uuid}: clocks are not seen to be locked, so times move with them, and what is picked by time: "
            f"nvidia-smi -i {card} -lgc CLOCK, below {most} MHz."
        )


def _floats(gpu: Gpu) -> bool:
    """Whether nothing says that clocks are set. NVML has no reading of a lock itself, only what follows from it."""
    most, now = gpu.facts.get("max SM clock MHz"), gpu.facts.get("application SM clock MHz")
    return "application clocks" not in gpu.facts.get("clock events", "") and (now is None or now == most)


def _process(number: int) -> str:
    try:
        return f"{Path(f'/proc/{number}/comm').read_text(encoding='utf-8', errors='replace').strip()}, {number}"
    except OSError:
        return str(number)


def _memory_mb() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    free = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), "0")
    return int(free) * 1024 // _MIB


def as_json(findings: Findings) -> dict[str, Any]:
    """The findings for machines; raise ``SCHEMA`` where a field changes its meaning."""
    engines, survey = findings.engines, findings.survey
    docker = engines.docker
    return {
        "schema": SCHEMA,
        "code": findings.code,
        "engine": {
            "name": engines.name,
            "why": engines.why,
            "uv": engines.uv,
            "docker": {
                "answers": docker.answers,
                "daemon": docker.daemon,
                "builds": docker.builds,
                "builder": docker.builder,
                "bases": dict(docker.bases),
                "routes": dict(docker.routes),
                "facts": dict(docker.facts),
            },
        },
        "host": {**findings.host, "memory_free_mb": findings.memory_mb},
        "disks": [
            {"what": one.what, "folder": str(one.folder), "need": one.need, "free": one.free} for one in findings.disks
        ],
        "driver": survey.driver,
        "cuda": survey.cuda,
        "no_gpu_why": survey.why,
        "gpus": [
            {
                "uuid": gpu.uuid,
                "name": gpu.name,
                "capability": ".".join(map(str, gpu.capability)),
                "memory_mb": gpu.memory_mb,
                "facts": dict(gpu.facts),
                "processes": {str(number): held for number, held in gpu.processes.items()},
            }
            for gpu in survey.gpus
        ],
        "columns": [
            {
                "id": column.column,
                "gpu": column.gpu,
                "status": column.status,
                "line": column.line,
                "built": column.built,
                "rules": [{"id": rule.id, "level": rule.level, "source": rule.source} for rule in column.rules],
            }
            for column in findings.columns
        ],
        "notes": list(findings.notes),
        "todo": list(findings.todo),
    }


def text(findings: Findings) -> str:
    """The findings for people, in short sections of at most 100 columns."""
    parts = [
        _section("engine", _engine_rows(findings.engines)),
        _section("host", _host_rows(findings)),
        _section("driver and GPUs", _gpu_rows(findings.survey)),
        _section("columns", [(column.column, _said(column, findings.survey.why)) for column in findings.columns]),
    ]
    if findings.notes:
        parts.append(_section("notes", [("-", note) for note in findings.notes]))
    if findings.todo:
        numbered = [(f"{number}.", words) for number, words in enumerate(findings.todo, start=1)]
        parts.append(_section("what to do", numbered))
    ready = sum(column.status == "ready" for column in findings.columns)
    built = sum(column.built for column in findings.columns)
    parts.append(f"{ready} of {len(findings.columns)} columns can run; the environments of {built} stand already")
    return "\n\n".join(parts)


def _section(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """A title, and rows of a label and its text, wrapped under itself."""
    width = max((len(label) for label, _ in rows), default=0)
    lines = [title]
    for label, words in rows:
        head = f"  {label:<{width}}  "
        wrapped = textwrap.wrap(words, _WIDTH - len(head), break_long_words=False, break_on_hyphens=False) or [""]
        lines += [f"{head}{wrapped[0]}".rstrip(), *(" " * len(head) + line for line in wrapped[1:])]
    return "\n".join(lines)


def _said(column: ColumnLine, why_no_gpu: str) -> str:
    if column.status == "gpu-not-visible" and column.line == why_no_gpu:
        return column.status  # said once, above
    return column.line if column.status == "ready" else f"{column.status}: {column.line}"


def _engine_rows(engines: Engines) -> list[tuple[str, str]]:
    docker = engines.docker
    chosen = f"{engines.name or 'none'}: {engines.why}"
    rows = [("chosen", chosen), ("docker", docker.daemon), ("builder", docker.builder)]
    rows += [(f"base {base}", "here" if here else "not here") for base, here in docker.bases.items()]
    rows += [(f"GPU by {name}", why) for name, why in docker.routes.items()]
    rows += list(docker.facts.items())
    return [*rows, ("uv", engines.uv)]


def _host_rows(findings: Findings) -> list[tuple[str, str]]:
    told = findings.host
    free = f", {findings.memory_mb / 1024:.1f} GiB free" if findings.memory_mb else ""
    rows = [
        ("system", f"{told['name']}, {told['system']}"),
        ("CPU", f"{told['cpu']}, {told['cores']} cores"),
        ("memory", f"{told['memory_gb']} GB{free}"),
    ]
    for disk in findings.disks:
        need = f", {disk.need / 1e9:.1f} GB needed" if disk.need else ""
        rows.append((disk.what, f"{disk.free / 1e9:.1f} GB free at {disk.folder}{need}"))
    return rows


def _gpu_rows(survey: GpuInventory) -> list[tuple[str, str]]:
    if not survey.gpus:
        return [("none", survey.why)]
    newest = f", supports CUDA up to {survey.cuda // 1000}.{survey.cuda % 1000 // 10}" if survey.cuda else ""
    rows = [("driver", f"{survey.driver or 'unknown'}{newest}")]
    for number, gpu in enumerate(survey.gpus):
        capability = ".".join(map(str, gpu.capability))
        rows.append((f"GPU {number}", f"{gpu.name}, capability {capability}, {gpu.memory_mb} MiB, {gpu.uuid}"))
        if gpu.facts:
            rows.append(("", ", ".join(f"{name} {value}" for name, value in gpu.facts.items())))
        rows += [("", f"process {_process(one)} holds {held} MiB") for one, held in gpu.processes.items()]
    return rows
