"""Distilled sets on the Hugging Face hub: `push` puts one there as a dataset, `fetch` brings one here.

What travels are the files that attar.json lists, both ways. A fetched set lies in attar's cache, one folder a commit,
and is checked against its checksums before it appears there.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from attar.distilled.artefact import ON_THE_HUB, DistilledSet, inside, load, open_manifest
from attar.distilled.hub_client import KIND, client
from attar.distilled.manifest import IMPORTED, MADE_ELSEWHERE, sealed
from attar.errors import ArtefactError
from attar.files import cache_folder, make_folder, replace_folder, sha256, sweep, temporary_folder, write_text
from attar.progress import SILENT, Progress

if TYPE_CHECKING:
    from huggingface_hub import HfApi


_CARD = "README.md"
_OURS = ("images/", "heads/", "labels/", "provenance/")
_DIGITS = 12  # of a commit, in the name of its folder
_COMMIT = re.compile(rf"[0-9a-f]{{{_DIGITS},40}}")
_LARGEST = 10**9  # bytes of a set that is fetched unasked
_LARGEST_RECORD = 2**26  # bytes of attar.json
_LONGEST_NAME = 96  # characters that the hub allows
_AT_ONCE = 8  # files


def push(
    distilled: DistilledSet | str | Path,
    name: str,
    *,
    private: bool = False,
    include_real: bool = False,
    message: str = "",
    token: str | None = None,
    progress: Progress = SILENT,
) -> str:
    """Put a distilled set on the Hugging Face hub as the dataset `name` ("you/photos"), and return its address.

    The files of `travelling` go up, in one commit whose text is `message`; images, heads and the like of an earlier set
    under that name go. A card that its owner edited on the hub stays, and `progress` is told. `private` makes a new
    dataset private; one that is there stays what it is. `token` is for programs that keep their own; else it is
    huggingface_hub's: of its login, or HF_TOKEN.

    Raises ArtefactError for a set that isn't as it was written or may hold photos (`include_real` lets them through),
    for a name that isn't OWNER/NAME, is another dataset's, or with `private` a public one's, without a login, and for
    all that the hub refuses.

    >>> import attar
    >>> attar.push("photos.attar", "you/photos", private=True)  # doctest: +SKIP
    'https://huggingface.co/datasets/you/photos'
    """
    opened = distilled if isinstance(distilled, DistilledSet) else load(distilled)
    check_name(name)
    names = travelling(opened, include_real=include_real)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    with client(name, token, must_login=True) as api:
        there = _files_there(api, name, private=private)
        if there - {".gitattributes"} and "attar.json" not in there:
            raise ArtefactError(f"{name} is a dataset that attar didn't make", "Give a name that is new.")
        old = sorted(file for file in there - names.keys() if file.startswith(_OURS))
        kept = {_CARD} if {_CARD, "attar.json"} <= there and _card_is_edited(api, name) else set()
        if kept:
            progress.note(f"The card of {name} was edited on the hub and stays; the new one is {opened.path / _CARD}.")
        added = [CommitOperationAdd(file, str(inside(opened.path, file))) for file in names if file not in kept]
        deleted = [CommitOperationDelete(file, is_folder=False) for file in old]
        about = f"{opened.manifest.method}: {len(opened)} images of {len(opened.classes)} classes"
        api.create_commit(name, [*deleted, *added], commit_message=message or about, repo_type=KIND)
        return f"{api.endpoint}/datasets/{name}"


def _files_there(api: HfApi, name: str, *, private: bool) -> set[str]:
    """The files of the dataset `name`, which is made where there is none; a public one is refused where `private`."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.dataset_info(name)
    except RepositoryNotFoundError:
        api.create_repo(name, repo_type=KIND, private=private)
        return set()
    if private and not found.private:
        raise ArtefactError(
            f"{name} is there already, and it is public",
            "Make it private on the hub first, give a new name, or leave --private out.",
        )
    return {sibling.rfilename for sibling in found.siblings or ()}


def _card_is_edited(api: HfApi, name: str) -> bool:
    """Whether the card on the hub isn't the one that came with its attar.json, which has its checksum."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _get(api, name, "main", ["attar.json", _CARD], folder)
        return sha256(folder / _CARD).encode() not in (folder / "attar.json").read_bytes()


def travelling(distilled: DistilledSet, *, include_real: bool = False) -> dict[str, int]:
    """Bytes of each file that `push` uploads: those that attar.json lists, and itself.

    ArtefactError where the set isn't as it was written, and without `include_real` where it may hold photos.
    """
    distilled.verify()
    if not include_real and distilled.of_photos:
        method = distilled.manifest.method
        message = f"{distilled.path} holds photos, or images made from single ones (method {method})"
        hint = "Give --include-real (include_real=True) where you may publish them."
        if method not in MADE_ELSEWHERE and not distilled.manifest.train_images:
            said = "nobody said what made it" if method in (IMPORTED, "") else f"{method!r} isn't known to make images"
            message = f"{distilled.path} may hold photos: it was imported, and {said}"
            known = f"NAME one of {', '.join(MADE_ELSEWHERE)}"
            hint += f" Where they aren't photos, import it again with --method NAME --restart, {known}."
        raise ArtefactError(message, hint)
    names = sorted([*distilled.manifest.files, "attar.json"])
    return {name: inside(distilled.path, name).stat().st_size for name in names}


def check_name(name: str) -> None:
    """ArtefactError where `name` isn't OWNER/NAME as the hub allows it."""
    form = r"[A-Za-z0-9]([\w.-]*\w)?/[A-Za-z0-9]([\w.-]*\w)?"
    unfit = ".." in name or "--" in name or name.endswith(".git") or len(name) > _LONGEST_NAME
    if unfit or not re.fullmatch(form, name, re.ASCII):
        message = f"{name!r} is no name of a dataset on the hub"
        if name.startswith(ON_THE_HUB):
            raise ArtefactError(message, f"Leave {ON_THE_HUB} out: {name.removeprefix(ON_THE_HUB)}.")
        raise ArtefactError(message, "Write OWNER/NAME, of letters, digits, -, _ and ., for example you/photos.")


def fetch(address: str) -> Path:
    """The folder of the set at "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION", fetched where it isn't here.

    Without a revision it is the copy that is here, whatever the hub has by now, or else the newest; a commit is taken
    from here where it can be; other revisions (main, a tag) are asked for each time. The folder's name says which
    commit it is: NAME@ and its first 12 digits. ArtefactError for names that aren't so, for what can't be fetched, is
    no distilled set, is larger than 1 GB, or isn't as it was written.
    """
    name, _, revision = address.removeprefix(ON_THE_HUB).partition("@")
    check_name(name)
    owner, _, title = name.partition("/")
    store = cache_folder() / "sets" / owner
    newest = store / f"{title}@newest"
    wanted = newest.read_text() if not revision and newest.is_file() else revision
    place = store / f"{title}@{wanted[:_DIGITS]}"
    if _COMMIT.fullmatch(wanted) and place.is_dir():
        return place
    with client(name, revision=revision) as api:
        found = api.dataset_info(name, revision=revision or None, files_metadata=True, timeout=30)
        commit = str(found.sha)
        if not _COMMIT.fullmatch(commit):
            raise ArtefactError(f"the hub calls the commit of {name} {commit[:60]!r}", "Try again later.")
        place = store / f"{title}@{commit[:_DIGITS]}"
        sizes = {each.rfilename: each.size for each in found.siblings or () if each.size is not None}
        if not place.is_dir():
            _download(api, name, commit, sizes, place)
    if revision in ("", "main"):
        write_text(newest, commit)
    return place


def _download(api: HfApi, name: str, commit: str, sizes: Mapping[str, int], place: Path) -> None:
    """Put a commit's set at `place`, where it appears when it is complete and checked."""
    if "attar.json" not in sizes or sizes["attar.json"] > _LARGEST_RECORD:
        raise ArtefactError(f"{name} is no distilled set: it has no attar.json that is one", "Check the name.")
    temporary = temporary_folder(place)
    make_folder(temporary)
    sweep(place.parent, place.name)
    try:
        _get(api, name, commit, ["attar.json"], temporary)
        listed = open_manifest(temporary).manifest.files
        for file in listed:
            inside(temporary, file)
        _check_sizes(name, listed, sizes)
        _get(api, name, commit, listed, temporary)
        shutil.rmtree(temporary / ".cache", ignore_errors=True)  # the client's notes
        _accept_card(temporary)
        open_manifest(temporary).verify()
        replace_folder(temporary, place)
    except ArtefactError as error:
        if str(temporary) not in error.message:
            raise
        message = error.message.replace(str(temporary), f"{ON_THE_HUB}{name}@{commit[:_DIGITS]}")
        raise ArtefactError(message, "Ask its owner to push it again.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_sizes(name: str, listed: Iterable[str], sizes: Mapping[str, int]) -> None:
    folders = {str(parent) for file in sizes for parent in PurePosixPath(file).parents}
    if clash := sorted(folders.intersection(listed)):
        message = f"{clash[0]} of {name} is a folder, and its attar.json lists it as a file"
        raise ArtefactError(message, "Ask its owner to push it again.")
    missing = sorted(set(listed) - sizes.keys())
    if missing:
        raise ArtefactError(f"{name} lacks {missing[0]}, which its attar.json lists", "Ask its owner to push it again.")
    total = sum(sizes[file] for file in listed)
    if total > _LARGEST:
        message = f"{name} is a download of {total / 1e9:.1f} GB"
        raise ArtefactError(message, "Fetch it by huggingface_hub's snapshot_download, and give its folder.")


def _get(api: HfApi, name: str, commit: str, files: Iterable[str], folder: Path) -> None:
    def one(file: str) -> None:
        api.hf_hub_download(name, file, repo_type=KIND, revision=commit, local_dir=folder)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in pool.map(one, files):
            del done


def _accept_card(folder: Path) -> None:
    """Record the card as it is: owners edit it on the hub, where its licence and its history are theirs to write."""
    manifest, card = open_manifest(folder).manifest, folder / _CARD
    if _CARD in manifest.files and manifest.files[_CARD] != sha256(card):
        files = manifest.files | {_CARD: sha256(card)}
        write_text(folder / "attar.json", sealed(manifest.model_copy(update={"files": files})))
