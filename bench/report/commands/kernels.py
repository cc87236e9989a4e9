"""What ``kernels`` prints: the suite as its declarations say, for a terminal and as the page ``docs/suite.md``."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.text.layout import WIDTH, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.suite.kernels import Kernel

_HEAD = """# The suite

{count} kernels in {families} families, {controls} of them controls. Made from the declarations by
`python -m bench kernels --markdown > docs/suite.md`; a test holds the two together.

Every kernel is seeded, rebuilds everything in every repetition, and is compared bit for bit. Ops run inside a
`tf.function`, eagerly under the variation `eager=on`, and compiled by XLA in the kernels whose names end in `_xla`.
Input pipelines, random generators, the v1 session and `matmul_mean` are called as they are; trainings with Keras and
loops have graphs of their own. Where an op has a gradient of its own, `*_grad` measures it separately. The last column
has:

- *Keras*: bits may only be compared within one Keras release.
- *heavy*: it runs the profile's `heavy_repetitions`.
- *error*: its error against a float64 reference is measured.
- *GPU control*: it is known to be nondeterministic on GPUs with determinism off.
- *host*: it computes on the CPU whatever the device.
- *must differ*, *must not differ*: a control, with the share of samples that differ.
"""


def text(kernels: Iterable[Kernel], width: int = WIDTH) -> str:
    """Return the suite as a table for a terminal, with a row of its own for each family."""
    rows = []
    for family, group in groupby(kernels, key=lambda kernel: kernel.family):
        rows.append([f"[{family}]", ""])
        for kernel in group:
            role = f"control: {_role(kernel)}" if kernel.control else ""
            inputs = "; ".join(filter(None, (kernel.shapes, kernel.dtypes)))
            facts = (inputs or kernel.exercises, f"source: {kernel.source}" if kernel.source else "", role)
            rows.append([kernel.name, "\n".join(filter(None, facts))])
    return table(rows, ("Kernel", "Shapes, dtypes and source"), width) + "\n"


def page(kernels: Iterable[Kernel]) -> str:
    """Return the page as Markdown, family by family in the order given."""
    every = list(kernels)
    families = [(name, list(group)) for name, group in groupby(every, key=lambda kernel: kernel.family)]
    controls = sum(bool(kernel.control) for kernel in every)
    head = _HEAD.format(count=len(every), families=len(families), controls=controls)
    return head + "".join(_family(name, group) for name, group in families)


def _family(name: str, kernels: list[Kernel]) -> str:
    rows = "".join(
        f"| `{kernel.name}` | {_column(kernel.exercises)} | {_column(kernel.shapes)} | {_column(kernel.dtypes)} "
        f"| {_column(kernel.source)} | {', '.join(_marks(kernel))} |\n"
        for kernel in kernels
    )
    return f"\n## {name}\n\n| kernel | exercises | shapes | dtypes | source | |\n|---|---|---|---|---|---|\n{rows}"


def _marks(kernel: Kernel) -> list[str]:
    marks = {
        "Keras": not kernel.portable,
        "heavy": kernel.heavy,
        "error": kernel.reference is not None,
        "GPU control": kernel.gpu_control,
        "host": kernel.on_host,
        _role(kernel): bool(kernel.control),
    }
    return [mark for mark, shown in marks.items() if shown]


def _role(kernel: Kernel) -> str:
    """What a control must do, "" for any other kernel: ``must differ (0.1)``."""
    rate = f" ({kernel.rate:g})" if kernel.control == "must-differ" else ""
    return f"{kernel.control.replace('-', ' ')}{rate}"


def _column(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
