"""One run over the matrix: prepare, take over, measure. The only place where plan, engines and store meet."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bench
from bench import host
from bench.errors import BuildError, EngineError, StorageError
from bench.plan import estimate
from bench.store import resume
from bench.store.folder import RunFolder, measuring_lock, now, reports_lock
from bench.store.kept import Keeper
from bench.store.run import SCHEMA, CellInfo, KernelInfo, RunInfo, record_files
from bench.suite.identity import suite_hash
from bench.suite.record import line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bench.console import View
    from bench.engines.base import Engine, Environment, Execution
    from bench.plan.cell import Cell
    from bench.plan.planner import Plan, Round
    from bench.suite.record import Request

#: Builds at a time; measurements are never more than one.
BUILDERS = 2
#: What a run folder may take: records and logs.
REPORT_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one invocation was told."""

    plan: Plan
    engine: Engine
    engine_why: str
    house: Path
    reports: Path
    command: str
    fresh: bool = False


@dataclass
class _State:
    """What a run knows so far; becomes run.json."""

    info: RunInfo
    folder: RunFolder
    environments: dict[str, Environment] = field(default_factory=dict)
    keeper: Keeper = field(default_factory=Keeper)

    def save(self, **changes: Any) -> None:
        self.info = dataclasses.replace(self.info, **changes)
        self.folder.write_info(self.info)

    def lose(self, one: Round, error: EngineError) -> None:
        """A cell whose round could not be run is given up; what it has measured stays and is judged."""
        reason = f"{error} {error.hint}".strip()
        if any(file.parts[-3] == one.cell.id for file in record_files(self.folder.path)):
            self.environments.pop(one.cell.id)
            place = f"{one.cell.id} was given up in round {one.number} ({one.condition}, determinism {one.mode})"
            self.save(warnings=(*self.info.warnings, f"{place}: {reason}"))
        else:
            self.give_up(one.cell.id, error.status, reason)

    def give_up(self, cell: str, status: str, reason: str) -> None:
        """Mark a cell that cannot go on; the others do."""
        self.environments.pop(cell, None)
        cells = tuple(
            dataclasses.replace(known, status=status, reason=reason) if known.id == cell else known
            for known in self.info.cells
        )
        self.save(cells=cells)


def run(job: Job, view: View) -> Path:
    """Run a job to its end; returns the run folder, whose records say what was seen.

    Raises:
        BusyError: another run holds the reports folder.
        StorageError: no space, or a folder that cannot be written.
    """
    with reports_lock(job.reports, job.command):
        _check_disk(job)
        swept = job.engine.sweep()
        if swept:
            view.say(f"removed {swept} containers that a killed run had left behind")
        state = _begin(job)
        earlier = () if job.fresh else resume.interrupted(job.reports, state.info)
        view.say(f"run folder {state.folder.path}")
        _prepare(job, state, view)
        if not state.environments:
            return state.folder.path
        with measuring_lock(view.say):
            whole = _measure(job, state, earlier, view)
        if whole:  # else the same command goes on from here
            state.save(finished=now())
    return state.folder.path


def _check_disk(job: Job) -> None:
    place, need = job.engine.disk_need(job.plan.ready)
    for folder, wanted, what in ((place, need, "environments"), (job.reports, REPORT_BYTES, "records and logs")):
        there = _nearest(folder)
        free = shutil.disk_usage(there).free
        if wanted > free:
            message = (
                f"Not enough disk space for {what}: {wanted / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free at {there}."
            )
            raise StorageError(message, "Free some space, select fewer pairs with --only, or use another folder.")


def _nearest(folder: Path) -> Path:
    """The nearest parent that exists and may be seen; its file system is the one that fills."""
    for there in (folder, *folder.parents):
        try:
            if there.is_dir():
                return there
        except OSError:
            continue
    return folder


def _begin(job: Job) -> _State:
    plan = job.plan
    info = RunInfo(
        schema=SCHEMA,
        id="",
        started=now(),
        finished="",
        version=bench.__version__,
        revision=host.revision(job.house),
        command=job.command,
        profile=plan.profile_name,
        rounds=plan.profile.rounds,
        repeats=plan.profile.repeats,
        seed=plan.profile.seed,
        modes=plan.selection.modes,
        conditions=plan.conditions,
        condition_modes=plan.condition_modes,
        engine=job.engine.name,
        engine_why=job.engine_why,
        engine_facts=job.engine.describe(),
        host=host.facts(),
        suite_hash=suite_hash(job.house),
        cells=tuple(_cell_info(cell) for cell in plan.cells),
        kernels=tuple(KernelInfo(**kernel.declaration()) for kernel in plan.kernels),
        warnings=tuple(_warnings(plan)),
    )
    folder = RunFolder.create(job.reports)
    state = _State(info=info, folder=folder)
    state.save(id=folder.id)
    return state


def _warnings(plan: Plan) -> Iterator[str]:
    """What a reader must know that the records cannot say."""
    for sentence in plan.suite.errors.values():
        yield f"Kernels of your own: {sentence}"
    gpu = host.gpu()
    if gpu != host.NO_GPU:
        yield f"This host has a GPU, {gpu}, and only CPU pairs were measured: this page says nothing about it."
    for condition in plan.conditions:
        name, _, value = condition.partition("=")
        if name == "isa" and not host.limits(value):
            yield f"Condition {condition} takes nothing away from this CPU, so it is the default measured once more."


def _cell_info(cell: Cell) -> CellInfo:
    return CellInfo(
        id=cell.id,
        tensorflow=cell.pair.tensorflow,
        cuda=cell.pair.cuda,
        python=cell.pair.python,
        keras=cell.pair.keras,
        device=cell.device,
        lock=cell.lock.name,
        lock_hash=cell.lock_hash() if cell.lock.is_file() else "",
        status=cell.status,
        reason=cell.reason,
    )


def _prepare(job: Job, state: _State, view: View) -> None:
    """Make every environment; a build that fails costs its own cell only."""
    with _builders() as pool:
        builds = {cell.id: pool.submit(_build, job, state, cell, view) for cell in job.plan.ready}
        for cell, build in builds.items():
            try:
                environment = build.result()
            except BuildError as error:
                reason = f"{error} {error.hint}".strip()
                view.say(f"build failed: {reason}")
                state.give_up(cell, "build-failed", reason)
            else:
                state.environments[cell] = environment
                word = "found" if environment.reused else "built"
                view.say(f"{cell}: environment {word} in {environment.seconds:.1f} s")
    cells = tuple(
        dataclasses.replace(known, environment=dict(state.environments[known.id].details))
        if known.id in state.environments
        else known
        for known in state.info.cells
    )
    state.save(cells=cells)


@contextmanager
def _builders() -> Iterator[ThreadPoolExecutor]:
    """Threads for builds; after Ctrl-C those that have not begun never do."""
    pool = ThreadPoolExecutor(max_workers=BUILDERS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _build(job: Job, state: _State, cell: Cell, view: View) -> Environment:
    log = state.folder.log_path(cell.id, "build")
    return job.engine.prepare(cell, log, lambda step: view.say(f"{cell.id}: {step}"))


def _measure(job: Job, state: _State, earlier: tuple[Path, ...], view: View) -> bool:
    """Run what is left to run; False where a cell had to be given up."""
    given_up = False
    requests = [(one, _request(job, state, one)) for one in job.plan.rounds if one.cell.id in state.environments]
    left = _take_over(state, requests, resume.finished_rounds(earlier), view)
    _remember_deaths(state, left, resume.measured_again(earlier))
    pace = estimate.Pace([one for one, _ in left])
    view.begin(len(left), pace.left_s())
    for one, request in left:
        if one.cell.id not in state.environments:
            pace.skip(one)
            continue
        view.round(f"{one.cell.id} {one.condition} {one.mode} round {one.number}")
        start = time.monotonic()
        try:
            _round(job, state, one, request, view)
        except EngineError as error:
            given_up = True
            view.say(f"{one.cell.id}: {error} {error.hint}")
            state.lose(one, error)
        view.done(time.monotonic() - start, pace.took(one, time.monotonic() - start))
    return not given_up


def _take_over(
    state: _State,
    requests: list[tuple[Round, Request]],
    ready: Mapping[str, tuple[Path, str]],
    view: View,
) -> list[tuple[Round, Request]]:
    """Link what interrupted runs have finished; returns the rounds that are still to be measured."""
    left: list[tuple[Round, Request]] = []
    taken: dict[str, str] = {}
    for one, request in requests:
        found = ready.get(str(request.context["resume_key"]))
        if found is None:
            left.append((one, request))
            continue
        target = state.folder.record_path(one.cell.id, one.condition, one.mode, one.number)
        relative = target.relative_to(state.folder.path).as_posix()
        state.folder.take(found[0], relative)
        taken[relative.removesuffix(".xz")] = found[1]
    if taken:
        view.say(
            f"taken over from interrupted runs: {len(taken)} of {len(requests)} rounds (--fresh measures all again)"
        )
        state.save(taken_over=taken)
        state.keeper.recall(state.folder.path)
    return left


def _remember_deaths(state: _State, left: list[tuple[Round, Request]], died: Mapping[str, str]) -> None:
    """A kernel that died in an interrupted run is measured again, and stays on the page."""
    told = [
        f"{one.cell.id}, {one.condition}, {one.mode}, round {one.number} is measured again; it died "
        f"{died[str(request.context['resume_key'])]}"
        for one, request in left
        if str(request.context["resume_key"]) in died
    ]
    if told:
        state.save(warnings=(*state.info.warnings, *told))


def _request(job: Job, state: _State, one: Round) -> Request:
    """The request of a round; its context holds the resume key over all that could change its bits or times."""
    environment = state.environments[one.cell.id]
    request = one.request(job.plan.suite.sources)
    facts = {
        "request": dataclasses.asdict(request),
        "suite": state.info.suite_hash,
        "engine": job.engine.name,
        "environment": environment.identity,
        "lock": one.cell.lock_hash(),
        "host": {key: state.info.host[key] for key in ("name", "system", "cpu", "cores", "gpu")},
    }
    context = {
        "run": state.folder.id,
        "engine": job.engine.name,
        "environment": environment.identity,
        "lock_hash": one.cell.lock_hash(),
        "host": state.info.host["name"],
        "rounds": one.planned,
        "resume_key": resume.resume_key(facts),
    }
    return dataclasses.replace(request, context=context)


def _round(job: Job, state: _State, one: Round, request: Request, view: View) -> None:
    """Measure one round into its record. A round whose cell died is closed with what is known of its end."""
    path = state.folder.record_path(one.cell.id, one.condition, one.mode, one.number)
    log = state.folder.log_path(one.cell.id, f"{one.condition}-{one.mode}-{one.number:03d}")
    watch = _Watch(view, state.info.suite_hash)
    group = (one.cell.id, one.condition, one.mode)
    with state.folder.recording(path) as streams:

        def on_line(text: str) -> None:
            kind, row = watch.see(text)
            if kind == "kept":
                if state.keeper.wants(group, row["kernel"], row["digest"], len(text)):
                    streams.kept.write(text)
            elif kind:
                streams.lines.write(text)
                streams.lines.flush()

        execution = job.engine.execute(state.environments[one.cell.id], request, on_line, log)
        if not watch.header:
            message = f"The round gave no record (exit code {execution.exit_code})."
            raise EngineError(message, f"Its last words are in {log}.")
        if not watch.ended:
            streams.lines.write(_closing(request, watch, execution))


def _closing(request: Request, watch: _Watch, execution: Execution) -> str:
    """The lines a dead cell could not write: an outcome for every kernel without one, and the end."""
    if execution.oom_killed:
        outcome, message = "oom", "the container reached its memory limit"
    else:
        outcome, message = (
            "crashed",
            f"the cell ended with exit code {execution.exit_code}; its last words are in the log",
        )
    body = {"process": max(watch.process, 1), "outcome": outcome, "seconds": 0.0, "error_class": "", "message": message}
    missing = [name for name in request.kernels if name not in watch.outcomes]
    ends = [line("outcome", {**body, "kernel": name}) for name in missing]
    return "".join(ends) + line("end", {"seconds": 0.0, "processes": max(watch.process, 1)})


class _Watch:
    """Reads along: what the view shows, and what a dead cell leaves open."""

    def __init__(self, view: View, suite: str) -> None:
        self._view = view
        self._suite = suite
        self.header = self.ended = False
        self.process = 0
        self.outcomes: set[str] = set()

    def see(self, text: str) -> tuple[str, dict[str, Any]]:
        """Take one line: its kind and content; no kind for the torn last line of a killed driver.

        Raises EngineError where the cell runs another suite than this checkout's.
        """
        try:
            row: dict[str, Any] = json.loads(text)
            kind = str(row["line"])
        except (ValueError, KeyError, TypeError):
            return "", {}
        if kind == "header":
            self.header = True
            if row["suite_hash"] != self._suite:
                message = "The suite inside the cell is not the one of this checkout."
                raise EngineError(message, "It was edited during the run: start the run again.")
        elif kind == "process":
            self.process = int(row["process"])
        elif kind == "kernel":
            self._view.kernel(str(row["kernel"]))
        elif kind == "outcome":
            self.outcomes.add(str(row["kernel"]))
        elif kind == "end":
            self.ended = True
        return kind, row
