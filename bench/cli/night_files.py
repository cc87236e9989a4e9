"""The files of a night, and the program that gets its alarms."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.errors import StorageError
from bench.regular_file import read_bytes
from bench.report.json import render as report_json
from bench.report.text import night as text
from bench.store.run_folder import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.report.view.night import NightView

#: The folder below the reports folder that keeps what every night found.
NIGHTS = "nights"
#: Seconds that the program of ``on_alarm`` has.
ON_ALARM_S = 60.0
#: Bytes of its output that are shown.
_MOST_OUTPUT = 4000


def write(reports: Path, view: NightView) -> None:
    """Write what a night found in every format; raises StorageError."""
    write_atomic(reports / "nightly.json", _json(view))
    write_atomic(reports / "nightly.md", text.markdown(view))
    write_atomic(reports / "nightly.xml", text.junit(view))
    write_atomic(reports / "nightly.prom", text.prometheus(view))


def keep(reports: Path, view: NightView) -> None:
    """Keep what a night found: it counts as an earlier night from now on; raises StorageError."""
    write_atomic(reports / NIGHTS / f"{view.run}.json", _json(view))


def _json(view: NightView) -> str:
    return json.dumps(report_json.data(view), ensure_ascii=True, allow_nan=False, indent=1) + "\n"


def read_all(reports: Path) -> dict[str, NightView]:
    """Return what earlier nights found, by the id of the run; a file that cannot be read is left out."""
    nights: dict[str, NightView] = {}
    for path in sorted((reports / NIGHTS).glob("*.json")):
        with suppress(OSError):
            view = report_json.read_night(read_bytes(path))
            if view is not None:
                nights[path.stem] = view
    return nights


def report_alarm(command: Sequence[str], reports: Path) -> str:
    """Start the program of ``on_alarm`` with nightly.json on its standard input; return why it failed, "" if not."""
    try:
        content = (reports / "nightly.json").read_bytes()
    except OSError as error:
        raise StorageError(f"nightly.json cannot be read: {error.strerror}.") from error
    try:
        done = subprocess.run(
            command, input=content, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=ON_ALARM_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {ON_ALARM_S:.0f} s"
    except OSError as error:
        return f"{command[0]} cannot be started: {error.strerror}"
    print(done.stdout[-_MOST_OUTPUT:].decode(errors="replace"), end="", file=sys.stderr)
    return f"{command[0]} ended with exit code {done.returncode}" if done.returncode else ""
