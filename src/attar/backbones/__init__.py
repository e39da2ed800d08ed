"""Frozen networks with their preprocessing: `backbone("timm:vit_tiny_patch16_224")` gives features of images."""

from attar.backbones.catalogue import Entry, list_backbones
from attar.backbones.contrastive import train_encoder
from attar.backbones.load import backbone
from attar.backbones.record import Backbone

__all__ = ["Backbone", "Entry", "backbone", "list_backbones", "train_encoder"]
