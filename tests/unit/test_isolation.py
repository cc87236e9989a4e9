"""Isolation of processes: the real driver with workers that misbehave, and what a kernel leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.suite import driver, private_tmp
from bench.suite.record import Record, Request, parse
from bench.suite.suite_hash import ROOT

#: Replaces ``bench.suite.worker``, which needs TensorFlow: it runs the code that the context has for each kernel.
WORKER = """
import json, os, signal, socket, subprocess, sys, threading, time
from bench.suite import left_behind
from bench.suite.record import RECORD_CLOSED, RESTART, Request, line

def log_traceback():
    pass

def main(arguments, *, private_tmp):
    request, number = Request.from_json(arguments[0]), int(arguments[1])
    private = os.dup(1)
    os.dup2(2, 1)
    record = os.fdopen(private, "w")

    def write(kind, body):
        try:
            record.write(line(kind, {"process": number, **body}))
            record.flush()
        except (OSError, ValueError):
            os._exit(RECORD_CLOSED)

    settings = {"private_tmp": private_tmp, "kernels": list(request.kernels)}
    provenance = {"tmp": sorted(os.listdir(os.environ["TMPDIR"])), "variables": dict(os.environ)}
    write("process", {"pid": os.getpid(), "started": "", "provenance": provenance, "settings": settings})
    for name in request.kernels:
        write("kernel", {"kernel": name})
        before = left_behind.snapshot(private_tmp=private_tmp)
        result = {}
        exec(request.context["code"].get(name, ""), {**globals(), "result": result, "write": write, "record": private})
        left = left_behind.sentences(before, private_tmp=private_tmp)
        body = {"kernel": name, "outcome": "ok", "seconds": 0.1, "message": str(result.get("message", ""))}
        write("outcome", {**body, "left_behind": left} if left else body)
        if left:
            write(RESTART, {})
            break
    return 0
"""
#: The options that make Python run the driver.
DRIVER: tuple[str, ...] = ("-m", "bench.suite.driver")
#: Holds the pipe to the driver open, outside of the worker's process group.
FORK = "if os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n    os._exit(0)\n"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the suite with the worker above."""
    folder = tmp_path_factory.mktemp("isolation")
    (folder / "bench").mkdir()
    (folder / "bench" / "__init__.py").touch()
    shutil.copytree(ROOT / "bench" / "suite", folder / "bench" / "suite", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "bench" / "suite" / "worker.py").write_text(WORKER, encoding="utf-8")
    return folder


def measure(
    suite: Path, code: dict[str, str], *, custom: bool = True, paths: str = "", limit_s: float = 30.0, **variables: str
) -> Record:
    """Run the driver with a kernel for each entry of ``code``, all custom or all of the suite."""
    names = tuple(code)
    request = Request(
        column="c", mode="off", variation="default", round=1, kernels=names, repetitions=dict.fromkeys(names, 1),
        time_limit_s=limit_s, kernel_files=dict.fromkeys(names, "f00d/a.py") if custom else {}, context={"code": code},
    )  # fmt: skip
    scratch = suite / "scratch"
    scratch.mkdir(exist_ok=True)
    environment = {
        **{name: str(scratch) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")},
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, [str(suite), paths])),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, *DRIVER, request.to_json()], cwd=scratch, env=environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(scratch.iterdir()) == [], "the driver deletes what its processes left"
    record = parse(done.stdout.splitlines(keepends=True))
    assert record.complete
    assert sorted(outcome.kernel for outcome in record.outcomes) == sorted(names), "one outcome for each kernel"
    return record


def outcomes(record: Record) -> dict[str, str]:
    return {outcome.kernel: outcome.outcome for outcome in record.outcomes}


def test_each_custom_kernel_has_a_process_of_its_own() -> None:
    facts: dict[str, Any] = {"column": "c", "mode": "off", "variation": "default", "round": 1, "repetitions": {}}
    request = Request(**facts, kernels=("a", "mine", "b", "other"), kernel_files={"mine": "f/x.py", "other": "f/x.py"})
    assert driver.process_groups(request) == [["a", "b"], ["mine"], ["other"]]
    assert driver.process_groups(Request(**facts, kernels=("mine",), kernel_files={"mine": "f/x.py"})) == [["mine"]]


def test_no_other_kernel_reaches_the_process_of_a_custom_kernel(suite: Path) -> None:
    record = measure(suite, {"first": "", "second": ""})
    assert [process.settings["kernels"] for process in record.processes] == [["first"], ["second"]]
    assert len({process.pid for process in record.processes}) == 2


def test_kernels_of_the_suite_share_a_process_until_one_leaves_something(suite: Path) -> None:
    leaves = "threading.Thread(target=time.sleep, args=(600,)).start()"
    record = measure(suite, {"a": "", "b": leaves, "c": "", "d": ""}, custom=False)
    assert [(outcome.kernel, outcome.process) for outcome in record.outcomes] == [
        ("a", 1),
        ("b", 1),
        ("c", 2),
        ("d", 2),
    ]
    assert set(outcomes(record).values()) == {"ok"}
    left = {outcome.kernel: outcome.left_behind for outcome in record.outcomes if outcome.left_behind}
    assert left == {"b": ["left 1 thread running: Thread-1 (sleep)"]}


@pytest.mark.parametrize("code", [0, 1, 75, 76])
@pytest.mark.fault(
    "A kernel exits with code 75 or another code of the tool",
    "The kernel is crashed, with the reason; the next kernel is measured in a new process.",
)
def test_no_exit_code_requests_another_process(suite: Path, code: int) -> None:
    record = measure(suite, {"exits": f"os._exit({code})", "next": ""}, custom=False)
    assert outcomes(record) == {"exits": "crashed", "next": "ok"}
    assert len(record.processes) == 2


def test_a_restart_without_a_result_is_not_granted(suite: Path) -> None:
    record = measure(suite, {"restarts": "write(RESTART, {}); os._exit(0)", "next": ""}, custom=False)
    assert outcomes(record) == {"restarts": "crashed", "next": "ok"}


@pytest.mark.fault("A worker dies between two kernels", "Both are measured, the second in a new process.")
def test_a_death_between_two_kernels_costs_neither(suite: Path) -> None:
    late = "import atexit\nthreading._start_new_thread(lambda: (time.sleep(0.05), os._exit(3)), ())"
    record = measure(suite, {"first": late, "next": "time.sleep(0.3)", "last": ""}, custom=False)
    assert outcomes(record)["last"] == "ok"


@pytest.mark.parametrize("custom", [True, False])
@pytest.mark.fault(
    "A kernel leaves a child that holds the output of its worker open",
    "The kernel is measured; what it left is named and ended.",
)
def test_a_forked_child_does_not_hold_the_round(suite: Path, *, custom: bool) -> None:
    start = time.monotonic()
    record = measure(suite, {"forks": FORK, "next": ""}, custom=custom)
    assert time.monotonic() - start < 30
    assert outcomes(record) == {"forks": "ok", "next": "ok"}
    assert record.outcomes[0].left_behind[0].startswith("left 1 process running: python")


@pytest.mark.fault(
    "A kernel crashes and leaves children",
    "The kernel is crashed, with the reason; the next kernel is measured in a new process.",
)
def test_the_children_of_a_crashed_kernel_are_killed_and_reported(suite: Path) -> None:
    start = time.monotonic()
    record = measure(suite, {"dies": FORK + "os.abort()", "next": ""}, custom=False)
    assert time.monotonic() - start < 30
    assert outcomes(record) == {"dies": "crashed", "next": "ok"}
    assert record.outcomes[0].left_behind[0].startswith("left 1 process running: python")


@pytest.mark.fault("A kernel forks twice", "The kernel is measured; what it left is named and ended.")
def test_a_daemon_is_found_although_its_parent_has_ended(suite: Path) -> None:
    daemon = "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(600)\n    os._exit(0)\n"
    record = measure(suite, {"daemon": daemon})
    assert record.outcomes[0].left_behind[0].startswith("left 1 process running: python")


@pytest.mark.parametrize("act", ["os.kill(os.getpid(), signal.SIGSTOP)", "os.kill(0, signal.SIGSTOP)"])
@pytest.mark.fault(
    "A kernel stops its worker with SIGSTOP",
    "The kernel is stopped at its time limit; the next one is measured.",
)
def test_a_stopped_worker_is_killed_at_its_limit(suite: Path, act: str) -> None:
    record = measure(suite, {"stops": act, "next": ""}, limit_s=1.0, custom=False)
    assert outcomes(record) == {"stops": "timeout", "next": "ok"}


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
@pytest.mark.fault(
    "A kernel kills its process group",
    "The kernel is crashed, with the reason; the next kernel is measured in a new process.",
)
def test_a_kernel_cannot_signal_the_driver_through_its_group(suite: Path, number: str) -> None:
    record = measure(suite, {"kills": f"os.killpg(0, signal.{number})\ntime.sleep(60)", "next": ""}, custom=False)
    assert outcomes(record) == {"kills": "crashed", "next": "ok"}
    assert number in record.outcomes[0].message


@pytest.mark.parametrize(
    "act",
    [
        "os.closerange(0, 4096)",
        "os.closerange(0, 4096)\ntime.sleep(600)",
        "os.closerange(3, 4096)\nkept = [open('/dev/null', 'w') for _ in range(9)]\ntime.sleep(600)",
    ],
    ids=["closed", "closed and hanging", "reused"],
)
@pytest.mark.fault(
    "A kernel closes all file descriptors",
    "The kernel is crashed, with the reason; the next kernel is measured in a new process.",
)
def test_a_kernel_that_closes_the_record_costs_only_itself(suite: Path, act: str) -> None:
    start = time.monotonic()
    record = measure(suite, {"closes": act, "next": ""}, custom=False)
    assert time.monotonic() - start < 25
    assert outcomes(record) == {"closes": "crashed", "next": "ok"}
    assert "closed a file descriptor of its process" in record.outcomes[0].message


@pytest.mark.fault(
    "A kernel writes odd lines into the record",
    "They are left out; the kernel and the next one are measured.",
)
def test_other_text_on_the_record_is_ignored(suite: Path) -> None:
    junk = 'os.write(record, b\'[1]\\n"x"\\n{"a": 1}\\nnull\\n\\xff\\xfe\\n\')'
    assert outcomes(measure(suite, {"writes": junk, "next": ""}, custom=False)) == {"writes": "ok", "next": "ok"}


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/dev/shm", "$TMPDIR", "$HOME", "."])  # noqa: S108
@pytest.mark.fault(
    "A kernel leaves files in /tmp, /var/tmp or /dev/shm",
    "No other process sees them; they are named and deleted.",
)
def test_no_temporary_file_survives_its_process(suite: Path, folder: str) -> None:
    name = f"tfrepro-test-{os.getpid()}"
    act = (
        f"path = os.path.join(os.path.expandvars('{folder}'), 'x{name}')\n"
        "result['message'] = open(path).read() if os.path.exists(path) else 'none'\n"
        "open(path, 'w').write('random')\n"
    )
    record = measure(suite, {"writes": act, "reads": act})
    if not record.processes[0].settings["private_tmp"]:
        pytest.skip("this system allows no private /tmp")
    assert [outcome.message for outcome in record.outcomes] == ["none", "none"]
    assert all(f"x{name}" in outcome.left_behind[0] for outcome in record.outcomes)
    assert not Path(folder, f"x{name}").exists()


def test_temporary_places_are_the_same_in_every_process(suite: Path) -> None:
    record = measure(suite, {"first": "", "second": ""})
    first, second = (
        {name: process.provenance["variables"][name] for name in ("TMPDIR", "HOME")} for process in record.processes
    )
    if record.processes[0].settings["private_tmp"]:
        assert first == second == {"TMPDIR": "/tmp", "HOME": "/tmp"}  # noqa: S108


def test_folders_that_the_project_names_stay_visible(suite: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text", encoding="utf-8")
    act = "result['message'] = open(os.environ['TFREPRO_FOLDER'] + '/file').read()"
    record = measure(suite, {"reads": act}, TFREPRO_FOLDER=str(tmp_path))
    assert record.outcomes[0].message == "text"


def test_files_in_a_shared_tmp_are_reported(suite: Path) -> None:
    path = Path(f"/tmp/x-tfrepro-test-{os.getpid()}")  # noqa: S108
    try:
        # a search path in /tmp itself forbids to mount anything over it
        record = measure(suite, {"writes": f"open('{path}', 'w').close()"}, paths="/tmp")  # noqa: S108
        assert record.processes[0].settings["private_tmp"] is False
        assert record.processes[0].provenance["tmp"] == [], "TMPDIR is private all the same"
        (text,) = record.outcomes[0].left_behind
        assert text.startswith("1 file or folder appeared in /tmp while it ran")
        assert path.name in text
    finally:
        path.unlink(missing_ok=True)


def test_in_a_container_the_driver_empties_tmp_but_keeps_the_code_compiled_for_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("tmp", "var", "shm")]
    monkeypatch.setattr(private_tmp, "SHARED", tuple(map(str, folders)))
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) in folders)
    monkeypatch.setenv(private_tmp.IN_CONTAINER, "1")
    monkeypatch.setenv("CUDA_CACHE_PATH", str(folders[0] / "cuda"))

    def fill() -> None:
        for folder in folders:
            (folder / "cuda").mkdir(parents=True, exist_ok=True)
            (folder / "file").touch()
            (folder / "link").unlink(missing_ok=True)
            (folder / "link").symlink_to(tmp_path)

    fill()
    with private_tmp.place(keep_cuda_cache=True) as place:
        assert place == (None, None, {})
        assert [sorted(entry.name for entry in folder.iterdir()) for folder in folders] == [["cuda"], [], []]
    fill()
    with private_tmp.place(keep_cuda_cache=False):
        assert [list(folder.iterdir()) for folder in folders] == [[], [], []]
    assert tmp_path.is_dir(), "links are not followed"


@pytest.mark.fault(
    "A kernel leaves 3,000 folders in each other in /tmp", "They are deleted; the next kernel is measured."
)
def test_folders_nested_deeper_than_python_can_recurse_are_deleted(suite: Path) -> None:
    nest = (
        "here = os.open(os.environ['TMPDIR'], os.O_RDONLY)\n"
        "for _ in range(3000):\n"
        "    os.mkdir('deep', dir_fd=here)\n"
        "    inner = os.open('deep', os.O_RDONLY, dir_fd=here)\n"
        "    os.fchmod(here, 0)\n"
        "    os.close(here)\n"
        "    here = inner\n"
    )
    assert outcomes(measure(suite, {"nests": nest, "next": ""})) == {"nests": "ok", "next": "ok"}


def test_the_driver_goes_on_as_soon_as_a_process_has_ended(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_driver = (
        "import sys; from bench.suite import driver; driver.GRACE_S = 600.0; sys.exit(driver.main(sys.argv[1:]))"
    )
    monkeypatch.setattr(sys.modules[__name__], "DRIVER", ("-c", start_driver))
    assert len(measure(suite, {"one": "", "two": ""}).processes) == 2, "measure() has a limit far below 600 s"


#: Replaces ``bench.suite.timing_worker``: it says where it runs.
TIMING_WORKER = """
import json, os
from pathlib import Path

def main(request):
    Path("/tmp/left").touch()
    names = ("TMPDIR", "HOME", "TF_DETERMINISTIC_OPS", "TF_FORCE_GPU_ALLOW_GROWTH")
    where = {"tmp": os.listdir("/tmp"), "cwd": os.getcwd(), "mode": request.mode}
    print(json.dumps({**where, **{name: os.environ.get(name) for name in names}}))
    return 0
"""


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_side_of_a_pair_has_its_variables_and_a_private_tmp(suite: Path, tmp_path: Path, device: str) -> None:
    root = shutil.copytree(suite / "bench", tmp_path / "suite" / "bench").parent
    (root / "bench" / "suite" / "timing_worker.py").write_text(TIMING_WORKER, encoding="utf-8")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    request = Request(
        column="c", mode="on", variation="default", round=1, kernels=("k",), repetitions={}, switch="env", device=device
    )
    environment = {
        **dict.fromkeys(("HOME", "TMPDIR"), str(scratch)), "PATH": os.environ["PATH"], "PYTHONPATH": str(root),
        "TF_CUDNN_DETERMINISTIC": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "bench.suite.timing_start", request.to_json()], cwd=scratch, env=environment,
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    seen = json.loads(done.stdout)
    assert (seen["mode"], seen["TF_DETERMINISTIC_OPS"]) == ("on", "1")
    assert seen["TF_FORCE_GPU_ALLOW_GROWTH"] == ("true" if device == "gpu" else None), "both sides share its memory"
    shared = private_tmp.SHARED[0]
    if seen["cwd"] == shared:  # the system lets an unprivileged process mount one
        assert "left" in seen["tmp"]
        assert not Path(shared, "left").exists()
        assert seen["TMPDIR"] == shared


#: What a kernel may do, and the sentence about it.
ACTS = {
    "threading.Thread(target=time.sleep, args=(600,), daemon=True, name='mine').start()": "left 1 thread running: mine",
    "threading._start_new_thread(time.sleep, (9,)); time.sleep(0.2)": "left 1 thread running: without a name",
    "keep = subprocess.Popen(['sleep', '600'])": "left 1 process running: sleep",
    "keep = open('/etc/passwd')": "left 1 file descriptor open: /etc/passwd",
    "keep = socket.socketpair()": "left 2 file descriptors open: socket:",
    "sys.stdout.close()": "closed or redirected standard output",
    "sys.stderr = None": "closed or redirected standard error",
    "os.close(2)": "closed or redirected standard error",
    "os.environ['MINE'] = '1'": "changed 1 environment variable: MINE",
    "import ctypes; ctypes.CDLL(None).setenv(b'MINE', b'1', 1)": "changed 1 environment variable: MINE",
    "os.environ['TMPDIR'] = '/'": "changed 1 environment variable: TMPDIR",
    "os.chdir('/')": "changed the working directory to /",
    "os.umask(0o77)": "changed the umask to 0077",
    "signal.signal(signal.SIGUSR1, signal.SIG_IGN)": "changed 1 signal handler: SIGUSR1",
    "signal.alarm(600)": "left a timer running that sends SIGALRM",
    "open(os.environ['TMPDIR'] + '/x', 'w').close()": "left 1 file or folder in its folder for temporary files: x",
    "os.mkdir(os.environ['TMPDIR'].encode() + b'/x\\xff')": "left 1 file or folder in its folder for temporary files",
    # what is gone when the kernel ends, or what TensorFlow does itself, is nothing left behind
    "threading.Thread(target=time.sleep, args=(0.05,)).start()": "",
    "subprocess.run(['true'], check=True); subprocess.Popen(['true'])": "",
    "open('/etc/passwd')": "",
    "keep = [open('/dev/null'), open('/proc/self/status')]": "",
    "open(os.environ['TMPDIR'] + '/__autograph_generated_fileabc.py', 'w').close()": "",
}


@pytest.mark.parametrize("act", ACTS)
def test_what_a_kernel_leaves_behind_is_named(act: str, tmp_path: Path) -> None:
    code = (
        "import os, signal, socket, subprocess, sys, threading, time\nfrom bench.suite import left_behind\n"
        "out = os.dup(1)\nbefore = left_behind.snapshot(private_tmp=True)\n"
        f"{act}\n"
        "found = left_behind.sentences(before, private_tmp=True)\n"
        "import json\nos.write(out, json.dumps(found).encode())\nos.killpg(0, 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, cwd=ROOT, capture_output=True,
        check=False, timeout=60, start_new_session=True,
    )  # fmt: skip
    found = [text for text in json.loads(done.stdout) if not any(folder in text for folder in private_tmp.SHARED)]
    assert len(found) == bool(ACTS[act]), found
    assert all(text.startswith(ACTS[act]) for text in found)
