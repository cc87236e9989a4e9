"""A fleet run on Slurm: write its scripts, submit its arrays, and what Slurm and the nodes say about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import ConfigError, EngineError, StorageError
from bench.fleet import planning, slurm
from bench.fleet.state import file_hash
from bench.fleet.status import statuses
from bench.plan import config
from bench.portable.run_folder import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.fleet.state import Array, Cell, Fleet, FleetFolder
    from bench.fleet.status import CellStatus
    from bench.plan.config_models import Fleet as FleetSettings


class SlurmBackend:
    """The fleet run as job arrays; its nodes write into the folder, so that nothing has to be fetched."""

    def __init__(self, folder: FleetFolder, fleet: Fleet, matrix: Path) -> None:
        self._folder = folder
        self._fleet = fleet
        self._matrix = Path(fleet.matrix) if fleet.matrix else matrix

    def statuses(self) -> tuple[CellStatus, ...]:
        """Return the status of every cell; raises EngineError if Slurm does not answer."""
        self._fleet = self._folder.read()
        return statuses(self._folder, self._fleet, slurm.tasks(self._folder, self._fleet.arrays))

    def fetch(self, found: tuple[CellStatus, ...]) -> tuple[CellStatus, ...]:
        """Return ``found``."""
        return found

    def cancel(self) -> None:
        """Cancel all jobs; raises EngineError as ``slurm.cancel`` does."""
        slurm.cancel(self._folder, self._fleet.arrays)

    def retry(self, cells: Sequence[Cell], say: Callable[[str], None]) -> None:
        """Submit cells again as arrays of their own; raises what ``submit_arrays`` raises."""
        number = 1 + sum("retry" in array.name for array in self._fleet.arrays)
        if self._fleet.matrix_hash and file_hash(self._matrix) != self._fleet.matrix_hash:
            raise ConfigError(f"{self._matrix} changed after it was submitted.", "Submit again: nox -s matrix")
        settings = config.load(self._matrix).fleet
        arrays = planning.arrays(cells, slurm.most_tasks(), settings.time_limit_min, prefix=f"retry{number}-")
        self._fleet = replace(self._fleet, arrays=(*self._fleet.arrays, *arrays))
        self._folder.write(self._fleet)
        submit_arrays(self._folder, self._fleet, arrays, settings, say)


def submit_arrays(
    folder: FleetFolder, fleet: Fleet, arrays: Sequence[Array], settings: FleetSettings, say: Callable[[str], None]
) -> None:
    """Write the script of each array and submit it; ``fleet`` is written already, and ``say`` gets a line for each.

    Raises:
        EngineError: Slurm refuses an array; the message says how many were submitted before.
        StorageError: the folder cannot be written.
    """
    for number, array in enumerate(arrays):
        path = folder.path / "scripts" / f"{array.name}.sh"
        try:
            (folder.path / "logs").mkdir(parents=True, exist_ok=True)
            write_atomic(path, slurm.script(fleet, array, folder, settings))
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}.", "Use another --reports.") from error
        try:
            slurm.submit(path, settings)
        except EngineError as error:
            message = f"{error} Array {array.name} was not submitted; {number} of {len(arrays)} were."
            hint = (
                f"{error.hint} After a change of matrix.toml: nox -s fleet -- cancel {folder.id}, and submit again; "
                f"else: nox -s fleet -- retry {folder.id}."
            )
            raise EngineError(message, hint) from error
        tasks = f"{len(array.cells)} task{'s' if len(array.cells) > 1 else ''}"
        say(f"submitted array {array.name}: {tasks}")
