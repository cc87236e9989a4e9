"""The replay line: what it says, that it plans the same again, and that every spec is held before measuring."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st

from bench import cli, errors
from bench.cli import planning, reproduce
from bench.cli.parser import parser
from bench.gpu import facts
from bench.gpu.facts import Gpu, GpuInventory
from bench.plan import config, custom_kernels, devices, planner
from bench.plan.planner import Plan, Selection
from bench.report.build.reproduce import ReproduceSpec, answer, line
from bench.store import run as store
from bench.store.run_info import ColumnInfo, KernelInfo
from bench.suite.kernel_files import read_source
from bench.verdict import evaluate
from tests.unit import factory
from tests.unit.factory import Behaviour, Spot

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from bench.store.run import Run
    from bench.suite.record import Request
    from bench.verdict.results import RunResults

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "docker" / "locks"
SUITE = custom_kernels.suite([])
MATRIX = config.load(ROOT / "matrix.toml")
HOPPER = Gpu(uuid="GPU-1a2b3c4d-0000", name="NVIDIA H200", capability=(9, 0), memory_mb=143_771)
TWIN = dataclasses.replace(HOPPER, uuid="GPU-99999999-0000")
BARE, HOST = GpuInventory(why="this host shows no card"), GpuInventory(driver="570.124.06", cuda=12080, gpus=(HOPPER,))
PAIRS = [lock.stem for lock in sorted(LOCKS.glob("*.txt"))]
KERNELS = [name for name, one in SUITE.kernels.items() if not one.control]
CPU = "tf2.18.1-cpu-py311"


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(facts, "survey", lambda: BARE)


def code_of(kernel: str) -> str:
    """The hash as a worker writes it into its record."""
    return SUITE.kernels[kernel].source_hash()[:16]


def original(stem: str, kernel: str, profile: str = "nightly", seed: int = 42) -> Plan:
    """The plan of a run that measured one kernel in one pair, among others."""
    matrix = MATRIX.model_copy(
        update={"profiles": {**MATRIX.profiles, "p": MATRIX.profiles[profile].model_copy(update={"seed": seed})}}
    )
    wanted = Selection(only=(stem,), kernels=(kernel, "reduce_sum_1d"))
    on = devices.choose("cpu" if "-cpu-" in stem else "gpu", HOST)
    return planner.make(matrix, "p", wanted, LOCKS, SUITE, on)


def measured(plan: Plan, behave: Callable[[Spot], Behaviour] | None = None) -> Run:
    """The run of a plan, its records with the requests and the hashes of a real one."""
    info = factory.info(
        columns=tuple(ColumnInfo(**column.facts()) for column in plan.columns),
        kernels=tuple(KernelInfo(**kernel.declaration()) for kernel in plan.kernels),
        **{**plan.facts(), "repetitions": 2},
    )
    hashes = {kernel.name: code_of(kernel.name) for kernel in plan.kernels}
    run = factory.changed(factory.run(info, behave, keep=False), factory.facts_of_process(kernel_hashes=hashes))
    requested = {(one.variation, str(one.mode), one.number): one for one in plan.rounds}
    records = {}
    for path, one in run.records.items():
        actual = requested[one.request.variation, one.request.mode, one.request.round]
        context = {**one.request.context, "rounds": actual.planned}
        request = dataclasses.replace(actual.request(SUITE), context=context)
        in_force: dict[str, Any] = {"env": {"TF_CPP_MIN_LOG_LEVEL": "2", **request.env}}
        if request.threads is not None:
            in_force["intra_op_threads"] = request.threads
        own = factory.facts_of_process(**{name: request.expect[name] for name in ("numpy", "protobuf")})
        records[path] = own(factory.settings(**in_force)(dataclasses.replace(one, request=request)))
    return dataclasses.replace(run, records=records)


def line_of(results: RunResults, kernel: str = "matmul", **changes: Any) -> str:
    info = next(one for one in results.info.kernels if one.name == kernel)
    return line(results, results.info.columns[0], dataclasses.replace(info, **changes))


def parsed(text: str) -> argparse.Namespace:
    """A line as the command line takes it."""
    words = shlex.split(text)
    assert words[:4] == ["nox", "-s", "reproduce", "--"]
    return parser().parse_args(["reproduce", *words[4:]])


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str, str, str, int]:
    """Pair, kernel, variation in which the kernel is worst, profile and seed."""
    stem, kernel = draw(st.sampled_from(PAIRS)), draw(st.sampled_from(KERNELS))
    profile = draw(st.sampled_from(["standard", "nightly"]))
    return (
        stem,
        kernel,
        draw(st.sampled_from(MATRIX.profiles["nightly"].variations)),
        profile,
        draw(st.integers(0, 2**32 - 1)),
    )


#: Fields of a request that measuring again does not change: all but kernels, their order, and limits of a profile.
SAME = (
    "column", "mode", "variation", "round", "seed", "switch", "env", "threads", "inter", "devices", "tf32",
    "kernel_files",
    "expect", "device", "libraries", "gpu",
)  # fmt: skip


def same_requests(one: Request, other: Request, kernel: str) -> bool:
    controls = {name for name in one.kernels if SUITE.kernels[name].control}
    assert set(other.kernels) == {kernel, *controls}
    assert one.repetitions[kernel] == other.repetitions[kernel]
    assert one.second_seed <= other.second_seed, "the round that ran it may be of another variation"
    assert one.time_limit_s <= other.time_limit_s
    for key in SAME:
        assert getattr(one, key) == getattr(other, key), key
    return True


@trying(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_a_line_plans_the_rounds_of_its_run_again(case: tuple[str, str, str, str, int]) -> None:
    stem, kernel, variation, profile, seed = case
    plan = original(stem, kernel, profile, seed)
    assert plan.rounds
    planned = {name for name, names in plan.variations.items() if kernel in names}
    worst = Behaviour(digests=("a", "b", "c"))
    results = evaluate(
        measured(plan, lambda s: worst if s.variation == variation and s.kernel == kernel else factory.EXACT)
    )
    text = line_of(results, kernel)
    found = parsed(text)
    assert found.variation == (variation if variation in planned else "default")
    assert bool(found.spec.bits) == (variation not in planned)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "survey", lambda: HOST)
        again = reproduce.make_plan(found)[0]
    assert not list(reproduce.differences(again, found))
    reproduce.require_device(again, found)
    before = {
        (one.mode, one.number): one.request(SUITE)
        for one in plan.rounds
        if one.variation == found.variation and kernel in one.kernels
    }
    after = {(one.mode, one.number): one.request(SUITE) for one in again.rounds}
    assert before.keys() == after.keys()
    assert all(same_requests(one, after[key], kernel) for key, one in before.items())


class TestLine:
    """What a line says, and when there is none."""

    @pytest.fixture
    def run(self) -> Run:
        hashes = factory.facts_of_process(kernel_hashes={"matmul": "ab" * 8, "conv2d": "cd" * 8})
        return factory.changed(factory.run(), hashes)

    def test_it_is_short_and_says_all(self, run: Run) -> None:
        text = line_of(evaluate(run))
        lock, bits = factory.digest("tf2.18.1-cpu-py311")[:8], factory.digest("matmul same")[:12]
        assert text == f"nox -s reproduce -- tf2.18.1-cpu-py311@cpu matmul s42-5x3-{lock}-abababab-{bits}"
        assert len(text) < 100

    def test_it_names_no_host_because_another_one_may_repeat_it(self, run: Run) -> None:
        column = dataclasses.replace(run.info.columns[0], id="tf2.18.1-cpu-py311@cpu-gpu01", host="gpu01")
        known = {"matmul": "ab" * 8}
        of_host = factory.run(factory.info(columns=(column,)))
        text = line_of(evaluate(factory.changed(of_host, factory.facts_of_process(kernel_hashes=known))))
        assert text.startswith("nox -s reproduce -- tf2.18.1-cpu-py311@cpu matmul s42-5x3-")

    def test_what_varies_has_no_bits(self, run: Run) -> None:
        varied = Behaviour(digests=("a", "b"))
        other = factory.changed(
            factory.run(behave=lambda spot: varied if spot.mode == "on" else factory.EXACT),
            factory.facts_of_process(kernel_hashes={"matmul": "ab" * 8}),
        )
        assert line_of(evaluate(other)).endswith("-abababab")

    def test_the_worst_variation_is_replayed_and_default_before_its_equals(self) -> None:
        variations = {"isa=avx2": (), "default": (), "threads=1": ()}
        info = factory.info(variations=variations)
        hashes = factory.facts_of_process(kernel_hashes={"matmul": "ab" * 8})
        even = evaluate(factory.changed(factory.run(info), hashes))
        assert "--variation" not in line_of(even)
        bad = Behaviour(outcome="crashed")
        uneven = factory.run(info, lambda spot: bad if spot.variation == "threads=1" else factory.EXACT)
        assert line_of(evaluate(factory.changed(uneven, hashes))).endswith("-abababab --variation threads=1")

    def test_a_file_of_kernels_and_one_mode_are_named(self) -> None:
        info = factory.info(modes=("off",))
        run = factory.changed(factory.run(info), factory.facts_of_process(kernel_hashes={"matmul": "ab" * 8}))
        assert line_of(evaluate(run), file="my_kernels.py").endswith("-abababab --mode off --kernel-file my_kernels.py")

    def test_what_was_planned_and_not_measured_is_passed_over(self) -> None:
        info = factory.info(variations={"default": (), "threads=1": ()})
        run = factory.changed(factory.run(info), factory.facts_of_process(kernel_hashes={"matmul": "ab" * 8}))
        half = factory.without(run, factory.Change(variation="threads=1"))
        assert "-abababab-" in line_of(evaluate(half))
        assert "--variation" not in line_of(evaluate(half))
        assert line_of(evaluate(factory.without(half, factory.Change(mode="on")))).endswith("-abababab --mode off")

    def test_none_where_nothing_makes_it_again(self, run: Run) -> None:
        column = run.info.columns[0]

        def of(**changes: Any) -> str:
            return line_of(evaluate(dataclasses.replace(run, info=dataclasses.replace(run.info, **changes))))

        assert of()
        assert not of(engine="local")
        for changed in (
            dataclasses.replace(column, origin={"name": "x", "engine": "local"}),
            dataclasses.replace(column, lock_hash=""),
            dataclasses.replace(column, lock_hash="not a hash"),
        ):
            assert not of(columns=(changed,))
        assert of(columns=(dataclasses.replace(column, origin={"name": "x", "engine": "venv"}),))
        for seed in (2**32, -1, "42", None, 4.5):
            assert not of(seed=seed)
        assert not line_of(evaluate(dataclasses.replace(run, records={})))

    def test_none_where_the_code_is_not_known_or_not_one(self, run: Run) -> None:
        assert not line_of(evaluate(factory.run()))
        strange: tuple[Any, ...] = ({"matmul": 3}, {"matmul": "x; rm -rf /"}, [], "matmul", {})
        for hashes in strange:
            assert not line_of(evaluate(factory.changed(run, factory.facts_of_process(kernel_hashes=hashes))))
        two = factory.changed(
            run, factory.facts_of_process(kernel_hashes={"matmul": "ef" * 8}), factory.Change(mode="on", rounds=(2,))
        )
        assert not line_of(evaluate(two))

    HOSTILE = (
        "a;b", "a b", "$(a)", "`a`", "a|b", "a&b", "a'b", 'a"b', "a\\b", "a\nb", "-rf", "--allow-mismatch", "~a", "a*",
        "a?", "a>b", "größe", "\u202ea", "a#b", "{a,b}", "!a", "a\x00b", "a/b", "a\n",
    )  # fmt: skip

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_name_that_a_shell_would_read_gives_no_line(self, name: str) -> None:
        hashes = factory.facts_of_process(kernel_hashes={name: "ab" * 8, "matmul": "ab" * 8})
        infos = (
            (factory.info(kernels=(factory.kernel(name), *factory.CONTROLS)), name),
            (factory.info(columns=(factory.column(id=name),)), "matmul"),
            (factory.info(variations={name: ()}), "matmul"),
        )
        for info, kernel in infos:
            assert not line_of(evaluate(factory.changed(factory.run(info), hashes)), kernel)
        run = factory.changed(factory.run(), hashes)
        assert line_of(evaluate(run))
        assert not line_of(evaluate(run), file=name)

    @given(st.text(min_size=1, max_size=12))
    def test_whatever_the_names_a_shell_reads_a_line_as_it_stands(self, name: str) -> None:
        hashes = factory.facts_of_process(kernel_hashes={"matmul": "ab" * 8})
        text = line_of(evaluate(factory.changed(factory.run(), hashes)), file=name)
        if text:
            assert shlex.join(shlex.split(text)) == text
            assert re.fullmatch(r"[\w .=@+-]+", text, re.ASCII)


class TestPin:
    """The spec as text."""

    @given(
        st.integers(0, 2**32 - 1), st.integers(1, 1000), st.integers(1, 1000),
        st.text("0123456789abcdef", min_size=8, max_size=64), st.text("0123456789abcdef", min_size=8, max_size=64),
        st.one_of(st.just(""), st.text("0123456789abcdef", min_size=8, max_size=64)),
    )  # fmt: skip
    def test_it_comes_back_as_it_was(
        self, seed: int, rounds: int, repetitions: int, lock: str, code: str, bits: str
    ) -> None:
        spec = ReproduceSpec(seed=seed, rounds=rounds, repetitions=repetitions, lock=lock, code=code, bits=bits)
        assert ReproduceSpec.parse(spec.text) == spec

    @pytest.mark.parametrize(
        "text",
        ["", "s42", "42-5x20-3f2a1b9c-d41d8cd9", "s42-5x20-3f2a1b9-d41d8cd9", "s42-0x20-3f2a1b9c-d41d8cd9",
         "s42-1001x20-3f2a1b9c-d41d8cd9", "s4294967296-5x20-3f2a1b9c-d41d8cd9", "s042-5x20-3f2a1b9c-d41d8cd9",
         "s42-5x20-3F2A1B9C-d41d8cd9", "s42-5x20-3f2a1b9c-d41d8cd9-", "s42-5x20-3f2a1b9c-d41d8cd9\n",
         "s٤٢-5x20-3f2a1b9c-d41d8cd9"],
    )  # fmt: skip
    def test_anything_else_is_refused(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(ValueError, match="is not a SPEC"):
            ReproduceSpec.parse(text)
        with pytest.raises(SystemExit) as caught:
            cli.main(["reproduce", f"{CPU}@cpu", "matmul_f32", text])
        assert caught.value.code == errors.CONFIG
        assert "is not a SPEC" in capsys.readouterr().err


def spec_of(kernel: str = "matmul_f32", stem: str = CPU, **changes: Any) -> str:
    """A spec that fits this checkout."""
    lock = LOCKS / f"{stem}.txt"
    column = dataclasses.replace(original(CPU, kernel).columns[0], lock=lock)
    spec = ReproduceSpec(seed=42, rounds=2, repetitions=3, lock=column.lock_hash()[:8], code=code_of(kernel)[:8])
    return dataclasses.replace(spec, **changes).text


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Plans that came so far as to be measured; nothing is."""
    plans: list[Plan] = []

    def measure(plan: Plan, given: argparse.Namespace, _: object) -> None:
        assert given.no_resume
        assert given.reports == Path("reports/reproduce")
        plans.append(plan)

    monkeypatch.setattr(reproduce, "measure", measure)
    return plans


class TestHeld:
    """One sentence says each thing that does not fit, before anything is measured."""

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"lock": "00000000"}, [f"{CPU}.txt has the hash", "00000000 on the page", "other wheels"]),
            ({"code": "00000000"}, ["The code of matmul_f32 in the suite", "00000000 on the page", "other code"]),
            ({"lock": "00000000", "code": "00000000"}, ["other wheels would be installed.\nThe code of"]),
        ],
    )
    def test_every_difference_is_refused_unless_allowed(
        self, ran: list[Plan], capsys: pytest.CaptureFixture[str], changes: dict[str, str], words: list[str]
    ) -> None:
        words = [*words, "git checkout REVISION", "--allow-mismatch"]
        arguments = ["reproduce", f"{CPU}@cpu", "matmul_f32", spec_of(**changes)]
        assert cli.main(arguments) == errors.CONFIG
        said = capsys.readouterr()
        assert all(word in said.err for word in words), said.err
        assert not ran
        assert cli.main([*arguments, "--allow-mismatch"]) == errors.OK
        assert "note: " in capsys.readouterr().err
        assert len(ran) == 1

    def test_what_fits_is_measured_with_the_pins_numbers(self, ran: list[Plan]) -> None:
        assert cli.main(["reproduce", f"{CPU}@cpu", "matmul_f32", spec_of(seed=7), "--variation", "isa=avx2"]) == 0
        (plan,) = ran
        assert {one.seed for one in plan.rounds} == {7}
        assert [(one.mode, one.number) for one in plan.rounds] == [("off", 1), ("on", 1), ("on", 2), ("off", 2)]
        assert {one.variation for one in plan.rounds} == {"isa=avx2"}
        assert {one.repetitions["matmul_f32"] for one in plan.rounds} == {3}
        assert {one.planned for one in plan.rounds} == {2}

    def test_what_the_matrix_has_changed_meanwhile_changes_no_replay(self, ran: list[Plan], tmp_path: Path) -> None:
        text = (ROOT / "matrix.toml").read_text(encoding="utf-8")
        text = text.replace("exclude = []", 'exclude = ["tf2.18*"]').replace('skip = ["*_xla"]', 'skip = ["matmul_*"]')
        text += '\n[[overrides]]\nselect = "tf2.18*"\nrounds = 9\nrepetitions = 9\n'
        text += 'skip = ["matmul_*"]\ntime_limit_s = 500\n'
        (tmp_path / "matrix.toml").write_text(text, encoding="utf-8")
        more = ("--variation", "isa=avx2", "--matrix", str(tmp_path / "matrix.toml"))
        assert cli.main(["reproduce", f"{CPU}@cpu", "matmul_f32", spec_of(repetitions=8), *more]) == 0
        (plan,) = ran
        assert len(plan.rounds) == 4
        assert {one.repetitions["matmul_f32"] for one in plan.rounds} == {8}
        assert {one.time_limit_s for one in plan.rounds} == {500}

    def test_a_missing_lock_is_a_difference(
        self, ran: list[Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        spec = spec_of()
        monkeypatch.setattr(planning, "LOCKS", tmp_path)
        assert cli.main(["reproduce", f"{CPU}@cpu", "matmul_f32", spec]) == errors.CONFIG
        assert f"docker/locks has no {CPU}.txt" in capsys.readouterr().err
        assert not ran

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["tf2.18.1-cpu", "matmul_f32"], errors.CONFIG, ["is not the id of a column", "tf2.18.1-cpu-py311@cpu"]),
            (["tf9.9.9-cpu-py311@cpu", "matmul_f32"], errors.NOTHING, ["No CPU pair matches tf9.9.9-cpu-py311"]),
            ([f"{CPU}@cpu", "matmul_f23"], errors.CONFIG, ["no kernel 'matmul_f23'", "Did you mean 'matmul_f32'?"]),
            ([f"{CPU}@cpu", "matmul*"], errors.CONFIG, ["no kernel 'matmul*'", "--kernel-file FILE"]),
            ([f"{CPU}@cpu", "matmul_f32", "--variation", "isa=avx3"], errors.CONFIG, ["Did you mean 'isa=avx2'?"]),
            (
                [f"{CPU}@cpu", "matmul_f32", "--kernel-file", "nowhere.py"],
                errors.CONFIG,
                ["nowhere.py", "cannot be read"],
            ),
        ],
    )
    def test_every_mistake_has_its_sentence(
        self, ran: list[Plan], capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: list[str]
    ) -> None:
        assert cli.main(["reproduce", *arguments[:2], spec_of(), *arguments[2:]]) == code
        said = capsys.readouterr()
        assert all(word in said.err for word in [*words, "error:", "hint:"]), said.err
        assert not said.out
        assert not ran

    @pytest.mark.parametrize("digest", ["xyz", "4FDEDF20592D", "4fd", ""])
    def test_a_digest_that_is_none(self, digest: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            cli.main(["reproduce", f"{CPU}@cpu", "matmul_f32", spec_of(), "--digest", digest])
        assert "invalid digest" in capsys.readouterr().err

    def test_a_kernel_of_ones_own_is_held_too(
        self, ran: list[Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        head = "from bench.suite.kernels import kernel\n\n"
        actual = "family='own', exercises='mine', shapes='[8]', dtypes='float32', source='own'"
        file = tmp_path / "my_kernels.py"
        file.write_text(f"{head}@kernel({actual})\ndef mine(tf, seed):\n    return lambda: {{}}\n", encoding="utf-8")
        code = custom_kernels.suite([read_source(file)]).kernels["mine"].source_hash()
        arguments = ["reproduce", f"{CPU}@cpu", "mine", spec_of(code=code[:8]), "--kernel-file", str(file)]
        assert cli.main(arguments) == errors.OK
        assert ran[0].rounds[0].kernels[0] in {"mine", *(name for name in SUITE.kernels if "control" in name)}
        file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
        assert cli.main(arguments) == errors.CONFIG
        assert "The code of mine in my_kernels.py" in capsys.readouterr().err


class TestDevice:
    """A column of a GPU is replayed on that model, or nowhere."""

    CUDA = "tf2.18.1-cuda12.5-py311"

    def replayed(self, monkeypatch: pytest.MonkeyPatch, survey: GpuInventory, device: str, *more: str) -> int:
        monkeypatch.setattr(facts, "survey", lambda: survey)
        return cli.main(["reproduce", f"{self.CUDA}@{device}", "matmul_f32", spec_of(stem=self.CUDA), *more])

    def test_without_a_gpu_it_ends_as_the_matrix_does(
        self, ran: list[Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for more in ((), ("--allow-mismatch",)):
            assert self.replayed(monkeypatch, BARE, "h100", *more) == errors.NO_GPU
            assert "The column is for the GPU h100, but this host shows no card." in capsys.readouterr().err
        assert not ran

    def test_another_model_is_refused_unless_allowed(
        self, ran: list[Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.replayed(monkeypatch, HOST, "h100") == errors.NO_GPU
        assert "is for the GPU h100, but this host has NVIDIA H200" in capsys.readouterr().err
        assert not ran
        assert self.replayed(monkeypatch, HOST, "h100", "--allow-mismatch") == errors.OK
        assert "is measured on NVIDIA H200" in capsys.readouterr().err
        assert ran[0].columns[0].id == f"{self.CUDA}@h200"

    @pytest.mark.parametrize(
        ("device", "uuid"), [("h200", HOPPER.uuid), ("h200-99999999", TWIN.uuid), ("h200-1a2b3c4d", HOPPER.uuid)]
    )
    def test_the_gpu_of_the_column_is_taken(
        self, ran: list[Plan], monkeypatch: pytest.MonkeyPatch, device: str, uuid: str
    ) -> None:
        both = dataclasses.replace(HOST, gpus=(HOPPER, TWIN))
        assert self.replayed(monkeypatch, both, device) == errors.OK
        assert {one.column.gpu for one in ran[0].rounds} == {uuid}

    def test_an_idle_one_of_two_is_taken(self, ran: list[Plan], monkeypatch: pytest.MonkeyPatch) -> None:
        busy = dataclasses.replace(HOPPER, processes={1: 100})
        assert self.replayed(monkeypatch, dataclasses.replace(HOST, gpus=(busy, TWIN)), "h200") == errors.OK
        assert {one.column.gpu for one in ran[0].rounds} == {TWIN.uuid}


class TestAnswer:
    """Whether the bits are those of the page, in words and in the exit code."""

    BITS = factory.digest("matmul_f32 same")
    OTHER = factory.digest("matmul_f32 else")

    @pytest.fixture(autouse=True)
    def _fake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.code = errors.OK
        self.behaviour = factory.EXACT
        monkeypatch.setattr(reproduce, "measure", lambda plan, *_: self.remember(plan))
        monkeypatch.setattr(reproduce, "show", lambda *_: self.code)
        monkeypatch.setattr(store, "load", lambda _: measured(self.plan, self.behave))

    def remember(self, plan: Plan) -> Path:
        self.plan = plan
        return Path("nowhere")

    def behave(self, spot: Spot) -> Behaviour:
        if spot.kernel != "matmul_f32" or spot.mode == "off":
            return factory.EXACT
        return self.behaviour

    def replayed(self, capsys: pytest.CaptureFixture[str], *more: str, **spec: Any) -> tuple[int, str]:
        code = cli.main(["reproduce", f"{CPU}@cpu", "matmul_f32", spec_of(rounds=5, **spec), *more])
        return code, capsys.readouterr().out

    def test_the_same_bits(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, said = self.replayed(capsys, bits=self.BITS[:12])
        assert (code, said) == (
            0, f"determinism on: same bits as before, {self.BITS[:12]}, in all 10 repetitions of 5 processes\n",
        )  # fmt: skip
        assert self.replayed(capsys, "--digest", self.BITS)[0] == 0
        assert self.replayed(capsys, "--digest", self.BITS[:8])[0] == 0

    def test_other_bits(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.behaviour = Behaviour(digests=("else",))
        code, said = self.replayed(capsys, bits=self.BITS[:12])
        assert code == errors.GATE
        assert f"determinism on: other bits, {self.OTHER[:12]}" in said
        assert f"expected: {self.BITS[:12]}. The expected bits are those of determinism off." in said

    def test_bits_of_nowhere_name_the_machine(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, said = self.replayed(capsys, bits="0" * 12)
        assert code == errors.GATE
        assert "Other machines can give other bits; this one: CPU" in said

    def test_it_varies(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.behaviour = Behaviour(digests=("same", "else"))
        code, said = self.replayed(capsys, bits=self.BITS[:12])
        assert code == errors.GATE
        assert said.startswith("determinism on: nondeterministic.")
        assert self.replayed(capsys)[0] == errors.OK, "the page's varied too, and its gates have spoken"

    def test_bits_that_prove_nothing_are_no_answer(self, capsys: pytest.CaptureFixture[str]) -> None:
        for bad in (Behaviour(outcome="crashed"), Behaviour(second_seed="same")):
            self.behaviour = bad
            code, said = self.replayed(capsys, bits=self.BITS[:12])
            assert code == errors.GATE
            assert said.startswith("determinism on: no bits to compare, ")

    def test_off_is_compared_with_what_was_named_only(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, said = self.replayed(capsys, "--mode", "off", bits=self.OTHER[:12])
        assert code == errors.OK
        assert "no expected bits were given" in said
        assert self.replayed(capsys, "--mode", "off", "--digest", self.OTHER[:12])[0] == errors.GATE
        assert self.replayed(capsys, "--mode", "off", "--digest", self.BITS[:12])[0] == errors.OK

    def test_trouble_of_the_run_has_its_own_code(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.code = errors.ENGINE
        assert self.replayed(capsys, bits=self.BITS[:12])[0] == errors.ENGINE
        self.code = errors.GATE
        assert self.replayed(capsys, bits=self.BITS[:12])[0] == errors.GATE

    def test_half_a_digest_is_not_the_same(self) -> None:
        results = evaluate(measured(original(CPU, "matmul_f32")))
        found = results.of(f"{CPU}@cpu", "matmul_f32", "default", "on")
        assert found is not None
        whole = found.comparison.digests[0][0]
        assert answer(results, found, whole).word == "same"
        assert answer(results, found, whole[:8]).word == "same"
        assert answer(results, found, whole[1:9]).word == "other"
        assert answer(results, found, "").word == "unknown"


class TestVariation:
    """``nox -s matrix -- --variation``."""

    def test_it_takes_the_place_of_the_profiles(self) -> None:
        chosen = Selection(only=(CPU,), kernels=("matmul_f32",), variations=("isa=avx2", "threads=3"))
        plan = planner.make(MATRIX, "standard", chosen, LOCKS, SUITE)
        assert list(plan.variations) == ["isa=avx2", "threads=3"], "one that matrix.toml does not name is known, too"
        assert {one.variation for one in plan.rounds} == {"isa=avx2", "threads=3"}
        assert {one.request(SUITE).threads for one in plan.rounds} == {None, 3}

    def test_its_table_still_limits_it(self) -> None:
        plan = planner.make(MATRIX, "standard", Selection(only=(CPU,), variations=("isa=avx2",)), LOCKS, SUITE)
        assert "mlp_fit" not in plan.variations["isa=avx2"]
        assert plan.rounds[0].repetitions["matmul_f32"] == 5

    def test_one_that_has_nothing_to_run_is_told(self) -> None:
        chosen = Selection(only=(CPU,), variations=("default", "tf32=off"))
        plan = planner.make(MATRIX, "standard", chosen, LOCKS, SUITE)
        assert any("tf32=off is left out" in note for note in plan.notes)
        with pytest.raises(errors.NothingError, match="no round"):
            planner.make(MATRIX, "standard", Selection(only=(CPU,), variations=("tf32=off",)), LOCKS, SUITE)

    @pytest.mark.parametrize(
        ("name", "near"), [("isa=avx3", "isa=avx2"), ("thread=1", "threads=1"), ("tf32=of", "tf32=off"), ("", "")]
    )
    def test_an_unknown_one_is_bad_configuration_with_the_nearest(
        self, name: str, near: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["matrix", "--dry-run", "--engine", "venv", "--variation", f"{name},default" if name else "nope"]
        assert cli.main(arguments) == errors.CONFIG
        said = capsys.readouterr().err
        assert "is not a variation" in said
        assert (f"Did you mean {near!r}?" in said) if near else ("Did you mean" not in said)
        assert "matrix.toml names: threads=1" in said
