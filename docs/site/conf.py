"""Sphinx's configuration of the site. Its pages fetch nothing: fonts are the system's, formulas are MathML."""

from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import distilkit

project = "distilkit"
author = "The distilkit authors"
release = distilkit.__version__
language = "en"

extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["chapters.md", "downloads"]
suppress_warnings = ["myst.header"]  # a chapter may go from its title to a third-level heading

nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["amsmath", "attrs_inline", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
copybutton_selector = ".cell_input pre, :not(.cell_output) > .highlight pre"

html_theme = "furo"
html_title = "distilkit"
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["site.css"]
html_js_files = [("host.js", {"defer": "defer"})]
html_copy_source = False
html_show_search_summary = False  # it is fetched, which no page may do that was opened from a folder
html_show_sphinx = False
html_use_index = False
html_show_copyright = False
html_last_updated_fmt = None
html_math_renderer = "mathml"
linkcheck_timeout = 30


def formula(translator: HTML5Translator, node: nodes.Element) -> None:
    """LaTeX as MathML, which browsers draw and screen readers read."""
    block = isinstance(node, nodes.math_block)
    math = convert(node.astext(), display="block" if block else "inline")
    translator.body.append(f'<div class="formula">{math}</div>' if block else math)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
