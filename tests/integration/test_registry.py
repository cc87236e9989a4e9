"""Sharing images through a real registry on this host: one engine builds and pushes, another pulls."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import requests
from docker.client import DockerClient
from docker.errors import ImageNotFound

from bench.engines import _images
from bench.engines.docker import DockerEngine
from bench.engines.registry import digest_in
from bench.errors import BuildError, EngineError
from tests.integration.test_docker import BASE, SESSION, make_column, make_root, nothing, request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.plan.column import Column

pytestmark = pytest.mark.docker

CONFIG = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: {root}
http:
  addr: {address}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a registry for the duration of these tests and yield its address."""
    program = shutil.which("docker-registry")
    if program is None:
        if os.environ.get("TFREPRO_REQUIRE_DOCKER") == "1":
            pytest.fail("docker-registry is not installed (the Debian package has that name)")
        pytest.skip("docker-registry is not installed (the Debian package has that name)")
    folder = tmp_path_factory.mktemp("registry")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "config.yml").write_text(CONFIG.format(root=folder / "store", address=address), encoding="utf-8")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(address, folder / "log")
            yield address
        finally:
            process.terminate()
            process.wait(timeout=20)


def wait_for(address: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with requests.get(f"http://{address}/v2/", timeout=2) as answer:
                if answer.ok:
                    return
        except requests.ConnectionError:
            time.sleep(0.1)
    pytest.fail(f"the registry does not answer: {log.read_text(encoding='utf-8')[-500:]}")


@pytest.fixture(scope="module")
def client() -> Iterator[DockerClient]:
    docker = DockerClient.from_env()
    yield docker
    for image in docker.images.list(filters={"label": "org.tfrepro.project=tfrepro"}):
        if SESSION in image.labels.get("org.tfrepro.pair", ""):
            docker.images.remove(str(image.id), force=True)
    docker.close()


def remove_image(client: DockerClient, identity: str) -> None:
    client.images.remove(identity, force=True)
    with pytest.raises(ImageNotFound):
        client.images.get(identity)


def pushed(folder: Path, name: str, registry: str) -> tuple[Path, Column, str, str]:
    """Build and push a column; returns its root, the column, the id of the image and its digest in the registry."""
    root = make_root(folder / "root")
    column = make_column(root, name)
    engine = DockerEngine(root, revision="abc1234")
    environment = engine.prepare(column, folder / "build.log", nothing)
    digest = engine.push(column, registry)
    assert engine.prepare(column, folder / "again.log", nothing).details["digest"].endswith(f"@{digest}")
    engine.close()
    return root, column, environment.identity, digest


def test_what_one_host_pushes_another_pulls_and_runs(client: DockerClient, registry: str, tmp_path: Path) -> None:
    root, column, identity, digest = pushed(tmp_path, "20", registry)
    remove_image(client, identity)
    engine = DockerEngine(root, memory=2**28, registry=registry)
    assert not engine.cached(column)
    pulled = engine.prepare(column, tmp_path / "pull.log", nothing)
    assert (pulled.reused, pulled.identity) == (False, identity)
    repository = f"{registry}/tfrepro/{column.pair.stem}"
    assert pulled.details["digest"] == f"{repository}@{digest}"
    assert pulled.details["image_revision"] == "abc1234"
    assert engine.cached(column)
    assert engine.prepare(column, tmp_path / "again.log", nothing).reused
    lines: list[str] = []
    assert engine.execute(pulled, request(column.id, "facts"), lines.append, tmp_path / "log").exit_code == 0
    engine.close()
    recipe = _images.recipe_of(root, column)
    names = _images.own_tags(client.images.get(identity))
    assert set(names) == {pulled.details["tag"], f"{repository}:{recipe.tag}"}, "both tags can be cleaned up"


def test_an_image_is_pulled_by_its_digest_although_its_name_has_moved_on(
    client: DockerClient, registry: str, tmp_path: Path
) -> None:
    root, column, identity, digest = pushed(tmp_path, "24", registry)
    recipe = _images.recipe_of(root, column)
    assert digest_in(client, recipe, registry) == digest
    # the same recipe, built again: another image under the same name
    again = client.containers.create(identity).commit(
        recipe.remote(registry), tag=recipe.tag, conf={"Labels": recipe.labels()}
    )
    client.images.push(recipe.remote(registry), tag=recipe.tag)
    assert digest_in(client, recipe, registry) != digest
    for container in client.containers.list(all=True, filters={"ancestor": identity}):
        container.remove()
    for image in (str(again.id), identity):
        remove_image(client, image)
    engine = DockerEngine(root, registry=f"{registry}@{digest}")
    assert not engine.cached(column)
    assert engine.prepare(column, tmp_path / "pull.log", nothing).identity == identity
    assert engine.cached(column)
    engine.close()
    other = DockerEngine(root, registry=f"{registry}@sha256:{'0' * 64}")
    assert not other.cached(column)
    with pytest.raises(BuildError, match=r"could not be pulled|has no image"):
        other.prepare(column, tmp_path / "none.log", nothing)
    other.close()


def test_an_image_missing_in_the_registry_is_not_built_instead(registry: str, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    engine = DockerEngine(root, registry=registry)
    with pytest.raises(BuildError, match=r"has no image of .* for this lock, suite and Dockerfile") as caught:
        engine.prepare(make_column(root, "21"), tmp_path / "log", nothing)
    assert "--push" in caught.value.hint
    with pytest.raises(EngineError, match="not on this host"):
        engine.push(make_column(root, "21"), registry)
    engine.close()


@pytest.mark.fault("A registry has another image under the right name", "It is refused.")
def test_another_image_under_the_right_name_is_refused(client: DockerClient, registry: str, tmp_path: Path) -> None:
    _, _, identity, _ = pushed(tmp_path / "one", "22", registry)
    other = make_root(tmp_path / "other")
    column = make_column(other, "22")
    recipe = _images.recipe_of(other, column)
    client.images.get(identity).tag(recipe.remote(registry), tag=recipe.tag)
    assert "error" not in client.images.push(recipe.remote(registry), tag=recipe.tag)
    remove_image(client, identity)
    engine = DockerEngine(other, registry=registry)
    with pytest.raises(BuildError, match=r"is a different one: its lock is '\w+', not '\w+'"):
        engine.prepare(column, tmp_path / "log", nothing)
    assert not engine.cached(column)
    engine.close()
    with pytest.raises(ImageNotFound):
        client.images.get(f"{recipe.remote(registry)}:{recipe.tag}")


@pytest.mark.fault("A registry does not answer", "The error says so.")
def test_a_registry_that_does_not_answer_is_reported(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    column = make_column(root, "23")
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    engine = DockerEngine(root, registry=address)
    with pytest.raises(BuildError, match=f"could not be pulled from {address}"):
        engine.prepare(column, tmp_path / "log", nothing)
    engine.close()
    builder = DockerEngine(root)
    builder.prepare(column, tmp_path / "build.log", nothing)
    with pytest.raises(EngineError, match=f"{address} did not accept the image"):
        builder.push(column, address)
    builder.close()


def test_a_base_image_is_pinned_by_its_digest(client: DockerClient, registry: str, tmp_path: Path) -> None:
    name = f"{registry}/tfrepro-test/base"
    base = client.images.get(BASE)
    base.tag(name, tag="1")
    client.images.push(name, tag="1")
    digest = str(client.images.get_registry_data(f"{name}:1").id)
    client.images.remove(f"{name}:1")
    root = make_root(tmp_path / "root")
    engine = DockerEngine(root)
    try:
        details = engine.prepare(make_column(root, "41", base=f"{name}@{digest}"), tmp_path / "log", nothing).details
        assert (details["base"], details["base_id"]) == (f"{name}@{digest}", base.id)
        with pytest.raises(BuildError, match="could not be pulled"):
            engine.prepare(make_column(root, "41", base=f"{name}@sha256:{'0' * 64}"), tmp_path / "log", nothing)
    finally:
        engine.close()
        client.images.remove(f"{name}@{digest}")
