"""Tasks: each one's data, splits, teacher, student and score. One file a task."""

from distilkit.tasks.arithmetic import Arithmetic, Problem, Solution, arithmetic
from distilkit.tasks.baselines import baselines
from distilkit.tasks.digits import Digits, digits
from distilkit.tasks.docs import docs
from distilkit.tasks.domains import Domains, domains
from distilkit.tasks.scenes import Scenes, scenes
from distilkit.tasks.shop import Support, shop
from distilkit.tasks.speech import Speech, error_rate, speech
from distilkit.tasks.text import Text, text
from distilkit.tasks.translation import Bilingual, Translation, translation
from distilkit.tasks.voices import Reading

__all__ = [
    "Arithmetic",
    "Bilingual",
    "Digits",
    "Domains",
    "Problem",
    "Reading",
    "Scenes",
    "Solution",
    "Speech",
    "Support",
    "Text",
    "Translation",
    "arithmetic",
    "baselines",
    "digits",
    "docs",
    "domains",
    "error_rate",
    "scenes",
    "shop",
    "speech",
    "text",
    "translation",
]
