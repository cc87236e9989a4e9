"""A page that is too large for one file: a summary with the heat map, and the evidence in files beside it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench import report
from bench.report import write
from bench.report.html import large
from bench.report.html import render as html_render
from bench.verdict import evaluate
from tests.unit import factory, test_report
from tests.unit.factory import Behaviour

PAGE = "index.html"


class _Parsed(HTMLParser):
    """The anchors and the links of a page, and all of its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        facts = dict(attributes)
        self.tags.append(tag)
        self.anchors += [facts["id"] or ""] if "id" in facts else []
        self.links += [facts["href"] or ""] if tag in ("a", "link") and "href" in facts else []

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split every page, and put few kernels into each file."""
    monkeypatch.setattr(write, "MOST_BYTES", 50_000)
    monkeypatch.setattr(large, "CELLS", 3)


def pages() -> report.Pages:
    return report.Pages(evaluate(test_report.mixed()))


def written(folder: Path, made: report.Pages | None = None) -> dict[str, str]:
    """Write a page, and return the text of each file by its name."""
    (made or pages()).write(folder, [report.Format.HTML])
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()
    }


def test_every_link_leads_to_a_file_and_an_anchor(tmp_path: Path) -> None:
    parsed = {name: _Parsed(text) for name, text in written(tmp_path).items()}
    followed = 0
    for name, page in parsed.items():
        assert len(page.anchors) == len(set(page.anchors))
        for link in page.links:
            path, _, anchor = link.partition("#")
            if link.startswith(("data:", "https:")):
                continue
            target = (tmp_path / name).parent.joinpath(path).resolve().relative_to(tmp_path) if path else Path(name)
            assert target.as_posix() in parsed, link
            assert not anchor or anchor in parsed[target.as_posix()].anchors, link
            followed += 1
    assert followed > 30
    for row in pages().view.rows:
        assert any(link.startswith("details/kernels-") for link in parsed[PAGE].links), row.kernel


def test_tiles_and_kernels_lead_to_their_own_evidence(tmp_path: Path) -> None:
    files = written(tmp_path)
    links = {link for link in _Parsed(files[PAGE]).links if link.startswith("details/")}
    for detail in pages().view.details:
        (file,) = (name for name, text in files.items() if f"id={detail.anchor}>" in text)
        assert f'aria-label="Evidence of {detail.kernel}"' in files[file]
        assert detail.entry.mode_results[0].symbol in files[file]
        control = detail.kernel.startswith("control")
        assert control or f"{file}#{detail.anchor}" in links


def test_no_evidence_is_lost_and_none_is_there_twice(tmp_path: Path) -> None:
    made = pages()
    whole = _Parsed(html_render.render(made.view))
    files = written(tmp_path, made)
    parts = [_Parsed(text) for name, text in files.items() if name != PAGE]
    anchors = [anchor for part in parts for anchor in part.anchors if re.fullmatch(r"d\d+-\d+", anchor)]
    assert sorted(anchors) == sorted(anchor for anchor in whole.anchors if re.fullmatch(r"d\d+-\d+", anchor))
    assert len(anchors) == len(set(anchors)) == len(made.view.details)
    text = "".join(files.values())
    assert text.count("<div class=kernel-evidence>") == len(made.view.rows)
    assert "<div class=kernel-evidence>" not in files[PAGE]
    for detail in made.view.details:
        for note in detail.notes:
            assert all(sentence in "".join(part.text for part in parts) for sentence in note.sentences)
    assert made.files == len(parts) > len(made.view.families)


def test_the_files_may_run_their_own_script_and_nothing_else(tmp_path: Path) -> None:
    for text in written(tmp_path).values():
        (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{own}'" in text
        assert not re.search(r"\s(src|srcset)=|@import|url\(", text)


def test_the_same_run_gives_the_same_files(tmp_path: Path) -> None:
    assert written(tmp_path / "first") == written(tmp_path / "second")


def test_a_page_below_the_limit_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pages()
    whole = html_render.render(made.view)
    size = len(whole.encode())
    monkeypatch.setattr(write, "MOST_BYTES", size)
    assert written(tmp_path, made) == {PAGE: whole}
    assert made.files == 0
    monkeypatch.setattr(write, "MOST_BYTES", size - 1)
    assert len(written(tmp_path, made)) > 1


def test_the_least_size_of_a_tile_is_not_too_large() -> None:
    """A page that would fit must not be split because of its tiles."""
    view = pages().view
    tiles = sum(len(line.tiles) for line in view.heat_map.lines)
    short = dataclasses.replace(view.heat_map.lines[0].tiles[0], kernel="k", anchor="d0-0", tone="bad", word="ok")
    line = dataclasses.replace(view.heat_map.lines[0], tiles=(short,) * tiles)
    chart = dataclasses.replace(view.heat_map, lines=(line,), families=(("f", tiles),))
    page = html_render.render(dataclasses.replace(view, heat_map=chart))
    charts = page[page.index("<figure class=heat") : page.index("<figcaption>")]
    assert len(charts) >= html_render._BYTES_OF_TILE * tiles


def test_files_of_an_earlier_page_go_and_other_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "details"
    before = written(tmp_path)
    (folder / "kernels-900.html").write_text((folder / "kernels-001.html").read_text("utf-8"), encoding="utf-8")
    (folder / "kernels-901.html").write_text("<p>my own notes", encoding="utf-8")
    (folder / "notes.txt").write_text(large.MARK, encoding="utf-8")
    outside = tmp_path / "outside.html"
    outside.write_text(large.MARK, encoding="utf-8")
    (folder / "kernels-902.html").symlink_to(outside)
    (folder / "kernels-903.html").mkdir()
    after = written(tmp_path)
    assert set(after) - set(before) == {
        "details/kernels-901.html", "details/kernels-902.html", "details/notes.txt", "outside.html",
    }  # fmt: skip
    assert (folder / "kernels-903.html").is_dir()


def test_a_page_that_is_small_again_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    assert (tmp_path / "details").is_dir()
    monkeypatch.setattr(write, "MOST_BYTES", 10_000_000)
    assert set(written(tmp_path)) == {PAGE}
    assert not (tmp_path / "details").exists()


def test_hostile_names_stay_texts(tmp_path: Path) -> None:
    names = ("../../up", "<script>alert(1)</script>", "a' onclick=alert(1) x=\"", "#d0-0 href=#d0-0", "{{ 7*7 }}")
    kernels = tuple(factory.kernel(name, name) for name in names)
    run = factory.run(factory.info(kernels=(*kernels, *factory.CONTROLS)), lambda _: Behaviour(("a", "b")))
    files = written(tmp_path, report.Pages(evaluate(run)))
    assert all(re.fullmatch(r"index\.html|details/kernels-\d{3}\.html", name) for name in files)
    assert [path.name for path in tmp_path.parent.iterdir() if path.name.startswith("up")] == []
    for name, text in files.items():
        page = _Parsed(text)
        assert "onclick" not in re.sub(r">[^<]*<|\"[^\"]*\"", "", text), name
        assert page.tags.count("script") == (1 if name == PAGE else 2)
    index = _Parsed(files[PAGE])
    assert all(name in index.text for name in names)


def test_the_terminal_says_where_the_evidence_is(tmp_path: Path) -> None:
    made = pages()
    assert "details/" not in made.terminal(tmp_path / PAGE, 80)
    written(tmp_path, made)
    for full in (False, True):
        text = made.terminal(tmp_path / PAGE, 80, full=full)
        assert f"evidence is in {made.files} files in the folder details/" in " ".join(text.split())
    assert len(made.terminal(tmp_path / PAGE, 60).splitlines()) <= 40
