"""Which of a model's classes a class of images is: by WordNet id, by name, or by a map that the user gives.

The 1000 ImageNet classes and their names are timm's table: index = rank of the WordNet id (diver.md 9).
"""

from __future__ import annotations

import csv
import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from attar.errors import SettingsError, nearest

_FEW = 20  # classes that are listed where one is not among them
_LAYOUTS = 'Give JSON {"folder": index, WordNet id or name}, or lines folder,index.'

LabelMap = Mapping[str, int | str]


@dataclass(frozen=True)
class Labels:
    """The classes that a model knows: all names of each, the first one first, and WordNet ids where it has them."""

    names: tuple[tuple[str, ...], ...]
    wnids: tuple[str, ...] = ()

    @cached_property
    def _known(self) -> dict[str, set[int]]:
        """Normalised names, and all of a class's names as one text, to the classes called so."""
        known: dict[str, set[int]] = {}
        for index, names in enumerate(self.names):
            for name in (*names, ", ".join(names)):
                known.setdefault(_normalised(name), set()).add(index)
        return known

    def index(self, *names: str) -> int:
        """The class that one of `names` means, the first of them first.

        A name is a WordNet id, all names of a class as one text, or any one of them that no other class has. Case
        doesn't count, `_` and `-` count as spaces. Raises SettingsError where no class is called so (naming the last
        of `names`), and where several are.
        """
        found = {name: self._find(name) for name in names}
        for classes in found.values():
            if len(classes) == 1:
                return classes[0]
        for name, classes in found.items():
            if classes:
                raise self._ambiguous(name, classes)
        raise self._unknown(names[-1])

    def indices(self, classes: Sequence[str], titles: Sequence[str], label_map: LabelMap | None = None) -> list[int]:
        """The index of each class, by what `label_map` says of it, else by its folder's name, else by its title.

        Raises SettingsError as `index`, `at` and `check_map`.
        """
        label_map = label_map or {}
        check_map(label_map, classes)
        return [
            self.at(label_map[name]) if name in label_map else self.index(name, title)
            for name, title in zip(classes, titles, strict=True)
        ]

    def _find(self, name: str) -> list[int]:
        if name in self.wnids:
            return [self.wnids.index(name)]
        return sorted(self._known.get(_normalised(name), ()))

    def _ambiguous(self, name: str, found: list[int]) -> SettingsError:
        kind, way = ("ImageNet class", "WordNet id or an index map") if self.wnids else ("class", "index map")
        listed = ", ".join(map(str, found))
        return SettingsError(f'label "{name}" names more than one {kind} ({listed})', f"Give the {way}.")

    def _unknown(self, name: str) -> SettingsError:
        kind = "ImageNet classes" if self.wnids else "classes"
        if len(self.names) <= _FEW:
            hint = f"It knows {', '.join(names[0] for names in self.names)}."
        else:
            spelt = {_normalised(name): name for names in self.names for name in names}
            closest = difflib.get_close_matches(_normalised(name), spelt, n=3, cutoff=0.0)
            hint = f"Closest: {', '.join(spelt[each] for each in closest)}."
        message = f'label "{name}" is not one of the {len(self.names)} {kind} this model knows'
        return SettingsError(message, f"{hint} A --label-map FILE says which is meant.")

    def at(self, value: int | str) -> int:
        """What a label map says: an index, or a name of a class; SettingsError for any that there isn't."""
        if isinstance(value, str):
            return self.index(value)
        if not 0 <= value < len(self.names):
            raise SettingsError(f"the label map says {value}, and the model knows 0..{len(self.names) - 1}", _LAYOUTS)
        return value


@functools.cache
def imagenet() -> Labels:
    """The 1000 ImageNet classes in the order that models number them."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    described = [info.index_to_description(index) for index in range(info.num_classes())]
    return Labels(tuple(_listed(text) for text in described), tuple(info.label_names()))


def is_imagenet(known: Labels) -> bool:
    """Whether classes are ImageNet's 1000 in its order: the first name of most is one that ImageNet has for it."""
    table = imagenet().names
    pairs = zip(known.names, table, strict=False)
    same = sum(_normalised(own[0]) in map(_normalised, names) for own, names in pairs if own)
    return len(known.names) == len(table) and same > len(table) / 2


def imagenet_index(name: str) -> int:
    """Position of a class of ImageNet among its 1000, by WordNet id or name; SettingsError as in `Labels.index`.

    >>> imagenet_index("n02088364"), imagenet_index("Beagle"), imagenet_index("golden_retriever")
    (162, 162, 207)
    """
    return imagenet().index(name)


def names_of(name: str) -> tuple[str, ...]:
    """All names of the ImageNet class that a folder, WordNet id or title means, the first one first.

    What is no such class, or could be several, keeps its own name, with `_` read as a space.

    >>> names_of("n02123045"), names_of("my_cat")
    (('tabby', 'tabby cat'), ('my cat',))
    """
    try:
        return imagenet().names[imagenet_index(name)]
    except SettingsError:
        return (name.replace("_", " "),)


def own_labels(listed: object) -> Labels:
    """The classes of an `id2label`, {"0": "name, other name", ...}; ValueError for gaps and for what isn't so."""
    if not isinstance(listed, Mapping) or not all(isinstance(names, str) for names in listed.values()):
        raise ValueError('it isn\'t {"0": "name, other name", ...}')
    numbers = sorted(listed, key=int)
    if [int(number) for number in numbers] != list(range(len(numbers))):
        raise ValueError("its classes aren't numbered 0, 1, 2, ...")
    return Labels(tuple(_listed(listed[number]) for number in numbers))


def read_label_map(file: Path) -> dict[str, int | str]:
    """Folder to index, WordNet id or name, from JSON or from lines folder,index; SettingsError for anything else."""
    try:
        text = file.read_text("utf-8-sig")
        content = json.loads(text) if file.suffix.lower() == ".json" else dict(_lines(text))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        what = "it isn't JSON" if isinstance(error, json.JSONDecodeError) else error
        raise SettingsError(f"can't read the label map {file}: {what}", _LAYOUTS) from error
    if not isinstance(content, dict) or not all(type(value) in (int, str) for value in content.values()):
        raise SettingsError(f"{file} has none of the layouts of a label map", _LAYOUTS)
    return content


def check_map(label_map: LabelMap, classes: Sequence[str]) -> None:
    """SettingsError where a label map tells of what is no class: a misspelt line of it would do nothing."""
    unknown = next((name for name in label_map if name not in classes), None)
    if unknown is not None:
        raise SettingsError(f"the label map names {unknown!r}, which is no class of the set", nearest(unknown, classes))


def _lines(text: str) -> list[tuple[str, int | str]]:
    rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    short = next((row for row in rows if len(row) != 2), None)
    if short is not None:
        raise ValueError(f"{','.join(short)!r} isn't folder,index")
    return [(folder.strip(), int(value) if value.strip().isdigit() else value.strip()) for folder, value in rows]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _normalised(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
