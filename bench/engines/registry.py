"""Images for a fleet: built and pushed once, pulled by the others under a name that follows from the recipe.

The Docker client's own configuration has the credentials; nothing of them is read or written here.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from docker.errors import ImageNotFound, NotFound

from bench.engines import _images
from bench.engines._dockerd import TROUBLE, reason_of
from bench.errors import BuildError, ConfigError, EngineError

if TYPE_CHECKING:
    from docker.client import DockerClient
    from docker.models.images import Image

    from bench.engines._images import Recipe


#: A host with a dot or a port, or localhost; then folders. Without such a host Docker means its public hub.
_NAMED = re.compile(
    r"(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5}))"
    r"(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
)


def named(registry: str) -> str:
    """The name of a registry, without a slash at its end.

    Raises:
        ConfigError: it is none. The message does not repetition it, for a password may stand in it.
    """
    name = registry.removesuffix("/")
    if not _NAMED.fullmatch(name):
        raise ConfigError(
            "What stands for REGISTRY is no name of a registry.",
            "Name a host and folders in small letters, as in host.example:5000/team; "
            "no https:// before it and no password, which 'docker login' keeps.",
        )
    return name


def push(client: DockerClient, image: Image, recipe: Recipe, registry: str) -> str:
    """Push an image; returns the digest that the registry gave it, ``sha256:...``.

    Raises:
        EngineError: the registry took it not, with its own words.
    """
    repository = recipe.remote(registry)
    try:
        image.tag(repository, tag=recipe.tag)
        for row in client.images.push(repository, tag=recipe.tag, stream=True, decode=True):
            if "error" in row:
                raise EngineError(f"{registry} did not take the image of {recipe.pair}: {row['error']}", _LOGIN)
            if "aux" in row:
                return str(row["aux"]["Digest"])
    except TROUBLE as error:
        raise EngineError(f"{registry} did not take the image of {recipe.pair}: {reason_of(error)}", _LOGIN) from error
    raise EngineError(f"{registry} took the image of {recipe.pair} and told no digest of it", "push it again")


_LOGIN = "is it a registry, does it answer, and may you push there ('docker login')?"


def local(client: DockerClient, recipe: Recipe, registry: str) -> Image | None:
    """The image that was pulled from this registry before, None where it is not here."""
    try:
        return _checked(client.images.get(f"{recipe.remote(registry)}:{recipe.tag}"), recipe, registry)
    except ImageNotFound:
        return None


def pull(client: DockerClient, recipe: Recipe, registry: str) -> Image:
    """Pull the image of a recipe, and give it the name that says it is ours.

    Raises:
        BuildError: it is not there, cannot be had, or is not what its name promises.
    """
    repository = recipe.remote(registry)
    try:
        image = client.images.pull(repository, tag=recipe.tag)
    except NotFound as error:
        raise BuildError(
            f"{registry} has no image of {recipe.pair} for this lock, suite and Dockerfile ({recipe.tag})",
            "push it there from a host that built it (nox -s images -- --push REGISTRY), or leave --from-registry out",
        ) from error
    except TROUBLE as error:
        raise BuildError(
            f"the image of {recipe.pair} could not be pulled from {registry}: {reason_of(error)}",
            "does the registry answer, and may you pull there ('docker login')?",
        ) from error
    try:
        _checked(image, recipe, registry)
    except BuildError:
        with suppress(*TROUBLE):  # its name promises what it is not: it must not be found again
            client.images.remove(f"{repository}:{recipe.tag}")
        raise
    image.tag(recipe.repository, tag=_images.short(image))
    image.reload()
    return image


def _checked(image: Image, recipe: Recipe, registry: str) -> Image:
    """The image, if its labels are those of the recipe."""
    has = image.labels or {}
    for name, value in recipe.labels().items():
        if has.get(name) != value:
            what = name.removeprefix("org.tfrepro.")
            raise BuildError(
                f"what {registry} has for {recipe.pair} is another image: its {what} is {has.get(name, '')[:40]!r}, "
                f"not {value[:40]!r}",
                "somebody pushed another image under this name: push the right one again",
            )
    return image


def digest_of(image: Image, recipe: Recipe, registry: str = "") -> str:
    """The digest by which a registry knows an image (``host/path@sha256:...``), of this one where it is named.

    Empty where none has it.
    """
    known = [str(one) for one in image.attrs.get("RepoDigests") or ()]
    name = recipe.remote(registry) if registry else f"/{recipe.repository}"
    return next((one for one in known if one.partition("@")[0].endswith(name)), "")
