"""The tiny backbone of the training tests."""

from tests.spot.training.conftest import backbone, backbone_folder

__all__ = ["backbone", "backbone_folder"]
