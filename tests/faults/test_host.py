"""Odd hosts: few resources, odd settings, unusual names."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import errors
from tests.faults.conftest import outcomes

if TYPE_CHECKING:
    from tests.faults.conftest import Checkout

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
SOUND = {"sound": {"ok"}}


@pytest.mark.fault("Few file descriptors are allowed (ulimit -n 64)", "The run is measured.")
def test_few_file_descriptors(checkout: Checkout) -> None:
    done = checkout.matrix("--rounds", "2", prefix=("prlimit", "--nofile=64"))
    assert done.code == 0, done.err
    assert outcomes(checkout.newest()) == SOUND


@pytest.mark.fault("The locale is C", "The run is measured, and its pages are the same UTF-8.")
def test_the_locale_is_c(checkout: Checkout) -> None:
    checkout.environment |= {"LC_ALL": "C", "LANG": "C"}
    done = checkout.matrix(codes={"größe": "pass"})
    assert done.code == 0, done.err
    assert "größe" in (checkout.reports / "index.html").read_text(encoding="utf-8")


@pytest.mark.fault(
    "Paths have spaces, quotes, line breaks and letters of other scripts", "The run is measured and found again."
)
def test_unusual_paths(checkout: Checkout) -> None:
    checkout.folder = checkout.folder / "a 'b' \"c\" $d;é漢\n%s <blink>"
    checkout.folder.mkdir()
    done = checkout.matrix()
    assert done.code == 0, done.err
    assert outcomes(checkout.newest()) == SOUND
    assert checkout.run("report", "--reports", str(checkout.reports)).code == 0
    assert "<blink>" not in (checkout.reports / "index.html").read_text(encoding="utf-8")


@pytest.mark.fault("Names of kernels are unusual", "They are measured under these names and shown whole.")
def test_unusual_names_of_kernels(checkout: Checkout) -> None:
    names = ["k" * 120, "größe_漢字", "_", "__init__"]
    done = checkout.matrix(codes=dict.fromkeys(names, "pass"))
    assert done.code == 0, done.err
    assert outcomes(checkout.newest()) == {name: {"ok"} for name in ("sound", *names)}
    page = (checkout.reports / "index.html").read_text(encoding="utf-8")
    assert all(name in page for name in names)


@pytest.mark.fault(
    "The name of a kernel is too long for a record",
    "A warning names its file, the other kernels are measured, and the command ends with exit code 2.",
)
def test_a_name_that_is_too_long(checkout: Checkout) -> None:
    file = checkout.kernels(**{"k" * 121: "pass"})
    words = checkout.arguments()
    checkout.kernels(**{"k" * 121: "pass"})
    done = checkout.run(*words)
    assert done.code == errors.CONFIG, done.err
    assert f"{file.name}: the name of the kernel kkkkkkkkkkkkkkkkkkkk... has more than 120 characters" in done.err
    assert outcomes(checkout.newest()) == SOUND


def in_own_mounts(script: str) -> tuple[str, ...]:
    """Return a command that mounts something for one process alone; skips the test where that is not allowed."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not make a mount namespace")
    return ("unshare", "--mount", "sh", "-c", f'set -e; {script}; exec "$@"', "sh")


@pytest.mark.fault("The shared memory (/dev/shm) is very small", "The run is measured.")
def test_a_small_dev_shm(checkout: Checkout) -> None:
    done = checkout.matrix(prefix=in_own_mounts("mount -t tmpfs -o size=4k none /dev/shm"))
    assert done.code == 0, done.err
    assert outcomes(checkout.newest()) == SOUND


@pytest.mark.fault(
    "The folder of TMPDIR gets full during a run",
    "The command ends with exit code 4 and names the folder; the same command resumes the run.",
)
def test_tmp_is_full(checkout: Checkout) -> None:
    assert checkout.matrix().code == 0
    folder = checkout.folder / "tmp"
    done = checkout.matrix(prefix=in_own_mounts(f"mount -t tmpfs -o size=8k,nr_inodes=2 none '{folder}'"))
    assert done.code == errors.ENGINE, done.err
    assert f"{folder}/tfrepro-" in done.err
    assert "No space left on device" in done.err
    assert "set TMPDIR" in done.err


@pytest.mark.fault("The clock jumps by days during a run", "The run ends, is found again, and no record is lost.")
@pytest.mark.parametrize("jump", ["-40d", "+40d"])
def test_the_clock_jumps(checkout: Checkout, jump: str) -> None:
    if not Path(FAKETIME).exists():
        pytest.skip("libfaketime is not installed")
    clock = checkout.folder / "clock"
    clock.write_text("+0", encoding="utf-8")
    checkout.environment |= {
        "LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    # libfaketime makes clock_nanosleep(2) fail after a jump, which Python's sleep calls; a real clock does not
    (checkout.folder / "sitecustomize.py").write_text(
        "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n", encoding="utf-8"
    )
    checkout.environment["PYTHONPATH"] = str(checkout.folder)
    child = checkout.start(*checkout.arguments("--rounds", "6"))
    checkout.wait_for(checkout.records, "no record", 60)
    clock.write_text(jump, encoding="utf-8")
    checkout.wait_for(lambda: len(checkout.records()) >= 2, "no second record", 60)
    checkout.kill(child)
    known = len(checkout.records())
    done = checkout.matrix("--rounds", "6")
    assert done.code == 0, done.err
    assert f"reused from interrupted runs: {known} of 6" in done.err


@pytest.mark.fault("HOME is not set and PATH is empty", "The run is measured.")
def test_without_home_and_path(checkout: Checkout) -> None:
    variables = {name: text for name, text in checkout.variables().items() if name not in {"HOME", "PATH"}}
    done = checkout.matrix(env=variables)
    assert done.code == 0, done.err
    assert outcomes(checkout.newest()) == SOUND


@pytest.mark.fault("Standard input, output and error are closed", "The run is measured, and its pages are written.")
def test_closed_streams(checkout: Checkout) -> None:
    prefix = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    done = checkout.matrix(prefix=prefix)
    assert done.code == 0
    assert outcomes(checkout.newest()) == SOUND
    assert (checkout.reports / "index.html").is_file()
