"""A fleet run on hosts over ssh: send bundles, start cells, ask how far they are, and bring their records back.

What a host sends is not trusted: it is read line by line, and its archives are verified as any import.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from bench.errors import INTERRUPTED, EngineError, StorageError
from bench.fleet.ssh_client import SCRIPT, Client, HostError
from bench.fleet.state import FAILED, MEASURED, RUNNING, STOPPED, WAITING, CellState
from bench.fleet.status import CellStatus
from bench.portable.plan_runner import print_progress
from bench.store import find_run
from bench.store.archive import LIMITS, unpack
from bench.store.import_records import move_to_runs
from bench.store.run_folder import reports_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from bench.fleet.state import Cell, Fleet, FleetFolder

#: Bytes per second that sending and fetching may not fall below, and seconds that they get in addition.
_SLOWEST, _START_S = 250_000, 120.0
#: Seconds that a cell gets to end; bundles give a round 180 s, because removing a container may take that long.
STOP_S = 200
_LINE = re.compile(r"(cell|error) (\d{1,9}) (.*)")
_CELL = re.compile(r"(waiting|running|ended) (\d{1,3}) +(\d{1,15}) (\d{1,12})")


@dataclass(frozen=True)
class _HostCell:
    """What a host says about a cell; ``size`` is that of its archive in bytes, ``began`` the time by its own clock."""

    phase: str
    code: int
    size: int
    began: int
    error: str = ""


@dataclass
class _Answer:
    """What a host says; ``alive`` is whether it still runs cells, ``clock_s`` how far its clock is ahead."""

    alive: bool = False
    clock_s: float = 0.0
    cells: dict[int, _HostCell] = field(default_factory=dict)


class SshBackend:
    """The fleet run on its hosts; the folder keeps the last known state of each cell."""

    def __init__(self, folder: FleetFolder, fleet: Fleet) -> None:
        self._folder = folder
        self._fleet = fleet
        self._client = Client(fleet.ssh_config)
        self._hosts: dict[str, list[Cell]] = {}
        for cell in fleet.cells:
            self._hosts.setdefault(cell.node, []).append(cell)
        self._answers: dict[str, _Answer] = {}

    def statuses(self) -> tuple[CellStatus, ...]:
        """Ask each host once; a host that does not answer has the last known state of its cells."""
        asked = [host for host in self._hosts if not self._removed(host).exists()]
        self._answers, errors = self._client.each(asked, self._ask)
        return tuple(self._status(cell, errors.get(cell.node)) for cell in self._fleet.cells)

    def fetch(self, found: tuple[CellStatus, ...]) -> tuple[CellStatus, ...]:
        """Bring archives that are not here yet, and remove the folders of hosts from which everything was brought."""
        with reports_lock(self._folder.path, "fleet collect"):
            errors = self._fetch_archives()
            fetched = {cell.number for cell in self._fleet.cells if self._fetched(cell)}
            done = {number for number in fetched if self._folder.state(number).phase == MEASURED}
            self._remove(host for host in self._answers if done.issuperset(one.number for one in self._hosts[host]))
            if len(done) == len(self._fleet.cells):
                shutil.rmtree(self._bundles, ignore_errors=True)
        known = []
        for status in found:
            state = self._folder.state(status.cell.number) if status.state.final else status.state
            if state.phase == MEASURED and status.cell.number not in fetched:
                problem = errors.get(status.cell.node, "its host could not be asked")
                state = replace(state, phase=WAITING, message=f"measured, but not fetched: {problem}")
                known.append(CellStatus(cell=status.cell, state=state, over=False, answered=False))
            else:
                known.append(replace(status, state=state))
        return tuple(known)

    def submit(self, cells: Sequence[Cell], say: Callable[[str], None]) -> None:
        """Send what the cells need, and start them.

        Raises EngineError naming the hosts on which that failed; the cells of the others are started.
        """
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            self._folder.write_state(cell.number, CellState())
            shutil.rmtree(self._folder.reports(cell.number), ignore_errors=True)
            groups.setdefault(cell.node, []).append(cell)

        def start(host: str) -> None:
            self._removed(host).unlink(missing_ok=True)
            for pair in dict.fromkeys(cell.pair for cell in groups[host]):
                self._send(host, pair)
            words = [f"{cell.number:05d}={cell.pair}" for cell in groups[host]]
            self._client.call(host, "start", self._name(host), host, *words, send=_script)
            say(f"{host}: started {len(words)} cell{'s' if len(words) > 1 else ''}")

        _, errors = self._client.each(groups, start)
        for host, error in errors.items():
            for cell in groups[host]:
                self._folder.write_state(cell.number, CellState(FAILED, host, message=f"not started: {error}"))
        _raise(errors.values(), f"When they answer: nox -s fleet -- retry {self._folder.id}")

    retry = submit

    def cancel(self) -> None:
        """End the cells of every host, fetch what they have finished, and remove the folders there.

        Raises EngineError naming the hosts on which that failed; on the others it is done.
        """
        asked = [host for host in self._hosts if not self._removed(host).exists()]
        _, errors = self._client.each(
            asked, lambda host: self._client.call(host, "stop", self._name(host), str(STOP_S), limit_s=STOP_S + 60)
        )
        self.fetch(self.statuses())
        stopped = [host for host in asked if host not in errors]
        for host in stopped:
            for cell in self._hosts[host]:
                state = self._folder.state(cell.number)
                if not self._fetched(cell) and state.phase != FAILED:
                    self._folder.write_state(cell.number, replace(state, phase=STOPPED, message="It was cancelled."))
        errors |= self._remove(host for host in stopped if not self._removed(host).exists())
        _raise(errors.values(), f"When they answer: nox -s fleet -- cancel {self._folder.id}")

    @property
    def _bundles(self) -> Path:
        return self._folder.path / "bundles"

    def _name(self, host: str) -> str:
        """Return the name of the folder on a host; it has the host, because several may share a home folder."""
        return f"{self._folder.id}.{host}"

    def _removed(self, host: str) -> Path:
        return self._folder.path / "removed" / host

    def _fetched(self, cell: Cell) -> bool:
        return bool(find_run.every(self._folder.reports(cell.number)))

    def _ask(self, host: str) -> _Answer:
        lines = self._client.call(host, "report", self._name(host)).decode("utf-8", "replace").splitlines()
        if not {"absent", "end"}.intersection(lines):
            raise HostError(f"{host} does not answer: its report is incomplete", "Ask again")
        answer, errors = _Answer(alive="alive" in lines), dict[int, str]()
        for line in lines:
            if clock := re.fullmatch(r"clock (\d{1,12})", line):
                answer.clock_s = float(round(int(clock[1]) - time.time()))
            if not (parts := _LINE.fullmatch(line)):
                continue
            if parts[1] == "error":
                errors[int(parts[2])] = "".join(filter(str.isprintable, parts[3]))
            elif row := _CELL.fullmatch(parts[3]):
                answer.cells[int(parts[2])] = _HostCell(row[1], int(row[2]), int(row[3]), int(row[4]))
        for number, text in errors.items():
            if number in answer.cells:
                answer.cells[number] = replace(answer.cells[number], error=text)
        return answer

    def _status(self, cell: Cell, error: HostError | None) -> CellStatus:
        state, answer = self._folder.state(cell.number), self._answers.get(cell.node)
        if error and not state.final:
            return CellStatus(cell=cell, state=replace(state, message=str(error)), over=False, answered=False)
        row = answer.cells.get(cell.number) if answer else None
        again = answer and answer.alive and row and row.phase != "ended"
        if answer and (not state.final or again):
            reported = replace(_state(row, answer), host=cell.node)
            if reported != state:
                self._folder.write_state(cell.number, reported)
            state = reported
        return CellStatus(cell=cell, state=state, over=state.final)

    def _send(self, host: str, pair: str) -> None:
        try:
            files = sorted((self._bundles / pair).iterdir())
            size = sum(file.stat().st_size for file in files)
        except OSError as error:
            message = f"The bundle {self._bundles / pair} cannot be read: {error.strerror}."
            raise StorageError(message, "Submit again with matrix.") from error

        def send(stream: IO[bytes]) -> None:
            with tarfile.open(fileobj=stream, mode="w|") as archive:
                for file in files:
                    archive.add(file, file.name)

        self._client.call(host, "receive", self._name(host), pair, send=send, limit_s=_START_S + size / _SLOWEST)

    def _fetch_archives(self) -> dict[str, HostError]:
        """Fetch and verify all archives that hosts have and this folder has not; returns the errors by host."""
        wanted: dict[str, list[Cell]] = {}
        for host, answer in self._answers.items():
            has = [cell for cell in self._hosts[host] if (row := answer.cells.get(cell.number)) and row.size]
            wanted[host] = [cell for cell in has if not self._fetched(cell)]

        def bring(host: str) -> None:
            for cell in wanted[host]:
                row = self._answers[host].cells[cell.number]
                try:
                    self._fetch(cell, row.size)
                except StorageError as error:
                    state = replace(self._folder.state(cell.number), phase=FAILED, message=str(error))
                else:
                    state = _state(row, self._answers[host])
                self._folder.write_state(cell.number, replace(state, host=host))

        return self._client.each([host for host in wanted if wanted[host]], bring)[1]

    def _fetch(self, cell: Cell, size: int) -> None:
        """Fetch the archive of a cell, and make a run of it; raises StorageError where it is not what it should be."""
        place = self._folder.cell(cell.number)
        file, scratch = place / ".records.part", place / ".records"
        try:
            place.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as target:
                limit_s = _START_S + size / _SLOWEST
                words = ("fetch", self._name(cell.node), f"{cell.number:05d}")
                self._client.call(cell.node, *words, limit_s=limit_s, into=target, most=LIMITS.packed)
            shutil.rmtree(scratch, ignore_errors=True)
            info = unpack(file, scratch).info
            columns = [(f"tf{one.tensorflow}", one.cuda, one.host) for one in info.columns]
            release, _, cuda = cell.pair.partition("-")
            if (
                columns != [(release, cuda.removeprefix("cuda"), cell.node)]
                or info.suite_hash != self._fleet.suite_hash
            ):
                message = f"The archive is refused, and nothing of it was kept: it is not one of {cell.name}."
                raise StorageError(message, "Measure again with retry.")
            move_to_runs(scratch, info, self._folder.reports(cell.number))
        except OSError as error:
            raise StorageError(f"{place} cannot be written: {error.strerror}.", "Free some space.") from error
        finally:
            file.unlink(missing_ok=True)
            shutil.rmtree(scratch, ignore_errors=True)

    def _remove(self, hosts: Iterable[str]) -> dict[str, HostError]:
        """Remove the folders on hosts; returns the errors, after they were printed."""
        done, errors = self._client.each(list(hosts), lambda host: self._client.call(host, "remove", self._name(host)))
        for host in done:
            self._removed(host).parent.mkdir(exist_ok=True)
            self._removed(host).touch()
        for error in errors.values():
            print_progress(f"warning: a folder was not removed: {error}")
        return errors


def _script(stream: IO[bytes]) -> None:
    stream.write(SCRIPT.read_bytes())


def _state(row: _HostCell | None, answer: _Answer) -> CellState:
    """Return the state of a cell from what its host says."""
    if row is None:
        return CellState(FAILED, message="its host has no folder of it any more", clock_s=answer.clock_s)
    phase, message = {"waiting": WAITING, "running": RUNNING}.get(row.phase, FAILED), row.error
    if phase != FAILED and not answer.alive:
        phase, message = FAILED, "it ended without a result: was its host restarted?"
    elif row.phase == "ended":
        stopped = "It was stopped on its host; finished rounds are kept there."
        phase = MEASURED if row.code == 0 and row.size else STOPPED if row.code == INTERRUPTED else FAILED
        message = "" if phase == MEASURED else stopped if phase == STOPPED else message or f"exit code {row.code}"
    began = datetime.fromtimestamp(row.began, UTC).isoformat(timespec="seconds") if row.began else ""
    return CellState(phase, started=began, message=message, clock_s=answer.clock_s)


def _raise(errors: Iterable[HostError], hint: str) -> None:
    """Raise EngineError with all errors of hosts, if there are any."""
    if found := list(errors):
        raise EngineError(" ".join(f"{error}." for error in found), f"{found[0].hint}. {hint}")
