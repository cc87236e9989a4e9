"""The preflight: every line as the tables of wheels and drivers say it, derived by hand."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.gpu.facts import Gpu
from bench.plan.column import Pair
from bench.plan.preflight import LEVELS, RulesError, advise, load, rules

J = "first run compiles PTX on this GPU"
NO_DRIVER = "the driver's version is unknown, so the rules about drivers were not applied"
NO_CAPABILITY = "the GPU's compute capability is unknown, so the rules about GPUs were not applied"
FOR_CUDNN = "cuDNN requires CUDA >= 12.8 on Blackwell"
EAGER = "XLA aborts on Blackwell, and eager execution is untested there"
#: TensorFlow minor -> the official pair: patch release, CUDA, cuDNN.
OFFICIAL = {
    "2.10": ("2.10.1", "11.8", "8.6.0.163"),
    "2.11": ("2.11.1", "11.8", "8.6.0.163"),
    "2.12": ("2.12.1", "11.8", "8.6.0.163"),
    "2.13": ("2.13.1", "11.8", "8.6.0.163"),
    "2.14": ("2.14.1", "11.8", "8.7.0.84"),
    "2.15": ("2.15.1", "12.2", "8.9.4.25"),
    "2.16": ("2.16.2", "12.3", "8.9.7.29"),
    "2.17": ("2.17.1", "12.3", "8.9.7.29"),
    "2.18": ("2.18.1", "12.5", "9.3.0.75"),
    "2.19": ("2.19.1", "12.5", "9.3.0.75"),
    "2.20": ("2.20.0", "12.5", "9.3.0.75"),
    "2.21": ("2.21.0", "12.5", "9.3.0.75"),
}
CAPABILITIES = ["5.0", "5.2", "6.0", "6.1", "7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"]


def gpu(capability: str) -> Gpu:
    major, minor = map(int, capability.split("."))
    return Gpu(uuid="GPU-1", name="NVIDIA Test", capability=(major, minor), memory_mb=80_000)


def pair(minor: str, cuda: str = "", cudnn: str = "", kind: str = "official") -> Pair:
    tensorflow, own_cuda, own_cudnn = OFFICIAL[minor]
    return Pair(
        tensorflow=tensorflow, cuda=cuda or own_cuda, python="3.11", keras="3.15.1", base="b",
        cudnn=cudnn or own_cudnn, kind=kind,
    )  # fmt: skip


def older(driver: str, toolkit: str, cuda: str) -> str:
    return f"minor-version compatibility (driver {driver} < {toolkit} of CUDA {cuda})"


def ptx(isa: str, generation: str, floor: str, driver: str) -> str:
    return f"PTX {isa} on {generation} requires driver >= {floor}, installed is {driver} (derived)"


def fixed(minor: str, capability: str) -> str:
    return f"blocked: TF {minor} has sm_90a PTX for some kernels, which Blackwell ({capability}) cannot run"


def untested(cudnn: str, cuda: str) -> str:
    return f"NVIDIA has not tested cuDNN {cudnn} with CUDA {cuda}"


@pytest.mark.parametrize(
    ("minor", "capability", "driver", "expected"),
    [
        # Maxwell: SASS for 5.0 until 2.16
        ("2.10", "5.2", "450.80.02", f"ok, {older('450.80.02', '520.61.05', '11.8')}"),
        ("2.14", "5.2", "450.51.06", "blocked: driver 450.51.06 < 450.80.02 for CUDA 11.x"),
        ("2.14", "5.2", "580.65.06", "ok"),
        ("2.16", "5.2", "545.23.08", "ok"),
        ("2.16", "5.0", "525.60.13", f"ok, {older('525.60.13', '545.23.08', '12.3')}"),
        ("2.17", "5.2", "550.54.15", "blocked: TF 2.17 has no code for Maxwell (5.2)"),
        ("2.21", "5.2", "575.57.08", "blocked: TF 2.21 has no code for Maxwell (5.2)"),
        (
            "2.18",
            "5.0",
            "470.57.02",
            "blocked: driver 470.57.02 < 525.60.13 for CUDA 12.x; TF 2.18 has no code for Maxwell (5.0)",
        ),
        # Pascal: SASS for 6.0 serves 6.1
        ("2.20", "6.0", "555.42.06", "ok"),
        ("2.17", "6.1", "535.104.05", f"ok, {older('535.104.05', '545.23.08', '12.3')}"),
        ("2.12", "6.1", "520.56.06", f"ok, {older('520.56.06', '520.61.05', '11.8')}"),
        # Volta
        ("2.21", "7.0", "535.54.03", f"ok, {older('535.54.03', '555.42.06', '12.5')}"),
        ("2.15", "7.0", "525.60.13", f"ok, {older('525.60.13', '535.104.05', '12.2')}"),
        ("2.15", "7.0", "525.60.11", "blocked: driver 525.60.11 < 525.60.13 for CUDA 12.x"),
        ("2.13", "7.0", "520.61.05", "ok"),
        # Turing: SASS for 7.5 until 2.15, then for 7.0
        ("2.14", "7.5", "470.256.02", f"ok, {older('470.256.02', '520.61.05', '11.8')}"),
        ("2.15", "7.5", "615.36.01", "ok"),
        ("2.19", "7.5", "550.54.14", f"ok, {older('550.54.14', '555.42.06', '12.5')}"),
        ("2.12", "7.5", "450.80.02", f"ok, {older('450.80.02', '520.61.05', '11.8')}"),
        # Ampere: until 2.15 the newest architecture, with PTX alone for many kernels
        ("2.14", "8.0", "520.61.05", f"warn: {J}"),
        (
            "2.14",
            "8.6",
            "470.57.02",
            f"warn: {ptx('7.8', 'Ampere', '520.61.05', '470.57.02')}; {older('470.57.02', '520.61.05', '11.8')}",
        ),
        (
            "2.15",
            "8.0",
            "525.60.13",
            f"warn: {ptx('8.1', 'Ampere', '530.30.02', '525.60.13')}; {older('525.60.13', '535.104.05', '12.2')}",
        ),
        ("2.15", "8.6", "535.104.05", f"warn: {J}"),
        ("2.15", "8.0", "530.30.02", f"warn: {J}; {older('530.30.02', '535.104.05', '12.2')}"),
        ("2.16", "8.0", "545.23.08", "ok"),
        ("2.18", "8.6", "525.60.13", f"ok, {older('525.60.13', '555.42.06', '12.5')}"),
        (
            "2.10",
            "8.0",
            "450.80.02",
            f"warn: {ptx('7.2', 'Ampere', '460.27.04', '450.80.02')}; {older('450.80.02', '520.61.05', '11.8')}",
        ),
        ("2.11", "8.0", "460.32.03", f"warn: {J}; {older('460.32.03', '520.61.05', '11.8')}"),
        ("2.21", "8.6", "610.10.01", "ok"),
        # Ada: SASS for 8.0 from 2.16, for 8.9 from 2.17
        ("2.14", "8.9", "525.60.13", f"warn: {J}"),
        ("2.15", "8.9", "535.104.05", f"warn: {J}"),
        ("2.16", "8.9", "550.54.15", "ok"),
        ("2.17", "8.9", "580.65.06", "ok"),
        ("2.19", "8.9", "535.288.01", f"ok, {older('535.288.01', '555.42.06', '12.5')}"),
        # Hopper: PTX for many kernels in every release
        ("2.14", "9.0", "525.60.13", f"warn: {J}"),
        (
            "2.15",
            "9.0",
            "525.105.17",
            f"warn: {ptx('8.1', 'Hopper', '530.30.02', '525.105.17')}; {older('525.105.17', '535.104.05', '12.2')}",
        ),
        (
            "2.16",
            "9.0",
            "525.147.05",
            f"warn: {ptx('8.1', 'Hopper', '530.30.02', '525.147.05')}; {older('525.147.05', '545.23.08', '12.3')}",
        ),
        (
            "2.18",
            "9.0",
            "535.288.01",
            f"warn: {ptx('8.3', 'Hopper', '545.23.06', '535.288.01')}; {older('535.288.01', '555.42.06', '12.5')}",
        ),
        ("2.12", "9.0", "520.61.05", f"warn: {J}"),
        ("2.16", "9.0", "535.104.05", f"warn: {J}; {older('535.104.05', '545.23.08', '12.3')}"),
        (
            "2.17",
            "9.0",
            "535.104.05",
            f"warn: {ptx('8.3', 'Hopper', '545.23.06', '535.104.05')}; {older('535.104.05', '545.23.08', '12.3')}",
        ),
        ("2.18", "9.0", "550.54.15", f"warn: {J}; {older('550.54.15', '555.42.06', '12.5')}"),
        (
            "2.19",
            "9.0",
            "550.54.15",
            f"warn: {ptx('8.5', 'Hopper', '555.42.02', '550.54.15')}; {older('550.54.15', '555.42.06', '12.5')}",
        ),
        (
            "2.21",
            "9.0",
            "535.288.01",
            f"warn: {ptx('8.5', 'Hopper', '555.42.02', '535.288.01')}; {older('535.288.01', '555.42.06', '12.5')}",
        ),
        ("2.20", "9.0", "555.42.02", f"warn: {J}; {older('555.42.02', '555.42.06', '12.5')}"),
        ("2.21", "9.0", "580.65.06", f"warn: {J}"),
        ("2.18", "9.0", "470.57.02", "blocked: driver 470.57.02 < 525.60.13 for CUDA 12.x"),
        # Blackwell: no code of its own in any release
        ("2.16", "10.0", "570.124.06", fixed("2.16", "10.0")),
        ("2.17", "12.0", "575.57.08", fixed("2.17", "12.0")),
        ("2.18", "10.0", "615.36.01", fixed("2.18", "10.0")),
        ("2.18", "12.1", "580.65.06", fixed("2.18", "12.1")),
        ("2.19", "12.0", "570.124.06", fixed("2.19", "12.0")),
        ("2.20", "12.0", "580.65.06", fixed("2.20", "12.0")),
        ("2.21", "12.0", "580.65.06", f"warn: {EAGER}; {FOR_CUDNN}; {J}"),
        ("2.21", "10.0", "565.57.01", "blocked: driver 565.57.01 < 570.26 for Blackwell"),
        (
            "2.15",
            "12.0",
            "580.65.06",
            f"warn: TF 2.15 was released before Blackwell: unsupported and untested (derived); {FOR_CUDNN}; {J}",
        ),
        # what is unknown
        ("2.18", "8.0", "", f"warn: {NO_DRIVER}"),
        ("2.18", "9.0", "", f"warn: {NO_DRIVER}; {J}"),
        ("2.18", "9.0", "a driver of our own", f"warn: {NO_DRIVER}; {J}"),
        ("2.18", "0.0", "580.65.06", f"warn: {NO_CAPABILITY}"),
        # older than all that was looked at
        ("2.14", "3.5", "520.61.05", "warn: untested on Kepler"),
        ("2.15", "3.7", "535.104.05", "blocked: TF 2.15 has no code for Kepler (3.7)"),
        # versions are numbers, not text
        ("2.18", "8.0", "1000.1", "ok"),
        ("2.18", "8.0", "99.99.99", "blocked: driver 99.99.99 < 525.60.13 for CUDA 12.x"),
    ],
)  # fmt: skip
def test_an_official_pair(minor: str, capability: str, driver: str, expected: str) -> None:
    assert advise(pair(minor), gpu(capability), driver).text == expected


@pytest.mark.parametrize(
    ("minors", "levels"),
    [
        # 5.0 5.2, 6.0 6.1, 7.0 7.5, 8.0 8.6 8.9, 9.0, 10.0 12.0
        (("2.10", "2.11", "2.12", "2.13", "2.14", "2.15"), "oo oo oo www w ww"),
        (("2.16",), "oo oo oo ooo w bb"),
        (("2.17", "2.18", "2.19", "2.20"), "bb oo oo ooo w bb"),
        (("2.21",), "bb oo oo ooo w ww"),
    ],
)
def test_every_release_on_every_generation_under_a_new_driver(minors: tuple[str, ...], levels: str) -> None:
    for minor in minors:
        found = "".join(advise(pair(minor), gpu(capability), "580.65.06").level[0] for capability in CAPABILITIES)
        assert found == levels.replace(" ", ""), minor


@pytest.mark.parametrize(
    ("given", "capability", "driver", "expected"),
    [
        (
            ("2.20", "12.9", "9.28.0.42", "forward"),
            "6.1",
            "580.65.06",
            "blocked: cuDNN 9.28.0.42 does not support Pascal (9.10 was the last that did)",
        ),
        (("2.20", "12.9", "9.10.2.21", "forward"), "6.0", "575.57.08", "ok"),
        (
            ("2.21", "12.9", "9.11.0.98", "forward"),
            "7.0",
            "615.36.01",
            "blocked: cuDNN 9.11.0.98 does not support Volta (9.10 was the last that did)",
        ),
        (("2.20", "12.9", "9.28.0.42", "forward"), "7.5", "580.65.06", "ok"),
        (
            ("2.16", "12.8", "", "forward"),
            "8.0",
            "570.124.06",
            f"ok, {untested('8.9.7.29', '12.8')}",
        ),
        (
            ("2.17", "12.6", "", "forward"),
            "9.0",
            "550.54.15",
            f"warn: {J}; {older('550.54.15', '560.35.05', '12.6')}; {untested('8.9.7.29', '12.6')}",
        ),
        (("2.15", "12.3", "", "forward"), "7.0", "550.54.15", "ok"),
        (("2.21", "12.8", "9.8.0.87", "forward"), "12.0", "580.65.06", f"warn: {EAGER}; {J}"),
        (
            ("2.19", "12.9", "", "forward"),
            "8.6",
            "535.104.05",
            f"ok, {older('535.104.05', '575.57.08', '12.9')}",
        ),
        (
            ("2.18", "12.3", "", "older"),
            "8.0",
            "545.23.08",
            "warn: CUDA 12.3 is older than the 12.5.1 that TF 2.18 was built with, so symbols may be missing",
        ),
    ],
)
def test_another_cuda_or_cudnn(given: tuple[str, str, str, str], capability: str, driver: str, expected: str) -> None:
    assert advise(pair(*given), gpu(capability), driver).text == expected


branches = st.integers(390, 660)
drivers = st.builds("{}.{}.{:02d}".format, branches, st.integers(0, 300), st.integers(0, 99))


@settings(deadline=None)
@given(
    st.sampled_from(sorted(OFFICIAL)),
    st.sampled_from(CAPABILITIES),
    st.lists(drivers, min_size=2, max_size=2),
    st.sampled_from(["", "9.10.2.21", "9.28.0.42"]),
)
def test_a_newer_driver_never_makes_it_worse(minor: str, capability: str, two: list[str], cudnn: str) -> None:
    old, new = sorted(two, key=lambda text: [int(part) for part in text.split(".")])
    levels = [LEVELS.index(advise(pair(minor, cudnn=cudnn), gpu(capability), driver).level) for driver in (old, new)]
    assert levels[1] <= levels[0]


@settings(deadline=None)
@given(st.sampled_from(sorted(OFFICIAL)), st.sampled_from([*CAPABILITIES, "0.0", "3.5", "13.1"]), drivers | st.just(""))
def test_a_blocked_result_has_only_blocking_rules_with_sources(minor: str, capability: str, driver: str) -> None:
    advice = advise(pair(minor), gpu(capability), driver)
    assert advice.text.startswith(advice.level)
    assert all(rule.source for rule in advice.rules)
    assert (advice.level == "blocked") == any(rule.level == "blocked" for rule in advice.rules)
    if advice.level == "blocked":
        assert all(rule.level == "blocked" and not rule.derived for rule in advice.rules)
    assert "{" not in advice.text
    assert ("(derived)" in advice.text) == any(rule.derived for rule in advice.rules)


def test_two_hundred_columns_take_less_than_a_second() -> None:
    rules()
    requested = [(pair(minor), gpu(capability), "550.54.15") for minor in OFFICIAL for capability in CAPABILITIES][:100]
    start = time.perf_counter()
    for given_pair, card, driver in (*requested, *requested):
        advise(given_pair, card, driver)
    assert time.perf_counter() - start < 1


def test_every_rule_can_apply() -> None:
    """A rule that nothing meets is a slip in its variations."""
    met: set[str] = set()
    kinds = [("", "", "official"), ("12.9", "9.28.0.42", "forward"), ("12.9", "8.9.7.29", "older")]
    for minor in OFFICIAL:
        for kind in kinds if OFFICIAL[minor][1].startswith("12") else kinds[:1]:
            for capability in [*CAPABILITIES, "0.0", "3.5"]:
                for driver in ("", "440.33", "450.80.02", "525.60.13", "550.54.15", "580.65.06"):
                    advice = advise(pair(minor, *kind), gpu(capability), driver)
                    met |= {rule.id for rule in advice.rules}
    assert met == {rule.id for rule in rules().rules}


WHOLE: dict[str, Any] = {"id": "x", "level": "warn", "text": "t", "source": "s"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "bad"}, "'bad' is not one of ok, warn, blocked"),
        ({"code": "half"}, "'half' is not one of native"),
        ({"unknown": "weather"}, "'weather' is not one of"),
        ({"below": "sea level"}, "'sea level' is not one of"),
        ({"source": ""}, "has no source"),
        ({"level": "blocked", "derived": True}, "must not block"),
        ({"driver": "older"}, "Invalid specifier"),
        ({"text": "of {nobody}"}, "unknown placeholder 'nobody'"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_rule_is_refused(change: dict[str, Any], message: str) -> None:
    body = "\n".join(
        f"{key} = {str(value).lower() if value is True else repr(value)}" for key, value in {**WHOLE, **change}.items()
    )
    with pytest.raises(RulesError, match=message):
        load(f"[[rule]]\n{body}\n")


def test_two_rules_of_one_name_are_refused() -> None:
    body = "\n".join(f"{key} = {value!r}" for key, value in WHOLE.items())
    with pytest.raises(RulesError, match="two rules are named 'x'"):
        load(f"[[rule]]\n{body}\n[[rule]]\n{body}\n")
