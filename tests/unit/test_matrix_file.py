"""matrix.toml: the shipped file, its schema, and every way to get it wrong."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.errors import ConfigError
from bench.plan import column_selection, config, custom_kernels, planner
from bench.plan.config_models import Matrix
from bench.plan.planner import Selection
from bench.plan.releases import releases

if TYPE_CHECKING:
    from pathlib import Path

    from bench.plan.column import Pair

GOOD = """
[[pairs]]
tensorflow = "2.18.1"
cuda = "cpu"
keras = "3.15.1"

[profiles.quick]
rounds = 3
repetitions = 2
"""


def own_packages(*packages: str) -> str:
    """A file whose pair has further packages."""
    listed = ", ".join(f'"{package}"' for package in packages)
    return GOOD.replace('"cpu"', f'"cpu"\nname = "mine"\npackages = [{listed}]')


def test_pairs_of_the_same_versions_are_told_apart_by_their_names(tmp_path: Path) -> None:
    text = own_packages("tf-keras == 2.18.0", "scipy>=1.14,<2") + GOOD.partition("[profiles")[0]
    own, plain = (row.pair for row in column_selection.listed(config.load(write(tmp_path, text))))
    assert (own.id, plain.id) == ("tf2.18.1-cpu-mine", "tf2.18.1-cpu")
    assert own.packages == ("tf-keras==2.18.0", "scipy<2,>=1.14")
    with pytest.raises(ConfigError, match=r"names tf2\.18\.1-cpu-py311 more than once"):
        column_selection.listed(config.load(write(tmp_path, text.replace('name = "mine"\npackages', "#"))))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "matrix.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_is_valid_and_has_the_three_profiles(root: Path) -> None:
    matrix = config.load(root / "matrix.toml")
    assert set(matrix.profiles) == {"quick", "standard", "nightly"}
    assert {pair.tensorflow for pair in matrix.pairs} >= {"2.15.1", "2.18.1", "2.21.0"}
    wanted = {"default", "threads=1", "threads=4xcores", "onednn=0", "isa=avx2", "tf32=off", "eager=on", "switch=env"}
    assert set(matrix.profiles["nightly"].variations) == wanted
    assert matrix.profiles["nightly"].rounds >= 5
    assert (matrix.profiles["nightly"].repetitions, matrix.profiles["nightly"].heavy_repetitions) == (20, 5)
    assert matrix.suite.kernel_files == ()


@pytest.mark.parametrize(("profile", "pairs"), [("quick", 3), ("standard", 3), ("nightly", 8)])
def test_every_shipped_pattern_matches_something(root: Path, profile: str, pairs: int) -> None:
    plan = planner.make(
        config.load(root / "matrix.toml"), profile, Selection(), root / "docker" / "locks", custom_kernels.suite([])
    )
    assert len(plan.ready) == len(plan.columns) == pairs
    assert {item.variation for item in plan.rounds} == set(plan.variations)
    families = {kernel.family for kernel in plan.kernels}
    assert families >= {"training", "linalg", "reductions", "segments", "convolutions", "controls"}


OFFICIAL = {
    ("2.14.1", "11.8", "8.7.0.84"), ("2.15.1", "12.2", "8.9.4.25"), ("2.16.2", "12.3", "8.9.7.29"),
    ("2.17.1", "12.3", "8.9.7.29"), ("2.18.1", "12.5", "9.3.0.75"), ("2.19.1", "12.5", "9.3.0.75"),
    ("2.20.0", "12.5", "9.3.0.75"), ("2.21.0", "12.5", "9.3.0.75"),
}  # fmt: skip


class TestShippedPairs:
    """The pairs of the shipped file, by kind and by the profiles that take them."""

    def pairs(self, root: Path, profile: str) -> list[Pair]:
        rows = column_selection.listed(config.load(root / "matrix.toml"))
        assert not [row.pair.id for row in rows if row.pair.refused]
        return [row.pair for row in rows if row.in_profile(profile)]

    @pytest.mark.parametrize("profile", ["quick", "standard", "nightly"])
    def test_the_eight_official_pairs_are_in_every_profile(self, root: Path, profile: str) -> None:
        found = {
            (pair.tensorflow, pair.cuda, pair.cudnn) for pair in self.pairs(root, profile) if pair.kind == "official"
        }
        assert found == OFFICIAL

    def test_forward_pairs_are_nightly_only(self, root: Path) -> None:
        assert {pair.kind for pair in self.pairs(root, "standard")} == {"official", "cpu"}
        forward = [pair for pair in self.pairs(root, "nightly") if pair.kind == "forward"]
        steps = {(pair.tensorflow, pair.cuda) for pair in forward if not pair.own_cudnn}
        older = {
            (release, cuda) for release in ("2.15.1", "2.16.2", "2.17.1") for cuda in ("12.4", "12.6", "12.8", "12.9")
        }
        newer = {
            (release, cuda) for release in ("2.18.1", "2.19.1", "2.20.0", "2.21.0") for cuda in ("12.6", "12.8", "12.9")
        }
        assert steps == older | newer
        assert {(pair.id, pair.cudnn) for pair in forward if pair.own_cudnn} == {
            ("tf2.18.1-cuda12.9-cudnn9.10", "9.10.2.21"),
            ("tf2.21.0-cuda12.9-cudnn9.10", "9.10.2.21"),
        }

    def test_forward_pairs_change_one_thing(self, root: Path) -> None:
        """CUDA moves with its release's own cuDNN, and cuDNN moves on a CUDA that is there without it."""
        found = self.pairs(root, "nightly")
        plain = {(pair.tensorflow, pair.cuda) for pair in found if not pair.own_cudnn}
        assert {(pair.tensorflow, pair.cuda) for pair in found if pair.own_cudnn} <= plain

    def test_legacy_pairs_are_in_no_profile(self, root: Path) -> None:
        listed = column_selection.listed(config.load(root / "matrix.toml"))
        found = {row.pair.tensorflow for row in listed if row.profiles == ()}
        assert found == {"2.10.1", "2.11.1", "2.12.1", "2.13.1"}
        assert {row.pair.cuda for row in listed if row.profiles == ()} == {"cpu", "11.8"}
        assert {row.pair.kind for row in listed if row.profiles == ()} == {"cpu", "legacy"}

    def test_every_release_has_a_cpu_pair_and_one_keras_in_all_its_pairs(self, root: Path) -> None:
        rows = [row.pair for row in column_selection.listed(config.load(root / "matrix.toml"))]
        kerases = {
            release: {row.keras for row in rows if row.tensorflow == release}
            for release in {row.tensorflow for row in rows}
        }
        assert all(len(found) == 1 for found in kerases.values())
        assert {row.tensorflow for row in rows if row.cuda == "cpu"} == set(kerases)
        assert {release.latest for release in releases().values()} == set(kerases)

    def test_the_base_has_the_python_of_its_pair(self, root: Path) -> None:
        for row in column_selection.listed(config.load(root / "matrix.toml")):
            assert row.pair.base == f"python:{row.pair.python}-slim-bookworm"


def test_all_optional_keys(tmp_path: Path) -> None:
    text = """
[suite]
kernel_files = ["my_kernels.py", { path = "project", include = ["*.py"], exclude = ["tests"] }]

[variations."tf32=off"]
skip = ["control_*"]
repetitions = 2
heavy_repetitions = 1

[variations."threads=4xcores"]
modes = ["off"]
"""
    matrix = config.load(write(tmp_path, GOOD + text))
    assert [(one.path, one.include, one.exclude) for one in matrix.suite.kernel_files] == [
        ("my_kernels.py", (), ()), ("project", ("*.py",), ("tests",)),
    ]  # fmt: skip
    table = matrix.variations["tf32=off"]
    assert (table.kernels, table.skip, table.repetitions, table.heavy_repetitions) == (("*",), ("control_*",), 2, 1)
    other = matrix.variations["threads=4xcores"]
    assert (other.modes, other.repetitions) == (("off",), None)


def test_the_shipped_schema_is_the_generated_one_and_accepts_the_shipped_file(root: Path) -> None:
    text = (root / "bench" / "plan" / "matrix.schema.json").read_text(encoding="utf-8")
    assert text == config.schema(), "run: python -m bench schema > bench/plan/matrix.schema.json"
    data = tomllib.loads((root / "matrix.toml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(text)).validate(data)


def test_the_schema_refuses_unknown_keys_too(root: Path) -> None:
    data = tomllib.loads((root / "matrix.toml").read_text(encoding="utf-8"))
    data["profile"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json.loads(config.schema())).validate(data)


def test_models_are_frozen(tmp_path: Path) -> None:
    matrix = config.load(write(tmp_path, GOOD))
    with pytest.raises(ValidationError):
        matrix.pairs = ()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (GOOD + "\n[profile.x]\nrounds = 1", ["unknown table", "did you mean 'profiles'"]),
        (GOOD.replace("repetitions", "repetition"), ["profiles -> quick -> repetition", "did you mean 'repetitions'"]),
        (GOOD.replace("keras", "kerras"), ["pairs[1] -> kerras", "did you mean 'keras'"]),
        (GOOD.replace("keras", "kerras"), ["pairs[1] -> keras: this key is missing"]),
        (GOOD.replace("rounds = 3", 'rounds = "3"'), ["profiles -> quick -> rounds", 'given: "3"']),
        (GOOD.replace("rounds = 3", "rounds = 0"), ["greater than or equal to 1"]),
        (GOOD.replace('"2.18.1"', '"2.18"'), ["pairs[1] -> tensorflow"]),
        (GOOD.replace('"2.18.1"', "2.18"), ["pairs[1] -> tensorflow", "string"]),
        (GOOD.replace('"cpu"', '["cpu", "12"]'), ["pairs[1] -> cuda[2]", 'given: "12"']),
        (GOOD.replace('"cpu"', "12.5"), ["pairs[1] -> cuda", "string"]),
        (GOOD.replace('"cpu"', "[]"), ["pairs[1] -> cuda", "at least 1"]),
        (GOOD.replace('"cpu"', '"12.5"\ncudnn = "9.3"'), ["pairs[1] -> cudnn"]),
        (GOOD.replace('"cpu"', '"12.5"\ncudn = "9.3.0.75"'), ["pairs[1] -> cudn", "did you mean 'cudnn'"]),
        (GOOD.replace('"cpu"', '"cpu"\npackages = ["scipy"]'), ["pairs[1]", "a pair with packages needs a name"]),
        (own_packages("tensorflow==2.18.0"), ["packages", "tensorflow follows from tensorflow, cuda, cudnn"]),
        (own_packages("Nvidia_cublas-cu12"), ["packages", "Nvidia_cublas-cu12 follows from"]),
        (own_packages("-r other.txt"), ["packages", "is no requirement such as scipy==1.14.1"]),
        (own_packages("scipy\\n--index-url=http://x"), ["packages", "is no requirement"]),
        (own_packages("x @ https://example.org/x.whl"), ["packages", "names an address"]),
        (own_packages("scipy").replace("mine", "Mine"), ["pairs[1] -> name"]),
        (GOOD.replace('"cpu"', '["cpu", "12.5"]\ncudnn = "9.3.0.75"'), ["pairs[1]", "a CPU pair has no cuDNN"]),
        (GOOD.replace('"cpu"', '"cpu"\nallow_older = "yes"'), ["pairs[1] -> allow_older"]),
        (GOOD.replace('"cpu"', '"cpu"\nprofiles = "quick"'), ["pairs[1] -> profiles"]),
        (GOOD + '\n[variations."treads=1"]', ["treads=1", "is not a variation", "threads=N"]),
        (GOOD + '\n[variations."tf32=maybe"]', ["tf32=maybe", "tf32=off, tf32=on"]),
        (
            GOOD + '\n[variations."onednn=0"]\nrepetition = 1',
            ['"onednn=0" -> repetition', "did you mean 'repetitions'"],
        ),
        (
            GOOD + '\n[variations."onednn=0"]\nrepetitions = 0',
            ['"onednn=0" -> repetitions', "greater than or equal to 1"],
        ),
        (GOOD + "overhead_pairs = -1", ["profiles -> quick -> overhead_pairs"]),
        (GOOD + "pair_s = 0", ["profiles -> quick -> pair_s"]),
        (GOOD + "heavy_repetitions = 0", ["profiles -> quick -> heavy_repetitions"]),
        (GOOD + "order_seed = -1", ["profiles -> quick -> order_seed"]),
        (GOOD + '\n[suite]\nkernel_files = [{ path = "a", only = [] }]', ["suite -> kernel_files"]),
        (GOOD + '\n[suite]\nkernel_files = "my_kernels.py"', ["suite -> kernel_files"]),
        (GOOD + "\n[suite]\nkernel_file = []", ["suite -> kernel_file", "did you mean 'kernel_files'"]),
        ("[profiles.quick]\nrounds=1\nrepeats=1", ["pairs: this key is missing"]),
        (GOOD + "\nnonsense", ["is not valid TOML"]),
    ],
)
def test_mistakes_are_named_with_file_path_and_suggestion(tmp_path: Path, text: str, wanted: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, text))
    assert caught.value.code == 2
    for part in ["matrix.toml", *wanted]:
        assert part in str(caught.value)
    assert caught.value.hint


def test_a_mistake_in_a_list_is_reported_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, GOOD.replace('"cpu"', '["cpu", "12"]')))
    assert len(str(caught.value).splitlines()) == 1


def test_a_single_cuda_is_a_list_of_one(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, GOOD)).pairs[0].cuda == ("cpu",)
    assert config.load(write(tmp_path, GOOD.replace('"cpu"', '["cpu", "12.5"]'))).pairs[0].cuda == ("cpu", "12.5")


def test_the_schema_takes_one_cuda_or_a_list(root: Path) -> None:
    data = tomllib.loads((root / "matrix.toml").read_text(encoding="utf-8"))
    check = jsonschema.Draft202012Validator(json.loads(config.schema()))
    for good in ("12.5", ["cpu", "12.5"]):
        check.validate({**data, "pairs": [{**data["pairs"][0], "cuda": good}]})
    for bad in ("12", [], ["12.5", "12.5"], 12.5):
        with pytest.raises(jsonschema.ValidationError):
            check.validate({**data, "pairs": [{**data["pairs"][0], "cuda": bad}]})


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        config.load(tmp_path / "nowhere.toml")
    assert "--matrix" in caught.value.hint


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.lists(st.integers()))))
def test_unknown_tables_are_refused(data: dict[str, object]) -> None:
    unknown = {key: value for key, value in data.items() if key not in Matrix.model_fields}
    with pytest.raises(ValidationError):
        Matrix.model_validate_json(json.dumps({**tomllib.loads(GOOD), **(unknown or {"x": 1})}))
