"""`attar edits`: the stages, the set, and what is said."""

from __future__ import annotations

import json

import pytest

from attar import load
from attar.diffusion import stock
from small import coloured, write_folder
from tiny_diffusion import save_clip, stable_diffusion


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Tiny models on the disk, as options."""
    folder = tmp_path_factory.mktemp("models")
    with stock.quiet():
        stable_diffusion().save_pretrained(folder / "sd")
        save_clip(folder / "clip")
    return ["--model", str(folder / "sd"), "--clip", str(folder / "clip"), "--steps", "2"]


@pytest.fixture
def photos(tmp_path):
    write_folder(coloured(3, classes=("church", "tench")), tmp_path / "photos")
    return tmp_path / "photos"


def test_stages_one_by_one_make_the_set_and_name_the_next_command(tmp_path, attar, photos, models):
    out = tmp_path / "x"
    words = [photos, "--out", out, "--captioner", "template", *models]
    for verb, after in (("caption", "fuse"), ("fuse", "prototypes"), ("prototypes", "generate")):
        code, shown, err = attar("edits", verb, *words)
        assert code == 0 and shown == "" and f"Next: attar edits {after} {photos} --out {out}" in err
        assert not out.exists() and "Loading" not in err and "%|" not in err
    code, shown, err = attar("edits", "generate", *words, "--json", "--fine-tuned", "no")
    made = json.loads(shown)["set"]
    assert code == 0 and made["method"] == "edits" and made["settings"]["fine_tuned"] == "no"
    assert len(load(out)) == 2 and f"Next: attar evaluate {out} --test TEST_IMAGES" in err
    code, _, err = attar("edits", "run", *words, "--fine-tuned", "no")
    assert code == 0 and "nothing to do" in err.replace("\n", " ")


def test_a_preset_a_file_of_captions_and_a_control(tmp_path, attar, photos, models):
    captions = tmp_path / "captions.jsonl"
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    lines = (json.dumps({"file_name": name, "text": f"a {name[:5]} by night"}) for name in names)
    captions.write_text("\n".join(lines))
    words = [photos, "--captions", captions, *models, "--set", "k_text=2", "--set", "out_size=5"]
    code, _, err = attar("edits", "run", *words, "--preset", "vlcp", "--out", tmp_path / "v")
    made = load(tmp_path / "v").manifest
    assert code == 0 and "Fine-tuned on these images: unknown" in " ".join(err.split())
    assert (made.method, made.image_side, made.settings["k_text"], made.settings["captioner"]) == ("vlcp", 5, 2, "file")
    more = ["--control", "decode", "--prototypes", tmp_path / "v", "--preset", "vlcp", "--out", tmp_path / "c"]
    code, _, _ = attar("edits", "generate", *words, *more)
    assert code == 0 and load(tmp_path / "c").manifest.method == "vlcp/decode"


def test_the_next_command_differs_in_the_stage_alone(tmp_path, attar, photos, models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = attar("edits", "--json", "-o", "caption", "caption", photos, "--captioner", "template", *models)
    assert code == 0 and f"Next: attar edits --json -o caption fuse {photos} --captioner" in " ".join(err.split())


MISTAKES = {
    "absent": (["--model", "nobody/sd"], 'EDITS needs "nobody/sd" (diffusion model); it is not on this machine.'),
    "setting": (["--set", "k_images=2"], "k_images is no setting of EDITS"),
    "preset": (["--preset", "d4"], "There is no preset 'd4' of EDITS."),
    "too many": (["--ipc", "4"], 'Class "church" has 3 usable images but IPC is 4;'),
    "llm": (["--text-proto", "llm"], "needs to know whom to ask: --set llm_url=ADDRESS --set llm_model=NAME"),
    "elsewhere": (
        ["--text-proto", "llm", "--set", "llm_url=https://text.example", "--set", "llm_model=m"],
        "Sending captions to text.example",
    ),
    "two captioners": (["--captions", "x", "--captioner", "blip"], "don't go together"),
    "offload": (["--offload", "model"], "No accelerator found"),
    "precision": (["--precision", "fp8"], "There is no precision 'fp8'"),
    "prototypes": (["--prototypes", "x"], "Prototypes of another run are for the stage generate alone"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_sentence(tmp_path, attar, photos, models, mistake: str):
    options, sentence = MISTAKES[mistake]
    words = [photos, "--out", tmp_path / "x", "--captioner", "template", *models, *options]
    code, shown, err = attar("edits", "run", *words)
    assert code == 2 and shown == "" and sentence.lower() in " ".join(err.split()).lower() and "Traceback" not in err
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.run" / "captions.jsonl").exists()


def test_help_begins_with_an_example(attar):
    code, shown, _ = attar("edits", "--help")
    assert code == 0 and "attar edits run photos/train" in shown
    code, _, err = attar("edits", "walk", "photos", "--out", "x")
    assert code == 2 and "'walk' is not one of" in err


def test_every_flag_of_the_command_is_known_as_one():
    from typer.main import get_command

    from attar.cli.edits import _FLAGS
    from attar.cli.main import app

    options = get_command(app).commands["edits"].params
    flags = {name for option in options if getattr(option, "is_flag", False) for name in option.opts}
    assert flags | {"--"} == set(_FLAGS)
