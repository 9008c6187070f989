"""Browse disagreements: clusters of them, the places of each, and at a place what either model would have said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import traitlets

from distilkit import plots
from distilkit.disagreement import Disagreements
from distilkit.errors import BadType, shown
from distilkit.widgets.base import Widget
from distilkit.widgets.lens import inert
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEFORE, AFTER = 24, 6  # tokens shown around a place
MOST = 200  # places


def browse(found: Disagreements) -> Browser:
    """The places that `disagreements` found: choose a cluster, click a place, see both models' answers there as bars.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> view = browse(dk.disagreements(task, task.teacher(), task.student(), places=20, clusters=2))
    >>> len(view.about["places"]), view.chosen
    (20, 0)
    >>> view.close()
    """
    if not isinstance(found, Disagreements):
        raise BadType(f"browse needs what dk.disagreements(task, teacher, student) found, got {shown(found)}")
    return Browser(found)


class Browser(Widget):
    """The view that `browse` returns; `chosen` is a row of `found.table`."""

    files = "browse"
    about = traitlets.Dict().tag(sync=True)  # clusters and places, sent once
    chosen = traitlets.Int(0).tag(sync=True)

    def __init__(self, found: Disagreements) -> None:
        self.found = found
        names = {name: place for place, name in enumerate(found.clusters["name"])}
        places = [
            {
                "cluster": names[row["cluster"]],
                "kl": round(row["kl"], 3),
                "said": [inert(row[who]) for who in ("teacher", "student", "truth")],
                "p": [round(row["teacher_p"], 4), round(row["student_p"], 4)],
                "answers": [[inert(name), round(p, 5), round(q, 5)] for name, (p, q) in found.answers[at].items()],
                "number": int(row["example"]),
                **_shown(found, int(row["example"]), int(row["position"])),
            }
            for at, row in enumerate(found.table.head(MOST).to_dict("records"))
        ]
        clusters = [
            {"name": inert(row["name"], 80), "places": int(row["places"]), "kl": round(float(row["kl"]), 3)}
            for row in found.clusters.to_dict("records")
        ]
        super().__init__(about={"clusters": clusters, "places": places, "all": len(found)})

    def figure(self) -> Figure:
        """The clusters, by size."""
        return plots.clusters(self.found)

    def line(self) -> str:
        """The chosen place."""
        row = self.found.table.iloc[self.chosen]
        return say(
            "{count} disagreements, {clusters} clusters. Chosen: example {example}, position {position}: the teacher "
            "says {teacher} ({teacher_p:.2f}), the student {student} ({student_p:.2f}), KL {kl:.2f} nats.",
            count=len(self.found),
            clusters=len(self.found.clusters),
            **row[["example", "position", "teacher", "teacher_p", "student", "student_p", "kl"]],
        )


def _shown(found: Disagreements, example: int, position: int) -> dict[str, Any]:
    """What stands there: of a text the tokens around, of a picture its pixels."""
    inputs = found.examples.inputs[example]
    if not hasattr(found.task, "tokenizer"):
        return {"pixels": [round(float(value), 3) for value in inputs.flatten()]}

    def text(start: int, end: int) -> str:
        part = inputs[max(0, start) : max(0, end)]
        return inert(found.task.decode(part), 400) if len(part) else ""

    true = found.examples.labels[example, position]
    token = inert(found.task.decode(torch.tensor([int(true)]))) if true >= 0 else "?"
    return {"text": [text(position + 1 - BEFORE, position + 1), token, text(position + 2, position + 2 + AFTER)]}
