"""Remove credentials from what libraries and users' kernels print: in addresses, headers and settings."""

from __future__ import annotations

import re

_REDACTED = "***"
_SECRETS = (
    (re.compile(r"(?<=://)[^/\s\"'<>]+@"), f"{_REDACTED}@"),
    (re.compile(r"(://[^\s?\"'<>]{1,1000}\?)[^\s\"'<>]+"), rf"\1{_REDACTED}"),
    (
        re.compile(
            r"((?:proxy-)?authorization\W{1,4}(?:[a-z]+[ \t]+)?)(?:(?<=digest )[^\n]*|\S[^\n\"']*)", re.IGNORECASE
        ),
        rf"\1{_REDACTED}",
    ),
    (
        re.compile(
            r"((?:token|secret|passw(?:or)?d|passphrase|\bpwd|credential|(?:api|access|private)[ _-]?key)"
            r"[A-Za-z0-9_.-]{0,40}[\"']?[ \t]{0,9}[=:][ \t]{0,9})"
            r"(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;]+)",
            re.IGNORECASE,
        ),
        rf"\1{_REDACTED}",
    ),
    (re.compile(r"(pass(?:word|phrase)[ \t]{1,9}is[ \t]{1,9})\S+", re.IGNORECASE), rf"\1{_REDACTED}"),
    # an option with its value: --token X
    (
        re.compile(r"(--?[a-z-]{0,40}(?:token|secret|password|passphrase|key)[ \t]{1,9})[^\s-]\S*", re.IGNORECASE),
        rf"\1{_REDACTED}",
    ),
    (re.compile(r"((?:set-)?cookie:[ \t]{0,9})[^\n]+", re.IGNORECASE), rf"\1{_REDACTED}"),
    # what is recognised by its form: tokens of GitHub, GitLab, Slack and AWS, and JSON web tokens
    (re.compile(r"(?:gh[oprsu]_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA)[A-Za-z0-9_-]{14,}"), _REDACTED),
    (re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), _REDACTED),
)

#: Every text that a pattern can change contains one of these, in lower case.
_WORDS = (
    *("://", "authorization", "token", "secret", "pass", "pwd", "credential", "key", "cookie"),
    *("gh", "glpat-", "xox", "akia", "asia", "eyj"),
)
#: The lines of a private key that are removed, whatever is in them.
_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
#: What a driver writes where a process died, with the name of a kernel (``bench.suite.driver.death_marker``).
_OWN = re.compile(r"tfrepro: \S+: [a-z-]+\s*")


def without_credentials(text: str) -> str:
    """Return a text with ``***`` in place of what looks like a password, a token or another credential."""
    if "PRIVATE KEY-----" in text:
        text = _KEY.sub(rf"\1 {_REDACTED} \2", text)
    return "".join(map(_masked, text.splitlines(keepends=True)))


def _masked(line: str) -> str:
    lower = line.lower()
    if not any(word in lower for word in _WORDS) or _OWN.fullmatch(line):
        return line
    for pattern, replacement in _SECRETS:
        line = pattern.sub(replacement, line)
    return line
