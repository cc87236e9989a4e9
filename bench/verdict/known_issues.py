"""Known known_issues of TensorFlow's determinism: what it says, since when, and what to do about it.

The data is ``known_issues.toml`` beside this module. An error is known by an exact part of its message; a kernel
that varies by its name.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version


@dataclass(frozen=True, kw_only=True)
class KnownIssue:
    """What is known, as a page shows it.

    ``advice`` is one sentence of what to do, ``source`` a path in TensorFlow's source or an issue.
    ``reproducer`` is a minimal Python snippet and ``why`` the cause, both "" where an error message
    says enough.
    """

    id: str
    title: str
    advice: str
    source: str
    reproducer: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A known_issue and where it applies; the fields are explained in known_issues.toml."""

    known_issue: KnownIssue
    tensorflow: str = ""
    gpu: bool = False
    cpu: bool = False
    modes: str = "on"
    error: str = "UnimplementedError"
    message: str = ""
    kernel: str = ""
    variation: str = ""
    exact_under: tuple[str, ...] = ()

    def holds_in(self, tensorflow: str, device: str) -> bool:
        """Whether it is known of this release and kind of device; what is not known excludes nothing."""
        if (self.gpu and device == "cpu") or (self.cpu and device not in ("cpu", "")):
            return False
        try:
            return SpecifierSet(self.tensorflow).contains(Version(tensorflow), prereleases=True)
        except InvalidVersion:
            return True


class KnownIssuesError(ValueError):
    """known_issues.toml is wrong. It ships with the program, so this is a bug of ours."""


def match(error_class: str, message: str, tensorflow: str, device: str = "", mode: str = "on") -> KnownIssue | None:
    """The first known issue behind an error; ``device`` leaves out what the other kind says."""
    return next(
        (
            entry.known_issue
            for entry in known()
            if entry.message
            and entry.message in message
            and entry.error == error_class.rpartition(".")[2]
            and entry.modes in ("", mode)
            and entry.holds_in(tensorflow, device)
        ),
        None,
    )


def of_kernel(kernel: str, variation: str, mode: str, tensorflow: str, device: str = "") -> KnownIssue | None:
    """The first known reason why a kernel varies."""
    return next(
        (
            entry.known_issue
            for entry in known()
            if entry.kernel == kernel
            and entry.variation in ("", variation)
            and variation not in entry.exact_under
            and entry.modes in ("", mode)
            and tensorflow[:1].isdigit()  # of a release nobody knows nothing is known
            and entry.holds_in(tensorflow, device)
        ),
        None,
    )


@cache
def known() -> tuple[Entry, ...]:
    """All entries, in the order of the file."""
    text = resources.files("bench.verdict").joinpath("known_issues.toml").read_text(encoding="utf-8")
    return load(text)


def load(text: str) -> tuple[Entry, ...]:
    """Read known_issues.

    Raises:
        KnownIssuesError: an entry lacks what it needs, has a field nobody knows, or is there twice.
    """
    entries = tuple(_entry(row) for row in tomllib.loads(text).get("known_issue", []))
    names = [entry.known_issue.id for entry in entries]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise KnownIssuesError(f"two known_issues are named {min(twice)!r}")
    return entries


def _entry(row: dict[str, object]) -> Entry:
    shown = {key: row.pop(key) for key in list(row) if key in KnownIssue.__dataclass_fields__}
    name = shown.get("id", "?")
    row.pop("ops", None)  # for those who read the file
    try:
        entry = Entry(
            known_issue=KnownIssue(**shown),  # type: ignore[arg-type]
            **row,  # type: ignore[arg-type]
        )
        SpecifierSet(entry.tensorflow)
    except (TypeError, InvalidSpecifier) as error:
        raise KnownIssuesError(f"known_issue {name!r}: {error}") from error
    if bool(entry.message) == bool(entry.kernel):
        raise KnownIssuesError(f"known_issue {name!r} needs either a message or a kernel")
    if entry.kernel and not (entry.known_issue.why and entry.known_issue.reproducer):
        raise KnownIssuesError(f"known_issue {name!r}: a kernel that varies needs its why and its reproducer")
    return entry
