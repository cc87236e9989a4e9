"""Staging the suite, splitting a lock into layers, estimating disk space, and cleaning up."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bench.engines import build_context, clean, disk_usage, venv
from bench.engines.build_context import stage, suite_files, suite_hash
from bench.engines.usage_lock import UsageLock, exclusive
from bench.errors import BusyError
from bench.plan.column import Pair

ROOT = Path(__file__).resolve().parents[2]

LOCK = """\
# a comment
absl-py==2.5.1 \\
    --hash=sha256:aa
nvidia-cublas-cu12==12.5.3.2 ; sys_platform == 'linux' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via nothing
nvidia-cuda-nvcc-cu12==12.5.82 \\
    --hash=sha256:dd
nvidia-cudnn-cu12==9.3.0.75 \\
    --hash=sha256:ff
nvidia-nccl-cu12==2.27.7 \\
    --hash=sha256:gg
tensorflow==2.18.1 \\
    --hash=sha256:ee
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "bench/__init__.py": "",
        "bench/cli.py": "not part of the suite",
        "bench/suite/__init__.py": "",
        "bench/suite/driver.py": "print()",
        "bench/suite/kernels/linalg.py": "pass",
        "bench/suite/notes.txt": "no Python",
        "bench/suite/__pycache__/driver.cpython-311.pyc": "binary",
    }
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "root"


def names(root: Path) -> list[str]:
    return [path.as_posix() for path in suite_files(root)]


def test_only_the_suite_and_the_package_root_are_staged(root: Path) -> None:
    assert names(root) == [
        "bench/__init__.py",
        "bench/suite/__init__.py",
        "bench/suite/driver.py",
        "bench/suite/kernels/linalg.py",
    ]


def test_the_hash_covers_content_and_names_of_the_suite_only(root: Path) -> None:
    before = suite_hash(root)
    (root / "bench/cli.py").write_text("changed", encoding="utf-8")
    assert suite_hash(root) == before
    (root / "bench/suite/driver.py").rename(root / "bench/suite/driver2.py")
    renamed = suite_hash(root)
    (root / "bench/suite/driver2.py").write_text("print(1)", encoding="utf-8")
    assert len({before, renamed, suite_hash(root)}) == 3


def test_a_staged_copy_has_the_hash_of_its_source(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    assert len(stage(root, target)) == 4
    assert suite_hash(target) == suite_hash(root)


def test_copies_are_world_readable_under_a_strict_umask(root: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        target = tmp_path / "target"
        target.mkdir()
        copies = stage(root, target)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(copy.stat().st_mode) for copy in copies} == {0o644}
    assert stat.S_IMODE((target / "bench/suite/kernels").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "bench").stat().st_mode) == 0o755


def pinned(part: str) -> list[str]:
    return [line.split("==")[0] for line in part.splitlines() if not line.startswith(" ")]


def test_a_lock_is_split_into_layers_by_whole_requirements() -> None:
    cuda = build_context.cuda_part(LOCK)
    assert pinned(cuda) == ["nvidia-cublas-cu12", "nvidia-cuda-nvcc-cu12"]
    assert [digest in cuda for digest in ("aa", "bb", "cc", "dd", "ee", "ff")] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert pinned(build_context.cudnn_part(LOCK)) == [*pinned(cuda), "nvidia-cudnn-cu12"]
    assert pinned(build_context.rest_part(LOCK)) == ["absl-py", "nvidia-cudnn-cu12", "nvidia-nccl-cu12", "tensorflow"]


def test_a_cpu_lock_has_no_cuda_in_any_layer() -> None:
    lock = "absl-py==2.5.1 \\\n    --hash=sha256:aa\n"
    assert build_context.cuda_part(lock) == build_context.cudnn_part(lock) == ""
    assert build_context.library_path("/site", lock) == build_context.compiler_path("/site", lock) == ""


def test_libraries_and_compiler_have_separate_paths() -> None:
    folders = [f"/site/nvidia/{name}/lib" for name in ("cublas", "cudnn", "nccl")]
    assert build_context.library_path("/site", LOCK) == ":".join(folders)
    assert build_context.compiler_path("/site", LOCK) == "/site/nvidia/cuda_nvcc/bin"


@pytest.mark.parametrize(
    ("release", "needed"), [("2.10.1", True), ("2.13.1", True), ("2.14.1", False), ("2.21.0", False)]
)
def test_old_releases_get_the_path_of_libdevice(release: str, needed: bool) -> None:  # noqa: FBT001
    flags = build_context.xla_flags("/site", LOCK.replace("2.18.1", release))
    assert flags == ("--xla_gpu_cuda_data_dir=/site/nvidia/cuda_nvcc" if needed else "")


def test_a_virtual_environment_of_a_cuda_pair_finds_its_libraries_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver/libcuda.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}/driver:{tmp_path}/other:")
    installation = venv._Installation(folder=tmp_path / "env", python="3.11", lock=LOCK.replace("2.18.1", "2.13.1"))
    seen = venv._minimal_environment(installation, tmp_path / "suite", "/scratch")
    site = f"{tmp_path}/env/lib/python3.11/site-packages"
    assert seen["LD_LIBRARY_PATH"] == f"{build_context.library_path(site, LOCK)}:{tmp_path}/driver"
    assert seen["PATH"] == f"{tmp_path}/env/bin:{site}/nvidia/cuda_nvcc/bin:/usr/bin:/bin"
    assert seen["XLA_FLAGS"] == f"--xla_gpu_cuda_data_dir={site}/nvidia/cuda_nvcc"
    assert seen["CUDA_CACHE_PATH"] == "/scratch/cuda"
    installation = venv._Installation(folder=tmp_path / "env", python="3.11", lock="absl-py==2.5.1")
    cpu = venv._minimal_environment(installation, tmp_path / "suite", "/scratch")
    assert not {"LD_LIBRARY_PATH", "XLA_FLAGS", "CUDA_CACHE_PATH"} & set(cpu)


@pytest.mark.parametrize(
    ("gpu", "seen"), [(None, {}), ("", {"CUDA_VISIBLE_DEVICES": ""}), ("GPU-1", {"CUDA_VISIBLE_DEVICES": "GPU-1"})]
)
def test_a_virtual_environment_shows_one_gpu_or_none(gpu: str | None, seen: dict[str, str]) -> None:
    assert venv._device_environment(gpu) == seen


@pytest.mark.parametrize("minor", ["12.3", "12.5", "12.9"])
def test_shipped_pairs_of_one_cuda_share_a_layer(minor: str) -> None:
    locks = sorted((ROOT / "docker/locks").glob(f"*-cuda{minor}*-py311.txt"))
    assert len(locks) > 1
    assert len({build_context.cuda_part(lock.read_text(encoding="utf-8")) for lock in locks}) == 1


def pair(tensorflow: str, cuda: str, cudnn: str = "9.3.0.75") -> Pair:
    return Pair(tensorflow=tensorflow, cuda=cuda, python="3.11", keras="3", base="b", cudnn=cudnn)


def test_disk_need_counts_a_shared_set_once() -> None:
    first, second = pair("2.18.1", "12.5"), pair("2.19.1", "12.5")
    single, both = disk_usage.need([first]), disk_usage.need([first, second])
    assert both - single == disk_usage.packages_bytes(second)
    assert disk_usage.need([first, first]) == single, "one pair on two GPUs"
    assert disk_usage.need([first, second], shared=False) == both + disk_usage.set_bytes(second)
    assert disk_usage.need([first, second], copies=2) == 2 * both
    assert disk_usage.need([pair("2.18.1", "cpu", "")]) < disk_usage.packages_bytes(first)
    assert disk_usage.need([]) == 0


def test_an_unmeasured_cuda_counts_as_the_largest() -> None:
    assert disk_usage.set_bytes(pair("2.18.1", "12.8")) >= max(
        disk_usage.set_bytes(pair("2.18.1", cuda)) for cuda in ("11.8", "12.5")
    )


OURS = (
    "venvs/tf2.18.1-cpu-py311-0123456789abcdef/bin/python",
    "venvs/tf2.18.1-cpu-py311-0123456789abcdef.lock",
    f"suites/{'a' * 64}/bench/__init__.py",
    "suites/.new-x1/x",
    "bundled-wheels/six-1.17.0-py2.py3-none-any.whl",
)
THEIRS = ("venvs/mine/bin/python", "notes.txt", "wheels/somebodys-1.0-py3-none-any.whl")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for name in (*OURS, *THEIRS):
        (tmp_path / "cache" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cache" / name).write_text("x", encoding="utf-8")
    return tmp_path / "cache"


def test_cleaning_up_removes_only_our_names(cache: Path) -> None:
    dry = clean._folders(cache, dry=True)
    assert all((cache / name).is_file() for name in (*OURS, *THEIRS))
    messages = clean._folders(cache, dry=False)
    assert [line.replace("would remove", "removed") for line in dry] == messages
    assert [line for line in messages if line.startswith("removed")] == [
        f"removed 1 venvs in {cache}/venvs",
        f"removed 1 suites in {cache}/suites",
        f"removed 1 bundled-wheels in {cache}/bundled-wheels",
    ]
    assert sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()) == sorted(THEIRS)


def test_cleaning_up_during_a_run_is_refused_and_removes_nothing(cache: Path) -> None:
    lock = UsageLock(cache)
    lock.acquire()
    with pytest.raises(BusyError, match=r"Nothing was removed, because the cache is in use by process \d+"):
        clean.clean(cache=cache)
    assert all((cache / name).is_file() for name in (*OURS, *THEIRS))
    del lock
    with exclusive(cache):
        assert (cache / "in-use.lock").is_file()


def test_runs_share_the_usage_lock_and_a_clean_up_excludes_them(tmp_path: Path) -> None:
    first, second = UsageLock(tmp_path), UsageLock(tmp_path)
    first.acquire()
    second.acquire()
    second.acquire()
    del first
    with pytest.raises(BusyError), exclusive(tmp_path):
        pass
    del second
    with exclusive(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
