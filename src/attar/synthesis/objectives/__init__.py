"""Objectives by name: how each is built from what is known of the real data and the run's settings."""

from attar.synthesis.objectives.base import FeatureLoss, Objective, Rows
from attar.synthesis.objectives.sfm import StatisticalFlowMatching

__all__ = ["FeatureLoss", "Objective", "Rows", "StatisticalFlowMatching"]
