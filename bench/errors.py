"""Every error a user can meet: one class per failure, one exit code per class.

A message says what happened, why it may be, and what to do. ``cli.main`` prints it and exits with
``code``; a traceback appears only with ``--debug``.
"""

from __future__ import annotations

OK = 0
GATE = 1
CONFIG = 2
NOTHING = 3
ENGINE = 4
NO_GPU = 5
INTERRUPTED = 130
#: As a shell says of a command that SIGPIPE ended.
UNREAD = 141


class TfreproError(Exception):
    """Base of all errors meant for people. ``hint`` is what to do about it."""

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
    """The engine does not answer, or could not run a column; ``status`` is what that makes of the column."""

    code = ENGINE
    status = "mismatch"


class ImageMissingError(EngineError):
    """An image vanished between its build and a round."""

    status = "image-missing"


class BuildError(EngineError):
    """An environment (image or venv) could not be made; the other columns go on."""


class LockError(TfreproError):
    """A lock is missing, was not made, or does not fit."""

    code = CONFIG


class BusyError(TfreproError):
    """Another run holds the reports folder."""

    code = ENGINE


class StorageError(TfreproError):
    """The disk is full, or a folder cannot be written."""

    code = ENGINE


class NoGpuError(TfreproError):
    """A GPU was demanded and is missing."""

    code = NO_GPU
