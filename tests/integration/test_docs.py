"""Every command and code block of README and docs is executed.

A session is run as the command that it calls. Measuring commands get ``--dry-run``. What needs a network, root, a
registry or a file of another host is only parsed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bench.cli.parser import MODULES, parser
from tests.reference_pages import ROOT
from tests.unit.test_docs import DOCS, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Sessions that are no command of the package, with the file that they run or the tests that cover them.
SESSIONS = {"tests", "audit", "lint", "typecheck", "docs", "base-image", "simulation", "self-benchmark", "screenshot"}
#: Commands that cannot run everywhere: parsed only.
PARSED = {
    *("images", "bundle", "import", "lock", "clean", "reproduce", "local", "export", "nightly", "bisect", "history"),
    "fleet",
}
DRY = {"matrix"}
#: Exit codes besides 0 that are an answer: of a gate or about this host and this sample.
ALLOWED = {"choose": {0, 1, 3}, "compare": {0, 1, 3}, "doctor": {0, 3, 4, 5}, "plan": {0, 3, 5}, "matrix": {0, 3, 4, 5}}
#: Command lines that are no command of the package.
INSTALLS = (
    *("python3 -m pip install nox", "pip install -e .", ".venv/bin/pip install -e .", "python3 -m venv .venv"),
    *("python -m tests.reference_pages", "python -m tests.integration.slurm_cluster"),
)
#: What needs root or systemd: ``tests/unit/test_schedulers.py`` checks the files that these lines install.
OF_THE_SYSTEM = ("sudo ", "journalctl ")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of the docs as (page, words after the program), without repetitions."""
    seen = set()
    for page in DOCS:
        for block in blocks(page, "console"):
            for line in block.splitlines():
                for words in calls(shlex.split(line, comments=True)):
                    if words and tuple(words) not in seen:
                        seen.add(tuple(words))
                        yield page.name, words


def calls(words: list[str]) -> Iterator[list[str]]:
    """The calls that ``&&`` joins; one inside quotes is part of a word."""
    while "&&" in words:
        place = words.index("&&")
        yield words[:place]
        words = words[place + 1 :]
    yield words


def bench_words(words: list[str]) -> list[str]:
    """The words after ``python -m bench`` of a command or session; empty for what is neither."""
    text = shlex.join(words)
    text = re.sub(r"^(pipx run|uvx|python3? -m) nox", "nox", text)
    if text.startswith("nox -s "):
        return [word for word in shlex.split(text)[2:] if word != "--"]
    match = re.match(r"^(?:\.venv/bin/)?python3? -m bench (.*)$", text)
    return shlex.split(match[1]) if match else []


def adapted(name: str, options: list[str], folder: Path) -> list[str]:
    """The options of a command, changed so that it runs here: quickly, on the sample, writing into ``folder`` only."""
    reports = folder / "reports"
    shutil.copytree(ROOT / "reports" / "sample", reports / "runs" / "sample")
    options = options[: options.index(">")] if ">" in options else list(options)
    if name in {"diff", "compare", "choose", "report", "matrix"}:
        if "--reports" in options:
            del options[options.index("--reports") : options.index("--reports") + 2]
        options += ["--reports", str(reports)]
    (folder / "my_kernels.py").write_text(custom_kernels(), encoding="utf-8")
    (folder / "project").mkdir()
    shutil.copy(folder / "my_kernels.py", folder / "project")
    names = ("my_kernels.py", "my_scores.py", "vocabulary.py")
    places = dict.fromkeys(names, str(folder / "my_kernels.py")) | {".": str(folder / "project")}
    if name == "compare":  # there is one run only
        places |= {"previous": "sample", "latest": "sample"}
    dry = ["--dry-run"] if name in DRY else []
    return [places.get(word, word) for word in options] + dry


@pytest.mark.parametrize(("page", "words"), list(commands()))
def test_a_command_of_the_docs_runs(page: str, words: list[str], tmp_path: Path) -> None:
    arguments = bench_words(words)
    if not arguments:
        assert shlex.join(words).startswith((*INSTALLS, *OF_THE_SYSTEM)), page
        return
    name, *rest = arguments
    if name in SESSIONS:
        assert set(arguments) <= SESSIONS, "a session of noxfile.py"
        return
    assert name in MODULES, name
    if name in PARSED or {"REGISTRY", "slurm", "ssh"} & set(rest):
        if name != "local":
            parser().parse_args([name, *rest])
        return
    command = [sys.executable, "-m", "bench", name, *adapted(name, rest, tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in ALLOWED.get(name, {0}), done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


def custom_kernels() -> str:
    block, *_ = blocks(ROOT / "docs/how-to/custom-kernels.md", "python")
    return block


@pytest.mark.parametrize("page", [page for page in DOCS if "custom" not in page.name], ids=lambda page: page.name)
def test_python_blocks_run(page: Path) -> None:
    for block in blocks(page, "python"):
        if "pandas" in block:
            pytest.importorskip("pandas")
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr


def test_the_site_is_built_and_its_pages_load_nothing_from_a_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(DOCS) - 2, "README and CONTRIBUTING are not part of the site"
    loads = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?:https?:)?//", re.IGNORECASE)
    assert not [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))]
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style.name
