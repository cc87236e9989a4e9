"""The runs below a reports folder: all of them, the newest, and one by its name."""

from __future__ import annotations

from pathlib import Path

from bench.errors import NothingError


def every(reports: Path) -> list[Path]:
    """The folders of all runs, the oldest first. One without ``run.json`` was never a run."""
    return sorted(one.parent for one in (reports / "runs").glob("*/run.json"))


def named(reports: Path, name: str | Path) -> Path | None:
    """The run of a name, which is its folder or its id, None where there is none."""
    places = (Path(name), reports / "runs" / name) if str(name) else ()
    return next((place for place in places if (place / "run.json").is_file()), None)


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
