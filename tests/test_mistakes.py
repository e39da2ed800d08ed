"""What is natural to pass and wrong, a path in place of what it names, ends in one sentence that says what to write.

The calls run in a process of their own: here beartype would refuse them before attar reads them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import attar
from attar import errors

PRELUDE = """
import json, sys
from pathlib import Path
import numpy as np, torch
import attar
from attar.compression.relabel import relabel
from attar.distilled import write
from small import coloured, manifest, network, small_backbone
source, bb = coloured(3), small_backbone()
pixels = np.random.default_rng(5).integers(0, 256, (6, 3, 7, 7), np.uint8)
made = write(Path("made.attar"), pixels, np.arange(6) // 2, manifest=manifest(ipc=2))
told = {}
for call in json.load(sys.stdin):
    try:
        eval(call)
        told[call] = "nothing was raised"
    except Exception as error:
        told[call] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""

OPEN, BACKBONE = "Write attar.open('photos/train').", "Write attar.backbone('vit_tiny_patch16_224')."
LOAD, CLASSIFIER = "Write attar.load('p.attar').", "Write attar.classifier(attar.load('p.attar'), backbone)."
A_STR = {"photos/train": OPEN, "vit_tiny_patch16_224": BACKBONE, "p.attar": LOAD}


def needed(kind: str, parameter: str, given: str, hint: str) -> str:
    return f"SettingsError: {kind} is needed as {parameter}, not {given}.\n{hint}"


def a_path(kind: str, parameter: str, text: str, hint: str | None = None) -> str:
    return needed(kind, parameter, f"the str {text!r}", hint or A_STR[text])


IMAGES = a_path("An ImageSource", "source", "photos/train")
TRAIN = a_path("An ImageSource", "train", "photos/train")
NETWORK = a_path("A Backbone", "backbone", "vit_tiny_patch16_224")
SET = a_path("A DistilledSet", "distilled", "p.attar")

MISTAKES = {
    "attar.distill('photos/train', bb, 'q.attar')": IMAGES,
    "attar.distill(source, 'vit_tiny_patch16_224', 'q.attar')": NETWORK,
    "attar.distill(source, [bb, 'vit_tiny_patch16_224'], 'q.attar')": NETWORK,
    "attar.distill(source, network(), 'q.attar')": needed(
        "A Backbone", "backbone", "a Conv2d", "Write attar.backbone(...)."
    ),
    "attar.distill(source, None, 'q.attar')": needed("A Backbone", "backbone", "None", "Write attar.backbone(...)."),
    "attar.distill(source, bb, 'q.attar', settings='fast')": a_path(
        "A Settings", "settings", "fast", "Write attar.choose_settings('fast')."
    ),
    "attar.distill(source, bb, 'q.attar', settings={'steps': 3})": needed(
        "A Settings", "settings", "a dict", "Write attar.choose_settings(**settings)."
    ),
    "attar.select('photos/train', bb, 'q.attar', method='random')": IMAGES,
    "attar.select(source, 'vit_tiny_patch16_224', 'q.attar', method='random')": NETWORK,
    "attar.select(source, bb, 'q.attar', method='jpeg', like='p.attar')": a_path("A DistilledSet", "like", "p.attar"),
    "attar.evaluate('p.attar', test=source, train=None, backbone=bb)": a_path("A DistilledSet", "sets", "p.attar"),
    "attar.evaluate([made, 'p.attar'], test=source, train=None)": a_path("A DistilledSet", "sets", "p.attar"),
    "attar.evaluate(made, test='photos/train', train=None)": a_path("An ImageSource", "test", "photos/train"),
    "attar.evaluate(made, test=source, train='photos/train')": TRAIN,
    "attar.evaluate(made, test=source, train=None, backbone='vit_tiny_patch16_224')": NETWORK,
    "attar.audit('p.attar', train=source)": SET,
    "attar.audit(made, train='photos/train')": TRAIN,
    "attar.audit(made, train=source, test='photos/train')": a_path("An ImageSource", "test", "photos/train"),
    "attar.audit(made, train=source, backbones='vit_tiny_patch16_224')": a_path(
        "A Backbone", "backbones", "vit_tiny_patch16_224"
    ),
    "attar.inherit('p.attar', train=source, backbones=[bb])": SET,
    "attar.inherit(made, train='photos/train', backbones=[bb])": TRAIN,
    "attar.inherit(made, train=source, backbones='vit_tiny_patch16_224')": a_path(
        "A Backbone", "backbones", "vit_tiny_patch16_224"
    ),
    "attar.classifier('p.attar', bb)": SET,
    "attar.classifier(made, 'vit_tiny_patch16_224')": NETWORK,
    "attar.predict('p.attar', 'photos/train')": a_path("A Classifier", "classifier", "p.attar", CLASSIFIER),
    "attar.predict(made, 'photos/train')": needed(
        "A Classifier", "classifier", "a DistilledSet", "Write attar.classifier(attar.load(...), backbone)."
    ),
    "attar.export('p.attar', 'q.onnx')": a_path("A Classifier", "classifier", "p.attar", CLASSIFIER),
    "attar.squeeze('photos/train', 'n.safetensors', attar.SqueezeSettings('convnet3'))": IMAGES,
    "attar.squeeze(source, 'n.safetensors', 'convnet3')": a_path(
        "A SqueezeSettings", "settings", "convnet3", "Write attar.SqueezeSettings('convnet3')."
    ),
    "attar.recover('photos/train', 'n.safetensors', 'q.attar')": IMAGES,
    "attar.recover(source, bb, 'q.attar')": needed(
        "A Squeezed", "squeezed", "a Backbone", "Write attar.backbones.squeezed.read_squeezed(...)."
    ),
    "attar.recover(source, 'n.safetensors', 'q.attar', settings='scdd-tiny')": a_path(
        "A RecoverySettings", "settings", "scdd-tiny", "Write attar.choose_recovery('scdd-tiny')."
    ),
    "relabel('p.attar', None, None, protocol='soft-rded', epochs=1, batch=1)": SET,
    "relabel(made, 'n.safetensors', None, protocol='soft-rded', epochs=1, batch=1)": a_path(
        "A Squeezed", "teacher", "n.safetensors", "Write attar.backbones.squeezed.read_squeezed('n.safetensors')."
    ),
    "attar.refine('p.attar', None, 'q.attar')": a_path("A DistilledSet", "images", "p.attar"),
    "attar.refine(made, 'facebook/DiT-XL-2-256', 'q.attar')": a_path(
        "A LatentDiffusion",
        "model",
        "facebook/DiT-XL-2-256",
        "Write attar.diffusion.models.open_diffusion('facebook/DiT-XL-2-256').",
    ),
    "attar.edits('photos/train', 'q.attar')": IMAGES,
    "attar.edits(source, 'q.attar', settings='d4m')": a_path(
        "An EditsSettings", "settings", "d4m", "Write attar.choose_edits('d4m')."
    ),
}
PROPOSED = [maker.partition("(")[0] for maker in errors._MAKERS.values()]
ONE_SET = "attar.evaluate(made, test=source, train=None, backbone=bb, protocols=['probe-v1/centre']).rows[0]"


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, str]:
    """What each call says, to someone who has no type checker."""
    place = tmp_path_factory.mktemp("mistakes")
    child = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}){PRELUDE}"],
        input=json.dumps([*MISTAKES, *PROPOSED, ONE_SET]),
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "ATTAR_CACHE": str(place)},
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


@pytest.mark.parametrize("call", MISTAKES)
def test_a_mistake_is_told_in_one_sentence_and_what_to_write(told, call):
    assert told[call] == MISTAKES[call]


def test_one_set_alone_is_evaluated(told):
    assert told[ONE_SET] == "nothing was raised"


def test_what_a_hint_proposes_is_there(told):
    """Without another import: what raised the error has made it."""
    assert {call: told[call] for call in PROPOSED} == dict.fromkeys(PROPOSED, "nothing was raised")


def test_a_user_finds_the_public_names_alone():
    assert [name for name in dir(attar) if not name.startswith("__")] == sorted(attar.__all__)
