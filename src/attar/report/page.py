"""The report: one HTML file that shows distilled sets, their runs and their evaluations, without a network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attar.backbones.record import Backbone
from attar.distilled import DistilledSet, Origin
from attar.errors import SettingsError, expect, expect_all
from attar.evaluation.result import Evaluation
from attar.files import write_text
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run

_SCRIPTS = ("grid.js", "detail.js", "tables.js")
_OURS = b'<meta name="generator" content="attar">'
_HEAD = 1000  # bytes of a page in which it says whose it is


def write_report(
    sets: DistilledSet | Sequence[DistilledSet] = (),
    runs: Run | Sequence[Run] = (),
    evaluations: Evaluation | str | Path | Sequence[Evaluation | str | Path] = (),
    *,
    out: str | Path = "report",
    train: ImageSource | None = None,
    backbone: Backbone | None = None,
    title: str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Path:
    """Write `out`/index.html and return its path; nothing else is written, and the page needs nothing else.

    It shows the images of `sets`, those of several sets side by side, with their journeys where the runs beside them
    kept frames; the logs of `runs`, finished or not; and the tables of `evaluations`, results or folders that
    `attar evaluate --out` wrote. With `train` and `backbone` each image also has its nearest training images and the
    confidence of a probe on all of them, view by view; those training images are then in the page. Pictures are made
    as small as keeps the page below 30 MB; of more than some 5,000 images it grows with their number, 1 kB for each.
    SettingsError where there is nothing to show, or index.html isn't attar's, and the errors of what is read.

    >>> attar.write_report([attar.load("photos.attar")], evaluations=["results"])      # doctest: +SKIP
    PosixPath('report/index.html')
    """
    sets = expect_all(sets, DistilledSet, "sets")
    runs = expect_all(runs, Run, "runs")
    evaluations = [evaluations] if isinstance(evaluations, Evaluation | str | Path) else evaluations
    if train is not None:
        expect(train, ImageSource, "train")
    if backbone is not None:
        expect(backbone, Backbone, "backbone")
    if not (sets or runs or evaluations):
        raise SettingsError("there is nothing to report", "give a distilled set, a run or an evaluation")
    page = Path(out) / "index.html"
    _refuse_foreign(page)
    if backbone is not None:
        from attar.devices import pick_device

        backbone = backbone.to(device=pick_device(device))
    if not sets and not (train is None and backbone is None):
        progress.note("Nearest images and confidences: n/a, they are of a set's images, and no set is given.")
    elif (train is None) != (backbone is None):
        progress.note(f"Nearest images and confidences: n/a, they also need {_lacking(train, backbone)}.")
    write_text(page, _html(sets, runs, evaluations, train, backbone, title, progress))
    return page


def _refuse_foreign(page: Path) -> None:
    """SettingsError where a page lies there that attar didn't write, or the folder is a distilled set."""
    if (page.parent / "attar.json").is_file():
        raise SettingsError(f"{page.parent} is a distilled set", "Choose another --out: its files are counted.")
    if page.is_dir():
        raise SettingsError(f"{page} is a folder.", "Choose another --out.")
    if not page.exists():
        return
    with page.open("rb") as file:
        if _OURS not in file.read(_HEAD):
            raise SettingsError(f"{page} is no page of attar's.", "Choose another --out.")


def _html(
    sets: Sequence[DistilledSet],
    runs: Sequence[Run],
    evaluations: Sequence[Evaluation | str | Path],
    train: ImageSource | None,
    backbone: Backbone | None,
    title: str | None,
    progress: Progress,
) -> str:
    from jinja2 import Environment

    from attar.report.course import read_courses
    from attar.report.gallery import count_photos, images_by_class, make_galleries
    from attar.report.scores import read_scores

    scores = [read_scores(each, sets) for each in evaluations]  # first: it is quick, and may be refused
    courses = read_courses(runs, sets)
    galleries = make_galleries(sets, train, backbone, progress)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["json"] = script_json
    template = environment.from_string(_asset("template.html"))
    style, scripts = _asset("style.css"), [_asset(name) for name in _SCRIPTS]
    return template.render(
        title=title or _title(galleries, courses),
        policy=_policy(style, scripts),
        style=style,
        scripts=scripts,
        galleries=galleries,
        classes=images_by_class(sets),
        photos=count_photos(galleries),
        most=max((one.manifest.ipc for one in sets), default=1),
        courses=courses,
        scores=scores,
        rows=[row for each in scores for row in each.by_class],
        sheets=[{"steps": course.steps, "sheets": course.sheets} for course in courses],
        lacking=_lacking(train, backbone),
        made=f"attar {version('attar')}, {datetime.now(UTC).date().isoformat()}",
        about=[_facts(gallery.distilled) for gallery in galleries],
    )


def script_json(value: Any) -> Any:
    """JSON that stays inside a script element, whatever the names in it say; numbers that aren't finite are refused."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.encode(errors="replace").decode()  # names of files need not be Unicode
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _title(galleries: Sequence[Any], courses: Sequence[Any]) -> str:
    names = [each.name for each in [*galleries, *courses]]
    if not names:
        return "Distilled sets, evaluated"
    return ", ".join(list(dict.fromkeys(names))[:3]) + (" and others" if len(set(names)) > 3 else "")


def _lacking(train: ImageSource | None, backbone: Backbone | None) -> str:
    """The options that would add nearest images and confidences."""
    missing = {"--train IMAGES": train, "--backbone NAME": backbone}
    return " and ".join(option for option, given in missing.items() if given is None)


def _facts(distilled: DistilledSet) -> dict[str, Any]:
    """What a set is, for the table at the page's end."""
    record, side = distilled.manifest, distilled.manifest.image_side
    return {
        "method": record.method,
        "images": f"{len(distilled)} of {len(record.classes)} classes, {side} x {side} pixels",
        "bytes": f"{distilled.bytes:,} to train on (images, labels and weights)",
        "made": f"{record.created} by attar {record.attar_version}",
        "seeds": ", ".join(f"{name} {seed}" for name, seed in record.seeds.items()),
        "data": _origin(record.data) | {"images": record.train_images},
        "backbones": [_origin(origin) for origin in record.backbones],
        "settings": record.settings,
        "scores": record.scores,
    }


def _origin(origin: Origin) -> dict[str, Any]:
    return {"name": origin.name, "licence": origin.licence, "fingerprint": origin.fingerprint}


def _policy(style: str, scripts: Sequence[str]) -> str:
    """A Content-Security-Policy: no network, pictures from the page itself, and no script or style but its own."""
    own = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {own}; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return resources.files("attar.report").joinpath("page", name).read_text(encoding="utf-8")
