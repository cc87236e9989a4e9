"""Faults of kernels: each costs its own kernel, whose outcome says what happened, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from bench import verdict
from bench.portable import limited_log
from tests.faults.conftest import Checkout, checking, outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.store.run import Run
    from bench.suite.record import Outcome


class Fault(NamedTuple):
    """What a kernel does, how it must end, and what its outcome must say."""

    code: str
    outcome: str
    says: str


def fault(name: str, code: str, outcome: str, says: str, result: str) -> object:
    return pytest.param(Fault(code, outcome, says), id=name.replace(" ", "_"), marks=pytest.mark.fault(name, result))


CRASHED = "The kernel is crashed, with the signal or exit code; the others are measured."
ERROR = "The kernel is an error, with class and message; the others are measured."
OK = "The kernel is measured; what it left is named and removed."
FAULTS = [
    fault("A worker is killed with SIGKILL", "os.kill(os.getpid(), signal.SIGKILL)", "crashed", "SIGKILL", CRASHED),
    fault("A kernel causes a segmentation fault", "ctypes.string_at(0)", "crashed", "SIGSEGV", CRASHED),
    fault("A kernel calls sys.exit", "sys.exit(0)", "crashed", "exit code 0", CRASHED),
    fault("A kernel raises KeyboardInterrupt", "raise KeyboardInterrupt", "crashed", "exit code 1", CRASHED),
    fault(
        "A kernel hangs in C and ignores all signals",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); ctypes.PyDLL(None).sleep(600)",
        "timeout", "time limit of 4 s", "The kernel is stopped at its time limit; the others are measured.",
    ),
    fault(
        "A kernel reaches a memory limit",
        "resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32)); bytearray(2**34)",
        "oom", "", "The kernel is out of memory; the others are measured.",
    ),
    fault(  # in four calls
        "A kernel starts 200 processes that go on",
        "keep = [subprocess.Popen(['sleep', '600'], start_new_session=True) for _ in range(50)]",
        "ok", "left 200 processes running", OK,
    ),
    fault("A kernel exits with code 7", "os._exit(7)", "crashed", "exit code 7", CRASHED),
    fault("A kernel exits with code 75", "os._exit(75)", "crashed", "exit code 75", CRASHED),
    fault("A kernel returns no output", "return {}", "failed", "", "The kernel is failed; the others are measured."),
    fault(
        "A kernel stops its process", "os.kill(os.getpid(), signal.SIGSTOP)",
        "timeout", "time limit of 4 s", "The kernel is stopped at its time limit; the others are measured.",
    ),
    fault(
        "A kernel closes its standard output", "sys.stdout.close(); os.closerange(1, 2)",
        "ok", "closed or redirected standard output", OK,
    ),
    fault(
        "A kernel forks its process", "os.fork() or (os.setsid(), time.sleep(600), os._exit(0))",
        "ok", "left 4 processes running: python", OK,
    ),
    fault(
        "A kernel writes a line of a record to standard output",
        r"""print('{"line": "end"}', flush=True); os.write(1, b'raw words\n')""",
        "ok", "", OK,
    ),
    fault("A kernel floods its standard output", "[os.write(1, b'x' * 10**6) for _ in range(40)]", "ok", "", OK),
    fault("A kernel writes bytes that are no text", r"os.write(1, b'\xff\n'); os.write(2, b'\x80')", "ok", "", OK),
    fault("An error message is no valid text", r"raise ValueError('\udcff \x1b[2J \x00')", "error", "", ERROR),
    fault("An error message has ten million characters", "raise ValueError('long' * 2500000)", "error", "long", ERROR),
    fault(
        "An error has no text because its __str__ fails",
        "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()",
        "crashed", "exit code 1", CRASHED,
    ),
    fault("A kernel recurses without end", "f = lambda g: g(g); f(f)", "error", "", ERROR),
    fault(
        "A kernel deletes its working folder",
        "p = os.environ['TMPDIR'] + '/w'; os.mkdir(p); os.chdir(p); os.rmdir(p)",
        "ok", "changed the working directory", OK,
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def measured(small_root: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Checkout, Run]]:
    """One run in which every kernel has another fault."""
    with checking(small_root, cache, tmp_path_factory.mktemp("processes")) as made:
        codes = {f"k{number}": param.values[0].code for number, param in enumerate(FAULTS)}  # type: ignore[attr-defined]
        done = made.matrix(codes=codes)
        assert done.code == 0, done.err
        yield made, made.newest()


def found(measured: tuple[Checkout, Run], which: Fault) -> Outcome:
    number = next(number for number, param in enumerate(FAULTS) if param.values[0] is which)  # type: ignore[attr-defined]
    (record,) = measured[1].records.values()
    return next(outcome for outcome in record.outcomes if outcome.kernel == f"k{number}")


@pytest.mark.parametrize("which", FAULTS)
def test_a_fault_costs_only_its_own_kernel(measured: tuple[Checkout, Run], which: Fault) -> None:
    end = found(measured, which)
    assert end.outcome == which.outcome, end.message
    assert which.says in " ".join([end.message, *end.left_behind])
    assert len(end.message) <= 4000
    assert outcomes(measured[1])["sound"] == {"ok"}
    assert measured[1].info.finished


def test_the_pages_and_the_log_of_so_many_faults_are_whole(measured: tuple[Checkout, Run]) -> None:
    checkout, run = measured
    page = (checkout.reports / "index.html").read_text(encoding="utf-8")
    for name in ("sound", *(f"k{number}" for number in range(len(FAULTS)))):
        assert re.search(rf"\b{name}\b", page)
    assert "\x1b" not in page
    logs = list((checkout.reports / "runs" / run.info.id / "logs").rglob("default-off-*.log"))
    assert logs
    assert all(log.stat().st_size < limited_log.HEAD_BYTES + limited_log.TAIL_BYTES + 1000 for log in logs)


def test_a_file_in_tmp_is_named_and_seen_by_no_other_kernel(checkout: Checkout) -> None:
    own = "p, me = '/tmp/planted', str(os.getpid()); os.path.exists(p) or open(p, 'w').write(me)"
    done = checkout.matrix(codes=dict.fromkeys(("first", "second"), f"{own}; assert open(p).read() == me"))
    assert done.code == 0, done.err
    (record,) = checkout.newest().records.values()
    left = {outcome.kernel: " ".join(outcome.left_behind) for outcome in record.outcomes}
    if record.processes[0].settings["private_tmp"]:
        assert outcomes(checkout.newest()) == {name: {"ok"} for name in ("sound", "first", "second")}
        assert "planted" in left["second"]
    assert "planted" in left["first"]


def test_the_hash_order_is_named_and_can_be_fixed(checkout: Checkout) -> None:
    by_set = (
        "words = 'the cat sat on a mat'.split(); order = list(set(words)); "
        "return {'x': tf.constant([float(seed), *(float(order.index(word)) for word in words)])}"
    )
    done = checkout.matrix("--rounds", "2", "--variation", "default,hashseed=0", codes={"by_set": by_set})
    assert done.code == 0, done.err
    verdicts = verdict.evaluate(checkout.newest()).verdicts
    found = {one.variation: one for one in verdicts if one.kernel == "by_set"}
    assert found["default"].status == "reproducible-in-process", found["default"].why
    assert found["default"].why.endswith("try --variation hashseed=0.")
    assert len(found["hashseed=0"].comparison.digests) == 1
    assert "hash order" not in found["hashseed=0"].why


@pytest.mark.fault(
    "A kernel kills the driver of its round",
    "The kernels without a result are crashed; the other rounds go on, and the record is whole.",
)
def test_a_kernel_that_kills_its_driver(checkout: Checkout) -> None:
    done = checkout.matrix("--rounds", "2", codes={"kills": "os.kill(os.getppid(), signal.SIGKILL)"})
    assert done.code == 0, done.err
    run = checkout.newest()
    assert len(run.records) == 2
    assert all(record.complete for record in run.records.values())
    assert "crashed" in outcomes(run)["kills"]
    assert run.info.finished


@pytest.mark.fault(
    "A kernel stops its driver with SIGSTOP in a virtual environment",
    "The round ends at a time limit: the kernels without a result are timeouts, and nothing is left running.",
)
def test_a_kernel_that_stops_its_driver(checkout: Checkout) -> None:
    code = "(os.kill(os.getppid(), signal.SIGSTOP), time.sleep(600))"
    done = checkout.matrix("--rounds", "2", codes={"stops": code})
    assert done.code == 0, done.err
    found = outcomes(checkout.newest())
    assert found["stops"] == {"timeout"}
    assert found["sound"] <= {"ok", "timeout"}
    messages = {one.message for record in checkout.newest().records.values() for one in record.outcomes}
    assert any("its driver wrote nothing for 25 s" in message for message in messages)
