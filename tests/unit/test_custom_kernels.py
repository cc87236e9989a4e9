"""Custom kernels: what a file or folder carries, how its declarations are read, and how each mistake is reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from bench.errors import ConfigError
from bench.plan import custom_kernels, static_declarations
from bench.plan.config_models import KernelFiles
from bench.report.commands import kernels
from bench.suite import kernel_files
from bench.suite.kernel_files import KernelFileError, read_source
from bench.suite.kernels import all_kernels, custom, normal

HEAD = "from bench.suite.kernels import kernel, normal\n\n"
DECLARED = '@kernel(family="own", exercises="a sum", shapes="[8]", dtypes="float32", source="own")\n'
CONTROL = DECLARED.replace("source=", "control='must-differ', source=")
ROOT = Path(__file__).parents[2]


def declared(name: str, decorator: str = DECLARED) -> str:
    body = f"def {name}(tf, seed):\n    x = normal(seed, (8,))\n    return lambda: {{'sum': tf.sum(x)}}\n"
    return f"{decorator}{body}\n"


GOOD = HEAD + declared("my_sum") + declared("my_mean", DECLARED.replace("source=", "heavy=True, source="))


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files, and return the folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


class Stand:
    """A store with sources, and what loading them in a process of its own gives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"

    def take(self, path: Path) -> list[str]:
        source = read_source(path)
        kernel_files.stage(source, self.store)
        return [f"{source.hash}/{module}" for module in source.modules]

    def file(self, text: str, name: str = "my_kernels.py") -> list[str]:
        return self.take(write(self.folder / "home", {name: text}) / name)

    def ask(self, files: list[str], limit_s: float = 20.0) -> list[dict[str, Any]]:
        """Run the first process as an engine does, without TensorFlow."""
        done = subprocess.run(
            [sys.executable, "-m", "bench.suite.declare", json.dumps({"files": files, "limit_s": limit_s})],
            env={**os.environ, "PYTHONPATH": str(ROOT), kernel_files.STORE_VARIABLE: str(self.store)},
            cwd=self.folder, capture_output=True, text=True, check=True, timeout=100,
        )  # fmt: skip
        answers: list[dict[str, Any]] = json.loads(done.stdout)["files"]
        return answers


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


class TestSources:
    """What of a file or folder is copied."""

    def test_a_file_alone(self, tmp_path: Path) -> None:
        source = read_source(write(tmp_path, {"my.py": GOOD, "other.py": ""}) / "my.py")
        assert (source.name, source.modules, list(source.files)) == ("my.py", ("my.py",), ["my.py"])

    def test_a_folder_with_modules_packages_and_data(self, tmp_path: Path) -> None:
        folder = write(
            tmp_path / "model",
            {
                "check.py": GOOD, "net/__init__.py": "", "net/layers.py": "x = 1\n", "data/words.txt": "the cat\n",
                ".git/config": "", "__pycache__/check.pyc": "", "env/pyvenv.cfg": "", "env/lib/big.py": "", "a.pyc": "",
            },
        )  # fmt: skip
        source = read_source(folder)
        assert sorted(source.files) == [
            "model/check.py", "model/data/words.txt", "model/net/__init__.py", "model/net/layers.py",
        ]  # fmt: skip
        assert source.modules == ("model/check.py",), "only what imports the declarations is loaded"

    def test_include_and_exclude(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "m", {"k.py": GOOD, "tests/t.py": "", "data/a.csv": "", "data/b.h5": ""})
        assert sorted(read_source(folder, (), ["tests", "*.h5"]).files) == ["m/data/a.csv", "m/k.py"]
        assert sorted(read_source(folder, ["*.py"], ["tests/"]).files) == ["m/k.py"]
        assert sorted(read_source(folder, ["k.py", "data"]).files) == ["m/data/a.csv", "m/data/b.h5", "m/k.py"]

    def test_the_hash_depends_on_every_name_and_byte(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "m", {"k.py": GOOD, "data.txt": "a"})
        hashes = [read_source(folder).hash]
        write(folder, {"data.txt": "b"})
        hashes.append(read_source(folder).hash)
        (folder / "data.txt").rename(folder / "data2.txt")
        hashes.append(read_source(folder).hash)
        assert len(set(hashes)) == 3
        assert read_source(folder).hash == hashes[-1]

    def test_what_cannot_be_used_says_why(self, tmp_path: Path) -> None:
        write(tmp_path, {"notes.txt": "", "empty/a.py": "x = 1\n"})
        for name, words in (
            ("nowhere.py", "No such file"), ("notes.txt", "neither a Python file nor a folder"),
            ("empty", "declares no kernel: none of its Python files imports bench.suite.kernels"),
        ):  # fmt: skip
            with pytest.raises(KernelFileError, match=words) as caught:
                read_source(tmp_path / name)
            assert caught.value.hint

    def test_a_folder_above_the_limit_names_its_largest_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kernel_files, "LIMIT_BYTES", 1_000_000)
        folder = write(tmp_path / "m", {"k.py": GOOD, "weights.bin": "x" * 900_000, "z.bin": "x" * 200_000})
        with pytest.raises(KernelFileError, match=r"m is too large: .*weights\.bin \(0\.9 MB\)") as caught:
            read_source(folder)
        assert "--kernel-exclude" in caught.value.hint
        read_source(folder, (), ["*.bin"])

    @pytest.mark.parametrize(
        "line", ["from net.layers import scaled", "import net.layers as n", "def f():\n    import helper"]
    )
    def test_a_module_beside_a_single_file_is_refused_with_the_remedy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
    ) -> None:
        folder = write(
            tmp_path / "m", {"k.py": GOOD + line, "net/__init__.py": "", "net/layers.py": "", "helper.py": ""}
        )
        monkeypatch.chdir(folder)
        number = (GOOD + line).count("\n") + 1
        with pytest.raises(
            KernelFileError, match=rf"k\.py, line {number}: (net|helper) is in the folder of k\.py"
        ) as caught:
            read_source(folder / "k.py")
        assert "pass the folder with --kernel-file ." in str(caught.value)
        read_source(folder)

    def test_modules_of_the_environment_are_not_taken_for_own_ones(self, tmp_path: Path) -> None:
        files = {"k.py": GOOD + "import json, numpy\nimport keras\n", "json.py": "", "numpy.py": "", "keras/a.py": ""}
        read_source(write(tmp_path, files) / "k.py")

    def test_a_copy_is_read_only_and_named_by_its_hash(self, tmp_path: Path) -> None:
        source = read_source(write(tmp_path / "m", {"k.py": GOOD, "data/a.txt": "a"}))
        copy = kernel_files.stage(source, tmp_path / "store")
        assert copy.name == source.hash == kernel_files.stored_hash(copy)
        assert {oct(path.stat().st_mode & 0o777) for path in copy.rglob("*")} == {"0o444", "0o555"}
        (copy / "m").chmod(0o755)
        (copy / "m" / "more.txt").write_text("changed", encoding="utf-8")
        assert kernel_files.stored_hash(copy) != source.hash
        assert kernel_files.stored_hash(kernel_files.stage(source, tmp_path / "store")) == source.hash
        kernel_files.remove_copy(copy)
        assert not copy.exists()

    def test_a_packed_source_is_the_same_every_time(self, tmp_path: Path) -> None:
        source = read_source(write(tmp_path / "m", {"k.py": GOOD, "data/a.txt": "a"}))
        packed = kernel_files.pack(source)
        assert packed == kernel_files.pack(source)
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            assert archive.getnames() == ["m/data/a.txt", "m/k.py"]


class TestLoading:
    """What an environment loads: modules of a store."""

    def test_kernels_have_their_file_and_hash(self, stand: Stand) -> None:
        (path,) = stand.file(GOOD)
        loaded = custom.load([path], stand.store)
        assert not loaded.errors
        assert {kernel.file for kernel in loaded.kernels.values()} == {"my_kernels.py"}
        assert loaded.kernels["my_sum"].source_hash() == path.partition("/")[0]
        assert "my_sum" not in all_kernels(), "the built-in suite does not change"

        class Fake:
            @staticmethod
            def sum(x: Any) -> float:
                return float(x.sum())

        assert loaded.kernels["my_sum"].function(Fake, 42)() == {"sum": float(normal(42, (8,)).sum())}

    def test_only_the_modules_of_the_requested_kernels_are_loaded(
        self, stand: Stand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (good,), (bad,) = stand.file(GOOD), stand.file("raise SystemExit(3)", "bad.py")
        monkeypatch.setenv(kernel_files.STORE_VARIABLE, str(stand.store))
        mapping = {"my_sum": good, "other": bad}
        assert custom.requested(mapping, ["my_sum", "matmul_f32"]).errors == {}
        assert custom.requested(mapping, ["matmul_f32"]).kernels == {}
        assert "line 1: SystemExit: 3" in custom.requested(mapping, ["other"]).errors["bad.py"]

    def test_a_copy_that_was_changed_or_did_not_arrive_is_refused(self, stand: Stand) -> None:
        (path,) = stand.file(GOOD)
        assert "did not reach the environment" in custom.load([path], stand.folder / "no").errors["my_kernels.py"]
        file = stand.store / path
        file.chmod(0o644)
        file.write_text(GOOD + "# more\n", encoding="utf-8")
        assert "was changed" in custom.load([path], stand.store).errors["my_kernels.py"]

    def test_what_a_hook_raises_is_the_error_of_its_kernels_alone(self, stand: Stand) -> None:
        hook = "def before_tensorflow(tf):\n    tf.append(1)\n    raise RuntimeError('too late')\n"
        (one,), (two,) = stand.file(GOOD + hook), stand.file(HEAD + declared("my_third"), "b.py")
        calls: list[int] = []
        loaded = custom.load([one, two], stand.store)
        loaded.run_hooks(calls)
        assert calls == [1]
        assert sorted(loaded.failures) == ["my_mean", "my_sum"]
        assert custom.error_location(loaded.failures["my_sum"], stand.store) == "my_kernels.py, line 15"

    def test_an_error_is_located_in_the_innermost_own_file(self, stand: Stand) -> None:
        layers = "import json\n\ndef scaled():\n    return json.loads('[')\n"
        text = HEAD + "from net_a.layers import scaled\n" + DECLARED + "def mine(tf, seed):\n    return scaled\n"
        (path,) = stand.take(write(stand.folder / "m", {"k.py": text, "net_a/layers.py": layers}))
        loaded = custom.load([path], stand.store)
        with pytest.raises(ValueError, match="Expecting") as caught:
            loaded.kernels["mine"].function(None, 1)()
        assert custom.error_location(caught.value, stand.store) == "m/net_a/layers.py, line 4"
        assert custom.error_location(ValueError("never raised"), stand.store) == ""

    def test_an_error_about_devices_says_how_to_set_them_in_time(self) -> None:
        message = custom.with_remedy(RuntimeError("Virtual devices cannot be modified after being initialized"))
        assert "before_tensorflow(tf)" in message
        assert "--variation devices=2" in message
        assert custom.with_remedy(ValueError("x")) == "x"


class TestDeclarations:
    """The first process: whatever a file does, there is an answer in bounded time."""

    @pytest.mark.parametrize(
        ("source", "left", "words"),
        [
            (GOOD + "1 / 0\n", ["my_sum", "my_mean"], "my_kernels.py, line 13: ZeroDivisionError"),
            (HEAD + "def broken(:\n", [], "my_kernels.py, line 3: SyntaxError"),
            (HEAD + declared("matmul_f32"), [], "line 3: ValueError: two kernels are named 'matmul_f32'"),
            (HEAD + declared("mine", CONTROL), [], "line 3: ValueError: only the built-in suite can declare controls"),
            (HEAD + declared("mine", "@kernel(family=3)\n"), [], "line 3: TypeError: 'family'"),
            ("import sys\nsys.exit('bye')\n", [], "my_kernels.py, line 2: SystemExit: bye"),
            ("def f(): f()\nf()\n", [], "my_kernels.py, line 1: RecursionError"),
            ("x = 1\n", [], "my_kernels.py declares no kernel"),
            ("from nowhere import x\n", [], "line 1: ModuleNotFoundError: No module named 'nowhere'"),
            (HEAD + declared("mine", DECLARED.replace("source=", "rate=object, source=")), [], "is not plain"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_reported_with_its_line_and_earlier_kernels_are_kept(
        self, stand: Stand, source: str, left: list[str], words: str
    ) -> None:
        (answer,) = stand.ask(stand.file(source))
        assert [row["name"] for row in answer["kernels"]] == left
        assert words in answer["error"], answer["error"]
        assert not answer["fatal"]

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("import os\n\nos._exit(0)\n", "my_kernels.py, line 3: the file ended its process (exit code 0)"),
            ("import os\nos.kill(os.getpid(), 9)\n", "line 2: the file ended its process (signal 9)"),
            ("import time\n\n\ntime.sleep(99)\n", "my_kernels.py, line 4: the file did not end within 5 s"),
            ("while True:\n    pass\n", "the file did not end within 5 s"),
            (GOOD + "import sys\nsys.stdout.close()\n", "the file closed standard output"),
            (GOOD + "import os\nos.close(2)\n", "the file closed standard error"),
            (GOOD + "import os\nos.closerange(0, 500)\n", "the file closed standard output"),
            (
                "import os, sys\nopen(sys.argv[3], 'w').write('{')\nos._exit(0)\n",
                "the file wrote over the answer of this process",
            ),
            (
                "import os, sys\nos.remove(sys.argv[4])\nos.mkfifo(sys.argv[4])\nos._exit(0)\n",
                "my_kernels.py, line 4: the file ended its process (exit code 0)",
            ),
        ],
    )
    def test_a_file_that_takes_its_process_down(self, stand: Stand, source: str, words: str) -> None:
        first, second = stand.ask([*stand.file(source), *stand.file(HEAD + declared("other"), "b.py")], limit_s=5.0)
        assert words in first["error"], first["error"]
        assert first["fatal"]
        assert [row["name"] for row in second["kernels"]] == ["other"], "the next file is unaffected"

    def test_printing_threads_and_children_do_no_harm(self, stand: Stand) -> None:
        noise = (
            "import os, subprocess, sys, threading, time\nprint('{\"files\": []}', flush=True)\n"
            "os.write(1, b'raw')\nsubprocess.Popen(['sleep', '3'])\n"
            "threading.Thread(target=time.sleep, args=(3,)).start()\n"
        )
        (answer,) = stand.ask(stand.file(noise + GOOD))
        assert ([row["name"] for row in answer["kernels"]], answer["error"]) == (["my_sum", "my_mean"], "")

    def test_a_declaration_needs_no_texts(self, stand: Stand) -> None:
        text = HEAD + '@kernel()\ndef mine(tf, seed):\n    """Add numbers.\n\n    Slowly.\n    """\n    return dict\n'
        (answer,) = stand.ask(stand.file(text))
        (row,) = answer["kernels"]
        assert [row[name] for name in ("family", "exercises", "shapes", "source")] == ["custom", "Add numbers.", "", ""]
        (read,) = static_declarations.read("my_kernels.py", text.encode()).kernels
        assert read.declaration() == {**row, "file": ""}
        assert "mine      Add numbers." in kernels.text([read])

    def test_declarations_in_a_loop_and_in_a_folder_with_own_modules(self, stand: Stand) -> None:
        loop = "for number in range(3):\n    def k(tf, seed): pass\n    k.__name__ = f'own_{number}'\n"
        loop += f"    {DECLARED[1:-1]}(k)\n"
        package = {
            "pack/__init__.py": "",
            "pack/kernels.py": HEAD + "from .shapes import SIDE\n" + declared("in_package"),
        }
        files = {"loop.py": HEAD + "from own_helper import N\n" + loop, "own_helper.py": "N = 3\n"}
        paths = stand.take(write(stand.folder / "plain", files))
        paths += stand.take(write(stand.folder / "p", {**package, "pack/shapes.py": "SIDE = 8\n"}) / "pack")
        answers = stand.ask(paths)
        assert [answer["error"] for answer in answers] == ["", ""]
        assert [[row["name"] for row in answer["kernels"]] for answer in answers] == [
            ["own_0", "own_1", "own_2"], ["in_package"],
        ]  # fmt: skip
        assert answers[0]["kernels"][0]["file"] == "plain/loop.py"

    def test_a_file_named_like_a_library_does_not_hide_it(self, stand: Stand) -> None:
        text = "import json, numpy, random\n" + HEAD + declared("mine")
        text += "assert numpy.zeros(1).size == 1 and json.dumps(1) == '1' and random.random() < 1\n"
        folder = write(stand.folder / "m", {"random.py": "x = 1", "k.py": text, "json.py": HEAD + declared("in_json")})
        answers = stand.ask(stand.take(folder))
        assert [(row["name"], answer["error"]) for answer in answers for row in answer["kernels"]] == [
            ("in_json", ""), ("mine", ""),
        ]  # fmt: skip

    def test_dataclasses_work_as_in_any_module(self, stand: Stand) -> None:
        source = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + HEAD
        source += "@dataclass(frozen=True)\nclass Shape:\n    size: int = 8\n\n" + declared("mine")
        (answer,) = stand.ask(stand.file(source))
        assert (len(answer["kernels"]), answer["error"]) == (1, "")

    def test_the_plan_gets_the_kernels_and_a_fatal_file_is_a_configuration_error(self, stand: Stand) -> None:
        sources = [read_source(write(stand.folder, {"a.py": GOOD}) / "a.py")]
        stand.take(stand.folder / "a.py")
        found = custom_kernels.declared_by(
            sources, lambda request: json.dumps({"files": stand.ask(json.loads(request)["files"])})
        )
        assert list(found.kernels)[-2:] == ["my_sum", "my_mean"]
        assert (found.kernels["my_mean"].heavy, found.kernels["my_mean"].function) == (
            True,
            static_declarations.not_here,
        )
        assert found.paths_of(["matmul_f32", "my_sum"]) == {"my_sum": f"{sources[0].hash}/a.py"}
        fatal = {"path": "h/a.py", "kernels": [], "error": "a.py, line 3: ended", "fatal": True}
        with pytest.raises(ConfigError, match=r"a\.py, line 3: ended\."):
            custom_kernels.declared_by(sources, lambda _: json.dumps({"files": [fatal]}))
        # the process of a file can write its answer itself
        odd = [{"kernels": 5, "path": {}, "error": [1]}, {**fatal, "fatal": False, "kernels": [{}]}, 7]
        texts = iter([json.dumps({"files": [answer]}) for answer in odd])
        for _ in odd:
            with pytest.raises(ConfigError, match=r"a\.py gave no valid declarations"):
                custom_kernels.declared_by(sources, lambda _: next(texts))


class TestStaticReading:
    """Without an environment, declarations are read without running anything."""

    @pytest.mark.parametrize(
        "head",
        [
            "from bench.suite.kernels import kernel", "from bench.suite.kernels import kernel as k",
            "from bench.suite.kernels import *", "from bench.suite import kernels", "import bench.suite.kernels as b",
        ],
    )  # fmt: skip
    def test_literal_declarations_are_known(self, head: str) -> None:
        name = {"k": "k", "kernels": "kernels.kernel", "b": "b.kernel"}.get(head.rpartition(" ")[2], "kernel")
        text = f"{head}\nimport tensorflow as tf\nraise SystemExit\n" + declared(
            "mine", DECLARED.replace("kernel", name, 1)
        )
        found = static_declarations.read("my.py", text.encode())
        assert ([kernel.name for kernel in found.kernels], found.error, found.unknown) == (["mine"], "", "")

    def test_a_reference_may_be_any_function(self) -> None:
        text = HEAD + declared("mine", DECLARED.replace("source=", "reference=lambda seed: {}, source="))
        (kernel,) = static_declarations.read("my.py", text.encode()).kernels
        assert kernel.declaration()["accuracy"]

    @pytest.mark.parametrize(
        ("body", "line"),
        [
            ("for n in range(2):\n    kernel(family='own')(f)\n", 4),
            ("FACTS = dict(family='own')\n@kernel(**FACTS)\ndef mine(tf, seed): pass\n", 4),
            ("N = 8\n" + DECLARED.replace('"[8]"', "f'[{N}]'") + "def mine(tf, seed): pass\n", 4),
            ("if True:\n    @kernel(family='own')\n    def mine(tf, seed): pass\n", 4),
            ("declare = kernel\n", 3),
        ],
    )
    def test_what_only_running_tells_is_said_plainly(self, body: str, line: int) -> None:
        found = static_declarations.read("my.py", (HEAD + body).encode())
        assert found.kernels == ()
        assert found.unknown.startswith(
            f"my.py, line {line}: kernels are declared by code that only an environment runs"
        )

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("def f(:\n", "my.py, line 1: SyntaxError"),
            ("x = 1\0\n", "null bytes"),
            (HEAD + declared("mine", CONTROL), "my.py, line 3: ValueError: only the built-in suite"),
            (HEAD + declared("mine", DECLARED.replace('"[8]"', "[8]")), "my.py, line 3: TypeError: 'shapes'"),
            (HEAD + declared("my_sum") * 2, "my.py, line 8: ValueError: two kernels are named 'my_sum'"),
        ],
    )
    def test_mistakes_have_their_line(self, text: str, words: str) -> None:
        assert words in static_declarations.read("my.py", text.encode()).error

    def test_nothing_of_the_file_runs(self, tmp_path: Path) -> None:
        mark = tmp_path / "ran"
        text = f"open({str(mark)!r}, 'w')\nimport os\nos._exit(0)\n" + GOOD
        found = custom_kernels.suite([read_source(write(tmp_path, {"my.py": text}) / "my.py")])
        assert {"my_sum", "my_mean"} <= set(found.kernels)
        assert not mark.exists()


class TestSuite:
    """Files named by matrix.toml and --kernel-file."""

    def sources(self, *paths: Path, **changes: Any) -> list[kernel_files.Source]:
        given: dict[str, Any] = {"listed": (), "folder": Path(), "given": paths, "exclude": (), **changes}
        return custom_kernels.sources(**given)

    def test_no_file(self) -> None:
        found = custom_kernels.suite([])
        assert (dict(found.kernels), found.sources, found.errors) == (all_kernels(), (), {})

    def test_a_file_named_twice_is_read_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path, {"my.py": GOOD}) / "my.py"
        monkeypatch.chdir(tmp_path)
        entry = KernelFiles.model_validate("my.py")
        assert len(self.sources(path, Path("my.py"), listed=[entry], folder=tmp_path)) == 1

    def test_patterns_of_matrix_toml_and_of_the_command_line(self, tmp_path: Path) -> None:
        write(tmp_path / "m", {"k.py": GOOD, "big.h5": "", "a.csv": ""})
        entry = KernelFiles.model_validate({"path": "m", "include": ("*.py",)}, strict=False)
        (source,) = self.sources(listed=[entry], folder=tmp_path)
        assert list(source.files) == ["m/k.py"]
        (source,) = self.sources(tmp_path / "m", exclude=("*.h5",))
        assert list(source.files) == ["m/a.csv", "m/k.py"]

    def test_two_files_with_the_same_name_are_rejected(self, tmp_path: Path) -> None:
        write(tmp_path, {"a/my.py": GOOD, "b/my.py": GOOD})
        with pytest.raises(ConfigError, match=r"Two kernel files are named my\.py"):
            self.sources(tmp_path / "a" / "my.py", tmp_path / "b" / "my.py")

    def test_a_kernel_declared_in_two_files_is_reported_and_the_first_is_kept(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.py": GOOD, "b.py": HEAD + declared("my_sum") + declared("my_third")})
        found = custom_kernels.suite(self.sources(tmp_path / "a.py", tmp_path / "b.py"))
        assert [(name, kernel.file) for name, kernel in found.kernels.items() if kernel.file] == [
            ("my_sum", "a.py"), ("my_mean", "a.py"), ("my_third", "b.py"),
        ]  # fmt: skip
        assert found.errors == {"b.py": "b.py: the kernel 'my_sum' is already declared in a.py"}

    def test_a_byte_order_mark_is_accepted(self, tmp_path: Path, stand: Stand) -> None:
        (tmp_path / "my.py").write_text(GOOD, encoding="utf-8-sig")
        assert "my_sum" in custom_kernels.suite(self.sources(tmp_path / "my.py")).kernels
        assert not stand.ask(stand.take(tmp_path / "my.py"))[0]["error"]


def test_the_example_of_the_guide_loads(root: Path) -> None:
    text = (root / "docs/how-to/custom-kernels.md").read_text(encoding="utf-8")
    source = text.split("```python\n")[1].split("```")[0]
    found = static_declarations.read("my_kernels.py", source.encode())
    assert ([kernel.name for kernel in found.kernels], found.error, found.unknown) == (["my_training"], "", "")
    assert not found.kernels[0].call_again


def test_the_readme_states_the_number_of_kernels(root: Path) -> None:
    text = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    assert f"suite of {len(all_kernels())} seeded kernels" in text


RETURNS = """
from bench.suite.kernels import kernel

def own(**facts):
    return kernel(family="own", exercises="x", shapes="x", dtypes="x", source="x", **facts)

@own()
def one_return(tf, seed):
    def work():
        text = "loss"
        return text  # one_return
    return work

@own(
    heavy=True,
)
def two_returns(tf, seed):
    def work():  # two_returns
        if seed:
            return 1
        return 2
    return work

@own(call_again=True)
def a_lambda(tf, seed):
    return lambda: None  # a_lambda

@own(call_again=False)
def no_return(tf, seed):
    def work():  # no_return
        def inner():
            return 1
        inner()
    return work
"""


@pytest.mark.parametrize("name", ["one_return", "two_returns", "a_lambda", "no_return"])
def test_the_line_that_returns_a_value_is_found(stand: Stand, name: str) -> None:
    loaded = custom.load(stand.file(RETURNS, "returns.py"), stand.store)
    assert not loaded.errors
    where = custom.return_location(loaded.kernels[name].function(None, 1), stand.store)
    file, _, line = where.partition(", line ")
    assert file == "returns.py"
    assert f"# {name}" in RETURNS.splitlines()[int(line) - 1]
    assert custom.return_location(print, stand.store) == custom.return_location(read_source, stand.store) == ""


def test_only_the_files_of_the_kernels_of_a_process_are_loaded(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernel_files.STORE_VARIABLE, str(stand.store))
    (own,), (other,) = stand.file(HEAD + declared("own"), "a.py"), stand.file("raise SystemExit(3)\n", "b.py")
    loaded = custom.requested({"own": own, "other": other}, ["own", "matmul_f32"])
    assert (list(loaded.kernels), loaded.errors) == (["own"], {})


def test_a_declaration_says_whether_later_calls_must_agree(stand: Stand) -> None:
    loaded = custom.load(stand.file(RETURNS, "returns.py"), stand.store)
    must = {name: kernel.later_calls_must_agree for name, kernel in loaded.kernels.items()}
    assert must == {"one_return": False, "two_returns": False, "a_lambda": True, "no_return": False}
    assert all(kernel.later_calls_must_agree is kernel.call_again for kernel in all_kernels().values())
