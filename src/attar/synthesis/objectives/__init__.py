"""Objectives by name: how each is built from what is known of the real data and the run's settings."""

from collections.abc import Callable

from attar.features import RealFeatures
from attar.synthesis.objectives.base import FeatureLoss, Objective, Rows
from attar.synthesis.objectives.sfm import StatisticalFlowMatching
from attar.synthesis.objectives.sub_centres import SubCentreFlowMatching
from attar.synthesis.presets import Settings

OBJECTIVES: dict[str, Callable[[RealFeatures, Settings], Objective]] = {
    "sfm": StatisticalFlowMatching.build,
    "sfm-sub": SubCentreFlowMatching.build,
}

__all__ = ["OBJECTIVES", "FeatureLoss", "Objective", "Rows", "StatisticalFlowMatching", "SubCentreFlowMatching"]
