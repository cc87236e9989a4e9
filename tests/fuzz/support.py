"""What all fuzzing shares: how many inputs, mutations of values and of bytes, and a watch on what a command does.

``TFREPRO_FUZZ=1000`` gives every target so many random inputs; without it, each gets the same few ones every time.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bench import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_INPUTS = int(os.environ.get("TFREPRO_FUZZ", "0"))
FUZZ = settings(
    max_examples=_INPUTS or 25,
    derandomize=not _INPUTS,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
#: The exit codes of ``bench.errors``.
CODES = frozenset({0, 1, 2, 3, 4, 5, 130, 141})
#: Seconds after which a command hangs.
MOST_S = 60

_LITERALS: list[Any] = [
    None,
    {},
    [],
    -1,
    0,
    True,
    "",
    "x",
    "/etc/passwd",
    "../../x",
    "\x00",
    "<b>",
    "\x1b[2J",
    10**400,
    1e300,
    1e-9,
]
_VALUES = st.one_of(
    st.sampled_from(_LITERALS),
    st.text(max_size=8),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.recursive(
        st.none(), lambda item: st.lists(item, max_size=2) | st.dictionaries(st.text(max_size=2), item, max_size=2)
    ),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_ACTIONS = ("replace", "replace", "replace", "delete", "duplicate", "rename")


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which one or two places have another value, are gone, are there twice, or have another name."""
    changed = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(list(_places(changed))))
        changed = _change(changed, place, draw(st.sampled_from(_ACTIONS)), copy.deepcopy(draw(_VALUES)))
    return changed


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(item, (*place, key))


def _change(value: Any, place: tuple[Any, ...], action: str, new: Any) -> Any:
    if not place:
        return new
    parent = value
    for key in place[:-1]:
        parent = parent[key]
    key = place[-1]
    if action == "replace":
        parent[key] = new
    elif action == "delete":
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    else:
        parent[f"{key}-2"] = copy.deepcopy(parent[key]) if action == "duplicate" else parent.pop(key)
    return value


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes of which a few are other ones, are gone, or are there twice, or which are cut off."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        end = start + draw(st.integers(1, 40))
        new = draw(st.one_of(st.binary(max_size=4), st.just(b""), st.just(content[start:end] * 2)))
        content = content[:start] if draw(st.integers(0, 9)) == 0 else content[:start] + new + content[end:]
    return content


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


class _Writes:
    """Notes the paths that Python code of this process opens for writing, creates, renames or removes."""

    _EVENTS = frozenset({"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate"})

    _BELOW = frozenset({"os.mkdir", "os.remove", "os.rmdir"})

    def __init__(self) -> None:
        self.paths: list[str] | None = None
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.paths is None:
            return
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if not writing and event not in self._EVENTS:
            return
        folder = ""  # of these events, the last argument may be an open folder that the name is relative to
        if event in self._BELOW and arguments[-1] not in {-1, None}:
            folder = str(Path(f"/proc/self/fd/{arguments[-1]}").readlink())
        for name in arguments[: 2 if event == "os.rename" else 1]:
            if isinstance(name, str | bytes | os.PathLike):
                self.paths.append(str(Path(folder, os.fsdecode(name)).absolute()))


_WRITES = _Writes()


@contextlib.contextmanager
def watched(*allowed: Path) -> Iterator[None]:
    """Fail where something is written outside these folders, or takes too long."""

    def hang(_number: int, _frame: object) -> NoReturn:
        raise TimeoutError(f"it ran for more than {MOST_S} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(MOST_S)
    _WRITES.paths = []
    try:
        yield
    finally:
        paths, _WRITES.paths = _WRITES.paths, None
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    harmless = ("/dev/", "__pycache__")
    outside = [
        path
        for path in paths
        if not any(Path(path).is_relative_to(folder) for folder in allowed)
        and not any(part in path for part in harmless)
    ]
    assert not outside, f"written outside of {allowed}: {outside}"


def run(words: list[str], *allowed: Path) -> Ended:
    """Run a command in this process; fail on an exit code that is not documented, an internal error, or a traceback."""
    return check(lambda: cli.main(words), *allowed)


def check(command: Callable[[], int], *allowed: Path) -> Ended:
    """Run a function as ``run`` does a command."""
    out, err = io.StringIO(), io.StringIO()
    terminated = signal.getsignal(signal.SIGTERM)
    start = time.monotonic()
    try:
        with watched(*allowed), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        signal.signal(signal.SIGTERM, terminated)
        gc.unfreeze()  # ``report`` freezes what it has read
    assert code in CODES, err.getvalue()
    assert "internal error" not in err.getvalue(), err.getvalue()
    assert "Traceback" not in err.getvalue(), err.getvalue()
    assert time.monotonic() - start < MOST_S
    return Ended(code, out.getvalue(), err.getvalue())
