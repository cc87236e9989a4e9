"""The network settings of this host (index, proxy, CA bundle): passed to installations, kept out of every log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Settings that an installation inside a build needs too.
_PASSED = (
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY", "UV_INSECURE_HOST"),
    *("UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_CONCURRENT_DOWNLOADS"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
_PASSED_PATTERN = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
_CA_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
#: Bytes that BuildKit accepts as one secret.
_SECRET_LIMIT = 500 * 1024


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the index, proxy and timeout settings for a build; pip's index is used if uv has none."""
    passed = {
        name: value
        for name, value in sorted(environ.items())
        if value and (name in _PASSED or _PASSED_PATTERN.fullmatch(name))
    }
    for name in _INDEXES:
        if name in passed:  # folders of this host do not exist inside a build
            remote = [item for item in passed[name].split() if not item.startswith(("file:", "/", "."))]
            passed[name] = " ".join(remote)
    pip_index = environ.get("PIP_INDEX_URL", "")
    if pip_index and not pip_index.startswith(("file:", "/")) and not any(passed.get(name) for name in _INDEXES[:2]):
        passed["UV_DEFAULT_INDEX"] = pip_index
    return {name: value for name, value in passed.items() if value}


def secret_lines(values: Mapping[str, str]) -> str:
    """Return the settings as lines that a POSIX shell can source, whatever the values contain."""
    return "".join("{}='{}'\n".format(name, value.replace("'", "'\\''")) for name, value in values.items())


def ca_bundle(environ: Mapping[str, str]) -> bytes:
    """Return the CA bundle of this host, empty if none is set.

    Raises:
        BuildError: it cannot be read, or is larger than BuildKit accepts as a secret.
    """
    for name in _CA_BUNDLES:
        path = environ.get(name, "")
        if path and Path(path).is_file():
            try:
                content = Path(path).read_bytes()
            except OSError as error:
                raise BuildError(f"the CA bundle in {name} cannot be read: {error.strerror}") from error
            if len(content) > _SECRET_LIMIT:
                raise BuildError(
                    f"the CA bundle in {name} has {len(content):,} bytes, but BuildKit accepts {_SECRET_LIMIT:,}",
                    f"Set {name} to a file with only the authorities that the network of this host needs.",
                )
            return content
    return b""


class Redactor:
    """Replaces the values of the settings in a text, so that no log contains them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        names: dict[str, str] = {}
        for name, value in values.items():
            if name.startswith(("UV_HTTP_", "UV_CONCURRENT_", "UV_INDEX_STRATEGY")) or name.lower() == "no_proxy":
                continue  # numbers and host names that are not secret
            for item in (value, *value.split()):
                names.update(dict.fromkeys(_parts(item), name))
        longest_first = sorted((secret for secret in names if secret), key=len, reverse=True)
        self._names = names
        self._pattern = re.compile("|".join(re.escape(secret) for secret in longest_first)) if longest_first else None

    def __call__(self, text: str) -> str:
        """Return the text with each secret replaced by the name of its setting."""
        return self._pattern.sub(lambda match: f"<{self._names[match[0]]}>", text) if self._pattern else text


def _parts(value: str) -> set[str]:
    """Return a value and, if it is a URL, the parts that a tool may print: host, user, password."""
    parts = {value, value.rstrip("/")}
    try:
        url = urlsplit(value.split("=", 1)[1] if re.match(r"[\w-]+=", value) else value)
        host, user, password = url.hostname, url.username, url.password
    except ValueError:
        return parts
    # Replacing a very short name would make every log unreadable.
    parts |= {part for part in (host, user) if part and len(part) >= len("abcd")}
    return parts | {password or ""}
