"""The replay line: one command that measures one kernel in one cell again, pinned by what decides its bits.

``nox -s replay -- CELL KERNEL SEED-ROUNDSxREPEATS-LOCK-CODE-BITS``: the seed as ``s42``, the first characters of the
SHA-256 of the cell's lock and of the kernel's code as every record has it, and those of its digest where it has one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.text import DIGEST_LENGTH, clean, listed
from bench.verdict.sides import Side
from bench.verdict.status import COMPARABLE, FROM_DIGESTS, Status, severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run_info import CellInfo, KernelInfo
    from bench.suite.record import Process
    from bench.verdict.judgement import Judgement, Verdict

#: What a shell, a terminal and a page take as it is. A name that is not of these gives no line.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@+-]*")
_PIN = re.compile(
    r"s(?P<seed>0|[1-9][0-9]{0,9})-(?P<rounds>[1-9][0-9]{0,3})x(?P<repeats>[1-9][0-9]{0,3})"
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
class Pin:
    """What a replay must find or do again.

    ``lock`` and ``code`` are the first characters of the SHA-256 of the lock and of the kernel's module or file;
    ``bits`` those of the digest with determinism on, "" where it had not exactly one.
    """

    seed: int
    rounds: int
    repeats: int
    lock: str
    code: str
    bits: str = ""

    @property
    def text(self) -> str:
        """``s42-5x20-3f2a1b9c-d41d8cd9-4fdedf20592d``."""
        told = f"s{self.seed}-{self.rounds}x{self.repeats}-{self.lock}-{self.code}"
        return f"{told}-{self.bits}" if self.bits else told

    @property
    def sound(self) -> bool:
        """Whether its numbers are those of a plan; run.json may have been edited."""
        times = (self.rounds, self.repeats)
        whole = all(type(number) is int for number in (self.seed, *times))
        return whole and 0 <= self.seed <= _MOST_SEED and min(times) >= 1 and max(times) <= _MOST_TIMES

    @classmethod
    def parse(cls, text: str) -> Pin:
        """Read a pin; raises ValueError with a sentence."""
        found = _PIN.fullmatch(text)
        if found is None:
            message = f"{text!r} is no pin, which looks like s42-5x20-3f2a1b9c-d41d8cd9"
            raise ValueError(message)
        seed, rounds, repeats = (int(found[name]) for name in ("seed", "rounds", "repeats"))
        lock, code, bits = (found[name] or "" for name in ("lock", "code", "bits"))
        pin = cls(seed=seed, rounds=rounds, repeats=repeats, lock=lock, code=code, bits=bits)
        if not pin.sound:
            message = f"{text!r} is no pin: a seed has 32 bits, and rounds and repeats are at most {_MOST_TIMES}"
            raise ValueError(message)
        return pin


def line(judgement: Judgement, cell: CellInfo, kernel: KernelInfo) -> str:
    """The command that measures this kernel in this cell again, under its worst condition; "" where nothing would.

    Nothing makes an environment again that has no lock (one measured by ``here``), and nothing says what ran where
    processes name no code, or not the same.
    """
    verdict = _chosen(judgement, cell.id, kernel.name)
    if verdict is None or "here" in (judgement.info.engine, cell.origin.get("engine")):
        return ""
    pin = _pin(judgement, cell, verdict)
    condition = "" if verdict.condition == "default" else verdict.condition
    names = (cell.id, kernel.name, *filter(None, (condition, kernel.file)))
    if pin is None or not all(_PLAIN.fullmatch(name) for name in names):
        return ""
    mode = "off" if verdict.mode == "off" else ""
    more = (("--condition", condition), ("--mode", mode), ("--extra", kernel.file))
    options = [f"{option} {value}" for option, value in more if value]
    return " ".join([f"nox -s replay -- {cell.id} {kernel.name} {pin.text}", *options])


def _chosen(judgement: Judgement, cell: str, kernel: str) -> Verdict | None:
    """The worst measured verdict with determinism on, or where there is none with it off; ``default`` before others."""
    for mode in ("on", "off"):
        measured = [one for one in judgement.over_conditions(cell, kernel, mode) if one.witnesses]
        if measured:
            # more or less evidence of the same makes no condition worse
            return min(measured, key=lambda one: severity(Status.EXACT if one.status in COMPARABLE else one.status))
    return None


def _pin(judgement: Judgement, cell: CellInfo, verdict: Verdict) -> Pin | None:
    """The pin of a verdict; None where its records leave something open."""
    group = judgement.groups.get((verdict.cell, verdict.condition, verdict.mode), ())
    code = _code([one for kept in group for one in kept.record.processes], verdict.kernel)
    repeats = {one.asked_repeats for one in verdict.witnesses}
    if not code or len(repeats) != 1 or not _HASH.fullmatch(cell.lock_hash):
        return None
    pin = Pin(
        seed=judgement.info.seed,
        rounds=max(one.planned_rounds or judgement.info.rounds for one in verdict.witnesses),
        repeats=repeats.pop(),
        lock=cell.lock_hash[:_SHORT],
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


def _place(judgement: Judgement, verdict: Verdict) -> str:
    """What decides bits and is in no pin, as it is here."""
    facts = Side(judgement=judgement, cell=verdict.cell).facts
    here = [f"{title} {clean(facts[title])}" for title in _OF_THE_PLACE if facts[title]]
    return f" Other machines can give other bits; here: {listed(here, 5)}." if here else ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether a replay gave the bits asked for: ``same``, ``other``, ``varies`` or ``unknown``, and a sentence."""

    word: str
    sentence: str


def answer(judgement: Judgement, verdict: Verdict, digest: str) -> Answer:
    """Hold a replayed verdict against the first characters of a digest."""
    mode = f"determinism {verdict.mode}"
    own = _bits(verdict)
    if verdict.status in FROM_DIGESTS - COMPARABLE:
        return Answer(word="varies", sentence=f"{mode}: varies. {verdict.why}")
    if not own:
        return Answer(word="unknown", sentence=f"{mode}: no bits to compare, {verdict.status.value}. {verdict.why}")
    samples = f"in all {verdict.comparison.repeats} repeats of {verdict.comparison.processes} processes"
    whole = verdict.comparison.digests[0][0]
    if not digest:
        return Answer(word="unknown", sentence=f"{mode}: bits {own}, {samples}; none to compare them with were given")
    if whole.startswith(digest):
        return Answer(word="same", sentence=f"{mode}: same bits as before, {own}, {samples}")
    other = judgement.of(verdict.cell, verdict.kernel, verdict.condition, "off" if verdict.mode == "on" else "on")
    if other is not None and _bits(other) and other.comparison.digests[0][0].startswith(digest):
        hint = f" Those came with determinism {other.mode}."
    else:
        hint = _place(judgement, verdict)
    return Answer(word="other", sentence=f"{mode}: other bits, {own}, {samples}; before: {digest}.{hint}")
