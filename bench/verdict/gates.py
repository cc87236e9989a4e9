"""The gates that a build may fail on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.verdict.host_groups import Agreement
from bench.verdict.messages import enumerate_names
from bench.verdict.status import UNMEASURED, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.verdict.results import RunResults, Verdict


_FAULTS = frozenset(
    {Status.CRASHED, Status.OOM, Status.TIMEOUT, Status.MISMATCH, Status.FAILED, Status.ERROR, Status.NAN}
)


def _nondeterministic(verdict: Verdict, mode: str) -> bool:
    """Whether bits differed. This counts even if a crash decides the status; if a control failed, nothing counts."""
    return verdict.mode == mode and verdict.comparison.varies and verdict.status is not Status.CONTROL_FAILED


_RULES: dict[str, Callable[[Verdict], bool]] = {
    "nondeterministic-on": lambda verdict: _nondeterministic(verdict, "on"),
    "unknown-nondeterminism": lambda verdict: _nondeterministic(verdict, "on") and not verdict.explained,
    "nondeterministic-off": lambda verdict: _nondeterministic(verdict, "off"),
    "unsupported": lambda verdict: verdict.mode == "on" and verdict.status is Status.UNSUPPORTED,
    "control-failed": lambda verdict: verdict.status is Status.CONTROL_FAILED,
    "inconclusive": lambda verdict: verdict.status is Status.INCONCLUSIVE,
    "faults": lambda verdict: verdict.status in _FAULTS,
    "unmeasured": lambda verdict: verdict.status in UNMEASURED,
}

#: The gates that a build may fail on.
GATES = (*_RULES, "host-conflict")


def gate(results: RunResults, fail_on: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence for each kernel that fails a gate, under any variation. Controls never count.

    Raises:
        ConfigError: an unknown gate. A misspelt gate must not pass.
    """
    unknown = [name for name in fail_on if name not in GATES]
    if unknown:
        raise ConfigError(f"There is no gate {unknown[0]!r}.", f"Choose from: {', '.join(GATES)}.")
    sentences: dict[str, None] = {}
    for name in dict.fromkeys(fail_on):
        if name == "host-conflict":
            sentences |= dict.fromkeys(_host_conflicts(results))
            continue
        for verdict in results.verdicts:
            if not verdict.control and _RULES[name](verdict):
                where = f"{verdict.column}, {verdict.variation}, determinism {verdict.mode}"
                sentences[f"{name}: {verdict.kernel} is {verdict.status} in {where}. {verdict.why}"] = None
    return tuple(sentences)


def _host_conflicts(results: RunResults) -> Iterator[str]:
    """Return one sentence for each kernel with other bits on another host, determinism on."""
    for group in results.hosts:
        for one in group.of("on", Agreement.CONFLICT):
            bits = "; ".join(f"{letter} on {enumerate_names(hosts)}" for letter, hosts in one.groups)
            yield f"host-conflict: {one.kernel} has other bits on another host with the same {group.model}: {bits}."
