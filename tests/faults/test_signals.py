"""Signals to the command itself: it ends at once, keeps what is finished, and the same command goes on."""

from __future__ import annotations

import random
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest

from bench import errors
from tests.faults.conftest import outcomes

if TYPE_CHECKING:
    import subprocess

    from tests.faults.conftest import Checkout

ROUNDS = ("--rounds", "8")
#: Seconds that an interrupted command may take to end.
END_S = 30


def ended(child: subprocess.Popen[str]) -> str:
    """Return what an interrupted command has printed to standard error."""
    start = time.monotonic()
    _, err = child.communicate(timeout=120)
    assert time.monotonic() - start < END_S, err
    assert "internal error" not in err
    return err


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(
            how,
            marks=pytest.mark.fault(
                f"{name} at five random moments of a run",
                "The command ends with exit code 130; every finished record is reused by the same command.",
            ),
        )
        for how, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"))
    ],
)
def test_a_run_is_interrupted_at_random_moments(checkout: Checkout, how: signal.Signals) -> None:
    chance = random.Random(int(how))  # noqa: S311 - the same moments every time
    known: set[str] = set()
    for number in range(1, 6):
        child = checkout.start(*checkout.arguments(*ROUNDS))
        checkout.wait_for_runs(number)
        time.sleep(chance.uniform(0, 2.5))
        child.send_signal(how)
        err = ended(child)
        if child.returncode == 0:
            break
        assert child.returncode == errors.INTERRUPTED, err
        assert "run the same command again to resume" in err
        names = {path.name for path in checkout.records()}
        assert known <= names
        known = names
    done = checkout.matrix(*ROUNDS)
    assert done.code == 0, done.err
    if known:
        assert "reused from interrupted runs" in done.err
    run = checkout.newest()
    assert run.info.finished
    assert len(run.records) == 8


@pytest.mark.fault("Ctrl-C during a run", "The same command reuses every finished round.")
def test_an_interrupted_run_is_resumed(checkout: Checkout) -> None:
    slow = {"slow": "time.sleep(0.3)"}  # the run goes on while another one is refused
    rounds = ("--rounds", "5")
    child = checkout.start(*checkout.arguments(*rounds, codes=slow))
    checkout.wait_for(lambda: len(checkout.records()) >= 2, "no records", 60)
    held = checkout.matrix(*rounds, codes=slow)
    assert held.code == errors.ENGINE
    assert f"process {child.pid}" in held.err
    child.send_signal(signal.SIGINT)
    err = ended(child)
    assert child.returncode == errors.INTERRUPTED, err
    before = checkout.newest()
    assert not before.info.finished
    kept = len(before.records)
    assert 2 <= kept < 5
    done = checkout.matrix(*rounds, codes=slow)
    assert done.code == 0, done.err
    after = checkout.newest()
    assert len(after.records) == 5
    assert len(after.info.reused) == kept
    assert set(after.info.reused.values()) == {before.info.id}
    assert f"reused from interrupted runs: {kept} of 5" in done.err
    assert set(after.info.reused) <= set(after.records), "under the names they are read by"
    assert f"{kept} reused" in (checkout.reports / "index.html").read_text(encoding="utf-8")
    # a finished run gives nothing to the next: every night measures afresh
    assert checkout.matrix(codes=slow).code == 0
    assert not checkout.newest().info.reused


@pytest.mark.fault("Ctrl-C while the command is being started", "It ends with exit code 130 and without a traceback.")
@pytest.mark.parametrize("after_s", [0.2, 0.5, 1.0])
def test_ctrl_c_during_imports(checkout: Checkout, after_s: float) -> None:
    child = checkout.start(*checkout.arguments())
    time.sleep(after_s)
    child.send_signal(signal.SIGINT)
    err = ended(child)
    assert "Traceback" not in err
    assert child.returncode in {errors.INTERRUPTED, -signal.SIGINT}


@pytest.mark.fault("Ctrl-C is pressed three times", "The command still ends its processes and exits with code 130.")
def test_ctrl_c_is_pressed_again_while_the_command_ends(checkout: Checkout) -> None:
    child = checkout.start(*checkout.arguments(codes={"sleeps": "time.sleep(60)"}))
    checkout.wait_for(lambda: list(checkout.reports.glob("runs/*/records/*/*/*.part")), "no round", 60)
    time.sleep(1)
    for _ in range(3):
        child.send_signal(signal.SIGINT)
        time.sleep(0.05)
    err = ended(child)
    assert child.returncode in {errors.INTERRUPTED, -signal.SIGINT}, err
    assert "Traceback" not in err


@pytest.mark.fault(
    "The command is stopped (Ctrl-Z) and continued", "The run goes on; no kernel is blamed for the pause."
)
def test_the_command_is_stopped_and_continued(checkout: Checkout) -> None:
    child = checkout.start(*checkout.arguments("--rounds", "3"))
    checkout.wait_for(lambda: list(checkout.reports.glob("runs/*/records/*/*/*.part")), "no round", 60)
    child.send_signal(signal.SIGSTOP)
    time.sleep(3)
    child.send_signal(signal.SIGCONT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert outcomes(checkout.newest()) == {"sound": {"ok"}}


@pytest.mark.fault(
    "kill -9 of the command during a round",
    "Its driver and workers end by themselves; the same command resumes the run with every finished record.",
)
def test_the_command_is_killed(checkout: Checkout) -> None:
    child = checkout.start(*checkout.arguments(*ROUNDS))
    checkout.wait_for(checkout.records, "no record", 60)
    checkout.kill(child)
    known = {path.name for path in checkout.records()}
    elsewhere = ("--reports", str(checkout.folder / "again"))
    shutil.copytree(checkout.reports, elsewhere[1])
    done = checkout.matrix(*ROUNDS)
    assert done.code == 0, done.err
    assert f"reused from interrupted runs: {len(known)} of 8" in done.err
    done = checkout.matrix(*ROUNDS, *elsewhere, "--no-resume")
    assert done.code == 0, done.err
    assert "reused" not in done.err
