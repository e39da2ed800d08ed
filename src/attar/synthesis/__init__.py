"""Synthesis of images whose features say what the real data's features say: canvas, views, objectives, the loop."""

from attar.synthesis.distillation import distill
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.plan import Plan
from attar.synthesis.presets import PRESETS, choose_settings
from attar.synthesis.real import class_statistics
from attar.synthesis.settings import Settings

__all__ = [
    "PRESETS",
    "Matching",
    "Plan",
    "Schedule",
    "Settings",
    "Term",
    "choose_settings",
    "class_statistics",
    "distill",
]
