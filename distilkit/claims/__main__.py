"""python -m distilkit.claims [check | replicate [names]]: write CLAIMS.md, or run a part of it on fresh seeds."""

import argparse
import io
import sys
from datetime import UTC, date, datetime

from PIL import Image

from distilkit.claims import fresh
from distilkit.claims.chapters import NOTEBOOKS, chapters
from distilkit.claims.table import as_frame, page
from distilkit.plots import claims
from distilkit.words import speak

PAGE = NOTEBOOKS.parent / "CLAIMS.md"
parser = argparse.ArgumentParser(prog="python -m distilkit.claims", description=(__doc__ or "").split(": ", 1)[1])
parser.add_argument("what", nargs="?", default="write", choices=["write", "check", "replicate"])
parser.add_argument("names", nargs="*", help="sweeps to run again; without a name, those whose turn it is tonight")
parser.add_argument("--date", type=date.fromisoformat, default=datetime.now(UTC).date(), help="whose part and seeds")
parser.add_argument("--seeds", type=int, default=fresh.SEEDS, help="how many")
parser.add_argument("--jobs", type=int, default=1, help="processes; -1 is one a core")
parser.add_argument("--keep", action="store_true", help="keep what comes out in data/replications.parquet")
given = parser.parse_args()
speak("en")

if given.what != "replicate":
    made = chapters()
    text = page(made)
    if given.what == "write":
        PAGE.write_text(text, "utf-8")
        claims(as_frame(made)).savefig(drawn := io.BytesIO(), dpi=80)
        Image.open(drawn).quantize(32).save(PAGE.parent / "docs" / "claims.png", optimize=True)
    elif text != PAGE.read_text("utf-8"):
        sys.exit("CLAIMS.md is not what the chapters and the sweeps say now: make claims")
    sys.exit(0)

names = given.names or fresh.tonight(given.date)
seeds = fresh.seeds_of(given.date, given.seeds)
print(f"{given.date}: {', '.join(names)}", flush=True)
pairs = fresh.again(names, seeds, jobs=given.jobs, say=lambda line: print(line, flush=True))
for pair in pairs:
    stored, anew = pair.stored.claim, pair.fresh.claim
    mark = "✗ contradicted" if pair.contradicted else "✓"
    print(
        f"{mark} {pair.stored.chapter[:2]} {stored.sentence}: stored {stored.amount}, now {anew.amount}, p {pair.p:.3f}"
    )
if given.keep:
    command = " ".join(["python -m distilkit.claims", *sys.argv[1:]])
    fresh.record(pairs, seeds, command, NOTEBOOKS.parent / "data" / "replications.parquet")
wrong = [pair for pair in pairs if pair.contradicted]
print(f"{len(pairs)} claims on {len(seeds)} fresh seeds each, {len(wrong)} contradicted")
sys.exit(bool(wrong) or not pairs)
