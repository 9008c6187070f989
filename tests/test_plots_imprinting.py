"""Pictures of explanations: what is drawn is what was given."""

import pandas as pd
import pytest

from distilkit import plots
from distilkit.errors import BadType, BadValue
from distilkit.sweeps.imprinting import imprinted_means


def frame():
    """Three cells of four seeds, of which one tries two learning rates."""
    cells = [("twin", 0, 0.15, 0), ("unfiltered", 100, 0.14, 270), ("filtered", 100, 0.25, 85)]
    rows = [
        {"filter": name, "explained": explained, "lr": lr, "seed": seed, "kept": kept, "precision": 0.9}
        | {"accuracy": accuracy + 0.01 * seed - (0.1 if lr == 0.01 else 0)}
        for name, explained, accuracy, kept in cells
        for lr in ((0.003, 0.01) if name == "twin" else (0.003,))
        for seed in range(4)
    ]
    return pd.DataFrame(rows)


def test_means_are_of_the_best_rate_and_gains_are_paired():
    table = imprinted_means(frame()).set_index("filter")
    assert table.loc["twin", "lr"] == 0.003
    assert table.loc["filtered", "accuracy"] == pytest.approx(0.265)
    assert table.loc["filtered", "gain"] == pytest.approx(0.1)
    assert table.loc["filtered", "gain_half"] == pytest.approx(0, abs=1e-9)  # each seed gains as much
    assert table.loc["twin", "gain"] == 0
    with pytest.raises(BadType, match="lacks accuracy"):
        imprinted_means(frame().drop(columns="accuracy"))


def test_the_curve_names_its_sides():
    (axes,) = plots.imprinted(frame()).axes
    assert {text.get_text() for text in axes.texts} == {"twin", "filtered", "unfiltered"}


def test_right_ones_go_up_and_wrong_ones_down():
    figure = plots.explanations([-0.1, -0.1, -0.5], [True, True, False], [True, False, False], threshold=-0.2)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert max(heights) == pytest.approx(2**0.5)
    assert min(heights) == pytest.approx(-1)
    with pytest.raises(BadValue, match="one value an explanation"):
        plots.explanations([-0.1], [True, False], [True])


def test_a_solution_is_drawn_as_it_is():
    figure = plots.rationale("What?", {"student": [("$3+4$=7", True)], "teacher": []})
    assert "✓  \\$3+4\\$=7" in [text.get_text() for text in figure.texts]
    with pytest.raises(BadType, match="sides must be named"):
        plots.rationale("What?", {"nobody": []})
