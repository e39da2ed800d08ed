"""Objectives by name: ours, and those that other packages register as entry points of the group "attar.objectives"."""

from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract

from attar.errors import SettingsError
from attar.synthesis.objectives.base import FeatureLoss, Objective, Options, Rows
from attar.synthesis.objectives.clp import ClosedFormProbe
from attar.synthesis.objectives.decoupled import DecoupledMatching
from attar.synthesis.objectives.dm import BatchMeanMatching, MeanMatching
from attar.synthesis.objectives.lgm import LinearGradientMatching
from attar.synthesis.objectives.sfm import StatisticalFlowMatching
from attar.synthesis.objectives.sub_centres import SubCentreFlowMatching

_GROUP = "attar.objectives"
_DUTY = "its entry point must name a subclass of Objective that has build and at, and whose Options subclass Options"

OBJECTIVES: dict[str, type[Objective]] = {
    "sfm": StatisticalFlowMatching,
    "sfm-sub": SubCentreFlowMatching,
    "lgm": LinearGradientMatching,
    "clp": ClosedFormProbe,
    "dm-mean": MeanMatching,
    "dm-batch": BatchMeanMatching,
    "sfm-decoupled": DecoupledMatching,
}


def objective_names() -> list[str]:
    """The names of all objectives, ours first."""
    others = {point.name for point in entry_points(group=_GROUP)} - OBJECTIVES.keys()
    return [*OBJECTIVES, *sorted(others)]


def find_objective(name: str) -> type[Objective] | None:
    """The objective of that name, or None; ours can't be replaced. SettingsError where another package's is broken."""
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    points = {point.value: point for point in entry_points(group=_GROUP, name=name)}
    if len(points) > 1:
        raise SettingsError(f"several packages have an objective {name}: {', '.join(points)}", "uninstall all but one")
    return next(map(_load, points.values()), None)


def _load(point: EntryPoint) -> type[Objective]:
    try:
        found = point.load()
    except Exception as error:  # anything may go wrong in another package's import
        message = f"objective {point.name} of {point.value} can't be loaded: {error}"
        raise SettingsError(message, "mend or uninstall that package") from error
    if not _is_objective(found):
        raise SettingsError(f"{point.value} is no objective", _DUTY)
    return found


def _is_objective(found: object) -> bool:
    if not (isinstance(found, type) and issubclass(found, Objective)) or isabstract(found):
        return False
    own = found.__mro__[: found.__mro__.index(Objective)]
    builds = any("build" in vars(each) for each in own)
    return builds and isinstance(found.Options, type) and issubclass(found.Options, Options)


__all__ = [
    "OBJECTIVES",
    "BatchMeanMatching",
    "ClosedFormProbe",
    "DecoupledMatching",
    "FeatureLoss",
    "LinearGradientMatching",
    "MeanMatching",
    "Objective",
    "Options",
    "Rows",
    "StatisticalFlowMatching",
    "SubCentreFlowMatching",
    "find_objective",
    "objective_names",
]
