"""Is the environment here reproducible? One line, from the records of one column.

The judge at home knows more and has the last word (``bench.verdict``). This one is stricter wherever it differs: it
never calls a kernel the same that the judge would not call exact on the same records.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.suite.record import Process, Record, Request, Sample

#: Under so many processes nothing is called the same, as at home.
MIN_PROCESSES = 5
CONFIDENCE = 0.95
#: A control whose count of differences chance gives more seldom than this is taken for broken; at home it is 1e-6.
BELIEVABLE = 1e-4
#: As at home: a control is within reach if a healthy instrument misses it in no more than this share of groups.
REACH = 0.001

#: What must agree between all processes, as ``bench.verdict.validity`` has it.
SAME_PROVENANCE = (
    "python", "tensorflow", "tensorflow_git", "tensorflow_compiler", "keras", "numpy", "protobuf", "build_info",
    "cpu_model", "cpu_flags_hash", "isa", "cores", "libc", "gpu", "driver",
)  # fmt: skip
SAME_SETTINGS = ("intra_op_threads", "inter_op_threads", "onednn", "isa_limit", "tf32", "xla_jit", "devices")
SAME_IN_MODE = ("determinism_enabled", "switch", "env")
SAME_LIBRARIES = ("libtensorflow", "libcud", "libcublas")
#: The variable by which one mode differs from the other.
_SWITCH = "TF_DETERMINISTIC_OPS"


@dataclass
class Told:
    """The kernels of one mode, by what the records say of them; ``untold`` maps the rest to the reason."""

    same: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    untold: dict[str, str] = field(default_factory=dict)


def tell(info: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Told]:
    """What the records of a column say, by mode. ``info`` is run.json."""
    found = {}
    for mode in sorted({one.request.mode for one in records}):
        group = [one for one in records if one.request.mode == mode]
        try:
            concern = _invalid_measurement(info, records) or _blind(info, records)
            found[mode] = _told(info, group, concern)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            why = f"the records cannot be understood ({error})"
            found[mode] = Told(untold={name: why for one in group for name in one.request.kernels})
    return found


def _told(info: Mapping[str, Any], group: Sequence[Record], concern: str) -> Told:
    told = Told()
    for kernel in info["kernels"]:
        name = kernel["name"]
        if kernel["control"] or not any(name in one.request.kernels for one in group):
            continue
        why = concern or _ending(name, group)
        if not why and _differs(name, group):
            told.differs.append(name)
            continue
        why = why or _gap(info, kernel, group)
        if why:
            told.untold[name] = why
        else:
            told.same.append(name)
    return told


def sentence(told: Mapping[str, Told], rounds: int) -> str:
    """The one line."""
    parts = [f"determinism {mode}: {_counts(told[mode], rounds)}" for mode in sorted(told, reverse=True)]
    return f"reproducible here? {_word(told, rounds)} - {'; '.join(parts) or 'nothing was measured'}"


def _word(told: Mapping[str, Told], rounds: int) -> str:
    """The answer is about determinism on, where it was measured: it is what one switches on to be reproducible."""
    asked = told.get("on") or told.get("off") or Told()
    if asked.differs:
        return "no"
    if asked.untold or not asked.same:
        few = rounds < MIN_PROCESSES and set(asked.untold.values()) == {_few(rounds)}
        return f"no difference seen, but {_few(rounds)}" if few else "not proven"
    share = 1 - (1 - CONFIDENCE) ** (1 / (rounds - 1))
    return f"yes, as far as {rounds} processes tell (at most {math.ceil(share * 100)} % of processes differ, at 95 %)"


def _few(rounds: int) -> str:
    return f"{rounds} processes are too few to tell, {MIN_PROCESSES} are needed"


def _counts(told: Told, rounds: int) -> str:
    total = len(told.same) + len(told.differs) + len(told.untold)
    parts = []
    if told.same:
        parts.append(f"{len(told.same)} of {total} kernels gave the same bits in all {rounds} processes")
    if told.differs:
        named = ", ".join(told.differs[:5]) + (", ..." if len(told.differs) > 5 else "")  # noqa: PLR2004 - one line
        parts.append(f"{len(told.differs)} of {total} differ ({named})")
    reasons = Counter(told.untold.values())
    few = reasons.pop(_few(rounds), 0)
    parts += [f"{few} of {total} showed no difference"] if few else []
    parts += [f"{number} of {total} cannot be told ({why})" for why, number in reasons.most_common(3)]
    return ", ".join(parts) or "no kernel was run"


def _processes(records: Sequence[Record]) -> list[Process]:
    return [process for one in records for process in one.processes]


def _invalid_measurement(info: Mapping[str, Any], records: Sequence[Record]) -> str:
    """Why these records are no measurement of one environment, or ""."""
    column = info["columns"][0]
    if column["status"] != "ready":
        return f"the column is {column['status']}: {column['reason']}"
    for one in records:
        why = _strange(info, column, one)
        if why:
            return why
    everything = _processes(records)
    names = [(one.started, one.pid, one.provenance.get("hostname")) for one in everything]
    if len(set(names)) < len(names):
        return "two records show the same process"
    groups = [[one for one in records if one.request.mode == mode] for mode in ("off", "on")]
    keys = ("engine", "environment", "lock_hash")
    pairs = [(key, str(one.request.context.get(key, ""))) for one in records for key in keys]
    pairs += _said(everything, SAME_PROVENANCE, "provenance") + _said(everything, SAME_SETTINGS, "settings")
    pairs += [("environment variables", _without_switch(one)) for one in everything]
    pairs += [
        (f"{name}", version)
        for one in everything
        for name, version in one.libraries.items()
        if version and name.startswith(SAME_LIBRARIES)
    ]
    pairs += [(f"the code of {key}", code) for one in everything for key, code in _hashes(one).items()]
    return next((why for why in [_apart(pairs), *(_apart(_in_mode(group)) for group in groups)] if why), "")


def _in_mode(group: Sequence[Record]) -> list[tuple[str, str]]:
    return _said(_processes(group), SAME_IN_MODE, "settings")


def _hashes(one: Process) -> Mapping[str, str]:
    found = one.provenance.get("kernel_hashes")
    return found if isinstance(found, dict) else {}


def _without_switch(one: Process) -> str:
    env = one.settings.get("env") or {}
    return json.dumps({key: value for key, value in env.items() if key != _SWITCH}, sort_keys=True)


def _said(processes: Sequence[Process], keys: Sequence[str], where: str) -> list[tuple[str, str]]:
    """(key, value) of all that the processes say; what one does not say contradicts nothing."""
    found = []
    for process in processes:
        facts = getattr(process, where)
        found += [(key, json.dumps(facts[key], sort_keys=True)) for key in keys if facts.get(key) is not None]
    return found


def _apart(pairs: Sequence[tuple[str, str]]) -> str:
    known: dict[str, str] = {}
    for key, value in pairs:
        if known.setdefault(key, value) != value:
            return f"the processes disagree on {key}"
    return ""


def _strange(info: Mapping[str, Any], column: Mapping[str, Any], one: Record) -> str:
    """What in a record is not what was asked, or ""."""
    request = one.request
    known = {process.process for process in one.processes}
    if one.suite_hash != info["suite_hash"] or request.column != column["id"] or request.seed != info["seed"]:
        return "a record is of another run"
    if not known or {sample.process for sample in one.samples} - known:
        return "a process did not say what it ran with"
    return next((why for why in (_not_asked(column, request, process) for process in one.processes) if why), "")


def _not_asked(column: Mapping[str, Any], request: Request, process: Process) -> str:
    """What a process had that was not asked for, or ""."""
    settings, facts, env = process.settings, process.provenance, process.settings.get("env")
    switch = "none" if request.mode == "off" else request.switch
    seen = "GPU" in json.dumps(settings.get("devices")).upper()
    wanted = ("tensorflow", _plain(str(facts.get("tensorflow") or ""))), ("keras", facts.get("keras"))
    minor = str(facts.get("python") or "").startswith(f"{column['python']}.")
    other = any(column[key] and found != _plain(column[key]) for key, found in wanted)
    checks = (
        (settings.get("determinism_enabled") is not (request.mode == "on"), f"determinism was not {request.mode}"),
        (seen != (column["device"] != "cpu"), "the processes did not run on the device of the column"),
        (settings.get("switch") not in (None, switch), "determinism was not switched as asked"),
        (
            not isinstance(env, dict) or any(env.get(key) != value for key, value in request.env.items()),
            "the environment was not what was asked",
        ),
        (other or not minor, "another Python, TensorFlow or Keras ran than the column names"),
    )
    return next((why for bad, why in checks if bad), "")


def _plain(version: str) -> str:
    return version.replace("-", "").partition("+")[0]


def _blind(info: Mapping[str, Any], records: Sequence[Record]) -> str:
    """Why the controls forbid any answer, or "": one that fails anywhere speaks against the whole instrument."""
    controls = [kernel for kernel in info["kernels"] if kernel["control"]]
    if not any(one["control"] == "must-differ" and one["rate"] == 1 for one in controls):
        return "no control was there that must always differ"
    if not any(one["control"] == "must-not-differ" for one in controls):
        return "no control was there that must not differ"
    for mode in sorted({one.request.mode for one in records}):
        group = [one for one in records if one.request.mode == mode]
        for kernel in controls:
            why = _ending(kernel["name"], group) or _misled(kernel, group)
            if why:
                return f"the control {kernel['name']} failed: {why}"
    return ""


def _misled(kernel: Mapping[str, Any], group: Sequence[Record]) -> str:
    """Why a control is not what it declares, or ""."""
    name = kernel["name"]
    repetitions = [sample for one in group for sample in _of(name, one) if sample.role == "repetition"]
    counts = Counter(sample.digest for sample in repetitions)
    if len(repetitions) < 2:  # noqa: PLR2004 - one has nothing to be compared with
        return "it ran less than twice"
    if kernel["control"] == "must-not-differ":
        return "it differs" if _differs(name, group) else _insensitive(name, group)
    seen = len(repetitions) - max(counts.values())
    doubled = sum(number > 1 for number in counts.values())
    if kernel["rate"] == 1:
        return "it did not always differ" if doubled or len(counts) < len(repetitions) else ""
    if doubled > 1 or not 0 < kernel["rate"] < 1:
        return "its entropy came twice"
    if not seen and (1 - kernel["rate"]) ** len(repetitions) <= REACH:
        return f"it was not seen to differ in {len(repetitions)} repetitions"
    likely = _chance(seen, len(repetitions), kernel["rate"])
    return "" if likely >= BELIEVABLE else f"it left its bits in {seen} of {len(repetitions)} repetitions"


def _chance(seen: int, samples: int, rate: float) -> float:
    """Two-sided p of the exact binomial test."""
    likely = [math.comb(samples, k) * rate**k * (1 - rate) ** (samples - k) for k in range(samples + 1)]
    return sum(one for one in likely if one <= likely[seen] * (1 + 1e-7))


def _of(name: str, one: Record) -> list[Sample]:
    return [sample for sample in one.samples if sample.kernel == name]


def _ending(name: str, group: Sequence[Record]) -> str:
    """How a kernel ended where it did not end well everywhere, or ""."""
    for one in group:
        if name not in one.request.kernels or not one.complete:
            return "a round was cut off, or did not run it"
        ends = [outcome.outcome for outcome in one.outcomes if outcome.kernel == name]
        bad = [end for end in ends if end != "ok"]
        if bad or not ends:
            return f"it {bad[0]}" if bad else "a round does not say how it ended"
    return ""


def _differs(name: str, group: Sequence[Record]) -> bool:
    first: dict[int, str] = {}
    samples = [sample for one in group for sample in _of(name, one)]
    return any(first.setdefault(one.seed, one.digest) != one.digest or one.steady_agrees is False for one in samples)


def _insensitive(name: str, group: Sequence[Record]) -> str:
    """Why it is not shown that a kernel feels its seed, in every output, or ""."""
    seeds: dict[str, set[int]] = defaultdict(set)
    for sample in (sample for one in group for sample in _of(name, one)):
        seeds[sample.digest].add(sample.seed)
        for output, facts in sample.outputs.items():
            seeds[f"{output} {facts.get('digest')}"].add(sample.seed)
    if any(len(known) > 1 for known in seeds.values()):
        return "another seed gave the same bits"
    own = {one.request.seed for one in group}
    other = [sample for one in group for sample in _of(name, one) if sample.role == "second-seed"]
    return "" if any(sample.seed not in own for sample in other) else "no other seed was tried"


def _gap(info: Mapping[str, Any], kernel: Mapping[str, Any], group: Sequence[Record]) -> str:
    """What is missing for the word "same", or ""."""
    name, planned = kernel["name"], info["rounds"]
    rounds = [one.request.round for one in group]
    if sorted(rounds) != list(range(1, planned + 1)):
        return f"{len(set(rounds))} of {planned} rounds are there"
    for one in group:
        why = _short(info, kernel, one)
        if why:
            return why
    why = _insensitive(name, group)
    if why:
        return why
    return _few(planned) if planned < MIN_PROCESSES else ""


def _short(info: Mapping[str, Any], kernel: Mapping[str, Any], one: Record) -> str:
    """What one round lacks, or ""."""
    name, request = kernel["name"], one.request
    samples = _of(name, one)
    asked, again = request.repetitions.get(name, 0), request.steady_s > 0 and kernel["call_again"]
    numbers = sorted(sample.repetition for sample in samples if sample.role == "repetition")
    seeds = {sample.seed for sample in samples if sample.role != "second-seed"}
    timed = any(sample.role == "timing" and sample.steady_agrees for sample in samples)
    facts = [output for sample in samples for output in sample.outputs.values()]
    places = {str(output.get("device") or "") for output in facts} - {""}
    on_gpu = info["columns"][0]["device"] != "cpu" and not kernel["on_host"]
    checks = (
        (asked < 2 or numbers != list(range(asked)), "a round has other repetitions than asked, or only one"),  # noqa: PLR2004
        (len({sample.process for sample in samples}) != 1, "a round took several processes for it"),
        (seeds != {request.seed}, "a repetition had another seed"),
        (again and not timed, "its later calls were not compared"),
        (not all(sample.digest and sample.outputs for sample in samples), "a sample does not say what it gave"),
        (any(output.get("nan") or output.get("inf") for output in facts), "it gave NaN or Inf, which hide differences"),
        (on_gpu and all(place.startswith("CPU") for place in places), "its outputs lived on the CPU"),
    )
    return next((why for bad, why in checks if bad), "")
