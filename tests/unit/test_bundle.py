"""Bundles: parts of limited size with the files that the lock pins, refused if any byte differs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import uv

from bench import bundle, cli
from bench.cli import bundle as bundle_command
from bench.engines import _dockercli, install_errors, wheelhouse
from bench.errors import BuildError, ConfigError
from bench.plan import config, locks
from bench.plan.planner import Selection
from bench.portable import bundle_start, run_plan
from bench.portable.launcher import Local
from bench.store.run_info import RunInfo
from bench.suite.kernel_files import STORE_VARIABLE, read_source, stored_hash
from bench.suite.record import Request

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "number"), [("60M", 60 * MIB), ("60MiB", 60 * MIB), ("1G", 1 << 30), ("2097152", 2 * MIB)]
)
def test_sizes_have_units(text: str, number: int) -> None:
    assert bundle.size(text) == number


@pytest.mark.parametrize("text", ["", "60", "M", "-1M", "1.5M", "60T", "512K"])
def test_an_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="Invalid size of a part"):
        bundle.size(text)


def test_the_hashes_of_each_pin_are_read_from_a_lock() -> None:
    one, other = "1" * 64, "2" * 64
    lock = f"""\
# a comment==1
ml-dtypes==0.4.1 \\
    --hash=sha256:{one} \\
    --hash=sha256:{other}
Typing_Extensions==4.1 ; python_version < "3.12" --hash=sha256:{one}
"""
    found = wheelhouse.hashes(lock)
    assert found == {"ml-dtypes==0.4.1": {one, other}, "typing-extensions==4.1": {one}}


@pytest.mark.parametrize("name", ["tf2.18.1-cpu-py311.txt", "tf2.18.1-cuda12.5-py311.txt"])
def test_every_pin_of_a_shipped_lock_has_its_hashes(root: Path, name: str) -> None:
    text = (root / "docker" / "locks" / name).read_text()
    found = wheelhouse.hashes(text)
    assert sum(len(one) for one in found.values()) == text.count("--hash=")
    assert all(found.values())


# --- a bundle of small files that stand for wheels, with the hashes of the lock


@pytest.fixture
def contents(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bundle.BundleContents:
    """A copy of the checkout whose lock pins two small files in the cache."""
    own = tmp_path / "root"
    shutil.copytree(root / "bench", own / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("TFREPRO_CACHE", str(tmp_path / "cache"))
    wheels = tmp_path / "cache" / "bundled-wheels"
    wheels.mkdir(parents=True)
    rows = []
    for name, number in (("tensorflow_cpu-2.18.1", 3 * MIB), ("keras-3.15.1", 100)):
        body = name.encode() * (number // len(name))
        (wheels / f"{name}-py3-none-any.whl").write_bytes(body)
        pin = name.replace("_", "-").replace("-2", "==2").replace("-3", "==3")
        rows.append(f"{pin} \\\n    --hash=sha256:{hashlib.sha256(body).hexdigest()}\n")
    (own / "docker" / "locks").mkdir(parents=True)
    (own / "docker" / "locks" / "tf2.18.1-cpu-py311.txt").write_text("".join(rows))
    return bundle.BundleContents(
        matrix=config.load(root / "matrix.toml"), pair="tf2.18.1-cpu", out=tmp_path / "out", root=own, split=2 * MIB,
        profile="quick", selection=Selection(kernels=("matmul_f32",), rounds=2),
    )  # fmt: skip


def silent(_: str) -> None:
    """Ignore progress."""


def test_the_manifest_has_the_hash_of_every_part(contents: bundle.BundleContents) -> None:
    made = bundle.make(contents, silent)
    manifest = json.loads((contents.out / "manifest.json").read_text())
    assert made.manifest == hashlib.sha256((contents.out / "manifest.json").read_bytes()).hexdigest()
    parts = sorted(path.name for path in contents.out.glob("part-*"))
    assert parts == sorted(manifest["parts"])
    assert len(parts) == made.parts
    sizes = [(contents.out / name).stat().st_size for name in parts]
    assert set(sizes[:-1]) == {2 * MIB}
    assert 0 < sizes[-1] <= 2 * MIB
    for name in parts:
        assert hashlib.sha256((contents.out / name).read_bytes()).hexdigest() == manifest["parts"][name]["sha256"]
    for name in ("run-bundle.sh", "bundle_start.py"):
        content = (contents.out / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == manifest["starters"][name]["sha256"]
    assert {
        "lock.txt",
        "uv",
        "plan-quick.json",
        "root/bench/suite/driver.py",
        "root/bench/portable/run_plan.py",
    } <= set(manifest["files"])
    assert not [
        name for name in manifest["files"] if name.startswith("root/") and name.split("/")[2] in ("plan", "cli")
    ]


def unpacked(contents: bundle.BundleContents, tmp_path: Path) -> Path:
    bundle_start.claim(tmp_path / "work")
    return bundle_start.prepare(contents.out, tmp_path / "work", *bundle_start.read_manifest(contents.out))


def test_the_parts_unpack_to_the_packed_files(contents: bundle.BundleContents, tmp_path: Path) -> None:
    bundle.make(contents, silent)
    folder = unpacked(contents, tmp_path)
    for name in ("bench/suite/driver.py", "bench/portable/bundle_start.py", "bench/__init__.py"):
        assert (folder / "root" / name).read_bytes() == (contents.root / name).read_bytes()
    assert len(list((folder / "wheels").iterdir())) == 2
    assert (folder / "uv").stat().st_mode & 0o111
    stamp = (folder / "lock.txt").stat().st_mtime_ns
    assert (unpacked(contents, tmp_path) / "lock.txt").stat().st_mtime_ns == stamp, "it must be unpacked only once"


def test_no_secret_of_an_index_gets_into_a_bundle(
    contents: bundle.BundleContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting has a secret of its own; files of a bundle are not compressed, so that it could be found."""
    secrets = {}
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "PIP_INDEX_URL",
                 "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "HTTPS_PROXY"):  # fmt: skip
        secrets[name] = f"t0ken-{name}"
        monkeypatch.setenv(name, f"https://me:{secrets[name]}@index.invalid/simple")
    for name in ("UV_INDEX_INHOUSE_USERNAME", "UV_INDEX_INHOUSE_PASSWORD", "UV_PUBLISH_TOKEN"):
        secrets[name] = f"t0ken-{name}"
        monkeypatch.setenv(name, secrets[name])
    said: list[str] = []
    made = bundle.make(contents, said.append)
    written = b"".join(path.read_bytes() for path in sorted(contents.out.iterdir()))
    assert len(written) > made.bytes
    assert b"tensorflow_cpu-2.18.1-py3-none-any.whl" in written, "the names of files can be found"
    assert not [name for name, secret in secrets.items() if secret.encode() in written or secret in "".join(said)]


KERNELS = (
    "from bench.suite.kernels import kernel\n\n"
    "@kernel(family='own', exercises='x', shapes='[1]', dtypes='float32', source='own')\n"
    "def mine(tf, seed): pass\n"
)


def test_custom_kernels_are_packed_with_their_files(contents: bundle.BundleContents, tmp_path: Path) -> None:
    (tmp_path / "project" / "net").mkdir(parents=True)
    (tmp_path / "project" / "mine.py").write_text(KERNELS, encoding="utf-8")
    (tmp_path / "project" / "net" / "layers.py").write_text("x = 1\n", encoding="utf-8")
    source = read_source(tmp_path / "project")
    bundle.make(dataclasses.replace(contents, sources=(source,), selection=Selection(kernels=("mine",))), silent)
    folder = unpacked(contents, tmp_path)
    assert stored_hash(folder / "kernel-files" / source.hash) == source.hash
    plan = json.loads((folder / "plan-quick.json").read_text())
    assert plan["requests"][0]["kernel_files"] == {"mine": f"{source.hash}/project/mine.py"}
    job = run_plan.make_job(plan, tmp_path / "out2", store=folder / "kernel-files")
    assert [one.hash for one in job.sources] == [source.hash]
    assert isinstance(job.launcher, Local)
    assert job.launcher.environment[STORE_VARIABLE] == str(folder / "kernel-files")


def test_computed_kernels_cannot_be_packed(contents: bundle.BundleContents, tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(KERNELS + "declare = kernel\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"A bundle cannot list computed kernels: loop\.py, line 5"):
        bundle.make(dataclasses.replace(contents, sources=(read_source(tmp_path / "loop.py"),)), silent)


def test_every_profile_has_a_plan(contents: bundle.BundleContents, tmp_path: Path) -> None:
    bundle.make(contents, silent)
    manifest, _ = bundle_start.read_manifest(contents.out)
    assert manifest["profiles"][0] == "quick"
    assert set(manifest["profiles"]) == set(contents.matrix.profiles)
    folder = unpacked(contents, tmp_path)
    for name in manifest["profiles"]:
        plan = json.loads((folder / f"plan-{name}.json").read_text())
        facts = {**plan["run"], "id": "x", "started": "", "finished": ""}
        info = RunInfo.from_json(json.dumps(facts))
        requests = [Request.from_json(json.dumps(one)) for one in plan["requests"]]
        assert {one.column for one in requests} == {info.columns[0].id} == {"tf2.18.1-cpu-py311@cpu"}
        assert info.columns[0].lock_hash == requests[0].context["lock_hash"]
        assert {one.variation for one in requests} == set(info.variations)
        assert all(one.expect["keras"] == "3.15.1" for one in requests)
    (column,) = json.loads((folder / "plan-quick.json").read_text())["run"]["columns"]
    assert column["status"] == "ready"


def test_another_python_has_a_lock_of_its_own(contents: bundle.BundleContents, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = []

    def make(pair: Any, lock: Path) -> bool:
        locked.append((pair.python, lock.name))
        lock.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(contents.root / "docker" / "locks" / "tf2.18.1-cpu-py311.txt", lock)
        return True

    monkeypatch.setattr(locks, "make", make)
    bundle.make(dataclasses.replace(contents, python="3.12"), silent)
    assert locked == [("3.12", "tf2.18.1-cpu-py312.txt")]
    assert bundle_start.read_manifest(contents.out)[0]["python"] == "3.12"


def test_a_gpu_bundle_is_planned_without_a_gpu(contents: bundle.BundleContents, root: Path) -> None:
    """The host that makes the bundle has no GPU; the requests name the libraries that the GPU needs."""
    shutil.copy(root / "docker" / "locks" / "tf2.18.1-cuda12.5-py311.txt", contents.root / "docker" / "locks")
    gpu_contents = dataclasses.replace(contents, pair="tf2.18.1-cuda12.5")
    plans = bundle._plans(gpu_contents, contents.out, silent)
    column = plans["quick"].columns[0]
    assert (column.id, column.status) == ("tf2.18.1-cuda12.5-py311@gpu", "ready")
    requests = bundle._requests(gpu_contents, plans["quick"])
    assert len(requests) == 4
    assert all(one["device"] == "gpu" and not one["gpu"] and one["libraries"] for one in requests)
    assert not bundle._run(gpu_contents, plans["quick"])["columns"][0]["advice"], "it would be about an unknown GPU"


@pytest.mark.parametrize(
    ("changes", "actual"),
    [
        ({"pair": "tf2.18*"}, "a bundle contains one"),
        ({"pair": "nosuch"}, "matches 0 pairs"),
        ({"profile": "nosuch"}, "There is no profile"),
        ({"engine": "docker", "python": "3.12"}, "an image brings its own"),
        ({"python": "3.8"}, "needs Python 3.9 and TensorFlow 2.9"),
        ({"python": "3.20"}, "no wheel for Python 3.20"),
    ],
)
def test_invalid_contents_have_a_clear_error(
    contents: bundle.BundleContents, changes: dict[str, Any], actual: str
) -> None:
    with pytest.raises(ConfigError, match=actual):
        bundle.make(dataclasses.replace(contents, **changes), silent)
    assert not contents.out.exists() or not list(contents.out.iterdir())


def test_a_folder_that_is_not_empty_is_left_alone(contents: bundle.BundleContents) -> None:
    contents.out.mkdir()
    (contents.out / "letter.txt").touch()
    for out in (contents.out, contents.out / "letter.txt"):
        with pytest.raises(ConfigError, match="is not an empty folder"):
            bundle.make(dataclasses.replace(contents, out=out), silent)


def test_the_last_line_of_the_command_is_the_digest_of_the_manifest(
    contents: bundle.BundleContents, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundle_command, "ROOT", contents.root)
    assert cli.main(["bundle", "--env", "tf2.18.1-cpu", "--profile", "quick", "--out", str(contents.out)]) == 0
    digest = hashlib.sha256((contents.out / "manifest.json").read_bytes()).hexdigest()
    assert capsys.readouterr().out.splitlines()[-1] == f"manifest SHA-256 {digest}"


def hanging(path: Path) -> str:
    """A program that does not end."""
    path.write_text("#!/bin/sh\nexec sleep 300\n")
    path.chmod(0o755)
    return str(path)


def test_a_download_that_does_not_end_is_stopped(
    contents: bundle.BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next((tmp_path / "cache" / "bundled-wheels").glob("keras*")).unlink()
    monkeypatch.setattr(uv, "find_uv_bin", lambda: hanging(tmp_path / "uv"))
    monkeypatch.setattr(install_errors, "LIMIT_S", 0.6)
    with pytest.raises(BuildError, match=r"tf2\.18\.1-cpu-py311\.txt has not finished after 0\.01 min"):
        bundle.make(contents, silent)


def test_an_image_that_is_not_saved_in_time_is_reported(
    contents: bundle.BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SimpleNamespace(close=lambda: None, prepare=lambda *_: SimpleNamespace(identity="x", details={"tag": "x"}))
    monkeypatch.setattr(bundle, "DockerEngine", lambda _: engine)  # unit tests reach no engine
    monkeypatch.setattr(_dockercli, "find_cli", lambda _: SimpleNamespace(path=hanging(tmp_path / "docker")))
    monkeypatch.setattr(bundle, "_SAVE_LIMIT_S", 1)
    with pytest.raises(BuildError, match="its image cannot be saved: docker save has not ended within 1 s"):
        bundle.make(dataclasses.replace(contents, engine="docker"), silent)


def test_a_wheel_with_another_hash_is_not_packed(
    contents: bundle.BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = next((tmp_path / "cache" / "bundled-wheels").glob("keras*"))
    wheel.write_bytes(b"edited")
    monkeypatch.setattr(wheelhouse, "_download", lambda *_: None)
    with pytest.raises(BuildError, match=r"keras==3\.15\.1 .*wrong hash"):
        bundle.make(contents, silent)


def test_a_wheel_for_another_python_is_not_packed(tmp_path: Path) -> None:
    """A lock allows the wheels of every Python, and the cache may hold some of them."""
    names = [
        "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "a-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "b-1-cp38-abi3-manylinux2014_x86_64.whl", "c-1-py3-none-any.whl", "d-1-cp312-cp312-win_amd64.whl",
        "e-1-py2.py3-none-manylinux1_x86_64.whl",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    wanted = {f"{name}==1": frozenset({hashlib.sha256(b"x").hexdigest()}) for name in "abcde"}
    found = wheelhouse._matching(tmp_path, wanted, "3.12")
    assert {path.name for path in found.values()} == {names[1], names[2], names[3], names[5]}
    assert wheelhouse._matching(tmp_path, wanted, "3.11")["a==1"].name == names[0]


# --- on the offline host


def start(contents: bundle.BundleContents, *options: str) -> tuple[int, str]:
    """Run the bundle's start script without this checkout; its exit code and output."""
    command = [sys.executable, "-I", str(contents.out / "bundle_start.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    return done.returncode, done.stdout + done.stderr


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_damaged_part_is_named(contents: bundle.BundleContents, tmp_path: Path) -> None:
    bundle.make(contents, silent)
    damage(contents.out / "part-001")
    code, output = start(contents, "--dir", str(tmp_path / "work"))
    assert code == 2
    assert "part part-001 is damaged" in output
    assert not (tmp_path / "work" / "bundle").exists()


def test_a_missing_part_is_named(contents: bundle.BundleContents, tmp_path: Path) -> None:
    bundle.make(contents, silent)
    (contents.out / "part-001").unlink()
    code, output = start(contents, "--dir", str(tmp_path / "work"))
    assert code == 2
    assert "part part-001 is missing" in output


def test_a_damaged_manifest_has_a_clear_error(contents: bundle.BundleContents) -> None:
    bundle.make(contents, silent)
    (contents.out / "manifest.json").write_text("{")
    code, output = start(contents)
    assert code == 2
    assert "manifest.json of the bundle cannot be read" in output


def test_wheels_that_cannot_be_installed_are_an_error(contents: bundle.BundleContents, tmp_path: Path) -> None:
    """uv refuses the files that stand for wheels."""
    bundle.make(contents, silent)
    code, output = start(contents, "--dir", str(tmp_path / "work"), "--profile", "quick")
    assert code == 4
    assert "error: " in output
    assert "Traceback" not in output


def test_the_shell_script_finds_python_and_passes_options_on(contents: bundle.BundleContents) -> None:
    bundle.make(contents, silent)
    command = ["sh", str(contents.out / "run-bundle.sh"), "--help"]
    environment = {"PATH": "/usr/bin:/bin", "TFREPRO_PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0
    assert "--profile" in done.stdout
    lost = subprocess.run(
        ["/bin/sh", *command[1:]], capture_output=True, text=True, check=False, env={"PATH": "/nowhere"}
    )
    assert lost.returncode != 0
