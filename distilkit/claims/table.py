"""CLAIMS.md: the chapters' claims as one page, from their cells and the stored sweeps alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from distilkit.claims.chapters import Chapter, Stated
from distilkit.claims.fresh import LEVEL, NIGHTS, replications
from distilkit.claims.statements import Claim, amount
from distilkit.sweeps import load_sweep

if TYPE_CHECKING:
    import pandas as pd

HEAD = """# What is claimed, and on what it rests

Written by `make claims` from the chapters' own cells and the sweeps in `data/sweeps/`; a test compares every byte. Each
row is a `dk.holds(…)` of its chapter: a claim, the effect that was measured with half its 95 % interval (Student's *t*
over seeds, differences paired by seed), and what it is compared with. All of the interval lies *above 0*, unless the
row says where else; a claim whose interval does not lie there stops its chapter. *No difference of more than 1* is what
"no gain here" can mean. A tuned twin is the same student without a teacher, with as many steps, at the best of the
learning rates that were tried.

{claims} claims in {chapters} chapters, none on fewer than {least} seeds, but for those that name what one trained
student was asked: their interval is over these items, and says nothing of other seeds. —: no figure of a paper to lay
beside it, or not run again yet.

![Every effect with its interval, by chapter](docs/claims.png)
"""

FRESH = """## Again, on fresh seeds

Each night a part of the claims is run again with seeds that no sweep has, {nights} nights for all of them
(`make replicate`). The night fails where a fresh effect differs from the stored one by more than both standard errors
allow, or lies where the claim says it does not, at p < {level:g} after Holm's correction for all that is looked at: at
most one false alarm in a thousand nights, as far as means over seeds are normal. *Fresh seeds* above is the latest
that was kept, and on how many seeds (`python -m distilkit.claims replicate NAMES --keep`).
"""
LIVE = "Asserted, too, on the run of whoever reads the chapter; one run has no interval, so these are no claims:"


def page(chapters: Sequence[Chapter]) -> str:
    """All of CLAIMS.md."""
    claims = [each.claim for chapter in chapters for each in chapter.claims]
    kept = replications()
    least = min(claim.seeds for claim in claims if claim.over == "seeds")
    parts = [HEAD.format(claims=len(claims), chapters=sum(bool(each.claims) for each in chapters), least=least)]
    for chapter in chapters:
        again = {each.claim.sentence: kept.get((chapter.name, each.claim.sentence)) for each in chapter.claims}
        parts.append("\n".join(_chapter(chapter, again)))
    parts.append(FRESH.format(nights=len(NIGHTS), level=LEVEL))
    parts.append("\n".join(_sweeps(sorted({name for each in chapters for one in each.claims for name in one.sweeps}))))
    return "\n".join(parts) + "\n"


def as_frame(chapters: Sequence[Chapter]) -> pd.DataFrame:
    """One row a claim, as `dk.plots.claims` draws them."""
    import pandas as pd

    claims = [(each.chapter[:2], each.claim) for chapter in chapters for each in chapter.claims]
    return pd.DataFrame([{"chapter": name, **asdict(claim), "amount": claim.amount} for name, claim in claims])


def _chapter(chapter: Chapter, again: dict[str, dict | None]) -> Iterator[str]:
    yield f"## [{chapter.name[:2]} {chapter.title}](notebooks/{chapter.name}.ipynb)\n\n> {chapter.opening}\n"
    yield "| claim | effect | seeds | compared with | the paper's figure | fresh seeds | sweep |"
    yield "|---|---|---|---|---|---|---|"
    for stated in chapter.claims:
        yield _row(stated, again[stated.claim.sentence])
    if chapter.asserted:
        yield f"\n{LIVE}\n\n```python\n" + "\n".join(chapter.asserted) + "\n```"
    yield ""


def _row(stated: Stated, again: dict | None) -> str:
    claim, sweeps = stated.claim, ", ".join(f"[{name}](#{name})" for name in stated.sweeps)
    anew = f"{amount(again['effect'], again['half'], '').strip()} ({again['seeds']})" if again else ""
    count = claim.seeds if claim.over == "seeds" else f"{claim.seeds} {claim.over}, one student"
    cells = (claim.sentence, _effect(claim), count, claim.against, claim.paper or "—", anew or "—", sweeps)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _effect(claim: Claim) -> str:
    plain = (claim.says, claim.bound) == ("above", 0)
    return claim.amount if plain else f"{claim.amount}: {claim.claimed}"


def _sweeps(names: Sequence[str]) -> Iterator[str]:
    yield "## The sweeps\n\nWhat each is: [data/README.md](data/README.md).\n"
    yield "| sweep | runs | seeds | made by | on | versions |\n|---|---|---|---|---|---|"
    for name in names:
        frame = load_sweep(name)
        about = frame.attrs
        command = about["command"] if about["command"].endswith(name) else f"{about['command']} {name}"
        versions = ", ".join(f"{each} {version}" for each, version in about["versions"].items())
        cells = (f'<a id="{name}"></a>{name}', len(frame), len(about["seeds"]), f"`{command}`", about["date"], versions)
        yield "| " + " | ".join(map(str, cells)) + " |"
