"""The host's network settings (index, proxy, CA bundle): carried into installations, kept out of every log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Settings of the host's network that an installation inside a build needs too.
_PASSED = (
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY", "UV_INSECURE_HOST"),
    *("UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_CONCURRENT_DOWNLOADS"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
_PASSED_PATTERN = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
_CA_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
#: What BuildKit takes as one secret.
_SECRET_LIMIT = 500 * 1024


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The index, proxy and timeout settings to carry into a build; pip's index where uv has none of its own."""
    taken = {
        name: value
        for name, value in sorted(environ.items())
        if value and (name in _PASSED or _PASSED_PATTERN.fullmatch(name))
    }
    for name in _INDEXES:
        if name in taken:  # a folder of this host does not exist inside a build
            remote = [item for item in taken[name].split() if not item.startswith(("file:", "/", "."))]
            taken[name] = " ".join(remote)
    pip_index = environ.get("PIP_INDEX_URL", "")
    if pip_index and not pip_index.startswith(("file:", "/")) and not any(taken.get(name) for name in _INDEXES[:2]):
        taken["UV_DEFAULT_INDEX"] = pip_index
    return {name: value for name, value in taken.items() if value}


def secret_lines(values: Mapping[str, str]) -> str:
    """The settings as lines that a POSIX shell can source, whatever the values hold."""
    return "".join("{}='{}'\n".format(name, value.replace("'", "'\\''")) for name, value in values.items())


def ca_bundle(environ: Mapping[str, str]) -> bytes:
    """The host's CA bundle, empty where none is set.

    Raises:
        BuildError: it is larger than BuildKit takes as a secret, or cannot be read.
    """
    for name in _CA_BUNDLES:
        path = environ.get(name, "")
        if path and Path(path).is_file():
            try:
                content = Path(path).read_bytes()
            except OSError as error:
                raise BuildError(f"the CA bundle that {name} names cannot be read: {error.strerror}") from error
            if len(content) > _SECRET_LIMIT:
                raise BuildError(
                    f"the CA bundle that {name} names has {len(content):,} bytes; BuildKit takes {_SECRET_LIMIT:,}",
                    f"point {name} to a file with the authorities this host's network needs",
                )
            return content
    return b""


class Redactor:
    """Takes the values of the settings out of a text, so that no log keeps them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        words: dict[str, str] = {}
        for name, value in values.items():
            if name.startswith(("UV_HTTP_", "UV_CONCURRENT_", "UV_INDEX_STRATEGY")) or name.lower() == "no_proxy":
                continue  # numbers and names that stand in every log anyway
            for item in (value, *value.split()):
                words.update(dict.fromkeys(_parts(item), name))
        longest_first = sorted((word for word in words if word), key=len, reverse=True)
        self._names = words
        self._pattern = re.compile("|".join(re.escape(word) for word in longest_first)) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text with each secret replaced by the name of its setting."""
        return self._pattern.sub(lambda match: f"<{self._names[match[0]]}>", text) if self._pattern else text


def _parts(value: str) -> set[str]:
    """A value, and of a URL what a tool may print of it: host, user, password."""
    parts = {value, value.rstrip("/")}
    try:
        url = urlsplit(value.split("=", 1)[1] if re.match(r"[\w-]+=", value) else value)
        host, user, password = url.hostname, url.username, url.password
    except ValueError:
        return parts
    # A very short name would blank out half of every line.
    parts |= {part for part in (host, user) if part and len(part) >= len("abcd")}
    return parts | {password or ""}
