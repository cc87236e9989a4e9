"""Files that are not what they should be: a clear error in bounded time, and what can be read is shown."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from bench import cli, errors, host, verdict
from bench.cli.night_log import night_log
from bench.engines import usage_lock
from bench.errors import ConfigError, StorageError
from bench.fleet import collect
from bench.fleet.ssh_hosts import read_hosts
from bench.history import journal
from bench.plan import config
from bench.plan import custom_kernels as plan_kernels
from bench.portable import custom_kernels as local_kernels
from bench.portable.errors import PortableError
from bench.portable.record_reader import RecordReader
from bench.portable.run_folder import PlannedFolder
from bench.store import log_tails
from bench.store import run as store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    "text",
    [
        f"a = {'[' * 5000}{']' * 5000}",
        f"a = {'{a=' * 5000}1{'}' * 5000}",
        f"[{'.'.join('a' * 3000)}]\nx = 1",
        f"[defaults]\npython = {'9' * 5000}",
        f"[defaults]\npython = 0x{'9' * 5000}",
        "[defaults]\npython = 1e999999",
        "[defaults]\npython = '\x00'",
        "[[[",
    ],
)
@pytest.mark.fault(
    "matrix.toml is nested 5,000 deep or has a number of 5,000 digits",
    "The command ends with exit code 2, a message and a hint.",
)
def test_an_odd_matrix_file_is_a_configuration_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "matrix.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "matrix.toml")
    assert caught.value.code == errors.CONFIG
    assert caught.value.hint
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.fault("matrix.toml or run.json is a named pipe, a folder or a device", "It is refused at once.")
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, make: object) -> None:
    place = tmp_path / "matrix.toml"
    make(place)  # type: ignore[operator]
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(place)
    place.rename(tmp_path / "run.json")
    with pytest.raises(StorageError, match="cannot be read"):
        store.read_info(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.fault("A file of custom kernels is a named pipe or a device", "It is refused at once.")
def test_a_kernel_file_that_is_a_pipe_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    place = tmp_path / "my.py"
    make(place)
    with pytest.raises(ConfigError, match=r"my\.py cannot be read: it is neither a regular file nor a folder"):
        plan_kernels.sources([], tmp_path, [place], [])
    with pytest.raises(PortableError, match=r"my\.py cannot be read") as caught:
        local_kernels.read([place], [])
    assert caught.value.code == errors.CONFIG


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.fault("A record is a named pipe or a device", "It is listed as unreadable; the others are evaluated.")
def test_a_pipe_in_the_place_of_a_record_costs_only_that_record(tmp_path: Path, root: Path, make: object) -> None:
    run = tmp_path / "sample"
    shutil.copytree(root / "reports" / "sample", run)
    for place in (next((run / "records").rglob("*-002.jsonl.xz")), next((run / "paired").rglob("*-002.jsonl.xz"))):
        place.unlink()
        make(place)  # type: ignore[operator]
    results = verdict.evaluate(store.load(run))
    assert len(results.unreadable) == 2
    assert all("not a regular file" in reason for _, reason in results.unreadable)


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"command": "\x1b[2J"}, ["run.json, command"]),
        ({"warnings": [None]}, ["run.json, warnings.0"]),
        ({"columns": [{"environment": "/etc/passwd"}, {}]}, ["run.json, columns.0.environment"]),
        ({"columns": [{}, {"device": [None]}]}, ["run.json, columns.1.device"]),
        (
            {"kernels": [{"exercises": None}, {"source": 10**400}]},
            ["run.json, kernels.0.exercises", "run.json, kernels.1.source"],
        ),
        ({"host": "python:3.11"}, ["run.json, host"]),
        ({"host": {"cores": None, "name": "a"}}, ["run.json, host.cores"]),
        ({"kernels": [{"family": None}, {"dtypes": {}}]}, ["run.json, kernels.0.family", "run.json, kernels.1.dtypes"]),
    ],
)
def test_what_does_not_fit_in_run_json_is_listed_and_the_rest_is_shown(
    tmp_path: Path, root: Path, changes: dict[str, Any], places: list[str]
) -> None:
    content = changed(json.loads((root / "reports" / "sample" / "run.json").read_text()), changes)
    (tmp_path / "run.json").write_text(json.dumps(content))
    run = store.load(tmp_path, partly=True)
    assert set(places) <= set(run.unreadable)
    lost = sum("columns." in place for place in places)
    assert len(run.info.columns) == len(content["columns"]) - lost
    odd = sum("kernels." in place and not place.endswith(("exercises", "source")) for place in places)
    assert len(run.info.kernels) == len(content["kernels"]) - odd
    assert {kernel.name for kernel in run.info.kernels if kernel.control} == {
        kernel["name"] for kernel in content["kernels"] if kernel["control"]
    }
    assert verdict.evaluate(run).unreadable
    for read in (store.read_info, store.load):
        with pytest.raises(StorageError, match=places[0].removeprefix("run.json, ")):
            read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "42"},
        {"kernels": [{"control": None}]},
        {"kernels": [{"control": "must-differ", "rate": "often"}]},
        {"columns": [{"colour": "blue"}]},
        {"suite_hash": None},
        {"variation_modes": []},
    ],
)
def test_what_decides_about_the_rest_is_refused(tmp_path: Path, root: Path, changes: dict[str, Any]) -> None:
    content = changed(json.loads((root / "reports" / "sample" / "run.json").read_text()), changes)
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(StorageError) as caught:
        store.load(tmp_path, partly=True)
    assert caught.value.hint


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.fault("A log, tails.json or a file of hosts is a named pipe or a device", "Nothing waits for it.")
def test_a_pipe_in_the_place_of_a_text_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "pipe")
    assert log_tails.tail(tmp_path / "pipe") == ""
    with pytest.raises(ConfigError, match="not a regular file"):
        read_hosts(tmp_path / "pipe")
    make(tmp_path / "tails.json")
    assert log_tails._read_tails(tmp_path / "tails.json").problem


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.with_name("precious"))])
@pytest.mark.fault("The log of a night is a link or a named pipe", "The command ends with exit code 4; the file stays.")
def test_the_log_of_a_night_overwrites_no_other_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "nightly-logs").mkdir()
    precious = tmp_path / "nightly-logs" / "precious"
    precious.write_text("years of it")
    make(tmp_path / "nightly-logs" / "latest.log")
    with pytest.raises(StorageError, match=r"latest\.log cannot be written"), night_log(tmp_path):
        pass
    assert precious.read_text() == "years of it"


@pytest.mark.fault("The reports folder has an index.html of somebody else", "Nothing is measured; the file stays.")
def test_the_page_of_somebody_else_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.html").write_text("<h1>My site</h1>")
    for words in (["matrix"], ["report", "reports/sample"]):
        assert cli.main([*words, "--reports", str(tmp_path)]) == errors.ENGINE
        assert "was not written by tfrepro, and would be lost" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "<h1>My site</h1>"


@pytest.mark.parametrize("name", ["/etc", "../../mine", "20250130T120000Z-abcd/../..", "", "x"])
def test_only_a_run_can_have_been_collected_before(tmp_path: Path, name: str) -> None:
    (tmp_path / "collected.json").write_text(json.dumps({"run": name}))
    assert collect._earlier(tmp_path / "collected.json") == ""


@pytest.mark.fault("Another process keeps the file of notes locked", "The command says so after ten seconds.")
def test_a_note_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LOCK_S", 0.2)
    entry = journal.Entry(kind="note", cell="*", text="hello")
    journal.add(tmp_path, entry)
    with (tmp_path / journal.NAME).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another process has locked it"):
            journal.add(tmp_path, entry)
    journal.add(tmp_path, entry)
    assert len(journal.read(tmp_path)[0]) == 2


def test_git_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nexec sleep 60\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(host, "_GIT_S", 0.2)
    assert host.revision(tmp_path) == "unknown"


def test_an_odd_lock_of_the_cache_is_a_clear_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in-use.lock")
    with pytest.raises(StorageError, match=r"in-use\.lock cannot be locked"), usage_lock.exclusive(tmp_path):
        pass


def test_an_error_message_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--matrix", "/x\x1b[31my"]) == errors.CONFIG
    assert "\x1b" not in capsys.readouterr().err


def changed(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The content with other values; in columns and kernels, with other values of the first ones."""
    for key, value in changes.items():
        if key in {"columns", "kernels"}:
            for item, new in zip(content[key], value, strict=False):
                item.update(new)
        else:
            content[key] = value
    return content


@pytest.mark.parametrize(
    "text", ["[]", "3", "{}", '{"finished": [], "started": 3, "warnings": "x"}', "\xff", "[" * 100_000]
)
def test_an_odd_run_json_does_not_stop_a_plan_that_is_resumed(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "runs" / "20260101T000000Z-abcd"
    folder.mkdir(parents=True)
    (folder / "plan").write_text("hash")
    (folder / "run.json").write_text(text, encoding="latin-1")
    found, resumed = PlannedFolder.open(tmp_path, "hash")
    assert (found.path, resumed, found.info()) == (folder, True, {})


@pytest.mark.parametrize(
    "text",
    [
        '{"line": {}}', '{"line": "end", "seconds": []}', '{"line": "process", "process": "x", "settings": {}}',
        '{"line": "header"}', '{"line": "outcome", "kernel": [], "outcome": "ok"}', "[" * 100_000, "[]", "3",
    ],
)  # fmt: skip
def test_an_odd_line_of_a_driver_is_left_out(text: str) -> None:
    reader = RecordReader("hash")
    assert reader.parse_line(text) == ("", {})
    assert not any((reader.header, reader.ended, reader.strange, reader.outcomes))
    assert reader.parse_line(f'{{"line": "end", "seconds": 1{"0" * 400}}}')[0] == "end"
    assert reader.seconds == 1e9


def test_nothing_is_compared_with_a_part_of_a_run(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column that is left out could be the one that got worse."""
    shutil.copytree(root / "reports" / "sample", tmp_path / "a")
    shutil.copytree(root / "reports" / "sample", tmp_path / "b")
    content = changed(json.loads((tmp_path / "b" / "run.json").read_text()), {"columns": [{"lock": 5}]})
    (tmp_path / "b" / "run.json").write_text(json.dumps(content))
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == errors.ENGINE
    assert "columns.0.lock" in capsys.readouterr().err
