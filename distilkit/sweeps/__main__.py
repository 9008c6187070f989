"""python -m distilkit.sweeps [names] [--jobs N | --jobs tcp://…]: make the stored sweeps again, into data/sweeps/.

Without a name, all of them: some hours on one core. What is on file is not run again. `data/README.md` describes each.
"""

import argparse
from pathlib import Path

from distilkit.sweeps import (
    adaptive,
    arithmetic,
    digits,
    domains,
    imprinting,
    insides,
    language,
    other_tokens,
    scenes,
    shipped,
    shop,
    sizes,
    speech,
    teachers,
    translation,
)
from distilkit.your_own import stored

parser = argparse.ArgumentParser(prog="python -m distilkit.sweeps", description=(__doc__ or "").split(": ", 1)[1])
parser.add_argument("names", nargs="*", help="the sweeps to make, as data/sweeps/ names them")
parser.add_argument("--jobs", default="1", help="processes (-1: one a core), or the address of a Dask scheduler")
given = parser.parse_args()
jobs = int(given.jobs) if given.jobs.lstrip("-").isdigit() else given.jobs
folder = Path(__file__).parents[2] / "data" / "sweeps"
chapters = (digits, language, imprinting, arithmetic, teachers, other_tokens, domains, insides, adaptive)
applications = (shop, sizes, speech, scenes, translation, stored, shipped)
for sweeps in (*chapters, *applications):
    sweeps.make(folder, given.names, jobs=jobs)
unknown = [name for name in given.names if not (folder / f"{name}.parquet").exists()]
if unknown:
    parser.error(f"there is no stored sweep {unknown[0]!r}")
