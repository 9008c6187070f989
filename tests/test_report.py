"""The report: it claims what the intervals allow, foreign text stays text, the student beside it loads anywhere."""

import html.parser
import itertools
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import distilkit as dk
from distilkit.errors import BadValue
from distilkit.plots import report as plots
from distilkit.reports import card, page as making, what_came_out
from tests.faults import refused
from tests.hostile import HOSTILE

CLASSES = ["billing", "delivery", "returns"]


def frame(seeds=5, gain=0.02, noise=0.004, **more):
    """Results of a teacher, of students, and of their twins, which are `gain` ± `noise` less accurate."""
    drawn = np.random.default_rng(0)
    rows = [{"model": "teacher", "seed": None, "accuracy": 0.94, "parameters": 6000, "latency_ms": 6.0}]
    for seed in range(seeds):
        twin = 0.9 + 0.01 * drawn.standard_normal()
        for model, score in (("twin", twin), ("distilled", twin + gain + noise * drawn.standard_normal())):
            rows.append({"model": model, "seed": seed, "accuracy": score, "parameters": 1000, "latency_ms": 2.0})
    return pd.DataFrame(rows).assign(**more)


def examples(rows=60):
    said = [CLASSES[row % 3] for row in range(rows)]
    return pd.DataFrame({
        "input": [f"request {row}" for row in range(rows)], "reference": said, "teacher": said,
        "distilled": [CLASSES[0] if row % 5 == 1 else each for row, each in enumerate(said)], "twin": said,
    })  # fmt: skip


def history(steps=30):
    loss = [1 / step for step in range(1, steps + 1)]
    return pd.DataFrame({"step": range(1, steps + 1), "loss": loss, "soft": loss, "hard": loss, "lr": 0.1})


@pytest.fixture(scope="module")
def student():
    """A tiny BERT with three classes, and its tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    vocab = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "my", "order"])}
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: place for place, name in enumerate(CLASSES)}}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(vocab), pad_token_id=0, **size, **names)
    return BertForSequenceClassification(config).eval(), BertTokenizer(vocab)


class Page(html.parser.HTMLParser):
    """What a browser would find in a page: its elements with the names of their attributes, and its text."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.addresses, self.images = [], "", [], []
        self.feed(Path(path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, tuple(name for name, _ in attributes)))
        given = dict(attributes)
        self.addresses += [given[name] for name in ("src", "href", "srcset", "action", "data") if name in given]
        if tag == "img":
            self.images.append(given)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (frame(), r"^The student keeps 98 % of the teacher’s accuracy with 1/6 of its parameters\. Distilled − twin: "),
        (frame(), r"Distilled − twin: \+\d\.\d ± 0\.\d points over 5 seeds\.$"),
        (frame(gain=0.0), r"No gain over the twin was shown: [+−]0\.\d ± 0\.\d points over 5 seeds\.$"),
        (frame(gain=-0.03), r"It is worse than its twin, which had no teacher: −\d\.\d ± 0\.\d points over 5 seeds\.$"),
        (frame(seeds=1), r"One seed: no interval, no claim \(distilled − twin: \+\d\.\d points\)\.$"),
        (frame()[lambda rows: rows["model"] != "twin"], r"No twin was trained alike"),
        (frame()[lambda rows: rows["model"] == "distilled"], r"^The student’s accuracy is 9\d\.\d %\. No twin"),
        (frame(accuracy=0.9), r"keeps 100\.0 % .* No gain over the twin was shown: \+0\.0 ± 0\.0 points"),
        (frame(parameters=6000), r"accuracy\. Distilled"),
    ],
    ids=["kept", "gain", "open", "loss", "one", "no twin", "alone", "equal", "as large"],
)  # fmt: skip
def test_the_sentence_claims_what_the_interval_allows(results, said):
    assert re.search(said, what_came_out(results, by="accuracy"))


def test_less_may_be_better():
    results = frame(accuracy=1 - frame()["accuracy"]).rename(columns={"accuracy": "wer"})
    said = what_came_out(results, by="wer", larger=False)
    assert re.match(r"The student’s word error rate is \d\.\d %, the teacher’s 6\.0 %; it has 1/6", said)
    assert re.search(r"Distilled − twin: −\d\.\d ± 0\.\d points over 5 seeds, less is better", said)
    assert "It is worse" in what_came_out(results, by="wer", larger=True)


def test_pairs_are_of_one_seed():
    """Twins that differ much from seed to seed hide nothing where each distilled student is 2 points better."""
    results = frame(gain=0.02, noise=0.0)
    shuffled = results.sample(frac=1, random_state=1)
    assert "+2.0 ± 0.0 points" in what_came_out(shuffled, by="accuracy")
    fewer = shuffled[~((shuffled["model"] == "twin") & (shuffled["seed"] == 3))]
    assert "+2.0 ± 0.0 points over 4 seeds" in what_came_out(fewer, by="accuracy")


@pytest.mark.parametrize("larger", [True, False])
def test_each_model_has_its_best_rate(larger):
    good, bad = frame(lr=0.01), frame(lr=0.1)
    bad["accuracy"] += -0.3 if larger else 0.3
    both = pd.concat([good, bad], ignore_index=True)
    assert what_came_out(both, by="accuracy", larger=larger) == what_came_out(good, by="accuracy", larger=larger)


@pytest.mark.parametrize(
    ("act", "builtin", "words"),
    [
        (lambda out: dk.report(out, [1], by="accuracy"), TypeError, ["DataFrame"]),
        (lambda out: dk.report(out, frame().drop(columns="seed"), by="accuracy"), TypeError, ["seed"]),
        (lambda out: dk.report(out, frame(), by="acuracy"), ValueError, ["Did you mean 'accuracy'"]),
        (lambda out: dk.report(out, frame(model="master"), by="accuracy"), ValueError, ["distilled", "master"]),
        (lambda out: dk.report(out, frame(seeds=0), by="accuracy"), ValueError, ["distilled"]),
        (lambda out: dk.report(out, frame(accuracy=math.nan), by="accuracy"), ValueError, ["no number"]),
        (lambda out: dk.report(out, pd.concat([frame(), frame()]), by="accuracy"), ValueError, ["twice"]),
        (lambda out: dk.report(out, frame(), by="accuracy", kind="speach"), ValueError, ["'speech'"]),
        (lambda out: dk.report(out, frame(), by="accuracy", data=[1]), TypeError, ["data", "DataFrame"]),
        (lambda out: dk.report(out, frame(), by="accuracy", settings=[1]), TypeError, ["settings"]),
        (lambda out: dk.report(out, frame(), by="accuracy", student="model"), TypeError, ["student"]),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing_behind(act, builtin, words, tmp_path):
    refused(lambda: act(tmp_path / "out"), builtin, *words)
    assert not (tmp_path / "out").exists()


def test_the_page_stands_alone(tmp_path):
    everything = {"data": pd.DataFrame({"rows": [1]}, index=["train"]), "warnings": "3 rows twice.", "command": "make"}
    path = dk.report(
        tmp_path / "new folder é" / "out", frame(), by="accuracy", title="Requests", kind="classification",
        examples=examples(), histories={"distilled": history(), "twin": history()}, settings={"steps": 3}, **everything,
    )  # fmt: skip
    page, text = Page(path), path.read_text(encoding="utf-8")
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "link", "iframe", "object", "form"} & set(tags)
    assert not any(name.startswith("on") for _, names in page.elements for name in names)
    assert tags.count("caption") == tags.count("table") == 4
    assert len(page.images) == 5  # seeds, size, time, and two terms of the loss
    assert all(len(image["alt"]) > 20 and re.search(r"\d", image["alt"]) for image in page.images)
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for said in (
        "Requests",
        what_came_out(frame(), by="accuracy"),
        "3 rows twice.",
        "make",
        "steps",
        torch.__version__,
    ):
        assert said in page.text


def test_rows_on_which_they_differ_come_first(tmp_path, undrawn):
    text = Page(dk.report(tmp_path, frame(), by="accuracy", examples=examples())).text
    differ = [row for row in range(60) if row % 5 == 1 and row % 3]
    places = [text.index(f"request {row}\n") for row in differ]
    assert places == sorted(places)
    assert max(places) < min(text.index(f"request {row}\n") for row in (0, 2, 3))
    assert f"differ on {len(differ)}" in text


def test_a_picture_is_shown_and_a_long_text_cut(tmp_path, undrawn):
    shown = pd.DataFrame({"input": [Image.new("L", (900, 500)), "x" * 2**20, None, ["a", 1]]})
    path = dk.report(tmp_path, frame(), by="accuracy", examples=shown, settings={"text": "y" * 2**20})
    seen = Page(path)
    assert sum(image.get("class") == "thumb" for image in seen.images) == 1
    assert "x" * 200 in seen.text
    assert "x" * 400 not in seen.text
    assert path.stat().st_size < 2**19


def test_f51_no_cell_starts_a_formula(tmp_path, undrawn):
    results = frame(note="=1+1", **{"@sum": -1.5})
    dk.report(tmp_path, results[results["seed"] != 0], by="accuracy")
    table = pd.read_csv(tmp_path / "results.csv")
    assert set(table["note"]) == {"'=1+1"}
    assert "'@sum" in table
    assert set(table["'@sum"]) == {-1.5}
    assert table["accuracy"].tolist() == pytest.approx(results[results["seed"] != 0]["accuracy"].tolist())


def everywhere(text):
    """Every field of a report that may hold foreign text holds this one."""
    cell = text.encode("utf-8", "replace").decode()  # a lone surrogate is none of pandas'
    named = pd.DataFrame({cell: [cell, "b"], "teacher": [cell, cell], "distilled": ["b", cell]}, index=[cell, "c"])
    results = frame(seeds=2).rename(columns={"accuracy": cell}).assign(note=cell)
    return results, {
        "by": cell, "title": text, "settings": {text: text, "teacher": text, "data": text, "license": text},
        "data": named, "warnings": [text], "examples": named, "command": text,
        "histories": {text: history().rename(columns={"hard": cell})},
    }  # fmt: skip


@pytest.fixture
def undrawn(monkeypatch):
    """No figure is drawn, which takes most of the time."""
    for name in ("seeds", "against", "learning"):
        monkeypatch.setattr(plots, name, lambda *_, **__: None)
    drawn = {"light": "", "dark": ""}
    monkeypatch.setattr(making, "_picture", lambda _, alt, caption: drawn | {"alt": alt, "caption": caption})


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    results, fields = everywhere("harmless")
    return Page(dk.report(tmp_path_factory.mktemp("harmless"), results, **fields)).elements


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_f84_foreign_text_adds_no_element(text, harmless, tmp_path, undrawn):
    results, fields = everywhere(text)
    found = Page(dk.report(tmp_path, results, **fields))
    assert found.elements == harmless
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00\x1b]", found.text)


def test_f84_foreign_names_are_drawn(tmp_path):
    for names in (HOSTILE[start : start + 4] for start in range(0, len(HOSTILE), 4)):
        assert making._curves({name: history(3) for name in names})


def test_f94_a_token_is_not_shown(tmp_path, student, undrawn):
    token = "hf_" + "aB3" * 11
    command = f"HF_TOKEN={token} jupyter lab"
    model, tokenizer = student
    path = dk.report(
        tmp_path, frame(), by="accuracy", settings={"token": token}, command=command, student=model, processor=tokenizer
    )
    assert token not in path.read_text(encoding="utf-8")
    assert token not in (tmp_path / "student" / "README.md").read_text(encoding="utf-8")


def test_the_student_loads_anywhere_and_its_card_says_how(tmp_path, student, monkeypatch, capsys):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = student
    settings = {"teacher": "a/large BERT", "data": "requests.csv: [1]", "license": "mit"}
    dk.report(tmp_path, frame(), by="accuracy", title="Requests", settings=settings, student=model, processor=tokenizer)
    assert capsys.readouterr().err == ""  # no bars
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "results.csv", "student"}
    assert (tmp_path / "student" / "model.safetensors").is_file()
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student")
    assert again.config.id2label == dict(enumerate(CLASSES))
    inputs = AutoTokenizer.from_pretrained(tmp_path / "student")("my order", return_tensors="pt")
    torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits)

    _, front, body = (tmp_path / "student" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["library_name"] == "transformers"
    assert about["pipeline_tag"] == "text-classification"
    assert about["tags"] == ["distillation", "distilkit"]
    assert about["license"] == "mit"
    (result,) = about["model-index"][0]["results"]
    assert result["dataset"]["name"] == "requests.csv: [1]"
    distilled = frame()[lambda rows: rows["model"] == "distilled"]["accuracy"].mean()
    assert result["metrics"] == [{"type": "accuracy", "name": "accuracy", "value": pytest.approx(distilled, abs=1e-6)}]
    assert "points over 5 seeds" in body
    assert "5 seeds; a firm claim needs 10" in body
    code = "\n".join(
        line[4:] for line in re.findall(r"(?m)^    .*$", body.split("## How to use it")[1].split("## ")[0])
    )
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out.strip() in CLASSES


def test_a_card_of_hostile_names_is_yaml_and_text(tmp_path, student, undrawn, monkeypatch):
    cards = []
    monkeypatch.setattr(making, "save_student", lambda student, processor, readme, folder: cards.append(readme))
    for text in HOSTILE:
        results, fields = everywhere(text)
        dk.report(tmp_path, results, **fields, student=student[0])
        start, front, body = cards[-1].split("---\n", 2)
        assert start == ""
        assert set(yaml.safe_load(front)) == {"library_name", "pipeline_tag", "license", "tags", "model-index"}
        read = [line for line in body.splitlines() if not line.startswith("    ") and "](https://github" not in line]
        assert not any("<" in line or re.search(r"(?<!\\)\]\(", line) for line in read)


def test_heads_and_code_of_other_models():
    from transformers import AutoConfig, LlamaForCausalLM, T5ForConditionalGeneration

    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 9}
    with torch.device("meta"):
        language = LlamaForCausalLM(AutoConfig.for_model("llama", **size))
        translator = T5ForConditionalGeneration(
            AutoConfig.for_model("t5", d_model=8, num_layers=1, d_ff=8, vocab_size=9)
        )
    assert card.head_of(language)[0] == "AutoModelForCausalLM"
    assert card.head_of(translator) == ("AutoModelForSeq2SeqLM", "text2text-generation")
    assert card.head_of(language.model) == ("AutoModel", "")
    listener = type("Wav2Vec2ForCTC", (), {"config": AutoConfig.for_model("wav2vec2")})()
    assert card.head_of(listener) == ("AutoModelForCTC", "automatic-speech-recognition")
    compile(card.how_to_use(listener, processor := object()), "card", "exec")
    assert "AutoProcessor" in card.how_to_use(listener, processor)


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "moved"])
def test_f69_a_cut_save_leaves_the_old_student(tmp_path, student, undrawn, monkeypatch, exchange):
    model, tokenizer = student
    if not exchange:
        monkeypatch.setattr(card.ctypes, "CDLL", lambda _: object())

    def make(title):
        dk.report(tmp_path, frame(), by="accuracy", title=title, student=model, processor=tokenizer)

    def present():
        assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "results.csv", "student"]
        type(model).from_pretrained(tmp_path / "student")
        return (tmp_path / "student" / "README.md").read_text(encoding="utf-8").split("\n# ")[1].splitlines()[0]

    make("first")
    make("second")
    assert present() == "second"

    def cut(*_, **__):
        raise KeyboardInterrupt

    for place in ((tokenizer, "save_pretrained"), (card, "_replace"), (card.os, "fsync")):
        with monkeypatch.context() as patch:
            patch.setattr(*place, cut)
            with pytest.raises(KeyboardInterrupt):
                make("third")
        assert present() == "second"
    with monkeypatch.context() as patch:
        patch.setattr(tokenizer, "save_pretrained", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        refused(lambda: make("third"), OSError, "No space left", "untouched")
    assert present() == "second"


def test_f45_broken_weights_are_not_handed_on(tmp_path, student):
    import copy

    broken = copy.deepcopy(student[0])
    with torch.no_grad():
        broken.classifier.bias[0] = math.nan
    refused(lambda: dk.report(tmp_path / "out", frame(), by="accuracy", student=broken), OSError, "nan")
    assert not (tmp_path / "out").exists()


def test_where_nothing_can_be_written(tmp_path, undrawn):
    (tmp_path / "file").write_text("here")
    refused(lambda: dk.report(tmp_path / "file", frame(), by="accuracy"), OSError, "cannot write")


def test_pictures_draw_what_was_given():
    (axes,) = plots.seeds([0.9, 0.8, 0.85], [0.7, 0.7, 0.75], teacher=0.95, measure="$x$").axes
    drawn = [tuple(line.get_ydata()) for line in axes.lines]
    assert drawn[:3] == [(0.7, 0.9), (0.7, 0.8), (0.75, 0.85)]
    (axes,) = plots.against({"teacher": (4e6, 0.9, math.nan), "distilled": (1e5, 0.8, 0.01)}).axes
    assert {text.get_text() for text in axes.texts} == {"teacher", "distilled"}
    assert axes.get_xlim()[0] < 1e5 < 4e6 < axes.get_xlim()[1]
    (axes,) = plots.learning({"distilled": history(3000), "twin": history(3000)}, measure="hard").axes
    for line in axes.lines:
        assert len(line.get_ydata()) <= 200
        assert line.get_ydata()[-1] == pytest.approx(1 / 3000, rel=0.01)
    with pytest.raises(BadValue, match="no history"):
        plots.learning({"twin": history().assign(soft=math.nan)}, measure="soft")
    with pytest.raises(BadValue, match="nothing to draw"):
        plots.against({})
    with pytest.raises(BadValue, match="a score a seed"):
        plots.seeds([1.0], [1.0, 2.0])


def test_a_history_is_what_a_run_kept(tmp_path):
    task = dk.tasks.digits()
    run, twin = (dk.distill(task.student(), other, task.transfer, steps=4) for other in (task.teacher(), None))
    run.result(), twin.result()
    path = dk.report(tmp_path, frame(), by="accuracy", histories={"distilled": run.history, "twin": twin.history})
    alts = [image["alt"] for image in Page(path).images]
    assert any(f"{run.history[-1].soft:.3g}" in alt and "soft" in alt for alt in alts)
