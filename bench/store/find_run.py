"""The runs below a reports folder: all of them, the newest, and one by its name."""

from __future__ import annotations

from pathlib import Path

from bench.errors import NothingError, StorageError


def every(reports: Path) -> list[Path]:
    """The folders of all runs, the oldest first. One without ``run.json`` was never a run.

    Raises StorageError where the folder of runs is there and cannot be read.
    """
    place = reports / "runs"
    try:
        return sorted(one for one in place.iterdir() if _is_run(one))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        message = f"{place} cannot be read: {error.strerror}."
        raise StorageError(message, "Give this user the right to read it, or name another with --reports.") from error


def _is_run(place: Path) -> bool:
    """Whether it has a run.json. One that cannot be looked into counts, so that nobody passes it by without a word."""
    try:
        return (place / "run.json").is_file()
    except OSError:
        return True


def named(reports: Path, name: str | Path) -> Path | None:
    """The run of a name, which is its folder or its id, None where there is none."""
    places = (Path(name), reports / "runs" / name) if str(name) else ()
    return next((place for place in places if _is_run(place)), None)


def chosen(reports: Path, name: Path | None) -> Path:
    """The run that was asked for, or the newest.

    What is no run is handed on as it is: whoever reads it says so. Raises NothingError where there is none at all.
    """
    if name is not None:
        return named(reports, name) or name
    found = every(reports)
    if not found:
        raise NothingError(f"There is no run in {reports / 'runs'}.", "Measure first: nox -s matrix")
    return found[-1]
