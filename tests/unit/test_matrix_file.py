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
from bench.plan import load, own, planner
from bench.plan.models import Matrix
from bench.plan.planner import Selection

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
[[pairs]]
tensorflow = "2.18.1"
cuda = "cpu"
keras = "3.15.1"

[profiles.quick]
rounds = 3
repeats = 2
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "matrix.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_is_valid_and_has_the_three_profiles(house: Path) -> None:
    matrix = load.load(house / "matrix.toml")
    assert set(matrix.profiles) == {"quick", "standard", "nightly"}
    assert {pair.tensorflow for pair in matrix.pairs} >= {"2.15.1", "2.18.1", "2.21.0"}
    wanted = {"default", "threads=1", "threads=4xcores", "onednn=0", "isa=avx2", "tf32=off", "switch=env"}
    assert set(matrix.profiles["nightly"].conditions) == wanted
    assert matrix.profiles["nightly"].rounds >= 5
    assert (matrix.profiles["nightly"].repeats, matrix.profiles["nightly"].heavy_repeats) == (20, 5)
    assert matrix.suite.extra == ()


@pytest.mark.parametrize("profile", ["quick", "standard", "nightly"])
def test_every_shipped_pattern_matches_something(house: Path, profile: str) -> None:
    plan = planner.make(
        load.load(house / "matrix.toml"), profile, Selection(), house / "docker" / "locks", own.suite([])
    )
    assert len(plan.ready) == 3
    assert {one.condition for one in plan.rounds} == set(plan.conditions)
    families = {one.family for one in plan.kernels}
    assert families >= {"training", "linalg", "reductions", "segments", "convolutions", "controls"}


def test_what_a_matrix_may_say(tmp_path: Path) -> None:
    text = """
[suite]
extra = ["my_kernels.py", "more/of_them.py"]

[conditions."tf32=off"]
skip = ["control_*"]
repeats = 2
heavy_repeats = 1
timed = true

[conditions."threads=4xcores"]
modes = ["off"]
"""
    matrix = load.load(write(tmp_path, GOOD + text))
    assert matrix.suite.extra == ("my_kernels.py", "more/of_them.py")
    one = matrix.conditions["tf32=off"]
    assert (one.kernels, one.skip, one.repeats, one.heavy_repeats, one.timed) == (("*",), ("control_*",), 2, 1, True)
    other = matrix.conditions["threads=4xcores"]
    assert (other.modes, other.repeats, other.timed) == (("off",), None, False)


def test_the_shipped_schema_is_the_generated_one_and_accepts_the_shipped_file(house: Path) -> None:
    text = (house / "bench" / "plan" / "matrix.schema.json").read_text(encoding="utf-8")
    assert text == load.schema(), "run: python -m bench schema > bench/plan/matrix.schema.json"
    data = tomllib.loads((house / "matrix.toml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(text)).validate(data)


def test_the_schema_refuses_unknown_keys_too(house: Path) -> None:
    data = tomllib.loads((house / "matrix.toml").read_text(encoding="utf-8"))
    data["profile"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json.loads(load.schema())).validate(data)


def test_models_are_frozen(tmp_path: Path) -> None:
    matrix = load.load(write(tmp_path, GOOD))
    with pytest.raises(ValidationError):
        matrix.pairs = ()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (GOOD + "\n[profile.x]\nrounds = 1", ["unknown table", "did you mean 'profiles'"]),
        (GOOD.replace("repeats", "repeat"), ["profiles -> quick -> repeat", "did you mean 'repeats'"]),
        (GOOD.replace("keras", "kerras"), ["pairs[1] -> kerras", "did you mean 'keras'"]),
        (GOOD.replace("keras", "kerras"), ["pairs[1] -> keras: this key is missing"]),
        (GOOD.replace("rounds = 3", 'rounds = "3"'), ["profiles -> quick -> rounds", 'given: "3"']),
        (GOOD.replace("rounds = 3", "rounds = 0"), ["greater than or equal to 1"]),
        (GOOD.replace('"2.18.1"', '"2.18"'), ["pairs[1] -> tensorflow"]),
        (GOOD.replace('"2.18.1"', "2.18"), ["pairs[1] -> tensorflow", "string"]),
        (GOOD + '\n[conditions."treads=1"]', ["treads=1", "is no condition", "threads=N"]),
        (GOOD + '\n[conditions."tf32=maybe"]', ["tf32=maybe", "tf32=off, tf32=on"]),
        (GOOD + '\n[conditions."onednn=0"]\nrepeat = 1', ['"onednn=0" -> repeat', "did you mean 'repeats'"]),
        (GOOD + '\n[conditions."onednn=0"]\nrepeats = 0', ['"onednn=0" -> repeats', "greater than or equal to 1"]),
        (GOOD + '\n[conditions."onednn=0"]\ntimed = "yes"', ['"onednn=0" -> timed', 'given: "yes"']),
        (GOOD + "heavy_repeats = 0", ["profiles -> quick -> heavy_repeats"]),
        (GOOD + "order_seed = -1", ["profiles -> quick -> order_seed"]),
        (GOOD + '\n[suite]\nextra = ["my_kernels.txt"]', ["suite -> extra"]),
        (GOOD + '\n[suite]\nextra = "my_kernels.py"', ["suite -> extra"]),
        (GOOD + "\n[suite]\nextras = []", ["suite -> extras", "did you mean 'extra'"]),
        ("[profiles.quick]\nrounds=1\nrepeats=1", ["pairs: this key is missing"]),
        (GOOD + "\nnonsense", ["no valid TOML"]),
    ],
)
def test_mistakes_are_named_with_file_path_and_suggestion(tmp_path: Path, text: str, wanted: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load.load(write(tmp_path, text))
    assert caught.value.code == 2
    for part in ["matrix.toml", *wanted]:
        assert part in str(caught.value)
    assert caught.value.hint


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load.load(tmp_path / "nowhere.toml")
    assert "--matrix" in caught.value.hint


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.lists(st.integers()))))
def test_no_made_up_table_gets_through(data: dict[str, object]) -> None:
    unknown = {key: value for key, value in data.items() if key not in Matrix.model_fields}
    with pytest.raises(ValidationError):
        Matrix.model_validate_json(json.dumps({**tomllib.loads(GOOD), **(unknown or {"x": 1})}))
