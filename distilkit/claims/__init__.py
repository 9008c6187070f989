"""What the chapters claim: each with its interval, its seeds and what it is compared with; and the same on fresh seeds.

`python -m distilkit.claims` writes CLAIMS.md; `python -m distilkit.claims replicate` runs tonight's part again.
"""

from distilkit.claims.statements import Claim, NotShown, holds

__all__ = ["Claim", "NotShown", "holds"]
