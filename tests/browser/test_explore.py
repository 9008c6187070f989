"""The explorers in Chromium: their arithmetic against Python's, every control to its ends, hostile names, bytes.

Most tests mount the widget's own module on a bare page with a stand-in for anywidget's model; one opens JupyterLab.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect
from torch.autograd import grad

import distilkit as dk
from distilkit import plots
from distilkit.errors import BadType
from distilkit.widgets.base import STATIC, Widget
from tests.browser.bare import FRAME, sent
from tests.browser.lab import Lab

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "$\\frac{1}{0}$",
    "&lt;b&gt;",
    "a" * 500,
]


def pair(seed: int = 0, classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(2, classes, generator=draw)).unbind()
    return student, teacher


def widgets(classes: list[str] | None = None) -> dict[str, Widget]:
    student, teacher = pair(classes=len(classes) if classes else 10)
    images = torch.rand(1, 64).expand(3, 64)
    soft = {"teacher": teacher.expand(3, -1), "student": student.expand(3, -1), "twin": student.expand(3, -1) / 2}
    return {
        "temperature": dk.explore(plots.soft_labels, soft, images=images, classes=classes),
        "alpha": dk.explore(plots.loss_terms, student, teacher, 1, classes=classes),
        "divergence": dk.explore(plots.divergences, student, teacher, classes=classes),
    }


def move(page: Page, name: str, place: float) -> str:
    """Put a slider at a share of its way, as a hand does, and return what its readout says."""
    script = """([name, place]) => {
      const input = document.querySelector(`input[data-name="${name}"]`);
      input.value = Math.round(place * input.max);
      input.dispatchEvent(new Event("input", { bubbles: true }));
      return input.parentElement.querySelector("output").textContent;
    }"""
    value = page.evaluate(script, [name, place])
    page.evaluate(FRAME)
    return value


def places(seed: int) -> list[float]:
    return [0.0, 1.0, *(random.Random(seed).random() for _ in range(20))]


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def near(found: float, true: float) -> bool:
    return found == pytest.approx(true, rel=1e-9, abs=1e-9)


def every_divergence(q: torch.Tensor, p: torch.Tensor, beta: float) -> dict[str, torch.Tensor]:
    """What Python says of a student and a teacher, under the browser's names."""
    return {
        "forward_kl": dk.forward_kl(q, p),
        "reverse_kl": dk.reverse_kl(q, p),
        "jsd": dk.jsd(q, p, beta=beta),
        "rescaled_jsd": dk.jsd(q, p, beta=beta, rescaled=True),
        "skew_forward_kl": dk.skew_forward_kl(q, p),
        "skew_reverse_kl": dk.skew_reverse_kl(q, p),
        "total_variation": dk.total_variation(q, p),
    }


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_arithmetic_is_pythons(mount: Callable[..., Page], size: float) -> None:
    draw = torch.Generator().manual_seed(int(size))
    cases = [(size * torch.randn(2, 7, generator=draw, dtype=torch.float64)).tolist() for _ in range(40)]
    settings = [{"beta": i / 39, "skew": 0.1, "temperature": 0.5 + i / 2, "alpha": i / 39} for i in range(40)]
    script = """async ([source, cases, settings]) => {
      const m = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      const names = ["forward_kl", "reverse_kl", "jsd", "rescaled_jsd", "skew_forward_kl", "skew_reverse_kl",
        "total_variation"];
      return cases.map(([student, teacher], i) => {
        const [q, p] = [student, teacher].map((z) => m.distribution(z, settings[i].temperature));
        const { gradient, loss } = m.kdLoss(student, teacher, i % 7, settings[i]);
        const measures = names.map((name) => m.divergence(name, q, p, settings[i]));
        return {
          loss, gradient, probs: p.probs, entropy: m.entropy(p),
          values: Object.fromEntries(names.map((name, j) => [name, measures[j].value])),
          gradients: Object.fromEntries(names.map((name, j) => [name, measures[j].gradient])),
        };
      });
    }"""
    answers = mount().evaluate(script, [(STATIC / "maths.js").read_text("utf-8"), cases, settings])
    for i, (answer, case, setting) in enumerate(zip(answers, cases, settings, strict=True)):
        student, teacher = (torch.tensor(z, dtype=torch.float64) for z in case)
        student.requires_grad_()
        heat, beta, label = setting["temperature"], setting["beta"], torch.tensor([i % 7])
        q, p = student / heat, teacher / heat
        true = every_divergence(q, p, beta)
        for name, value in true.items():
            assert near(answer["values"][name], float(value.detach())), (name, setting)
        loss = dk.kd_loss(student[None], teacher[None], label, alpha=setting["alpha"], temperature=heat)
        assert near(answer["loss"], float(loss.detach()))
        assert answer["gradient"] == pytest.approx(grad(loss, student)[0].tolist(), rel=1e-9, abs=1e-9)
        if size < 1e4:  # beyond, autograd's own rounding shows
            for name, value in true.items():
                slope = grad(value, student, retain_graph=True)[0].tolist()
                assert answer["gradients"][name] == pytest.approx(slope, rel=1e-9, abs=1e-9), name
        assert answer["probs"] == pytest.approx(dk.soften(teacher, heat).tolist(), rel=1e-9, abs=1e-9)
        assert near(answer["entropy"], float(dk.entropy(teacher, temperature=heat)))


def test_temperature_shows_what_python_computes(mount: Callable[..., Page]) -> None:
    page, (student, teacher) = mount(widgets()["temperature"]), pair()
    for place in places(1):
        heat = number(move(page, "temperature", place))
        for role, logits in (("teacher", teacher), ("student", student), ("twin", student / 2)):
            shown = page.locator(f".dk-amount.dk-{role}").all_text_contents()
            for text, true in zip(shown, dk.soften(logits, heat).tolist(), strict=True):
                if "·10" not in text:  # the readout rounds T to three figures, hence not 5e-4
                    assert number(text) == pytest.approx(true, abs=2e-3)
    page.get_by_role("slider").press("Home")
    assert page.get_by_role("slider").get_attribute("aria-valuetext").endswith("0.500")


def test_alpha_shows_what_python_computes(mount: Callable[..., Page]) -> None:
    page, (student, teacher) = mount(widgets()["alpha"]), pair()
    for step, (first, second) in enumerate(zip(places(2), places(3), strict=True)):
        page.locator(".dk-pick").nth(step % 10).click()
        move(page, "alpha", first)
        move(page, "temperature", second)
        now = settled(page)
        assert now["label"] == step % 10
        truth = torch.tensor([now.pop("label")])
        true = float(dk.kd_loss(student[None], teacher[None], truth, **now))
        assert number(page.locator("[data-name=loss]").inner_text()) == pytest.approx(true, abs=6e-4)


def test_divergence_shows_what_python_computes(mount: Callable[..., Page]) -> None:
    page, (student, teacher) = mount(widgets()["divergence"]), pair()
    for first, second in zip(places(4), places(5), strict=True):
        move(page, "beta", first)
        move(page, "temperature", second)
        now = settled(page)
        q, p, beta = student / now["temperature"], teacher / now["temperature"], now["beta"]
        for name, true in every_divergence(q, p, beta).items():
            shown = number(page.locator(f"[data-name={name}]").inner_text())
            assert shown == pytest.approx(float(true), abs=6e-5), name
    move(page, "beta", 0.0)
    assert number(page.locator("[data-name=jsd]").inner_text()) == 0
    assert number(page.locator("[data-name=rescaled_jsd]").inner_text()) > 0


def settled(page: Page) -> dict[str, Any]:
    """The values that the kernel hears of, once the hand rests."""
    return page.evaluate("() => new Promise((done) => setTimeout(() => done(values()), 220))")  # by the page's clock


@pytest.mark.parametrize("name", ["temperature", "alpha", "divergence"])
def test_hostile_names_stay_text(mount: Callable[..., Page], name: str) -> None:
    widget = widgets(HOSTILE)[name]
    page = mount(widget, width=700)
    assert page.locator(".dk img, .dk script, .dk b b").count() == 0
    assert "<img" in page.locator(".dk").text_content()
    assert widget._repr_mimebundle_()[0]["image/png"]


@pytest.mark.parametrize("name", ["temperature", "alpha", "divergence"])
@pytest.mark.parametrize("width", [360, 700, 1280])
def test_fits_the_page(mount: Callable[..., Page], name: str, width: int) -> None:
    page = mount(widgets()[name], width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["temperature", "alpha", "divergence"])
def test_opening_sends_at_most_60_kb(name: str) -> None:
    widget = widgets()[name]
    data, _ = widget._repr_mimebundle_()
    assert len(base64.b64decode(data["image/png"])) <= 12_000
    assert any(digit in data["text/plain"] for digit in "0123456789")
    assert len(json.dumps(sent(widget)).encode()) + len(json.dumps(data).encode()) <= 60_000


def test_misspelt_setting_is_named() -> None:
    with pytest.raises(BadType, match="Did you mean 'temperature'"):
        dk.explore(plots.soft_labels, torch.zeros(3), temprature=(1, 20))


def test_alpha_explorer_in_jupyterlab(lab: Lab) -> None:
    lab.open(
        "import torch, distilkit as dk",
        "dial = dk.explore(dk.plots.loss_terms, torch.zeros(3), torch.tensor([4.0, 0.0, 0.0]), 0)\ndial",
    )
    lab.run()
    cell = lab.output(1)
    cell.get_by_role("slider").first.press("Home")
    cell.locator(".dk-pick").nth(2).click()
    assert lab.becomes("[dial.values['alpha'], dial.values['label']]", [0, 2])
    assert number(cell.locator("[data-name=loss]").inner_text()) == pytest.approx(1.0986, abs=6e-4)


def test_moves_without_a_kernel(lab: Lab) -> None:
    lab.open(
        "import torch, distilkit as dk",
        "dk.explore(dk.plots.soft_labels, torch.tensor([4.0, 0.0, 0.0]), temperature=(0.5, 20.0))",
    )
    lab.run()
    shown = lab.output(1).locator(".dk-amount.dk-teacher").first
    before = number(shown.inner_text())
    lab.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    lab.output(1).get_by_role("slider").press("End")
    lab.page.evaluate(FRAME)
    softest = dk.soften(torch.tensor([4.0, 0.0, 0.0]), 20.0)[0]
    assert number(shown.inner_text()) == pytest.approx(float(softest), abs=6e-4) != before


DRAWN = """
from matplotlib.figure import Figure
def powers(data, *, power=1.0):
    if power > 2.5:
        raise ValueError("<b>too much</b>")
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([x ** power for x in data])
    return figure
"""


def test_a_view_of_your_own(lab: Lab) -> None:
    lab.open("import distilkit as dk", DRAWN, "dial = dk.explore(powers, [1, 2, 3], power=(0.5, 3.0))\ndial")
    lab.run()
    cell, slider = lab.output(2), lab.output(2).get_by_role("slider")
    first = cell.get_by_role("img").get_attribute("src")
    slider.press("Home")
    assert lab.becomes("dial.setting['power']", 0.5)
    expect(cell.get_by_role("img")).not_to_have_attribute("src", first or "")
    slider.press("End")
    expect(cell.get_by_role("alert")).to_contain_text("<b>too much</b>")  # as text, whatever it holds
    slider.press("Home")
    expect(cell.get_by_role("alert")).to_be_empty()


def test_two_peaks_descend(lab: Lab) -> None:
    peaks = "((0.6, -3.0, 0.7), (0.4, 3.0, 0.7))"
    lab.open("import distilkit as dk", f"dk.explore(dk.plots.two_peaks, {peaks}, mu=(-5.0, 5.0, 2.0))")
    lab.run()
    cell = lab.output(1)
    cell.get_by_text("reverse KL", exact=True).first.click()
    cell.locator("[data-name=descend]").click()
    # on the smaller peak alone: KL(q ‖ p) = log(1 / 0.4)
    expect(cell.locator("b[data-name=reverse_kl]")).to_have_text(re.compile(r"^0\.9[12]"), timeout=30_000)


def test_a_teacher_alone_with_long_names_has_nothing_beside_it(mount):
    names = ["an order number", "not our business", "x"]
    page = mount(dk.explore(plots.soft_labels, torch.tensor([2.0, 1.0, 0.0]), temperature=(0.5, 10.0), classes=names))
    texts = page.evaluate(
        "() => [...document.querySelectorAll('.dk *')].flatMap((each) => [...each.childNodes])"
        ".filter((each) => each.nodeType === 3).map((each) => each.textContent.trim())"
    )
    assert not {"0", "false", "undefined", "null", "NaN"} & set(texts)
    cut = (
        "() => [...document.querySelectorAll('.dk-class')].filter((each) => each.scrollWidth > each.clientWidth).length"
    )
    assert page.evaluate(cut) == 0
