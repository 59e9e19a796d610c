"""``spot tasks`` and ``spot init-task``: what can be learned, and a task of one's own."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import registry
from tests.spot.training.conftest import write_task

Spot = Callable[..., Any]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Data for the task file that ``init-task`` writes."""
    rows = [f'"film number {i} was {("bad", "good")[i % 2]}",{i % 2}' for i in range(80)]
    path = tmp_path / "reviews_train.csv"
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return path


def test_tasks_are_listed(spot: Spot) -> None:
    rows = spot("tasks", "--json").document
    assert {row["task"] for row in rows} == set(registry())
    table = spot("tasks")
    assert (table.code, table.err) == (0, "")
    assert all(row["task"] in table.out for row in rows)


def test_tasks_of_one_family_are_listed(spot: Spot) -> None:
    family = next(iter(registry().values())).family
    rows = spot("tasks", "--family", family, "--json").document
    assert rows and {row["family"] for row in rows} == {family}
    assert spot("tasks", "--family", "unheard", "--json").document == []
    assert spot("tasks", "--family", "unheard").out == "no task of family 'unheard'\n"


def test_brackets_in_a_family_are_shown_as_they_are(spot: Spot) -> None:
    answer = spot("tasks", "--family", "[/odd]")
    assert (answer.code, answer.out) == (0, "no task of family '[/odd]'\n")


def test_a_task_that_comes_with_the_package_is_shown(spot: Spot) -> None:
    name = next(name for name in registry() if name.startswith("wn_"))
    shown = spot("tasks", name, "--json").document
    assert shown["task"] == name
    assert all(size > 0 for size in shown["sizes"].values())
    assert len(shown["examples"]) == 3
    plain = spot("tasks", name)
    assert plain.code == 0
    assert shown["examples"][0]["inputs"] in plain.out


def test_a_new_task_file_is_read_once_its_data_exists(
    spot: Spot, tmp_path: Path, reviews: Path
) -> None:
    answer = spot("init-task", "reviews.toml")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "wrote reviews.toml; edit it, then: spot tasks reviews.toml\n"
    shown = spot("tasks", "reviews.toml", "--json").document
    assert shown["task"] == "reviews"
    assert sum(shown["sizes"].values()) == 80
    assert {example["target"] for example in shown["examples"]} <= {"bad", "good"}
    assert all(example["inputs"].startswith("review: film number") for example in shown["examples"])


def test_a_new_task_file_fits_the_data_that_is_named(
    spot: Spot, tmp_path: Path, reviews: Path
) -> None:
    (tmp_path / "mine").mkdir()
    answer = spot("init-task", "mine/films.toml", "--train", "reviews_train.csv")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "wrote mine/films.toml: reads text, writes one of 2 labels of label",
        "labels that are numbers say nothing to a model: give them words under [labels]",
        "look at it, then: spot tasks mine/films.toml",
    ]
    shown = spot("tasks", "mine/films.toml", "--json").document
    assert sum(shown["sizes"].values()) == 80
    assert {example["target"] for example in shown["examples"]} <= {"0", "1"}
    assert all(example["inputs"].startswith("text: film number") for example in shown["examples"])
    (tmp_path / "more.csv").write_text("text,label\na film,2\n")
    ask = ("--train", "reviews_train.csv", "--test", "more.csv")
    more = spot("init-task", "more.toml", *ask)
    assert spot("init-task", "again.toml", *ask, "--json").document == {
        "path": "again.toml", "texts": ["text"], "label": "label", "labels": {"0": "0", "1": "1", "2": "2"},
        "several": False, "lacking": [], "untrained": ["2"],
    }  # fmt: skip
    assert more.out.splitlines()[:2] == [
        "wrote more.toml: reads text, writes one of 3 labels of label",
        "in no training row, so that they cannot be learnt: '2'",
    ]
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "deep")
    assert spot("init-task", "link/films.toml", "--train", "reviews_train.csv").code == 0
    assert spot("tasks", "link/films.toml").code == 0
    lost = spot("init-task", "other.toml", "--label", "label").error
    assert lost.startswith("--dev, --test, --label and --encoding go with --train")
    assert "no such file" in spot("init-task", "other.toml", "--train", "none.csv").error
    assert not (tmp_path / "other.toml").exists()


def test_rows_that_are_left_out_are_counted_and_shown(
    spot: Spot, tmp_path: Path, reviews: Path
) -> None:
    spot("init-task", "reviews.toml")
    data = tmp_path / "reviews_train.csv"
    data.write_text(
        data.read_text(encoding="utf-8").rstrip() + "\nnobody knows,-1\nnor here,-\n",
        encoding="utf-8",
    )
    assert "unknown label '-'" in spot("tasks", "reviews.toml").error
    path = tmp_path / "reviews.toml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("# skip =", "skip ="), encoding="utf-8"
    )
    shown = spot("tasks", "reviews.toml", "--json").document
    assert shown["skipped rows"] == {"train": {"no label (-1)": 1, "no label (-)": 1}}
    assert sum(shown["sizes"].values()) == 80
    assert "skipped rows" in spot("tasks", "reviews.toml").out


def test_a_task_file_without_its_data_says_which_file_is_missing(spot: Spot) -> None:
    spot("init-task", "reviews.toml")
    assert "reviews_train.csv: no such file" in spot("tasks", "reviews.toml").error


def test_init_task_does_not_overwrite(spot: Spot, tmp_path: Path) -> None:
    path = tmp_path / "reviews.toml"
    path.write_text("mine")
    assert (
        "reviews.toml: exists already; choose another name, or give --force"
        in spot("init-task", "reviews.toml").error
    )
    assert path.read_text() == "mine"
    assert spot("init-task", "reviews.toml", "--force").code == 0
    assert path.read_text() != "mine"


@pytest.mark.parametrize("name", ["film {reviews}", 'film "reviews"', "käse"])
def test_odd_names_give_task_files_that_can_be_read(spot: Spot, tmp_path: Path, name: str) -> None:
    assert spot("init-task", f"{name}.toml").code == 0
    content = tomllib.loads((tmp_path / f"{name}.toml").read_text(encoding="utf-8"))
    assert content["name"] == name


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('label = "label"', 'label = "stars"', "stars"),
        (
            'metrics = ["accuracy"]',
            'metrics = ["prettiness"]',
            "metric 'prettiness' is not known; choose from accuracy",
        ),
        ("[format]", "[fromat]", "key 'fromat' is not known; did you mean 'format'"),
        ('"1" = "good"', '"2" = "good"', "1"),
        ("[data]", "[data", "not TOML"),
    ],
)
def test_a_wrong_task_file_is_one_line(
    spot: Spot, tmp_path: Path, reviews: Path, before: str, after: str, complaint: str
) -> None:
    spot("init-task", "reviews.toml")
    path = tmp_path / "reviews.toml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    assert complaint in spot("tasks", "reviews.toml").error


@pytest.mark.parametrize(
    "command", [("train-source", "one/mine.toml", "two/mine.toml"), ("transfer", "one/mine.toml", "--method",
                "mixture", "--source-file", "two/mine.toml")],
)  # fmt: skip
def test_two_files_of_one_name_in_one_command_are_refused(
    spot: Spot, tmp_path: Path, command: tuple[str, ...]
) -> None:
    for folder in ("one", "two"):
        write_task(tmp_path / folder, "mine", seed=int(folder == "two"))
    assert (
        "two different tasks are called 'mine': one/mine.toml and two/mine.toml"
        in spot(*command).error
    )
    assert not (tmp_path / "bank.sqlite").exists()
