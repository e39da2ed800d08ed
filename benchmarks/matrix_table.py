"""The matrices of docs/results.md as Markdown, from the results.json that `attar evaluate --out` leaves.

python benchmarks/matrix_table.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

NETWORKS = {
    "vit_tiny_patch16_224": "ViT-Ti",
    "mobilenetv2_100": "MobileNetV2",
    "torchvision:squeezenet1_1": "SqueezeNet",
    "resnet18": "SimCLR ResNet-18",
    "cifar_resnet20": "ResNet-20",
    "cifar_resnet56": "ResNet-56",
}


def main() -> None:
    document = json.loads((Path(sys.argv[1]) / "results.json").read_text())
    rows = document["rows"]
    columns = list(dict.fromkeys(row["evaluated_on"] for row in rows))
    for protocol in dict.fromkeys(row["table"] for row in rows):
        print(f"`{protocol}`:\n")
        print("| | " + " | ".join(map(short, columns)) + " | others |")
        print("|---|" + "---|" * (len(columns) + 1))
        lines: dict[str, dict[str, dict]] = {}
        for row in (row for row in rows if row["table"] == protocol):
            lines.setdefault(label(row), {})[row["evaluated_on"]] = row
        for name, found in lines.items():
            cells = [cell(found.get(column)) for column in columns]
            print(f"| {name} | " + " | ".join(cells) + f" | {others(list(found.values()))} |")
        print()
    print("| on | sets | against | points |")
    print("|---|---|---|---|")
    for each in document["differences"]:
        themselves = each["method"] == each["against"] and each["against_protocol"] != each["protocol"]
        if each["protocol"] == "inherit-ridge-v1" and themselves:
            low, high = each["ci95"]
            text = f"{each['mean']:+.1f} ({low:+.1f} to {high:+.1f}): {each['verdict']}"
            print(f"| {short(each['evaluated_on'])} | {each['set']} | {each['against_protocol']} | {text} |")


def short(name: str) -> str:
    return NETWORKS.get(name, name)


def label(row: dict) -> str:
    number = f", {row['ipc']} a class" if row["ipc"] > 1 and row["method"] in ("jpeg", "sub-centres") else ""
    made = " + ".join(map(short, row["distilled_on"]))
    taught = f" ({short(row['teacher'])}'s)" if row["teacher"] and not made else ""
    return f"**{row['method']} on {made}**" if made else row["method"] + number + taught


def cell(row: dict | None) -> str:
    if row is None:
        return "–"
    spread = f" ± {row['std']:.1f}" if row["ci95"] else ""
    return f"{row['accuracy']:.1f}{spread}"


def others(rows: list[dict]) -> str:
    """Mean over the backbones that the set was not distilled on."""
    elsewhere = [row["accuracy"] for row in rows if row["distilled_on"] and not row["own"]]
    return f"{sum(elsewhere) / len(elsewhere):.1f}" if elsewhere else ""


if __name__ == "__main__":
    main()
