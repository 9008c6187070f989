"""Where this notebook runs, and the settings that make it run the same everywhere."""

from __future__ import annotations

import io
import os
import random
import sys
from typing import Any

from distilkit.errors import whole
from distilkit.words import say, speak


def host() -> str:
    """The name of the place: Colab, Binder, VS Code, Jupyter or Python.

    >>> host()
    'Python'
    """
    if "google.colab" in sys.modules:
        return "Colab"
    if "BINDER_SERVICE_HOST" in os.environ:
        return "Binder"
    if "VSCODE_PID" in os.environ:
        return "VS Code"
    return "Jupyter" if "ipykernel.kernelapp" in sys.modules else "Python"


def setup(seed: int = 0, *, language: str | None = None) -> None:
    """Seed everything, take one torch thread, make widgets work in this host, and say so in one line.

    `language` is the interface's: "en" or "fr"; default, what DISTILKIT_LANGUAGE says, else English.
    """
    seed = whole("seed", seed, 0, 2**32 - 1, "the same seed gives the same run")
    if language is not None:
        speak(language)
    import numpy as np
    import torch

    import distilkit

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the reader's own cells may use the global generator
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # two threads on a shared core make a small step many times slower
    _show_figures()
    if host() == "Colab":
        from google.colab import output

        output.enable_custom_widget_manager()
    print(
        say(
            "distilkit {version} · seed {seed} · torch {torch}, one thread · {host}",
            version=distilkit.__version__,
            seed=seed,
            torch=torch.__version__,
            host=host(),
        )
    )


def _show_figures() -> None:
    """Show matplotlib's `Figure` as a picture where a cell ends on one; pyplot, which else does so, is not needed."""
    from IPython import get_ipython

    def draw(figure: Any) -> bytes:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=110)
        return file.getvalue()

    if (shell := get_ipython()) is not None:
        shell.display_formatter.formatters["image/png"].for_type("matplotlib.figure.Figure", draw)
