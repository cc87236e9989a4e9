"""What an image is made of: its recipe, its labels and names, and the context that a build reads."""

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
    """All that decides what an image holds, the base's own content apart."""

    pair: str
    lock: str
    suite: str
    dockerfile: str
    base: str

    def labels(self) -> dict[str, str]:
        """What an image of this recipe carries. Its revision is no part: another commit can be the same image."""
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
        """The name its images get on a host: ``tfrepro/tf2.18.1-cuda12.5-py311``."""
        return f"tfrepro/{self.pair.lower()}"

    @property
    def tag(self) -> str:
        """Its tag in a registry, the same on every host: who has the recipe knows the name of the image."""
        whole = "\n".join(self.labels().values())
        return f"r-{hashlib.sha256(whole.encode()).hexdigest()[:24]}"

    def remote(self, registry: str) -> str:
        """Its repository in a registry, which may be a host or a host with a path."""
        return f"{registry.removesuffix('/')}/{self.repository}"


def recipe_of(root: Path, column: Column) -> Recipe:
    """What a column's image is made of; raises BuildError where the lock or the Dockerfile cannot be read."""
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
        hint = "make the lock with 'nox -s lock'" if error.filename == str(column.lock) else ""
        raise BuildError(f"{error.filename} cannot be read: {error.strerror}", hint) from error


def recipe_from(labels: Mapping[str, str]) -> Recipe | None:
    """The recipe that an image's labels tell of; None where it is no image of this project."""
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
    """The tag that only an image which was built or pulled here carries: a part of its own id."""
    return str(image.id).rpartition(":")[2][:12]


def own_tags(image: Image) -> tuple[str, ...]:
    """The names this project gave an image, the one of this host first; none where somebody made it from ours.

    A committed container and an image built FROM ours inherit all labels, so a name counts only where it also
    holds the id of the image (here) or the tag of the recipe beside such a name (in a registry).
    """
    recipe = recipe_from(image.labels or {})
    if recipe is None:
        return ()
    own = f"{recipe.repository}:{short(image)}"
    if own not in image.tags:
        return ()
    return (own, *(tag for tag in image.tags if tag.endswith(f"/{recipe.repository}:{recipe.tag}")))


def find_uv() -> Path:
    """The program of uv that this package came with; raises EngineError where it is missing."""
    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError as error:
        raise EngineError("the program of uv is missing beside its Python package", "pip install --force uv") from error


def context(root: Path, column: Column, program: Path, folder: Path) -> Path:
    """Stage below ``folder`` what the Dockerfile reads, and nothing else; returns the context."""
    place = folder / "context"
    place.mkdir()
    binary = program.read_bytes()
    if not binary.startswith(_ELF):
        raise BuildError("uv of this host is no Linux program, so it cannot serve inside a build")
    (place / "uv").write_bytes(binary)
    lock = column.lock.read_text(encoding="utf-8")
    (place / "lock.txt").write_text(lock, encoding="utf-8")
    (place / "cuda.txt").write_text(build_context.cuda_part(lock), encoding="utf-8")
    (place / "cudnn.txt").write_text(build_context.cudnn_part(lock), encoding="utf-8")
    (place / "Dockerfile").write_bytes((root / "docker" / "Dockerfile").read_bytes())
    (place / "verify_install.py").write_bytes((root / "bench" / "suite" / "verify_install.py").read_bytes())
    for file in place.iterdir():
        file.chmod(0o755 if file.name == "uv" else 0o644)
    (place / "suite").mkdir()
    build_context.stage(root, place / "suite")
    return place


def arguments(column: Column, recipe: Recipe, base: Image, revision: str) -> dict[str, str]:
    """The build arguments: search paths of the pair, and what the labels say."""
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
    """The secrets as files that only this user can read, beside the context and not in it.

    ``ahead`` is none: what a build downloads ahead comes the same way, because a step's name must not know it.
    """
    contents = {
        "ca": network.ca_bundle(os.environ),
        "settings": network.secret_lines(values).encode(),
        "ahead": build_context.rest_part(column.lock.read_text(encoding="utf-8")).encode(),
    }
    files = {}
    for name, content in contents.items():
        files[name] = folder / name
        files[name].touch(mode=0o600)
        files[name].write_bytes(content)
    return files
