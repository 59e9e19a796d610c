"""The page of tasks, and that what it says of inputs is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks import get_task, registry
from tasks.catalogue import catalogue
from tasks.facts import FACTS
from tasks.task import Split

ROOT = Path(__file__).parents[2]

PUBLISHED = [name for name in registry() if not name.startswith("wn_")]


def test_the_page_is_what_the_definitions_say() -> None:
    assert (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8") == catalogue()


def test_facts_are_of_every_task_whose_files_do_not_come_with_the_package() -> None:
    assert set(FACTS) == set(PUBLISHED)
    for name, facts in FACTS.items():
        parts = {part.name for part in get_task(name).splits.values()}
        assert set(facts.rows) <= parts, name


def of_form(inputs: str, form: str) -> bool:
    """Whether an input has a form, in which ``…`` stands for any text."""
    pattern = ".+".join(re.escape(piece) for piece in form.split("…"))
    return re.fullmatch(pattern, inputs, re.DOTALL) is not None


@pytest.mark.parametrize("name", [name for name in PUBLISHED if get_task(name).source.hub])
def test_inputs_from_the_hub_have_the_form_of_the_page(name: str, local_hub: Path) -> None:
    for example in get_task(name).examples(Split.TEST):
        assert of_form(example.inputs, FACTS[name].inputs), example.inputs


@pytest.mark.parametrize("name", [name for name in PUBLISHED if not get_task(name).source.hub])
def test_inputs_from_files_have_the_form_of_the_page(name: str, official_files: Path) -> None:
    for example in get_task(name).examples(Split.TEST, data_dir=official_files):
        assert of_form(example.inputs, FACTS[name].inputs), example.inputs


def test_the_page_says_where_data_comes_from_and_what_may_change() -> None:
    page = catalogue()
    for name in registry():
        assert f"\n### {name}\n" in page
    section = page.split("\n### mnli\n")[1].split("\n### ")[0]
    assert "train is 90% of `train` (392,702 rows)" in section
    assert "test is `dev` (9,815 rows)" in section
    assert (
        "commit `bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c`, parts train, validation_matched"
        in section
    )
    e2e = page.split("\n### e2e\n")[1]
    assert "branch `refs/convert/parquet`" in e2e.split("\n### ")[0]
