"""What defines an image: its recipe, its labels and tags, and the build context."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uv

from bench.engines import build_context, network
from bench.engines._dockerrun import PROJECT
from bench.errors import BuildError, EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker.models.images import Image

    from bench.plan.column import Column

PAIR = "org.tfrepro.pair"
LOCK = "org.tfrepro.lock"
SUITE = "org.tfrepro.suite"
RECIPE = "org.tfrepro.recipe"
BASE_NAME = "org.tfrepro.base.name"
BASE_ID = "org.tfrepro.base.id"
REVISION = "org.tfrepro.revision"
_ELF = b"\x7fELF"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that determines the content of an image, except for the content of its base image."""

    pair: str
    lock: str
    suite: str
    dockerfile: str
    base: str

    def labels(self) -> dict[str, str]:
        """Return the labels of its images, except for the revision: several commits can give the same image."""
        return {
            PROJECT: "tfrepro",
            PAIR: self.pair,
            LOCK: self.lock,
            SUITE: self.suite,
            RECIPE: self.dockerfile,
            BASE_NAME: self.base,
        }

    @property
    def repository(self) -> str:
        """The repository of its images on a host: ``tfrepro/tf2.18.1-cuda12.5-py311``."""
        return f"tfrepro/{self.pair.lower()}"

    @property
    def tag(self) -> str:
        """Its tag in a registry, a hash of the recipe, so that every host derives the same image name."""
        text = "\n".join(self.labels().values())
        return f"r-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def remote(self, registry: str) -> str:
        """Return its repository in a registry: a host, or a host with a path; a digest after it plays no part."""
        return f"{registry.partition('@')[0].removesuffix('/')}/{self.repository}"


def recipe_of(root: Path, column: Column) -> Recipe:
    """Return the recipe of a column's image.

    Raises:
        BuildError: the lock or the Dockerfile cannot be read.
    """
    try:
        dockerfile = (root / "docker" / "Dockerfile").read_bytes()
        return Recipe(
            pair=column.pair.stem,
            lock=column.lock_hash(),
            suite=build_context.suite_hash(root),
            dockerfile=hashlib.sha256(dockerfile).hexdigest(),
            base=column.pair.base,
        )
    except OSError as error:
        hint = "Create the lock with 'nox -s lock'." if error.filename == str(column.lock) else ""
        raise BuildError(f"{error.filename} cannot be read: {error.strerror}", hint) from error


def recipe_from(labels: Mapping[str, str]) -> Recipe | None:
    """Return the recipe in the labels of an image; None if it is not an image of this project."""
    if labels.get(PROJECT) != "tfrepro" or PAIR not in labels:
        return None
    return Recipe(
        pair=labels[PAIR],
        lock=labels.get(LOCK, ""),
        suite=labels.get(SUITE, ""),
        dockerfile=labels.get(RECIPE, ""),
        base=labels.get(BASE_NAME, ""),
    )


def short(image: Image) -> str:
    """Return the tag of an image that was built or pulled on this host: the start of its own id."""
    return str(image.id).rpartition(":")[2][:12]


def own_tags(image: Image) -> tuple[str, ...]:
    """Return the tags that this project gave an image, the one of this host first; empty if the image is not ours.

    A committed container and an image built FROM ours inherit all labels, so labels prove nothing. A tag counts only
    if it contains the id of the image, or if it is the registry tag of the recipe next to such a tag.
    """
    recipe = recipe_from(image.labels or {})
    if recipe is None:
        return ()
    own = f"{recipe.repository}:{short(image)}"
    if own not in image.tags:
        return ()
    return (own, *(tag for tag in image.tags if tag.endswith(f"/{recipe.repository}:{recipe.tag}")))


def find_uv() -> Path:
    """Return the uv program of this installation.

    Raises:
        EngineError: it is missing.
    """
    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError as error:
        raise EngineError(
            "the uv program is missing from its Python package", "Reinstall it: pip install --force-reinstall uv"
        ) from error


def context(root: Path, column: Column, program: Path, folder: Path) -> Path:
    """Create the build context inside ``folder``, with exactly the files that the Dockerfile reads, and return it."""
    target = folder / "context"
    target.mkdir()
    binary = program.read_bytes()
    if not binary.startswith(_ELF):
        raise BuildError("the uv program of this host is not a Linux program, so a build cannot use it")
    (target / "uv").write_bytes(binary)
    lock = column.lock.read_text(encoding="utf-8")
    (target / "lock.txt").write_text(lock, encoding="utf-8")
    (target / "cuda.txt").write_text(build_context.cuda_part(lock), encoding="utf-8")
    (target / "cudnn.txt").write_text(build_context.cudnn_part(lock), encoding="utf-8")
    (target / "Dockerfile").write_bytes((root / "docker" / "Dockerfile").read_bytes())
    (target / "verify_install.py").write_bytes((root / "bench" / "suite" / "verify_install.py").read_bytes())
    for file in target.iterdir():
        file.chmod(0o755 if file.name == "uv" else 0o644)
    (target / "suite").mkdir()
    build_context.stage(root, target / "suite")
    return target


def arguments(column: Column, recipe: Recipe, base: Image, revision: str) -> dict[str, str]:
    """Return the build arguments: search paths of the pair and the values of the labels."""
    site = f"/opt/venv/lib/python{column.pair.python}/site-packages"
    lock = column.lock.read_text(encoding="utf-8")
    compiler = build_context.compiler_path(site, lock)
    return {
        "BASE": recipe.base,
        "PYTHON": column.pair.python,
        "BINARIES": f"{compiler}:" if compiler else "",
        "LIBRARIES": build_context.library_path(site, lock),
        "XLA": build_context.xla_flags(site, lock),
        "BASE_NAME": recipe.base,
        "BASE_ID": str(base.id),
        "PAIR": recipe.pair,
        "LOCK": recipe.lock,
        "SUITE": recipe.suite,
        "RECIPE": recipe.dockerfile,
        "REVISION": revision,
    }


def secrets(column: Column, values: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Write the secrets as files that only this user can read, outside the context, and return them by id.

    ``prefetch`` is not secret. It is passed this way because secrets are not part of BuildKit's cache key, so that
    pairs which differ only in it still share the CUDA layer.
    """
    contents = {
        "ca": network.ca_bundle(os.environ),
        "settings": network.secret_lines(values).encode(),
        "prefetch": build_context.rest_part(column.lock.read_text(encoding="utf-8")).encode(),
    }
    files = {}
    for name, content in contents.items():
        files[name] = folder / name
        files[name].touch(mode=0o600)
        files[name].write_bytes(content)
    return files
