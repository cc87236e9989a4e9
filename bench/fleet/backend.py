"""Where the cells of a fleet run are measured: Slurm, or hosts over ssh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bench.fleet.slurm_backend import SlurmBackend
from bench.fleet.ssh_backend import SshBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.fleet.state import Cell, Fleet, FleetFolder
    from bench.fleet.status import CellStatus


class Backend(Protocol):
    """What the commands do with a fleet run. All methods raise EngineError where nothing answers."""

    def statuses(self) -> tuple[CellStatus, ...]:
        """Return the status of every cell."""

    def fetch(self, found: tuple[CellStatus, ...]) -> tuple[CellStatus, ...]:
        """Bring the runs of finished cells into the folder, and return the statuses with what went wrong."""

    def cancel(self) -> None:
        """End all cells; results are kept."""

    def retry(self, cells: Sequence[Cell], say: Callable[[str], None]) -> None:
        """Submit cells again."""


def backend(folder: FleetFolder, fleet: Fleet, matrix: Path) -> Backend:
    """Return the backend of a fleet run; ``matrix`` is its configuration file where ``fleet`` names none."""
    return SshBackend(folder, fleet) if fleet.engine == "ssh" else SlurmBackend(folder, fleet, matrix)
