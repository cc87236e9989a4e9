"""Entry point of ``python -m bench``, also installed as ``tfrepro``.

``local`` must work in any environment with numpy and tensorflow, so it is started before anything is imported that
needs another package or a newer Python. Every Python 3 can read this file, so that an old one gets a sentence.
"""

import os
import sys

TYPE_CHECKING = False  # as in typing, whose import takes long enough to be interrupted
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: The oldest Python of the other commands; pyproject.toml has the same.
HOST_PYTHON = (3, 11)


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run one command and return its exit code. Everything is imported here, so that Ctrl-C leaves no traceback."""
    _open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        problem = too_old(words, sys.version_info)
        if problem:
            sys.stderr.write("error: " + problem + "\n")
            return 2
        if words[:1] == ["local"]:
            from bench.portable.local import main as local  # noqa: PLC0415 - see the docstring of the module

            return local(words[1:])
        from bench.cli import main as cli  # noqa: PLC0415 - see the docstring of the module

        return cli(words)
    except KeyboardInterrupt:  # while modules are imported; the commands handle their own
        sys.stderr.write("\ninterrupted\n")
        return 130


def _open_closed_streams() -> None:
    """Open the null device for standard streams that the caller closed: no other file may get their descriptors."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:  # noqa: PLR2004 - the descriptor of standard error
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w"))


def too_old(words: "Sequence[str]", version: "Sequence[Any]") -> str:
    """Return why a Python of this version cannot run a command, "" if it can."""
    from bench.suite import oldest_versions  # noqa: PLC0415 - see ``main``

    local = words[:1] == ["local"]
    if tuple(version[:2]) >= (oldest_versions.PYTHON if local else HOST_PYTHON):
        return ""
    found = "this is Python {}.{}.{}".format(*version[:3])
    return oldest_versions.needs("tfrepro local", found) if local else f"tfrepro needs Python 3.11 ({found})."


if __name__ == "__main__":
    sys.exit(main())
