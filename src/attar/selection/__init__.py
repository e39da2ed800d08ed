"""Real images chosen to stand for their class (baselines.md 2): pure functions of labels and features."""

from attar.selection.choose import centroid_images, kmeans_images, random_images

__all__ = ["centroid_images", "kmeans_images", "random_images"]
