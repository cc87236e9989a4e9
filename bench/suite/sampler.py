"""The samples of one kernel in one process: repetitions, the run with the second seed, and later calls."""

from __future__ import annotations

import os
import random
import sys
import time
import traceback
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from bench.suite import provenance, timing
from bench.suite.digest import Digest, Result, collect, digest, raw, same_bits, with_names_of
from bench.suite.distance import reference_error
from bench.suite.first_difference import find_first_difference
from bench.suite.kept_values import encode_tensors
from bench.suite.kernels import Kernel, Work, custom
from bench.suite.outputs import OutputError, described
from bench.suite.preconditions import mismatch
from bench.suite.record import Request

#: The second seed of the article; the run with the second seed uses it.
SECOND_SEED = 123
#: Most later calls in a process, and seconds after which no further one starts. They need no new inputs and no tracing,
#: so they look for a race at a small part of the cost of a repetition.
LATER_CALLS, LATER_CALLS_S = 20, 0.2
#: Distinct digests per kernel and process that are described in full: first difference and kept values.
MAX_DESCRIBED = 3


class Sampler:
    """Takes the samples of one kernel in one process and compares each with the first repetition."""

    def __init__(self, request: Request, write: Callable[[str, Dict[str, Any]], None], tf: Any, kernel: Kernel) -> None:
        self.request = request
        self.write = write
        self.tf = tf
        self.kernel = kernel
        self.first: Result | None = None
        self.first_digest: Digest | None = None
        self.described: Dict[str, int] = {}  # digest -> how many were described before it
        self.digest_s = 0.0
        self.finish = timing.finisher(tf, request.device)

    def run(self) -> None:
        """Take the repetitions, later calls, and the sample with the second seed."""
        request, kernel = self.request, self.kernel
        again = kernel.call_again and not kernel.control
        work: Optional[Work] = None
        for repetition in range(request.repetitions[kernel.name]):
            work = self._sample("repetition", repetition, request.seed)
        later_calls_agree = True
        if work is not None and again and (request.round == 1 or not kernel.heavy):
            later_calls_agree = self._later_calls(work)
        if not later_calls_agree:  # does a new seed restore the bits? If not, something is left that no seed resets
            self._sample("repetition", request.repetitions[kernel.name], request.seed)
        if request.second_seed:
            second_seed = SECOND_SEED if request.seed != SECOND_SEED else SECOND_SEED + 1
            self._sample("second-seed", 0, second_seed)

    def _later_calls(self, work: Work) -> bool:
        """Call the work of the last repetition again, without a new seed, and return whether the bits stay the same.

        A kernel that does not declare that later calls must agree is called just once, because they decide nothing.
        """
        most = LATER_CALLS if self.kernel.later_calls_must_agree else 1
        digests, end = set(), time.perf_counter() + LATER_CALLS_S
        for number in range(most):
            if number and time.perf_counter() > end:
                break
            try:
                value, clock = timing.timed(lambda: self.finish(work()))
            except Exception:
                if self.kernel.later_calls_must_agree:
                    raise
                traceback.print_exc()
                return False
            result = self._collect(value, work)
            if self.first is not None:  # Keras goes on counting: a new session begins with a new seed only
                result = with_names_of(self.first, result)
            result_digest = self._digest(result)
            self._write("later-call", number, self.request.seed, (result, result_digest), (timing.NO_TIME, clock))
            digests.add(result_digest.hexadecimal)
        return self.first_digest is not None and digests == {self.first_digest.hexadecimal}

    def _collect(self, value: Any, work: Work) -> Result:
        """Copy the outputs to host memory; an error says which line of the user's kernel returned them."""
        try:
            return collect(value, self.tf)
        except OutputError as error:
            error.where = custom.return_location(work) or custom.return_location(self.kernel.function)
            raise

    def _build(self, seed: int) -> Work:
        """Build inputs and models, and return the work; raises OutputError if it is no function."""
        # wait for the inputs: a copy to the GPU still in progress would count towards the first call
        work: Any = self.finish(self.kernel.function(self.tf, seed))
        if not callable(work):
            error = OutputError(
                f"{self.kernel.name}(tf, seed) returned {described(work)}, but must return a function without "
                "arguments that does the work, for example lambda: {'loss': loss}"
            )
            error.where = custom.return_location(self.kernel.function)
            raise error
        checked: Work = work
        return checked

    def _sample(self, role: str, repetition: int, seed: int) -> Work:
        """Reseed, rebuild everything, call once and compute the digest.

        Returns:
            The work, which can be called again.
        """
        clear_sessions(self.tf)
        reseed(self.tf, seed)
        finish = self.finish
        work, setup = timing.timed(lambda: self._build(seed))
        value, clock = timing.timed(lambda: finish(work()))
        result = self._collect(value, work)
        del value  # release its memory for what follows
        result_digest, hashing = timing.timed(lambda: self._digest(result))
        self.digest_s += hashing.wall
        self._write(role, repetition, seed, (result, result_digest), (setup, clock))
        if self.first is None:
            self.first, self.first_digest = result, result_digest
        return work

    def _write(
        self,
        role: str,
        repetition: int,
        seed: int,
        found: Tuple[Result, Digest],
        clocks: Tuple[timing.Clock, timing.Clock],
    ) -> None:
        """Describe the digest if it is new, and write the sample. ``clocks`` are those of building and first call."""
        result, result_digest = found
        setup, clock = clocks
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
            "load": round(os.getloadavg()[0], 2),
        }
        if first_difference:
            body["first_difference"] = first_difference
        self.write("sample", body)

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
        self.write("values", {**key, "outputs": result_digest.outputs, "errors": errors})
        if in_full and not self.kernel.control:
            self.write("kept", {**key, "tensors": encode_tensors(result, result_digest)})

    def _check_mode(self) -> None:
        """Raise MismatchError if the kernel itself switched determinism: its sample does not belong to this mode."""
        if provenance.determinism_enabled() != (self.request.mode == "on"):
            raise mismatch(f"a kernel switched determinism, although {self.request.mode} was requested")


def clear_sessions(tf: Any) -> None:
    """Clear the session of ``tf.keras``, and of other Keras packages that a kernel imported: they count layers anew."""
    clear_session = tf.keras.backend.clear_session
    clear_session()
    for name in ("keras", "tf_keras"):
        backend: Any = getattr(sys.modules.get(name), "backend", None)
        if getattr(backend, "clear_session", clear_session) is not clear_session:
            backend.clear_session()


def reseed(tf: Any, seed: int) -> None:
    """Seed the generators of Python, NumPy, TensorFlow and Keras, and forget the global ``tf.random.Generator``.

    ``set_random_seed`` does not reset the global generator. A user's program that starts afresh has none, and to create
    one without a seed is what TensorFlow refuses with determinism on.
    """
    tf.keras.utils.set_random_seed(seed)
    sys.modules[tf.random.get_global_generator.__module__].global_generator = None  # type: ignore[attr-defined]
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - third-party kernels use the global stream
