"""Random command lines of all commands that only read: an exit code that is documented, and no traceback."""

from __future__ import annotations

import argparse
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.cli.parser import parser
from tests.fuzz import small_run
from tests.fuzz.support import FUZZ, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Commands that measure nothing, and need neither an index of packages nor a Docker engine.
COMMANDS = ("plan", "report", "choose", "compare", "diff", "history", "import", "export", "kernels", "schema")
#: Values of options, right and wrong; the names of files are those that ``place`` makes.
VALUES = (
    *("", "0", "1", "-1", "3", "1e999", "1.15", "99999999999999999999", "x", "*", "[", "\x00", "\ud800", "%s", "-"),
    *("on", "off", "both", "none", "auto", "docker", "venv", "cpu", "gpu", "sm_90", "550.54.15", "json", "terminal"),
    *("default", "threads=1", "isa=", "quick", "matmul*", "matmul_mean", "control_fixed_float", "conv,scatter"),
    *(*small_run.COLUMNS, small_run.RUN, f"{small_run.RUN}:{small_run.COLUMNS[0]}", "unknown-nondeterminism", "0" * 12),
    *(".", "reports", "elsewhere", "matrix.toml", "file", "missing/file", "kernel.py", "/dev/null", "show", "runs"),
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run, a configuration and a file of each kind."""
    small_run.write(root / "reports" / "sample", tmp_path / "reports" / "runs" / small_run.RUN)
    shutil.copyfile(root / "matrix.toml", tmp_path / "matrix.toml")
    (tmp_path / "file").write_bytes(b"\xff\x00{")
    (tmp_path / "kernel.py").write_text("import nothing\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All options and choices of a parser and of its subcommands, but ``--debug``, which asks for tracebacks."""
    for action in parser._actions:
        yield from (option for option in action.option_strings if option != "--debug")
        yield from map(str, action.choices or ())
        for below in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from options(below)


def _known(name: str) -> list[str]:
    (subparsers,) = (one for one in parser([name])._actions if isinstance(one, argparse._SubParsersAction))
    return sorted(set(options(subparsers.choices[name])))


#: Before the inputs are drawn, because importing a command may import modules that use random numbers.
KNOWN = {name: st.sampled_from(_known(name)) for name in COMMANDS}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(COMMANDS))
    pair = st.tuples(KNOWN[name], st.sampled_from(VALUES))
    word = st.tuples(st.one_of(KNOWN[name], st.sampled_from(VALUES), st.text(max_size=6)))
    words = draw(st.lists(st.one_of(pair, pair, word), max_size=4))
    return [name, *(part for parts in words for part in parts)]


@given(words=command_lines())
@example(words=["report", "--full", "\x00"])
@FUZZ
def test_command_lines(place: Path, words: list[str]) -> None:
    record = place / "reports" / "runs" / small_run.RUN / "run.json"
    before = record.read_bytes()
    ended = run(words, place)
    assert ended.err or ended.code in {0, 1}
    assert record.read_bytes() == before
