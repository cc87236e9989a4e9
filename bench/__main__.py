"""Entry point of ``python -m bench``, also installed as ``tfrepro``.

``local`` must work in any environment with numpy and tensorflow, from Python 3.9 on, so it is started before anything
is imported that needs another package or a newer Python.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["local"]:
        from bench.portable.local import main as local  # noqa: PLC0415 - see the docstring of the module

        return local(words[1:])
    from bench.cli import main as cli  # noqa: PLC0415 - see the docstring of the module

    return cli(words)


if __name__ == "__main__":
    sys.exit(main())
