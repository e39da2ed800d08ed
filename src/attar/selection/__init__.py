"""Real images that stand for their class (baselines.md 2, 3, 7): pure functions, and `select`, which writes a set."""

from attar.selection.choose import centroid_images, kmeans_images, random_images
from attar.selection.coresets import herding_images, kcenter_images
from attar.selection.crops import rded_images
from attar.selection.methods import DRAWN, LIKE_A_SET, SELECTIONS
from attar.selection.neighbours import neighbour_images
from attar.selection.rivals import JpegFiles, jpeg_files, jpeg_images, noise_images
from attar.selection.sets import select

__all__ = [
    "DRAWN",
    "LIKE_A_SET",
    "SELECTIONS",
    "JpegFiles",
    "centroid_images",
    "herding_images",
    "jpeg_files",
    "jpeg_images",
    "kcenter_images",
    "kmeans_images",
    "neighbour_images",
    "noise_images",
    "random_images",
    "rded_images",
    "select",
]
