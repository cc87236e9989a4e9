"""Write a fleet run's folder and scripts, and submit its arrays."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from bench.errors import ConfigError, EngineError, StorageError
from bench.fleet import slurm
from bench.fleet.state import FleetFolder
from bench.portable.run_folder import stamp, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.fleet.state import Array, Fleet
    from bench.plan.config_models import Fleet as FleetSettings


def new_folder(reports: Path) -> FleetFolder:
    """Return a folder for a new fleet run, which is not made yet; raises ConfigError if scripts cannot name it."""
    if re.search(r'["\\\n]', str(reports.absolute())):
        message = f"{str(reports)!a} has a quote, a backslash or a line break, which batch scripts cannot name."
        raise ConfigError(message, "Use another folder with --reports.")
    return FleetFolder(reports.absolute() / "fleet" / f"{stamp()}-{secrets.token_hex(2)}")


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
            slurm.submit(path)
        except EngineError as error:
            message = f"{error} Array {array.name} was not submitted; {number} of {len(arrays)} were."
            hint = f"{error.hint} Then: nox -s fleet -- retry {folder.id}, or cancel."
            raise EngineError(message, hint) from error
        tasks = f"{len(array.cells)} task{'s' if len(array.cells) > 1 else ''}"
        say(f"submitted array {array.name}: {tasks}")
