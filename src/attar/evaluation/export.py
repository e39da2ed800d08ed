"""A classifier as a file for other runtimes: ONNX, or torch.export's .pt2."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from attar.errors import SettingsError, expect
from attar.evaluation.classifier import Classifier
from attar.files import write_bytes
from attar.synthesis.views import canvas_side

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_FORMATS = (".onnx", ".pt2")
_ONNX_LIMIT = 2**31  # bytes of a protobuf message, at most


def export(classifier: Classifier, out: str | Path) -> Path:
    """Write `classifier` to `out`, an .onnx or a .pt2 file: one function of images that holds all its weights.

    Input `images`: float32 [n, 3, s, s], RGB in 0..1, any n, s = `image_size`; output `logits`: float32 [n, classes].
    Of a photo, resize the shorter side to `canvas` pixels and cut out the centre, as `attar predict` does. `classes`,
    `titles`, `image_size`, `canvas`, `protocol`, `backbone` and its `fingerprint` are inside: as metadata properties
    in ONNX (lists as JSON), as the extra file attar.json in .pt2. Returns the path.

    SettingsError for another ending, where packages for ONNX are missing, and for an .onnx of over 2 GB.

    >>> attar.export(flowers, "flowers.onnx")                                                    # doctest: +SKIP
    PosixPath('flowers.onnx')
    """
    expect(classifier, Classifier, "classifier")
    out = Path(out)
    check_format(out)
    size = sum(tensor.numel() * tensor.element_size() for tensor in classifier.state_dict().values())
    if out.suffix.lower() == ".onnx" and size >= _ONNX_LIMIT:
        raise SettingsError(f"an .onnx file holds at most 2 GB, and this classifier is {size:,} bytes", "write a .pt2")
    program = _traced(classifier)
    write_bytes(out, (_onnx if out.suffix.lower() == ".onnx" else _pt2)(program, _facts(classifier)))
    return out


def check_format(out: Path) -> None:
    """SettingsError where `export` can't write `out`, by its ending or for want of a package."""
    if out.suffix.lower() not in _FORMATS:
        raise SettingsError(f"{out} ends in neither .onnx nor .pt2", "name a file such as model.onnx or model.pt2")
    if out.suffix.lower() == ".onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        raise SettingsError(
            "ONNX needs packages that aren't installed", "run `pip install 'attar[onnx]'`, or write a .pt2"
        )


def _traced(classifier: Classifier) -> ExportedProgram:
    from torch.export import Dim, export

    side, device = classifier.image_size, classifier.linear.weight.device
    example = torch.zeros(2, 3, side, side, device=device)  # of one image torch would take the 1 for a constant
    return export(classifier, (example,), dynamic_shapes={"images": {0: Dim("n")}}, strict=False)


def _pt2(program: ExportedProgram, facts: dict[str, object]) -> bytes:
    from torch.export import save

    file = io.BytesIO()
    save(program, file, extra_files={"attar.json": json.dumps(facts)})
    return file.getvalue()


def _onnx(program: ExportedProgram, facts: dict[str, object]) -> bytes:
    from torch.onnx import export

    made = export(program, dynamo=True, input_names=["images"], output_names=["logits"], verbose=False)
    if made is None:  # only where a file was asked for
        raise RuntimeError("torch.onnx gave no program")
    texts = {name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in facts.items()}
    made.model.metadata_props.update(texts)
    return made.model_proto.SerializeToString()


def _facts(classifier: Classifier) -> dict[str, object]:
    return {
        "classes": classifier.classes,
        "titles": classifier.titles,
        "image_size": classifier.image_size,
        "canvas": canvas_side(classifier.image_size),
        "protocol": classifier.protocol,
        "backbone": classifier.backbone.name,
        "fingerprint": classifier.backbone.fingerprint,
    }
