"""Look up the compute capability of a GPU by its name, for questions about a GPU that this host does not have.

The names are in ``gpu_models.toml`` beside this module. A name is found under any usual spelling: ``rtx4090``,
``RTX 4090``, ``NVIDIA GeForce RTX 4090 Laptop GPU``, ``A100-SXM4-80GB``, ``h100 nvl``.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from functools import cache
from importlib import resources

#: Brands before the name of a model, each of which may be left out.
_BRAND = r"(?:nvidia|geforce|tesla|quadro|hgx|dgx)"
#: What may follow the name of a model without changing its compute capability: form factor, memory, edition, MIG slice.
_VARIANT = (
    r"(?:sxm\d?|pcie|nvl\d*|fhhl|ac|oam|dgxs|cnx|hbm\d?e?|gddr\d?x?|[1-9]\d{0,2}gb?|laptop|mobile|notebook|gpu|with|maxq|design"
    r"|generation|workstation|server|edition|embedded|active|passive|module|devkit|developerkit|developer|kit"
    r"|industrial|mig(?:\d+c)?\d+g\d+gb(?:me)?)"
)
#: The most suggestions for an unknown name.
_MOST = 3


@cache
def _models() -> dict[str, tuple[str, tuple[int, int]]]:
    """Compact name (``rtx4090``) -> name as listed (``RTX 4090``) and compute capability."""
    tables = tomllib.loads(resources.files("bench.plan").joinpath("gpu_models.toml").read_text(encoding="utf-8"))
    return {
        _compact(name): (name, (int(major), int(minor)))
        for (major, minor), groups in ((key.split("."), value) for key, value in tables.items())
        for names in groups.values()
        for name in names
    }


@cache
def _pattern() -> re.Pattern[str]:
    # the longest name first, so that "RTX 4080 SUPER" is not read as "RTX 4080" with something behind it
    names = "|".join(sorted(_models(), key=len, reverse=True))
    # as few brands as possible before it, because "Quadro RTX 6000" is another model than "RTX 6000"
    return re.compile(rf"{_BRAND}*?(?P<model>{names})(?P<variant>{_VARIANT}*)")


def _compact(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def compute_capability(name: str) -> tuple[int, int] | None:
    """Return the compute capability of a GPU, such as (8, 9) for ``rtx4090``; None where the name is not known."""
    match = _pattern().fullmatch(_compact(name))
    return _models()[match["model"]][1] if match else None


def short_name(name: str) -> str | None:
    """Return the name as columns have it (see ``Gpu.slug``), ``rtx-4090`` for ``RTX4090``; None if it is not known."""
    match = _pattern().fullmatch(_compact(name))
    if match is None:
        return None
    model = "-".join(_models()[match["model"]][0].lower().split())
    spelled = "-".join(re.findall(r"[a-z0-9]+", name.lower()))
    as_spelled = re.search(rf"(?:^|-)({model}(?:-.+)?)$", spelled)
    return as_spelled[1] if as_spelled else "-".join([model, *re.findall(_VARIANT, match["variant"])])


def suggestions(name: str) -> list[str]:
    """Return the listed names that are most like an unknown one, the most similar first."""
    compact = re.sub(rf"^{_BRAND}+", "", _compact(name))
    return [_models()[match][0] for match in difflib.get_close_matches(compact, _models(), _MOST, 0.6)]
