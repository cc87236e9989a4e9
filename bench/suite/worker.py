"""The worker: one process of a round. It applies the mode, verifies it, runs kernels and writes their samples.

The driver starts it as ``python -m bench.suite.worker REQUEST PROCESS``, where REQUEST is one line of JSON. Record
lines go to the standard output that the driver opened. Everything that TensorFlow and other libraries print is
redirected to standard error, so that none of it can end up inside the record.
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
from bench.suite.distance import reference_error
from bench.suite.first_difference import find_first_difference
from bench.suite.kept_values import encode_tensors
from bench.suite.kernels import Kernel, all_kernels, clear_input_cache, custom
from bench.suite.preconditions import MismatchError, mismatch
from bench.suite.record import RESTART, Request, line

#: The second seed of the article; the run with the second seed uses it.
SECOND_SEED = 123
MESSAGE_LIMIT = 4000
#: Distinct digests per kernel and process that are described in full: first difference and kept values.
MAX_DESCRIBED = 3


#: Seed -> the global generator created from that seed, and its initial state.
_GENERATORS: Dict[int, Tuple[Any, Any]] = {}


def main(arguments: list[str]) -> int:
    """Run the kernels of one round. Failed kernels are reported in the record, so they do not change the exit code."""
    request = Request.from_json(arguments[0])
    worker = Worker(request, int(arguments[1]), private_stdout())
    try:
        tf, no_gpu_reason = prepare(request)
    except Exception as error:  # noqa: BLE001 - any error that prevents the start must reach the record
        traceback.print_exc()
        for name in request.kernels:
            worker.outcome(name, "mismatch", time.perf_counter(), error)
        return 0
    return worker.run(tf, no_gpu_reason)


def prepare(request: Request) -> Tuple[Any, str]:
    """Import TensorFlow, set mode and threads before anything is traced, and verify that the request is met.

    Returns:
        TensorFlow, and the reason why there is no GPU ("" if there is one, or if none was requested).

    Raises:
        MismatchError: Determinism, a pinned version, a library or the device differs from the request.
        ImportError: TensorFlow cannot be imported.
    """
    preconditions.check_installation(request)
    tf = importlib.import_module("tensorflow")
    if request.threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(request.threads)
    if request.tf32 is not None:
        tf.config.experimental.enable_tensor_float_32_execution(request.tf32)
    if request.mode == "on" and request.switch == "api":
        tf.config.experimental.enable_op_determinism()
    enabled = provenance.determinism_enabled()
    if enabled != (request.mode == "on"):
        reported = "on" if enabled else "off"
        raise mismatch(f"determinism {request.mode} was requested, but TensorFlow reports that it is {reported}")
    no_gpu_reason = preconditions.check_device(tf, request)
    preconditions.check_libraries(request)
    return tf, no_gpu_reason


class Worker:
    """One process of a round: its request, its number within the round, and the record it writes to."""

    def __init__(self, request: Request, number: int, record: TextIO) -> None:
        self.request = request
        self.number = number
        self.record = record
        self.on_gpu = request.device == "gpu"

    def run(self, tf: Any, no_gpu_reason: str = "") -> int:
        """Write provenance and settings, then run every requested kernel.

        If the requested GPU is missing, every kernel ends as ``gpu-not-visible``; provenance is written all the same.

        Returns:
            The exit code; ``RESTART`` requests a new process for the remaining kernels.
        """
        gc.freeze()  # functions of libraries live forever: scanning them costs 0.2 s for each Keras model
        custom_kernels, errors = custom.load(self.request.kernel_files)
        kernels = {**all_kernels(), **custom_kernels}
        hashes = {name: kernels[name].source_hash()[:SHORT] for name in self.request.kernels if name in kernels}
        body = {
            "pid": os.getpid(),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "provenance": {**provenance.provenance(tf, hashes), **(provenance.gpu(tf) if self.on_gpu else {})},
            "settings": provenance.settings(tf, self.request.switch if self.request.mode == "on" else "none"),
        }
        self.write("process", body)
        initial_state = provenance.state(tf)
        for name in self.request.kernels:
            self.write("kernel", {"kernel": name})
            if no_gpu_reason:
                self.outcome(name, "gpu-not-visible", time.perf_counter(), message=no_gpu_reason)
                continue
            unusable = self._run_kernel(tf, kernels.get(name), name, errors)
            switched = provenance.determinism_enabled() != (self.request.mode == "on")
            if unusable or switched or provenance.state(tf) != initial_state:
                return RESTART  # state changed by this kernel must not affect the next one
        self.write("loaded", {"libraries": provenance.libraries()})
        return 0

    def outcome(self, name: str, outcome: str, start: float, error: Exception | None = None, **fields: Any) -> None:
        """Write how a kernel ended; ``start`` is its ``perf_counter`` in seconds, ``fields`` are additional fields."""
        body: Dict[str, Any] = {
            "kernel": name,
            "outcome": outcome,
            "seconds": round(time.perf_counter() - start, 3),
            "peak_mb": provenance.peak_memory_mb(),
            **fields,
        }
        if error is not None:
            where = custom.error_location(error, self.request.kernel_files)
            body.update(error_class=type(error).__name__, message=str(error)[:MESSAGE_LIMIT], where=where)
        self.write("outcome", body)

    def write(self, kind: str, body: Dict[str, Any]) -> None:
        """Write one line of the record and flush it."""
        self.record.write(line(kind, {"process": self.number, **body}))
        self.record.flush()

    def _run_kernel(self, tf: Any, kernel: Kernel | None, name: str, errors: Mapping[str, str]) -> bool:
        """Take all samples of one kernel; an exception ends only this kernel.

        Returns:
            Whether the process can no longer be used for other kernels.
        """
        start = time.perf_counter()
        provenance.reset_peak_memory()
        if self.on_gpu:
            provenance.reset_gpu_peak(tf)
        clear_input_cache()
        try:
            if kernel is None:
                raise MismatchError("; ".join(errors.values()) or f"the suite has no kernel named {name!r}")
            sampler = _Sampler(self, tf, kernel)
            sampler.run()
            preconditions.check_libraries(self.request)  # cuDNN and others load some of their parts on first use
        except Exception as error:  # noqa: BLE001 - any class of error is a result here
            traceback.print_exc()
            self.outcome(name, _outcome_of(error), start, error, **self._gpu_peak(tf))
            return preconditions.makes_process_unusable(error, self.request)
        self.outcome(name, "ok", start, digest_s=timing.seconds(sampler.digest_s), **self._gpu_peak(tf))
        return False

    def _gpu_peak(self, tf: Any) -> Dict[str, Any]:
        return {"peak_gpu_mb": provenance.gpu_peak_mb(tf)} if self.on_gpu else {}


class _SeriesComparison:
    """Compares later calls with the first call of their series, and keeps the first difference."""

    def __init__(self, first: Result) -> None:
        self.first = first
        self.first_difference: Dict[str, Any] | None = None

    def same(self, result: Result) -> bool:
        """Return whether a later call gave the bits of the first one."""
        if same_bits(self.first, result):
            return True
        self.first_difference = self.first_difference or find_first_difference(self.first, result)
        return False


class _Sampler:
    """Takes the samples of one kernel in one process and compares each with the first repetition."""

    def __init__(self, worker: Worker, tf: Any, kernel: Kernel) -> None:
        self.worker = worker
        self.request = worker.request
        self.tf = tf
        self.kernel = kernel
        self.first: Result | None = None
        self.first_digest: Digest | None = None
        self.described: Dict[str, int] = {}  # digest -> how many were described before it
        self.digest_s = 0.0
        self.finish = timing.finisher(tf, worker.request.device)

    def run(self) -> None:
        """Take the repetitions, then the sample with the second seed, then the timing pass."""
        request, kernel = self.request, self.kernel
        for repetition in range(request.repetitions[kernel.name]):
            self._sample("repetition", repetition, request.seed)
        if request.second_seed:
            second_seed = SECOND_SEED if request.seed != SECOND_SEED else SECOND_SEED + 1
            self._sample("second-seed", 0, second_seed)
        if request.steady_s > 0 and kernel.call_again and not kernel.control:
            self._sample("timing", 0, request.seed)

    def _sample(self, role: str, repetition: int, seed: int) -> None:
        """Reseed, rebuild everything, call once and compute the digest; the timing pass then calls repeatedly."""
        if not self.kernel.portable:
            self.tf.keras.backend.clear_session()
        reseed(self.tf, seed)
        finish = self.finish
        # wait for the inputs: a copy to the GPU still in progress would count towards the first call
        work, setup = timing.timed(lambda: finish(self.kernel.function(self.tf, seed)))
        value, clock = timing.timed(lambda: finish(work()))
        result = collect(value)
        del value  # release its memory for the calls that follow
        series, comparison = timing.Series(None, 0, ()), _SeriesComparison(result)
        if role == "timing":
            series = timing.steady(
                lambda: finish(work()), self.request.steady_s, lambda later: comparison.same(collect(later))
            )
        result_digest, hashing = timing.timed(lambda: self._digest(result))
        self.digest_s += hashing.wall
        self._check_mode()
        first_difference = None if role == "second-seed" else self._first_difference(result, result_digest)
        self._describe(result, result_digest, role)
        body: Dict[str, Any] = {
            "kernel": self.kernel.name,
            "role": role,
            "repetition": repetition,
            "seed": seed,
            "digest": result_digest.hexadecimal,
            "setup_s": timing.seconds(setup.wall),
            "first_s": timing.seconds(clock.wall),
            "first_cpu_s": timing.seconds(clock.cpu),
            "switches": clock.switches,
            "steady_agrees": series.agrees,
            "warmups": series.warmups,
            "load": round(os.getloadavg()[0], 2),
            **timing.walls(series.clocks),
        }
        if first_difference or comparison.first_difference:
            body["first_difference"] = first_difference or comparison.first_difference
        self.worker.write("sample", body)
        if self.first is None:
            self.first, self.first_digest = result, result_digest

    def _digest(self, result: Result) -> Digest:
        """Return the digest; a result with the bits of the first repetition need not be hashed again."""
        if self.first is not None and self.first_digest is not None and same_bits(self.first, result):
            return self.first_digest
        return digest(result)

    def _first_difference(self, result: Result, result_digest: Digest) -> Dict[str, Any] | None:
        """Return where a result first differs from the first repetition.

        None if it does not differ, if this digest was described before, or if enough digests were described.
        """
        if self.first is None or self.first_digest is None:
            return None
        if result_digest.hexadecimal in {self.first_digest.hexadecimal, *self.described}:
            return None
        return find_first_difference(self.first, result) if len(self.described) < MAX_DESCRIBED else None

    def _describe(self, result: Result, result_digest: Digest, role: str) -> None:
        """Describe a digest when it first occurs.

        Errors against the reference and kept values are written only for the first few digests of the run's own seed.
        """
        if result_digest.hexadecimal in self.described:
            return
        self.described[result_digest.hexadecimal] = len(self.described)
        errors: Dict[str, Any] = {}
        in_full = self.described[result_digest.hexadecimal] < MAX_DESCRIBED and role != "second-seed"
        if self.kernel.reference is not None and self.request.round == 1 and in_full:
            reference = self.kernel.reference(self.request.seed)
            outputs = {name: result.outputs[name] for name in reference}
            errors = {
                name: reference_error(array.dtype.name, raw(array), reference[name]) for name, array in outputs.items()
            }
        key: Dict[str, Any] = {"kernel": self.kernel.name, "digest": result_digest.hexadecimal}
        self.worker.write("values", {**key, "outputs": result_digest.outputs, "errors": errors})
        if in_full and not self.kernel.control:
            self.worker.write("kept", {**key, "tensors": encode_tensors(result, result_digest)})

    def _check_mode(self) -> None:
        """Raise MismatchError if the kernel itself switched determinism: its sample does not belong to this mode."""
        if provenance.determinism_enabled() != (self.request.mode == "on"):
            raise mismatch(f"a kernel switched determinism, although {self.request.mode} was requested")


def reseed(tf: Any, seed: int) -> None:
    """Reset every random generator: Python's, NumPy's, TensorFlow's, Keras's and the global ``tf.random.Generator``."""
    tf.keras.utils.set_random_seed(seed)
    if seed not in _GENERATORS:
        created = tf.random.Generator.from_seed(seed)
        _GENERATORS[seed] = created, tf.identity(created.state)
    generator, state = _GENERATORS[seed]
    generator.state.assign(state)  # creating a generator takes a dozen ops, each compiled again after reseeding
    tf.random.set_global_generator(generator)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - third-party kernels use the global stream


def _outcome_of(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "oom"
    return "mismatch" if isinstance(error, MismatchError) else "error"


def private_stdout() -> TextIO:
    """Return the original standard output, and redirect descriptor 1 to standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
