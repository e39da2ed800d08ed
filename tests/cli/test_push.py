"""`attar push`, and commands that take "hf:OWNER/NAME" where they take a set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attar.distilled import write
from small import CLASSES, coloured, manifest
from stub_hub import TOKEN, serving_hub


@pytest.fixture
def hub():
    with serving_hub() as hub:
        yield hub


def make(path: Path, method: str = "sfm") -> Path:
    source = coloured(2)
    images = np.stack([image for _, image in source.read(range(6))])[:, :, :9, :9]
    about = manifest(CLASSES, method=method, image_side=9)
    return write(path, images, source.labels, manifest=about).path


def test_the_address_goes_to_stdout_and_the_set_can_be_verified_anywhere(hub, tmp_path, attar):
    made = make(tmp_path / "made.attar")
    code, shown, err = attar("push", made, "you/photos", "--message", "first")
    assert code == 0 and shown == f"{hub.url}/datasets/you/photos\n"
    assert "10 files" in err and "Next, anywhere: attar verify hf:you/photos" in err and TOKEN not in err
    assert hub.messages == ["first"] and not hub.private["you/photos"]
    assert attar("verify", "hf:you/photos") == (0, "hf:you/photos: 9 files, all as written\n", "")


def test_a_dry_run_lists_what_would_go_and_asks_nobody(hub, tmp_path, attar):
    made = make(tmp_path / "made.attar")
    code, shown, err = attar("push", made, "you/photos", "--dry-run")
    listed = [line.split() for line in shown.splitlines()]
    assert code == 0 and hub.asked == [] and "nothing was sent" in err
    assert {name: int(size.replace(",", "")) for size, name in listed} == {
        file.relative_to(made).as_posix(): file.stat().st_size for file in made.rglob("*") if file.is_file()
    }
    told = json.loads(attar("push", made, "you/photos", "--dry-run", "--json")[1])
    assert told["address"] is None and len(told["files"]) == len(listed)


def test_photos_and_wrong_names_are_refused(hub, tmp_path, attar):
    chosen = make(tmp_path / "chosen.attar", "centroids")
    code, shown, err = attar("push", chosen, "you/photos", "--dry-run")
    assert (
        code == 2
        and shown == ""
        and "chosen.attar holds photos, or images made from single ones (method centroids).\nGive --incl" in err
    )
    code, _, err = attar("push", make(tmp_path / "made.attar"), "photos")
    assert code == 2 and err.startswith("attar: 'photos' is no name of a dataset on the hub.\nWrite OWNER/NAME")
    assert hub.asked == []


def test_a_public_dataset_and_an_edited_card_are_told(hub, tmp_path, attar):
    made = make(tmp_path / "made.attar")
    attar("push", made, "you/photos")
    code, shown, err = attar("push", made, "you/photos", "--private")
    assert (
        code == 2 and shown == "" and "you/photos is there already, and it is public" in err and len(hub.messages) == 1
    )
    hub.put("you/photos", hub.at("you/photos")[1] | {"README.md": b"mine"})
    code, shown, err = attar("push", made, "you/photos")
    assert code == 0 and shown == f"{hub.url}/datasets/you/photos\n"
    assert "The card of you/photos was edited on the hub and stays" in err


def test_a_set_on_the_hub_is_evaluated_by_its_name(hub, tmp_path, attar, test_images):
    made = make(tmp_path / "made.attar")
    attar("push", made, "you/photos")
    words = ["--test", test_images, "--backbone", "py:small:network", "--json"]
    rows = [json.loads(attar("evaluate", place, *words)[1])["rows"][0] for place in ("hf:you/photos", made)]
    assert rows[0]["accuracy"] == rows[1]["accuracy"]
    assert f"photos@{hub.at('you/photos')[0][:12]}" in rows[0]["set"]


def test_what_is_written_about_a_set_on_the_hub_lies_here_and_never_in_the_copy(
    hub, tmp_path, attar, test_images, monkeypatch
):
    made = make(tmp_path / "made.attar")
    attar("push", made, "you/photos")
    monkeypatch.chdir(tmp_path)
    code, _, err = attar("audit", "hf:you/photos", "--train", test_images)
    assert code == 0, err
    assert f"photos@{hub.at('you/photos')[0][:12]}.audit" in err
    assert [path.suffix for path in sorted(tmp_path.glob("photos@*.audit/*"))] == [".json", ".png"]
    code, _, err = attar("inherit", "hf:you/photos", "--train", test_images, "--backbone", "py:small:network")
    assert code == 2 and "hf:you/photos lies on the hub, and a classifier is written into the set" in err
    assert "cp -r " in err
