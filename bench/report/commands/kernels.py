"""The page of the suite, ``docs/suite.md``: every kernel as its declaration says."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.suite.kernels import Kernel

_HEAD = """# The suite

{count} kernels in {families} families, {controls} of them controls. Made from the declarations by
`python -m bench kernels --markdown > docs/suite.md`; a test holds the two together.

Every kernel is seeded, rebuilds everything in every repetition, and is compared bit for bit. *Keras*: the bits may only be
compared within one Keras release. *heavy*: it gets the profile's `heavy_repetitions`. *error*: its error against a float64
reference is measured. *GPU control*: known to vary on GPUs with determinism off. *host*: it computes on the CPU
whatever the device.
"""


def page(kernels: Iterable[Kernel]) -> str:
    """The page as Markdown, family by family in the order given."""
    every = list(kernels)
    families = [(name, list(group)) for name, group in groupby(every, key=lambda one: one.family)]
    controls = sum(bool(one.control) for one in every)
    head = _HEAD.format(count=len(every), families=len(families), controls=controls)
    return head + "".join(_family(name, group) for name, group in families)


def _family(name: str, kernels: list[Kernel]) -> str:
    rows = "".join(
        f"| `{one.name}` | {_column(one.exercises)} | {_column(one.shapes)} | {_column(one.dtypes)} "
        f"| {_column(one.source)} | {', '.join(_marks(one))} |\n"
        for one in kernels
    )
    return f"\n## {name}\n\n| kernel | exercises | shapes | dtypes | source | |\n|---|---|---|---|---|---|\n{rows}"


def _marks(one: Kernel) -> list[str]:
    marks = {
        "Keras": not one.portable,
        "heavy": one.heavy,
        "error": one.reference is not None,
        "GPU control": one.gpu_control,
        "host": one.on_host,
        f"{one.control.replace('-', ' ')} ({one.rate:g})": one.control == "must-differ",
        "must not differ": one.control == "must-not-differ",
    }
    return [mark for mark, shown in marks.items() if shown]


def _column(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
