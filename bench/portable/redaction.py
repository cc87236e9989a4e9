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
            r"[A-Za-z0-9_.-]{0,40}[\"']?\s{0,9}[=:]\s{0,9})(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;]+)",
            re.IGNORECASE,
        ),
        rf"\1{_REDACTED}",
    ),
)

#: Every text that a pattern can change contains one of these, in lower case.
_WORDS = ("://", "authorization", "token", "secret", "passw", "credential", "key")


def without_credentials(text: str) -> str:
    """Return a text with ``***`` in place of what looks like a password, a token or another credential."""
    lower = text.lower()
    if not any(word in lower for word in _WORDS):  # much faster than the patterns, and most texts have none of them
        return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
