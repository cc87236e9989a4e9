"""Custom kernels: how files are loaded, and how each mistake is reported with its line without affecting others."""

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


def load_file(source: str, name: str = "my_kernels.py") -> tuple[list[str], str]:
    """Load one file; return the names of its kernels and its error."""
    found, errors = custom.load({name: source})
    assert set(errors) <= {name}
    return list(found), errors.get(name, "")


def test_a_valid_file_is_loaded_with_its_name_and_hash() -> None:
    found, errors = custom.load({"my_kernels.py": GOOD})
    assert not errors
    assert list(found) == ["my_sum", "my_mean"]
    assert {kernel.file for kernel in found.values()} == {"my_kernels.py"}
    assert found["my_sum"].source_hash() == hashlib.sha256(GOOD.encode()).hexdigest()
    assert (found["my_sum"].heavy, found["my_mean"].heavy) == (False, True)
    assert "my_sum" not in all_kernels(), "the built-in suite does not change"
    json.dumps(found["my_sum"].declaration())

    class Fake:
        @staticmethod
        def sum(x: Any) -> float:
            return float(x.sum())

    assert found["my_sum"].function(Fake, 42)() == {"sum": float(normal(42, (8,)).sum())}


def test_any_edit_changes_the_hash() -> None:
    one = custom.load({"a.py": GOOD})[0]["my_sum"].source_hash()
    other = custom.load({"a.py": GOOD + "# more\n"})[0]["my_sum"].source_hash()
    assert one != other


def test_a_file_can_be_loaded_twice() -> None:
    for _ in range(2):
        assert load_file(GOOD) == (["my_sum", "my_mean"], "")


@pytest.mark.parametrize(
    ("source", "left", "words"),
    [
        (HEAD + "def broken(:\n", [], ["my_kernels.py, line 3: SyntaxError"]),
        ("if True:\nx = 1\n", [], ["my_kernels.py, line 2: IndentationError"]),
        (GOOD + "1 / 0\n", ["my_sum", "my_mean"], ["my_kernels.py, line 13: ZeroDivisionError"]),
        (HEAD + declared("my_sum") + IMPORT, ["my_sum"], ["line 8: ModuleNotFoundError", "gets TensorFlow as its"]),
        (HEAD + declared("matmul_f32"), [], ["line 3: ValueError", "two kernels are named 'matmul_f32'"]),
        (HEAD + declared("my_sum") * 2, ["my_sum"], ["line 8: ValueError", "two kernels are named 'my_sum'"]),
        (HEAD + declared("mine", CONTROL), [], ["line 3: ValueError: only the built-in suite can declare controls"]),
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
def test_every_mistake_is_reported_with_its_line_and_earlier_kernels_are_kept(
    source: str, left: list[str], words: list[str]
) -> None:
    found, error = load_file(source)
    assert found == left
    for word in words:
        assert word in error, error
    # an error does not affect the next file
    both, errors = custom.load({"my_kernels.py": source, "other.py": HEAD + declared("my_other")})
    assert list(both) == [*left, "my_other"]
    assert list(errors) == ["my_kernels.py"]


@pytest.mark.parametrize("wrong", ["shapes=[8]", "exercises=None", "dtypes=''", "source=3", "family=('own',)"])
def test_a_declaration_that_is_not_text_is_reported_with_its_line(wrong: str) -> None:
    """The report sorts and prints these texts, so they must be strings."""
    key = wrong.partition("=")[0]
    facts = {"family": "'own'", "exercises": "'x'", "shapes": "'x'", "dtypes": "'x'", "source": "'x'"}
    text = ", ".join(wrong if name == key else f"{name}={value}" for name, value in facts.items())
    found, error = load_file(HEAD + declared("mine", f"@kernel({text})\n"))
    assert found == []
    assert "my_kernels.py, line 3" in error
    assert key in error


def test_a_kernel_declared_in_two_files_is_reported_and_the_first_is_kept() -> None:
    found, errors = custom.load({"a.py": GOOD, "b.py": HEAD + declared("my_sum") + declared("my_third")})
    assert [(name, kernel.file) for name, kernel in found.items()] == [
        ("my_sum", "a.py"), ("my_mean", "a.py"), ("my_third", "b.py"),
    ]  # fmt: skip
    assert errors == {"b.py": "b.py: the kernel 'my_sum' is already declared in a.py"}


def test_dataclasses_work_as_in_any_module() -> None:
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + HEAD
    source += "@dataclass(frozen=True)\nclass Shape:\n    size: int = 8\n\n" + declared("mine")
    assert load_file(source) == (["mine"], "")


def test_a_file_named_like_a_library_does_not_hide_it() -> None:
    code = (
        "from bench.suite.kernels import custom\nimport json\n"
        "assert not custom.load({'numpy.py': 'import sys', 'json.py': 'x = 1'})[0]\n"
        "import numpy\nassert numpy.zeros(1).size == 1\nassert json.dumps(1) == '1'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class TestErrorLocation:
    """The location of an error in the user's files."""

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
        assert custom.error_location(self.raised(source), {"my.py": source}) == "my.py, line 4"

    def test_for_an_error_in_a_library_the_call_is_named(self) -> None:
        source = HEAD + DECLARED + "def mine(tf, seed):\n    import json\n    return lambda: json.loads('[')\n"
        assert custom.error_location(self.raised(source), {"my.py": source}) == "my.py, line 6"

    def test_an_error_elsewhere_has_no_location(self) -> None:
        assert custom.error_location(ValueError("never raised"), {"my.py": ""}) == ""
        source = HEAD + DECLARED + "def mine(tf, seed):\n    return lambda: 1 / 0\n"
        assert custom.error_location(self.raised(source), {"other.py": ""}) == ""


class TestFiles:
    """Files named by matrix.toml and --kernel-file."""

    def write(self, folder: Path, text: str = GOOD, name: str = "my_kernels.py") -> Path:
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    def test_the_suite_load_file(self) -> None:
        found = custom_kernels.suite([])
        assert dict(found.kernels) == all_kernels()
        assert (found.sources, found.errors) == ({}, {})

    def test_custom_kernels_follow_those_of_the_suite(self, tmp_path: Path) -> None:
        found = custom_kernels.suite([self.write(tmp_path)])
        assert list(found.kernels)[-2:] == ["my_sum", "my_mean"]
        assert found.sources == {"my_kernels.py": GOOD}

    def test_a_file_named_twice_is_loaded_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = self.write(tmp_path)
        monkeypatch.chdir(tmp_path)
        found = custom_kernels.suite([path, path, type(path)("my_kernels.py")])
        assert (list(found.sources), dict(found.errors)) == (["my_kernels.py"], {})

    def test_an_error_in_a_file_is_reported(self, tmp_path: Path) -> None:
        found = custom_kernels.suite([self.write(tmp_path, "x =\n")])
        assert dict(found.kernels) == all_kernels()
        assert found.errors["my_kernels.py"].startswith("my_kernels.py, line 1: SyntaxError")
        assert found.sources, "the column reports the error, too"

    def test_a_byte_order_mark_is_accepted(self, tmp_path: Path) -> None:
        (tmp_path / "my.py").write_text(GOOD, encoding="utf-8-sig")
        assert "my_sum" in custom_kernels.suite([tmp_path / "my.py"]).kernels

    def test_an_unreadable_file_is_a_configuration_error(self, tmp_path: Path) -> None:
        (tmp_path / "latin.py").write_bytes(b"# \xe4\n")
        for name, why in (("nowhere.py", "No such file"), ("latin.py", "utf-8"), (".", "Is a directory")):
            with pytest.raises(ConfigError, match="cannot be read") as caught:
                custom_kernels.suite([tmp_path / name])
            assert why in str(caught.value)
            assert caught.value.code == 2
            assert "--kernel-file" in caught.value.hint

    def test_two_files_with_the_same_name_are_rejected(self, tmp_path: Path) -> None:
        files = [self.write(tmp_path / "a"), self.write(tmp_path / "b")]
        with pytest.raises(ConfigError, match=r"Two kernel files are named my_kernels\.py"):
            custom_kernels.suite(files)

    @pytest.mark.parametrize("text", ["x", "\u00e4", "\U0001f600", "\n", "\\"])
    def test_files_that_are_too_large_are_rejected_early(self, tmp_path: Path, text: str) -> None:
        """Linux limits one argument to 128 KiB, and JSON encodes one character as up to twelve."""
        with pytest.raises(ConfigError, match="can be passed to a process"):
            custom_kernels.suite([self.write(tmp_path, GOOD + "# " + text * 100_000)])
        room = 128 * 1024 - 24 * 1024  # the rest of the request
        for size in range(1000, 100_000, 7000):
            try:
                found = custom_kernels.suite([self.write(tmp_path, GOOD + "#" + text.strip() * size + "\n" * size)])
            except ConfigError:
                break
            assert len(json.dumps(found.sources)) <= room
        else:
            pytest.fail("there is no limit")

    def test_a_file_within_the_limit_is_accepted(self, tmp_path: Path) -> None:
        assert not custom_kernels.suite(
            [self.write(tmp_path, GOOD + "# a line of some forty characters, as in code\n" * 700)]
        ).errors


def test_the_example_of_the_guide_loads(root: Path) -> None:
    text = (root / "docs/how-to/custom-kernels.md").read_text(encoding="utf-8")
    source = text.split("```python\n")[1].split("```")[0]
    found, errors = custom.load({"my_kernels.py": source})
    assert (list(found), errors) == (["my_scores"], {})
    assert len(source.splitlines()) <= 17


def test_the_readme_states_the_number_of_kernels(root: Path) -> None:
    text = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    assert f"suite of {len(all_kernels())} seeded kernels" in text
