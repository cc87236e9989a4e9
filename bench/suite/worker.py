"""One process of one round: set the mode, prove it is on, run kernels, write their samples.

Started by the driver as ``python -m bench.suite.worker REQUEST PROCESS``; REQUEST is one line of
JSON. Record lines go to the standard output the driver opened; whatever TensorFlow prints goes to
standard error, so no message of a library can end up inside a record.
"""

from __future__ import annotations

import gc
import importlib
import os
import random
import sys
import time
import traceback
from datetime import datetime, timezone
from typing import Any, Dict, Mapping, TextIO, Tuple

import numpy as np

from bench.suite import preconditions, provenance, timing
from bench.suite.digest import SHORT, Digest, Result, collect, digest, raw, same_bits
from bench.suite.distance import error
from bench.suite.first_difference import parting
from bench.suite.kept_values import tensors
from bench.suite.kernels import Kernel, all_kernels, custom, forget_inputs
from bench.suite.preconditions import MismatchError
from bench.suite.record import RESTART, Request, line

#: The second_seed run uses this seed: the article's second seed.
SECOND_SEED = 123
MESSAGE_LIMIT = 4000
#: Distinct digests of one kernel and process that are described in full: where they part, and kept values.
MOST_DESCRIBED = 3


#: Seed -> the global generator of that seed, and the state it begins with.
_GENERATORS: Dict[int, Tuple[Any, Any]] = {}


def main(arguments: list[str]) -> int:
    """Run one round's kernels; 0 also where kernels failed, for their outcomes say so."""
    request = Request.from_json(arguments[0])
    worker = Worker(request, int(arguments[1]), private_stdout())
    try:
        tf, why_no_gpu = prepare(request)
    except Exception as error:  # noqa: BLE001 - whatever stops the start must reach the record
        traceback.print_exc()
        for name in request.kernels:
            worker.outcome(name, "mismatch", time.perf_counter(), error)
        return 0
    return worker.run(tf, why_no_gpu)


def prepare(request: Request) -> Tuple[Any, str]:
    """Import TensorFlow, set mode and threads before any trace, and prove that all is as asked.

    Returns TensorFlow, and why there is no GPU ("" where there is one, or none was asked for).

    Raises:
        MismatchError: determinism, a pinned version, a library or the device is not what was asked.
        ImportError: TensorFlow cannot be imported.
    """
    preconditions.installation(request)
    tf = importlib.import_module("tensorflow")
    if request.threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(request.threads)
    if request.tf32 is not None:
        tf.config.experimental.enable_tensor_float_32_execution(request.tf32)
    if request.mode == "on" and request.switch == "api":
        tf.config.experimental.enable_op_determinism()
    if provenance.determinism_enabled() != (request.mode == "on"):
        raise MismatchError(f"not what was asked: determinism should be {request.mode}, TensorFlow says otherwise")
    why_no_gpu = preconditions.device(tf, request)
    preconditions.libraries(request)
    return tf, why_no_gpu


class Worker:
    """One process of a round: its request, its number in the round, and the record it writes to."""

    def __init__(self, request: Request, number: int, record: TextIO) -> None:
        self.request = request
        self.number = number
        self.record = record
        self.on_gpu = request.device == "gpu"

    def run(self, tf: Any, why_no_gpu: str = "") -> int:
        """Say who measures, then run every kernel asked for; ``RESTART`` asks for a new process for the rest.

        Without the GPU that was asked for every kernel ends as ``gpu-not-visible``; what is installed is told all the same.
        """
        gc.freeze()  # a library's thousands of functions never die: collecting them costs 0.2 s a Keras model
        own, errors = custom.load(self.request.kernel_files)
        kernels = {**all_kernels(), **own}
        hashes = {name: kernels[name].source_hash()[:SHORT] for name in self.request.kernels if name in kernels}
        body = {
            "pid": os.getpid(),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "provenance": {**provenance.provenance(tf, hashes), **(provenance.gpu(tf) if self.on_gpu else {})},
            "settings": provenance.settings(tf, self.request.switch if self.request.mode == "on" else "none"),
        }
        self.write("process", body)
        before = provenance.state(tf)
        for name in self.request.kernels:
            self.write("kernel", {"kernel": name})
            if why_no_gpu:
                self.outcome(name, "gpu-not-visible", time.perf_counter(), message=why_no_gpu)
                continue
            spoilt = self._kernel(tf, kernels.get(name), name, errors)
            switched = provenance.determinism_enabled() != (self.request.mode == "on")
            if spoilt or switched or provenance.state(tf) != before:
                return RESTART  # what this kernel left behind is not for the next one
        self.write("loaded", {"libraries": provenance.libraries()})
        return 0

    def outcome(self, name: str, outcome: str, start: float, error: Exception | None = None, **more: Any) -> None:
        """Write how a kernel ended; ``start`` is its ``perf_counter`` in seconds, ``more`` further fields."""
        body: Dict[str, Any] = {
            "kernel": name,
            "outcome": outcome,
            "seconds": round(time.perf_counter() - start, 3),
            "peak_mb": provenance.peak_memory_mb(),
            **more,
        }
        if error is not None:
            where = custom.place(error, self.request.kernel_files)
            body.update(error_class=type(error).__name__, message=str(error)[:MESSAGE_LIMIT], where=where)
        self.write("outcome", body)

    def write(self, kind: str, body: Dict[str, Any]) -> None:
        """Write one line of the record now."""
        self.record.write(line(kind, {"process": self.number, **body}))
        self.record.flush()

    def _kernel(self, tf: Any, kernel: Kernel | None, name: str, errors: Mapping[str, str]) -> bool:
        """All samples of one kernel; an exception ends this kernel only. True where it spoilt the process."""
        start = time.perf_counter()
        provenance.reset_peak_memory()
        if self.on_gpu:
            provenance.reset_gpu_peak(tf)
        forget_inputs()
        try:
            if kernel is None:
                raise MismatchError("; ".join(errors.values()) or f"this suite has no kernel named {name!r}")
            samples = _Samples(self, tf, kernel)
            samples.take()
            preconditions.libraries(self.request)  # cuDNN and others open parts of themselves when they are first used
        except Exception as error:  # noqa: BLE001 - any class of error is a result here
            traceback.print_exc()
            self.outcome(name, _kind(error), start, error, **self._gpu_peak(tf))
            return preconditions.spoils(error, self.request)
        self.outcome(name, "ok", start, digest_s=timing.seconds(samples.digest_s), **self._gpu_peak(tf))
        return False

    def _gpu_peak(self, tf: Any) -> Dict[str, Any]:
        return {"peak_gpu_mb": provenance.gpu_peak_mb(tf)} if self.on_gpu else {}


class _Later:
    """Compares calls with the first one of their series, and keeps where one left it."""

    def __init__(self, first: Result) -> None:
        self.first = first
        self.first_difference: Dict[str, Any] | None = None

    def same(self, again: Result) -> bool:
        """Whether a later call gave the bits of the first."""
        if same_bits(self.first, again):
            return True
        self.first_difference = self.first_difference or parting(self.first, again)
        return False


class _Samples:
    """The samples of one kernel in one process, each compared with its first repeat."""

    def __init__(self, worker: Worker, tf: Any, kernel: Kernel) -> None:
        self.worker = worker
        self.request = worker.request
        self.tf = tf
        self.kernel = kernel
        self.first: Result | None = None
        self.first_digest: Digest | None = None
        self.described: Dict[str, int] = {}
        self.digest_s = 0.0
        self.finish = timing.finisher(tf, worker.request.device)

    def take(self) -> None:
        """The digest pass with its repetitions, the second_seed, then the timing pass."""
        request, kernel = self.request, self.kernel
        for repetition in range(request.repetitions[kernel.name]):
            self._sample("repetition", repetition, request.seed)
        if request.second_seed:
            other = SECOND_SEED if request.seed != SECOND_SEED else SECOND_SEED + 1
            self._sample("second-seed", 0, other)
        if request.steady_s > 0 and kernel.call_again and not kernel.control:
            self._sample("timing", 0, request.seed)

    def _sample(self, role: str, repetition: int, seed: int) -> None:
        """Reseed and rebuild everything, call, digest; for timing, call again and compare every call."""
        if not self.kernel.portable:
            self.tf.keras.backend.clear_session()
        reseed(self.tf, seed)
        finish = self.finish
        # inputs still on their way to a GPU would be counted to the first call
        work, setup = timing.timed(lambda: finish(self.kernel.function(self.tf, seed)))
        value, clock = timing.timed(lambda: finish(work()))
        result = collect(value)
        del value  # or the calls after it would find its memory taken
        series, later = timing.Series(None, 0, ()), _Later(result)
        if role == "timing":
            series = timing.steady(lambda: finish(work()), self.request.steady_s, lambda one: later.same(collect(one)))
        found, hashing = timing.timed(lambda: self._digest(result))
        self.digest_s += hashing.wall
        self._assert_mode()
        first_difference = None if role == "second-seed" else self._parted(result, found)
        self._describe(result, found, role)
        body: Dict[str, Any] = {
            "kernel": self.kernel.name,
            "role": role,
            "repetition": repetition,
            "seed": seed,
            "digest": found.hexadecimal,
            "setup_s": timing.seconds(setup.wall),
            "first_s": timing.seconds(clock.wall),
            "first_cpu_s": timing.seconds(clock.cpu),
            "switches": clock.switches,
            "steady_agrees": series.agrees,
            "warmups": series.warmups,
            "load": round(os.getloadavg()[0], 2),
            **timing.walls(series.clocks),
        }
        if first_difference or later.first_difference:
            body["first_difference"] = first_difference or later.first_difference
        self.worker.write("sample", body)
        if self.first is None:
            self.first, self.first_digest = result, found

    def _digest(self, result: Result) -> Digest:
        """The digest; of bytes that are those of the first repetition it is known already."""
        if self.first is not None and self.first_digest is not None and same_bits(self.first, result):
            return self.first_digest
        return digest(result)

    def _parted(self, result: Result, found: Digest) -> Dict[str, Any] | None:
        """Where this call left the first repetition, with all elements at hand; None where it did not, or was told."""
        if self.first is None or self.first_digest is None or found.hexadecimal == self.first_digest.hexadecimal:
            return None
        if len(self.described) >= MOST_DESCRIBED or found.hexadecimal in self.described:
            return None
        return parting(self.first, result)

    def _describe(self, result: Result, found: Digest, role: str) -> None:
        """Say what a digest stands for, once; values are kept of the first few digests of the run's own seed."""
        if found.hexadecimal in self.described:
            return
        self.described[found.hexadecimal] = len(self.described)
        errors: Dict[str, Any] = {}
        few = self.described[found.hexadecimal] < MOST_DESCRIBED and role != "second-seed"
        if self.kernel.reference is not None and self.request.round == 1 and few:
            wanted = self.kernel.reference(self.request.seed)
            errors = {
                name: error(result.outputs[name].dtype.name, raw(result.outputs[name]), wanted[name]) for name in wanted
            }
        name: Dict[str, Any] = {"kernel": self.kernel.name, "digest": found.hexadecimal}
        self.worker.write("values", {**name, "outputs": found.outputs, "errors": errors})
        if few and not self.kernel.control:
            self.worker.write("kept", {**name, "tensors": tensors(result, found)})

    def _assert_mode(self) -> None:
        """A kernel may have switched determinism itself; what ran after that is not of this mode."""
        if provenance.determinism_enabled() != (self.request.mode == "on"):
            raise MismatchError(
                f"not what was asked: a kernel switched determinism while it should be {self.request.mode}"
            )


def reseed(tf: Any, seed: int) -> None:
    """Put every generator back: Python's, NumPy's, TensorFlow's, Keras's and the global Generator."""
    tf.keras.utils.set_random_seed(seed)
    if seed not in _GENERATORS:
        made = tf.random.Generator.from_seed(seed)
        _GENERATORS[seed] = made, tf.identity(made.state)
    generator, state = _GENERATORS[seed]
    generator.state.assign(state)  # a new one costs a dozen ops, each a new kernel after reseeding
    tf.random.set_global_generator(generator)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global stream is what kernels of other people use


def _kind(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "oom"
    return "mismatch" if isinstance(error, MismatchError) else "error"


def private_stdout() -> TextIO:
    """Keep the driver's pipe for the record; point descriptor 1 at standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
