"""One run over the matrix: build the environments, reuse finished rounds, measure the others and the timing pairs."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bench
from bench import host
from bench.errors import BuildError, NoGpuError, StorageError
from bench.gpu.facts import TRANSIENT
from bench.gpu.guard import watching
from bench.plan import duration
from bench.portable.lock import measuring_lock
from bench.portable.scratch import remove_abandoned
from bench.run.scheduler import PassCounter, Scheduler, State, Task, reason, status
from bench.store import locks, resume
from bench.store.run_folder import RunFolder, now, reports_lock
from bench.store.run_info import ColumnInfo, RunInfo, kernel_infos
from bench.suite.record import SCHEMA
from bench.suite.suite_hash import suite_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bench.engines.base import Engine, Environment
    from bench.plan.column import Column
    from bench.plan.planner import Plan
    from bench.plan.schedule import Round, TimingPair
    from bench.run.progress import View
    from bench.run.rounds import Watching
    from bench.run.scheduler import OnPass
    from bench.suite.record import Request

#: Environments built at the same time.
BUILDERS = 2
#: Free bytes that the run folder must find: records and logs.
REPORT_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one invocation is to run, where, and with what.

    ``fresh`` ignores interrupted runs; a ``final`` run has ended even if a column was given up, and is not resumed.
    ``watching`` opens the guard of a GPU by its UUID. ``on_pass`` is called with the run folder after each pass over
    the columns of a device, and in the first pass after each column, from a thread that measures and at most every
    ``PAGE_INTERVAL_S`` seconds; what it raises becomes a warning.
    """

    plan: Plan
    engine: Engine
    engine_why: str
    root: Path
    reports: Path
    command: str
    fresh: bool = False
    final: bool = False
    watching: Watching = watching
    on_pass: OnPass | None = None


def run(job: Job, view: View) -> Path:
    """Run a job to its end and return the run folder, whose records say what was seen.

    Raises:
        BusyError: another run holds the reports folder.
        StorageError: there is no space, or a folder cannot be written.
    """
    with reports_lock(job.reports, job.command):
        _check_disk(job)
        swept = job.engine.sweep()
        if swept:
            view.say(f"removed {swept} containers left behind by a killed run")
        folders = remove_abandoned()
        if folders:
            view.say(f"removed {folders} temporary folders left behind by a killed run")
        state = _begin(job)
        earlier = () if job.fresh else resume.interrupted(job.reports, state.info)
        view.say(f"run folder {state.folder.path}")
        _prepare(job, state, view)
        if not state.environments:
            state.save(finished=now() if job.final else "")
            return state.folder.path
        try:
            with temporary_files():
                complete = _measure(job, state, earlier, view)
        except BaseException:
            with suppress(StorageError):  # the error that stopped the run is the one to report
                state.save(seconds_left=0.0)
            raise
        # without the time of its end, the same command resumes the run
        state.save(seconds_left=0.0, finished=now() if complete or job.final else "")
    return state.folder.path


def _check_disk(job: Job) -> None:
    check_space(*job.engine.disk_need(job.plan.ready), "environments")
    check_space(job.reports, REPORT_BYTES, "records and logs")


def check_space(place: Path, need: int, what: str) -> None:
    """Raise StorageError where the file system of ``place`` has fewer than ``need`` bytes free for ``what``."""
    folder = _nearest(place)
    free = shutil.disk_usage(folder).free
    if need > free:
        message = f"Not enough disk space for {what}: {need / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free at {folder}."
        raise StorageError(message, "Free some space, select fewer pairs with --env, or use another folder.")


@contextmanager
def temporary_files() -> Iterator[None]:
    """Raise StorageError where a temporary file cannot be written because its disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        message = f"{error.filename or 'A temporary file'} cannot be written: {error.strerror}."
        raise StorageError(message, "Free some space, or set TMPDIR to another folder.") from error


def _nearest(folder: Path) -> Path:
    """Return the nearest parent that exists and is readable: its file system is the one that fills."""
    for parent in (folder, *folder.parents):
        try:
            if parent.is_dir():
                return parent
        except OSError:
            continue
    return folder


def _begin(job: Job) -> State:
    """Create the run folder with its run.json."""
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
        host={**host.facts(plan.devices.survey), **job.engine.host()},
        suite_hash=suite_hash(job.root),
        columns=tuple(ColumnInfo(**column.facts()) for column in plan.columns),
        kernels=kernel_infos(plan.kernels),
        warnings=tuple(dict.fromkeys(_warnings(plan))),
    )
    folder = RunFolder.create(job.reports)
    folder.keep_kernel_files(plan.suite.sources)
    for column in plan.ready:
        locks.keep(job.reports, column.lock)
    state = State(info=info, folder=folder)
    state.save(id=folder.id)
    return state


def _warnings(plan: Plan) -> Iterator[str]:
    """Yield what a reader of the page must know and the records do not say."""
    for sentence in plan.suite.errors.values():
        yield f"Custom kernels: {sentence}"
    survey = plan.devices.survey
    yield from plan.notes
    yield from survey.troubles
    if survey.gpus and all(column.device == "cpu" for column in plan.columns):
        names = ", ".join(dict.fromkeys(gpu.name for gpu in survey.gpus))
        yield f"This host has a GPU ({names}), but only CPU pairs were measured: these results say nothing about it."
    for variation in plan.variations:
        name, _, value = variation.partition("=")
        if name == "isa" and not host.can_limit_isa(value):
            yield f"Variation {variation} restricts nothing on this CPU, so it repeats the default variation."


def _prepare(job: Job, state: State, view: View) -> None:
    """Build every environment. A build that fails costs only its own column."""
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
        dataclasses.replace(info, environment=_environment(state.environments[info.id]))
        if info.id in state.environments
        else info
        for info in state.info.columns
    )
    state.save(columns=columns)


def _environment(environment: Environment) -> dict[str, str]:
    """Return what run.json says of an environment; its records have the same identity."""
    return {**environment.details, "identity": environment.identity}


@contextmanager
def _builders() -> Iterator[ThreadPoolExecutor]:
    """Threads for builds. After Ctrl-C, builds that have not begun are cancelled."""
    pool = ThreadPoolExecutor(max_workers=BUILDERS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _build(job: Job, state: State, column: Column, view: View) -> Environment:
    log = state.folder.log_path(column.id, "build")
    return job.engine.prepare(column, log, lambda step: view.say(f"{column.id}: {step}"))


def _measure(job: Job, state: State, earlier: tuple[Path, ...], view: View) -> bool:
    """Measure what is left, the CPU's first. Return False where a column, or timing pairs, had to be given up.

    Rounds run side by side on the CPU: load can only make a difference show that would otherwise stay hidden. Their
    threads are not bound to cores, because that would change their number, and with it bits. Timing pairs run alone.
    """
    rounds = [_round_task(job, state, item) for item in job.plan.rounds if item.column.id in state.environments]
    pairs = [_pair_task(job, state, pair) for pair in job.plan.pairs if _is_ready(pair, state)]
    rounds_left = _reuse(state, rounds, resume.finished_rounds(earlier), view, "rounds")
    _warn_of_deaths(state, rounds_left, resume.measured_again(earlier))
    pairs_left = _reuse(state, pairs, resume.finished_pairs(earlier), view, "timing pairs")
    left = [task.item for task in (*rounds_left, *pairs_left)]
    processes = host.parallel_processes()
    eta = duration.EtaEstimator(left, processes)
    passes = PassCounter([task.item for task in (*rounds, *pairs)], left)
    state.save(**passes.progress(eta.left_s()).facts())
    view.begin(len(rounds_left), len(pairs_left), eta.left_s())
    scheduler = Scheduler(job.engine, job.watching, state, view, eta, passes, job.on_pass)
    rounds_of, pairs_of = _by_device(rounds_left), _by_device(pairs_left)
    on_cpu, paired_on_cpu = rounds_of.pop("", deque()), pairs_of.pop("", deque())
    if on_cpu or paired_on_cpu:
        with measuring_lock(view.say):
            scheduler.side_by_side([on_cpu] * max(1, min(processes, len(on_cpu))))
            scheduler.one_by_one(paired_on_cpu)
    gpus = tuple(dict.fromkeys((*rounds_of, *pairs_of)))
    if gpus:
        with measuring_lock(view.say, gpus):
            scheduler.side_by_side([rounds_of.get(gpu, deque()) + pairs_of.get(gpu, deque()) for gpu in gpus])
    return not scheduler.given_up


def _is_ready(pair: TimingPair, state: State) -> bool:
    return all(column.id in state.environments for column in pair.columns.values())


def _by_device(tasks: list[Task]) -> dict[str, deque[Task]]:
    """Return the tasks of each GPU by its UUID, and those of the CPU under ""."""
    queues: dict[str, deque[Task]] = {}
    for task in tasks:
        queues.setdefault(task.item.column.gpu, deque()).append(task)
    return queues


def _reuse(
    state: State, tasks: list[Task], finished: Mapping[str, tuple[Path, str]], view: View, what: str
) -> list[Task]:
    """Link what interrupted runs have finished, and return the tasks still to be measured.

    ``finished`` maps resume keys to a record and the id of the run that measured it; ``what`` names the tasks.
    """
    left: list[Task] = []
    reused: dict[str, str] = {}
    for task in tasks:
        match = finished.get(task.resume_key)
        if match is None:
            left.append(task)
            continue
        record, run_id = match
        relative = task.record_path(state.folder).relative_to(state.folder.path).as_posix()
        state.folder.take(record, relative)
        reused[relative.removesuffix(".xz")] = run_id
    if reused:
        view.say(f"reused from interrupted runs: {len(reused)} of {len(tasks)} {what} (--no-resume measures all again)")
        state.save(reused={**state.info.reused, **reused})
        state.keeper.count_stored(state.folder.path)
    return left


def _warn_of_deaths(state: State, left: list[Task], died: Mapping[str, str]) -> None:
    """Add a warning for each round that is measured again because a kernel died in it, so that this is not lost.

    ``died`` maps resume keys to what died, and in which run.
    """
    again = [(task.request, died[task.resume_key]) for task in left if task.resume_key in died]
    sentences = [
        f"{request.column}, {request.variation}, {request.mode}, round {request.round} is measured again; "
        f"it died {what}"
        for request, what in again
    ]
    if sentences:
        state.warn(*sentences)


def _round_task(job: Job, state: State, item: Round) -> Task:
    """Return a round with its request, whose resume key is a hash of all that could change bits or times.

    The number of planned rounds is part of it: a record of five planned rounds must not count as one of twenty.
    """
    request = item.request(job.plan.suite)
    key = resume.resume_key({**_facts(job, state, item.column, request), "rounds": item.planned})
    context = _context(job, state, item.column, item.planned, key)
    return Task(item=item, requests={"": dataclasses.replace(request, context=context)})


def _pair_task(job: Job, state: State, pair: TimingPair) -> Task:
    """Return a timing pair with the requests of its sides. Both have the resume key of the pair."""
    requests = pair.requests(job.plan.suite)
    sides = [_facts(job, state, column, requests[side]) for side, column in pair.columns.items()]
    key = resume.resume_key({"pair": pair.name, "first": pair.first, "budget_s": pair.budget_s, "sides": sides})
    contexts = {side: _context(job, state, column, pair.planned, key) for side, column in pair.columns.items()}
    return Task(
        item=pair,
        requests={side: dataclasses.replace(requests[side], context=context) for side, context in contexts.items()},
    )


def _facts(job: Job, state: State, column: Column, request: Request) -> dict[str, Any]:
    """Return all that could change the bits or times of a request in a column."""
    gpu = next((gpu for gpu in job.plan.devices.gpus if gpu.uuid == column.gpu), None)
    lasting = {name: text for name, text in gpu.facts.items() if name not in TRANSIENT} if gpu else {}
    driver = job.plan.devices.survey.driver
    return {
        "request": dataclasses.asdict(request),
        "suite": state.info.suite_hash,
        "engine": job.engine.name,
        "environment": state.environments[column.id].identity,
        "lock": column.lock_hash(),
        "host": {key: state.info.host[key] for key in ("name", "system", "cpu", "cores")},
        "gpu": {"uuid": gpu.uuid, "name": gpu.name, "driver": driver, **lasting} if gpu else {},
    }


def _context(job: Job, state: State, column: Column, planned: int, key: str) -> dict[str, Any]:
    """Return the context of a request: the number of ``planned`` rounds or pairs, and its resume key."""
    return {
        "run": state.folder.id,
        "engine": job.engine.name,
        "environment": state.environments[column.id].identity,
        "lock_hash": column.lock_hash(),
        "host": state.info.host["name"],
        "rounds": planned,
        "resume_key": key,
    }
