"""The small world of the transfer tests: a random backbone, sources, and targets."""

from tests.spot.transfer.conftest import (
    backbone,
    backbone_folder,
    filled_bank,
    recipe,
    tasks,
    world,
)

__all__ = ["backbone", "backbone_folder", "filled_bank", "recipe", "tasks", "world"]
