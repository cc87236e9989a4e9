"""noxfile.py is thin, and every session that passes its options on names an existing command."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import pytest

from bench import cli, errors

if TYPE_CHECKING:
    from pathlib import Path


def constant(root: Path, name: str) -> Any:
    """A literal that noxfile.py assigns to ``name``; nox itself need not be there."""
    tree = ast.parse((root / "noxfile.py").read_text(encoding="utf-8"))
    found = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return ast.literal_eval(found[name])


def table(root: Path) -> dict[str, str]:
    """The sessions that pass their options on, with their descriptions."""
    named: dict[str, str] = constant(root, "COMMANDS")
    return named


def test_the_file_is_short(root: Path) -> None:
    assert len((root / "noxfile.py").read_text(encoding="utf-8").splitlines()) < 190


def test_every_session_that_passes_options_on_is_a_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"matrix", "choose", "compare", "reproduce", "import"} <= set(table(root))
    for name in table(root):
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == errors.OK, name
        assert "usage: tfrepro" in capsys.readouterr().out


def test_every_session_has_one_line(root: Path) -> None:
    for name, actual in table(root).items():
        assert actual.endswith("."), name
        assert "\n" not in actual
        assert len(actual) < 120


def test_an_answer_of_no_fails_no_session_and_a_gate_does(root: Path) -> None:
    assert constant(root, "SUCCESS_CODES") == {"choose": [errors.OK, errors.GATE]}
