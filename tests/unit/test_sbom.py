"""The CycloneDX documents: valid, complete as far as the lock goes, and open about what they do not list."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from bench import cli, errors
from bench.engines import docker_probe
from bench.plan import locks, sbom
from bench.plan.column import Column, Pair
from tests.reference_pages import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LOCKS = sorted((ROOT / "docker" / "locks").glob("*.txt"))
IMAGE = {
    "image": "sha256:" + "a" * 64,
    "tag": "tfrepro/tf2.18.1-cpu-py311:aaaaaaaaaaaa",
    "digest": "",
    "base": "python:3.11-slim-bookworm",
    "base_id": "sha256:" + "b" * 64,
    "python": "3.11.2",
}


def invalid(document: dict[str, Any]) -> object:
    """What the CycloneDX schema has against a document; None for a valid one."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


def column(lock: Path) -> Column:
    pair = Pair(tensorflow="2.18.1", cuda="cpu", python="3.11", keras="3.15.1", base=IMAGE["base"])
    return Column(pair=pair, device="cpu", lock=lock)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_lock_gives_a_document_with_every_package_and_hash(lock: Path) -> None:
    packages = sbom.document(column(lock), {})["components"][1:]
    assert {package["name"]: package["version"] for package in packages} == locks.pins(lock)
    files = [file for package in packages for file in package["externalReferences"]]
    listed = [accepted["content"] for file in files for accepted in file["hashes"]]
    assert sorted(listed) == sorted(part[:64] for part in lock.read_text(encoding="utf-8").split("sha256:")[1:])


@pytest.mark.parametrize(("name", "image"), [("tf2.18.1-cpu-py311", IMAGE), ("tf2.18.1-cuda12.5-py311", {})])
def test_documents_are_valid(name: str, image: dict[str, str]) -> None:
    assert invalid(sbom.document(column(ROOT / "docker" / "locks" / f"{name}.txt"), image)) is None


def test_an_image_is_described_by_its_id_base_and_python() -> None:
    document = sbom.document(column(LOCKS[0]), IMAGE)
    assert document == sbom.document(column(LOCKS[0]), IMAGE), "the same image gives the same document"
    assert document["serialNumber"] != sbom.document(column(LOCKS[0]), {})["serialNumber"]
    subject = document["metadata"]["component"]
    assert (subject["type"], subject["version"]) == ("container", IMAGE["image"])
    base, python, *_ = document["components"]
    assert (base["name"], base["hashes"][0]["content"]) == (IMAGE["base"], "b" * 64)
    assert (python["name"], python["version"]) == ("CPython", "3.11.2")
    assert document["compositions"] == [{"aggregate": "incomplete", "assemblies": ["environment"]}]


def test_the_validator_refuses_what_is_wrong() -> None:
    document = sbom.document(column(LOCKS[0]), {})
    document["components"][1]["externalReferences"][0]["hashes"][0]["content"] = "short"
    assert invalid(document) is not None


def test_a_lock_without_hashes_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("six==1.17.0\n", encoding="utf-8")
    with pytest.raises(errors.LockError, match="has no hash for six"):
        sbom.document(column(lock), {})


@pytest.fixture
def without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_probe, "probe", lambda: docker_probe.Probe(answers=False, why="there is no Docker"))


@pytest.mark.usefixtures("without_docker")
def test_the_command_writes_a_document_without_docker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sbom", "--env", "tf2.18.1-cpu", "--out", str(tmp_path / "out")]) == errors.OK
    [written] = (tmp_path / "out").iterdir()
    assert written.name == "tf2.18.1-cpu-py311.cdx.json"
    assert invalid(json.loads(written.read_text(encoding="utf-8"))) is None
    shown = capsys.readouterr()
    assert "Images are not described: there is no Docker" in shown.err
    assert "no image on this host" in shown.out


@pytest.mark.usefixtures("without_docker")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    assert cli.main(["sbom", "--env", "tf2.18.1-cpu", "--out", str(tmp_path / "out")]) == errors.ENGINE
    assert "cannot be written" in capsys.readouterr().err
