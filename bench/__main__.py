"""``python -m bench``, also installed as ``tfrepro``.

``local`` must work in any interpreter with numpy and tensorflow, from Python 3.9 on, so it is started before any other
command is imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["local"]:
        from bench.portable.local import main as local  # noqa: PLC0415

        return local(given[1:])
    from bench.cli import main as cli  # noqa: PLC0415

    return cli(given)


if __name__ == "__main__":
    sys.exit(main())
