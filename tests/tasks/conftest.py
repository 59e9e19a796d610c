"""Properties are checked without a time limit for one example, since the machine may be busy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

from tasks import written

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


class Synonyms:
    """A WordNet that knows the words of one set of synonyms, or none."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def synsets(self, word: str) -> list[Synonyms]:
        return [self] if word in self.words else []

    def lemmas(self) -> list[Lemma]:
        return [Lemma(word) for word in self.words]


class Lemma(NamedTuple):
    """A word of a set of synonyms."""

    word: str

    def name(self) -> str:
        return self.word


@pytest.fixture(autouse=True)
def no_synonyms(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR knows no synonyms, whatever NLTK finds on a machine."""
    monkeypatch.setattr(written, "synonyms", Synonyms)


@pytest.fixture(scope="session")
def local_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that stands for the hub: ``datasets.load_dataset`` finds every repository there, and no other."""
    datasets = pytest.importorskip("datasets")
    from tests.tasks.published import folder_of, published, write_hub

    hub = tmp_path_factory.mktemp("hub")
    write_hub(hub, published())
    load = datasets.load_dataset

    def load_dataset(path: str, *args: Any, **options: Any) -> Any:
        return load(str(folder_of(hub, path)), *args, cache_dir=str(hub / "cache"), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setattr(datasets, "load_dataset", load_dataset)
        yield hub
