"""The domains: texts from a seed alone, held-out parts of their own, mixtures that have the shares they say."""

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import distilkit as dk
from distilkit import plots
from distilkit.errors import BadType, BadValue
from distilkit.models import data_path, read_checked
from distilkit.sweeps import domains as sweep
from distilkit.tasks import phrases
from distilkit.tasks.domains import DOMAINS, TEXTS, corpus
from distilkit.tasks.phrases import joined, translations
from distilkit.tasks.sums import worked_problems
from distilkit.tasks.support import PRICES, conversations


@pytest.fixture(scope="module")
def task():
    return dk.tasks.domains(tokens=6400, seed=3)


@pytest.fixture(scope="module")
def teacher(task):
    return task.teacher()


@pytest.fixture(scope="module")
def texts():
    return corpus()


def stored(seeds=10):
    """A frame as the stored sweep: each source knows its own domain, and seeds have something in common."""
    draw, rows = np.random.default_rng(0), []
    cells = [("fresh", source, 0.0, "nothing") for source in (*sweep.MIXTURES, sweep.WRITTEN)]
    cells += [("even", "support", 0.0, "nothing"), ("even", "support", 0.2, "corpus")]
    for start, source, replay, replayed in cells:
        for lr, worse in ((0.002, 1.1), (0.005, 1.0)):
            for seed in range(seeds):
                row = {"start": start, "replay": replay, "replayed": replayed, "source": source, "lr": lr, "seed": seed}
                for target in DOMAINS:
                    nll = worse * (2.0 if target == source else 4.0 if source == "even" else 7.0) + 0.05 * seed
                    nll += draw.normal(0, 0.02)
                    values = {"nll": nll, "bits_per_byte": nll / 2, "kl": nll - 1, "ece": nll / 40}
                    row |= {f"{target}_{measure}": value for measure, value in values.items()}
                rows.append(row | {"own": 2.0 * worse, "seconds": 5.0})
    frame = pd.DataFrame(rows)
    frame.attrs.update(tokens=6400, steps=4, further=2)
    return frame


def test_generated_texts_are_a_function_of_the_seed_and_never_the_same_twice():
    for make in (conversations, translations, worked_problems):
        assert make(300) == make(300)
        assert make(300, seed=1) != make(300)
        assert make(300)[:100] == make(100)
        assert len(set(make(2000, seed=2))) == 2000


def test_held_out_texts_are_in_no_training_text(texts):
    assert tuple(texts) == DOMAINS
    for name, (pool, held_out) in texts.items():
        assert not set(pool) & set(held_out), name
        assert 0.05 < len(held_out) / len(pool) < 0.3
    questions = [{text.split("\n")[0] for text in part} for part in texts["arithmetic"]]
    assert not questions[0] & questions[1]
    sentences = [{text.split("\nFrench")[0] for text in part} for part in texts["translation"]]
    assert not sentences[0] & sentences[1]
    assert sum(map(len, sentences)) == TEXTS["translation"]


def test_the_stored_tokens_are_these_texts(task, texts):
    for name, (pool, held_out) in texts.items():
        for tokens, part in ((task[name].pool, pool), (task[name].held_out, held_out)):
            said = task.decode(tokens[:400])
            assert "<|endoftext|>".join(part).startswith(said[:300])
        assert task[name].bytes_per_token == pytest.approx(
            sum(len(text.encode()) for text in held_out) / len(task[name].held_out)
        )
    assert len(task.tokenizer) == 1500
    assert len(task.encode("90 + 12")[0]) == 6 + (task.encode("90 + 12")[0, 2] == task.encode(" ")[0, 0])


def test_the_shop_says_the_truth():
    for text in conversations(1500, seed=5):
        lines = text.splitlines()
        assert all(line.startswith(("Customer: ", "Agent: ")[place % 2]) for place, line in enumerate(lines))
        assert not re.search(r"[{}<>|]|\ba [aeiou]", text)
        for thing, price, shipping in re.findall(r"The ([a-z ]+) costs (\d+) euros\. \w+ is (.+)\.", text):
            assert PRICES[thing] == int(price)
            assert shipping == ("free" if PRICES[thing] >= 50 else "5 euros")
        for day, hours in re.findall(r"(?:On|Every) (\w+) we are open from ([\d to]+)\.", text):
            assert hours == ("10 to 16" if day == "Saturday" else "9 to 18")
        numbers = re.findall(r"\b\d{5}\b", text)
        assert len(set(numbers)) <= 1


def test_the_sums_are_right():
    for text in worked_problems(500, seed=5):
        question, *steps, answer = text.split("\n")
        numbers = [int(number) for number in re.findall(r"\d+", question)]
        total = numbers[0]
        for step, number in zip(steps, numbers[1:], strict=True):
            left, sign, right, result = re.fullmatch(r"(\d+)([-+*])(\d+)=(\d+)", step).groups()
            assert (int(left), int(right)) == (total, number)
            total = {"+": total + number, "-": total - number, "*": total * number}[sign]
            assert int(result) == total <= 99
        assert answer == f"#### {total}"


def test_french_agrees():
    def phrase(noun, *others):
        """What the grammar may say of this noun, with these determiners or adjectives anywhere before or after it."""
        return [
            fr
            for en, fr in translations(6000, seed=7)
            if re.search(rf"\b{noun}\b", fr) and any(o in fr for o in others)
        ]

    assert phrase("image", "une", "cette", "l'", "mon ")
    assert not phrase(
        "image", " un image", "ma image", "la image", "beau image", "rouges image", "ce image", "cet image"
    )
    assert not phrase("arbre", "le arbre", "ce arbre", "beau arbre", "vieux arbre", "nouveau arbre", "une arbre")
    assert phrase("arbre", "cet arbre", "bel arbre", "vieil arbre", "nouvel arbre")
    for english, french in translations(6000, seed=8):
        assert french[0].isupper()
        assert french.endswith(".")
        assert not re.search(r"\b(?:[jJ]e|ne|[lL]e|[lL]a|[cC]e|de) [aeiouœâàéèêîôh]", french), french
        assert not re.search(r"\b[Dd]es (?:petit|grand|beaux|belles|nouve|vieux|vieilles|bon|mauvais|joli)", french), (
            french
        )
        assert (" not " in english) == (" pas " in french)
        assert not re.search(" pas (?:un|une|des) ", french), french
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", english), english
        if french.startswith("Nous "):
            assert re.match(r"Nous (?:ne |n')?\w+ons\b", french), french
        if french.startswith("Vous "):
            assert re.match(r"Vous (?:ne |n')?\w+ez\b", french), french
    assert len(phrases.NOUNS["people"]) + len(phrases.NOUNS["things"]) > 60
    assert all(len(row) == 6 for row in phrases.ADJECTIVES["before"])
    assert all(len(row) == 5 for kind in ("people", "things") for row in phrases.ADJECTIVES[kind])
    assert all(len(forms) == 5 for _, _, forms in phrases.ACTIONS)
    assert (joined("je", "aime"), joined("ne", "lit"), joined("l'", "ami")) == ("j'aime", "ne lit", "l'ami")


def test_a_mixture_has_the_shares_it_says(task):
    half = task.mixture({"docs": 0.5, "support": 0.3, "translation": 0.2}, 12_800)
    assert half.inputs.shape == (100, 128)
    for name, count in (("docs", 50), ("support", 30), ("translation", 20), ("arithmetic", 0)):
        pool = {tuple(row.tolist()) for row in task[name].relabelled(12_800, 3).train.inputs}
        assert sum(tuple(row.tolist()) in pool for row in half.inputs) == count
    assert torch.equal(task.mixture({"docs": 1.0}).inputs, task["docs"].train.inputs)
    assert len(task.train) == 4 * round(6400 / 128 / 4)
    again = dk.tasks.domains(tokens=6400, seed=4).relabelled(6400, 3)
    assert torch.equal(again.train.inputs, task.train.inputs)
    assert not torch.equal(task.relabelled(6400, 5).train.inputs, task.train.inputs)


@pytest.mark.parametrize(
    ("shares", "tokens", "error", "words"),
    [
        ({"docs": 0.5, "support": 0.4}, None, BadValue, "sum to 0.9"),
        ({"docs": 0.5, "suport": 0.5}, None, BadValue, "Did you mean 'support'"),
        ({"docs": 1.5, "support": -0.5}, None, BadValue, "share of docs must lie in"),
        ({"docs": float("nan")}, None, BadValue, "share of docs"),
        ({"docs": 0.5, "support": 0.5}, 128, BadValue, "a block of each domain"),
        ({}, None, BadType, "shares must say"),
        ("docs", None, BadType, "shares must say"),
    ],
)
def test_impossible_mixtures_are_refused(task, shares, tokens, error, words):
    with pytest.raises(error, match=words):
        task.mixture(shares, tokens)


def test_the_teacher_knows_all_and_a_student_nothing(task, teacher):
    student = task.student(seed=1)
    judged, nothing = task.judge(teacher, teacher), task.judge(student, teacher)
    about = json.loads((data_path("domains") / "teacher" / "training.json").read_text())["test"]
    for name in DOMAINS:
        assert judged[f"{name}_kl"] == 0
        assert judged[f"{name}_bits_per_byte"] == pytest.approx(about[name]["bits_per_byte"], rel=0.12)
        assert nothing[f"{name}_nll"] == pytest.approx(np.log(1500), abs=0.2)
    assert task.score(student) == {name: nothing[f"{name}_nll"] for name in DOMAINS}
    assert sum(parameter.numel() for parameter in teacher.parameters()) * 4 < 8.3e6
    with pytest.raises(BadValue, match="Did you mean 'docs'"):
        task["doc"]


def test_the_tokens_are_checked(tmp_path):
    data = read_checked(data_path("domains") / "tokens.safetensors")
    digest = (data_path("domains") / "tokens.safetensors.sha256").read_text().split()[0]
    assert hashlib.sha256(data).hexdigest() == digest


@pytest.mark.parametrize(("replay", "whose"), [(0.0, "nothing"), (0.2, "corpus"), (0.2, "teacher")])
def test_replay_takes_the_place_of_its_share(task, replay, whose):
    class Parrot(torch.nn.Module):
        def forward(self, tokens):
            return torch.nn.functional.one_hot(torch.full_like(tokens, 7), 1500).float() * 100

    text = sweep.with_replay(task, Parrot(), "support", replay, whose, seed=3)
    own = {tuple(row.tolist()) for row in task["support"].train.inputs}
    others = sum(tuple(row.tolist()) not in own for row in text.inputs)
    assert len(text) == pytest.approx(50, abs=1)
    assert others == pytest.approx(50 * replay, abs=2)
    assert text.inputs.shape[1] == 128


def test_means_intervals_and_differences_by_hand():
    frame = stored(7)
    table = sweep.domain_means(frame)
    best = frame[frame["lr"] == 0.005]
    even = best[(best["start"] == "fresh") & (best["source"] == "even")].sort_values("seed")
    assert set(table["target"]) == set(DOMAINS)
    for (source, target), cells in table.groupby(["source", "target"]):
        assert len(cells) == 1
        cell = cells.iloc[0]
        runs = best[[sweep.name_of(row) == source for row in best.to_dict("records")]].sort_values("seed")
        assert cell["seeds"] == len(runs) == 7
        for measure in sweep.MEASURES:
            values = runs[f"{target}_{measure}"].to_numpy()
            over = values - even[f"{target}_{measure}"].to_numpy()
            for name, found in ((measure, values), (f"{measure}_over", over)):
                error = np.std(found, ddof=1) / np.sqrt(7)
                assert cell[name] == pytest.approx(np.mean(found))
                assert cell[f"{name}_half"] == pytest.approx(stats.t.ppf(0.975, 6) * error)


@pytest.mark.parametrize(
    ("frame", "error", "words"),
    [
        (dk.load_sweep("digits"), BadType, "needs a sweep over domains"),
        (stored(2).drop(columns="docs_kl"), BadType, "lacks docs_kl"),
        (stored(2).query("source != 'even'"), BadValue, "no even mixture"),
        (stored(1), BadValue, "at least 2 values"),
    ],
    ids=["another sweep", "a measure is missing", "no even mixture", "one seed"],
)
def test_frames_are_refused_with_the_reason(frame, error, words):
    with pytest.raises(error, match=words):
        sweep.domain_means(frame)


def test_pictures():
    frame = stored(3)
    for measure in plots.MATRIX:
        axes = plots.matrix(frame, measure=measure).axes[0]
        assert len(axes.texts) == 9 * 4
        assert [label.get_text() for label in axes.get_xticklabels()] == list(DOMAINS)
    figure = plots.forgetting(frame)
    assert [label.get_text() for label in figure.legends[0].get_texts()] == [
        "even, then support",
        "even, then support, 20 % of the corpora",
    ]


def test_without_students_that_went_on_nothing_is_forgotten():
    with pytest.raises(BadValue, match="no student that went on"):
        plots.forgetting(stored(2).query("start == 'fresh'"))


def test_the_stored_sweep_is_whole():
    frame = dk.load_sweep("domains")
    table = sweep.domain_means(frame)
    assert table["seeds"].min() >= 10
    assert {source for source in table["source"] if ", then" in source} >= {
        "even, then support",
        "even, then support, 5 % of the corpora",
    }
    tried = frame[frame["start"] == "fresh"].groupby(["source", "lr"])["seed"].nunique()
    assert (tried >= 3).all()
    assert tried.groupby("source").size().eq(2).all()
