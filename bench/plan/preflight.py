"""Check a pair against a GPU and its driver before any GPU time is spent.

The rules are in ``rules.toml`` beside this module, with their sources. The facts that they use are in
``releases.toml`` (the code in the wheels) and ``cuda.toml`` (the driver released with a CUDA).
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
#: In order of severity.
LEVELS: tuple[Level, ...] = ("ok", "warn", "blocked")

_RANGES = ("tensorflow", "cuda", "cudnn", "capability", "driver")
_CODES = ("", "native", "jit", "fixed", "none")
_FLOORS = ("", "toolkit", "ptx")
_UNKNOWNS = ("", "driver", "capability")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule; rules.toml explains its fields. ``ranges`` has its conditions on versions."""

    id: str
    level: Level
    text: str
    source: str
    remedy: str = ""
    derived: bool = False
    ranges: Mapping[str, SpecifierSet] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    code: str = ""
    below: str = ""
    not_below: str = ""
    unknown: str = ""


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """The rules in the order of the file, the GPU generations, and the driver that each PTX ISA requires."""

    rules: tuple[Rule, ...]
    generations: Mapping[str, SpecifierSet]
    ptx: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PreflightResult:
    """What the rules say about one pair on one GPU.

    ``text`` is one line that begins with the level: ``ok``, ``warn: first run compiles PTX on this GPU``,
    ``blocked: driver 470.57.02 < 525.60.13 for CUDA 12.x``. ``rules`` are those in the text, the most severe first.
    """

    level: Level
    text: str
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Case:
    """The facts about a pair, a GPU and a driver that conditions are checked against. ``code`` is as in rules.toml."""

    versions: Mapping[str, Version]
    kind: str
    code: str
    floors: Mapping[str, Version]
    placeholders: Mapping[str, str]


class RulesError(ValueError):
    """rules.toml is invalid. It ships with the program, so this is a bug."""


def advise(pair: Pair, gpu: Gpu, driver: str) -> PreflightResult:
    """Return what to expect of a CUDA pair on a GPU; ``driver`` is its version, "" where it is unknown.

    If a rule blocks the pair, the result has only the rules that do. TensorFlow's minor must be in ``releases.toml``.
    """
    rule_set = rules()
    case = _case(rule_set, pair, gpu, driver)
    applying = [rule for rule in rule_set.rules if _applies(rule, case)]
    applying.sort(key=lambda rule: -LEVELS.index(rule.level))
    level: Level = applying[0].level if applying else "ok"
    if level == "blocked":
        applying = [rule for rule in applying if rule.level == level]
    messages = [rule.text.format_map(case.placeholders) + (" (derived)" if rule.derived else "") for rule in applying]
    separator = ", " if level == "ok" else ": "
    text = f"{level}{separator}{'; '.join(messages)}" if messages else level
    return PreflightResult(level=level, text=text, rules=tuple(applying))


@cache
def rules() -> RuleSet:
    """Return the rules that ship with the program."""
    return load(resources.files("bench.plan").joinpath("rules.toml").read_text(encoding="utf-8"))


def load(text: str) -> RuleSet:
    """Read rules from the text of a TOML file.

    Raises:
        RulesError: a rule lacks a field, has an unknown field or value, or exists twice.
    """
    body = tomllib.loads(text)
    loaded = tuple(_rule(row) for row in body.get("rule", []))
    names = [rule.id for rule in loaded]
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise RulesError(f"two rules are named {min(duplicates)!r}")
    generations = {name: SpecifierSet(versions) for name, versions in body.get("generations", {}).items()}
    return RuleSet(rules=loaded, generations=generations, ptx=body.get("ptx", {}))


def _rule(row: dict[str, Any]) -> Rule:
    name = row.get("id", "?")
    try:
        ranges = {key: SpecifierSet(row.pop(key)) for key in _RANGES if key in row}
        rule = Rule(**{**row, "ranges": ranges, "kinds": frozenset(row.get("kinds", ()))})
        rule.text.format_map(dict.fromkeys(_PLACEHOLDERS, ""))
    except (TypeError, InvalidSpecifier) as error:
        raise RulesError(f"rule {name!r}: {error}") from error
    except (KeyError, ValueError) as error:
        raise RulesError(f"rule {name!r}: its text has the unknown placeholder {error}") from error
    choices_of = ((rule.level, LEVELS), (rule.code, _CODES), (rule.unknown, _UNKNOWNS))
    for value, choices in (*choices_of, (rule.below, _FLOORS), (rule.not_below, _FLOORS)):
        if value not in choices:
            raise RulesError(f"rule {name!r}: {value!r} is not one of {', '.join(filter(None, choices))}")
    if not rule.source:
        raise RulesError(f"rule {name!r} has no source")
    if rule.derived and rule.level == "blocked":
        raise RulesError(f"rule {name!r} is derived, so it must not block")
    return rule


def _applies(rule: Rule, case: _Case) -> bool:
    """Return whether all conditions of a rule hold; a condition on an unknown fact does not hold."""
    for name, versions in rule.ranges.items():
        version = case.versions.get(name)
        if version is None or not versions.contains(version, prereleases=True):
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


#: The valid placeholders in the text of a rule.
_PLACEHOLDERS = (
    *("tensorflow", "cuda", "cudnn", "driver", "capability", "generation"),
    *("built", "toolkit", "isa", "floor", "target"),
)


def _case(rule_set: RuleSet, pair: Pair, gpu: Gpu, driver: str) -> _Case:
    minor = releases.minor(pair.tensorflow)
    wheel = releases.releases()[minor]
    toolkits = cuda.table().toolkits
    toolkit = toolkits[pair.cuda].driver if pair.cuda in toolkits else ""
    targets, isas = zip(*(entry.split() for entry in wheel.ptx), strict=True)
    isa = max(isas, key=_parsed)
    known = gpu.capability > (0, 0)
    capability = ".".join(map(str, gpu.capability)) if known else ""
    facts = {"tensorflow": minor, "cuda": pair.cuda, "cudnn": pair.cudnn, "capability": capability, "driver": driver}
    versions = {name: version for name, text in facts.items() if (version := _version(text)) is not None}
    floors = {name: _parsed(text) for name, text in (("toolkit", toolkit), ("ptx", rule_set.ptx[isa])) if text}
    placeholders = {
        **facts,
        "generation": _generation(rule_set, versions.get("capability")),
        "built": wheel.cuda,
        "toolkit": toolkit,
        "isa": isa,
        "floor": rule_set.ptx[isa],
        "target": max(targets),
    }
    code = _code(wheel.sass, targets, gpu.capability) if known else ""
    return _Case(versions=versions, kind=pair.kind, code=code, floors=floors, placeholders=placeholders)


def _code(sass: Iterable[str], ptx: Iterable[str], capability: tuple[int, int]) -> str:
    """Return what a wheel has for a GPU. Machine code runs on later minors of its major, PTX on all later GPUs."""
    native = [_architecture(name) for name in sass]
    if any(major == capability[0] and minor <= capability[1] for major, minor in native):
        return "native"
    usable = [name for name in ptx if _architecture(name) <= capability]
    if not usable:
        return "none"
    # PTX for "sm_90a" runs on that architecture and on no later one
    return "fixed" if any(name.endswith("a") and _architecture(name) != capability for name in usable) else "jit"


def _architecture(name: str) -> tuple[int, int]:
    """Return (9, 0) for ``sm_90a``."""
    digits = name.removeprefix("sm_").rstrip("af")
    return int(digits[:-1]), int(digits[-1])


def _generation(rule_set: RuleSet, capability: Version | None) -> str:
    if capability is None:
        return "this GPU"
    matching = (name for name, versions in rule_set.generations.items() if versions.contains(capability))
    return next(matching, "a GPU of this generation")


@lru_cache(maxsize=1024)
def _version(text: str) -> Version | None:
    """Return a version as numbers; None where the text is not a version."""
    try:
        return _parsed(text)
    except InvalidVersion:
        return None


@cache
def _parsed(text: str) -> Version:
    return Version(text)
