"""Remove what this project created on this host, and nothing else.

That is its containers, the images built or pulled here, virtual environments, staged suites and downloaded wheels. An
image that somebody else built FROM one of ours inherits our labels; it is kept, because its name is not one that this
project assigns. Reports are kept, and so are the caches of uv and BuildKit, which other projects share.
"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from docker.errors import APIError

from bench.engines import _dockerrun, _images
from bench.engines._dockerd import TROUBLE, connect, reason_of
from bench.engines._dockerrun import PROJECT
from bench.engines.usage_lock import KERNEL_FILES, cache_folder, exclusive
from bench.errors import BusyError, EngineError
from bench.portable.scratch import remove_abandoned
from bench.suite.kernel_files import remove_copy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from docker.client import DockerClient
    from docker.models.images import Image

_BASE = "org.tfrepro.base"
#: Characters of a lock's hash in the name of its virtual environment.
_LOCK_DIGITS = 16
#: The image comment that ``docker import`` sets in docker/base/make.sh; images derived from it have another comment.
_BASE_COMMENT = "docker/base/make.sh"
#: Subfolder of the cache -> the names this project creates in it; anything else is not ours and is kept.
_CACHED = {
    "venvs": re.compile(r"tf[\w.-]+-py\d+-[0-9a-f]{16}(\.lock)?"),
    "suites": re.compile(r"[0-9a-f]{64}|\.new-\w+"),
    KERNEL_FILES: re.compile(r"[0-9a-f]{64}|\.new-\w+"),
    "bundled-wheels": re.compile(r"[\w.+-]+\.whl|\.lock"),
}


def clean(*, cache: Path | None = None, dry: bool = False, everything: bool = False) -> tuple[str, ...]:
    """Clean up and return one sentence for each thing removed (or that ``dry`` would remove) or kept, with the reason.

    Args:
        cache: the cache folder; None for the user's.
        dry: report only, remove nothing.
        everything: also remove the base image that docker/base/make.sh imported, unless something else is built on it.

    Raises:
        BusyError: a run is using what would be removed.
    """
    folder = cache or cache_folder()
    with exclusive(folder):
        abandoned = 0 if dry else remove_abandoned()
        scratch = (f"removed {abandoned} temporary folders of killed runs",) if abandoned else ()
        return (*_docker(dry=dry, everything=everything), *_folders(folder, dry=dry), *scratch)


def remove_unused(used: Collection[str], days: int, cache: Path | None = None) -> tuple[str, ...]:
    """Remove images and virtual environments older than so many days whose lock is not in use.

    Args:
        used: hashes of locks whose environments are kept, whatever their age.
        days: environments that were made more recently are kept, too.
        cache: the cache folder; None for the user's.

    Returns:
        One sentence for each thing that was removed, or kept against the rule.

    Raises:
        BusyError: a run is using the cache.
    """
    folder, oldest = cache or cache_folder(), time.time() - days * 86400
    messages: list[str] = []
    with exclusive(folder):
        starts = {lock[:_LOCK_DIGITS] for lock in used}
        for path in sorted((folder / "venvs").glob("*")):
            ours = _CACHED["venvs"].fullmatch(path.name) and path.is_dir() and not path.is_symlink()
            if ours and path.name.rpartition("-")[2] not in starts and path.stat().st_mtime < oldest:
                try:
                    shutil.rmtree(path)
                    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
                    messages.append(f"removed {path.name}, which no run has used for {days} days")
                except OSError as error:
                    messages.append(f"{path.name} cannot be removed: {error.strerror}")
        return (*messages, *_unused_images(used, oldest))


def _unused_images(used: Collection[str], oldest: float) -> list[str]:
    """Untag the images of this project that are older than a Unix time and whose lock is not in use."""
    try:
        client = connect(timeout=60)
    except EngineError:
        return []
    messages: list[str] = []
    try:
        for image in client.images.list(filters={"label": f"{PROJECT}=tfrepro"}):
            recipe, names = _images.recipe_from(image.labels or {}), list(_images.own_tags(image))
            created = datetime.fromisoformat(str(image.attrs["Created"])[:19]).replace(tzinfo=UTC).timestamp()
            if recipe and names and recipe.lock not in used and created < oldest:
                messages.append(_untag(client, image, names, dry=False))
    except TROUBLE as error:
        messages.append(f"images were not removed: {reason_of(error)}")
    finally:
        client.close()
    return messages


def _docker(*, dry: bool, everything: bool) -> list[str]:
    try:
        client = connect(timeout=60)
    except EngineError as error:
        return [f"Docker was skipped: {error}"]
    try:
        messages = [*_containers(client, dry=dry), *_project_images(client, dry=dry)]
        if everything:
            messages += _base_images(client, dry=dry)
        return [*messages, *_build_cache(client)]
    except TROUBLE as error:
        raise EngineError(f"The Docker daemon reported an error during the clean-up: {reason_of(error)}.") from error
    finally:
        client.close()


def _containers(client: DockerClient, *, dry: bool) -> Iterator[str]:
    """Remove orphaned containers, by the same rule as the sweep before a run.

    Raises:
        BusyError: a container belongs to a process that is still running.
    """
    containers = _dockerrun.containers_here(client)
    if any(_dockerrun.owner_lives(_dockerrun.owner_of(container)) for container in containers):
        raise BusyError("A run is measuring in a container right now.", "Wait until it has finished, then clean up.")
    for container in containers:
        identity = str(container["Id"])
        if dry or _dockerrun.remove(client, identity):
            yield f"{_removed(dry=dry)} container {identity[:12]}"


def _project_images(client: DockerClient, *, dry: bool) -> Iterator[str]:
    for image in client.images.list(filters={"label": f"{PROJECT}=tfrepro"}):
        recipe = _images.recipe_from(image.labels or {})
        # An interrupted build leaves its temporary tag behind.
        leftovers = [tag for tag in image.tags if recipe and tag.startswith(f"{recipe.repository}:build-")]
        names = [*_images.own_tags(image), *leftovers]
        if names:
            yield _untag(client, image, names, dry=dry)


def _untag(client: DockerClient, image: Image, names: list[str], *, dry: bool) -> str:
    """Remove our tags from an image; Docker deletes the image with its last tag unless it is in use."""
    size = f"{image.attrs['Size'] / 1e9:.1f} GB, part of it may be shared with other images"
    others = sorted(set(image.tags) - set(names))
    try:
        for name in [] if dry else names:
            client.images.remove(name)
    except APIError as error:
        return f"kept image {names[0]}: {reason_of(error)}"
    if others:
        return f"{_removed(dry=dry)} tag {names[0]}; the image is kept as {', '.join(others)}"
    return f"{_removed(dry=dry)} image {names[0]} ({size})"


def _base_images(client: DockerClient, *, dry: bool) -> Iterator[str]:
    for image in client.images.list(filters={"label": _BASE}):
        if not str(image.attrs.get("Comment", "")).startswith(_BASE_COMMENT):
            continue
        name = image.tags[0] if image.tags else image.short_id
        user = _user_of(client, image, dry=dry)
        if user:
            yield f"kept base image {name}: {user} is built on it"
            continue
        if not dry:
            client.images.remove(str(image.id), force=len(image.tags) > 1)
        yield f"{_removed(dry=dry)} base image {name}"


def _user_of(client: DockerClient, base: Image, *, dry: bool) -> str:
    """Return a container or image that is built on a base image, or "" if there is none."""
    for container in client.api.containers(all=True):
        if container["ImageID"] == base.id:
            return f"container {str(container['Id'])[:12]}"
    layers = base.attrs["RootFS"].get("Layers") or []
    for image in client.images.list():
        image_layers = image.attrs["RootFS"].get("Layers") or []
        # In a real clean-up our own images are already gone here; in a dry run they are still listed.
        would_be_gone = dry and bool(_images.own_tags(image))
        if image.id != base.id and image_layers[: len(layers)] == layers and not would_be_gone:
            return f"image {image.tags[0] if image.tags else image.short_id}"
    return ""


def _build_cache(client: DockerClient) -> Iterator[str]:
    entries = client.df().get("BuildCache") or ()
    size = sum(int(entry.get("Size") or 0) for entry in entries if not entry.get("Shared"))
    if size:
        yield (
            f"kept BuildKit's cache ({size / 1e9:.1f} GB, shared with other projects); "
            "to remove it: docker builder prune"
        )


def _folders(cache: Path, *, dry: bool) -> list[str]:
    """Remove what carries one of our names in the cache, and its subfolders once they are empty."""
    messages = []
    for kind, pattern in _CACHED.items():
        folder = cache / kind
        paths = sorted(path for path in folder.glob("*") if pattern.fullmatch(path.name) and not path.is_symlink())
        counted = [path for path in paths if not path.name.endswith(".lock") and not path.name.startswith(".")]
        for path in [] if dry else paths:
            _remove(path)
        if counted:
            messages.append(f"{_removed(dry=dry)} {len(counted)} {kind} in {folder}")
        if not dry:
            with suppress(OSError):  # it is not empty: something in it is not ours
                folder.rmdir()
    if messages:
        messages.append("kept uv's cache; to remove it: uv cache clean")
    return messages


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
    elif path.parent.name == KERNEL_FILES:  # read-only
        remove_copy(path)
    else:
        shutil.rmtree(path)


def _removed(*, dry: bool) -> str:
    return "would remove" if dry else "removed"
