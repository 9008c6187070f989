"""axe-core on every widget in both themes, in a real JupyterLab: the rules of WCAG 2.1, A and AA, that are broken."""

from collections import Counter

from tests.browser.axe import IMPACTS, violations
from tests.browser.conftest import alone
from tests.browser.every import NOTEBOOKS, every
from tests.trust import Checked

THEMES = ("light", "dark")


def main(count: int = len(THEMES) * sum(len(cells) for _, cells in NOTEBOOKS.values())) -> Checked:
    """Print each widget in each theme with the elements that break a rule, by how badly; serious ones are failures."""
    print(f"{'widget':14}{'theme':8}" + "".join(f"{impact:>10}" for impact in IMPACTS))
    tried, elements, failures = 0, 0, []
    for notebook in NOTEBOOKS:
        with alone() as lab:
            widgets = every(lab, notebook)
            for theme in THEMES:
                lab.theme(theme)
                lab.page.wait_for_timeout(800)
                for name, selector in widgets.items():
                    found = violations(lab.page, selector)
                    by = Counter({each.impact: len(each.elements) for each in found})
                    print(f"{name:14}{theme:8}" + "".join(f"{by[impact]:>10}" for impact in IMPACTS), flush=True)
                    failures += [
                        f"{name}, {theme}: {each.rule}, {each.elements[0]}"
                        for each in found
                        if each.impact in IMPACTS[2:]
                    ]
                    tried += 1
                    elements += lab.page.locator(f"{selector} *").count()
    said = f"{tried} of {tried} widgets × themes without a serious violation" if not failures else "barriers"
    return Checked(tried, f"{said}; {elements:,} elements looked at", failures)
