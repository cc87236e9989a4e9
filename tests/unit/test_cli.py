"""The command line without an engine: exit codes, sentences, no tracebacks."""

from __future__ import annotations

import collections
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from bench import cli, errors
from bench.cli import images as images_command
from bench.cli.parser import MODULES, commands, parser
from bench.cli.planning import make_plan
from bench.engines import docker_probe
from bench.plan import config
from tests.unit import factory
from tests.unit.test_tails import folder_of

if TYPE_CHECKING:
    from bench.cli.command import Command
    from bench.plan.column import Column


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.chdir(root)


def test_kernels_as_json_have_what_the_page_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kernels", "--json"]) == 0
    kernels = json.loads(capsys.readouterr().out)["kernels"]
    assert len([one for one in kernels if not one["control"]]) >= 45
    wanted = {"name", "family", "exercises", "shapes", "dtypes", "source", "portable", "heavy", "accuracy", "file"}
    assert all(wanted <= set(kernel) for kernel in kernels)


def test_kernels_and_plan_as_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kernels"]) == 0
    assert "seeded_mlp" in capsys.readouterr().out
    assert cli.main(["plan", "--engine", "venv"]) == 0
    assert "tf2.21.0-cpu-py311@cpu" in capsys.readouterr().out


def test_doctor_has_every_option_of_a_plan() -> None:
    options = parser(["doctor"]).parse_args(["doctor", "--env", "tf2.18.1-cpu", "--device", "cpu"])
    assert [column.id for column in make_plan(options).columns] == ["tf2.18.1-cpu-py311@cpu"]


LISTS = """\
from bench.suite.kernels import kernel

@kernel(family=["own"], exercises=None, shapes=[8], dtypes=3, source="x")
def mine(tf, seed):
    pass
"""


def write_kernels(folder: Path, text: str = "", name: str = "my_kernels.py") -> Path:
    head = "from bench.suite.kernels import kernel\n\n"
    facts = "family='own', exercises='mine alone', shapes='[8]', dtypes='float32', source='own'"
    body = f"@kernel({facts})\ndef my_kernel(tf, seed):\n    return lambda: {{}}\n"
    path = folder / name
    path.write_text(text or head + body, encoding="utf-8")
    return path


class TestCustomKernels:
    """Custom kernels are listed and planned; an error in their file is a warning with file and line."""

    def test_they_are_listed(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = str(write_kernels(tmp_path))
        assert cli.main(["kernels", "--json", "--kernel-file", path]) == 0
        last = json.loads(capsys.readouterr().out)["kernels"][-1]
        assert (last["name"], last["file"], last["family"]) == ("my_kernel", "my_kernels.py", "own")
        for options in ([], ["--markdown"]):
            assert cli.main(["kernels", "--kernel-file", path, *options]) == 0
            assert "my_kernel" in capsys.readouterr().out
        assert cli.main(["kernels"]) == 0
        assert "my_kernel" not in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("def f(:\n", "my_kernels.py, line 1: SyntaxError"),
            ("import os\nos._exit(3)\n", "my_kernels.py declares no kernel"),
            (LISTS, "my_kernels.py, line 3: TypeError"),
        ],
    )
    def test_an_error_is_a_warning_and_the_rest_goes_on(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, words: str
    ) -> None:
        path = str(write_kernels(tmp_path, text))
        for arguments in (["kernels"], ["kernels", "--markdown"], ["plan", "--engine", "venv"]):
            assert cli.main([*arguments, "--kernel-file", path]) == 0
            output = capsys.readouterr()
            assert f"warning: {words}" in output.err
            assert "Traceback" not in output.err
            assert output.out

    def test_what_only_an_environment_can_tell_is_said(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        text = "from bench.suite.kernels import kernel\n\nfor number in range(2):\n    kernel(number)\n"
        arguments = ["plan", "--engine", "venv", "--kernel-file", str(write_kernels(tmp_path, text))]
        assert cli.main(arguments) == errors.OK
        assert "my_kernels.py, line 4: kernels are declared by code that only an env" in capsys.readouterr().err
        assert cli.main([*arguments, "--kernels", "my_*"]) == errors.NOTHING
        assert "Run 'matrix' with the same options" in capsys.readouterr().err

    def test_a_faulty_file_is_bad_configuration_where_nothing_else_was_selected(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = str(write_kernels(tmp_path, "def f(:\n"))
        assert cli.main(["plan", "--engine", "venv", "--kernel-file", path, "--kernels", "mine"]) == errors.CONFIG
        assert "error: my_kernels.py, line 1: SyntaxError" in capsys.readouterr().err

    def test_they_are_planned_and_named_in_the_matrix_beside_it(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, root: Path
    ) -> None:
        write_kernels(tmp_path)
        other = write_kernels(tmp_path, "", "other.py")
        other.write_text(other.read_text(encoding="utf-8").replace("my_kernel", "my_other"), encoding="utf-8")
        text = (root / "matrix.toml").read_text(encoding="utf-8")
        (tmp_path / "matrix.toml").write_text(
            text.replace("kernel_files = []", 'kernel_files = ["my_kernels.py"]'), encoding="utf-8"
        )
        arguments = ["plan", "--json", "--engine", "venv", "--matrix", str(tmp_path / "matrix.toml")]
        assert cli.main([*arguments, "--kernel-file", str(other), "--kernels", "my_*"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert {"my_kernel", "my_other", "control_flicker"} <= set(plan["kernels"])
        assert "matmul_f32" not in plan["kernels"]
        assert plan["variations"]["default"] == plan["kernels"]

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (["nowhere.py"], ["nowhere.py cannot be read", "--kernel-file"]),
            (["a/my.py", "b/my.py"], ["Two kernel files are named my.py"]),
            (
                ["project/mine.py"],
                ["mine.py, line 1: helper is in the folder of mine.py", "pass the folder with --kernel-file"],
            ),
        ],
    )
    def test_kernel_files_that_cannot_be_used_are_bad_configuration(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, names: list[str], words: list[str]
    ) -> None:
        for name in ("a/my.py", "b/my.py", "project/mine.py", "project/helper.py"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            write_kernels(tmp_path, "import helper" if name == "project/mine.py" else "#", name)
        arguments = [text for name in names for text in ("--kernel-file", str(tmp_path / name))]
        for command in (["kernels"], ["plan", "--engine", "venv"]):
            assert cli.main([*command, *arguments]) == errors.CONFIG
            output = capsys.readouterr()
            for word in [*words, "error:", "hint:"]:
                assert word in output.err
            assert not output.out


def test_a_dry_run_lists_variations_and_their_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["matrix", "--dry-run", "--engine", "venv", "--profile", "nightly", "--kernels", "matmul_mean"]
    assert cli.main(arguments) == 0
    output = capsys.readouterr().out
    for variation in ("default", "threads=1", "threads=4xcores", "onednn=0", "isa=avx2"):
        assert f"variation {variation} (off/on): matmul_mean, control_flicker" in output
    assert "tf32" not in output, "no CPU has it"
    assert "switch=env" not in output, "nothing but controls is left of it"
    # 8 columns, 5 rounds, 2 modes, 5 variations
    assert "would run 400 rounds" in output


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Matrix"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plan", "--engine", "venv", "--env", "tf9*"], errors.NOTHING, ["No pair matches tf9*", "tf2.18.1-cpu"]),
        (["plan", "--engine", "venv", "--kernels", "nope"], errors.NOTHING, ["No kernel matches nope"]),
        (["plan", "--engine", "venv", "--profile", "nope"], errors.CONFIG, ["no profile 'nope'", "quick"]),
        (["plan", "--matrix", "nowhere.toml"], errors.CONFIG, ["nowhere.toml cannot be read"]),
        (["matrix", "--engine", "venv", "--device", "gpu"], errors.NO_GPU, ["A GPU is required", "no NVIDIA GPU"]),
        (["plan", "--device", "GPU-1a2b"], errors.NO_GPU, ["This host has no GPU GPU-1a2b"]),
        (["plan", "--device", "xyz"], errors.CONFIG, ["'xyz' is not a device", "UUID"]),
        (["images", "--push", "HTTP://user:secret@x"], errors.CONFIG, ["is not the name of a registry"]),
        (["import", "nowhere.tar.gz"], errors.ENGINE, ["nowhere.tar.gz"]),
        (["bundle", "--env", "tf9*", "--out", "b"], errors.CONFIG, ["tf9*", "tf2.18.1-cuda12.5"]),
        (
            ["bundle", "--env", "tf2.18.1-cpu", "--out", "b", "--split", "5"],
            errors.CONFIG,
            ["Invalid size of a part: '5'", "--split 60M"],
        ),
        (["report", "--reports", "nowhere"], errors.NOTHING, ["There is no run", "nox -s matrix"]),
        (["report", "tests"], errors.ENGINE, ["is no run folder"]),
        (["diff", "tf2.18.1-cpu", "matmul_f32", "--run", "tests"], errors.ENGINE, ["is no run folder"]),
        (["diff", "tf2.18.1-cpu", "matmul_f32", "--reports", "nowhere"], errors.NOTHING, ["There is no run"]),
    ],
)
def test_every_mistake_has_a_message_a_hint_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: list[str]
) -> None:
    assert cli.main(arguments) == code
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    for word in [*words, "error:", "hint:"]:
        assert word in output.err
    assert not output.out


@pytest.mark.parametrize(
    "arguments", [["matrix", "--rounds", "0"], ["plan", "--env", ","], ["matrix", "--mode", "x"], []]
)
def test_wrong_options_are_bad_configuration(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == errors.CONFIG


def test_an_unknown_gate_is_rejected_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["matrix", "--engine", "venv", "--fail-on", "on-vareis", "--reports", str(tmp_path)]
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == errors.CONFIG
    assert "unknown gate 'on-vareis'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.fault(
    "There is too little disk space for the environments",
    "The command ends with exit code 4 before it builds anything.",
)
def test_too_little_disk_space_is_reported_before_anything_is_built(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = collections.namedtuple("usage", "total used free")  # noqa: PYI024 - the shape of shutil's own answer
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    monkeypatch.setenv("TFREPRO_CACHE", str(tmp_path / "cache"))
    assert cli.main(["matrix", "--engine", "venv", "--reports", str(tmp_path / "reports")]) == errors.ENGINE
    output = capsys.readouterr().err
    assert "Not enough disk space" in output
    assert "GB needed" in output
    assert not (tmp_path / "reports" / "runs").exists()


@pytest.mark.fault("There is no Docker engine", "The error says so; without --engine, virtual environments are used.")
def test_a_requested_docker_that_is_missing_is_an_error_and_auto_falls_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = docker_probe.Probe(answers=False, why="no socket")
    monkeypatch.setattr(docker_probe, "probe", lambda: missing)
    assert cli.main(["matrix", "--dry-run", "--engine", "docker"]) == errors.ENGINE
    assert "Docker was requested, but it cannot be used: no socket" in capsys.readouterr().err
    assert cli.main(["matrix", "--dry-run"]) == 0
    output = capsys.readouterr()
    assert "engine venv: Docker cannot be used: no socket" in output.err
    assert "would run" in output.out


def test_an_internal_error_is_one_line_and_has_a_traceback_only_with_debug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        message = "boom"
        raise RuntimeError(message)

    monkeypatch.setattr(config, "schema", fail)
    assert cli.main(["schema"]) == errors.ENGINE
    output = capsys.readouterr().err
    assert "internal error: RuntimeError: boom" in output
    assert "Traceback" not in output
    with pytest.raises(RuntimeError):
        cli.main(["schema", "--debug"])


@pytest.mark.fault("The reader of the output goes away", "The exit code is not that of success.")
def test_a_closed_output_pipe_does_not_turn_a_failure_into_success() -> None:
    """Behind a pipe a gate may stand after the point where the reader left."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "bench", "kernels", "--json"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (errors.UNREAD, "")


def test_an_exit_code_that_was_decided_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Left(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

        def fileno(self) -> int:
            return file.fileno()

    monkeypatch.setattr(config, "schema", lambda: "short")
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", Left())
        assert cli.main(["schema"]) == errors.OK


def test_a_run_is_found_by_its_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As the page of a large run says it."""
    folder = tmp_path / "reports" / "runs" / "20250101T000000Z-aaaa"
    folder_of(folder, factory.run())
    monkeypatch.chdir(tmp_path)
    output = []
    for name in (str(folder), folder.name):
        code = cli.main(["report", name])
        output.append((code, capsys.readouterr().out))
    assert output[0] == output[1]
    assert "TF 2.18.1 CPU" in output[1][1]
    assert cli.main(["report", "20250101T000000Z-bbbb"]) == errors.ENGINE
    assert "is no run folder" in capsys.readouterr().err


def test_interruption_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "schema", interrupt)
    assert cli.main(["schema"]) == errors.INTERRUPTED
    assert capsys.readouterr().err.strip() == "interrupted"  # it measured nothing that could be gone on with
    monkeypatch.setattr(config, "load", lambda *_: interrupt())
    assert cli.main(["matrix"]) == errors.INTERRUPTED
    assert "run the same command again to resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "harm", "code", "actual"),
    [
        ({}, "", errors.NOTHING, "No kernel gave a result with determinism on"),
        ({"finished": ""}, "", errors.ENGINE, "The run is not complete"),
        ({}, "no xz at all", errors.ENGINE, "unreadable records: 1; the page names them"),
    ],
)
def test_an_incomplete_run_does_not_exit_with_success(
    changes: dict[str, Any], harm: str, code: int, actual: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "runs" / "20250101T000000Z-aaaa", factory.run(factory.info(**changes)))
    if harm:
        next(folder.rglob("*.jsonl.xz")).write_text(harm, encoding="utf-8")
    assert cli.main(["report", "--reports", str(tmp_path), "--fail-on", "none"]) == code
    assert actual in capsys.readouterr().err


class RegistryThatRefusesOne:
    """An engine that has every image; one lacks a library, and the registry refuses the first it is given."""

    pushed: ClassVar[list[str]] = []

    def __init__(self, *_: object, **__: object) -> None:
        self.pushed.clear()

    def disk_need(self, *_: object) -> tuple[Path, int]:
        return Path.cwd(), 0

    def prepare(self, *_: object) -> None:
        """Say nothing: the image exists."""

    def run_python(self, _: object, column: Column, *__: object) -> str:
        missing = {"libcudnn.so.9": "not found"} if column.id.startswith("tf2.15") else {}
        return json.dumps({"libraries": ["libcuda.so.1"], "missing": missing, "problems": []})

    def push(self, column: Column, _: str) -> str:
        self.pushed.append(column.id)
        if len(self.pushed) == 1:
            message = "the registry refused it"
            raise errors.EngineError(message, "see its log")
        return "sha256:one"


def test_a_failed_push_of_an_image_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images_command, "DockerEngine", RegistryThatRefusesOne)
    assert cli.main(["images", "--push", "registry:5000", "--device", "cpu"]) == errors.ENGINE
    actual = capsys.readouterr().out
    assert [one.partition("-")[0] for one in RegistryThatRefusesOne.pushed] == ["tf2.18.1", "tf2.21.0"]
    assert actual.count("sha256:one") == 1
    assert actual.count("the registry refused it") == 1
    assert "libcudnn.so.9: not found" in actual


def help_text(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "-h"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(capsys)
    assert "local" in MODULES
    for name in MODULES:
        assert f"\n    {name}" in text


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_command_explains_itself_in_80_columns(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(capsys, command.name)
    flat = " ".join(text.split())
    assert command.summary.endswith(".")
    assert command.summary in flat
    assert command.example in flat
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(("lock", option) for option in ("--kernels=x", "--rounds=3", "--device=cpu", "--engine=venv", "--mode=on")),
        *(("images", option) for option in ("--kernels=x", "--rounds=3", "--engine=venv", "--variation=default")),
        *(("doctor", option) for option in ("--kernels=x", "--rounds=3", "--mode=on", "--kernel-file=x.py")),
        *(("clean", option) for option in ("--matrix=x", "--env=x")),
        ("choose", "--fail-on=none"),
        ("plan", "--no-resume"),
    ],
)
def test_an_option_without_effect_is_rejected(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, option])
    assert caught.value.code == errors.CONFIG
    assert "unrecognized arguments" in capsys.readouterr().err
