"""The claims: each with its interval, computed from what is stored; contradicted where fresh seeds say otherwise."""

import ast
import json
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

import distilkit as dk
from distilkit.claims import NotShown, fresh
from distilkit.claims.chapters import NOTEBOOKS, chapter, chapters, needed
from distilkit.claims.statements import MIME, Claim, amount, stated
from distilkit.claims.table import as_frame, page
from distilkit.errors import BadFile, BadValue
from distilkit.metrics import interval
from tests.faults import refused

ALL = chapters()


def one(**changes):
    return replace(Claim("A student gains", 7.6, 1.0, 10, "points", "its twin", "above", 0.0, ""), **changes)


# ── what is claimed ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_is_what_the_chapters_and_the_sweeps_say_now():
    assert (NOTEBOOKS.parent / "CLAIMS.md").read_text("utf-8") == page(ALL), "make claims"


@pytest.mark.parametrize("found", ALL, ids=lambda found: found.name)
def test_every_chapter_claims_something_over_ten_seeds_and_it_stands(found):
    assert found.claims, f"{found.name} has no stored claim"
    for each in found.claims:
        claim = each.claim
        assert claim.stands, f"{claim.sentence}: {claim.amount}, claimed {claim.claimed}"
        assert claim.seeds >= 10
        assert np.isfinite([claim.effect, claim.half]).all()
        assert each.sweeps
        for name in each.sweeps:
            about = dk.load_sweep(name).attrs
            assert about["command"].startswith("python -m distilkit.sweeps")
            assert {"python", "torch"} <= set(about["versions"])


def test_all_nineteen_chapters_are_there_and_no_claim_is_made_twice():
    assert [found.name[:2] for found in ALL] == [f"{number:02}" for number in range(19)]
    made = [(each.chapter, each.claim.sentence) for found in ALL for each in found.claims]
    assert len(made) == len(set(made)) >= 60


def test_every_claim_cell_holds_a_claim_or_asserts_one_of_this_run():
    for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"):
        tagged = [
            "".join(cell["source"])
            for cell in json.loads(path.read_text("utf-8"))["cells"]
            if "claim" in cell["metadata"].get("tags", ())
        ]
        assert any("dk.holds" in source for source in tagged), path.name
        assert all("assert" in source for source in tagged), path.name
        assert not any("assert gain > half" in source for source in tagged), f"{path.name}: say it with dk.holds"


def test_the_opening_sentences_have_their_figures():
    """What each chapter's first sentence says must be among its claims: the words that carry it, and on which side."""
    said = {
        "00": ("beats the same student", "above", 0),
        "01": ("never saw a 3", "above", 0),
        "02": ("softening pays", "above", 0),
        "03": ("1,000 clean labels", "within", 1),
        "04": ("reverse KL is behind", "above", 0),
        "05": ("teacher's distribution", "above", 0),
        "06": ("on its own text", "above", 0),
        "07": ("filtered", "above", 0),
        "08": ("As good as 2,000 answers", "above", 1),
        "09": ("less right than conv", "above", 0),
        "10": ("knows the rest worse", "above", 0),
        "11": ("Twice the layers add little", "below", 15),
        "12": ("Shown hidden states, it reads better", "above", 0),
        "13": ("gains less than half a point", "below", 0.5),
        "14": ("sentences of a teacher", "above", 0),
        "15": ("voices never heard", "above", 0),
        "16": ("made-up value", "above", 0),
        "17": ("Colours", "within", 5),
        "18": ("unlabelled rows", "above", 0),
    }
    for found in ALL:
        words, says, bound = said[found.name[:2]]
        matching = [each.claim for each in found.claims if words in each.claim.sentence]
        assert matching, f"{found.name}: no claim says {words!r}"
        assert all((claim.says, claim.bound) == (says, bound) for claim in matching), found.name


def test_a_claim_is_recomputed_from_the_rows_not_copied():
    gain, half = interval(_gains("digits", 100))
    claim = ALL[0].claims[0].claim
    assert (claim.effect, claim.half) == (pytest.approx(gain), pytest.approx(half))
    shifted = dk.load_sweep("digits").assign(accuracy=lambda rows: rows["accuracy"] - 0.05 * (rows["alpha"] > 0))
    moved = chapter(NOTEBOOKS / "00_start_here.ipynb", lambda name: shifted).claims[0].claim
    assert moved.effect == pytest.approx(gain - 5)


def _gains(name, labelled):
    runs = dk.load_sweep(name).query(f"labelled == {labelled}")
    alone = dk.at_best_lr(runs.query("alpha == 0")).set_index("seed")["accuracy"]
    taught = runs.query("alpha == 0.9 and temperature == 4").set_index("seed")["accuracy"]
    return (100 * (taught - alone)).tolist()


def test_every_claim_is_drawn_where_it_was_measured():
    frame = as_frame(ALL)
    figure = dk.plots.claims(frame)
    drawn = [
        (line.get_xdata()[0], axes.get_title(loc="left"))
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == "o"
    ]
    assert sorted(place for place, _ in drawn) == sorted(frame["effect"])
    assert {title for place, title in drawn if place in set(frame.query("unit == 'BLEU'")["effect"])} == {
        "points, of a hundred"
    }


# ── one claim ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("where", "values", "stands"),
    [
        ({}, [1.0, 2.0, 3.0], False),  # 2 ± 2.5
        ({}, [2.0, 2.1, 2.2], True),
        ({"above": 2}, [2.0, 2.1, 2.2], False),
        ({"below": 0}, [-2.0, -2.1, -2.2], True),
        ({"below": 0}, [2.0, 2.1, 2.2], False),
        ({"within": 3}, [2.0, 2.1, 2.2], True),
        ({"within": 2}, [2.0, 2.1, 2.2], False),
        ({"within": 3}, [-2.0, -2.1, -2.2], True),
        ({}, [0.0, 0.0, 0.0], False),
    ],
)
def test_a_claim_stands_where_all_of_its_interval_does(where, values, stands, capsys):
    if stands:
        dk.holds("It gains", values, **where)
        assert capsys.readouterr().out.startswith("✓ It gains: ")
    else:
        refused(lambda: dk.holds("It gains", values, **where), NotShown, "It gains", "±", "3 seeds")
        assert issubclass(NotShown, AssertionError)


def test_a_claim_says_the_same_of_values_and_of_their_interval():
    values = [7.1, 8.3, 7.4, 8.0]
    mean, half = interval(values)
    assert stated("x", values) == stated("x", mean, half, seeds=4) == stated("x", pd.Series(values, index=[3, 1, 2, 0]))


def test_what_is_no_claim_is_refused():
    refused(lambda: dk.holds("x", [1.0]), BadValue, "seed")
    refused(lambda: dk.holds("x", [1.0, 2.0], above=0, below=3), BadValue, "above", "below")
    refused(lambda: dk.holds("x", 1.0, 0.5, seeds=1), BadValue, "one seed")
    refused(lambda: dk.holds("x", 1.0, -0.5, seeds=3), BadValue, "half")
    refused(lambda: dk.holds("x", [1.0, 2.0], within=-1), BadValue, "within")
    refused(lambda: dk.holds("x", [float("nan"), 2.0]), BadValue)


def test_a_kernel_gets_the_claim_as_data_beside_its_line():
    code = (
        "from IPython.testing.globalipapp import start_ipython; start_ipython();"
        "from IPython.utils.capture import capture_output\n"
        "import distilkit as dk, json\n"
        "with capture_output() as out: dk.holds('It gains', [7.1, 8.3], above=-20, paper='P 2020: 5')\n"
        "print(json.dumps([each._repr_mimebundle_()[0] if isinstance(each._repr_mimebundle_(), tuple)"
        " else each._repr_mimebundle_() for each in out.outputs]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    (shown,) = json.loads(out.stdout.strip().splitlines()[-1]) if out.returncode == 0 else pytest.fail(out.stderr)
    assert shown["text/plain"].startswith("✓ It gains: +7.7")
    assert shown[MIME] | {"half": None} == {
        "sentence": "It gains",
        "effect": 7.7,
        "half": None,
        "seeds": 2,
        "unit": "points",
        "against": "the tuned twin",
        "says": "above",
        "bound": -20.0,
        "over": "seeds",
        "paper": "P 2020: 5",
    }


def test_a_claim_is_said_in_french(capsys):
    from distilkit.words import speak

    speak("fr")
    try:
        dk.holds("Il gagne", [7.1, 8.3, 7.4], within=20)
    finally:
        speak("en")
    assert "aucune différence de plus de 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("effect", "half", "text"),
    [
        (-0.0835, 0.31, "−0.08 ± 0.31 x"),
        (105.02, 12.9, "+105 ± 13 x"),
        (-0.001, 0.31, "0.00 ± 0.31 x"),
        (7, 0.996, "+7.0 ± 1.0 x"),
    ],
)
def test_an_amount_has_two_digits_of_its_half_width(effect, half, text):
    assert amount(effect, half, "x") == text


# ── of a notebook, only what a claim needs ───────────────────────────────────────────────────────────────────────────


def test_only_what_leads_to_the_claim_is_run(tmp_path):
    source = [
        "import distilkit as dk\n%matplotlib inline",
        "import distilkit as dk",
        "task = dk.tasks.digits()\nrun = dk.distill(task.student(), None, task.train)\nfor step in run: print(step)",
        "rows = 'of a run'\nframe = dk.load_sweep('few')\nframe['more'] = frame['accuracy'] * 100",
        "def at(T):\n    return frame[frame['temperature'] == T].set_index('seed')['more']\n",
        "for T in (4.0, 8.0):\n    rows = at(T) - at(1.0)\n    dk.holds(f'T = {T}', rows)\nprint(run)",
    ]
    found = chapter(_notebook(tmp_path, source))
    assert [each.claim.sentence for each in found.claims] == ["T = 4.0", "T = 8.0"]
    assert found.claims[0].sweeps == ("few",)
    assert (found.claims[0].claim.effect, found.claims[0].claim.seeds) == (pytest.approx(3.8), 10)


@pytest.mark.parametrize(
    "rests_on",
    ["dk.tasks.digits().score(dk.tasks.digits().teacher())['accuracy'] * np.ones(3)", "[dk.setup(seed=0), 1, 2]"],
)
def test_a_claim_on_a_run_of_its_own_is_refused(tmp_path, rests_on):
    path = _notebook(tmp_path, ["import numpy as np\nimport distilkit as dk", f"dk.holds('It is right', {rests_on})"])
    refused(lambda: chapter(path), BadValue, "no stored sweep")


def test_without_chapters_there_are_no_claims(tmp_path):
    refused(lambda: chapters(tmp_path), BadFile, "checkout")
    (tmp_path / "00_broken.ipynb").write_text("{", "utf-8")
    refused(lambda: chapters(tmp_path), BadFile, "00_broken.ipynb")


def test_a_slice_follows_names_backwards_and_stops_at_what_binds_them():
    code = "a = 1\nb = 2\na = b + 1\nfor c in range(a): d = c\nx = {}\nx['k'] = d\ny = [b for b in x]\nz = (y, x)"
    tree = ast.parse(code).body
    assert needed(tree, 7) == [1, 2, 3, 4, 5, 6, 7]
    assert needed(tree, 2) == [1, 2]
    assert needed(tree, 4) == [4]


def _notebook(folder, sources):
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "\n", "**It gains.**"]}]
    cells += [
        {"cell_type": "code", "metadata": {"tags": ["claim"]}, "source": source.splitlines(True)} for source in sources
    ]
    path = folder / "00_made.ipynb"
    path.write_text(json.dumps({"cells": cells}), "utf-8")
    return path


# ── on fresh seeds ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_claim_comes_round_and_each_night_has_seeds_of_its_own():
    for found in ALL:
        for each in found.claims:
            once = each.claim.over != "seeds"  # of one trained student: it has no other seeds
            assert once or any(set(each.sweeps) <= set(night) for night in fresh.NIGHTS), f"no night has {each.sweeps}"
    start = date(2026, 11, 26)
    nights = [start + timedelta(days) for days in range(len(fresh.NIGHTS))]
    assert {name for night in nights for name in fresh.tonight(night)} == set(fresh._TASKS)
    seeds = [seed for night in nights for seed in fresh.seeds_of(night)]
    assert len(seeds) == len(set(seeds))
    stored = {seed for night in fresh.NIGHTS for name in night for seed in dk.load_sweep(name).attrs["seeds"]}
    assert not stored & set(seeds)
    refused(lambda: fresh.seeds_of(date(2020, 1, 1)), BadValue, "2026")


def test_only_the_best_of_each_side_is_run_again():
    assert [point["alpha"] for point in fresh.needed("noise")] == [0.0, 0.3, 0.9]
    digits = fresh.needed("digits")
    assert {point["lr"] for point in digits if point["alpha"] == 0 and point["labelled"] == 100} == {0.003}
    assert len(digits) < 15


def _pair(stored, anew):
    where = ALL[0].claims[0]
    return fresh.compared(where._replace(claim=stored), where._replace(claim=anew))


@pytest.mark.parametrize(
    ("stored", "anew", "contradicted"),
    [
        (one(), one(effect=7.0), False),
        (one(), one(effect=-0.2), True),  # nothing was there
        (one(effect=12.6), one(effect=7.6), True),  # the stored effect, planted five points too high
        (one(effect=0.5, half=0.4), one(effect=-0.2, half=0.6), False),  # not clear of zero is no contradiction
        (one(effect=0.5, half=0.4), one(effect=-3.0, half=0.6), True),
        (one(effect=0.1, half=0.3, says="within", bound=1.0), one(effect=3.0, half=0.5), True),
        (one(effect=-2.0, half=0.4, says="below"), one(effect=-1.5, half=0.4), False),
        (one(half=0.0), one(half=0.0), False),
        (one(half=0.0), one(effect=7.5, half=0.0), True),
    ],
)
def test_a_false_claim_is_contradicted_and_a_true_one_is_not(stored, anew, contradicted):
    anew = replace(anew, says=stored.says, bound=stored.bound)
    (found,) = fresh.judged([_pair(stored, anew)])
    assert found.contradicted is contradicted


def test_false_alarms_are_as_rare_as_is_said():
    """Two thousand nights of eight true claims: at level 0.05, where alarms can be counted, at most one in twenty."""
    draw = np.random.default_rng(0)
    alarms = 0
    for _ in range(2000):
        pairs = []
        for effect in draw.uniform(0.5, 5, 8):
            claims = [stated("x", draw.normal(effect, 2, 10), below=None, above=-9) for _ in range(2)]
            pairs.append(_pair(*claims))
        alarms += any(pair.contradicted for pair in fresh.judged(pairs, level=0.05))
    assert alarms <= 2000 * 0.05 + 3 * np.sqrt(2000 * 0.05 * 0.95)


def test_fresh_seeds_contradict_what_is_planted_and_nothing_else(tmp_path):
    """Real runs at the chapter's settings, four seeds that no sweep has; the stored runs of alpha 0.3 made too good."""

    def planted(name):
        frame = dk.load_sweep(name)
        return frame.assign(accuracy=frame["accuracy"] + 0.6 * (frame["alpha"] == 0.3)) if name == "noise" else frame

    seeds = fresh.seeds_of(date(2026, 11, 26), 4)
    found = fresh.again(["noise"], seeds, load=planted, say=lambda line: None)
    assert {pair.stored.claim.against: pair.contradicted for pair in found} == {"the twin": False, "alpha 0.3": True}
    assert all(pair.fresh.claim.stands and pair.fresh.claim.seeds == 4 for pair in found)
    fresh.record(found, seeds, "a test", tmp_path / "kept.parquet")
    fresh.record(found[:1], seeds, "again", tmp_path / "kept.parquet")
    kept = {row["sentence"]: row for row in fresh._kept(tmp_path / "kept.parquet")}
    assert len(kept) == 2
    assert [row["command"] for row in kept.values()].count("again") == 1
