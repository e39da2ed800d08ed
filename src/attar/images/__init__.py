"""Labelled images from folders, tar shards, Hugging Face datasets, arrays and more, read as upright 8-bit RGB."""

from attar.images.arrays import ArraySource
from attar.images.decode import decode
from attar.images.digits import DigitsSource
from attar.images.folder import FolderSource
from attar.images.hub import HubSource
from attar.images.joined import JoinedSource
from attar.images.shards import ShardSource
from attar.images.source import ImageSource
from attar.images.specs import open
from attar.images.split import split
from attar.images.table import TableSource
from attar.images.torchset import DatasetSource

__all__ = [
    "ArraySource",
    "DatasetSource",
    "DigitsSource",
    "FolderSource",
    "HubSource",
    "ImageSource",
    "JoinedSource",
    "ShardSource",
    "TableSource",
    "decode",
    "open",
    "split",
]
