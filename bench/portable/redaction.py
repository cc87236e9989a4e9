"""Remove credentials from what libraries and users' kernels print: in addresses, headers and settings."""

from __future__ import annotations

import re

_REDACTED = "***"
_SECRETS = (
    (re.compile(r"(?<=://)[^/\s\"'<>]+@"), f"{_REDACTED}@"),
    (re.compile(r"(://[^\s?\"'<>]{1,1000}\?)[^\s\"'<>]+"), rf"\1{_REDACTED}"),
    (
        re.compile(r"((?:proxy-)?authorization\W{1,4}(?:(?:basic|bearer|token)\s+)?)\S+", re.IGNORECASE),
        rf"\1{_REDACTED}",
    ),
    (
        re.compile(
            r"((?:token|secret|passw(?:or)?d|credential|(?:api|access|private)[_-]?key)"
            r"[A-Za-z0-9_.-]{0,40}[\"']?[ \t]{0,9}[=:][ \t]{0,9})(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;]+)",
            re.IGNORECASE,
        ),
        rf"\1{_REDACTED}",
    ),
)

#: Every text that a pattern can change contains one of these, in lower case.
_WORDS = ("://", "authorization", "token", "secret", "passw", "credential", "key")
#: What a driver writes where a process died, with the name of a kernel (``bench.suite.driver.death_marker``).
_OWN = re.compile(r"tfrepro: \S+: [a-z-]+\s*")


def without_credentials(text: str) -> str:
    """Return a text with ``***`` in place of what looks like a password, a token or another credential."""
    return "".join(map(_masked, text.splitlines(keepends=True)))


def _masked(line: str) -> str:
    lower = line.lower()
    if not any(word in lower for word in _WORDS) or _OWN.fullmatch(line):
        return line
    for pattern, replacement in _SECRETS:
        line = pattern.sub(replacement, line)
    return line
