"""Build the column heads: pair, device, the host that measured it, and remarks."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from bench.report import labels as status_labels
from bench.report.formatting import clean
from bench.report.view import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run_info import ColumnInfo
    from bench.verdict.results import RunResults

#: How well a pair is supported, in words. A CPU environment needs none.
_KINDS = {
    "official": "official pair",
    "forward": "newer CUDA than TensorFlow was built with",
    "older": "older CUDA than TensorFlow was built with",
    "legacy": "legacy pair",
    "local": "existing environment, not locked",
}
#: Hexadecimal characters of a UUID that distinguish two GPUs of one model.
_UUID_LENGTH = 8


def columns(results: RunResults) -> tuple[Column, ...]:
    """Return the head of every column, in the order of run.json."""
    columns = results.info.columns
    return tuple(
        _column(results, column, label, device)
        for column, label, device in zip(columns, labels(results), _devices(columns), strict=True)
    )


def _column(results: RunResults, column: ColumnInfo, label: str, device: str) -> Column:
    status, reason = results.unmeasured.get(column.id, (None, ""))
    word = status_labels.STATUS_LABELS[status] if status else None
    return Column(
        column=clean(column.id),
        label=label,
        release=f"TensorFlow {clean(column.tensorflow)}",
        accelerator=", ".join(_accelerator(column)) + (f" on {device}" if device else "") + _host(column),
        versions=f"Python {clean(column.python)} · Keras {clean(column.keras)}",
        device=device or "cpu",
        kind=_KINDS.get(column.kind, ""),
        note=clean(column.advice),
        origin=origin(column),
        blocked=word.word if word else "",
        symbol=word.symbol if word else "",
        reason=f"{clean(reason).rstrip('.')}." if word else "",
        tensorflow=clean(column.tensorflow),
        cuda=clean(column.cuda),
        cudnn=clean(column.cudnn),
        python=clean(column.python),
        keras=clean(column.keras),
        gpu_model=clean(column.device),
        gpu=clean(column.gpu),
        support=clean(column.kind),
        locked=bool(column.lock_hash),
        host=tuple(
            (clean(key), clean(str(value)))
            for key, value in {"label": column.host, **column.origin}.items()
            if value or key != "label"
        ),
    )


def _host(column: ColumnInfo) -> str:
    """Return `` (gpu01)`` for a column of a run over several hosts."""
    return f" ({clean(column.host)})" if column.host else ""


def origin(column: ColumnInfo) -> str:
    """Return ``from gpu-box, engine venv``; "" where this host measured the column."""
    if not column.origin:
        return ""
    host = clean(str(column.origin.get("name") or "")) or "another host"
    engine = clean(str(column.origin.get("engine") or ""))
    return f"from {host}{f', engine {engine}' if engine else ''}"


#: The name of a pair in the id of a column: ``mine`` in ``tf2.18.1-cpu-mine-py311@cpu``.
_NAMED = re.compile(r"-(?:cpu|cuda[0-9.]+)(?:-cudnn[0-9.]+)?-(?!cudnn)([a-z][a-z0-9.]*)-py[0-9]+(?:\+[^@]*)?@")


def own_cudnn(column: ColumnInfo) -> str:
    """Return the cuDNN version that a pair is named after, because it is not the default one: ``9.10``."""
    named = "-cudnn" in column.id.partition("@")[0]
    return ".".join(clean(column.cudnn).split(".")[:2]) if named else ""


def _accelerator(column: ColumnInfo) -> list[str]:
    named = _NAMED.search(column.id)
    name = [clean(named[1])] if named else []
    if column.cuda == "cpu":
        return ["CPU", *name]
    cudnn = own_cudnn(column)
    return [f"CUDA {clean(column.cuda)}", *([f"cuDNN {cudnn}"] if cudnn else []), *name]


def _devices(columns: Sequence[ColumnInfo]) -> list[str]:
    """Return the short name of every GPU, with the first digits of its UUID where a host has two of one model."""
    uuids: dict[tuple[str, str], set[str]] = {}
    for column in columns:
        uuids.setdefault((column.device, column.host), set()).add(column.gpu)
    names = []
    for column in columns:
        digits = column.gpu.partition("-")[2].replace("-", "")[:_UUID_LENGTH]
        several = len(uuids[column.device, column.host]) > 1 and digits and digits not in column.device
        names.append(
            "" if column.device in ("cpu", "") else clean(f"{column.device}-{digits}" if several else column.device)
        )
    return names


def labels(results: RunResults) -> list[str]:
    """Return a short, unique name for every column.

    Where two columns would share a name, it includes the host, and where that does not help, the id is used.
    """
    columns = results.info.columns
    short = [
        f"TF {clean(column.tensorflow)} {' '.join(_accelerator(column))}"
        f"{f' on {device}' if device else ''}{_host(column)}"
        f"{', existing environment' if column.kind == 'local' else ''}"
        for column, device in zip(columns, _devices(columns), strict=True)
    ]
    numbers = Counter(short)
    with_host = [
        f"{label}, {origin(column)}" if numbers[label] > 1 and column.origin else label
        for label, column in zip(short, columns, strict=True)
    ]
    numbers = Counter(with_host)
    return [
        label if numbers[label] == 1 else clean(column.id) for label, column in zip(with_host, columns, strict=True)
    ]


def labels_by_column(results: RunResults) -> dict[str, str]:
    """Return the short name of every column by its id."""
    return dict(zip((column.id for column in results.info.columns), labels(results), strict=True))
