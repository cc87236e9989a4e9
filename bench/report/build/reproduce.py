"""The replay line: one command that measures one kernel in one column again, pinned by what decides its bits.

``nox -s reproduce -- COLUMN KERNEL SEED-ROUNDSxREPETITIONS-LOCK-CODE-BITS``: the seed as ``s42``, the first characters of the
SHA-256 of the column's lock and of the kernel's code as every record has it, and those of its digest where it has one.
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

#: What a shell, a terminal and a page take as it is. A name that is not of these gives no line.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@+-]*")
_PIN = re.compile(
    r"s(?P<seed>0|[1-9][0-9]{0,9})-(?P<rounds>[1-9][0-9]{0,3})x(?P<repetitions>[1-9][0-9]{0,3})"
    r"-(?P<lock>[0-9a-f]{8,64})-(?P<code>[0-9a-f]{8,64})(-(?P<bits>[0-9a-f]{8,64}))?"
)
_HASH = re.compile(r"[0-9a-f]{8,64}")
#: Hexadecimal characters of a hash in a pin.
_SHORT = 8
_MOST_SEED = 2**32 - 1
#: Facts of a machine that decide bits; no pin has them.
_OF_THE_PLACE = ("GPU", "driver", "CPU", "cores", "instruction set")
_MOST_TIMES = 1000


@dataclass(frozen=True, kw_only=True)
class ReproduceSpec:
    """What a replay must find or do again.

    ``lock`` and ``code`` are the first characters of the SHA-256 of the lock and of the kernel's module or file;
    ``bits`` those of the digest with determinism on, "" where it had not exactly one.
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
        told = f"s{self.seed}-{self.rounds}x{self.repetitions}-{self.lock}-{self.code}"
        return f"{told}-{self.bits}" if self.bits else told

    @property
    def sound(self) -> bool:
        """Whether its numbers are those of a plan; run.json may have been edited."""
        times = (self.rounds, self.repetitions)
        whole = all(type(number) is int for number in (self.seed, *times))
        return whole and 0 <= self.seed <= _MOST_SEED and min(times) >= 1 and max(times) <= _MOST_TIMES

    @classmethod
    def parse(cls, text: str) -> ReproduceSpec:
        """Read a pin; raises ValueError with a sentence."""
        found = _PIN.fullmatch(text)
        if found is None:
            message = f"{text!r} is not a SPEC, which looks like s42-5x20-3f2a1b9c-d41d8cd9"
            raise ValueError(message)
        seed, rounds, repetitions = (int(found[name]) for name in ("seed", "rounds", "repetitions"))
        lock, code, bits = (found[name] or "" for name in ("lock", "code", "bits"))
        pin = cls(seed=seed, rounds=rounds, repetitions=repetitions, lock=lock, code=code, bits=bits)
        if not pin.sound:
            message = (
                f"{text!r} is not a SPEC: a seed has 32 bits, and rounds and repetitions are at most {_MOST_TIMES}"
            )
            raise ValueError(message)
        return pin


def line(results: RunResults, column: ColumnInfo, kernel: KernelInfo) -> str:
    """The command that measures this kernel in this column again, under its worst variation; "" where nothing would.

    Nothing makes an environment again that has no lock (one measured by ``here``), and nothing says what ran where
    processes name no code, or not the same.
    """
    verdict = _chosen(results, column.id, kernel.name)
    if verdict is None or "here" in (results.info.engine, column.origin.get("engine")):
        return ""
    pin = _pin(results, column, verdict)
    variation = "" if verdict.variation == "default" else verdict.variation
    names = (column.id, kernel.name, *filter(None, (variation, kernel.file)))
    if pin is None or not all(_PLAIN.fullmatch(name) for name in names):
        return ""
    mode = "off" if verdict.mode == "off" else ""
    more = (("--variation", variation), ("--mode", mode), ("--kernel-file", kernel.file))
    options = [f"{option} {value}" for option, value in more if value]
    return " ".join([f"nox -s reproduce -- {column.id} {kernel.name} {pin.text}", *options])


def _chosen(results: RunResults, column: str, kernel: str) -> Verdict | None:
    """The worst measured verdict with determinism on, or where there is none with it off; ``default`` before others."""
    for mode in ("on", "off"):
        measured = [one for one in results.over_variations(column, kernel, mode) if one.observations]
        if measured:
            # more or less evidence of the same makes no variation worse
            return min(
                measured, key=lambda one: severity(Status.REPRODUCIBLE if one.status in COMPARABLE else one.status)
            )
    return None


def _pin(results: RunResults, column: ColumnInfo, verdict: Verdict) -> ReproduceSpec | None:
    """The pin of a verdict; None where its records leave something open."""
    group = results.groups.get((verdict.column, verdict.variation, verdict.mode), ())
    code = _code([one for kept in group for one in kept.record.processes], verdict.kernel)
    repetitions = {one.asked_repetitions for one in verdict.observations}
    if not code or len(repetitions) != 1 or not _HASH.fullmatch(column.lock_hash):
        return None
    pin = ReproduceSpec(
        seed=results.info.seed,
        rounds=max(one.planned_rounds or results.info.rounds for one in verdict.observations),
        repetitions=repetitions.pop(),
        lock=column.lock_hash[:_SHORT],
        code=code[:_SHORT],
        bits=_bits(verdict) if verdict.mode == "on" else "",
    )
    return pin if pin.sound else None


def _code(processes: Sequence[Process], kernel: str) -> str:
    """The hash of a kernel's code, "" where no process tells it or two tell another."""
    told = [one.provenance.get("kernel_hashes") for one in processes]
    found = [hashes[kernel] for hashes in told if isinstance(hashes, dict) and kernel in hashes]
    alike = bool(found) and found.count(found[0]) == len(found)
    return found[0] if alike and isinstance(found[0], str) and _HASH.fullmatch(found[0]) else ""


def _bits(verdict: Verdict) -> str:
    """The only digest of a verdict, short; "" where there are more, or none that counts."""
    digests = verdict.comparison.digests
    if verdict.status not in COMPARABLE or len(digests) != 1 or not _HASH.fullmatch(digests[0][0]):
        return ""
    return digests[0][0][:DIGEST_LENGTH]


def _place(results: RunResults, verdict: Verdict) -> str:
    """What decides bits and is in no pin, as it is here."""
    facts = Side(results=results, column=verdict.column).facts
    here = [f"{title} {clean(facts[title])}" for title in _OF_THE_PLACE if facts[title]]
    return f" Other machines can give other bits; here: {listed(here, 5)}." if here else ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether a replay gave the bits asked for: ``same``, ``other``, ``nondeterministic`` or ``unknown``, and a sentence."""

    word: str
    sentence: str


def answer(results: RunResults, verdict: Verdict, digest: str) -> Answer:
    """Hold a replayed verdict against the first characters of a digest."""
    mode = f"determinism {verdict.mode}"
    own = _bits(verdict)
    if verdict.status in FROM_DIGESTS - COMPARABLE:
        return Answer(word="nondeterministic", sentence=f"{mode}: varies. {verdict.why}")
    if not own:
        return Answer(word="unknown", sentence=f"{mode}: no bits to compare, {verdict.status.value}. {verdict.why}")
    samples = f"in all {verdict.comparison.repetitions} repetitions of {verdict.comparison.processes} processes"
    whole = verdict.comparison.digests[0][0]
    if not digest:
        return Answer(word="unknown", sentence=f"{mode}: bits {own}, {samples}; none to compare them with were given")
    if whole.startswith(digest):
        return Answer(word="same", sentence=f"{mode}: same bits as before, {own}, {samples}")
    other = results.of(verdict.column, verdict.kernel, verdict.variation, "off" if verdict.mode == "on" else "on")
    if other is not None and _bits(other) and other.comparison.digests[0][0].startswith(digest):
        hint = f" Those came with determinism {other.mode}."
    else:
        hint = _place(results, verdict)
    return Answer(word="other", sentence=f"{mode}: other bits, {own}, {samples}; before: {digest}.{hint}")
