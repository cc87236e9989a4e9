"""Check whether this host can run a plan, and say what to do if not: engine, disk, memory, GPUs and every column."""

from __future__ import annotations

import os
import shutil
import textwrap
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
from tabulate import tabulate

from bench import errors, host
from bench.engines import diagnosis, select
from bench.engines.docker import DockerEngine
from bench.gpu import facts
from bench.plan import preflight

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bench.engines.base import Engine
    from bench.gpu.facts import Gpu, GpuInventory
    from bench.plan.column import Column
    from bench.plan.planner import Plan

#: Version of the JSON.
SCHEMA = 1

_WIDTH = 80
_NARROWEST_TEXT = 30
_MIB = 1024**2
#: Warn if less memory is free: TensorFlow, its libraries and the largest kernels need this many MiB.
_MEMORY_NEED_MB = 4000
#: Words in clock events that mean that a GPU is slowed down now, not merely idle or configured so.
_SLOWDOWNS = ("hardware", "thermal", "power brake")


@dataclass(frozen=True, kw_only=True)
class Engines:
    """The engine that would run the plan, and why; ``name`` is "" and ``hint`` is set if it cannot be used."""

    name: str
    why: str
    hint: str
    uv: str
    docker: diagnosis.Docker


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The bytes that ``what`` needs in a folder, and the bytes that are free there."""

    what: str
    folder: Path
    need: int
    free: int


@dataclass(frozen=True, kw_only=True)
class ColumnLine:
    """One column: its status, a comment ("ok" if there is none) and its rules, and if its environment is built."""

    column: str
    gpu: str
    status: str
    line: str
    built: bool
    rules: tuple[preflight.Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The result of the examination.

    ``todo`` has one sentence for each thing to do; ``code`` is the exit code; ``memory_mb`` is free memory in MiB.
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
    """Examine this host for a plan; nothing is changed, and problems are described, never raised.

    The exit code in the result is 0 if a column can run, 4 if the engine cannot be used or the disk is too full, 5 if
    no column can run because a required GPU is missing, else 3.

    ``engine_name`` is the value of --engine, ``root`` the checkout, and ``reports`` need not exist.
    """
    survey = facts.survey()
    docker = diagnosis.docker(column.pair.base for column in plan.columns)
    engine, engines = _engine(engine_name, root, docker)
    built, disks = _environments(engine, plan)
    disks = (*disks, _disk("records and logs", reports, 0))
    gpus = {gpu.uuid: gpu for gpu in survey.gpus}
    columns = tuple(_column(column, gpus.get(column.gpu), survey.driver, column.id in built) for column in plan.columns)
    memory = psutil.virtual_memory().available // _MIB
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
        return None, Engines(name="", why=str(error), hint=error.hint, uv=version, docker=docker)
    return engine, Engines(name=engine.name, why=why, hint="", uv=version, docker=docker)


def _environments(engine: Engine | None, plan: Plan) -> tuple[set[str], tuple[Disk, ...]]:
    """Return the ids of the columns whose environments are built, and the disk space that the others need."""
    if engine is None:
        return set(), ()
    try:
        if isinstance(engine, DockerEngine):
            with closing(engine):
                return _built(engine, plan)
        return _built(engine, plan)
    except errors.TfreproError:  # the daemon has stopped since the diagnosis
        return set(), ()


def _built(engine: Engine, plan: Plan) -> tuple[set[str], tuple[Disk, ...]]:
    built = {column.id for column in plan.ready if engine.cached(column)}
    return built, (_disk("environments", *engine.disk_need(plan.ready)),)


def _disk(what: str, folder: Path, need: int) -> Disk:
    """Return the free space at a folder or at its nearest visible parent, which is on the same file system."""
    for path in (folder, *folder.parents):
        try:
            return Disk(what=what, folder=path, need=need, free=shutil.disk_usage(path).free)
        except OSError:
            continue
    return Disk(what=what, folder=folder, need=need, free=0)


def _column(column: Column, gpu: Gpu | None, driver: str, built: bool) -> ColumnLine:  # noqa: FBT001 - a fact, no switch
    """Return the line of a column: why it cannot run, else the advice of the preflight rules."""
    rules: tuple[preflight.Rule, ...] = ()
    line = column.reason or column.advice or "ok"
    if gpu is not None and not column.pair.refused and column.pair.cuda != "cpu":
        advice = preflight.advise(column.pair, gpu, driver)
        rules = advice.rules
        line = column.reason or advice.text
    return ColumnLine(column=column.id, gpu=column.gpu, status=column.status, line=line, built=built, rules=rules)


def _code(engines: Engines, disks: Sequence[Disk], columns: Sequence[ColumnLine]) -> int:
    if not engines.name or any(disk.need > disk.free for disk in disks):
        return errors.ENGINE
    if any(column.status == "ready" for column in columns):
        return errors.OK
    return errors.NO_GPU if any(column.status == "gpu-not-visible" for column in columns) else errors.NOTHING


def _todo(
    engines: Engines, disks: Sequence[Disk], memory_mb: int, survey: GpuInventory, columns: Sequence[ColumnLine]
) -> Iterator[str]:
    """Yield what to do, starting with what prevents a run."""
    yield from _engine_todo(engines)
    for disk in disks:
        if disk.need > disk.free:
            yield (
                f"{disk.folder}: {disk.what} need {disk.need / 1e9:.1f} GB, but only {disk.free / 1e9:.1f} GB are "
                "free. Free some space, or select fewer pairs with --env."
            )
        elif not os.access(disk.folder, os.W_OK) and disk.what == "records and logs":
            yield f"{disk.folder}: {disk.what} cannot be written there. Choose another folder with --reports."
    if memory_mb < _MEMORY_NEED_MB:
        yield f"Only {memory_mb} MiB of memory are free; with less than {_MEMORY_NEED_MB} MiB a column may be killed."
    if any(column.status == "gpu-not-visible" for column in columns) and survey.why:
        yield f"No GPU: {survey.why}."
    yield from (f"{trouble}." for trouble in survey.troubles)
    for gpu in survey.gpus:
        yield from _gpu_todo(gpu)
    if survey.gpus and os.environ.get("CUDA_VISIBLE_DEVICES"):
        yield "CUDA_VISIBLE_DEVICES is set but ignored: choose GPUs with --device UUID."
    for column in columns:
        yield from (rule.remedy for rule in column.rules if rule.remedy)


def _engine_todo(engines: Engines) -> Iterator[str]:
    docker = engines.docker
    if not engines.name:
        yield f"{engines.why}. {engines.hint}".strip()
    if engines.name == "docker":
        for base, present in docker.bases.items():
            if not present:
                yield (
                    f"The base image {base} is not on this host and will be pulled. Without access to a registry, "
                    "build it with 'nox -s base-image' or load it with 'docker load'."
                )
    elif not docker.answers:
        yield f"To use containers: {docker.daemon.removesuffix('.')}."
    elif not docker.builds:
        yield f"To use containers: {docker.builder.removesuffix('.')}."


def _gpu_todo(gpu: Gpu) -> Iterator[str]:
    # nvidia-smi changes the settings of a MIG device through its GPU.
    target = gpu.facts.get("MIG", "").rpartition(" of ")[2] if gpu.uuid.startswith("MIG-") else gpu.uuid
    for pid, mib in gpu.processes.items():
        size = f"{mib} MiB" if mib else "an unknown amount of memory"
        yield (
            f"{gpu.uuid}: another process ({_process(pid)}) holds {size} on it. End it or wait: it would distort "
            "times, and free memory can influence which algorithm is chosen."
        )
    if gpu.facts.get("compute mode") == "prohibited":
        yield f"{gpu.uuid}: its compute mode prohibits computing. Allow it: nvidia-smi -i {target} -c 0"
    if gpu.facts.get("persistence") == "off":
        yield (
            f"{gpu.uuid}: persistence mode is off, so every process has to wake the driver. "
            f"Turn it on: nvidia-smi -i {target} -pm 1"
        )
    events = gpu.facts.get("clock events", "")
    if any(word in events for word in _SLOWDOWNS):
        yield f"{gpu.uuid}: it is throttled now ({events}). Check cooling and power before measuring times."
    if not _clocks_set(gpu):
        maximum = gpu.facts.get("max SM clock MHz", "MHZ")
        yield (
            f"{gpu.uuid}: its clocks do not appear to be locked, so times vary with them, and so may algorithms that "
            f"are chosen by time. Lock them below {maximum} MHz: nvidia-smi -i {target} -lgc CLOCK"
        )


def _clocks_set(gpu: Gpu) -> bool:
    """Return whether clocks appear to be set. NVML cannot report a lock itself, only its effects."""
    maximum, application = gpu.facts.get("max SM clock MHz"), gpu.facts.get("application SM clock MHz")
    return "application clocks" in gpu.facts.get("clock events", "") or application not in {None, maximum}


def _process(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).name()}, {pid}"
    except (psutil.Error, OSError):
        return str(pid)


def as_json(findings: Findings) -> dict[str, Any]:
    """Return the findings for programs; raise ``SCHEMA`` if a field changes its meaning."""
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
            {"what": disk.what, "folder": str(disk.folder), "need": disk.need, "free": disk.free}
            for disk in findings.disks
        ],
        "driver": survey.driver,
        "cuda": survey.cuda,
        "no_gpu_why": survey.why,
        "gpus": [_gpu_fields(gpu) for gpu in survey.gpus],
        "columns": [_column_fields(column) for column in findings.columns],
        "notes": list(findings.notes),
        "todo": list(findings.todo),
    }


def _gpu_fields(gpu: Gpu) -> dict[str, Any]:
    return {
        "uuid": gpu.uuid,
        "name": gpu.name,
        "capability": ".".join(map(str, gpu.capability)),
        "memory_mb": gpu.memory_mb,
        "facts": dict(gpu.facts),
        "processes": {str(pid): mib for pid, mib in gpu.processes.items()},
    }


def _column_fields(column: ColumnLine) -> dict[str, Any]:
    return {
        "id": column.column,
        "gpu": column.gpu,
        "status": column.status,
        "line": column.line,
        "built": column.built,
        "rules": [{"id": rule.id, "level": rule.level, "source": rule.source} for rule in column.rules],
    }


def text(findings: Findings) -> str:
    """Return the findings for people, in short sections that fit 80 columns."""
    why_no_gpu = findings.survey.why
    sections = [
        _section("Engine", _engine_rows(findings.engines)),
        _section("Host", _host_rows(findings)),
        _section("Driver and GPUs", _gpu_rows(findings.survey)),
        _section("Columns", [(column.column, _comment(column, why_no_gpu)) for column in findings.columns]),
    ]
    if findings.notes:
        sections.append(_section("Notes", [("-", note) for note in findings.notes]))
    if findings.todo:
        numbered = [(f"{number}.", sentence) for number, sentence in enumerate(findings.todo, start=1)]
        sections.append(_section("What to do", numbered))
    return "\n\n".join([*sections, _verdict(findings)])


def _verdict(findings: Findings) -> str:
    ready = sum(column.status == "ready" for column in findings.columns)
    built = sum(column.built for column in findings.columns)
    if built and built >= ready:
        environments = "all environments are built"
    else:
        environments = f"{built} of {ready} environments are built" if built else "no environment is built yet"
    label = "Ready" if findings.code == errors.OK else "Not ready"
    return f"{label}: {ready} of {len(findings.columns)} columns can run; {environments}."


def _section(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a title above an indented table of labels and texts.

    Texts are wrapped before they reach tabulate, which would split UUIDs and commands at their hyphens.
    """
    label_width = max((len(label) for label, _ in rows), default=0)
    width = max(_WIDTH - label_width - len("    "), _NARROWEST_TEXT)
    wrap = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    table = tabulate([(label, wrap.fill(words)) for label, words in rows], tablefmt="plain", disable_numparse=True)
    return "\n".join([title, *(f"  {line}".rstrip() for line in table.splitlines())])


def _comment(column: ColumnLine, why_no_gpu: str) -> str:
    if column.status == "gpu-not-visible" and column.line == why_no_gpu:
        return column.status  # the section on GPUs gives the reason
    return column.line if column.status == "ready" else f"{column.status}: {column.line}"


def _engine_rows(engines: Engines) -> list[tuple[str, str]]:
    docker = engines.docker
    chosen = f"{engines.name or 'none'}: {engines.why}"
    rows = [("chosen", chosen), ("docker", docker.daemon), ("builder", docker.builder)]
    rows += [(f"base {base}", "present" if present else "not present") for base, present in docker.bases.items()]
    rows += [(f"GPU through {name}", why) for name, why in docker.routes.items()]
    rows += list(docker.facts.items())
    return [*rows, ("uv", engines.uv)]


def _host_rows(findings: Findings) -> list[tuple[str, str]]:
    info = findings.host
    rows = [
        ("system", f"{info['name']}, {info['system']}"),
        ("CPU", f"{info['cpu']}, {info['cores']} cores"),
        ("memory", f"{info['memory_gb']} GB, {findings.memory_mb / 1024:.1f} GiB free"),
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
        rows.append((f"GPU {number}", f"{gpu.name}, compute capability {capability}, {gpu.memory_mb} MiB, {gpu.uuid}"))
        if gpu.facts:
            rows.append(("", ", ".join(f"{name} {value}" for name, value in gpu.facts.items())))
        rows += [("", f"process {_process(pid)} holds {mib} MiB") for pid, mib in gpu.processes.items()]
    return rows
