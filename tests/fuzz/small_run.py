"""A small run folder, cut from the sample: two columns, two kernels and all controls, two rounds, a pair each."""

from __future__ import annotations

import json
import lzma
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

RUN = "20261129T170421Z-0646"
COLUMNS = ("tf2.18.1-cpu-py311@cpu", "tf2.21.0-cpu-py311@cpu")
_KERNELS = frozenset({"matmul_mean", "session_v1_random"})
_ROUNDS = 2
#: Fields that map kernels, or list them.
_BY_KERNEL = frozenset({"kernels", "repetitions", "kernel_hashes"})


def write(sample: Path, target: Path) -> Path:
    """Write a run folder that has a part of another one; returns it."""
    info = json.loads((sample / "run.json").read_text(encoding="utf-8"))
    info["columns"] = [column for column in info["columns"] if column["id"] in COLUMNS]
    info["kernels"] = [kernel for kernel in info["kernels"] if _kept(kernel["name"])]
    info["variations"] = {"default": []}
    info["variation_modes"] = {"default": ["off", "on"]}
    info["rounds"] = _ROUNDS
    rounds = [f"default/{mode}-{number:03d}" for mode in ("off", "on") for number in range(1, _ROUNDS + 1)]
    records = [f"records/{column}/{name}" for column in COLUMNS for name in rounds]
    info["reused"] = {path: run for path, run in info["reused"].items() if path.removesuffix(".jsonl") in records}
    files = [f"{path}.{kind}.xz" for path in records for kind in ("jsonl", "kept")]
    for name in (*files, *(f"paired/{column}/overhead-001.jsonl.xz" for column in COLUMNS)):
        if (sample / name).is_file():
            rows = [row for row in read_lines(sample / name) if _kept(row.get("kernel"))]
            if rows and "request" in rows[0]:  # a round, whose request says how many were planned
                rows[0]["request"]["context"]["rounds"] = _ROUNDS
            write_lines(target / name, rows)
    (target / "run.json").write_text(json.dumps(info), encoding="utf-8")
    return target


def read_lines(path: Path) -> list[Any]:
    """Return the JSON values of a compressed file."""
    return [_small(json.loads(line)) for line in lzma.decompress(path.read_bytes()).splitlines()]


def write_lines(path: Path, rows: list[Any]) -> None:
    """Write a compressed file with these JSON values, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), preset=0))


def _kept(kernel: object) -> bool:
    return kernel is None or kernel in _KERNELS or str(kernel).startswith("control_")


def _small(value: Any) -> Any:
    """Return a value without other kernels, wherever it names kernels."""
    if isinstance(value, dict):
        return {key: _named(item) if key in _BY_KERNEL else _small(item) for key, item in value.items()}
    return [_small(item) for item in value] if isinstance(value, list) else value


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if _kept(name)}
    return [item for item in value if isinstance(item, dict) or _kept(item)]
