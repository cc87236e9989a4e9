"""Images for several hosts: one host builds and pushes them, the others pull them by a name derived from the recipe.

Credentials stay in the configuration of the Docker client; this module neither reads nor writes them.
"""

from __future__ import annotations

import re
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from docker.errors import ImageNotFound, NotFound

from bench.engines import _images
from bench.engines._dockerd import TROUBLE, connect, reason_of
from bench.errors import BuildError, ConfigError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from docker.client import DockerClient
    from docker.models.images import Image

    from bench.engines._images import Recipe
    from bench.plan.column import Column


#: A host with a dot or a port, or localhost, then a path. Without such a host Docker would use its public hub.
_NAME = re.compile(
    r"(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5}))"
    r"(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def normalized_name(registry: str, *, pull: bool = False) -> str:
    """Check the name of a registry and return it without a trailing slash.

    To ``pull``, it may have a digest, ``@sha256:...``: that of the one image that is pulled.

    Raises:
        ConfigError: it is not a registry name. The message does not repeat it, because it may contain a password.
    """
    host, at, digest = registry.partition("@")
    name = f"{host.removesuffix('/')}{at}{digest}"
    if not _NAME.fullmatch(host.removesuffix("/")) or (at and not (pull and _DIGEST.fullmatch(digest))):
        raise ConfigError(
            "REGISTRY is not the name of a registry.",
            "Use host and path in lower case, as in host.example:5000/team, without https:// and without a password "
            "(log in with 'docker login').",
        )
    return name


def push(client: DockerClient, image: Image, recipe: Recipe, registry: str) -> str:
    """Push an image and return its digest in the registry, ``sha256:...``.

    Raises:
        EngineError: the registry did not accept it; the message has the registry's reason.
    """
    repository = recipe.remote(registry)
    try:
        image.tag(repository, tag=recipe.tag)
        for row in client.images.push(repository, tag=recipe.tag, stream=True, decode=True):
            if "error" in row:
                raise EngineError(f"{registry} did not accept the image of {recipe.pair}: {row['error']}", _LOGIN)
            if "aux" in row:
                return str(row["aux"]["Digest"])
    except TROUBLE as error:
        raise EngineError(
            f"{registry} did not accept the image of {recipe.pair}: {reason_of(error)}", _LOGIN
        ) from error
    raise EngineError(f"{registry} accepted the image of {recipe.pair} but returned no digest", "Push it again.")


_LOGIN = "Check that this is a registry, that it answers, and that you may push there (docker login)."


def local(client: DockerClient, recipe: Recipe, registry: str) -> Image | None:
    """Return the image that was pulled from this registry earlier; None if it is not on this host."""
    try:
        image = client.images.get(f"{recipe.remote(registry)}:{recipe.tag}")
    except ImageNotFound:
        return None
    wanted = registry.partition("@")[2]
    if wanted and not any(digest.endswith(f"@{wanted}") for digest in image.attrs.get("RepoDigests") or ()):
        return None
    return _checked(image, recipe, registry)


def digests(root: Path, columns: Iterable[Column], registry: str) -> dict[str, str]:
    """Return pair -> digest of its image in a registry, for the images of a checkout; nothing is pulled.

    Raises:
        ConfigError: ``registry`` is not the name of a registry.
        EngineError: there is no Docker on this host to ask it.
        BuildError: the registry lacks an image, or does not answer.
    """
    name = normalized_name(registry)
    with closing(connect(timeout=60)) as client:
        return {column.pair.id: digest_in(client, _images.recipe_of(root, column), name) for column in columns}


def digest_in(client: DockerClient, recipe: Recipe, registry: str) -> str:
    """Return the digest of a recipe's image in a registry, ``sha256:...``, without pulling it; raises BuildError."""
    try:
        return str(client.images.get_registry_data(f"{recipe.remote(registry)}:{recipe.tag}").id)
    except NotFound as error:
        raise _missing(recipe, registry) from error
    except TROUBLE as error:
        raise _unreachable(recipe, registry, error) from error


def _missing(recipe: Recipe, registry: str) -> BuildError:
    return BuildError(
        f"{registry} has no image of {recipe.pair} for this lock, suite and Dockerfile ({recipe.tag})",
        "Push it from a host that has built it (nox -s images -- --push REGISTRY), or omit --from-registry.",
    )


def _unreachable(recipe: Recipe, registry: str, error: Exception) -> BuildError:
    return BuildError(
        f"the image of {recipe.pair} could not be pulled from {registry}: {reason_of(error)}",
        "Check that the registry answers and that you may pull there ('docker login').",
    )


def pull(client: DockerClient, recipe: Recipe, registry: str) -> Image:
    """Pull the image of a recipe and tag it as one of ours.

    Raises:
        BuildError: it does not exist, could not be pulled, or is not the image of the recipe.
    """
    repository = recipe.remote(registry)
    try:
        image = client.images.pull(repository, tag=registry.partition("@")[2] or recipe.tag)
    except NotFound as error:
        raise _missing(recipe, registry) from error
    except TROUBLE as error:
        raise _unreachable(recipe, registry, error) from error
    image.tag(repository, tag=recipe.tag)  # an image that is pulled by its digest has no name yet
    try:
        _checked(image, recipe, registry)
    except BuildError:
        with suppress(*TROUBLE):  # it must not be found under this name again
            client.images.remove(f"{repository}:{recipe.tag}")
        raise
    image.tag(recipe.repository, tag=_images.short(image))
    image.reload()
    return image


def _checked(image: Image, recipe: Recipe, registry: str) -> Image:
    """Return the image if its labels match the recipe; raise BuildError otherwise."""
    labels = image.labels or {}
    for name, value in recipe.labels().items():
        if labels.get(name) != value:
            label = name.removeprefix("org.tfrepro.")
            raise BuildError(
                f"the image of {recipe.pair} in {registry} is a different one: its {label} is "
                f"{labels.get(name, '')[:40]!r}, not {value[:40]!r}",
                "A different image was pushed under this name: push the right one again.",
            )
    return image


def digest_of(image: Image, recipe: Recipe, registry: str = "") -> str:
    """Return the digest of an image in a registry (``host/path@sha256:...``), or "" if it is in none.

    ``registry`` selects the registry; by default it is any one.
    """
    digests = [str(digest) for digest in image.attrs.get("RepoDigests") or ()]
    name = recipe.remote(registry) if registry else f"/{recipe.repository}"
    return next((digest for digest in digests if digest.partition("@")[0].endswith(name)), "")
