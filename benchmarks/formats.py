"""The same images as a folder, as tar shards, as a Hugging Face dataset and as arrays: is everything the same?

    python benchmarks/formats.py              # 24 images a class of the assets' Imagenette, ViT-Ti at 224 px, 10 steps

Writes the four kinds to a temporary folder, opens each, and compares the fingerprint of the decoded content, the class
statistics bit by bit, and the PNG files of a short distillation byte by byte. Exit code 1 where anything differs.

JPEGs of more than twice the side that the network wants are decoded at a fraction, which arrays can't be: at 64 px the
fingerprints still agree, and the arrays' statistics differ a little.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

import attar

SHARDS = 4


def main() -> None:
    assets = Path(os.environ.get("ATTAR_ASSETS", "../shared/assets"))
    folder = attar.open(assets / "data/imagenette224/train", limit=24)
    name = "vit_tiny_patch16_224"
    backbone = attar.backbone(name, weights=assets / f"weights/{name}.safetensors")
    settings = attar.choose_settings("fast", steps=10, grow_every=1, statistics_views=1)
    with tempfile.TemporaryDirectory() as place:
        sources = {
            "folder": folder,
            "tar": tar_shards(folder, Path(place)),
            "hf": hf_dataset(folder, Path(place)),
            "arrays": arrays(folder, Path(place)),
        }
        found = {}
        print("| kind | images | fingerprint | statistics | distilled images |\n|---|---|---|---|---|")
        for kind, source in sources.items():
            os.environ["ATTAR_CACHE"] = f"{place}/cache-{kind}"  # nothing is shared
            means = attar.class_statistics(source, backbone, settings=settings, device="cpu").means
            made = attar.distill(source, backbone, Path(place) / f"{kind}.attar", settings=settings, device="cpu")
            pictures = b"".join(file.read_bytes() for file in sorted(made.path.glob("images/*/*.png")))
            found[kind] = (source.fingerprint, *(hashlib.sha256(b).hexdigest() for b in (means.numpy(), pictures)))
            print(f"| {kind} | {len(source)} | " + " | ".join(value[:12] for value in found[kind]) + " |")
    sys.exit(len(set(found.values())) != 1)


def tar_shards(folder: attar.ImageSource, place: Path) -> attar.ImageSource:
    """The files as they are, in the folder's order, each with its class in a .cls member."""
    each = -(-len(folder) // SHARDS)
    for shard in range(SHARDS):
        with tarfile.open(place / f"train-{shard}.tar", "w") as tar:
            for index in range(shard * each, min((shard + 1) * each, len(folder))):
                parts = {"jpg": encoded(folder, index), "cls": folder.classes[folder.labels[index]].encode()}
                for ending, data in parts.items():
                    member = tarfile.TarInfo(f"{index:05d}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return attar.open(f"{place}/train-{{0..{SHARDS - 1}}}.tar")


def hf_dataset(folder: attar.ImageSource, place: Path) -> attar.ImageSource:
    """What `Dataset.save_to_disk` writes, with the files' bytes."""
    import datasets

    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(folder.classes)))
    images = [{"bytes": encoded(folder, index), "path": None} for index in range(len(folder))]
    table = datasets.Dataset.from_dict({"image": images, "label": folder.labels.tolist()}, features=features)
    table.save_to_disk(str(place / "hf"))
    return attar.open(f"hf:{place / 'hf'}")


def arrays(folder: attar.ImageSource, place: Path) -> attar.ImageSource:
    """Decoded pixels, which all have one size in this set."""
    images = np.stack([image for _, image in folder.read(range(len(folder)))])
    np.savez(place / "train.npz", images=images, labels=folder.labels, names=np.array(folder.classes))
    return attar.open(place / "train.npz")


def encoded(folder: attar.ImageSource, index: int) -> bytes:
    """The bytes of the image's file."""
    return (Path(folder.location) / folder.name(index)).read_bytes()


if __name__ == "__main__":
    main()
