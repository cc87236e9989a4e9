"""Explain to the user why the Docker daemon cannot run a container."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from docker.errors import APIError, NotFound

from bench.engines import gpu_options
from bench.engines._dockerd import TROUBLE, reason_of
from bench.errors import EngineError, ImageMissingError, NoGpuError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.engines.base import Environment
    from bench.errors import TfreproError


@contextmanager
def naming(environment: Environment) -> Iterator[None]:
    """Put the column into every error of a container that runs in it."""
    try:
        yield
    except EngineError as error:
        raise type(error)(f"{environment.column}: {error}", error.hint) from error
    except TROUBLE as error:
        raise _not_run(environment, error) from error


def _not_run(environment: Environment, error: Exception) -> TfreproError:
    """Explain why a container could not be run, from the error of the daemon."""
    reason = reason_of(error)
    if isinstance(error, NotFound) and "image" in reason.lower():
        return ImageMissingError(
            f"{environment.column}: its image {environment.identity[:19]} was removed after it was prepared",
            "Were images pruned? Run the same command again; the image is rebuilt.",
        )
    if refusal := gpu_options.refusal(reason):
        cause, hint = refusal
        return NoGpuError(f"{environment.column}: Docker cannot pass the GPU into a container: {cause}", hint)
    if isinstance(error, APIError):
        return EngineError(f"{environment.column}: the container could not be run: {reason}")
    return EngineError(
        f"{environment.column}: the Docker daemon does not answer: {reason}", "See the log of the daemon."
    )
