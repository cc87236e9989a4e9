"""What is known of a pair on a GPU under a driver, before a minute of the GPU is spent.

The rules are ``rules.toml`` beside this module, with their sources; the facts they are held against are in
``releases.toml`` (what the wheels carry) and ``cuda.toml`` (the driver that came with a CUDA).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from bench.plan import cuda, releases

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.gpu.facts import Gpu
    from bench.plan.column import Pair

Level = Literal["ok", "warn", "blocked"]
#: From good to bad.
LEVELS: tuple[Level, ...] = ("ok", "warn", "blocked")

_RANGES = ("tensorflow", "cuda", "cudnn", "capability", "driver")
_CODES = ("", "native", "jit", "fixed", "none")
_FLOORS = ("", "toolkit", "ptx")
_UNKNOWNS = ("", "driver", "capability")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule; the fields are explained in rules.toml. ``ranges`` has those of versions."""

    id: str
    level: Level
    text: str
    source: str
    way: str = ""
    derived: bool = False
    ranges: Mapping[str, SpecifierSet] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    code: str = ""
    below: str = ""
    not_below: str = ""
    unknown: str = ""


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """All rules in the order of the file, the names of generations, and the driver that a PTX ISA needs."""

    rules: tuple[Rule, ...]
    generations: Mapping[str, SpecifierSet]
    ptx: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PreflightResult:
    """What the rules say of one pair on one GPU.

    ``text`` is one line that begins with the level: ``ok``, ``warn: first run compiles PTX on this GPU``,
    ``blocked: driver 470.57.02 < 525.60.13 for CUDA 12.x``. ``rules`` are those it tells, the worst first.
    """

    level: Level
    text: str
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A pair on a GPU under a driver: what the rules are held against. ``code`` is as in rules.toml."""

    versions: Mapping[str, Version]
    kind: str
    code: str
    floors: Mapping[str, Version]
    words: Mapping[str, str]


class RulesError(ValueError):
    """rules.toml is wrong. It ships with the program, so this is a bug of ours."""


def advise(pair: Pair, gpu: Gpu, driver: str) -> PreflightResult:
    """What to expect of a CUDA pair on a GPU; ``driver`` is its version, "" where it is unknown.

    A blocked column is told what blocks it and nothing else; TensorFlow's minor must be in ``releases.toml``.
    """
    book = rules()
    case = _case(book, pair, gpu, driver)
    fired = [rule for rule in book.rules if _holds(rule, case)]
    fired.sort(key=lambda rule: -LEVELS.index(rule.level))
    level: Level = fired[0].level if fired else "ok"
    if level == "blocked":
        fired = [rule for rule in fired if rule.level == level]
    told = "; ".join(rule.text.format_map(case.words) + (" (derived)" if rule.derived else "") for rule in fired)
    joint = ", " if level == "ok" else ": "
    return PreflightResult(level=level, text=f"{level}{joint}{told}" if told else level, rules=tuple(fired))


@cache
def rules() -> RuleSet:
    """The rules that ship with the program."""
    return load(resources.files("bench.plan").joinpath("rules.toml").read_text(encoding="utf-8"))


def load(text: str) -> RuleSet:
    """Read rules.

    Raises:
        RulesError: a rule lacks what it needs, has a field or a value nobody knows, or is there twice.
    """
    body = tomllib.loads(text)
    found = tuple(_rule(row) for row in body.get("rule", []))
    names = [rule.id for rule in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RulesError(f"two rules are named {min(twice)!r}")
    generations = {name: SpecifierSet(given) for name, given in body.get("generations", {}).items()}
    return RuleSet(rules=found, generations=generations, ptx=body.get("ptx", {}))


def _rule(row: dict[str, Any]) -> Rule:
    name = row.get("id", "?")
    try:
        ranges = {key: SpecifierSet(row.pop(key)) for key in _RANGES if key in row}
        rule = Rule(**{**row, "ranges": ranges, "kinds": frozenset(row.get("kinds", ()))})
        rule.text.format_map(dict.fromkeys(_WORDS, ""))
    except (TypeError, InvalidSpecifier) as error:
        raise RulesError(f"rule {name!r}: {error}") from error
    except (KeyError, ValueError) as error:
        raise RulesError(f"rule {name!r}: its text asks for {error}, which nobody knows") from error
    known = ((rule.level, LEVELS), (rule.code, _CODES), (rule.unknown, _UNKNOWNS))
    for value, choices in (*known, (rule.below, _FLOORS), (rule.not_below, _FLOORS)):
        if value not in choices:
            raise RulesError(f"rule {name!r}: {value!r} is none of {', '.join(filter(None, choices))}")
    if not rule.source:
        raise RulesError(f"rule {name!r} has no source")
    if rule.derived and rule.level == "blocked":
        raise RulesError(f"rule {name!r} is derived, and so may not block")
    return rule


def _holds(rule: Rule, case: _Case) -> bool:
    """Whether all variations of a rule hold; what is not known fulfils no variation on it."""
    for name, asked in rule.ranges.items():
        version = case.versions.get(name)
        if version is None or not asked.contains(version, prereleases=True):
            return False
    return (
        (not rule.kinds or case.kind in rule.kinds)
        and rule.code in ("", case.code)
        and (not rule.unknown or rule.unknown not in case.versions)
        and (not rule.below or _below(rule.below, case))
        and not (rule.not_below and _below(rule.not_below, case))
    )


def _below(floor: str, case: _Case) -> bool:
    driver = case.versions.get("driver")
    return driver is not None and floor in case.floors and driver < case.floors[floor]


#: What the text of a rule may ask for.
_WORDS = (
    *("tensorflow", "cuda", "cudnn", "driver", "capability", "generation"),
    *("built", "toolkit", "isa", "floor", "target"),
)


def _case(book: RuleSet, pair: Pair, gpu: Gpu, driver: str) -> _Case:
    minor = releases.minor(pair.tensorflow)
    wheel = releases.releases()[minor]
    sets = cuda.table().toolkits
    toolkit = sets[pair.cuda].driver if pair.cuda in sets else ""
    targets, isas = zip(*(entry.split() for entry in wheel.ptx), strict=True)
    isa = max(isas, key=_parsed)
    known = gpu.capability > (0, 0)
    capability = ".".join(map(str, gpu.capability)) if known else ""
    given = {"tensorflow": minor, "cuda": pair.cuda, "cudnn": pair.cudnn, "capability": capability, "driver": driver}
    versions = {name: version for name, text in given.items() if (version := _version(text)) is not None}
    floors = {name: _parsed(text) for name, text in (("toolkit", toolkit), ("ptx", book.ptx[isa])) if text}
    words = {
        **given,
        "generation": _generation(book, versions.get("capability")),
        "built": wheel.cuda,
        "toolkit": toolkit,
        "isa": isa,
        "floor": book.ptx[isa],
        "target": max(targets),
    }
    code = _code(wheel.sass, targets, gpu.capability) if known else ""
    return _Case(versions=versions, kind=pair.kind, code=code, floors=floors, words=words)


def _code(sass: Iterable[str], ptx: Iterable[str], capability: tuple[int, int]) -> str:
    """What a wheel has for a GPU: machine code serves its own architecture's later minors, PTX all later GPUs."""
    machine = [_architecture(name) for name in sass]
    if any(major == capability[0] and minor <= capability[1] for major, minor in machine):
        return "native"
    serving = [name for name in ptx if _architecture(name) <= capability]
    if not serving:
        return "none"
    # an "a" at the end: this architecture and no later one
    return "fixed" if any(name.endswith("a") and _architecture(name) != capability for name in serving) else "jit"


def _architecture(name: str) -> tuple[int, int]:
    """``sm_90a`` is (9, 0)."""
    digits = name.removeprefix("sm_").rstrip("af")
    return int(digits[:-1]), int(digits[-1])


def _generation(book: RuleSet, capability: Version | None) -> str:
    if capability is None:
        return "this GPU"
    fitting = (name for name, asked in book.generations.items() if asked.contains(capability))
    return next(fitting, "a GPU of this generation")


@lru_cache(maxsize=1024)
def _version(text: str) -> Version | None:
    """A version as numbers; None where it is none."""
    try:
        return _parsed(text)
    except InvalidVersion:
        return None


@cache
def _parsed(text: str) -> Version:
    return Version(text)
