"""The last words of what died: tails of logs, so that a page can show them where the logs are not.

A log may hold whatever a library or a user's kernel prints. Credentials in addresses, headers and settings are taken
out here, and escape sequences for terminals; markup and control characters are the renderers' business.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.store.run_folder import write_atomic
from bench.suite.driver import death_marker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bench.store.run_info import ColumnInfo
    from bench.suite.record import Record

FILE = "tails.json"
SCHEMA = 1
#: What is kept of a log.
LINES = 40
CHARACTERS = 4000
#: Bytes from the end of a log in which the place is looked for where a process died, and those read before it.
_SEARCHED, _BYTES = 4_194_304, 65_536
#: Outcomes after which a log may say more than the record. Of what raised, the record has the message.
DIED = frozenset({"crashed", "timeout", "oom", "mismatch"})
#: What a column can be called whose build, or whose first round, has left a log and no record.
_LOST = frozenset({"build-failed", "mismatch", "image-missing"})

_RECORD = re.compile(r"records/([^/]+)/([^/]+)/((?:off|on)-[0-9]+)\.jsonl")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+-]*")
#: CSI and OSC sequences of terminals, and the two-character ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_HIDDEN = "***"
_SECRETS = (
    (re.compile(r"(?<=://)[^/\s\"'<>]+@"), f"{_HIDDEN}@"),
    (re.compile(r"(://[^\s?\"'<>]{1,1000}\?)[^\s\"'<>]+"), rf"\1{_HIDDEN}"),
    (
        re.compile(r"((?:proxy-)?authorization\W{1,4}(?:(?:basic|bearer|token)\s+)?)\S+", re.IGNORECASE),
        rf"\1{_HIDDEN}",
    ),
    (
        re.compile(
            r"([A-Za-z0-9_.-]{0,40}(?:token|secret|passw(?:or)?d|credential|(?:api|access|private)[_-]?key)"
            r"[A-Za-z0-9_.-]{0,40}[\"']?\s{0,9}[=:]\s{0,9})(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;]+)",
            re.IGNORECASE,
        ),
        rf"\1{_HIDDEN}",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Tails:
    """Tails by the path of a record relative to the run folder, and by the id of a column that has no record.

    ``problem`` says why kept tails could not be read, "" where they could.
    """

    records: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def load_tails(folder: Path, columns: Iterable[ColumnInfo], records: Mapping[str, Record]) -> Tails:
    """The tails of a run, from its logs or where they are not from what ``keep`` has written."""
    kept = _kept(folder / FILE)
    logs = folder / "logs"
    if not logs.is_dir():
        return kept
    of_records: dict[str, str] = {}
    for path, one in records.items():
        died = next((ending for ending in one.outcomes if ending.outcome in DIED), None)
        log = _log_of(logs, path)
        if died and log:
            of_records[path] = tail(log, death_marker(died.kernel, died.outcome))
    of_columns = {one.id: _last(logs, one) for one in columns if one.status in _LOST and _PLAIN.fullmatch(one.id)}
    return Tails(
        records=dict(kept.records) | {path: text for path, text in of_records.items() if text},
        columns=dict(kept.columns) | {name: text for name, text in of_columns.items() if text},
        problem=kept.problem,
    )


def keep(target: Path, tails: Tails) -> None:
    """Write the tails of a run into a folder that gets no logs; none leaves no file."""
    (target / FILE).unlink(missing_ok=True)
    if tails.records or tails.columns:
        body = {"schema": SCHEMA, "records": dict(tails.records), "columns": dict(tails.columns)}
        write_atomic(target / FILE, json.dumps(body, indent=1, sort_keys=True) + "\n")


def tail(log: Path, end: str = "") -> str:
    """The last lines of a log, made short and without secrets; "" where there is none.

    A round may go on in another process after one that died: where the log says ``end``, it is read up to there.
    """
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _SEARCHED))
            whole = stream.read(_SEARCHED)
    except OSError:
        return ""
    mark = end.encode("utf-8", "backslashreplace")
    found = whole.rfind(mark) if mark else -1
    whole = whole[: found + len(mark)] if found >= 0 else whole
    text = whole[-_BYTES:].decode("utf-8", "replace")
    # the first line is cut in its middle, where a secret may have lost the name before it
    return shortened(text if len(whole) <= _BYTES else text.partition("\n")[2])


def shortened(text: str) -> str:
    """The last lines of a text; what was left out is told in a first line."""
    plain = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    for pattern, instead in _SECRETS:
        plain = pattern.sub(instead, plain)
    rows = [row.rstrip() for row in plain.split("\n")]
    while rows and not rows[-1]:
        rows.pop()
    left = "\n".join(rows[-LINES:])
    short = left[-CHARACTERS:].lstrip("\n")
    return short if len(rows) <= LINES and len(short) == len(left) else f"[...]\n{short}"


def _log_of(logs: Path, record: str) -> Path | None:
    """The log of the round that wrote a record."""
    found = _RECORD.fullmatch(record)
    return logs / found[1] / f"{found[2]}-{found[3]}.log" if found else None


def _last(logs: Path, column: ColumnInfo) -> str:
    """The tail of the last log of a column, that of its build where it did not come further."""
    build = logs / column.id / "build.log"
    rounds = [] if column.status == "build-failed" else sorted((logs / column.id).glob("*.log"), reverse=True)
    told = (tail(log) for log in (*(log for log in rounds if log != build), build))
    return next((text for text in told if text), "")


def _kept(file: Path) -> Tails:
    """What ``keep`` has written; nothing, and why, where it cannot be understood."""
    try:
        body: Any = json.loads(file.read_text(encoding="utf-8"))
        if body["schema"] != SCHEMA:
            return Tails(problem=f"schema {body['schema']!r} is not known")
        return Tails(records=_texts(body["records"]), columns=_texts(body["columns"]))
    except FileNotFoundError:
        return Tails()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Tails(problem=f"it is not what was written ({type(error).__name__})")


def _texts(found: Any) -> dict[str, str]:
    """Texts by name, made short again: a file can be edited. Raises AttributeError or TypeError."""
    texts = {name: shortened(text[-_BYTES:]) for name, text in found.items()}
    return {name: text for name, text in texts.items() if text}
