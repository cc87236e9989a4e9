"""Locks: what they hold, how they are made, and what is newer. Indexes here are folders with wheels."""

from __future__ import annotations

import dataclasses
import re
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import uv

from bench.errors import LockError
from bench.plan import column_selection, config, cuda, locks
from bench.plan.column import Pair
from bench.plan.config_models import Defaults

if TYPE_CHECKING:
    from pathlib import Path

CPU = Pair(tensorflow="2.18.1", cuda="cpu", python="3.11", keras="3.15.1", base="")
CUDA = Pair(tensorflow="2.18.1", cuda="12.5", python="3.11", keras="3.15.1", base="", cudnn="9.3.0.75", kind="official")


def shipped(root: Path) -> dict[str, Path]:
    """The lock of every pair of matrix.toml, by stem."""
    rows = column_selection.listed(config.load(root / "matrix.toml"))
    return {row.pair.stem: root / "docker" / "locks" / f"{row.pair.stem}.txt" for row in rows}


def blocks(lock: Path) -> list[str]:
    """Each requirement with its hashes."""
    return re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip())


class TestShipped:
    """The locks in docker/locks."""

    def test_every_pair_has_one_and_there_are_no_others(self, root: Path) -> None:
        assert set(shipped(root)) == {file.stem for file in (root / "docker" / "locks").iterdir()}

    def test_they_have_hashes_and_no_addresses(self, root: Path) -> None:
        for file in shipped(root).values():
            text = file.read_text(encoding="utf-8")
            assert "://" not in text
            assert "--index" not in text
            pinned = locks.pins(file)
            assert text.count("==") == len(pinned)
            assert all("--hash=sha256:" in block for block in text.split("==")[1:])

    def test_each_pins_the_requirements_of_its_pair(self, root: Path) -> None:
        for row in column_selection.listed(config.load(root / "matrix.toml")):
            pinned = locks.pins(shipped(root)[row.pair.stem])
            requested = dict(line.split("==") for line in locks.requirements(row.pair) if "==" in line)
            assert requested.items() <= pinned.items(), row.pair.stem
            nvidia = {name for name in pinned if name.startswith("nvidia-")}
            assert nvidia == {line.split("==")[0] for line in cuda.wheels(row.pair)}, "nothing comes in by itself"
            assert ("tensorflow" in pinned) == (row.pair.cuda != "cpu") == ("tensorflow-cpu" not in pinned)

    def test_a_process_checks_everything_that_matters(self, root: Path) -> None:
        for row in column_selection.listed(config.load(root / "matrix.toml")):
            watched = set(locks.expected(shipped(root)[row.pair.stem]))
            name = "tensorflow-cpu" if row.pair.cuda == "cpu" else "tensorflow"
            assert {"keras", "numpy", "protobuf", name} <= watched
            assert {line.split("==")[0] for line in cuda.wheels(row.pair)} <= watched

    def test_pairs_of_one_release_differ_only_in_cuda_wheels(self, root: Path) -> None:
        """Else a step of CUDA would be a step of NumPy too."""
        rest: dict[str, set[frozenset[tuple[str, str]]]] = {}
        for row in column_selection.listed(config.load(root / "matrix.toml")):
            pinned = locks.pins(shipped(root)[row.pair.stem])
            others = {(name, one) for name, one in pinned.items() if not name.startswith(("nvidia-", "tensorflow-cpu"))}
            rest.setdefault(row.pair.tensorflow, set()).add(frozenset(others - {("tensorflow", row.pair.tensorflow)}))
        assert {release: len(found) for release, found in rest.items()} == dict.fromkeys(rest, 1)

    def test_nvidia_wheels_have_the_same_hashes_in_all_locks(self, root: Path) -> None:
        """So that pairs of one CUDA minor share a layer."""
        found: dict[str, set[str]] = {}
        for file in shipped(root).values():
            for block in blocks(file):
                if block.startswith("nvidia-"):
                    found.setdefault(block.split()[0], set()).add(block)
        assert len(found) > 70
        assert {name for name, texts in found.items() if len(texts) > 1} == set()


def wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """An empty wheel, as an index would have it."""
    made = name.replace("-", "_")
    info = f"{made}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
        f"Requires-Dist: {needs}\n" if needs else ""
    )
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{made}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole index."""
    folder = tmp_path / "index"
    wheel(folder, "tensorflow-cpu", "2.18.1", "numpy<3")
    wheel(folder, "tensorflow", "2.18.1", "numpy<3")
    wheel(folder, "keras", "3.15.1")
    wheel(folder, "numpy", "2.0.2")
    for line in cuda.wheels(CUDA):
        wheel(folder, *line.split("=="))
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "empty").as_uri())
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return folder


class TestMaking:
    """``lock``."""

    def test_a_lock_is_made_once_and_kept(self, index: Path, tmp_path: Path) -> None:
        lock = tmp_path / "locks" / "one.txt"
        assert locks.make(CPU, lock)
        assert locks.pins(lock) == {"keras": "3.15.1", "numpy": "2.0.2", "tensorflow-cpu": "2.18.1"}
        wheel(index, "numpy", "2.0.3")
        assert not locks.make(CPU, lock)
        assert locks.make(CPU, lock, upgrade=True)
        assert locks.pins(lock)["numpy"] == "2.0.3"
        assert str(index) not in lock.read_text(encoding="utf-8")

    def test_no_secret_of_an_index_gets_into_a_lock(
        self, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handler = partial(SimpleHTTPRequestHandler, directory=str(index))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            monkeypatch.delenv("UV_OFFLINE")
            monkeypatch.setenv("UV_FIND_LINKS", f"http://me:t0ken@127.0.0.1:{server.server_port}/")
            locks.make(CPU, tmp_path / "one.txt")
            server.shutdown()
        text = (tmp_path / "one.txt").read_text(encoding="utf-8")
        assert "numpy==2.0.2" in text
        assert not [word for word in ("t0ken", "127.0.0.1") if word in text]

    def test_a_cuda_pair_has_plain_tensorflow_and_the_set(self, index: Path, tmp_path: Path) -> None:
        lock = tmp_path / "one.txt"
        locks.make(CUDA, lock)
        assert locks.pins(lock) == {
            "keras": "3.15.1",
            "numpy": "2.0.2",
            "tensorflow": "2.18.1",
            **dict(line.split("==") for line in cuda.wheels(CUDA)),
        }

    def test_a_new_lock_takes_the_pins_of_its_releases_other_pairs(self, index: Path, tmp_path: Path) -> None:
        """Else a pair that is added later would move NumPy too."""
        locks.make(CPU, tmp_path / f"{CPU.stem}.txt")
        wheel(index, "numpy", "2.0.3")
        added = tmp_path / f"{CUDA.stem}.txt"
        assert locks.make(CUDA, added)
        assert locks.pins(added)["numpy"] == "2.0.2"
        assert "tensorflow-cpu" not in locks.pins(added)

    def test_a_missing_wheel_is_reported_and_the_old_lock_stays(self, index: Path, tmp_path: Path) -> None:
        lock = tmp_path / "one.txt"
        locks.make(CUDA, lock)
        before = lock.read_bytes()
        (index / "nvidia_cufft_cu12-11.2.3.61-py3-none-any.whl").unlink()
        with pytest.raises(LockError, match=r"tf2\.18\.1-cuda12\.5: its wheels cannot be resolved.*nvidia-cufft-cu12"):
            locks.make(CUDA, lock)
        assert lock.read_bytes() == before

    @pytest.mark.fault("uv hangs or is killed while a lock is made", "The error says so, and the old lock stays.")
    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("exec sleep 60", "uv has not finished after 1 s"),
            ("kill -9 $$", r"uv says: \(nothing; its exit status is -9\)"),
        ],
    )
    @pytest.mark.fault(
        "uv hangs or is killed while a lock is made",
        "The error says so, and the earlier lock is unchanged.",
    )
    def test_a_uv_that_hangs_or_is_killed_is_reported(
        self, script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "uv"
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setattr("bench.plan.locks.uv.find_uv_bin", lambda: str(program))
        monkeypatch.setattr(locks, "_LIMIT_S", 1)
        with pytest.raises(LockError, match=message):
            locks.make(CPU, tmp_path / "one.txt")

    def test_a_uv_that_is_killed_once_is_started_again(
        self, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "uv"
        once = f"[ -e {tmp_path}/once ] || {{ touch {tmp_path}/once; kill -9 $$; }}"
        program.write_text(f'#!/bin/sh\n{once}\nexec {uv.find_uv_bin()} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setattr("bench.plan.locks.uv.find_uv_bin", lambda: str(program))
        assert locks.make(CPU, tmp_path / "one.txt")

    def test_the_numpy_of_a_pair_is_pinned(self, index: Path, tmp_path: Path) -> None:
        wheel(index, "numpy", "1.26.4")
        lock = tmp_path / "one.txt"
        locks.make(dataclasses.replace(CPU, numpy="1.26.4"), lock)
        assert locks.pins(lock)["numpy"] == "1.26.4"

    def test_further_packages_are_in_the_lock_with_what_they_need(self, index: Path, tmp_path: Path) -> None:
        wheel(index, "tf-keras", "2.18.0", "scipy\nRequires-Dist: tensorflow<2.19,>=2.18")
        wheel(index, "scipy", "1.14.1")
        wheel(index, "scipy", "1.14.2")
        lock = tmp_path / "one.txt"
        pair = dataclasses.replace(CPU, name="mine", packages=("tf_keras==2.18.0", "scipy<1.14.2"))
        locks.make(pair, lock)
        assert (locks.pins(lock)["tf-keras"], locks.pins(lock)["scipy"]) == ("2.18.0", "1.14.1")
        assert "tensorflow" not in locks.pins(lock), "its files would overwrite those of tensorflow-cpu"
        assert lock.read_text(encoding="utf-8").count("--hash=sha256:") == 5
        assert locks.check(pair, lock) == ("scipy 1.14.2 is available, the lock has 1.14.1",)

    def test_one_numpy_in_the_locks_of_all_releases_since_2_14(self, root: Path) -> None:
        pinned = {path.name: locks.pins(path)["numpy"] for path in (root / "docker" / "locks").glob("*.txt")}
        others = {name: version for name, version in pinned.items() if version != Defaults().numpy}
        assert {name.partition("-")[0] for name in others} <= {"tf2.12.1", "tf2.13.1"}


class TestChecking:
    """``lock --check``."""

    def test_without_newer_releases_nothing_is_reported(self, index: Path, tmp_path: Path) -> None:
        lock = tmp_path / "one.txt"
        locks.make(CUDA, lock)
        assert locks.check(CUDA, lock) == ()

    def test_newer_patch_releases_are_reported_and_nothing_changes(self, index: Path, tmp_path: Path) -> None:
        lock = tmp_path / "one.txt"
        locks.make(CUDA, lock)
        before = lock.read_bytes()
        newer = {"tensorflow": "2.18.10", "keras": "3.15.2", "nvidia-cudnn-cu12": "9.3.1.1"}
        newer |= {"nvidia-cublas-cu12": "12.5.4.1", "nvidia-cufft-cu12": "11.2.3.70"}
        for name, version in newer.items():
            wheel(index, name, version)
        assert set(locks.check(CUDA, lock)) == {
            f"{name} {version} is available, the lock has {locks.pins(lock)[name]}" for name, version in newer.items()
        }
        assert lock.read_bytes() == before

    def test_another_minor_or_toolkit_is_not_a_patch_release(self, index: Path, tmp_path: Path) -> None:
        lock = tmp_path / "one.txt"
        locks.make(CUDA, lock)
        others = {"tensorflow": "2.19.1", "keras": "3.16.0", "nvidia-cudnn-cu12": "9.10.2.21", "numpy": "2.0.3"}
        others |= {"nvidia-cublas-cu12": "12.6.4.1", "nvidia-cusparse-cu12": "12.5.4.2"}
        for name, version in others.items():
            wheel(index, name, version)
        wheel(index, "tensorflow", "2.18.2rc1")
        assert locks.check(CUDA, lock) == ()

    def test_without_a_lock_there_is_nothing_to_check(self, tmp_path: Path) -> None:
        with pytest.raises(LockError, match="cannot be read"):
            locks.check(CPU, tmp_path / "none.txt")

    @pytest.mark.fault("The package index does not answer while a lock is made", "The error says so.")
    def test_an_index_that_does_not_answer_is_reported(
        self, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock = tmp_path / "one.txt"
        locks.make(CPU, lock)
        for name in ("UV_OFFLINE", "UV_FIND_LINKS"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        with pytest.raises(LockError, match="the package index cannot be reached") as caught:
            locks.check(CPU, lock)
        assert "UV_DEFAULT_INDEX" in caught.value.hint
