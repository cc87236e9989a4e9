"""Every error that a user can meet: one class per kind of failure, each with an exit code.

The message says what happened and why; ``hint`` says what to do. ``cli.main`` prints both and exits with ``code``.
It prints a traceback only with ``--debug``. This table is the one place that defines the exit codes:

====  =========================================================================
code  meaning
====  =========================================================================
0     success
1     a gate failed: the results do not meet what the command line requires
2     the configuration, an option or an input file is wrong
3     nothing was selected, or nothing could be measured
4     an engine, a build or the storage failed
5     a required GPU is missing
130   interrupted (Ctrl-C)
141   the reader of the output went away, as a shell reports SIGPIPE
====  =========================================================================
"""

from __future__ import annotations

OK = 0
GATE = 1
CONFIG = 2
NOTHING = 3
ENGINE = 4
NO_GPU = 5
INTERRUPTED = 130
UNREAD = 141


class TfreproError(Exception):
    """Base class of all errors that are shown to users; ``hint`` says what to do about the error."""

    code = ENGINE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(TfreproError):
    """matrix.toml, an option or a selection is wrong."""

    code = CONFIG


class NothingError(TfreproError):
    """Nothing was selected, or nothing could be measured."""

    code = NOTHING


class EngineError(TfreproError):
    """The engine does not answer or could not run a column; ``status`` is the status that the column gets."""

    code = ENGINE
    status = "mismatch"


class ImageMissingError(EngineError):
    """An image was removed between its build and a round."""

    status = "image-missing"


class BuildError(EngineError):
    """An environment (image or venv) could not be built; the other columns continue."""


class LockError(TfreproError):
    """A lock file is missing, could not be created, or does not match its pair."""

    code = CONFIG


class BusyError(TfreproError):
    """Another process is using the reports folder or the cache."""

    code = ENGINE


class StorageError(TfreproError):
    """The disk is full, or a folder cannot be written."""

    code = ENGINE


class NoGpuError(TfreproError):
    """A GPU was required and is missing."""

    code = NO_GPU
