"""The head of every column: pair, device, where it was measured, and what is to be known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import words
from bench.report.text import clean
from bench.report.view import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run_info import CellInfo
    from bench.verdict.judgement import Judgement

#: Kinds of pairs as a column says them. Of a CPU pair there is nothing to say.
_KINDS = {
    "official": "official pair",
    "forward": "newer CUDA than TensorFlow was built with",
    "older": "older CUDA than TensorFlow was built with",
    "legacy": "legacy pair",
    "here": "environment as found, not locked",
}
#: Hexadecimal characters of a UUID that tell two GPUs of one model apart.
_UUID_LENGTH = 8


def columns(judgement: Judgement) -> tuple[Column, ...]:
    """The head of every column, in the order of run.json."""
    cells = judgement.info.cells
    return tuple(
        _column(judgement, cell, label, device)
        for cell, label, device in zip(cells, labels(judgement), _devices(cells), strict=True)
    )


def _column(judgement: Judgement, cell: CellInfo, label: str, device: str) -> Column:
    status, why = judgement.unmeasured.get(cell.id, (None, ""))
    word = words.WORDS[status] if status else None
    return Column(
        cell=clean(cell.id),
        label=label,
        release=f"TensorFlow {clean(cell.tensorflow)}",
        accelerator=", ".join(_accelerator(cell)) + (f" on {device}" if device else ""),
        versions=f"Python {clean(cell.python)} · Keras {clean(cell.keras)}",
        device=device or "cpu",
        kind=_KINDS.get(cell.kind, ""),
        note=clean(cell.advice),
        origin=origin(cell),
        blocked=word.word if word else "",
        symbol=word.symbol if word else "",
        reason=f"{clean(why).rstrip('.')}." if word else "",
    )


def origin(cell: CellInfo) -> str:
    """``from gpu-box, engine venv``, "" where it was measured here."""
    if not cell.origin:
        return ""
    host = clean(str(cell.origin.get("name") or "")) or "another host"
    engine = clean(str(cell.origin.get("engine") or ""))
    return f"from {host}{f', engine {engine}' if engine else ''}"


def own_cudnn(cell: CellInfo) -> str:
    """The cuDNN of a pair that is named after it, being another than its release's own: ``9.10``."""
    named = "-cudnn" in cell.id.partition("@")[0]
    return ".".join(clean(cell.cudnn).split(".")[:2]) if named else ""


def _accelerator(cell: CellInfo) -> list[str]:
    if cell.cuda == "cpu":
        return ["CPU"]
    cudnn = own_cudnn(cell)
    return [f"CUDA {clean(cell.cuda)}", *([f"cuDNN {cudnn}"] if cudnn else [])]


def _devices(cells: Sequence[CellInfo]) -> list[str]:
    """The short name of every column's GPU, with the first digits of its UUID where the run has two of one model."""
    uuids: dict[str, set[str]] = {}
    for cell in cells:
        uuids.setdefault(cell.device, set()).add(cell.gpu)
    names = []
    for cell in cells:
        digits = cell.gpu.partition("-")[2].replace("-", "")[:_UUID_LENGTH]
        several = len(uuids[cell.device]) > 1 and digits and digits not in cell.device
        names.append("" if cell.device in ("cpu", "") else clean(f"{cell.device}-{digits}" if several else cell.device))
    return names


def labels(judgement: Judgement) -> list[str]:
    """A short name for every column: with its host where two would share one, and its id where that is no help."""
    cells = judgement.info.cells
    short = [
        f"TF {clean(cell.tensorflow)} {' '.join(_accelerator(cell))}"
        f"{f' on {device}' if device else ''}{', as found' if cell.kind == 'here' else ''}"
        for cell, device in zip(cells, _devices(cells), strict=True)
    ]
    placed = [
        f"{label}, {origin(cell)}" if short.count(label) > 1 and cell.origin else label
        for label, cell in zip(short, cells, strict=True)
    ]
    return [label if placed.count(label) == 1 else clean(cell.id) for label, cell in zip(placed, cells, strict=True)]
