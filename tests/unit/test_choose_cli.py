"""``choose`` on its command line: real records, hypothetical GPUs, bad questions, hostile names."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import cli, errors, verdict
from bench.cli import choose
from bench.gpu.facts import Gpu, GpuInventory
from bench.report.commands import choose as choose_report
from bench.report.formatting import listed
from bench.verdict import ranking
from bench.verdict.requirements import Requirements
from bench.verdict.status import Status
from tests.unit import factory, shipped_sample

if TYPE_CHECKING:
    from bench.store import run_info

SAMPLE = ["choose", "--run", "reports/sample"]
HOSTILE = "<img src=x>\x1b[2J$(reboot)'\"`;|\u202e\n| x"


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    read = choose.loaded
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(
        choose, "loaded", lambda o: shipped_sample.run() if o.run_folder == Path(SAMPLE[-1]) else read(o)
    )


def run_choose(capsys: pytest.CaptureFixture[str], *arguments: str, run: list[str] | None = None) -> tuple[int, str]:
    """Exit code and what was printed."""
    code = cli.main([*(SAMPLE if run is None else run), *arguments])
    return code, capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str, run: list[str] | None = None) -> tuple[int, Any]:
    """Exit code and the document."""
    code, out = run_choose(capsys, *arguments, "--format", "json", run=run)
    return code, json.loads(out)


def test_a_need_that_every_pair_of_the_sample_meets(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run_choose(capsys, "--families", "sequences")
    evaluated = shipped_sample.results()
    assert code == errors.OK
    ranks = {
        candidate.column: candidate.rank
        for candidate in ranking.choose(evaluated, Requirements(families=("sequences",)))
    }
    best = [f"TF {column.tensorflow} CPU" for column in evaluated.info.columns if ranks[column.id] == 1]
    assert f"Best: {listed(best)}{' (a tie)' * (len(best) > 1)}." in out
    fitting = len(evaluated.info.columns)
    (counts,) = re.findall(r"(?m)^ *(\d+) pairs: (\d+) fit, (\d+) do not fit, (\d+) unknown\.$", out)
    assert [int(number) for number in counts[:3]] == [fitting + int(counts[3]), fitting, 0]
    for column in evaluated.info.columns:
        assert f"TF {column.tensorflow} CPU: ✓ fits" in out
    assert "--rounds 30" in out
    assert "How pairs are ranked:" in out


def test_what_keeps_a_pair_from_fitting_is_named_with_its_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = (*(factory.kernel(f"k{number}") for number in range(8)), *factory.CONTROLS)

    def behave(spot: factory.Spot) -> factory.Behaviour:
        if spot.kernel == "k1":
            return factory.Behaviour(("a", "b"))
        if spot.kernel in ("k2", "k3"):
            return factory.Behaviour(outcome="error", error_class="ValueError", message="no")
        return factory.EXACT

    run = factory.run(factory.info(kernels=kernels), behave)
    monkeypatch.setattr("bench.cli.choose.store.load", lambda _: run)
    monkeypatch.setenv("COLUMNS", "80")
    code, out = run_choose(capsys, run=["choose", "--run", "made-here"])
    assert code == errors.GATE
    assert "No pair is known to fit. Closest: TF 2.18.1 CPU." in out
    assert "It would fit without k1, k2 and k3:" in out
    assert "- not reproducible (nondeterministic): k1\n" in out
    assert "- does not run (error): k2, k3\n" in out


def test_other_variations_are_mentioned_apart() -> None:
    concern = ranking.Concern(kind=Status.ERROR, kernels=(("a", "onednn=0"), ("b", "onednn=0"), ("c", "threads=1")))
    split = choose_report._by_variation([concern])
    texts = {name: [choose_report._reason(part) for part in parts] for name, parts in split.items()}
    assert texts == {"onednn=0": ["does not run (error): a, b"], "threads=1": ["does not run (error): c"]}


@pytest.mark.parametrize("question", [["--families", "conv"], ["--max-overhead", "1.1"], ["--gpu", "sm_90"], []])
def test_the_terminal_keeps_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, question: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out = run_choose(capsys, *question)
    assert max(map(len, out.splitlines())) <= 80


def measured(monkeypatch: pytest.MonkeyPatch, info: run_info.RunInfo) -> list[str]:
    """The beginning of a command that asks a run made here."""
    run = factory.run(info)
    monkeypatch.setattr("bench.cli.choose.store.load", lambda _: run)
    return ["choose", "--run", "made-here"]


def test_the_default_variation_decides_unless_another_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def behave(spot: factory.Spot) -> factory.Behaviour:
        if spot.variation == "onednn=0" and spot.kernel == "conv2d":
            return factory.Behaviour(outcome="error", error_class="ValueError", message="no")
        return factory.EXACT

    run = factory.run(factory.info(variations={"default": (), "onednn=0": ()}), behave)
    monkeypatch.setattr("bench.cli.choose.store.load", lambda _: run)
    command = ["choose", "--run", "made-here"]
    code, body = as_json(capsys, run=command)
    assert code == errors.OK
    ranked = [one for one in body["candidates"] if one["rank"]]
    assert ranked
    for one in ranked:
        assert one["fit"] == "fits"
        assert "also under onednn=0: error (1): conv2d" in one["evidence"]
    code, body = as_json(capsys, "--variation", "onednn=0", run=command)
    assert code == errors.GATE
    for one in (one for one in body["candidates"] if one["rank"]):
        assert one["fit"] == "does not fit"
        assert one["reasons"][0].startswith("error (1): conv2d (onednn=0)")
        assert one["reasons"][1].startswith("would fit without conv2d (error)")


def test_all_kernels_of_the_sample_fit_no_pair(capsys: pytest.CaptureFixture[str]) -> None:
    code, body = as_json(capsys)
    assert code == errors.GATE
    ranked = [one for one in body["candidates"] if one["rank"]]
    evaluated = shipped_sample.results()
    assert {(one["column"], one["rank"], one["reproducible"]) for one in ranked} == {
        (one.column, one.rank, one.reproducible) for one in verdict.choose(evaluated)
    }
    assert all(one["reasons"] and one["fit"] == "does not fit" for one in ranked)
    others = [one for one in body["candidates"] if not one["rank"]]
    assert all(one["fit"] == "unknown" and one["unknowns"] == ["not run"] and one["overhead"] is None for one in others)
    assert {one["label"].partition("-")[2] for one in others} <= {"cpu-py310", "cpu-py311"}


@pytest.mark.parametrize("question", [[], ["--gpu", "sm_90"]])
def test_the_command_for_pairs_that_were_not_run_names_five_of_them(
    capsys: pytest.CaptureFixture[str], question: list[str]
) -> None:
    _, body = as_json(capsys, *question)
    suggestion = body["missing"][-1]
    words = shlex.split(suggestion["command"])
    named = words[words.index("--env") + 1].split(",")
    possible = [one for one in body["candidates"] if any(text.startswith("not run") for text in one["unknowns"])]
    assert len(named) == 5 < len(possible)
    more = f"and {len(possible) - 5} more, which the command leaves out."
    assert suggestion["why"].startswith(f"Not run: {listed(named, 5)}, {more}")
    assert set(named) <= {one["column"].partition("@")[0] for one in possible}


def test_every_command_can_be_planned(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """After a quick run too, whose profile lists fewer kernels than are asked for."""
    command = measured(monkeypatch, dataclasses.replace(factory.info(), profile="quick"))
    _, body = as_json(capsys, "--families", "scatter", run=command)
    assert "scatter_nd_xla" in body["missing"][0]["command"]
    for actual in body["missing"]:
        flags = shlex.split(actual["command"].partition(" -- ")[2])
        assert run_choose(capsys, *flags, "--engine", "venv", run=["plan"])[0] == errors.OK, actual


def test_a_gpu_question_is_answered_from_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    question = ["--gpu", "sm_90", "--driver", "550", "--families", "conv,scatter", "--kernels", "matmul_f32"]
    code, body = as_json(capsys, *question, "--max-overhead", "1.15")
    assert code == errors.NOTHING
    assert "sm_90, driver 550" in body["question"]
    assert {one["fit"] for one in body["candidates"]} == {"unknown"}
    actual = {one["column"]: " ".join(one["unknowns"]) for one in body["candidates"]}
    assert "measured on a CPU, which says nothing about a GPU" in actual["tf2.18.1-cpu-py311@cpu"]
    assert "first run compiles PTX" in actual["tf2.18.1-cuda12.5-py311"]
    assert all("rule" in text for column, text in actual.items() if "-cuda" in column)
    command = body["missing"][-1]["command"]
    assert {"--device", "gpu"} <= set(shlex.split(command))
    assert "matmul_f32" in command
    assert "scatter_nd" in command


def test_what_the_rules_block_is_told_with_its_rule(capsys: pytest.CaptureFixture[str]) -> None:
    code, body = as_json(capsys, "--gpu", "RTX 5090", "--driver", "535.54")
    assert code == errors.NOTHING
    blocked = [one for one in body["candidates"] if one["fit"] == "does not fit"]
    assert len(blocked) > 10
    assert all("535.54 < 570.26 for Blackwell" in one["reasons"][0] for one in blocked)
    assert all(re.search(r"\(rules? .*blackwell-driver", one["reasons"][0]) for one in blocked)


def test_half_a_driver_blocks_only_what_none_of_its_branch_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    _, body = as_json(capsys, "--gpu", "sm_90", "--driver", "525")
    actual = {one["column"]: one for one in body["candidates"]}
    newest = actual["tf2.18.1-cuda12.5-py311"]
    assert newest["fit"] == "unknown"
    assert "with the first drivers of 525: blocked: driver 525 < 525.60.13" in newest["unknowns"][0]
    assert "(rules ptx-driver and minor-version-12)" in newest["unknowns"][0]
    _, body = as_json(capsys, "--gpu", "sm_90", "--driver", "525.59")
    older = {one["column"]: one for one in body["candidates"]}["tf2.18.1-cuda12.5-py311"]
    assert older["fit"] == "does not fit"
    assert "(rule driver-cuda-12)" in older["reasons"][0]
    _, body = as_json(capsys, "--gpu", "sm_90", "--driver", "525.60.13")
    assert {one["column"]: one for one in body["candidates"]}["tf2.18.1-cuda12.5-py311"]["fit"] == "unknown"


def test_without_a_run_it_says_what_could_run_and_that_nothing_was_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = cli.main(["choose", "--reports", str(tmp_path), "--gpu", "h100", "--driver", "470"])
    said = capsys.readouterr()
    assert code == errors.NOTHING
    assert "Nothing was measured for this question" in said.err
    assert "blocked: driver 470 < 525.60.13 for CUDA 12.x (rule driver-cuda-12)" in said.out
    assert "tf2.14.1-cuda11.8-py311" in said.out.partition("Suggested runs")[2]
    assert "0 kernels" not in said.out


@pytest.mark.parametrize(
    ("gpus", "device"), [((), "cpu"), ((Gpu(uuid="G", name="NVIDIA L4", capability=(8, 9), memory_mb=1),), "l4")]
)
def test_without_a_run_and_a_device_it_is_about_this_host(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: Any, device: str
) -> None:
    monkeypatch.setattr("bench.cli.choose.facts.survey", lambda: GpuInventory(gpus=gpus, driver="550.54.15"))
    code, body = as_json(capsys, run=["choose", "--reports", str(tmp_path)])
    assert code == errors.NOTHING
    assert f"on {device}." in body["question"]


@pytest.mark.parametrize(
    ("text", "device"),
    [
        *[(text, "sm_90") for text in ("sm_90", "SM90", "9.0", "sm_90a")],
        *[("sm_120", "sm_120"), ("12.0", "sm_120"), ("8.6", "sm_86"), ("CPU", "cpu")],
        *[("h100", "h100"), ("NVIDIA H100 PCIe", "h100-pcie"), ("GeForce RTX 4090", "rtx-4090")],
    ],
)
def test_a_device_may_be_named_in_several_ways(text: str, device: str) -> None:
    assert choose.requested_device(text) == device


def test_a_gpu_of_the_run_needs_no_entry_in_the_list() -> None:
    column = dataclasses.replace(factory.column(), device="x9000-80gb", gpu="GPU-1")
    info = dataclasses.replace(factory.info(), columns=(column,))
    results = verdict.evaluate(factory.run(info))
    assert choose.requested_device("NVIDIA X9000", results.info) == "x9000"
    with pytest.raises(errors.ConfigError, match="Unknown GPU 'NVIDIA X9001'"):
        choose.requested_device("NVIDIA X9001", results.info)


@pytest.mark.parametrize("spelling", ["rtx5080", "rtx-5080", "NVIDIA GeForce RTX 5080", "sm_120"])
def test_rules_apply_however_a_gpu_is_spelled(capsys: pytest.CaptureFixture[str], spelling: str) -> None:
    _, body = as_json(capsys, "--gpu", spelling, "--driver", "581.29")
    blocked = {one["column"]: one["reasons"][0] for one in body["candidates"] if one["fit"] == "does not fit"}
    assert "fixed-ptx" in blocked["tf2.17.1-cuda12.3-py311"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpu", "cuda"], "Unknown GPU 'cuda'"),
        (["--gpu", HOSTILE.replace("2", "")], "Unknown GPU"),
        (["--gpu", "gtx-1655"], "Unknown GPU 'gtx-1655'; did you mean 'GTX 1650'"),
        (["--gpu", "gtx-1655"], "--gpu sm_90; nvidia-smi --query-gpu=compute_cap --format=csv shows it"),
        (["--gpu", "cpu", "--driver", "550"], "--driver requires a GPU"),
        (["--families", "convolutoins"], "did you mean 'convolutions'?"),
        (["--families", HOSTILE], "No family and no kernel"),
        (["--kernels", "matmul_f23"], "did you mean 'matmul_f32'?"),
        (["--kernels", "my_model"], "--kernel-file FILE"),
        (["--kernels", "matmul*,conv5*"], "No kernel matches 'conv5*'"),
        (["--kernels", HOSTILE], "No kernel matches"),
        (["--variation", "eager=no"], "did you mean 'eager=on'?"),
        (["--gpu", "sm_90", "--matrix", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_a_bad_question_has_its_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert cli.main([*SAMPLE, *arguments]) == errors.CONFIG
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert not {"\x1b", "\u202e"} & set(said.err)
    assert not said.out


@pytest.mark.parametrize(("text", "most"), [("1.15", "1.15"), ("15%", "1.15"), ("0%", "1"), ("12.5%", "1.125")])
def test_a_maximum_overhead_may_be_a_percentage(capsys: pytest.CaptureFixture[str], text: str, most: str) -> None:
    _, body = as_json(capsys, "--max-overhead", text)
    assert f", at most {most}x slower, " in body["question"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-overhead", "%"],
        ["--max-overhead", "-5%"],
        ["--max-overhead", "0"],
        ["--max-overhead", "0.15"],  # 15% or 1.15 was meant
        ["--max-overhead", "nan"],
        ["--max-overhead", "-1"],
        ["--driver", "x"],
        ["--format", "html"],
    ],
)
def test_bad_options_are_bad_configuration(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*SAMPLE, *arguments])
    assert caught.value.code == errors.CONFIG


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The beginning of a command that chooses by a custom kernel with a hostile name."""
    kernels = (factory.kernel(HOSTILE), *factory.CONTROLS)
    return [*measured(monkeypatch, factory.info(kernels=kernels)), "--kernels", HOSTILE]


@pytest.mark.parametrize("form", ["terminal", "markdown", "json"])
def test_hostile_names_stay_text(capsys: pytest.CaptureFixture[str], hostile: list[str], form: str) -> None:
    _, out = run_choose(capsys, "--format", form, run=hostile)
    assert "img src" in out
    assert "\x1b" not in out
    assert "\u202e" not in out
    if form == "markdown":
        assert "<img" not in re.sub(r"(?m)^      nox .*$", "", out)
        assert all(line.count("|") == line.count("\\|") + 6 for line in out.splitlines() if line.startswith("| "))


def test_a_command_survives_hostile_names(capsys: pytest.CaptureFixture[str], hostile: list[str]) -> None:
    _, body = as_json(capsys, run=hostile)
    words = shlex.split(body["missing"][0]["command"])
    assert words[:4] == ["nox", "-s", "matrix", "--"]
    assert any("$(reboot)" in word for word in words)
    assert "$(reboot)" not in words
    assert "reboot" not in words


def test_a_pair_measured_on_another_gpu_stands_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (
        factory.column("2.18.1", "12.5"),
        factory.column("2.14.1", "11.8", status="build-failed", reason="no lock"),
    )
    command = measured(monkeypatch, factory.info(columns=columns))
    code, body = as_json(capsys, "--gpu", "sm_80", run=command)
    assert code == errors.NOTHING
    (one,) = [one for one in body["candidates"] if one["column"].startswith("tf2.18.1-cuda12.5-py311")]
    assert one["unknowns"][0] == "measured on h100 (sm_90), not on sm_80"
    assert one["unknowns"][1].startswith("not run; preflight check:")
    _, body = as_json(capsys, "--gpu", "sm_120", "--driver", "535.54.03", run=command)
    (one,) = [one for one in body["candidates"] if one["column"].startswith("tf2.18.1-cuda12.5-py311")]
    assert one["fit"] == "does not fit"


def test_the_device_of_a_run_is_the_one_asked_about(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = measured(monkeypatch, factory.info(columns=(factory.column("2.18.1", "12.5"),)))
    code, body = as_json(capsys, run=command)
    assert code == errors.OK
    assert "on h100." in body["question"]
    assert body["candidates"][0]["fit"] == "fits"
    assert body["candidates"][0]["unknowns"] == []
    stems = [one["column"].partition("@")[0] for one in body["candidates"]]
    assert len(stems) == len(set(stems)) > 30
    others = [one for one in body["candidates"] if one["rank"] is None]
    assert any("driver 550.54.15 <" in text for one in others for text in one["unknowns"])


def test_a_run_of_two_devices_asks_each_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = measured(monkeypatch, factory.info(columns=(factory.column(), factory.column("2.18.1", "12.5"))))
    code, body = as_json(capsys, run=command)
    assert code == errors.OK
    assert "each pair on the device where it was measured" in body["question"]
    assert [one["fit"] for one in body["candidates"]] == ["fits", "fits"]


def test_the_suite_of_today_is_what_needs_mean(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = (factory.kernel("conv2d_fwd", "convolutions"), *factory.CONTROLS)
    command = measured(monkeypatch, factory.info(kernels=kernels))
    code, body = as_json(capsys, "--families", "conv", run=command)
    assert code == errors.GATE
    assert "not in this run (9)" in body["candidates"][0]["unknowns"][0]
    code, body = as_json(capsys, "--kernels", "conv2d_fwd", run=command)
    assert code == errors.OK


def test_a_folder_that_is_no_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["choose", "--run", "tests"]) == errors.ENGINE
    assert "is no run folder" in capsys.readouterr().err
