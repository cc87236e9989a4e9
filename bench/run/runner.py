"""One run over the matrix: prepare, reuse, measure. In ``course`` are its rounds."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bench
from bench import host
from bench.errors import BuildError, NoGpuError, StorageError
from bench.gpu.facts import TRANSIENT
from bench.gpu.guard import watching
from bench.plan import duration
from bench.portable.lock import measuring_lock
from bench.run.scheduler import Scheduler, State, reason, status
from bench.store import resume
from bench.store.run_folder import RunFolder, now, reports_lock
from bench.store.run_info import ColumnInfo, RunInfo, kernel_infos
from bench.suite.record import SCHEMA
from bench.suite.suite_hash import suite_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bench.engines.base import Engine, Environment
    from bench.plan.column import Column
    from bench.plan.planner import Plan, Round
    from bench.run.progress import View
    from bench.run.rounds import Watching
    from bench.suite.record import Request

#: Builds at a time; measurements are never more than one on a device.
BUILDERS = 2
#: What a run folder may take: records and logs.
REPORT_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one invocation was told. ``watching`` opens the guard of a GPU by its UUID."""

    plan: Plan
    engine: Engine
    engine_why: str
    root: Path
    reports: Path
    command: str
    fresh: bool = False
    watching: Watching = watching


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
        if _measure(job, state, earlier, view):  # else the same command goes on from here
            state.save(finished=now())
    return state.folder.path


def _check_disk(job: Job) -> None:
    check_space(*job.engine.disk_need(job.plan.ready), "environments")
    check_space(job.reports, REPORT_BYTES, "records and logs")


def check_space(place: Path, need: int, what: str) -> None:
    """Raise StorageError where ``place`` has not so many bytes free for ``what``."""
    there = _nearest(place)
    free = shutil.disk_usage(there).free
    if need > free:
        message = f"Not enough disk space for {what}: {need / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free at {there}."
        raise StorageError(message, "Free some space, select fewer pairs with --env, or use another folder.")


def _nearest(folder: Path) -> Path:
    """The nearest parent that exists and may be seen; its file system is the one that fills."""
    for there in (folder, *folder.parents):
        try:
            if there.is_dir():
                return there
        except OSError:
            continue
    return folder


def _begin(job: Job) -> State:
    plan = job.plan
    info = RunInfo(
        schema=SCHEMA,
        id="",
        started=now(),
        finished="",
        version=bench.__version__,
        revision=host.revision(job.root),
        command=job.command,
        **plan.facts(),
        engine=job.engine.name,
        engine_why=job.engine_why,
        engine_facts=job.engine.describe(),
        host=host.facts(plan.devices.survey),
        suite_hash=suite_hash(job.root),
        columns=tuple(ColumnInfo(**column.facts()) for column in plan.columns),
        kernels=kernel_infos(plan.kernels),
        warnings=tuple(dict.fromkeys(_warnings(plan))),
    )
    folder = RunFolder.create(job.reports)
    state = State(info=info, folder=folder)
    state.save(id=folder.id)
    return state


def _warnings(plan: Plan) -> Iterator[str]:
    """What a reader must know that the records cannot say."""
    for sentence in plan.suite.errors.values():
        yield f"Kernels of your own: {sentence}"
    survey = plan.devices.survey
    yield from plan.notes
    yield from survey.troubles
    if survey.gpus and all(column.device == "cpu" for column in plan.columns):
        names = ", ".join(dict.fromkeys(gpu.name for gpu in survey.gpus))
        yield f"This host has a GPU, {names}, and only CPU pairs were measured: this page says nothing about it."
    for variation in plan.variations:
        name, _, value = variation.partition("=")
        if name == "isa" and not host.can_limit_isa(value):
            yield f"Variation {variation} takes nothing away from this CPU, so it is the default measured once more."


def _prepare(job: Job, state: State, view: View) -> None:
    """Make every environment; a build that fails costs its own column only."""
    with _builders() as pool:
        builds = {column.id: pool.submit(_build, job, state, column, view) for column in job.plan.ready}
        for column, build in builds.items():
            try:
                environment = build.result()
            except (BuildError, NoGpuError) as error:
                view.say(f"{status(error).replace('-', ' ')}: {reason(error)}")
                state.give_up(column, status(error), reason(error))
            else:
                state.environments[column] = environment
                word = "found" if environment.reused else "built"
                view.say(f"{column}: environment {word} in {environment.seconds:.1f} s")
    columns = tuple(
        dataclasses.replace(known, environment=dict(state.environments[known.id].details))
        if known.id in state.environments
        else known
        for known in state.info.columns
    )
    state.save(columns=columns)


@contextmanager
def _builders() -> Iterator[ThreadPoolExecutor]:
    """Threads for builds; after Ctrl-C those that have not begun never do."""
    pool = ThreadPoolExecutor(max_workers=BUILDERS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _build(job: Job, state: State, column: Column, view: View) -> Environment:
    log = state.folder.log_path(column.id, "build")
    return job.engine.prepare(column, log, lambda step: view.say(f"{column.id}: {step}"))


def _measure(job: Job, state: State, earlier: tuple[Path, ...], view: View) -> bool:
    """Run what is left to run, the CPU's rounds first; False where a column had to be given up."""
    requests = [(one, _request(job, state, one)) for one in job.plan.rounds if one.column.id in state.environments]
    left = _take_over(state, requests, resume.finished_rounds(earlier), view)
    _remember_deaths(state, left, resume.measured_again(earlier))
    pace = duration.EtaEstimator([one for one, _ in left])
    view.begin(len(left), pace.left_s())
    course = Scheduler(job.engine, job.watching, state, view, pace)
    lanes: dict[str, list[tuple[Round, Request]]] = {}
    for one, request in left:
        lanes.setdefault(one.column.gpu, []).append((one, request))
    on_cpu = lanes.pop("", [])
    if on_cpu:
        with measuring_lock(view.say):
            course.lane(on_cpu)
    if lanes:
        with measuring_lock(view.say, tuple(lanes)):
            course.side_by_side(list(lanes.values()))
    return not course.given_up


def _take_over(
    state: State,
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
        target = state.folder.record_path(one.column.id, one.variation, one.mode, one.number)
        relative = target.relative_to(state.folder.path).as_posix()
        state.folder.take(found[0], relative)
        taken[relative.removesuffix(".xz")] = found[1]
    if taken:
        view.say(
            f"reused from interrupted runs: {len(taken)} of {len(requests)} rounds (--no-resume measures all again)"
        )
        state.save(reused=taken)
        state.keeper.count_stored(state.folder.path)
    return left


def _remember_deaths(state: State, left: list[tuple[Round, Request]], died: Mapping[str, str]) -> None:
    """A kernel that died in an interrupted run is measured again, and stays on the page."""
    told = [
        f"{one.column.id}, {one.variation}, {one.mode}, round {one.number} is measured again; it died "
        f"{died[str(request.context['resume_key'])]}"
        for one, request in left
        if str(request.context["resume_key"]) in died
    ]
    if told:
        state.save(warnings=(*state.info.warnings, *told))


def _request(job: Job, state: State, one: Round) -> Request:
    """The request of a round; its context holds the resume key over all that could change its bits or times."""
    environment = state.environments[one.column.id]
    request = one.request(job.plan.suite.sources)
    gpu = next((found for found in job.plan.devices.gpus if found.uuid == one.column.gpu), None)
    told = {name: text for name, text in gpu.facts.items() if name not in TRANSIENT} if gpu else {}
    facts = {
        "request": dataclasses.asdict(request),
        "suite": state.info.suite_hash,
        "engine": job.engine.name,
        "environment": environment.identity,
        "lock": one.column.lock_hash(),
        "host": {key: state.info.host[key] for key in ("name", "system", "cpu", "cores")},
        "gpu": {"uuid": gpu.uuid, "name": gpu.name, "driver": job.plan.devices.survey.driver, **told} if gpu else {},
    }
    context = {
        "run": state.folder.id,
        "engine": job.engine.name,
        "environment": environment.identity,
        "lock_hash": one.column.lock_hash(),
        "host": state.info.host["name"],
        "rounds": one.planned,
        "resume_key": resume.resume_key(facts),
    }
    return dataclasses.replace(request, context=context)
