"""Colours of the widgets in both themes, from their style sheet: WCAG 2.1, 1.4.3 (text) and 1.4.11 (what is drawn)."""

import re

import pytest

from distilkit.widgets.base import STATIC

SHEET = (STATIC / "base.css").read_text("utf-8")
THEMES = dict(
    zip(("light", "dark", "dark, of the system"), re.findall(r"\{\s*(--dk-fg.*?)\}", SHEET, re.DOTALL), strict=True)
)
PAGES = {"light": ("#ffffff",), "dark": ("#111111", "#15181c")}  # JupyterLab's, and the kit's own
TEXT = ("fg", "muted", "teacher", "student", "twin", "label", "accent")
DRAWN = (*TEXT, "edge")


def colours(theme: str) -> dict[str, str]:
    """{"teacher": "#0072b2", …}: of a variable of JupyterLab's the fallback."""
    return dict(re.findall(r"--dk-(\w+):[^#;]*(#[0-9a-f]{3,6})", THEMES[theme]))


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * each for each in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_is_the_standards() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
def test_f92_text_and_lines_stand_out(theme: str) -> None:
    own = colours(theme)
    grounds = {*PAGES[theme.split(",")[0]], own["panel"]}
    for ground in grounds:
        for name in TEXT:
            assert contrast(own[name], ground) >= 4.5, (name, ground)
        for name in DRAWN:
            assert contrast(own[name], ground) >= 3, (name, ground)


def test_both_dark_themes_are_the_same() -> None:
    assert colours("dark") == colours("dark, of the system")


def test_f92_each_role_has_a_mark_or_a_dash_besides_its_colour() -> None:
    """● ■ ▲, or lines that are whole, dashed and dotted: in every module that draws in the roles' colours."""
    for path in sorted(STATIC.glob("*.js")):
        source = path.read_text("utf-8")
        if re.search(r"stroke.*dk-(teacher|student|twin)|dk-(teacher|student|twin).*(path|polyline)", source):
            assert re.search(r"MARK|SHAPES|DASH|marker|shape\(|mark\(|stroke-dasharray|●", source), path.name
