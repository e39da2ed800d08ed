"""Every kind of source keeps the contract, and the same images in any of them have one fingerprint."""

from __future__ import annotations

import csv
import io
import tarfile

import pytest

from attar.images import FolderSource, HubSource, ShardSource, TableSource, open
from attar.testing import check_source


def as_folder(folder, place):
    return folder


def as_shards(folder, place):
    files = sorted(folder.rglob("*.png"))
    for number, part in enumerate((files[:2], files[2:])):
        with tarfile.open(place / f"pets-{number}.tar", "w") as out:
            for file in part:
                out.add(file, f"{file.parent.name}/{file.name}")
                info = tarfile.TarInfo(f"{file.parent.name}/{file.stem}.cls")
                info.size = len(file.parent.name)
                out.addfile(info, io.BytesIO(file.parent.name.encode()))
    return place / "pets-{0..1}.tar"


def as_table(folder, place):
    flat = place / "flat"
    flat.mkdir()
    with (flat / "labels.csv").open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("file_name", "label"))
        for file in folder.rglob("*.png"):
            (flat / file.name).write_bytes(file.read_bytes())
            rows.writerow((file.name, file.parent.name))
    return flat


def as_hub(folder, place):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    files = sorted(folder.rglob("*.png"))
    names = sorted({file.parent.name for file in files})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    columns = {"image": [str(file) for file in files], "label": [names.index(file.parent.name) for file in files]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(place / "hub")
    return f"hf:{place / 'hub'}"


FORMS = {as_folder: FolderSource, as_shards: ShardSource, as_table: TableSource, as_hub: HubSource}


@pytest.mark.parametrize("form", FORMS)
def test_every_source_keeps_the_contract(form, pets, tmp_path):
    spec = form(pets[0], tmp_path)
    assert isinstance(open(spec), FORMS[form])
    check_source(lambda: open(spec))


def test_parts_of_sources_keep_the_contract(pets, tmp_path):
    (pets[0] / "groups.csv").write_text("file,group\n" + "".join(f"000{n}.png,{n % 2}\n" for n in range(5)))
    shards = as_shards(pets[0], tmp_path)
    check_source(lambda: open(pets[0], classes=["dogs", "cats"], limit=2, groups="groups.csv"))
    check_source(lambda: open(f"{pets[0]}+{shards}", limit=3))


def test_the_same_images_have_one_fingerprint_whatever_holds_them(pets, tmp_path):
    sources = [open(form(pets[0], tmp_path)) for form in FORMS]
    assert len({source.fingerprint for source in sources}) == 1
    examined = [open(form(pets[0], tmp_path)) for form in (as_folder, as_shards)]
    for source in examined:
        list(source.read(range(5), 5, examine=True))
    assert {source.fingerprint for source in examined} == {sources[0].fingerprint}
