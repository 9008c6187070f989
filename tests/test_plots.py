"""What the pictures show is what the formulas say; what they cannot show they refuse with a way out."""

import base64
import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import distilkit as dk
from distilkit import plots
from distilkit.errors import BadType, BadValue
from distilkit.widgets.explore import explore

LOGITS = torch.tensor([[0.0, 2.0, 4.0], [3.0, 1.0, -1.0]], dtype=torch.float64)


def widths(axes):
    return [bar.get_width() for bar in axes.patches]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_bars_are_the_soft_labels(temperature):
    sides = {"teacher": LOGITS, "student": LOGITS / 2}
    figure = plots.soft_labels(sides, temperature=temperature, example=1)
    for axes, logits in zip(figure.axes, sides.values(), strict=True):
        assert widths(axes) == pytest.approx(dk.soften(logits[1], temperature).tolist())


def test_every_divergence_is_drawn_as_it_is():
    figure = plots.divergences(LOGITS[0], LOGITS[1], beta=0.3, temperature=2.0)
    student, teacher = LOGITS / 2
    true = [
        dk.forward_kl(student, teacher),
        dk.reverse_kl(student, teacher),
        dk.jsd(student, teacher, beta=0.3),
        dk.jsd(student, teacher, beta=0.3, rescaled=True),
        dk.total_variation(student, teacher),
    ]
    assert widths(figure.axes[1]) == pytest.approx([float(value) for value in true])


def test_forward_covers_and_reverse_seeks():
    places, teacher = plots.as_peaks([(0.6, -3.0, 0.7), (0.4, 3.0, 0.7)])

    def student(mu, sigma):
        return -((places - mu) ** 2) / (2 * sigma**2)

    covers, seeks = student(-0.6, 3.0), student(-3.0, 0.7)
    assert dk.forward_kl(covers, teacher) < dk.forward_kl(seeks, teacher)
    assert dk.reverse_kl(covers, teacher) > dk.reverse_kl(seeks, teacher)
    assert float(dk.reverse_kl(seeks, teacher)) == pytest.approx(-np.log(0.6), abs=1e-3)


REFUSALS = [
    (lambda: plots.soft_labels(LOGITS, temperature=0), BadValue, "temperature"),
    (lambda: plots.soft_labels({"master": LOGITS}), BadValue, "teacher"),
    (lambda: plots.soft_labels({"teacher": LOGITS, "student": LOGITS[:1]}), BadValue, "one shape"),
    (lambda: plots.soft_labels(LOGITS, classes=["a"]), BadValue, "all 3 classes"),
    (lambda: plots.soft_labels(LOGITS, example=2), BadValue, "example"),
    (lambda: plots.soft_labels(LOGITS * float("nan")), BadValue, "nan"),
    (lambda: plots.soft_labels("logits"), BadType, "tensor"),
    (lambda: plots.two_peaks([(1.0, 0.0, 0.0)]), BadValue, "width"),
    (lambda: plots.two_peaks(sigma=0), BadValue, "sigma"),
    (lambda: explore(plots.soft_labels, LOGITS, temprature=(1, 2)), BadType, "Did you mean 'temperature'"),
    (lambda: explore(plots.soft_labels, LOGITS, temperature=(2, 1)), BadValue, "low < high"),
    (lambda: explore(plots.soft_labels, LOGITS, temperature=(1, 2, 3)), BadValue, "must start between"),
    (lambda: explore("soft_labels", LOGITS), BadType, "view must be a function"),
    (lambda: explore(lambda *, size=1: size, size=(1, 5)), BadType, "matplotlib Figure"),
]


@pytest.mark.parametrize(("call", "error", "words"), REFUSALS, ids=range(len(REFUSALS)))
def test_refusals_show_the_way_out(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_any_view_is_drawn_by_the_kernel_and_its_errors_are_raised():
    def line(values, *, power=2):
        if power == 3:
            raise ValueError("three is too many")
        figure = Figure()
        figure.subplots().plot([value**power for value in values])
        return figure

    widget = explore(line, [1, 2, 3], power=(1, 4))
    first = widget.picture
    widget.setting = {"power": 4}
    assert widget.drawn == {"power": 4}
    assert widget.picture != first
    with pytest.raises(ValueError, match="three is too many"):
        widget.setting = {"power": 3}
    assert widget.error == "ValueError: three is too many"
    assert widget.drawn == {"power": 3}
    widget.setting = {"power": 2}
    assert widget.error == ""


@pytest.mark.parametrize(
    ("view", "data"),
    [
        (plots.soft_labels, [{"teacher": LOGITS, "student": LOGITS / 2}]),
        (plots.loss_terms, [*LOGITS, 0]),
        (plots.divergences, [*LOGITS]),
        (plots.two_peaks, []),
    ],
    ids=["soft_labels", "loss_terms", "divergences", "two_peaks"],
)
def test_a_picture_and_a_line_stand_in(view, data):
    data, _ = explore(view, *data)._repr_mimebundle_()
    picture = base64.b64decode(data["image/png"])
    assert len(picture) <= 12_000
    assert Image.open(io.BytesIO(picture)).width >= 300
    assert "\n" not in data["text/plain"]
    assert any(letter.isdigit() for letter in data["text/plain"])


def test_curves_of_a_history_are_its_losses():
    task = dk.tasks.digits()
    run = dk.distill(task.student(), task.teacher(), task.transfer, steps=5)
    run.result()
    (axes,) = plots.curves(run.history).axes
    drawn = {tuple(line.get_ydata()) for line in axes.lines}
    assert drawn == {tuple(step.hard for step in run.history), tuple(step.soft for step in run.history)}
