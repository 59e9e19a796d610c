"""Data sets of the hub as they are published, with rows of the project's own, as local Parquet in the hub's layout.

Every module here has ``PUBLISHED: dict[tuple[str, str], Published]`` of repositories and configurations, empty where
the task's :class:`tasks.sources.Hub` names none. Features are those of the real data sets: columns, their types, and
the names of classes in order. A part that is cut in two has sixty rows and more, drawn as ``tests.official`` does.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

datasets = pytest.importorskip("datasets")

Row = Mapping[str, Any]
Name = tuple[str, str]
"""Repository and configuration."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """One configuration of a repository.

    Attributes:
        features: column to ``datasets`` feature.
        parts: the hub's name of each split to at least three rows, class labels as numbers.
        converted: it lies as on the hub's branch ``refs/convert/parquet``: a folder each configuration and split, and
            no card.
    """

    features: Mapping[str, Any]
    parts: Mapping[str, Sequence[Row]]
    converted: bool = False


def numbered(row: Callable[[int], Row], **sizes: int) -> dict[str, list[Row]]:
    """Parts of these sizes, of rows that are numbered on from part to part."""
    numbers = itertools.count()
    return {part: [row(next(numbers)) for _ in range(size)] for part, size in sizes.items()}


def published() -> dict[Name, Published]:
    """Every data set of every module here.

    Raises:
        ValueError: one that two modules describe differently.
    """
    found: dict[Name, Published] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        for name, data in importlib.import_module(module.name).PUBLISHED.items():
            if found.setdefault(name, data) != data:
                raise ValueError(f"{module.name}: {name} is described elsewhere in another way")
    return found


def folder_of(hub: Path, path: str) -> Path:
    """Where the repository lies under the folder that stands for the hub."""
    return hub / path.replace("/", "--")


def write_hub(hub: Path, content: Mapping[Name, Published]) -> None:
    """Writes repositories: a card whose head names configurations, splits, files and features, and Parquet files."""
    for repository in dict.fromkeys(path for path, _ in content):
        configs = {config: data for (path, config), data in content.items() if path == repository}
        folder = folder_of(hub, repository)
        for config, data in configs.items():
            _write_files(folder, config, data)
        if not any(data.converted for data in configs.values()):
            _write_card(folder, configs)


def _place(config: str, data: Published, part: str) -> str:
    """Where a part lies in its repository, without an ending."""
    if data.converted:
        return f"{config or 'default'}/{part}/0000"
    return f"{config or 'data'}/{part}-00000-of-00001"


def _write_files(folder: Path, config: str, data: Published) -> None:
    features = datasets.Features(data.features)
    for part, rows in data.parts.items():
        table = datasets.Dataset.from_list([dict(row) for row in rows], features=features)
        path = folder / f"{_place(config, data, part)}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(path)


def _write_card(folder: Path, configs: Mapping[str, Published]) -> None:
    from datasets.info import DatasetInfo, DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard, DatasetCardData

    infos, files = DatasetInfosDict(), MetadataConfigs()
    for config, data in configs.items():
        name = config or "default"
        infos[name] = DatasetInfo(config_name=name, features=datasets.Features(data.features))
        files[name] = {
            "data_files": [
                {"split": part, "path": f"{_place(config, data, part)}.parquet"}
                for part in data.parts
            ]
        }
    card = DatasetCardData()
    infos.to_dataset_card_data(card)
    files.to_dataset_card_data(card)
    DatasetCard(f"---\n{card}\n---\n").save(folder / "README.md")
