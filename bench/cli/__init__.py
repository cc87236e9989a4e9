"""``python -m bench``, also installed as ``tfrepro``: the roof over both wings.

Exit codes: 0 ok, 1 a gate failed, 2 bad configuration, 3 nothing selected or measured, 4 engine, build or
storage trouble, 5 a GPU was demanded and is missing, 130 interrupted, 141 the reader of a pipe left.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from bench import errors
from bench.cli import choose, compare, matrix, prepare, report, reproduce
from bench.cli.parser import parser
from bench.portable.errors import PortableError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code and never lets a traceback out without ``--debug``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(_COMMANDS).parse_args(given)
    options.command = shlex.join(["python", "-m", "bench", *given])
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return _flushed(int(options.run(options)))
    except (errors.TfreproError, PortableError) as error:
        if options.debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"\nhint: {error.hint}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        if options.run is matrix.matrix:
            told = "finished rounds are kept, and the same command goes on from there; nox -s report shows them"
            print(told, file=sys.stderr)
        return errors.INTERRUPTED
    except BrokenPipeError:
        # the reader left before the end, and a gate behind it was never asked: that is no pass
        _to_nobody()
        return errors.UNREAD
    except Exception as error:
        if options.debug:
            raise
        print(f"error: this should not have happened: {type(error).__name__}: {error}", file=sys.stderr)
        print("\nhint: run it again with --debug and report what it prints", file=sys.stderr)
        return errors.ENGINE


def _flushed(code: int) -> int:
    """The exit code, once the rest is said: where the reader left only now, all is decided."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nobody()
    except OSError as error:
        _to_nobody()
        message = f"The output could not be written: {error.strerror}."
        raise errors.StorageError(message, "Free some space, or write it elsewhere.") from error
    return code


def _to_nobody() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "matrix": matrix.matrix,
    "plan": matrix.plan,
    "doctor": matrix.diagnose,
    "lock": prepare.lock,
    "images": prepare.images,
    "bundle": prepare.pack,
    "clean": prepare.clean_up,
    "report": report.report_again,
    "import": report.import_records,
    "export": report.sample,
    "diff": report.diverging,
    "reproduce": reproduce.replay,
    "compare": compare.compare,
    "choose": choose.choosing,
    "kernels": report.kernels,
    "schema": report.schema,
}
