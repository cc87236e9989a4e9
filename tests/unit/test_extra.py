"""Kernels of the user's own: what joins, and how each mistake is told with its line and stops nothing else."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import ConfigError
from bench.plan import custom_kernels
from bench.suite.kernels import all_kernels, custom, normal

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "from bench.suite.kernels import kernel, normal\n\n"
DECLARED = '@kernel(family="own", exercises="a sum", shapes="[8]", dtypes="float32", source="own")\n'

CONTROL = DECLARED.replace("source=", "control='must-differ', source=")
IMPORT = "import tensorflow as tf\n"


def declared(name: str, decorator: str = DECLARED) -> str:
    body = f"def {name}(tf, seed):\n    x = normal(seed, (8,))\n    return lambda: {{'sum': tf.sum(x)}}\n"
    return f"{decorator}{body}\n"


GOOD = HEAD + declared("my_sum") + declared("my_mean", DECLARED.replace("source=", "heavy=True, source="))


def alone(source: str, name: str = "my_kernels.py") -> tuple[list[str], str]:
    """Names of the kernels of one file, and its error."""
    found, errors = custom.load({name: source})
    assert set(errors) <= {name}
    return list(found), errors.get(name, "")


def test_a_good_file_joins_with_its_name_and_hash() -> None:
    found, errors = custom.load({"my_kernels.py": GOOD})
    assert not errors
    assert list(found) == ["my_sum", "my_mean"]
    assert {one.file for one in found.values()} == {"my_kernels.py"}
    assert found["my_sum"].source_hash() == hashlib.sha256(GOOD.encode()).hexdigest()
    assert (found["my_sum"].heavy, found["my_mean"].heavy) == (False, True)
    assert "my_sum" not in all_kernels(), "the fixed suite is fixed"
    json.dumps(found["my_sum"].declaration())

    class Fake:
        @staticmethod
        def sum(x: Any) -> float:
            return float(x.sum())

    assert found["my_sum"].function(Fake, 42)() == {"sum": float(normal(42, (8,)).sum())}


def test_any_edit_is_another_hash() -> None:
    one = custom.load({"a.py": GOOD})[0]["my_sum"].source_hash()
    other = custom.load({"a.py": GOOD + "# more\n"})[0]["my_sum"].source_hash()
    assert one != other


def test_a_second_reading_is_like_the_first() -> None:
    for _ in range(2):
        assert alone(GOOD) == (["my_sum", "my_mean"], "")


@pytest.mark.parametrize(
    ("source", "left", "words"),
    [
        (HEAD + "def broken(:\n", [], ["my_kernels.py, line 3: SyntaxError"]),
        ("if True:\nx = 1\n", [], ["my_kernels.py, line 2: IndentationError"]),
        (GOOD + "1 / 0\n", ["my_sum", "my_mean"], ["my_kernels.py, line 13: ZeroDivisionError"]),
        (HEAD + declared("my_sum") + IMPORT, ["my_sum"], ["line 8: ModuleNotFoundError", "gets TensorFlow as its"]),
        (HEAD + declared("matmul_f32"), [], ["line 3: ValueError", "two kernels are named 'matmul_f32'"]),
        (HEAD + declared("my_sum") * 2, ["my_sum"], ["line 8: ValueError", "two kernels are named 'my_sum'"]),
        (HEAD + declared("mine", CONTROL), [], ["line 3: ValueError: controls belong to the fixed suite"]),
        (HEAD + declared("mine", "@kernel(family='own')\n"), [], ["line 3: TypeError", "missing"]),
        ("import sys\nsys.exit('bye')\n" + GOOD, [], ["my_kernels.py, line 2: SystemExit: bye"]),
        ("def f(): f()\nf()\n", [], ["my_kernels.py, line 1: RecursionError"]),
        ("raise MemoryError\n", [], ["my_kernels.py, line 1: MemoryError"]),
        ("x = 1\n", [], ["my_kernels.py declares no kernel", "@kernel"]),
        ("", [], ["my_kernels.py declares no kernel"]),
        ("x = 1\0\n", [], ["my_kernels.py: SyntaxError", "null bytes"]),
        ("from nowhere import x\n", [], ["line 1: ModuleNotFoundError: No module named 'nowhere'"]),
    ],
)  # fmt: skip
def test_every_mistake_has_its_line_and_what_stood_before_it_stays(
    source: str, left: list[str], words: list[str]
) -> None:
    found, error = alone(source)
    assert found == left
    for word in words:
        assert word in error, error
    # and whatever one file does, the next is read
    both, errors = custom.load({"my_kernels.py": source, "other.py": HEAD + declared("my_other")})
    assert list(both) == [*left, "my_other"]
    assert list(errors) == ["my_kernels.py"]


@pytest.mark.parametrize("wrong", ["shapes=[8]", "exercises=None", "dtypes=''", "source=3", "family=('own',)"])
def test_a_declaration_that_is_no_text_is_told_where_it_stands(wrong: str) -> None:
    """The page sorts and prints these: a list among them must not be its end."""
    key = wrong.partition("=")[0]
    facts = {"family": "'own'", "exercises": "'x'", "shapes": "'x'", "dtypes": "'x'", "source": "'x'"}
    text = ", ".join(wrong if name == key else f"{name}={value}" for name, value in facts.items())
    found, error = alone(HEAD + declared("mine", f"@kernel({text})\n"))
    assert found == []
    assert "my_kernels.py, line 3" in error
    assert key in error


def test_a_kernel_of_two_files_is_told_and_the_first_one_stands() -> None:
    found, errors = custom.load({"a.py": GOOD, "b.py": HEAD + declared("my_sum") + declared("my_third")})
    assert [(name, one.file) for name, one in found.items()] == [
        ("my_sum", "a.py"), ("my_mean", "a.py"), ("my_third", "b.py"),
    ]  # fmt: skip
    assert errors == {"b.py": "b.py: the kernel 'my_sum' is declared in a.py already"}


def test_dataclasses_work_as_in_any_module() -> None:
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + HEAD
    source += "@dataclass(frozen=True)\nclass Shape:\n    size: int = 8\n\n" + declared("mine")
    assert alone(source) == (["mine"], "")


def test_a_file_named_like_a_library_hides_none() -> None:
    code = (
        "from bench.suite.kernels import custom\nimport json\n"
        "assert not custom.load({'numpy.py': 'import sys', 'json.py': 'x = 1'})[0]\n"
        "import numpy\nassert numpy.zeros(1).size == 1\nassert json.dumps(1) == '1'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class TestPlace:
    """Where an error left the user's own files."""

    def raised(self, source: str, call: str = "mine") -> BaseException:
        found, _ = custom.load({"my.py": source})
        try:
            found[call].function(None, 42)()
        except Exception as error:  # noqa: BLE001 - any class
            return error
        raise AssertionError

    def test_the_last_line_of_the_file_is_named(self) -> None:
        source = HEAD + "def helper():\n    return [][3]\n\n" + DECLARED
        source += "def mine(tf, seed):\n    return lambda: helper()\n"
        assert custom.place(self.raised(source), {"my.py": source}) == "my.py, line 4"

    def test_of_an_error_inside_a_library_the_call_is_named(self) -> None:
        source = HEAD + DECLARED + "def mine(tf, seed):\n    import json\n    return lambda: json.loads('[')\n"
        assert custom.place(self.raised(source), {"my.py": source}) == "my.py, line 6"

    def test_an_error_elsewhere_has_none(self) -> None:
        assert custom.place(ValueError("never raised"), {"my.py": ""}) == ""
        source = HEAD + DECLARED + "def mine(tf, seed):\n    return lambda: 1 / 0\n"
        assert custom.place(self.raised(source), {"other.py": ""}) == ""


class TestFiles:
    """What matrix.toml and --kernel-file name."""

    def write(self, folder: Path, text: str = GOOD, name: str = "my_kernels.py") -> Path:
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    def test_the_suite_alone(self) -> None:
        found = custom_kernels.suite([])
        assert dict(found.kernels) == all_kernels()
        assert (found.sources, found.errors) == ({}, {})

    def test_own_kernels_stand_behind_those_of_the_suite(self, tmp_path: Path) -> None:
        found = custom_kernels.suite([self.write(tmp_path)])
        assert list(found.kernels)[-2:] == ["my_sum", "my_mean"]
        assert found.sources == {"my_kernels.py": GOOD}

    def test_one_file_named_twice_is_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = self.write(tmp_path)
        monkeypatch.chdir(tmp_path)
        found = custom_kernels.suite([path, path, type(path)("my_kernels.py")])
        assert (list(found.sources), dict(found.errors)) == (["my_kernels.py"], {})

    def test_an_error_in_a_file_is_no_end(self, tmp_path: Path) -> None:
        found = custom_kernels.suite([self.write(tmp_path, "x =\n")])
        assert dict(found.kernels) == all_kernels()
        assert found.errors["my_kernels.py"].startswith("my_kernels.py, line 1: SyntaxError")
        assert found.sources, "the column tells its error too"

    def test_a_byte_order_mark_is_no_error(self, tmp_path: Path) -> None:
        (tmp_path / "my.py").write_text(GOOD, encoding="utf-8-sig")
        assert "my_sum" in custom_kernels.suite([tmp_path / "my.py"]).kernels

    def test_a_file_that_cannot_be_read_is_bad_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "latin.py").write_bytes(b"# \xe4\n")
        for name, why in (("nowhere.py", "No such file"), ("latin.py", "utf-8"), (".", "Is a directory")):
            with pytest.raises(ConfigError, match="cannot be read") as caught:
                custom_kernels.suite([tmp_path / name])
            assert why in str(caught.value)
            assert caught.value.code == 2
            assert "--kernel-file" in caught.value.hint

    def test_two_files_of_one_name_are_refused(self, tmp_path: Path) -> None:
        files = [self.write(tmp_path / "a"), self.write(tmp_path / "b")]
        with pytest.raises(ConfigError, match=r"Two kernel files are named my_kernels\.py"):
            custom_kernels.suite(files)

    @pytest.mark.parametrize("text", ["x", "\u00e4", "\U0001f600", "\n", "\\"])
    def test_more_than_can_travel_is_refused_before_it_does(self, tmp_path: Path, text: str) -> None:
        """Linux takes 128 KiB in one argument, and JSON writes one character in up to twelve."""
        with pytest.raises(ConfigError, match="can be passed to a process"):
            custom_kernels.suite([self.write(tmp_path, GOOD + "# " + text * 100_000)])
        room = 128 * 1024 - 24 * 1024  # for all else that a request says
        for size in range(1000, 100_000, 7000):
            try:
                found = custom_kernels.suite([self.write(tmp_path, GOOD + "#" + text.strip() * size + "\n" * size)])
            except ConfigError:
                break
            assert len(json.dumps(found.sources)) <= room
        else:
            pytest.fail("there is no limit")

    def test_what_can_travel_is_not_refused(self, tmp_path: Path) -> None:
        assert not custom_kernels.suite(
            [self.write(tmp_path, GOOD + "# a line of some forty characters, as in code\n" * 700)]
        ).errors


def test_the_readme_shows_a_file_that_loads(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    source = text.split("```python\n")[1].split("```")[0]
    found, errors = custom.load({"my_kernels.py": source})
    assert (list(found), errors) == (["my_scores"], {})
    assert len(source.splitlines()) <= 17
    assert f"all {len(all_kernels())} kernels" in text
