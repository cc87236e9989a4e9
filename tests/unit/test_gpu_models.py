"""GPUs by name: NVIDIA's list, under every usual spelling."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from bench.gpu.facts import Gpu
from bench.plan.gpu_models import compute_capability, short_name, suggestions

if TYPE_CHECKING:
    from pathlib import Path


def listed(root: Path) -> dict[str, list[str]]:
    text = (root / "bench" / "plan" / "gpu_models.toml").read_text(encoding="utf-8")
    return {key: [name for names in groups.values() for name in names] for key, groups in tomllib.loads(text).items()}


def test_every_listed_name_is_found_and_stands_once(root: Path) -> None:
    tables = listed(root)
    spellings = [name.lower().replace(" ", "") for names in tables.values() for name in names]
    assert len(spellings) == len(set(spellings)) > 300
    for key, names in tables.items():
        for name in names:
            for spelling in (name, f"NVIDIA {name}", name.lower().replace(" ", ""), name.lower().replace(" ", "-")):
                assert compute_capability(spelling) == tuple(map(int, key.split("."))), spelling


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        *[(name, (8, 9)) for name in ("rtx4090", "RTX_4090", "GeForce RTX 4090 Laptop GPU", "RTX 6000 Ada Generation")],
        *[(name, (8, 9)) for name in ("RTX 6000", "NVIDIA RTX 6000", "rtx6000")],
        *[(name, (9, 0)) for name in ("h100 nvl", "NVIDIA H100 80GB HBM3", "NVIDIA GH200 480GB", "DGX H100", "H200")],
        *[(name, (8, 0)) for name in ("A100-SXM4-80GB", "a10080gb", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "a30")],
        *[(name, (8, 6)) for name in ("a10-24gb", "NVIDIA A10G", "RTX A2000 12GB", "rtx3080ti")],
        *[
            (name, (7, 5))
            for name in (
                "Tesla T4",
                "NVIDIA Quadro RTX 6000",
                "quadro-rtx-6000",
                "GTX 1650 Ti with Max-Q Design",
                "gtx-1650",
            )
        ],
        *[(name, (12, 0)) for name in ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "rtx5070")],
        *[(name, (7, 0)) for name in ("Tesla V100-SXM2-16GB", "V100S-PCIE-32GB", "titan v")],
        *[("Tesla P100-PCIE-16GB", (6, 0)), ("P1000", (6, 1)), ("TITAN X (Pascal)", (6, 1)), ("GTX TITAN X", (5, 2))],
        *[
            ("Jetson AGX Orin 64GB", (8, 7)),
            ("NVIDIA Thor", (11, 0)),
            ("DGX Spark", (12, 1)),
            ("B300 SXM6 AC", (10, 3)),
        ],
        *[(name, None) for name in ("", "rtx", "h1000", "cuda", "gtx 1655", "RTX 4090 SUPER", "a10x")],
    ],
)
def test_a_name_is_found_under_its_usual_spellings(name: str, capability: tuple[int, int] | None) -> None:
    assert compute_capability(name) == capability


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA H100 80GB HBM3",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        "NVIDIA Quadro RTX 6000",
        "Tesla V100-SXM2-16GB",
    ],
)
def test_the_short_name_of_a_name_from_nvml_is_that_of_the_column(name: str) -> None:
    assert short_name(name) == Gpu(uuid="", name=name, capability=(0, 0), memory_mb=0).slug


@pytest.mark.parametrize(
    ("name", "short"),
    [("rtx4090", "rtx-4090"), ("RTX4090laptopgpu", "rtx-4090-laptop-gpu"), ("h100nvl", "h100-nvl"), ("nope", None)],
)
def test_a_name_without_separators_gets_them(name: str, short: str | None) -> None:
    assert short_name(name) == short


def test_suggestions_are_similar_names() -> None:
    assert suggestions("rtx 409O")[0] == "RTX 4090"
    assert suggestions("NVIDIA GeForce GTX 1655")[0] == "GTX 1650"
    assert suggestions("Radeon") == []
