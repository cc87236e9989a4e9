"""The tables of CUDA and of TensorFlow's releases: consistent in themselves, with each other, and with the locks."""

from __future__ import annotations

import dataclasses
import re
from itertools import product
from typing import Any

import pytest
from packaging.version import Version

from bench.errors import ConfigError
from bench.plan import cuda
from bench.plan.column import Pair
from bench.plan.releases import minor, release, releases

TABLE = cuda.table()
VERSION = re.compile(r"\d+(\.\d+){1,4}")
#: Made for a toolkit as a whole: their versions follow its minor.
MOVING = ("cupti", "nvcc", "nvrtc", "runtime", "nvjitlink", "cublas")


def pair(tensorflow: str, minor_: str, cudnn: str = "", **changes: Any) -> Pair:
    """A pair as matrix.toml would make it, with the cuDNN of its release."""
    known = release(tensorflow)
    assert known is not None
    taken = "" if minor_ == "cpu" else cudnn or known.cudnn
    made = Pair(
        tensorflow=tensorflow,
        cuda=minor_,
        python="3.11",
        keras="3.15.1",
        base="",
        cudnn=taken,
        own_cudnn=bool(taken) and taken != known.cudnn,
        kind=cuda.kind(tensorflow, minor_, taken),
        refused=cuda.refusal(tensorflow, minor_, taken),
    )
    return dataclasses.replace(made, **changes)


def names(lines: tuple[str, ...]) -> dict[str, str]:
    return dict(line.split("==") for line in lines)


def fitting() -> list[tuple[str, str]]:
    """Every release with every CUDA that serves it."""
    every = product([release.latest for release in releases().values()], TABLE.toolkits)
    return [(latest, toolkit) for latest, toolkit in every if not pair(latest, toolkit).refused]


class TestSets:
    """The rows of cuda.toml."""

    @pytest.mark.parametrize("key", TABLE.toolkits)
    def test_every_toolkit_has_the_known_components(self, key: str) -> None:
        major = key.partition(".")[0]
        wanted = {name for name, component in TABLE.components.items() if major in component.sonames} - {"nccl"}
        if major == "11":
            assert "nvjitlink" not in wanted, "CUDA 11 has none"
        assert set(TABLE.toolkits[key].parts) == wanted

    @pytest.mark.parametrize("key", TABLE.toolkits)
    def test_every_version_is_well_formed(self, key: str) -> None:
        toolkit = TABLE.toolkits[key]
        assert re.fullmatch(r"\d+\.\d+\.\d+", toolkit.release)
        assert minor(toolkit.release) == key
        assert re.fullmatch(r"\d{3}\.\d{2,3}\.\d{2}", toolkit.driver)
        for version in toolkit.parts.values():
            assert VERSION.fullmatch(version)
            assert version.count(".") >= 2

    @pytest.mark.parametrize("key", TABLE.toolkits)
    def test_components_have_the_minor_of_their_toolkit(self, key: str) -> None:
        """libcusparse asks libnvJitLink for symbols of its own minor, and no wheel's metadata says so."""
        parts = TABLE.toolkits[key].parts
        assert {name: minor(parts[name]) for name in MOVING if name in parts} == {
            name: key if name != "cublas" or key != "11.8" else "11.11" for name in MOVING if name in parts
        }
        assert set(MOVING) == set(cuda.NUMBERED)

    def test_a_newer_toolkit_has_no_older_part_and_no_part_is_in_two_sets(self) -> None:
        ordered = sorted((key for key in TABLE.toolkits if key.startswith("12.")), key=Version)
        assert ordered == ["12.2", "12.3", "12.4", "12.5", "12.6", "12.8", "12.9"]
        for component in TABLE.toolkits["12.2"].parts:
            versions = [Version(TABLE.toolkits[key].parts[component]) for key in ordered]
            assert versions == sorted(set(versions)), component
        drivers = [Version(TABLE.toolkits[key].driver) for key in ["11.8", *ordered]]
        assert drivers == sorted(set(drivers))

    def test_names_are_not_placeholder_packages(self) -> None:
        """``-cu110`` to ``-cu116`` and ``-cu13`` are empty packages; CUDA 13 has names without an end."""
        lines = [line for latest, key in fitting() for line in cuda.wheels(pair(latest, key))]
        assert all(re.fullmatch(r"nvidia-[a-z-]+-cu1[12]==\d[\d.]+\d", line) for line in lines)

    def test_the_wrong_components_of_the_meta_package_are_not_used(self) -> None:
        """``cuda-toolkit==12.5.1`` lists the components of 12.5.0: cublas 12.5.2.13, runtime 12.5.39."""
        parts = TABLE.toolkits["12.5"].parts
        assert (parts["cublas"], parts["runtime"], parts["cufft"]) == ("12.5.3.2", "12.5.82", "11.2.3.61")

    def test_cudnn_wheels(self) -> None:
        for version, wheel in TABLE.cudnn.items():
            assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", version)
            assert version.partition(".")[0] in TABLE.cudnn_sonames
            assert set(wheel.majors) <= {"11", "12"}
            assert wheel.majors
            assert not wheel.paired or wheel.paired in TABLE.toolkits
        assert {wheel.paired: version for version, wheel in TABLE.cudnn.items() if wheel.paired} == {
            "12.6": "9.5.1.17", "12.8": "9.8.0.87", "12.9": "9.10.2.21"
        }  # fmt: skip


class TestReleases:
    """The tables of releases.toml against those of cuda.toml."""

    def test_all_minors_are_listed_in_order(self) -> None:
        assert list(releases()) == [f"2.{number}" for number in range(10, 22)]

    @pytest.mark.parametrize("key", releases())
    def test_facts_are_well_formed(self, key: str) -> None:
        facts = releases()[key]
        assert minor(facts.latest) == key
        assert all(re.fullmatch(r"3\.\d+", python) for python in facts.python)
        assert VERSION.fullmatch(facts.cuda)
        assert facts.cudnn in TABLE.cudnn
        assert Version(minor(facts.cudnn)) >= Version(facts.cudnn_built)
        assert facts.nccl == "" or VERSION.fullmatch(facts.nccl)
        assert all(re.fullmatch(r"lib\w+\.so\.\d+(\.\d+)?", soname) for soname in (*facts.sonames, *facts.opened_later))
        assert all(re.fullmatch(r"sm_\d{2,3}", name) for name in (*facts.sass, *facts.partial_sass))
        assert all(re.fullmatch(r"sm_\d{2,3}a? \d\.\d", entry) for entry in facts.ptx)
        assert not set(facts.sass) & set(facts.partial_sass)
        assert facts.sonames[-1].startswith("libcudnn.so.")

    @pytest.mark.parametrize("key", releases())
    def test_the_libraries_that_register_a_gpu_are_complete(self, key: str) -> None:
        wanted = {"libcudart", "libcublas", "libcublasLt", "libcufft", "libcusolver", "libcusparse", "libcudnn"}
        if Version(key) < Version("2.14"):
            wanted.add("libcurand")
        assert {soname.partition(".")[0] for soname in releases()[key].sonames} == wanted

    @pytest.mark.parametrize("key", releases())
    def test_nccl_is_a_wheel_where_it_is_opened_and_nowhere_else(self, key: str) -> None:
        facts = releases()[key]
        assert bool(facts.nccl) == ("libnccl.so.2" in facts.opened_later) == (key == "2.21")

    @pytest.mark.parametrize(("latest", "key"), fitting())
    def test_every_soname_is_in_a_wheel_of_its_toolkit(self, latest: str, key: str) -> None:
        made = pair(latest, key)
        known = release(latest)
        assert known is not None
        libraries = cuda.libraries(made)
        missing = {*known.sonames, *known.opened_later} - set(libraries)
        assert missing == ({"libcupti.so.11.2"} if latest in ("2.10.1", "2.11.1") else set())
        assert list(libraries)[: len(known.sonames)] == known.sonames
        assert set(libraries.values()) <= set(cuda.wheels(made))


class TestWheels:
    """What a pair asks for."""

    def test_the_set_of_an_official_pair(self) -> None:
        assert cuda.wheels(pair("2.18.1", "12.5")) == (
            "nvidia-cublas-cu12==12.5.3.2",
            "nvidia-cuda-cupti-cu12==12.5.82",
            "nvidia-cuda-nvcc-cu12==12.5.82",
            "nvidia-cuda-nvrtc-cu12==12.5.82",
            "nvidia-cuda-runtime-cu12==12.5.82",
            "nvidia-cudnn-cu12==9.3.0.75",
            "nvidia-cufft-cu12==11.2.3.61",
            "nvidia-cusolver-cu12==11.6.3.83",
            "nvidia-cusparse-cu12==12.5.1.3",
            "nvidia-nvjitlink-cu12==12.5.82",
        )

    def test_a_cpu_pair_has_none(self) -> None:
        assert cuda.wheels(pair("2.18.1", "cpu")) == ()
        assert cuda.libraries(pair("2.18.1", "cpu")) == {}

    @pytest.mark.parametrize(("latest", "key"), fitting())
    def test_curand_only_where_a_release_opens_it(self, latest: str, key: str) -> None:
        found = names(cuda.wheels(pair(latest, key)))
        assert any("curand" in name for name in found) == (Version(latest) < Version("2.14"))

    def test_all_releases_share_the_wheels_of_a_toolkit(self) -> None:
        """So that their images share a layer: only cuDNN and NCCL differ."""
        for key in ("12.5", "12.9"):
            sets = {
                frozenset(line for line in cuda.wheels(pair(latest, key)) if not re.search("cudnn|nccl", line))
                for latest, toolkit in fitting()
                if toolkit == key
            }
            assert len(sets) == 1

    def test_another_cudnn_changes_nothing_else(self) -> None:
        plain, step = (names(cuda.wheels(pair("2.18.1", "12.9", cudnn))) for cudnn in ("", "9.10.2.21"))
        assert set(plain.items()) ^ set(step.items()) == {
            ("nvidia-cudnn-cu12", "9.3.0.75"),
            ("nvidia-cudnn-cu12", "9.10.2.21"),
        }

    def test_nccl_comes_with_the_release_that_opens_it(self) -> None:
        assert cuda.libraries(pair("2.21.0", "12.9"))["libnccl.so.2"] == "nvidia-nccl-cu12==2.27.7"
        assert "nvidia-nccl-cu12" not in names(cuda.wheels(pair("2.20.0", "12.9")))

    def test_a_refused_pair_has_no_wheels(self) -> None:
        for ask in (cuda.wheels, cuda.libraries):
            with pytest.raises(ConfigError, match=r"tf2\.18\.1-cuda13\.0: TensorFlow 2\.18 opens libcudart\.so\.12"):
                ask(pair("2.18.1", "13.0"))


class TestKinds:
    """What a pair is called, and why it can never run."""

    @pytest.mark.parametrize(
        ("tensorflow", "key", "cudnn", "wanted"),
        [
            ("2.18.1", "cpu", "", "cpu"),
            ("2.18.1", "12.5", "", "official"),
            ("2.14.1", "11.8", "", "official"),
            ("2.18.1", "12.5", "9.10.2.21", "forward"),
            ("2.18.1", "12.9", "", "forward"),
            ("2.15.1", "12.3", "", "forward"),
            ("2.18.1", "12.3", "", "older"),
            ("2.10.1", "11.8", "", "legacy"),
            ("2.13.1", "11.8", "8.9.7.29", "legacy"),
        ],
    )
    def test_kind(self, tensorflow: str, key: str, cudnn: str, wanted: str) -> None:
        assert pair(tensorflow, key, cudnn).kind == wanted

    @pytest.mark.parametrize(
        ("tensorflow", "key", "cudnn", "words"),
        [
            ("2.21.0", "13.0", "", ["opens libcudart.so.12", "which CUDA 13 does not have"]),
            ("2.14.1", "13.1", "", ["opens libcudart.so.11.0", "CUDA 13"]),
            ("2.15.1", "11.8", "", ["2.15 opens libcudart.so.12", "which CUDA 11 does not have"]),
            ("2.18.1", "11.2", "", ["which CUDA 11 does not have"]),
            ("2.14.1", "12.2", "", ["2.14 opens libcudart.so.11.0", "which CUDA 12 does not have"]),
            ("2.10.1", "12.9", "", ["which CUDA 12 does not have"]),
            ("2.17.1", "12.3", "9.3.0.75", ["opens libcudnn.so.8", "which cuDNN 9.3 does not have"]),
            ("2.14.1", "11.8", "9.3.0.75", ["opens libcudnn.so.8"]),
            ("2.18.1", "12.5", "8.9.7.29", ["opens libcudnn.so.9", "which cuDNN 8.9 does not have"]),
            ("2.18.1", "12.5", "9.1.0.70", ["refuses cuDNN 9.1", "built with 9.3"]),
            ("2.14.1", "11.8", "8.6.0.163", ["refuses cuDNN 8.6", "built with 8.7"]),
            ("2.18.1", "12.5", "9.10.2.12", ["no wheel of cuDNN 9.10.2.12", "9.10.2.21"]),
            ("2.15.1", "12.7", "", ["there was no toolkit 12.7"]),
            ("2.15.1", "12.1", "", ["no wheels of CUDA 12.1 are known", "12.2"]),
            ("2.10.1", "11.2", "", ["no wheels of CUDA 11.2 are known"]),
            ("2.18.1", "12.3", "", ["older than the 12.5.1", "allow_older = true"]),
            ("2.16.2", "12.2", "", ["older than the 12.3.2"]),
        ],
    )
    def test_refused(self, tensorflow: str, key: str, cudnn: str, words: list[str]) -> None:
        actual = pair(tensorflow, key, cudnn).refused
        for word in words:
            assert word in actual

    def test_allow_older_allows_nothing_else(self) -> None:
        assert cuda.refusal("2.18.1", "12.3", "9.3.0.75", allow_older=True) == ""
        assert cuda.refusal("2.18.1", "11.8", "9.3.0.75", allow_older=True) != ""
        assert cuda.refusal("2.18.1", "12.5", "9.1.0.70", allow_older=True) != ""
        allowed = pair("2.18.1", "12.3", refused="")
        assert names(cuda.wheels(allowed))["nvidia-nvjitlink-cu12"] == "12.3.101"

    def test_exactly_these_pairs_are_not_refused(self) -> None:
        found = {latest: [key for name, key in fitting() if name == latest] for latest, _ in fitting()}
        old, middle = ["11.8"], ["12.2", "12.3", "12.4", "12.5", "12.6", "12.8", "12.9"]
        assert found == {
            **dict.fromkeys(("2.10.1", "2.11.1", "2.12.1", "2.13.1", "2.14.1"), old),
            "2.15.1": middle,
            **dict.fromkeys(("2.16.2", "2.17.1"), middle[1:]),
            **dict.fromkeys(("2.18.1", "2.19.1", "2.20.0", "2.21.0"), middle[3:]),
        }
