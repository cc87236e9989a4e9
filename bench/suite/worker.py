"""One process of one round: set the mode, prove it is on, run kernels, write their samples.

Started by the driver as ``python -m bench.suite.worker REQUEST PROCESS``; REQUEST is one line of
JSON. Record lines go to the standard output the driver opened; whatever TensorFlow prints goes to
standard error, so no message of a library can end up inside a record.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import time
import traceback
from datetime import datetime, timezone
from typing import Any, Dict, TextIO

import numpy as np

from bench.suite import provenance, timing
from bench.suite.digest import arrays, digest, same_bits
from bench.suite.kernels import Kernel, all_kernels
from bench.suite.record import RESTART, Request, line

#: The contrast run uses this seed: the article's second seed.
CONTRAST_SEED = 123
MESSAGE_LIMIT = 4000


class NotAskedError(Exception):
    """This process is not what the request asked for; a number from it would be a lie."""


def main(arguments: list[str]) -> int:
    """Run one round's kernels; 0 also where kernels failed, for their outcomes say so."""
    request = Request.from_json(arguments[0])
    worker = Worker(request, int(arguments[1]), _private_stdout())
    try:
        tf = prepare(request)
    except Exception as error:  # noqa: BLE001 - whatever stops the start must reach the record
        traceback.print_exc()
        for name in request.kernels:
            worker.outcome(name, "failed", time.perf_counter(), error)
        return 0
    return worker.run(tf)


def prepare(request: Request) -> Any:
    """Import TensorFlow, set mode and threads before any trace, and assert both.

    Raises:
        NotAskedError: determinism or a pinned version is not what was asked.
        ImportError: TensorFlow cannot be imported.
    """
    for name, wanted in sorted(request.expect.items()):
        found = provenance.version_of(name)
        if found != wanted:
            raise NotAskedError(f"not what was asked: {name} {found or 'missing'} is installed, the lock says {wanted}")
    tf = importlib.import_module("tensorflow")
    if request.threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(request.threads)
    if request.mode == "on" and request.switch == "api":
        tf.config.experimental.enable_op_determinism()
    if provenance.determinism_enabled() != (request.mode == "on"):
        raise NotAskedError(f"not what was asked: determinism should be {request.mode}, TensorFlow says otherwise")
    return tf


class Worker:
    """One process of a round: its request, its number in the round, and the record it writes to."""

    def __init__(self, request: Request, number: int, record: TextIO) -> None:
        self.request = request
        self.number = number
        self.record = record

    def run(self, tf: Any) -> int:
        """Say who measures, then run every kernel asked for; ``RESTART`` asks for a new process for the rest."""
        kernels = all_kernels()
        hashes = {name: kernels[name].source_hash() for name in self.request.kernels if name in kernels}
        body = {
            "pid": os.getpid(),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "provenance": provenance.provenance(tf, hashes),
            "settings": provenance.settings(tf, self.request.switch if self.request.mode == "on" else "none"),
        }
        self._write("process", body)
        for name in self.request.kernels:
            self._write("kernel", {"kernel": name})
            self._kernel(tf, kernels.get(name), name)
            if provenance.determinism_enabled() != (self.request.mode == "on"):
                return RESTART
        return 0

    def outcome(self, name: str, outcome: str, start: float, error: Exception | None = None) -> None:
        """Write how a kernel ended; ``start`` is its ``perf_counter`` in seconds."""
        body: Dict[str, Any] = {"kernel": name, "outcome": outcome, "seconds": round(time.perf_counter() - start, 3)}
        if error is not None:
            body.update(error_class=type(error).__name__, message=str(error)[:MESSAGE_LIMIT])
        self._write("outcome", body)

    def _kernel(self, tf: Any, kernel: Kernel | None, name: str) -> None:
        """All repeats of one kernel, then the contrast; an exception ends this kernel only."""
        start = time.perf_counter()
        request = self.request
        try:
            if kernel is None:
                raise NotAskedError(f"this suite has no kernel named {name!r}")
            for repeat in range(request.repeats):
                self._sample(tf, kernel, "repeat", repeat, request.seed)
            other = CONTRAST_SEED if request.seed != CONTRAST_SEED else CONTRAST_SEED + 1
            self._sample(tf, kernel, "contrast", 0, other)
        except Exception as error:  # noqa: BLE001 - any class of error is a result here
            traceback.print_exc()
            self.outcome(name, _kind(error), start, error)
        else:
            self.outcome(name, "ok", start)

    def _sample(self, tf: Any, kernel: Kernel, role: str, repeat: int, seed: int) -> None:
        """One repeat: reseed and rebuild everything, call, digest, then call again for the clock."""
        if not kernel.portable:
            tf.keras.backend.clear_session()
        reseed(tf, seed)
        work, setup = timing.timed(lambda: kernel.function(tf, seed))
        outputs, first = timing.timed(lambda: arrays(work()))
        found = digest(outputs)
        clocks: list[timing.Clock] = []
        agrees = None
        if kernel.call_again and role == "repeat":
            agrees, clocks = timing.steady(
                lambda: arrays(work()), self.request.steady_s, lambda again: same_bits(outputs, again)
            )
        self._assert_mode()
        body: Dict[str, Any] = {
            "kernel": kernel.name,
            "role": role,
            "repeat": repeat,
            "seed": seed,
            "digest": found.hexadecimal,
            "outputs": found.outputs,
            "kept": found.kept,
            "setup_s": round(setup.wall, 6),
            "first_s": round(first.wall, 6),
            "first_cpu_s": round(first.cpu, 6),
            "steady_agrees": agrees,
            "load": round(os.getloadavg()[0], 2),
            **timing.walls(clocks),
        }
        self._write("sample", body)

    def _assert_mode(self) -> None:
        """A kernel may have switched determinism itself; what ran after that is not of this mode."""
        if provenance.determinism_enabled() != (self.request.mode == "on"):
            raise NotAskedError(
                f"not what was asked: a kernel switched determinism while it should be {self.request.mode}"
            )

    def _write(self, kind: str, body: Dict[str, Any]) -> None:
        self.record.write(line(kind, {"process": self.number, **body}))
        self.record.flush()


def reseed(tf: Any, seed: int) -> None:
    """Put every generator back: Python's, NumPy's, TensorFlow's, Keras's and the global Generator."""
    tf.keras.utils.set_random_seed(seed)
    tf.random.set_global_generator(tf.random.Generator.from_seed(seed))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global stream is what kernels of other people use


def _kind(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "oom"
    return "failed" if isinstance(error, NotAskedError) else "raised"


def _private_stdout() -> TextIO:
    """Keep the driver's pipe for the record; point descriptor 1 at standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
