"""One side of a pair: a process that prepares a kernel and times blocks of its calls, on command.

The coordinator (``bench.portable.paired_timing``) starts it in the column through ``bench.suite.timing_start``, and
sends one command per line of JSON. Each command gets one line of JSON as its answer:

==============================================  ==================================================
command                                         answer
==============================================  ==================================================
(none: after the start)                         ``process``: provenance, settings, suite hash
``{"do": "prepare", "kernel"}``                 ``prepared``: kind, first_s, rebuild_s
``{"do": "warm-up", "seconds"}``                ``warm``: call_s
``{"do": "rebuild"}``                           ``rebuilt``
``{"do": "block", "seconds", "batch", "warm"}`` ``block``: seconds, cpu_seconds, switches
``{"do": "release"}``                           ``released``: usable (False: end this process)
``{"do": "end"}``                               ``loaded``: the libraries; then the process ends
==============================================  ==================================================

A command that fails is answered by ``failed`` with outcome, message and usable. Between commands the process waits in
a read on its standard input and uses no CPU. What kernels print goes to standard error, and their standard input is
empty, so that neither can disturb the conversation.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional, TextIO, Tuple

from bench.suite import left_behind, preconditions, provenance, timing
from bench.suite.kernels import Kernel, Work, all_kernels, clear_input_cache, custom
from bench.suite.preconditions import MismatchError, mismatch
from bench.suite.record import Request, line
from bench.suite.sampler import reseed
from bench.suite.suite_hash import suite_hash
from bench.suite.worker import MESSAGE_LIMIT, forget_garbage, outcome_of, prepare, private_stdout, settings

#: Most clock readings in one block; short calls are timed in batches instead.
MAX_READINGS = 50
#: Kernels whose inputs and first call together take longer than this many seconds are not rebuilt on trial.
REBUILD_TRIAL_S = 0.4


def main(request: Request) -> int:
    """Serve the coordinator until it ends the conversation or goes away; failures are answers, not exit codes."""
    commands, answers = private_stdin(), private_stdout()
    try:
        tf, no_gpu_reason, loaded = prepare(request)
        worker = TimingWorker(request, tf, answers, loaded)
        worker.begin(no_gpu_reason)
    except Exception as error:  # noqa: BLE001 - whatever prevents the start must reach the record
        traceback.print_exc()
        answers.write(line("failed", {"outcome": "mismatch", "message": _message(error), "usable": False}))
        answers.flush()
        return 0
    for text in commands:
        if not worker.carry_out(json.loads(text)):
            break
    return 0


class TimingWorker:
    """The process of one side. At most one kernel is prepared at a time."""

    def __init__(self, request: Request, tf: Any, answers: TextIO, loaded: custom.Loaded) -> None:
        self.request = request
        self.tf = tf
        self.answers = answers
        self.custom = loaded
        self.kernels = {**all_kernels(), **loaded.kernels}
        self.finish = timing.finisher(tf, request.device)
        self.kernel: Optional[Kernel] = None
        self.call: Callable[[], Any] = _nothing
        self.initial_state: Any = None
        self.before: Optional[left_behind.Snapshot] = None

    def begin(self, no_gpu_reason: str) -> None:
        """Write provenance and settings."""
        forget_garbage()
        hashes = {name: self.kernels[name].source_hash()[:16] for name in self.request.kernels if name in self.kernels}
        on_gpu = self.request.device == "gpu"
        body = {
            "pid": os.getpid(),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "provenance": {**provenance.provenance(self.tf, hashes), **(provenance.gpu(self.tf) if on_gpu else {})},
            "settings": settings(self.tf, self.request, self.custom),
            "suite_hash": suite_hash(),
            "no_gpu": no_gpu_reason,
        }
        self.answer("process", body)
        self.initial_state = provenance.state(self.tf)

    def carry_out(self, command: Mapping[str, Any]) -> bool:
        """Carry out one command and answer it; returns whether more may follow."""
        if command["do"] == "end":
            self.answer("loaded", {"libraries": provenance.libraries()})
            return False
        try:
            if command["do"] == "prepare":
                self.answer("prepared", self.prepare(str(command["kernel"])))
            elif command["do"] == "warm-up":
                self.answer("warm", {"call_s": self.warm_up(float(command["seconds"]))})
            elif command["do"] == "rebuild":
                self._build()
                self.answer("rebuilt", {})
            elif command["do"] == "block":
                self.answer("block", self.block(command))
            else:
                self.answer("released", {"usable": self.release()})
        except Exception as error:  # noqa: BLE001 - any class of error is a result here
            traceback.print_exc()
            usable = not preconditions.makes_process_unusable(error, self.request) and self._unchanged()
            where = custom.error_location(error)
            message = _message(error).rstrip() + (f" ({where})" if where else "")
            self.answer("failed", {"outcome": outcome_of(error), "message": message, "usable": usable})
        return True

    def prepare(self, name: str) -> Dict[str, Any]:
        """Build a kernel and time its first call; returns its kind, and what building it again takes, with one call."""
        self.before = left_behind.snapshot(private_tmp=False, folders=())
        self.kernel = self._find(name)
        build_s, first = self._build()
        rebuild_s = build_s + first.wall
        if self.kernel.call_again and rebuild_s < REBUILD_TRIAL_S:
            build_s, again = self._build()  # a first call in a process loads and compiles what later ones find
            rebuild_s = build_s + again.wall
        kind = "steady" if self.kernel.call_again else "first"
        return {"kind": kind, "first_s": timing.seconds(first.wall), "rebuild_s": timing.seconds(rebuild_s)}

    def warm_up(self, budget_s: float) -> float:
        """Call the kernel until it is warm, and return the seconds of a call; ``budget_s`` is for all its calls."""
        warm: List[timing.Clock] = []
        while not timing.is_warm(warm, budget_s):
            warm.append(timing.timed(self.call)[1])
        return timing.seconds(min(clock.wall for clock in warm[-2:]))

    def block(self, command: Mapping[str, Any]) -> Dict[str, Any]:
        """Time calls for so many seconds, at least one; ``batch`` calls share one reading of the clock."""
        if self.kernel is None:
            raise RuntimeError("no kernel is prepared")
        if not self.kernel.call_again:
            return _block([self._build()[1]], 1)
        if command["warm"]:
            self.call()
        batch, spent = int(command["batch"]), 0.0
        clocks: List[timing.Clock] = []
        call = self.call if batch == 1 else _repeated(self.call, batch)
        while not clocks or (spent < float(command["seconds"]) and len(clocks) < MAX_READINGS):
            clock = timing.timed(call)[1]
            clocks.append(clock)
            spent += clock.wall
        return _block(clocks, batch)

    def release(self) -> bool:
        """Drop the kernel and its memory; returns whether this process may be used for another kernel.

        Raises:
            MismatchError: The kernel changed the mode, or loaded a library of another version.
        """
        self._drop()
        clear_input_cache()
        forget_garbage()
        preconditions.check_libraries(self.request)
        if provenance.determinism_enabled() != (self.request.mode == "on"):
            raise mismatch(f"a kernel switched determinism, although {self.request.mode} was requested")
        return self._unchanged() and not self._left_behind()

    def _left_behind(self) -> bool:
        """Return whether the kernel left anything behind, which the log then names.

        Files do not count: no time depends on them, and in a /tmp that others use they may be theirs.
        """
        if self.before is None:
            return False
        channels = self.request.device != "gpu"  # CUDA opens some for itself
        sentences = left_behind.sentences(self.before, private_tmp=False, channels=channels)
        for sentence in sentences:
            sys.stderr.write(f"tfrepro: a kernel {sentence}\n")
        return bool(sentences)

    def answer(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write one line and flush it."""
        self.answers.write(line(kind, body))
        self.answers.flush()

    def _find(self, name: str) -> Kernel:
        if name in self.custom.failures:
            raise self.custom.failures[name]
        if name not in self.kernels:
            raise MismatchError("; ".join(self.custom.errors.values()) or f"the suite has no kernel named {name!r}")
        return self.kernels[name]

    def _build(self) -> Tuple[float, timing.Clock]:
        """Build the kernel anew from the seed and call it once; returns the seconds to build and the call's times."""
        kernel, finish, tf, seed = self.kernel, self.finish, self.tf, self.request.seed
        if kernel is None:
            raise RuntimeError("no kernel is prepared")
        self.call = _nothing  # release the memory of the inputs before they are made again
        if not kernel.portable or not kernel.call_again:
            tf.keras.backend.clear_session()
        reseed(tf, seed)
        start = time.perf_counter()
        # wait for the inputs: a copy to the GPU still in progress would count towards the call
        work: Work = finish(kernel.function(tf, seed))
        build_s = time.perf_counter() - start
        self.call = lambda: finish(work())
        return build_s, timing.timed(self.call)[1]

    def _drop(self) -> None:
        if self.kernel is not None and not self.kernel.portable:
            self.tf.keras.backend.clear_session()
        self.kernel, self.call = None, _nothing

    def _unchanged(self) -> bool:
        """Return whether no kernel has changed the state of this process, which would affect the next kernel."""
        switched = provenance.determinism_enabled() != (self.request.mode == "on")
        return not switched and bool(provenance.state(self.tf) == self.initial_state)


def private_stdin() -> TextIO:
    """Return the original standard input, and redirect descriptor 0 to an empty file."""
    private = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return os.fdopen(private, "r", encoding="utf-8")


def _block(clocks: List[timing.Clock], batch: int) -> Dict[str, Any]:
    """Return the fields of a block; times are seconds per call."""
    return {
        "seconds": [timing.seconds(clock.wall / batch) for clock in clocks],
        "cpu_seconds": [timing.seconds(clock.cpu / batch) for clock in clocks],
        "switches": sum(clock.switches for clock in clocks),
    }


def _repeated(call: Callable[[], Any], number: int) -> Callable[[], None]:
    def calls() -> None:
        for _ in range(number):
            call()

    return calls


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {custom.with_remedy(error)}"[:MESSAGE_LIMIT]


def _nothing() -> None:
    """Stand in for the call of a kernel while none is prepared."""
