"""Files that are not what they should be: a clear error in bounded time, and what can be read is shown."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from bench import errors, verdict
from bench.errors import ConfigError, StorageError
from bench.plan import config
from bench.store import run as store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "text",
    [
        f"a = {'[' * 5000}{']' * 5000}",
        f"a = {'{a=' * 5000}1{'}' * 5000}",
        f"[{'.'.join('a' * 3000)}]\nx = 1",
        f"[defaults]\npython = {'9' * 5000}",
        f"[defaults]\npython = 0x{'9' * 5000}",
        "[defaults]\npython = 1e999999",
        "[defaults]\npython = '\x00'",
        "[[[",
    ],
)
@pytest.mark.fault(
    "matrix.toml is nested 5,000 deep or has a number of 5,000 digits",
    "The command ends with exit code 2, a message and a hint.",
)
def test_an_odd_matrix_file_is_a_configuration_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "matrix.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "matrix.toml")
    assert caught.value.code == errors.CONFIG
    assert caught.value.hint
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.fault("matrix.toml or run.json is a named pipe, a folder or a device", "It is refused at once.")
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, make: object) -> None:
    place = tmp_path / "matrix.toml"
    make(place)  # type: ignore[operator]
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(place)
    place.rename(tmp_path / "run.json")
    with pytest.raises(StorageError, match="cannot be read"):
        store.read_info(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.fault("A record is a named pipe or a device", "It is listed as unreadable; the others are evaluated.")
def test_a_pipe_in_the_place_of_a_record_costs_only_that_record(tmp_path: Path, root: Path, make: object) -> None:
    run = tmp_path / "sample"
    shutil.copytree(root / "reports" / "sample", run)
    for place in (next((run / "records").rglob("*-002.jsonl.xz")), next((run / "paired").rglob("*-002.jsonl.xz"))):
        place.unlink()
        make(place)  # type: ignore[operator]
    results = verdict.evaluate(store.load(run))
    assert len(results.unreadable) == 2
    assert all("not a regular file" in reason for _, reason in results.unreadable)
