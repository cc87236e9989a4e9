"""Read a file that lists hosts, one name for ssh in each line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.portable.overrides import host_name
from bench.regular_file import read_text

if TYPE_CHECKING:
    from pathlib import Path

_HINT = "Each line has one name, as in `ssh NAME`; user, port and keys belong in the configuration of ssh."


def read_hosts(path: Path) -> tuple[str, ...]:
    """Return the hosts of a file, in its order; ``#`` begins a comment.

    Raises:
        ConfigError: the file cannot be read, names no host, or a line is not one name or repeats an earlier one.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be read: {reason}.", "Name a file with one host per line.") from error
    found: list[str] = []
    for number, line in enumerate(lines, 1):
        host = line.partition("#")[0].strip()
        try:
            host_name(host)
        except argparse.ArgumentTypeError as error:
            raise ConfigError(f"{path}, line {number}: {error}.", _HINT) from error
        if host in found:
            raise ConfigError(f"{path}, line {number}: {host} is listed twice.", "Remove one of the lines.")
        found += [host] if host else []
    if not found:
        raise ConfigError(f"{path} lists no host.", _HINT)
    return tuple(found)
