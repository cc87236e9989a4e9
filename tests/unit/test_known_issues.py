"""Known known_issues: found by exact words, by release, by device; and the file that holds them is sound."""

from __future__ import annotations

import pytest
from packaging.specifiers import SpecifierSet

from bench.suite.kernels import all_kernels
from bench.verdict import Status, evaluate
from bench.verdict.known_issues import KnownIssuesError, known, load, match, of_kernel
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

WRAPPED = "{{{{function_node __wrapped__X_device_/job:localhost/task:0/device:GPU:0}}}} {} [Op:X] name: "
CONTRAST = WRAPPED.format("A deterministic GPU implementation of AdjustContrastv2 is not currently available.")
UNSEEDED = (
    "Random ops require a seed to be set when determinism is enabled. Please set a seed before running the op, "
    "e.g. by calling tf.random.set_seed(1)."
)


@pytest.mark.parametrize(
    ("error", "message", "tensorflow", "device", "expected"),
    [
        ("UnimplementedError", CONTRAST, "2.18.1", "h100", "adjust-contrast"),
        ("tensorflow.errors.UnimplementedError", CONTRAST, "2.18.1", "", "adjust-contrast"),
        ("UnimplementedError", CONTRAST, "2.19.0-rc1", "h100", "adjust-contrast"),
        ("UnimplementedError", CONTRAST, "unknown", "h100", "adjust-contrast"),
        ("UnimplementedError", CONTRAST, "2.6.5", "h100", None),
        ("UnimplementedError", CONTRAST, "2.18.1", "cpu", None),
        ("InvalidArgumentError", CONTRAST, "2.18.1", "h100", "adjust-contrast"),
        ("RuntimeError", CONTRAST, "2.18.1", "h100", "adjust-contrast"),
        ("KeyError", CONTRAST, "2.18.1", "h100", None),
        ("UnimplementedError", "the op is not implemented", "2.18.1", "h100", None),
        ("UnimplementedError", "", "2.18.1", "h100", None),
        ("RuntimeError", UNSEEDED, "2.21.0", "cpu", "random-unseeded"),
        (
            "RuntimeError",
            '"get_global_generator" cannot be called if determinism is enabled, unless "set_global_generator" has ...',
            "2.15.1",
            "cpu",
            "generator-global",
        ),
        (
            "FailedPreconditionError",
            "{{function_node x}} Timestamp cannot be called when determinism is enabled [Op:Timestamp]",
            "2.15.1",
            "cpu",
            "timestamp",
        ),
        (
            "ValueError",
            "tf.image.sample_distorted_bounding_box requires a non-zero seed to be passed in when determinism is ...",
            "2.21.0",
            "cpu",
            "distorted-box",
        ),
        ("UnimplementedError", "Determinism is not yet supported for Svd.", "2.10.1", "h100", "svd"),
        (
            "UnimplementedError",
            "Determinism is not yet supported for SVD of matrices with 1 column.",
            "2.21.0",
            "h100",
            "svd-one-column",
        ),
        (
            "UnimplementedError",
            "HLO instruction %s does not have a deterministic implementation, but run-to-run determinism is required.",
            "2.19.1",
            "h100",
            "xla-hlo",
        ),
        (
            "UnimplementedError",
            "Determinism is not yet supported in GPU implementation of FakeQuantWithMinMaxVarsPerChannelGradient.",
            "2.18.1",
            "h100",
            "fake-quant-per-channel",
        ),
    ],
)
def test_an_error_is_known_by_its_words(
    error: str, message: str, tensorflow: str, device: str, expected: str | None
) -> None:
    found = match(error, message, tensorflow, device)
    assert (found.id if found else None) == expected


def test_every_entry_is_found_by_its_own_message() -> None:
    for entry in known():
        inside = next(
            version
            for version in ("2.6.0", "2.8.0", "2.12.0", "2.15.1", "2.21.0")
            if SpecifierSet(entry.tensorflow).contains(version)
        )
        if entry.kernel:
            assert entry.kernel in all_kernels()
            compile(entry.known_issue.reproducer, entry.known_issue.id, "exec")
            found = of_kernel(entry.kernel, "default", entry.modes or "on", inside, "cpu")
        else:
            found = match(entry.error, WRAPPED.format(entry.message), inside)
        assert found == entry.known_issue
        assert found.advice.endswith(".")
        assert found.source


ENTRY = '[[known_issue]]\nid = "x"\ntitle = "t"\nadvice = "a."\nsource = "s"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ENTRY, "either a message or a kernel"),
        (f'{ENTRY}message = "m"\nkernel = "k"\n', "either a message or a kernel"),
        (f'{ENTRY}message = "m"\ncolour = "red"\n', "colour"),
        ('[[known_issue]]\nid = "x"\nmessage = "m"\n', "missing"),
        (f'{ENTRY}message = "m"\ntensorflow = "new"\n', "new"),
        (f'{ENTRY}kernel = "k"\n', "its why and its reproducer"),
        (f'{ENTRY}message = "m"\n{ENTRY}message = "n"\n', "two known issues"),
    ],
)
def test_a_wrong_file_says_where(text: str, why: str) -> None:
    with pytest.raises(KnownIssuesError, match=why):
        load(text)


def test_a_kernel_that_varies_has_its_why_and_a_reproducer(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"""{ENTRY}kernel = "matmul"
variation = "threads=4xcores"
why = "work is stolen"
reproducer = '''
import tensorflow as tf
'''
"""
    entries = load(text)
    monkeypatch.setattr("bench.verdict.known_issues.known", lambda: entries)
    facts = factory.info(variations={"default": (), "threads=4xcores": ()})
    varies = Behaviour(digests=("a", "b"))
    evaluated = evaluate(factory.run(facts, lambda spot: varies if spot.kernel == "matmul" else EXACT))
    found = {
        (one.variation, one.mode, one.kernel): one.known_issue
        for one in evaluated.verdicts
        if one.known_issue is not None
    }
    assert list(found) == [("threads=4xcores", "on", "matmul")]
    shown = found["threads=4xcores", "on", "matmul"]
    assert shown is not None
    assert (shown.why, shown.reproducer) == ("work is stolen", "import tensorflow as tf\n")


def test_verdicts_carry_the_known_issue_behind_an_error() -> None:
    def behave(spot: Spot) -> Behaviour:
        if spot.mode == "off":
            return EXACT
        return {
            "matmul": Behaviour(outcome="error", error_class="UnimplementedError", message=CONTRAST),
            "conv2d": Behaviour(outcome="error", error_class="RuntimeError", message=UNSEEDED),
        }.get(spot.kernel, EXACT)

    column = factory.column(cuda="12.5")
    evaluated = evaluate(factory.run(factory.info(columns=(column,)), behave))
    for name, status, title in (
        ("matmul", Status.UNSUPPORTED, "adjust_contrast on a GPU"),
        ("conv2d", Status.UNSUPPORTED, "A random op without a seed"),
    ):
        found = evaluated.of(column.id, name, "default", "on")
        assert found is not None
        assert found.known_issue is not None
        assert (found.status, found.known_issue.title) == (status, title)
