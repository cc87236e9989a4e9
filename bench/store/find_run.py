"""Find runs below a reports folder: all of them, the newest, and one by its name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.errors import NothingError, StorageError

#: A run that began later than now by more than this was measured under a wrong clock.
CLOCK_TOLERANCE = timedelta(hours=12)


def every(reports: Path) -> list[Path]:
    """Return the folders of all runs, the oldest first; a folder without ``run.json`` is no run.

    Names begin with the time of the run. One in the future was made under a wrong clock, and would be the newest for
    ever: such runs come first.

    Raises StorageError where the folder of runs exists and cannot be read.
    """
    place = reports / "runs"
    latest = f"{datetime.now(UTC) + CLOCK_TOLERANCE:%Y%m%dT%H%M%SZ}"
    try:
        folders = [folder for folder in place.iterdir() if _is_run(folder)]
        return sorted(folders, key=lambda folder: (folder.name <= latest, folder.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        message = f"{place} cannot be read: {error.strerror}."
        hint = "Give this user the right to read it, or use another folder with --reports."
        raise StorageError(message, hint) from error


def _is_run(place: Path) -> bool:
    """Whether a folder has a run.json. One that cannot be read counts, so that it is reported and not skipped."""
    try:
        return (place / "run.json").is_file()
    except OSError:
        return True


def named(reports: Path, name: str | Path) -> Path | None:
    """Return the run with this folder or id, None where there is none."""
    places = (Path(name), reports / "runs" / name) if str(name) else ()
    return next((place for place in places if _is_run(place)), None)


def chosen(reports: Path, name: Path | None) -> Path:
    """Return the run with this folder or id, or the newest run where ``name`` is None.

    A folder that is no run is returned as it is: reading it gives the error. Raises NothingError where there is no run.
    """
    if name is not None:
        return named(reports, name) or name
    runs = every(reports)
    if not runs:
        raise NothingError(f"There is no run in {reports / 'runs'}.", "Measure first: nox -s matrix")
    return runs[-1]
