"""What is carried into a cell, and how its hash behaves."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from bench.engines.staging import nvidia_folders, nvidia_part, stage, suite_files, suite_hash

if TYPE_CHECKING:
    from pathlib import Path

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
tensorflow==2.18.1 \\
    --hash=sha256:ee
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    files = {
        "bench/__init__.py": "",
        "bench/cli.py": "no part of the suite",
        "bench/suite/__init__.py": "",
        "bench/suite/driver.py": "print()",
        "bench/suite/kernels/linalg.py": "pass",
        "bench/suite/notes.txt": "no Python",
        "bench/suite/__pycache__/driver.cpython-311.pyc": "binary",
    }
    for name, text in files.items():
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "house"


def names(house: Path) -> list[str]:
    return [path.as_posix() for path in suite_files(house)]


def test_only_the_suite_and_the_package_itself_are_carried(house: Path) -> None:
    assert names(house) == [
        "bench/__init__.py",
        "bench/suite/__init__.py",
        "bench/suite/driver.py",
        "bench/suite/kernels/linalg.py",
    ]


def test_hash_knows_content_and_names_but_not_other_rooms(house: Path) -> None:
    before = suite_hash(house)
    (house / "bench/cli.py").write_text("changed", encoding="utf-8")
    assert suite_hash(house) == before
    (house / "bench/suite/driver.py").rename(house / "bench/suite/driver2.py")
    renamed = suite_hash(house)
    (house / "bench/suite/driver2.py").write_text("print(1)", encoding="utf-8")
    assert len({before, renamed, suite_hash(house)}) == 3


def test_a_staged_copy_has_the_hash_of_its_source(house: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    assert len(stage(house, target)) == 4
    assert suite_hash(target) == suite_hash(house)


def test_copies_are_world_readable_under_a_strict_umask(house: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        target = tmp_path / "target"
        target.mkdir()
        copies = stage(house, target)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(copy.stat().st_mode) for copy in copies} == {0o644}
    assert stat.S_IMODE((target / "bench/suite/kernels").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "bench").stat().st_mode) == 0o755


def test_nvidia_part_keeps_whole_requirements_only() -> None:
    part = nvidia_part(LOCK)
    assert [line.split("==")[0] for line in part.splitlines() if not line.startswith(" ")] == [
        "nvidia-cublas-cu12",
        "nvidia-cuda-nvcc-cu12",
    ]
    assert [digest in part for digest in ("aa", "bb", "cc", "dd", "ee")] == [False, True, True, True, False]


def test_nvidia_part_of_a_cpu_lock_is_empty() -> None:
    assert nvidia_part("absl-py==2.5.1 \\\n    --hash=sha256:aa\n") == ""
    assert nvidia_folders("absl-py==2.5.1 \\\n    --hash=sha256:aa\n") == ()


def test_folders_are_those_of_the_wheels() -> None:
    assert nvidia_folders(LOCK) == ("nvidia/cublas", "nvidia/cuda_nvcc")
