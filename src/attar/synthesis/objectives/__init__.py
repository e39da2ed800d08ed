"""Objectives by name: ours, and those that other packages register as entry points of the group "attar.objectives"."""

from importlib.metadata import entry_points

from attar.errors import SettingsError
from attar.synthesis.objectives.base import FeatureLoss, Objective, Options, Rows
from attar.synthesis.objectives.lgm import LinearGradientMatching
from attar.synthesis.objectives.sfm import StatisticalFlowMatching
from attar.synthesis.objectives.sub_centres import SubCentreFlowMatching

OBJECTIVES: dict[str, type[Objective]] = {
    "sfm": StatisticalFlowMatching,
    "sfm-sub": SubCentreFlowMatching,
    "lgm": LinearGradientMatching,
}


def objective_names() -> list[str]:
    """The names of all objectives, ours first."""
    others = {point.name for point in entry_points(group="attar.objectives")} - OBJECTIVES.keys()
    return [*OBJECTIVES, *sorted(others)]


def find_objective(name: str) -> type[Objective] | None:
    """The objective of that name, or None; ours can't be replaced. SettingsError where another package's is broken."""
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    for point in entry_points(group="attar.objectives", name=name):
        try:
            found = point.load()
        except Exception as error:  # anything may go wrong in another package's import
            message = f"objective {name} of {point.value} can't be loaded: {error}"
            raise SettingsError(message, "mend or uninstall that package") from error
        if not (isinstance(found, type) and issubclass(found, Objective)):
            raise SettingsError(f"{point.value} is no objective", "its entry point must name a subclass of Objective")
        return found
    return None


__all__ = [
    "OBJECTIVES",
    "FeatureLoss",
    "LinearGradientMatching",
    "Objective",
    "Options",
    "Rows",
    "StatisticalFlowMatching",
    "SubCentreFlowMatching",
    "find_objective",
    "objective_names",
]
