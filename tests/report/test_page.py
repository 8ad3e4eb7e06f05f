import html.parser
import re
import struct

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.report import page
from mvjax.report import plots

EVIL = "<script>alert('x')</script>"


def make_stage(name="one", **kwargs):
    labels = np.arange(30) % 3
    fields = {
        "summary": {"data <set>": EVIL},
        "history": {"loss": ([1, 2, 3], [3.0, 2.0, 1.5])},
        "metrics": {
            "clustering": {"shared/acc": 0.9, "shared/acc_std": 0.01, "raw/acc": 0.5}
        },
        "pictures": {
            "codes": plots.scatter(np.ones((30, 2)), labels, "codes"),
            "codes!": plots.scatter(np.ones((30, 2)), labels, "codes again"),
        },
        "config": '{"name": "<b>"}',
        "environment": {"jax": "0.10"},
        "data": {"hash": "ab" * 32},
    }
    return page.Stage(name, **(fields | kwargs))


class Balance(html.parser.HTMLParser):
    """Collects tags and fails where they do not close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def written(tmp_path):
    path = page.write(
        tmp_path / "report",
        title=f"Run {EVIL}",
        stages=[make_stage(EVIL), make_stage()],
    ).page
    return path, path.read_text()


def test_the_page_is_well_formed_escaped_and_self_contained(written):
    _, content = written
    parser = Balance()
    parser.feed(content)
    assert parser.open == []
    assert not {"script", "link", "b"} & {tag for tag, _ in parser.seen}
    sources = [attrs["src"] for tag, attrs in parser.seen if tag == "img"]
    assert len(sources) == 8
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in content
    assert "http" not in content


def test_each_picture_lies_beside_the_page_as_png_and_pdf(written):
    path, content = written
    links = re.findall(r'href="([^"#]+)"', content)
    assert len(links) == len(set(links)) == 16
    assert {file.name for file in path.parent.iterdir()} == {path.name, *links}
    for link in links:
        start = b"%PDF" if link.endswith("pdf") else b"\x89PNG"
        assert (path.parent / link).read_bytes().startswith(start)


def test_tables_mark_the_best_and_the_baselines(written):
    _, content = written
    assert "<strong>0.900 ± 0.010</strong>" in content
    row = re.search(r"<tr class=baseline>.*?</tr>", content)[0]
    assert "raw<span" in row
    assert "baseline</span>" in row
    assert "0.500" in row


def test_equal_stages_write_equal_files(tmp_path):
    first, second = (
        page.write(tmp_path / name, title="t", stages=[make_stage()]).page
        for name in ("a", "b")
    )
    for file in first.parent.iterdir():
        assert file.read_bytes() == (second.parent / file.name).read_bytes()


def test_a_stage_without_anything_still_gives_a_page(tmp_path):
    empty = page.Stage("empty", {}, {}, {}, {}, "", {}, {})
    path = page.write(tmp_path, title="t", stages=[empty]).page
    assert "empty" in path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]


def test_a_failed_write_leaves_the_old_page_whole(tmp_path, monkeypatch):
    path = page.write(tmp_path, title="old", stages=[]).page

    def fail(*unused):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(errors.UserError, match="disk full"):
        page.write(tmp_path, title="new", stages=[])
    assert "old" in path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]


def test_what_was_written_is_told_by_stage(tmp_path):
    stages = [make_stage("one"), make_stage("one-more", pictures={}, history={})]
    written = page.write(tmp_path, title="t", stages=stages)
    first, second = written.pictures
    assert [len(first), len(second)] == [8, 2]
    assert {file.name.startswith("one-more") for file in second} == {True}
    assert {written.page, *first, *second} == set(tmp_path.iterdir())


def test_names_of_any_letters_are_written(tmp_path):
    name = "\udcff $a$ \u4e2d_^\\"
    stage = make_stage(name, summary={name: name}, metrics={name: {f"{name}/acc": 0.5}})
    written = page.write(tmp_path, title=name, stages=[stage])
    assert "$a$ \u4e2d_^\\" in written.page.read_text()


def test_a_picture_of_any_length_can_be_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_PIXELS", 300)
    metrics = {"e": {f"row {i}/acc": 0.5 for i in range(20)}}
    stage = make_stage(metrics=metrics, pictures={}, history={})
    written = page.write(tmp_path, title="t", stages=[stage])
    ((png, _),) = written.pictures
    width, height = struct.unpack(">II", png.read_bytes()[16:24])
    assert 290 < max(width, height) <= 300


def test_scores_of_classes_have_a_table_in_percent(tmp_path):
    scores = {"cover": {"miou": 0.5, "iou/0": 0.25, "iou/1": 0.125}}
    stage = make_stage(
        metrics=scores, pictures={}, class_names={"cover": ("road", EVIL)}
    )
    page_text = page.write(tmp_path, title="t", stages=[stage]).page.read_text()
    assert "<caption>cover, by class</caption>" in page_text
    assert '<tr><th scope="row">0 road</th><td>25.0</td></tr>' in page_text
    assert "<td>12.5</td>" in page_text and f"1 {EVIL}" not in page_text
    assert page_text.count("0.500") == 1 and "0.250" not in page_text
