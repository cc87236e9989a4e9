"""Removes what this project made on this host, and nothing else.

Its containers, the images that were built or pulled here, virtual environments, staged suites and wheels. An image
that somebody made FROM ours inherits our labels and stays, for its name is not one we give. Reports stay, and so do
the caches of uv and BuildKit, which other projects share.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from docker.errors import APIError

from bench.engines import _dockerrun, _images
from bench.engines._dockerd import TROUBLE, connect, reason_of
from bench.engines._dockerrun import OWNER, PROJECT
from bench.engines.usage_lock import alone, cache_folder
from bench.errors import BusyError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker.client import DockerClient
    from docker.models.images import Image

_BASE = "org.tfrepro.base"
#: What ``docker import`` in docker/base/make.sh leaves as the image's comment; an image made from it has another.
_BASE_COMMENT = "docker/base/make.sh"
#: What lies in the cache folder, by folder: a name that is not one of these is not ours.
_CACHED = {
    "venvs": re.compile(r"tf[\w.-]+-py\d+-[0-9a-f]{16}(\.lock)?"),
    "suites": re.compile(r"[0-9a-f]{64}|\.new-\w+"),
    "bundled-wheels": re.compile(r"[\w.+-]+\.whl|\.lock"),
}


def clean(*, cache: Path | None = None, dry: bool = False, everything: bool = False) -> tuple[str, ...]:
    """Clean up; returns a sentence for each thing removed, or that would be with ``dry``, and for what stays and why.

    ``cache`` is the cache folder, the user's where it is None. ``everything`` takes the base image too that
    docker/base/make.sh imported, if nothing else is made of it.

    Raises:
        BusyError: a run uses what would be removed.
    """
    place = cache or cache_folder()
    with alone(place):
        return (*_docker(dry=dry, everything=everything), *_folders(place, dry=dry))


def _docker(*, dry: bool, everything: bool) -> list[str]:
    try:
        client = connect(timeout=60)
    except EngineError as error:
        return [f"Docker was not looked at: {error}"]
    try:
        said = [*_containers(client, dry=dry), *_ours(client, dry=dry)]
        if everything:
            said += _bases(client, dry=dry)
        return [*said, *_build_cache(client)]
    except TROUBLE as error:
        raise EngineError(f"the Docker daemon gave an error while cleaning up: {reason_of(error)}") from error
    finally:
        client.close()


def _containers(client: DockerClient, *, dry: bool) -> Iterator[str]:
    """Those whose process is gone, as the sweep before a run does it."""
    listed = _dockerrun.containers_here(client)
    if any(_dockerrun.owner_lives(str((one.get("Labels") or {}).get(OWNER, ""))) for one in listed):
        raise BusyError("A run measures in a container right now.", "Wait until it has ended, then clean up.")
    for one in listed:
        if dry or _dockerrun.remove(client, str(one["Id"])):
            yield f"{_removed(dry=dry)} container {str(one['Id'])[:12]}"


def _ours(client: DockerClient, *, dry: bool) -> Iterator[str]:
    for image in client.images.list(filters={"label": f"{PROJECT}=tfrepro"}):
        recipe = _images.recipe_from(image.labels or {})
        left = [tag for tag in image.tags if recipe and tag.startswith(f"{recipe.repository}:build-")]
        names = [*_images.own_tags(image), *left]
        if names:
            yield _untag(client, image, names, dry=dry)


def _untag(client: DockerClient, image: Image, names: list[str], *, dry: bool) -> str:
    """Take our names off an image; the engine removes it with the last one, unless it has others or is in use."""
    size = f"{image.attrs['Size'] / 1e9:.1f} GB, a part of it may be shared"
    others = sorted(set(image.tags) - set(names))
    try:
        for name in [] if dry else names:
            client.images.remove(name)
    except APIError as error:
        return f"image {names[0]} stays: {reason_of(error)}"
    if others:
        return f"{_removed(dry=dry)} the name {names[0]}; the image stays as {', '.join(others)}"
    return f"{_removed(dry=dry)} image {names[0]} ({size})"


def _bases(client: DockerClient, *, dry: bool) -> Iterator[str]:
    for image in client.images.list(filters={"label": _BASE}):
        if not str(image.attrs.get("Comment", "")).startswith(_BASE_COMMENT):
            continue
        name = image.tags[0] if image.tags else image.short_id
        user = _user_of(client, image, dry=dry)
        if user:
            yield f"base image {name} stays: {user} is made of it"
            continue
        if not dry:
            client.images.remove(str(image.id), force=len(image.tags) > 1)
        yield f"{_removed(dry=dry)} base image {name}"


def _user_of(client: DockerClient, base: Image, *, dry: bool) -> str:
    """What else is made of a base: a container or an image; "" where nothing is."""
    for one in client.api.containers(all=True):
        if one["ImageID"] == base.id:
            return f"container {str(one['Id'])[:12]}"
    layers = base.attrs["RootFS"].get("Layers") or []
    for image in client.images.list():
        over = image.attrs["RootFS"].get("Layers") or []
        goes = dry and bool(_images.own_tags(image))  # without dry it is gone already
        if image.id != base.id and over[: len(layers)] == layers and not goes:
            return f"image {image.tags[0] if image.tags else image.short_id}"
    return ""


def _build_cache(client: DockerClient) -> Iterator[str]:
    cached = sum(int(one.get("Size") or 0) for one in client.df().get("BuildCache") or () if not one.get("Shared"))
    if cached:
        yield (
            f"BuildKit's cache stays ({cached / 1e9:.1f} GB, downloads of all projects among it); "
            "remove it with: docker builder prune"
        )


def _folders(cache: Path, *, dry: bool) -> list[str]:
    """What lies in our folders under a name that we give, and those folders themselves once they are empty."""
    said = []
    for kind, pattern in _CACHED.items():
        folder = cache / kind
        ours = sorted(one for one in folder.glob("*") if pattern.fullmatch(one.name) and not one.is_symlink())
        whole = [one for one in ours if not one.name.endswith(".lock") and not one.name.startswith(".")]
        for one in [] if dry else ours:
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        if whole:
            said.append(f"{_removed(dry=dry)} {len(whole)} {kind} in {folder}")
        if not dry:
            with suppress(OSError):  # something else is in it
                folder.rmdir()
    if said:
        said.append("uv's cache stays; remove it with: uv cache clean")
    return said


def _removed(*, dry: bool) -> str:
    return "would remove" if dry else "removed"
