"""Lists the packages of an environment as a CycloneDX document, from its lock and from what is known of its image."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import bench
from bench.errors import LockError
from bench.plan import locks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plan.column import Column

SPEC_VERSION = "1.6"
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
#: The whole environment, as other parts of the document refer to it.
_ENVIRONMENT = "environment"


def document(column: Column, image: Mapping[str, str]) -> dict[str, Any]:
    """Return the CycloneDX document of a column's environment; the same input gives the same document.

    Args:
        column: the column; a GPU makes no difference.
        image: what the engine knows of its image (``Environment.details``) and its ``python`` version; empty for a
            virtual environment, whose interpreter is that of its host.

    Raises:
        LockError: the lock cannot be read, or has no hash for a package.
    """
    components = [_python(image.get("python", column.pair.python)), *_packages(column)]
    if image:
        components.insert(0, _base(image))
    name = f"{column.pair.stem}\n{column.lock_hash()}\n{image.get('image', '')}"
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "tfrepro", "version": bench.__version__}]},
            "component": {
                "type": "container" if image else "application",
                "bom-ref": _ENVIRONMENT,
                "name": column.pair.stem,
                "version": image.get("image", column.lock_hash()),
                "properties": _properties({"lock": column.lock.name, "lock_hash": column.lock_hash(), **image}),
            },
        },
        "components": components,
        "dependencies": [{"ref": _ENVIRONMENT, "dependsOn": [component["bom-ref"] for component in components]}],
        # what the interpreter and the base image contain is not listed
        "compositions": [{"aggregate": "incomplete", "assemblies": [_ENVIRONMENT]}],
    }


def _packages(column: Column) -> list[dict[str, Any]]:
    """Return a component for each package that a lock pins; its hashes are those of the files that the lock accepts."""
    pins = locks.pins(column.lock)
    blocks = re.split(r"\n(?=\S)", column.lock.read_text(encoding="utf-8"))
    hashes = {block.partition("==")[0].lower().replace("_", "-"): _HASH.findall(block) for block in blocks}
    found = []
    for name, version in pins.items():
        if not hashes.get(name):
            raise LockError(f"The lock {column.lock.name} has no hash for {name}.", "Make it with: nox -s lock")
        purl = f"pkg:pypi/{name}@{version}"
        files = {
            "type": "distribution",
            "url": purl,
            "comment": "the lock accepts a file with any of these hashes; the package index may be a mirror",
            "hashes": [{"alg": "SHA-256", "content": content} for content in hashes[name]],
        }
        package = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        found.append({**package, "externalReferences": [files]})
    return found


def _python(version: str) -> dict[str, Any]:
    """Return the component of the interpreter; only its minor is known of a virtual environment."""
    return {"type": "platform", "bom-ref": "python", "name": "CPython", "version": version}


def _base(image: Mapping[str, str]) -> dict[str, Any]:
    """Return the component of the base image, which its id identifies wherever it came from."""
    identity = image.get("base_id", "")
    hashes = [{"alg": "SHA-256", "content": identity.removeprefix("sha256:")}] if identity else []
    return {
        "type": "container",
        "bom-ref": "base",
        "name": image.get("base", ""),
        "version": identity,
        "hashes": hashes,
    }


def _properties(facts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": f"org.tfrepro.{name}", "value": value} for name, value in sorted(facts.items()) if value]
