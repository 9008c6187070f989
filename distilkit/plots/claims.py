"""The picture of all claims: each effect with its interval, by chapter, on a scale of its unit."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from distilkit.plots.style import GREY, STUDENT, TEACHER, thin

SCALES = {  # what shares an axis: its title, and up to where it is linear, beyond that logarithmic
    "of a hundred": ({"points", "points of WER", "% of 3s", "BLEU"}, "points, of a hundred", 1.0),
    "perplexity": ({"perplexity"}, "perplexity", 10.0),
    "others": (set[str](), "nats, bits a byte, CKA, ratios, times", 0.1),
}
ROW = 0.215  # inches


def claims(frame: Any) -> Figure:
    """Every claim as a point and its 95 % interval; grey are those of no gain, with the band or line they must keep.

    frame: one row a claim: chapter ("03"), sentence, effect, half, amount (both, as text), unit, says ("above",
    "below", "within") and bound. Scales are linear around 0 and logarithmic beyond.
    """
    known = set[str]().union(*(units for units, _, _ in SCALES.values()))
    panels = []
    for units, title, linear in SCALES.values():
        rows = frame[frame["unit"].isin(units) if units else ~frame["unit"].isin(known)]
        if len(rows):
            panels.append((rows, title, linear))
    tall = [len(rows) + rows["chapter"].nunique() * 0.35 + 2.2 for rows, _, _ in panels]
    figure = Figure(figsize=(10.5, ROW * sum(tall) + 0.3), layout="constrained")
    axis = figure.subplots(len(panels), 1, height_ratios=tall, squeeze=False)[:, 0]
    for axes, (rows, title, linear) in zip(axis, panels, strict=True):
        place, last, places = 0.0, None, []
        for row in rows.itertuples():
            place += 1.0 if row.chapter == last else 1.35
            if row.chapter != last:
                axes.annotate(row.chapter, (0, place), xycoords=("axes fraction", "data"), xytext=(-366, 0),
                              textcoords="offset points", va="center", color=TEACHER, weight="bold")  # fmt: skip
            nothing = row.says == "within" or (row.says == "below" and row.bound > 0)
            last, colour = row.chapter, GREY if nothing else STUDENT
            if row.says == "within":
                axes.plot([-row.bound, row.bound], [place, place], color="#e4e7eb", linewidth=9, solid_capstyle="butt")
            elif row.bound:
                axes.plot([row.bound], [place], "|", color=GREY, markersize=9)
            axes.errorbar(row.effect, place, xerr=row.half, fmt="o", color=colour, markersize=4.5, linewidth=1.5)
            axes.annotate(row.amount, (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
                          textcoords="offset points", va="center", fontsize=8, color=colour)  # fmt: skip
            places.append((place, row.sentence if len(row.sentence) < 76 else row.sentence[:74] + "…"))
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_xscale("symlog", linthresh=linear)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        axes.set_yticks([each for each, _ in places], [text.replace("$", r"\$") for _, text in places], fontsize=8)
        axes.set_ylim(place + 0.8, 0.4)
        axes.set_title(title, loc="left", fontsize=10)
        thin(axes, "x")
    return figure
