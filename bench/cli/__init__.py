"""The command line: ``python -m bench``, also installed as ``tfrepro``. ``bench.errors`` lists the exit codes."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from typing import TYPE_CHECKING

from bench import errors
from bench.cli.parser import MODULES, parser
from bench.cli.streams import Streams
from bench.portable.errors import PortableError
from bench.portable.terminate import interrupt_on_signals
from bench.report import formatting

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Commands whose results are files; what they print is a summary.
_WRITES_PAGES = frozenset({"matrix", "nightly", "report", "import"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A traceback is shown only with ``--debug``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = parser(words[:1] if words and words[0] in MODULES else MODULES)
    if any("\0" in word for word in words):  # no file has such a name, and no process gets such an argument
        commands.error("an argument has a null character")
    options = commands.parse_args(words)
    options.command = shlex.join(["python", "-m", "bench", *words])
    interrupt_on_signals()
    streams = Streams()
    try:
        return _flushed(int(options.run(options)), options.name, streams)
    except (errors.TfreproError, PortableError) as error:
        if options.debug:
            traceback.print_exc()
        print(f"error: {formatting.clean(str(error), lines=True)}", file=sys.stderr)
        if error.hint:
            print(f"\nhint: {formatting.clean(error.hint, lines=True)}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        if options.name in {"matrix", "nightly", "bisect"}:
            print(
                "Finished rounds are kept: run the same command again to resume, or nox -s report to see them.",
                file=sys.stderr,
            )
        return errors.INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe before the command ended, so no gate was checked: this is not a pass.
        _discard_output()
        return errors.UNREAD
    except Exception as error:
        if options.debug:
            raise
        print(f"internal error: {type(error).__name__}: {error}", file=sys.stderr)
        print("\nhint: run it again with --debug and report the output", file=sys.stderr)
        return errors.ENGINE


def _flushed(code: int, command: str, streams: Streams) -> int:
    """Return ``code`` once the output is written; the command has ended, so a reader that left changes nothing.

    Raises:
        StorageError: it was lost, and is all that the command produces.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    if streams.problem:
        message = f"The output could not be written: {streams.problem.strerror}."
        if command not in _WRITES_PAGES:
            raise errors.StorageError(message, "Free some disk space, or redirect the output elsewhere.")
        print(f"warning: {message} The pages are complete.", file=sys.stderr)
    return code


def _discard_output() -> None:
    """Send what is still buffered to the null device, so that the interpreter does not fail when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
