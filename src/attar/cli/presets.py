"""`attar presets`: whole sets of settings by name, and what papers report of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attar.cli.options import Json


def presets(json: Json = False) -> None:
    """List the presets with method, steps and views, and what their authors report.

    **attar presets**

    One is chosen by `attar distill --preset NAME`; any other setting wins over it.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from attar.cli.show import print_json
    from attar.compression.recovery_settings import RECOVERIES, RECOVERY_PRESETS, choose_recovery
    from attar.diffusion.edits.settings import EDITS_PRESETS, choose_edits
    from attar.diffusion.refine_settings import REFINE_PRESETS, choose_refinement
    from attar.synthesis.presets import PRESETS, choose_settings, published_for

    if json:
        rows = [
            {
                "name": name,
                "about": preset.about,
                "method": preset.method,
                "settings": choose_settings(name).flat(),
                "by_method": {method: dict(own) for method, own in preset.by_method.items()},
                "published": None if preset.published is None else asdict(preset.published),
            }
            for name, preset in PRESETS.items()
        ]
        recoveries = [
            {
                "name": name,
                "about": preset.about,
                "method": preset.method,
                "settings": {
                    method: choose_recovery(name, method=method).model_dump()
                    for method in RECOVERIES
                    if preset.method in (None, method)
                },
                "published": None if preset.published is None else asdict(preset.published),
            }
            for name, preset in RECOVERY_PRESETS.items()
        ]
        refinements = [
            {"name": name, "about": preset.about, "settings": choose_refinement(name).model_dump()}
            for name, preset in REFINE_PRESETS.items()
        ]
        edits = [
            {"name": name, "about": preset.about, "settings": choose_edits(name).model_dump()}
            for name, preset in EDITS_PRESETS.items()
        ]
        print_json({"presets": rows, "recoveries": recoveries, "refinements": refinements, "edits": edits})
        return
    table = Table(caption="All settings of each: --json")
    for heading in ("preset", "method", "steps", "views", "what it is"):
        table.add_column(heading, justify="right" if heading == "steps" else "left")
    for name, preset in PRESETS.items():
        chosen = choose_settings(name)
        others = [f"{method} {own['views']}" for method, own in preset.by_method.items() if "views" in own]
        views = ", ".join([str(chosen.views), *others])
        table.add_row(name, preset.method or "any", str(chosen.steps), views, preset.about)
    Console().print(table)
    for name in PRESETS:
        published = published_for(name)
        if published is not None:
            print(f"\n{name}\n{published}")
    print(f"\n{', '.join(RECOVERIES)} (--backbone a file of attar squeeze) have presets of their own:")
    for name, preset in RECOVERY_PRESETS.items():
        print(f"{name:15} {preset.method or 'any':6} {preset.about}")
    own: dict[str, Mapping[str, Any]] = {"refine": REFINE_PRESETS, "edits": EDITS_PRESETS}
    for command, named in own.items():
        print(f"\nattar {command} has presets of its own:")
        for name, preset in named.items():
            print(f"{name:15} {preset.about}")
    for name, preset in RECOVERY_PRESETS.items():
        if preset.published is not None:
            print(f"\n{name}\n{preset.published.text}")
