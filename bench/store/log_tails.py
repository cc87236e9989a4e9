"""Tails of the logs of processes that died, which a page shows also where the logs themselves are not available.

A log may contain whatever a library or a user's kernel prints. Credentials in addresses, headers and settings are
removed here, and so are terminal escape sequences; renderers take care of markup and control characters.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.portable.redaction import without_credentials
from bench.regular_file import open_regular, read_text
from bench.store.run_folder import write_atomic
from bench.suite.driver import death_marker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bench.store.run_info import ColumnInfo
    from bench.suite.record import Record

FILE = "tails.json"
SCHEMA = 1
#: The size of a tail.
LINES = 40
CHARACTERS = 4000
#: Bytes at the end of a log in which the mark of a dead process is searched, and bytes that are read before that mark.
_SEARCHED, _BYTES = 4_194_304, 65_536
#: Outcomes after which a log may say more than the record; of an exception, the record has the message.
DIED = frozenset({"crashed", "timeout", "oom", "mismatch"})
#: The status of a column whose build or first round has left a log and no record.
_WITHOUT_RECORD = frozenset({"build-failed", "mismatch", "image-missing"})

_RECORD = re.compile(r"records/([^/]+)/([^/]+)/((?:off|on)-[0-9]+)\.jsonl")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+-]*")
#: CSI and OSC sequences of terminals, two-character ones, and a lone escape: removing one could form another.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])?")


@dataclass(frozen=True, kw_only=True)
class Tails:
    """Tails by the relative path of a record, and by the id of a column that has no record.

    ``problem`` says why tails.json could not be read, "" where it could.
    """

    records: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def load_tails(folder: Path, columns: Iterable[ColumnInfo], records: Mapping[str, Record]) -> Tails:
    """Return the tails of a run, from its logs where it has them, else from what ``write_tails`` has written."""
    written = _read_tails(folder / FILE)
    logs = folder / "logs"
    if not logs.is_dir():
        return written
    of_records: dict[str, str] = {}
    for path, record in records.items():
        died = next((outcome for outcome in record.outcomes if outcome.outcome in DIED), None)
        log = _log_of(logs, path)
        if died and log:
            of_records[path] = tail(log, death_marker(died.kernel, died.outcome))
    of_columns = {
        column.id: _last_log(logs, column)
        for column in columns
        if column.status in _WITHOUT_RECORD and _PLAIN.fullmatch(column.id)
    }
    return Tails(
        records=dict(written.records) | {path: text for path, text in of_records.items() if text},
        columns=dict(written.columns) | {name: text for name, text in of_columns.items() if text},
        problem=written.problem,
    )


def write_tails(target: Path, tails: Tails) -> None:
    """Write the tails of a run into a folder that gets no logs; without tails there is no file."""
    (target / FILE).unlink(missing_ok=True)
    if tails.records or tails.columns:
        body = {"schema": SCHEMA, "records": dict(tails.records), "columns": dict(tails.columns)}
        write_atomic(target / FILE, json.dumps(body, indent=1, sort_keys=True) + "\n")


def tail(log: Path, end: str = "") -> str:
    """Return the last lines of a log, shortened and without secrets; "" where it cannot be read.

    After a process died, the round may go on in another one. So the log is read up to ``end`` where it contains that.
    """
    try:
        with open_regular(log) as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _SEARCHED))
            content = stream.read(_SEARCHED)
    except OSError:
        return ""
    mark = end.encode("utf-8", "backslashreplace")
    position = content.rfind(mark) if mark else -1
    content = content[: position + len(mark)] if position >= 0 else content
    text = content[-_BYTES:].decode("utf-8", "replace")
    # the first line may be cut off between the name of a secret and its value, which is then not recognised
    return shortened(text if len(content) <= _BYTES else text.partition("\n")[2])


def shortened(text: str) -> str:
    """Return the last lines of a text without secrets; a first line ``[...]`` stands for what was left out."""
    plain = without_credentials(_ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))
    rows = [row.rstrip() for row in plain.split("\n")]
    while rows and not rows[-1]:
        rows.pop()
    last = "\n".join(rows[-LINES:])
    short = last[-CHARACTERS:].lstrip("\n")
    return short if len(rows) <= LINES and len(short) == len(last) else f"[...]\n{short}"


def _log_of(logs: Path, record: str) -> Path | None:
    """Return the log of the round that wrote a record, None for a path that is no record's."""
    match = _RECORD.fullmatch(record)
    return logs / match[1] / f"{match[2]}-{match[3]}.log" if match else None


def _last_log(logs: Path, column: ColumnInfo) -> str:
    """Return the tail of the last log of a column that is not empty: of its last round, or of its build."""
    build = logs / column.id / "build.log"
    rounds = [] if column.status == "build-failed" else sorted((logs / column.id).glob("*.log"), reverse=True)
    tails = (tail(log) for log in (*(log for log in rounds if log != build), build))
    return next((text for text in tails if text), "")


def _read_tails(file: Path) -> Tails:
    """Read what ``write_tails`` has written; without a file or with an invalid one, there are no tails."""
    try:
        body: Any = json.loads(read_text(file))
        if body["schema"] != SCHEMA:
            return Tails(problem=f"schema {body['schema']!r} is not known")
        return Tails(records=_texts(body["records"]), columns=_texts(body["columns"]))
    except FileNotFoundError:
        return Tails()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Tails(problem=f"it cannot be understood ({type(error).__name__})")


def _texts(body: Any) -> dict[str, str]:
    """Return texts by name, shortened again because the file can be edited. Raises AttributeError or TypeError."""
    texts = {name: shortened(text[-_BYTES:]) for name, text in body.items()}
    return {name: text for name, text in texts.items() if text}
