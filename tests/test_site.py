"""The site's pages before a browser opens them: what they take of a notebook, that text stays text, that links end."""

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
import pytest
from latex2mathml.converter import convert

import distilkit as dk
from docs.site import pages
from tests.hostile import HOSTILE

ROOT = Path(__file__).parents[1]


class Seen(HTMLParser):
    """The elements, links, ids and scripts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.ids = {attributes[key] for _, attributes in self.tags for key in ("id", "name") if attributes.get(key)}

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)

    def addresses(self, *tags):
        """What the page's elements point to."""
        return [
            each[key]
            for tag, each in self.tags
            for key in ("href", "src")
            if each.get(key) and (not tags or tag in tags)
        ]


def notebook(*outputs, models=None):
    cell = nbformat.v4.new_code_cell("dk.plots.curves(live.measured)", outputs=list(outputs))
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title"), cell])
    if models:
        made.metadata["widgets"] = {pages.STATE: {"state": models, "version_major": 2, "version_minor": 0}}
    return made


def shown(*outputs, models=None):
    return [each.get("data", {}) for each in pages.page(notebook(*outputs, models=models), "x.ipynb").cells[1].outputs]


def view(model, **others):
    return nbformat.v4.new_output("display_data", {pages.VIEW: {"model_id": model}, **others})


# ── what a page takes ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", HOSTILE)
def test_a_widgets_state_stays_data(text):
    model = {"state": {"_esm": text, "_anywidget_id": text, "question": text}, "buffers": []}
    (data,) = shown(view("a", **{"text/plain": text, "image/png": "aGk=\n"}), models={"a": model})
    page = Seen(data["text/html"])
    assert [tag for tag, _ in page.tags] == ["div", "img", "script"]
    assert page.tags[1][1]["alt"] == text.replace("\r\n", "\n") or page.tags[1][1]["alt"] == text
    assert json.loads("".join(page.scripts))["state"] == model["state"]


def test_a_widget_of_others_is_shown_as_its_text_and_picture():
    others = {"state": {"value": 3}, "buffers": []}
    assert shown(view("b", **{"text/plain": "IntSlider(value=3)"}), models={"b": others}) == [
        {"text/plain": "IntSlider(value=3)"}
    ]
    assert shown(view("gone", **{"image/png": "aGk="})) == [{"image/png": "aGk="}]


def test_scripts_and_markup_of_others_stay_out():
    bundle = {"application/javascript": "alert(1)", "text/markdown": "<script>alert(1)</script>", "text/latex": "$x$"}
    output = nbformat.v4.new_output("display_data", {**bundle, "text/plain": "a picture"})
    assert shown(output) == [{"text/plain": "a picture"}]
    assert shown(nbformat.v4.new_output("display_data", bundle)) == [{}]
    assert shown(nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[])) == []


def test_a_page_takes_nothing_from_its_notebook():
    made = notebook(view("a", **{"text/plain": "x"}), models={"a": {"state": {"_esm": "", "_css": ""}}})
    before = nbformat.writes(made)
    pages.page(made, "x.ipynb")
    assert nbformat.writes(made) == before


def test_a_real_view_keeps_its_state_and_its_buffers():
    from ipywidgets.widgets.widget import _remove_buffers

    explorer = dk.explore(dk.plots.soft_labels, {"teacher": [[1.0, 2.0]]}, temperature=(0.5, 20.0))
    state, paths, buffers = _remove_buffers(explorer.get_state())
    packed = [
        {"path": path, "encoding": "hex", "data": bytes(each).hex()} for path, each in zip(paths, buffers, strict=True)
    ]
    model = {"state": json.loads(json.dumps(state, default=str)), "buffers": packed}
    (data,) = shown(view("a", **{"text/plain": explorer.line()}), models={"a": model})
    carried = json.loads("".join(Seen(data["text/html"]).scripts))
    assert carried["name"] == "Temperature"
    assert carried["state"] == model["state"]
    assert bytes.fromhex(carried["buffers"][paths.index(["logits"])]["data"])
    explorer.close()


def test_a_picture_is_described_by_its_plot():
    assert pages.described("dk.plots.curves(live.measured)") == dk.plots.curves.__doc__.splitlines()[0]
    assert (
        pages.described("dk.plots.nothing_such(x)")
        == pages.described("a.b()")
        == "A picture of what the cell above computes"
    )


def test_a_link_to_what_the_site_has_not_leads_to_the_repository():
    text = "[a](../tests/hostile.py) [b](01_soft_labels.ipynb#look) [c](https://x.example) [d](#e) ![f](../docs/g.png)"
    kept = text.replace("../tests/hostile.py", f"{pages.REPOSITORY}/tests/hostile.py")
    assert pages.linked(text, ROOT / "notebooks") == kept
    assert pages.linked("[a](nowhere.md)", ROOT) == "[a](nowhere.md)", "which ends the build"


def test_every_chapter_is_in_the_list_of_questions():
    listed = pages.questions()
    for path in pages.chapters():
        assert path.stem == "playground" or f"(notebooks/{path.name})" in listed


@pytest.mark.parametrize("path", pages.chapters(), ids=lambda path: path.stem)
def test_every_formula_becomes_mathml(path):
    text = "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    for formula in re.findall(r"\$\$(.+?)\$\$", text, re.DOTALL) + re.findall(r"(?<!\$)\$([^$\n]+)\$", text):
        math = convert(formula)
        assert math.startswith("<math")
        assert "\\" not in math.replace("&#x0005C;", ""), formula


# ── the pages ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.notebook
def test_every_link_ends_where_it_says(site):
    read = {path: Seen(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert len(read) > len(pages.chapters())
    for path, page in read.items():
        for address in page.addresses():
            file, anchor = urldefrag(address)
            if re.match(r"[a-z]+:", file):
                continue
            target = (path.parent / unquote(file.split("?")[0])).resolve() if file else path
            assert target.is_file(), f"{path.name}: {address}"
            assert not anchor or target.suffix != ".html" or unquote(anchor) in read[target].ids, (
                f"{path.name}: {address}"
            )


@pytest.mark.notebook
def test_no_page_fetches_anything(site):
    for path in site.rglob("*.html"):
        page = Seen(path.read_text("utf-8"))
        asked = page.addresses("script", "img", "link", "iframe", "source")
        assert [each for each in asked if re.match(r"//|[a-z]+:(?!image)", each)] == [], path.name
    for path in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(?!data:|#)[a-z]*:?//|@import", path.read_text("utf-8")) == [], path.name


@pytest.mark.notebook
def test_a_chapter_opens_elsewhere_too(site):
    for path in pages.chapters():
        page = Seen((site / "notebooks" / f"{path.stem}.html").read_text("utf-8"))
        links = " ".join(page.addresses("a"))
        assert f"notebooks/{path.name}" in links
        assert "mybinder.org" in links
        assert "colab.research.google.com" in links
        assert list((site / "_downloads").rglob(path.name)), "to download"


@pytest.mark.notebook
def test_the_pages_say_no_time_and_no_place(site):
    for path in site.rglob("*"):
        if path.suffix in {".html", ".js", ".css"}:
            text = path.read_text("utf-8")
            assert str(ROOT) not in text, path.name
            assert str(site) not in text, path.name
            assert "Last updated" not in text


def test_a_link_to_nowhere_ends_the_build(tmp_path, monkeypatch, capfd):
    lay_out = pages.lay_out

    def broken(executed, source):
        lay_out(executed, source)
        for path in {*source.rglob("*.md"), *source.rglob("*.ipynb")} - {source / "index.md"}:
            path.unlink()
        (source / "chapters.md").write_text("[nowhere](notebooks/99_nowhere.ipynb)\n", "utf-8")

    monkeypatch.setattr(pages, "lay_out", broken)
    with pytest.raises(subprocess.CalledProcessError):
        pages.build([], tmp_path)
    assert "99_nowhere" in capfd.readouterr().err


def test_only_what_is_missing_or_old_is_executed(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(pages.subprocess, "run", lambda command, **_: ran.append(command[3].name))
    first, second = pages.chapters()[:2]
    (tmp_path / first.name).write_text("", "utf-8")  # newer than its source
    assert pages.execute([first, second], tmp_path) == [tmp_path / first.name, tmp_path / second.name]
    assert ran == [second.name]
