"""What every command of ``python -m bench`` declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: its help text, its options, and the function that runs it.

    ``summary`` is one plain sentence, shown in the list of commands and at the top of ``-h``. ``details`` follows it
    in ``-h``. ``example`` is a command line that works in a checkout. ``run`` returns the exit code.
    """

    name: str
    summary: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    details: str = ""
