"""Temporary folders of a killed process are removed by the next run; those of a running one are not."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bench.portable.scratch import remove_abandoned, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = """
import sys, time
from bench.portable.scratch import scratch_folder
with scratch_folder("round") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    """A process with a scratch folder."""
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline().startswith(os.environ["TMPDIR"])
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.fault("A kernel leaves folders nested 1500 deep", "They are deleted.")
def test_a_folder_is_removed_at_the_end_whatever_is_in_it(places: Path) -> None:
    with scratch_folder("round") as folder:
        assert folder.parent == places
        (folder / "closed" / "inner").mkdir(parents=True)
        (folder / "closed").chmod(0)
        (folder / "deep").mkdir()
        nest = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')"
        subprocess.run([sys.executable, "-c", nest], cwd=folder / "deep", check=True)
    assert list(places.iterdir()) == []


@pytest.mark.fault("A run is killed and leaves temporary folders", "The next run removes them, and no others.")
def test_only_folders_of_killed_processes_are_removed(places: Path) -> None:
    (places / "tfrepro-other").mkdir()
    (places / "target").mkdir()
    (places / "target" / "file").touch()
    (places / "tfrepro-scratch-round-link").symlink_to(places / "target")
    (places / "tfrepro-scratch-round-file").touch()
    with holder() as running:
        with holder() as killed:
            killed.kill()
            killed.wait()
        before = len(list(places.iterdir()))
        assert remove_abandoned() == 1
        assert len(list(places.iterdir())) == before - 1
        assert running.poll() is None
    assert remove_abandoned() == 1
    left = {"tfrepro-other", "target", "tfrepro-scratch-round-link", "tfrepro-scratch-round-file"}
    assert {path.name for path in places.iterdir()} == left
    assert (places / "target" / "file").exists()
