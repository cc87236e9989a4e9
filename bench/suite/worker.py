"""The worker: one process of a round. It applies the mode, verifies it, runs kernels and writes their samples.

The driver starts it through ``bench.suite.worker_start`` with REQUEST, one line of JSON, and PROCESS. Record
lines go to the standard output that the driver opened. Everything that TensorFlow and other libraries print is
redirected to standard error, so that none of it can end up inside the record.
"""

from __future__ import annotations

import gc
import importlib
import os
import time
import traceback
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Dict, TextIO, Tuple

from bench.suite import left_behind, preconditions, provenance, timing
from bench.suite.digest import SHORT
from bench.suite.kernels import Kernel, all_kernels, clear_input_cache, custom
from bench.suite.outputs import OutputError
from bench.suite.preconditions import MismatchError, mismatch
from bench.suite.record import RECORD_CLOSED, RESTART, Request, line
from bench.suite.sampler import Sampler

MESSAGE_LIMIT = 4000


def main(arguments: list[str], *, private_tmp: bool = False) -> int:
    """Run the kernels of one round. Failed kernels are reported in the record, so they do not change the exit code.

    ``private_tmp`` says whether no other process uses this /tmp.
    """
    request = Request.from_json(arguments[0])
    worker = Worker(request, int(arguments[1]), private_stdout(), private_tmp=private_tmp)
    try:
        tf, no_gpu_reason, worker.custom = prepare(request)
    except Exception as error:  # noqa: BLE001 - any error that prevents the start must reach the record
        log_traceback()
        for name in request.kernels:
            worker.outcome(name, "mismatch", time.perf_counter(), error)
        return 0
    return worker.run(tf, no_gpu_reason)


def prepare(request: Request) -> Tuple[Any, str, custom.Loaded]:
    """Import TensorFlow, set mode and threads before anything is traced, and verify that the request is met.

    The modules of custom kernels are loaded, and their hooks called, before anything else is done with TensorFlow: they
    may configure what cannot change once devices exist.

    Returns:
        TensorFlow; the reason why there is no GPU ("" if there is one, or if none was requested); custom kernels.

    Raises:
        MismatchError: Determinism, a pinned version, a library or the device differs from the request.
        ImportError: TensorFlow cannot be imported.
    """
    preconditions.check_installation(request)
    tf = importlib.import_module("tensorflow")
    before = left_behind.variables()
    loaded = custom.requested(request.kernel_files, request.kernels)
    loaded.changed_variables = left_behind.changed_variables(before)
    loaded.run_hooks(tf)
    if loaded.kernels and request.mode == "off" and provenance.determinism_enabled():
        files = ", ".join(sorted({kernel.file for kernel in loaded.kernels.values()}))
        raise mismatch(f"{files} switches determinism on, which is for tfrepro to do: leave that call out")
    _configure(tf, request)
    if request.mode == "on" and request.switch == "api":
        tf.config.experimental.enable_op_determinism()
    enabled = provenance.determinism_enabled()
    if enabled != (request.mode == "on"):
        reported = "on" if enabled else "off"
        raise mismatch(f"determinism {request.mode} was requested, but TensorFlow reports that it is {reported}")
    no_gpu_reason = preconditions.check_device(tf, request)
    preconditions.check_libraries(request)
    return tf, no_gpu_reason, loaded


def _configure(tf: Any, request: Request) -> None:
    """Set threads, logical devices and TF32 as the variation says; what it says wins over the user's hook."""
    if request.threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(request.threads)
    if request.inter is not None:
        tf.config.threading.set_inter_op_parallelism_threads(request.inter)
    if request.devices is not None:
        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration() for _ in range(request.devices)]
        tf.config.set_logical_device_configuration(cpu, logical)
    if request.tf32 is not None:
        tf.config.experimental.enable_tensor_float_32_execution(request.tf32)
    tf.config.run_functions_eagerly(request.eager)


class Worker:
    """One process of a round: its request, its number within the round, and the record it writes to."""

    def __init__(self, request: Request, number: int, record: TextIO, *, private_tmp: bool = False) -> None:
        self.request = request
        self.number = number
        self.record = record
        self.record_identity = _identity(record)
        self.private_tmp = private_tmp
        self.on_gpu = request.device == "gpu"
        self.custom = custom.Loaded()

    def run(self, tf: Any, no_gpu_reason: str = "") -> int:
        """Write provenance and settings, then run every requested kernel.

        If the requested GPU is missing, every kernel ends as ``gpu-not-visible``; provenance is written all the same.

        A kernel that leaves something behind ends the process; a ``RESTART`` line requests a new one for the others.

        Returns:
            The exit code.
        """
        with suppress(Exception):  # TensorFlow imports Keras when it is first used; the first sample says what is wrong
            tf.keras.backend.clear_session()
        request, kernels = self.request, {**all_kernels(), **self.custom.kernels}
        hashes = {name: kernels[name].source_hash()[:SHORT] for name in request.kernels if name in kernels}
        body: Dict[str, Any] = {
            "pid": os.getpid(),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "provenance": {**provenance.provenance(tf, hashes), **(provenance.gpu(tf) if self.on_gpu else {})},
            "settings": {**settings(tf, request, self.custom), "private_tmp": self.private_tmp},
        }
        self.write("process", body)
        initial_state = provenance.state(tf)
        for name in request.kernels:
            self.write("kernel", {"kernel": name})
            if no_gpu_reason:
                self.outcome(name, "gpu-not-visible", time.perf_counter(), message=no_gpu_reason)
                continue
            unusable = self._run_kernel(tf, kernels.get(name), name)
            switched = provenance.determinism_enabled() != (request.mode == "on")
            if unusable or switched or provenance.state(tf) != initial_state:
                self.write(RESTART, {})  # state changed by this kernel must not affect the next one
                break
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
            message = custom.with_remedy(error) if name in self.request.kernel_files else str(error)
            where = getattr(error, "where", "") or custom.error_location(error)
            body.update(error_class=_class_of(error), message=message[:MESSAGE_LIMIT], where=where)
        self.write("outcome", body)

    def write(self, kind: str, body: Dict[str, Any]) -> None:
        """Write one line of the record and flush it; ends the process if a kernel closed the record."""
        text = line(kind, {"process": self.number, **body})
        try:
            if _identity(self.record) != self.record_identity:
                os._exit(RECORD_CLOSED)  # its descriptor belongs to another file now
            self.record.write(text)
            self.record.flush()
        except (OSError, ValueError):
            os._exit(RECORD_CLOSED)

    def _run_kernel(self, tf: Any, kernel: Kernel | None, name: str) -> bool:
        """Take all samples of one kernel; an exception ends only this kernel.

        Returns:
            Whether the process can no longer be used for other kernels.
        """
        start = time.perf_counter()
        provenance.reset_peak_memory()
        if self.on_gpu:
            provenance.reset_gpu_peak(tf)
        clear_input_cache()
        forget_garbage()
        before = left_behind.snapshot(private_tmp=self.private_tmp)
        try:
            if name in self.custom.failures:
                raise self.custom.failures[name]
            if kernel is None:
                raise MismatchError("; ".join(self.custom.errors.values()) or f"the suite has no kernel named {name!r}")
            sampler = Sampler(self.request, self.write, tf, kernel)
            sampler.run()
            preconditions.check_libraries(self.request)  # cuDNN and others load some of their parts on first use
        except Exception as error:  # noqa: BLE001 - any class of error is a result here
            log_traceback()
            left = self._left_behind(before)
            self.outcome(name, outcome_of(error), start, error, **left, **self._gpu_peak(tf))
            return bool(left) or preconditions.makes_process_unusable(error, self.request)
        left, digest_s = self._left_behind(before), timing.seconds(sampler.digest_s)
        self.outcome(name, "ok", start, digest_s=digest_s, **left, **self._gpu_peak(tf))
        return bool(left)

    def _left_behind(self, before: left_behind.Snapshot) -> Dict[str, Any]:
        """Return the outcome's field about what a kernel left behind; empty if it left nothing."""
        sentences = left_behind.sentences(before, private_tmp=self.private_tmp, channels=not self.on_gpu)
        sentences += [f"its file {text}" for text in self.custom.changed_variables]
        return {"left_behind": sentences} if sentences else {}

    def _gpu_peak(self, tf: Any) -> Dict[str, Any]:
        return {"peak_gpu_mb": provenance.gpu_peak_mb(tf)} if self.on_gpu else {}


def forget_garbage() -> None:
    """Delete unreachable objects, and let later collections skip those that are still alive.

    Libraries keep most of them forever, and Keras collects garbage for every sample: scanning 300,000 objects of
    TensorFlow and Keras takes 0.2 s, and 50,000 that earlier kernels have left in their caches 0.05 s.
    """
    gc.collect()
    gc.freeze()


def settings(tf: Any, request: Request, loaded: custom.Loaded) -> Dict[str, Any]:
    """Return the settings of this process, with the user's files that may have changed them."""
    found = provenance.settings(tf, request.switch if request.mode == "on" else "none")
    files = sorted({request.kernel_files[name] for name in loaded.kernels if name in request.kernel_files})
    return {**found, "kernel_files": files} if files else found


def _class_of(error: Exception) -> str:
    """Return the name of the error's class; of a class derived from TensorFlow's UnimplementedError, that one."""
    names = [base.__name__ for base in type(error).__mro__]
    return "UnimplementedError" if "UnimplementedError" in names else names[0]


def outcome_of(error: Exception) -> str:
    """Return the outcome that an exception gives to its kernel: ``oom``, ``mismatch`` or ``error``."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "oom"
    if isinstance(error, OutputError):
        return "failed"
    return "mismatch" if isinstance(error, MismatchError) else "error"


def _identity(stream: TextIO) -> Tuple[int, int]:
    """Return what tells the file of a stream from all others; raises OSError or ValueError if it is closed."""
    status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino


def log_traceback() -> None:
    """Print the current exception to the log, unless a kernel closed it."""
    with suppress(OSError, ValueError, AttributeError):
        traceback.print_exc()


def private_stdout() -> TextIO:
    """Return the original standard output, and redirect descriptor 1 to standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", encoding="utf-8")
