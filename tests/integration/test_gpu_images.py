"""Images of CUDA pairs, built and run on this host: every library loads, and without a GPU none is state."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker.client import DockerClient

from bench.engines import docker
from bench.engines.base import probe_command
from bench.plan import cuda, locks
from bench.plan.column import Column, Pair
from bench.suite import record
from bench.suite.record import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.engines.base import Environment

pytestmark = [
    pytest.mark.docker,
    pytest.mark.tensorflow,
    pytest.mark.skipif(bool(list(Path("/dev").glob("nvidia[0-9]*"))), reason="this host has a GPU"),
]

RELEASES = ("2.18.1", "2.19.1")


@dataclass(frozen=True)
class PreparedColumn:
    """A column and its environment."""

    column: Column
    environment: Environment


def column_of(root: Path, release: str) -> Column:
    pair = Pair(
        tensorflow=release, cuda="12.5", python="3.11", keras="", base="python:3.11-slim-bookworm",
        cudnn="9.3.0.75", kind="official",
    )  # fmt: skip
    lock = root / "docker" / "locks" / f"{pair.stem}.txt"
    return Column(pair=pair, device="gpu", lock=lock)


@pytest.fixture(scope="module")
def engine(root: Path) -> Iterator[docker.DockerEngine]:
    docker_engine = docker.DockerEngine(root)
    yield docker_engine
    docker_engine.close()


@pytest.fixture(scope="module")
def images(
    engine: docker.DockerEngine, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, PreparedColumn]]:
    """Both pairs, built in parallel as in a run; images that did not exist before are removed again."""
    folder = tmp_path_factory.mktemp("gpu")
    columns = [column_of(root, release) for release in RELEASES]
    with ThreadPoolExecutor(2) as pool:
        logs = [folder / f"{column.pair.stem}.log" for column in columns]
        environments = list(pool.map(lambda column, log: engine.prepare(column, log, lambda _: None), columns, logs))
    yield {
        column.pair.tensorflow: PreparedColumn(column, environment)
        for column, environment in zip(columns, environments, strict=True)
    }
    client = DockerClient.from_env()
    for environment in environments:
        if not environment.reused:
            client.images.remove(environment.details["tag"])
    client.close()


def test_pairs_of_one_cuda_share_its_layers(images: dict[str, PreparedColumn]) -> None:
    client = DockerClient.from_env()
    first, second = (
        client.images.get(prepared.environment.identity).attrs["RootFS"]["Layers"] for prepared in images.values()
    )
    client.close()
    assert first[:4] == second[:4], "base, venv, CUDA set, cuDNN"
    assert first[4] != second[4]


@pytest.mark.parametrize("release", RELEASES)
def test_every_library_of_an_image_loads_from_where_it_is_pinned(
    engine: docker.DockerEngine, images: dict[str, PreparedColumn], release: str, tmp_path: Path
) -> None:
    """Each library that TensorFlow opens has its pinned version, from its wheel, without problems."""
    prepared = images[release]
    command = probe_command(prepared.column)
    state = json.loads(engine.run_python(prepared.environment, prepared.column, command, tmp_path / "probe.log"))
    expected = cuda.libraries(prepared.column.pair)
    assert {"libcudart.so.12", "libcublas.so.12", "libcudnn.so.9"} <= set(expected)
    assert (state["missing"], state["problems"]) == ({}, [])
    assert set(state["libraries"]) == set(expected)
    for name, requirement in expected.items():
        assert state["libraries"][name]["distribution"].replace(" ", "==") == requirement
    assert state["versions"]["cudnn"].startswith("9.3.0")
    assert state["gpus"] == 0
    assert state["why_no_gpu"]


@pytest.mark.parametrize("release", RELEASES)
def test_a_round_without_a_gpu_measures_nothing(
    engine: docker.DockerEngine, images: dict[str, PreparedColumn], release: str, tmp_path: Path
) -> None:
    """A request for a GPU on a host without one measures nothing, on no device."""
    prepared = images[release]
    request = Request(
        column=prepared.column.id,
        mode="off",
        variation="default",
        round=1,
        kernels=("matmul_f32", "reduce_sum_1d"),
        repetitions={"matmul_f32": 2, "reduce_sum_1d": 2},
        expect=locks.expected(prepared.column.lock),
        device="gpu",
        libraries=cuda.libraries(prepared.column.pair),
    )
    lines: list[str] = []
    done = engine.execute(prepared.environment, request, lines.append, tmp_path / "round.log")
    result = record.parse(lines)
    assert (done.exit_code, result.complete) == (0, True)
    assert {outcome.kernel: outcome.outcome for outcome in result.outcomes} == {
        "matmul_f32": "gpu-not-visible",
        "reduce_sum_1d": "gpu-not-visible",
    }
    assert result.samples == ()
