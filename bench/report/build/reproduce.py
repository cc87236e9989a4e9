"""Build the reproduce command: it measures one kernel in one column again, pinned by everything that decides its bits.

``nox -s reproduce -- COLUMN KERNEL SEED-ROUNDSxREPETITIONS-LOCK-CODE-BITS``: the seed as ``s42``, the first characters
of the SHA-256 of the column's lock and of the kernel's code, and of its digest where it has a single one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.formatting import DIGEST_LENGTH, clean, listed
from bench.verdict.comparability import Side
from bench.verdict.status import COMPARABLE, FROM_DIGESTS, Status, severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run_info import ColumnInfo, KernelInfo
    from bench.suite.record import Process
    from bench.verdict.results import RunResults, Verdict

#: Characters that need no quotes in a shell. A name with others gets no command.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@+-]*")
_SPEC = re.compile(
    r"s(?P<seed>0|[1-9][0-9]{0,9})-(?P<rounds>[1-9][0-9]{0,3})x(?P<repetitions>[1-9][0-9]{0,3})"
    r"-(?P<lock>[0-9a-f]{8,64})-(?P<code>[0-9a-f]{8,64})(-(?P<bits>[0-9a-f]{8,64}))?"
)
_HASH = re.compile(r"[0-9a-f]{8,64}")
#: Hexadecimal characters of a hash in a specification.
_SHORT = 8
_MOST_SEED = 2**32 - 1
#: Facts of a machine that decide bits and are not in a specification.
_OF_THE_MACHINE = ("GPU", "driver", "CPU", "cores", "instruction set")
_MOST_TIMES = 1000


@dataclass(frozen=True, kw_only=True)
class ReproduceSpec:
    """What ``reproduce`` must measure again.

    ``lock`` and ``code`` are the first characters of the SHA-256 of the lock and of the kernel's module or file;
    ``bits`` those of the digest with determinism on, "" where it does not have exactly one.
    """

    seed: int
    rounds: int
    repetitions: int
    lock: str
    code: str
    bits: str = ""

    @property
    def text(self) -> str:
        """``s42-5x20-3f2a1b9c-d41d8cd9-4fdedf20592d``."""
        text = f"s{self.seed}-{self.rounds}x{self.repetitions}-{self.lock}-{self.code}"
        return f"{text}-{self.bits}" if self.bits else text

    @property
    def valid(self) -> bool:
        """Whether the numbers can be those of a plan; run.json may have been edited."""
        times = (self.rounds, self.repetitions)
        whole = all(type(number) is int for number in (self.seed, *times))
        return whole and 0 <= self.seed <= _MOST_SEED and min(times) >= 1 and max(times) <= _MOST_TIMES

    @classmethod
    def parse(cls, text: str) -> ReproduceSpec:
        """Read a specification.

        Raises:
            ValueError: it is not one; the message is a sentence.
        """
        match = _SPEC.fullmatch(text)
        if match is None:
            message = f"{text!r} is not a SPEC, which looks like s42-5x20-3f2a1b9c-d41d8cd9"
            raise ValueError(message)
        seed, rounds, repetitions = (int(match[name]) for name in ("seed", "rounds", "repetitions"))
        lock, code, bits = (match[name] or "" for name in ("lock", "code", "bits"))
        spec = cls(seed=seed, rounds=rounds, repetitions=repetitions, lock=lock, code=code, bits=bits)
        if not spec.valid:
            message = (
                f"{text!r} is not a SPEC: a seed has 32 bits, and rounds and repetitions are at most {_MOST_TIMES}"
            )
            raise ValueError(message)
        return spec


def line(results: RunResults, column: ColumnInfo, kernel: KernelInfo) -> str:
    """Return the command that measures this kernel in this column again, under its worst variation.

    Returns "" where it cannot be reproduced: an environment without a lock (measured by ``local``) cannot be rebuilt,
    and the code is unknown where processes report none, or not the same.
    """
    verdict = _chosen(results, column.id, kernel.name)
    if verdict is None or "local" in (results.info.engine, column.origin.get("engine")):
        return ""
    spec = _spec(results, column, verdict)
    variation = "" if verdict.variation == "default" else verdict.variation
    name = column.id.removesuffix(f"-{column.host}" if column.host else "")  # whichever host repeats it
    names = (name, kernel.name, *filter(None, (variation, kernel.file)))
    if spec is None or not all(_PLAIN.fullmatch(text) for text in names):
        return ""
    mode = "off" if verdict.mode == "off" else ""
    options = (("--variation", variation), ("--mode", mode), ("--kernel-file", kernel.file.partition("/")[0]))
    texts = [f"{option} {value}" for option, value in options if value]
    return " ".join([f"nox -s reproduce -- {name} {kernel.name} {spec.text}", *texts])


def _chosen(results: RunResults, column: str, kernel: str) -> Verdict | None:
    """Return the worst measured verdict with determinism on, or else off; ``default`` before other variations."""
    for mode in ("on", "off"):
        measured = [verdict for verdict in results.over_variations(column, kernel, mode) if verdict.observations]
        if measured:
            return min(measured, key=_severity)
    return None


def _severity(verdict: Verdict) -> int:
    """Return the severity of a status, in which more or less evidence of the same bits makes no difference."""
    return severity(Status.REPRODUCIBLE if verdict.status in COMPARABLE else verdict.status)


def _spec(results: RunResults, column: ColumnInfo, verdict: Verdict) -> ReproduceSpec | None:
    """Return the specification of a verdict; None where its records do not determine it."""
    group = results.groups.get((verdict.column, verdict.variation, verdict.mode), ())
    code = _code([process for kept in group for process in kept.record.processes], verdict.kernel)
    repetitions = {process.requested_repetitions for process in verdict.observations}
    if not code or len(repetitions) != 1 or not _HASH.fullmatch(column.lock_hash):
        return None
    spec = ReproduceSpec(
        seed=results.info.seed,
        rounds=max(process.planned_rounds or results.info.rounds for process in verdict.observations),
        repetitions=repetitions.pop(),
        lock=column.lock_hash[:_SHORT],
        code=code[:_SHORT],
        bits=_bits(verdict) if verdict.mode == "on" else "",
    )
    return spec if spec.valid else None


def _code(processes: Sequence[Process], kernel: str) -> str:
    """Return the hash of a kernel's code, "" where no process reports it or two report different ones."""
    reported = [process.provenance.get("kernel_hashes") for process in processes]
    hashes = [by_kernel[kernel] for by_kernel in reported if isinstance(by_kernel, dict) and kernel in by_kernel]
    same = bool(hashes) and hashes.count(hashes[0]) == len(hashes)
    return hashes[0] if same and isinstance(hashes[0], str) and _HASH.fullmatch(hashes[0]) else ""


def _bits(verdict: Verdict) -> str:
    """Return the first characters of the only digest of a verdict; "" without a single one that counts."""
    digests = verdict.comparison.digests
    if verdict.status not in COMPARABLE or len(digests) != 1 or not _HASH.fullmatch(digests[0][0]):
        return ""
    return digests[0][0][:DIGEST_LENGTH]


def _machine(results: RunResults, verdict: Verdict) -> str:
    """Return the facts of this machine that decide bits and are not in the specification."""
    facts = Side(results=results, column=verdict.column).facts
    texts = [f"{title} {clean(facts[title])}" for title in _OF_THE_MACHINE if facts[title]]
    return f" Other machines can give other bits; this one: {listed(texts, 5)}." if texts else ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether the expected bits were reproduced: "same", "other", "nondeterministic" or "unknown", and a sentence."""

    word: str
    sentence: str


def answer(results: RunResults, verdict: Verdict, digest: str) -> Answer:
    """Compare a reproduced verdict with the first characters of the expected digest, "" where none is expected."""
    mode = f"determinism {verdict.mode}"
    own = _bits(verdict)
    if verdict.status in FROM_DIGESTS - COMPARABLE:
        return Answer(word="nondeterministic", sentence=f"{mode}: nondeterministic. {verdict.why}")
    if not own:
        return Answer(word="unknown", sentence=f"{mode}: no bits to compare, {verdict.status.value}. {verdict.why}")
    comparison = verdict.comparison
    samples = f"in all {comparison.repetitions} repetitions of {comparison.processes} processes"
    if not digest:
        return Answer(word="unknown", sentence=f"{mode}: bits {own}, {samples}; no expected bits were given")
    if comparison.digests[0][0].startswith(digest):
        return Answer(word="same", sentence=f"{mode}: same bits as before, {own}, {samples}")
    other = results.of(verdict.column, verdict.kernel, verdict.variation, "off" if verdict.mode == "on" else "on")
    if other is not None and _bits(other) and other.comparison.digests[0][0].startswith(digest):
        hint = f" The expected bits are those of determinism {other.mode}."
    else:
        hint = _machine(results, verdict)
    return Answer(word="other", sentence=f"{mode}: other bits, {own}, {samples}; expected: {digest}.{hint}")
