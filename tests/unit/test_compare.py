"""``compare``: what it takes, what it prints, and what its exit code says."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest

from bench import cli, verdict
from bench.report.commands.compare import uncompared
from bench.report.view import Upgrade
from bench.store import run as store
from tests.unit import factory, shipped_sample
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.store.run import Run

HOST = {"name": "box", "cpu": "Example", "cores": "2"}
COLUMNS = (factory.column("2.15.1"), factory.column("2.18.1"), factory.column("2.21.0"))
FIRST, SECOND = "20250129T120000Z-0001", "20250130T120000Z-0002"
PAIRS = ("tf2.15.1-cpu", "tf2.18.1-cpu")


def worse(spot: Spot) -> Behaviour:
    """From 2.15 to 2.18 a kernel varies, one fails, one changes and gets slower; in 2.21 a control fails."""
    if spot.kernel == "control_flicker" and "2.21" in spot.column:
        return Behaviour(first_s=0.06)
    if spot.kernel.startswith("control"):
        return EXACT
    if "2.15" in spot.column or spot.kernel == "calm":
        return Behaviour(steady_s=(0.001 + spot.round * 1e-6,))
    return {
        "nondeterministic": Behaviour(("a", "b"), steady_s=(0.001 + spot.round * 1e-6,)),
        "errors": Behaviour(outcome="error", error_class="ValueError", message="no"),
        "moves": Behaviour(("new",), steady_s=(0.0012 + spot.round * 1e-6,)),
    }[spot.kernel]


KERNELS = (*(factory.kernel(name) for name in ("calm", "nondeterministic", "errors", "moves")), *factory.CONTROLS)


@lru_cache(maxsize=4)
def made(name: str, behave: Callable[[Spot], Behaviour] | None = worse, columns: int = 3) -> Run:
    started = f"{name[:4]}-{name[4:6]}-{name[6:8]}T12:00:00+00:00"
    facts = factory.info(id=name, started=started, host=HOST, columns=COLUMNS[:columns], kernels=KERNELS)
    return factory.run(facts, behave)


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of the same: what is read back is what the factory made."""
    runs = {FIRST: made(FIRST), SECOND: made(SECOND)}
    return place(tmp_path, monkeypatch, runs)


def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: dict[str, Run]) -> Path:
    for name, run in runs.items():
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(run.info.to_json(), encoding="utf-8")
    monkeypatch.setattr(store, "load", lambda folder: runs[folder.name])
    monkeypatch.setenv("COLUMNS", "400")
    return tmp_path


def compare(reports: Path, *arguments: str) -> int:
    return cli.main(["compare", *arguments, "--reports", str(reports)])


@pytest.mark.parametrize(
    ("gates", "code", "words"),
    [
        (
            "regressed",
            1,
            ["gate regressed: nondeterministic (default, off): no longer reproducible"],
        ),
        ("errors", 1, ["gate errors: errors (default, on)", "= reproducible to ! error"]),
        ("failures", 0, []),
        ("less-evidence", 0, []),
        ("removed", 0, []),
        ("bits-changed", 1, ["gate bits-changed: moves (default, off): max diff"]),
        ("slower", 1, ["gate slower: moves (default, on)", "1.20x slower"]),
        ("slower:1.10", 1, ["gate slower: moves"]),
        ("slower:1.5", 0, []),
        ("failures,less-evidence,removed", 0, []),
        ("none", 0, []),
    ],
)
def test_gates(reports: Path, capsys: pytest.CaptureFixture[str], gates: str, code: int, words: list[str]) -> None:
    assert compare(reports, *PAIRS, "--fail-on", gates) == code
    actual = capsys.readouterr().err
    assert all(word in actual for word in words)
    assert ("gate" in actual) is bool(code)


def test_the_usual_gates_are_what_breaks(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(reports, *PAIRS) == 1
    words = [line.split(":")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("gate")]
    assert sorted(set(words)) == ["gate errors", "gate regressed"]
    assert compare(reports, *reversed(PAIRS)) == 0
    assert compare(reports, *PAIRS, "--kernels", "calm,moves") == 0
    assert compare(reports, *PAIRS, "--kernels", "nondeterministic", "--mode", "on") == 1


@pytest.mark.parametrize(
    "gates",
    ["regresed", "slower:", "slower:0.9", "slower:fast", "slower:nan", "slower:inf", "regressed:2", "", "none,errors"],
)
def test_a_misspelt_gate_is_refused(reports: Path, capsys: pytest.CaptureFixture[str], gates: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        compare(reports, *PAIRS, "--fail-on", gates)
    assert stopped.value.code == 2
    actual = capsys.readouterr().err
    assert "unknown gate" in actual or "invalid factor" in actual
    assert gates != "regresed" or "did you mean 'regressed'" in actual


@pytest.mark.parametrize(
    ("one", "other"),
    [
        PAIRS,
        ("tf2.15.1-cpu-py311", "tf2.18.1-cpu-py311@cpu"),
        ("tf2.15*", "*2.18*"),
        (f"{SECOND}:tf2.15.1-cpu", f"{SECOND}:tf2.18.1-cpu"),
        (f"latest:{PAIRS[0]}", PAIRS[1]),
        (f"previous:{PAIRS[0]}", f"latest:{PAIRS[1]}"),
    ],
)
def test_columns_by_their_names(reports: Path, capsys: pytest.CaptureFixture[str], one: str, other: str) -> None:
    assert compare(reports, one, other, "--format", "json", "--fail-on", "none") == 0
    (found,) = json.loads(capsys.readouterr().out)["upgrades"]
    assert (found["before"], found["after"]) == (COLUMNS[0].id, COLUMNS[1].id)
    assert found["counts"]["no longer reproducible"] == 2


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("tf2.15.1-cp", "tf2.18.1-cpu", "Did you mean 'tf2.15.1-cpu'"),
        ("tf2*", "tf2.18.1-cpu", "matches 3 columns"),
        ("latest", "tf2.18.1-cpu", "are a run and a column"),
        (f"{SECOND}:tf9", "tf2.18.1-cpu", "is neither a column of run"),
        ("lates", "latest", "'latest'"),
        ("", "latest", "is neither a column"),
        ("zzz", "latest", "The run has tf2.15.1"),
    ],
)
def test_bad_names_are_exit_code_2_with_a_suggestion(
    reports: Path, capsys: pytest.CaptureFixture[str], one: str, other: str, words: str
) -> None:
    assert compare(reports, one, other) == 2
    assert words in capsys.readouterr().err


def test_a_misspelt_kernel_is_refused(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(reports, *PAIRS, "--kernels", "mofes") == 2
    assert "Did you mean 'moves'" in capsys.readouterr().err


def test_without_runs_there_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(tmp_path, *PAIRS) == 3
    assert "There is no run" in capsys.readouterr().err


@pytest.mark.parametrize(("one", "other"), [("previous", "latest"), (FIRST, SECOND)])
def test_two_runs_are_compared_column_by_column(
    reports: Path, capsys: pytest.CaptureFixture[str], one: str, other: str
) -> None:
    assert compare(reports, one, other) == 0
    actual = capsys.readouterr()
    for name in ("2.15.1", "2.18.1", "2.21.0"):
        assert f"TF {name} CPU, {FIRST} to {SECOND}" in actual.out
    assert "any drift of the machine is part of these ratios" in actual.out
    assert (
        "not compared: bits of 6 of 8 results, TF 2.21.0 CPU" in actual.err
    )  # a control failed on both sides; two end with the same error


def test_a_folder_is_a_run(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(reports / "runs" / name) for name in (FIRST, SECOND)]
    assert compare(reports, *folders) == 0
    assert compare(reports, f"{folders[0]}:tf2.18.1-cpu", f"{folders[1]}:tf2.18.1-cpu") == 0
    capsys.readouterr()


def test_removed_columns_are_named_and_can_be_a_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = place(tmp_path, monkeypatch, {FIRST: made(FIRST), SECOND: made(SECOND, worse, 2)})
    assert compare(reports, FIRST, SECOND, "--fail-on", "removed") == 1
    actual = capsys.readouterr()
    assert f"Only before: {COLUMNS[2].id}." in actual.out
    assert f"gate removed: {COLUMNS[2].id}" in actual.err
    assert compare(reports, SECOND, FIRST, "--fail-on", "removed") == 0
    assert f"Only after: {COLUMNS[2].id}." in capsys.readouterr().out


def test_what_cannot_be_compared_passes_no_gate(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(reports, "tf2.21.0-cpu", "tf2.21.0-cpu") == 3
    assert "Nothing could be compared, so no gate passed" in capsys.readouterr().err
    assert compare(reports, "latest", "latest") == 3
    assert "these are the same records" in " ".join(capsys.readouterr().err.split())
    # without its controls a column has no evidence: that alone is no comparison, and nothing is confirmed any more
    assert compare(reports, "tf2.15.1-cpu", "tf2.21.0-cpu", "--kernels", "calm", "--fail-on", "errors") == 3
    assert compare(reports, "tf2.15.1-cpu", "tf2.21.0-cpu", "--kernels", "calm") == 1
    assert compare(reports, "tf2.15.1-cpu", "tf2.21.0-cpu", "--kernels", "calm", "--fail-on", "regressed") == 1


def test_the_formats_say_the_same(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = {}
    for form in ("terminal", "markdown", "json"):
        compare(reports, *PAIRS, "--format", form, "--fail-on", "none")
        pages[form] = capsys.readouterr().out
    sentence = json.loads(pages["json"])["sentence"]
    assert sentence == (
        "6 of 8 results changed (no longer reproducible 2, starts raising an error 2, bits changed 2, slower 2): "
        "2 keep status and bits."
    )
    assert all(sentence in page.replace("\n", " ") for page in pages.values())
    for page in (pages["terminal"], pages["markdown"]):
        assert "TensorFlow 2.15.1 to 2.18.1 alone." in page
    rows = json.loads(pages["json"])["upgrades"][0]["rows"]
    assert [row["kernel"] for row in rows] == [
        "nondeterministic",
        "nondeterministic",
        "errors",
        "errors",
        "moves",
        "moves",
    ]
    assert rows[-1]["overhead"]["ratio"] == pytest.approx(1.2, rel=0.01)


def test_reasons_add_up() -> None:
    upgrade = an_upgrade(untimed_why=(("a", 469), ("b", 6), ("c", 2), ("d", 1), ("e", 1)), results=500)
    (line,) = uncompared(upgrade, 1000)
    assert line == "not compared: times of 479 of 500 results, A to B: a (469); b (6); c (2); other reasons (2)"
    upgrade = an_upgrade(unknown=3, unknown_why=(("a", 2), ("b", 1)), results=4)
    assert uncompared(upgrade, 1000) == ["not compared: bits of 3 of 4 results, A to B: a (2); b (1)"]


def an_upgrade(**changes: Any) -> Upgrade:
    facts = {
        "label": "A to B",
        "step": "",
        "alone": True,
        "changed_facts": "",
        "before": "a",
        "after": "b",
        "sentences": (),
    }
    return Upgrade(**{**facts, "counts": (), "rows": (), "results": 0, "changed": 0, **changes})


@pytest.mark.parametrize("width", [80, 100])
def test_the_terminal_keeps_its_width(
    reports: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    compare(reports, *PAIRS)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= width


# --- the real sample -----------------------------------------------------------------------------------


def test_the_sample_from_2_15_to_2_18(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated = shipped_sample.results()
    monkeypatch.setattr(store, "load", lambda folder: folder)
    monkeypatch.setattr(verdict, "evaluate", lambda _: evaluated)
    command = ["compare", *PAIRS, "--run", str(root / "reports" / "sample")]
    assert cli.main([*command, "--format", "json", "--fail-on", "none"]) == 0
    (upgrade,) = json.loads(capsys.readouterr().out)["upgrades"]
    assert upgrade["changed_facts"].startswith("TensorFlow 2.15.1 to 2.18.1, and with it Keras 2.15.0 to 3.15.1")
    unchanged = sum(upgrade.get(key, 0) for key in ("kept", "so_far", "as_before", "unknown"))
    assert upgrade["results"] == unchanged + upgrade["changed"] > 0
    assert len(upgrade["rows"]) == upgrade["changed"]
    changed = [row for row in upgrade["rows"] if "bits changed" in row["events"]]
    kernels = {row["kernel"] for row in changed}
    assert "matmul_f16" in kernels
    assert not kernels & {"seeded_mlp", "mlp_fit", "lstm_fwd_bwd"}  # these contain Keras, which changes as well

    assert cli.main([*command, "--fail-on", "bits-changed"]) == 1
    lines = capsys.readouterr().err.replace("\n  ", " ").splitlines()
    gates = [line.partition("gate bits-changed: ")[2].partition(": ")[0] for line in lines if "gate bits" in line]
    assert gates == [f"{row['kernel']} ({row['variation']}, {row['mode']})" for row in changed]
    # results that are listed because they got slower count too
    (line,) = [line for line in lines if line.startswith("not compared: bits")]
    total, listed = int(line.split()[4]), re.search(r"\((\d+) of them are listed", line)
    reasons = re.findall(r" \((\d+)\)(?:;|$)", line)
    assert sum(map(int, reasons)) == total == upgrade["unknown"] + (int(listed[1]) if listed else 0)
