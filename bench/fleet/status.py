"""How far a fleet run is: what each cell reports, together with what Slurm still lists."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.fleet.state import FAILED, MEASURED, RUNNING, STOPPED, WAITING, CellState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.fleet.slurm import Task
    from bench.fleet.state import Cell, Fleet, FleetFolder

#: A clock that is off by more makes times of records implausible.
CLOCK_TOLERANCE_S = 60.0
#: Parts of Slurm's reasons, in lower case, for which a job never starts unless somebody does something.
_NEVER_STARTS = ("held", "neversatisfied", "badconstraints")


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """A cell, how far it is, and whether it is over: measured, or nothing will measure it any more.

    ``answered`` is whether its host could be asked; if not, ``state`` is the last one that is known. ``lost`` is
    whether the cell has reported no end although nothing runs it any more.
    """

    cell: Cell
    state: CellState
    over: bool
    answered: bool = True
    lost: bool = False

    @property
    def held(self) -> bool:
        """Whether Slurm starts the cell only after somebody has released or changed its job."""
        return self.state.phase == WAITING and any(part in self.state.message.lower() for part in _NEVER_STARTS)

    @property
    def remark(self) -> str:
        """What should be known about the cell, "" if nothing."""
        off = self.state.clock_s
        clock = f"the clock of {self.state.host} is off by {off:+.0f} s" if abs(off) > CLOCK_TOLERANCE_S else ""
        return "; ".join(filter(None, (self.state.message, clock)))


def statuses(folder: FleetFolder, fleet: Fleet, tasks: Mapping[int, Task]) -> tuple[CellStatus, ...]:
    """Return the status of every cell; ``tasks`` is what Slurm lists, by the number of the cell."""
    cancelled = folder.cancelled.exists()
    return tuple(
        _status(cell, folder.state(cell.number), tasks.get(cell.number), cancelled=cancelled) for cell in fleet.cells
    )


def _status(cell: Cell, state: CellState, task: Task | None, *, cancelled: bool) -> CellStatus:
    if state.phase == MEASURED:
        return CellStatus(cell=cell, state=state, over=True)
    if task is not None and task.alive:
        if state.phase == RUNNING and task.state == "PENDING":
            # its node failed or the job was preempted, and Slurm starts it again
            state = replace(state, phase=WAITING, message=f"requeued by Slurm: {task.reason or 'waiting'}")
        elif state.final or state.phase == WAITING:
            phase = WAITING if task.state == "PENDING" else RUNNING
            state = replace(state, phase=phase, host=task.node, message=task.reason)
        return CellStatus(cell=cell, state=state, over=False)
    if not state.final:
        return CellStatus(cell=cell, state=_lost(state, task, cancelled=cancelled), over=True, lost=True)
    return CellStatus(cell=cell, state=state, over=True)


def _lost(state: CellState, task: Task | None, *, cancelled: bool) -> CellState:
    """Return the state of a cell that has reported no end, although Slurm runs it no more."""
    if (task is None and cancelled) or (task is not None and task.state == "CANCELLED"):
        return replace(state, phase=STOPPED, message="its job was cancelled")
    ended = f"its job ended ({task.state})" if task is not None else "Slurm no longer knows its job"
    reason = "before it started: do the nodes see this folder and the checkout?" if not state.host else "without an end"
    return replace(state, phase=FAILED, message=f"{ended} {reason}")


def counts(found: tuple[CellStatus, ...]) -> str:
    """Return ``12 cells: 7 measured, 3 running, 2 waiting (Resources)``, with the reasons that Slurm gives."""
    phases = Counter(status.state.phase for status in found)
    amount = f"{len(found)} cell{'s' if len(found) > 1 else ''}"
    reasons = Counter(status.state.message for status in found if status.state.phase == WAITING)
    reasons.pop("", None)
    why = ", ".join(reason if len(reasons) == 1 else f"{reason}: {number}" for reason, number in reasons.most_common(3))
    parts = [f"{number} {phase}" for phase, number in phases.most_common()]
    return f"{amount}: " + ", ".join(f"{part} ({why})" if why and part.endswith(WAITING) else part for part in parts)
