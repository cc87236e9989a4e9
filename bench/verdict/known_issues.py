"""Known issues of TensorFlow's determinism: the symptom, the affected releases, and what to do.

The data is in ``known_issues.toml`` next to this module. An error is recognized by an exact part of its message, a
kernel that is nondeterministic by its name.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

#: Classes by which other code replaces an error of TensorFlow. Keras repeats the message in a RuntimeError.
REPLACEMENTS = ("UnimplementedError", "RuntimeError", "ValueError", "InvalidArgumentError", "InternalError")


@dataclass(frozen=True, kw_only=True)
class KnownIssue:
    """A known issue, as a page shows it.

    ``advice`` is one sentence that says what to do, ``source`` a path in TensorFlow's source or an issue.
    ``reproducer`` is a minimal Python snippet and ``why`` the cause, both "" if the error message
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
    """A known issue and where it applies; the fields are explained in known_issues.toml."""

    known_issue: KnownIssue
    tensorflow: str = ""
    gpu: bool = False
    cpu: bool = False
    modes: str = "on"
    error: str = "UnimplementedError"
    message: str = ""
    kernel: str = ""
    variation: str = ""
    reproducible_under: tuple[str, ...] = ()

    def applies_to(self, tensorflow: str, device: str) -> bool:
        """Whether it applies to this release and kind of device; an unknown release or device excludes nothing."""
        if (self.gpu and device == "cpu") or (self.cpu and device not in ("cpu", "")):
            return False
        try:
            return SpecifierSet(self.tensorflow).contains(Version(tensorflow), prereleases=True)
        except InvalidVersion:
            return True


class KnownIssuesError(ValueError):
    """known_issues.toml is wrong. It ships with the program, so this is a bug in the program."""


def match(error_class: str, message: str, tensorflow: str, device: str = "", mode: str = "on") -> KnownIssue | None:
    """Return the first known issue behind an error; ``device`` excludes those of the other kind of device."""
    found = entry(error_class, message, tensorflow, device, mode)
    return found.known_issue if found else None


def entry(error_class: str, message: str, tensorflow: str, device: str = "", mode: str = "on") -> Entry | None:
    """Return the entry of the first known issue behind an error.

    The message decides. Its class must be the entry's, or one by which Keras, XLA or the user's code may have replaced
    it: they keep the message.
    """
    name = error_class.rpartition(".")[2]
    return next(
        (
            entry
            for entry in known()
            if entry.message
            and entry.message in message
            and name in (entry.error, *REPLACEMENTS)
            and entry.modes in ("", mode)
            and entry.applies_to(tensorflow, device)
        ),
        None,
    )


def of_kernel(kernel: str, variation: str, mode: str, tensorflow: str, device: str = "") -> KnownIssue | None:
    """Return the first known issue that makes a kernel nondeterministic."""
    return next(
        (
            entry.known_issue
            for entry in known()
            if entry.kernel == kernel
            and entry.variation in ("", variation)
            and variation not in entry.reproducible_under
            and entry.modes in ("", mode)
            and tensorflow[:1].isdigit()  # nothing is known about an unknown release
            and entry.applies_to(tensorflow, device)
        ),
        None,
    )


@cache
def known() -> tuple[Entry, ...]:
    """Return all entries, in the order of the file."""
    text = resources.files("bench.verdict").joinpath("known_issues.toml").read_text(encoding="utf-8")
    return load(text)


def load(text: str) -> tuple[Entry, ...]:
    """Read known issues from TOML.

    Raises:
        KnownIssuesError: an entry lacks a field, has an unknown one, or occurs twice.
    """
    entries = tuple(_entry(row) for row in tomllib.loads(text).get("known_issue", []))
    names = [entry.known_issue.id for entry in entries]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise KnownIssuesError(f"two known issues are named {min(repeated)!r}")
    return entries


def _entry(row: dict[str, object]) -> Entry:
    shown = {key: row.pop(key) for key in list(row) if key in KnownIssue.__dataclass_fields__}
    name = shown.get("id", "?")
    row.pop("ops", None)  # only for readers of the file
    try:
        entry = Entry(
            known_issue=KnownIssue(**shown),  # type: ignore[arg-type]
            **row,  # type: ignore[arg-type]
        )
        SpecifierSet(entry.tensorflow)
    except (TypeError, InvalidSpecifier) as error:
        raise KnownIssuesError(f"known issue {name!r}: {error}") from error
    if bool(entry.message) == bool(entry.kernel):
        raise KnownIssuesError(f"known issue {name!r} needs either a message or a kernel")
    if entry.kernel and not (entry.known_issue.why and entry.known_issue.reproducer):
        raise KnownIssuesError(f"known issue {name!r}: a nondeterministic kernel needs its why and its reproducer")
    return entry
