"""The tiny backbone of the training tests, and its task."""

from tests.spot.training.conftest import backbone, backbone_folder, recipe, task

__all__ = ["backbone", "backbone_folder", "recipe", "task"]
