"""Mixtures of tasks, and the rows that an epoch of one holds."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import Mixture, TaskError, get_learnable, get_task
from tasks.mixture import CAP, MIXTURES
from tasks.pipeline import Batches
from tasks.registry import check_distinct
from tasks.tokenized import Ragged, Tokenized, concatenate


def tokens(lengths: list[int], first: int) -> Tokenized:
    """Row i holds the number ``first + i``, with a choice of its own and one that all share."""
    rows = [[first + i] * length for i, length in enumerate(lengths)]
    choices = [[7], *[[1000 + first + i] for i in range(len(rows))]]
    picked = [[0, i + 1] for i in range(len(rows))]
    return Tokenized(
        Ragged.from_rows(rows),
        Ragged.from_rows([[1]] * len(rows)),
        Ragged.from_rows(choices),
        Ragged.from_rows(picked),
        1,
        0,
        str(first),
    )


def drawn(batches: Batches, epoch: int) -> Counter[int]:
    per = batches.per_epoch
    rows = [int(ids[0]) for i in range(epoch * per, (epoch + 1) * per) for ids in batches[i].inputs]
    return Counter(rows)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=2), st.integers(1, 2000))
def test_shares_are_proportional_to_capped_sizes(sizes: list[int], cap: int) -> None:
    mixture = Mixture(name="m", members=(get_task("wn_pos"), get_task("wn_isa")), cap=cap)
    assert mixture.draws(sizes) == [min(size, cap) for size in sizes]


def test_temperature_evens_shares_out_and_keeps_the_length() -> None:
    members = (get_task("wn_pos"), get_task("wn_isa"))
    shares = {
        t: Mixture(name="m", members=members, temperature=t).draws([1000, 10]) for t in (1, 2, 1e6)
    }
    assert shares[1] == [1000, 10]
    assert shares[1e6] == [505, 505]
    assert shares[1][0] > shares[2][0] > shares[1e6][0]
    assert sum(shares[2]) == pytest.approx(1010, abs=1)


def test_an_epoch_holds_what_is_drawn_of_every_part() -> None:
    data = concatenate([tokens([3] * 8, 100), tokens([2] * 3, 200)])
    batches = Batches(data=data, batch_size=5, seed=0, draws=((8, 4), (3, 6)))
    assert batches.per_epoch == 2
    first, second = drawn(batches, 0), drawn(batches, 1)
    for epoch in (first, second):
        assert sum(count for row, count in epoch.items() if row < 200) == 4
        assert {row: epoch[row] for row in (200, 201, 202)} == {200: 2, 201: 2, 202: 2}
    assert {row for row in first if row < 200} != {row for row in second if row < 200}


def test_draws_must_cover_the_data() -> None:
    with pytest.raises(TaskError, match="draws cover 5 of 8 examples"):
        Batches(data=tokens([1] * 8, 0), batch_size=2, seed=0, draws=((5, 5),))


def test_concatenated_examples_keep_their_tokens_and_choices() -> None:
    parts = [tokens([3, 1], 100), tokens([2], 200)]
    whole = concatenate(parts)
    assert [row.tolist() for row in (whole.inputs[i] for i in range(3))] == [
        [100] * 3,
        [101],
        [200] * 2,
    ]
    found = [[whole.choices[c].tolist() for c in whole.choice_rows[i]] for i in range(3)]
    assert found == [[[7], [1100]], [[7], [1101]], [[7], [1200]]]
    assert whole.cut == 2
    assert whole.digest != concatenate(parts[::-1]).digest
    assert np.array_equal(whole.inputs.lengths, [3, 1, 2])


@pytest.mark.parametrize("name", MIXTURES)
def test_named_mixtures_are_of_known_tasks(name: str) -> None:
    mixture = get_learnable(name)
    assert isinstance(mixture, Mixture)
    assert (mixture.name, mixture.family, mixture.cap) == (name, "mixture", CAP)
    assert mixture.describe()["tasks"] == list(MIXTURES[name])


GLUE = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "glue_rte", "wnli"]
SUPER_GLUE = ["boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc"]


def test_suites_are_mixtures_of_all_their_tasks() -> None:
    assert list(MIXTURES["glue"]) == GLUE
    assert list(MIXTURES["super_glue"]) == SUPER_GLUE
    assert {name for name in MIXTURES["mrqa"] if name.startswith("mrqa_")} == set(MIXTURES["mrqa"])
    assert {"mnli", "snli", "anli", "docnli", "qnli", "cb", "rte"} < set(MIXTURES["nli"])


def test_members_without_data_are_all_named_before_any_is_read(tmp_path: Path) -> None:
    mixture = get_learnable("glue")
    assert isinstance(mixture, Mixture)
    mixture.check_data(None)  # of the hub
    for name in ("CoLA", "SST-2"):
        (tmp_path / "glue" / name).mkdir(parents=True)
        for part in ("train", "dev"):
            (tmp_path / "glue" / name / f"{part}.tsv").touch()
    with pytest.raises(TaskError) as caught:
        mixture.check_data(tmp_path)
    missing = ", ".join(
        f"{name} (glue/{folder}/train.tsv)"
        for name, folder in (
            ("mrpc", "MRPC"), ("stsb", "STS-B"), ("qqp", "QQP"), ("mnli", "MNLI"), ("qnli", "QNLI"),
            ("glue_rte", "RTE"), ("wnli", "WNLI"),
        )
    )  # fmt: skip
    assert str(caught.value) == (
        f"mixture glue: in {tmp_path} there is not all data of {missing}; put their official files there, or leave "
        "--data-dir out to read them from the hub, or take what is left as a mixture of its own (cola+sst2)"
    )
    both = Mixture(name="m", members=(get_task("cola"), get_task("sst2")))
    both.check_data(tmp_path)
    (tmp_path / "glue" / "CoLA" / "dev.tsv").unlink()
    with pytest.raises(
        TaskError,
        match=r"cola \(glue/CoLA/dev.tsv\); .* cut what is there by --allow-partial-data$",
    ):
        both.check_data(tmp_path)
    both.check_data(tmp_path, allow_partial=True)


def test_a_member_that_is_in_files_alone_wants_a_folder() -> None:
    mixture = Mixture(name="m", members=(get_task("wn_pos"), get_task("mr")))
    with pytest.raises(TaskError, match=r"without a folder of official files .* mr \(mr/all.txt\)"):
        mixture.check_data(None)


def test_tasks_joined_by_a_plus_are_a_mixture_and_one_alone_is_itself() -> None:
    mixture = get_learnable("wn_pos+wn_isa")
    assert [task.name for task in getattr(mixture, "members")] == ["wn_pos", "wn_isa"]  # noqa: B009
    assert mixture.labels == ("adjective", "adverb", "noun", "verb", "no", "yes")
    assert get_learnable("wn_pos") == get_task("wn_pos")


def test_a_mixture_file_names_its_tasks(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('tasks = ["wn_pos", "wn_isa"]\ncap = 100\ntemperature = 2\n')
    mixture = get_learnable(str(path))
    assert isinstance(mixture, Mixture)
    assert (mixture.name, mixture.cap, mixture.temperature) == ("mine", 100, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('tasks = ["wn_pos"]', "needs at least two tasks, found 1"),
        ('tasks = ["wn_pos", "wn_pos"]', "wn_pos given more than once"),
        ('tasks = ["wn_pos", "wn_isa"]\ncap = 0', "must be positive"),
        ('tasks = ["wn_pos", "wn_isa"]\ntemperature = -1.0', "must be positive"),
        ('tasks = ["wn_pos", "wn_isa"]\ncap = "many"', "cap is 'many'"),
        ('tasks = ["wn_pos", 3]', "expected names of tasks"),
        ('tasks = ["wn_pos", "wn_isa"]\ncups = 3', "mixture's key 'cups' is not known; "),
        ('tasks = ["wn_pos", "wn_isaa"]', "did you mean 'wn_isa'"),
        ('tasks = ["wn_pos", "glue"]', "is a mixture; expected a single task"),
    ],
)
def test_a_mixture_file_that_makes_no_sense_is_refused(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(TaskError, match=message):
        get_learnable(str(path))


def test_a_mixture_is_no_single_task() -> None:
    with pytest.raises(TaskError, match="'glue' is a mixture"):
        get_task("glue")


# -- what a name stands for ---------------------------------------------------------------------------------


def task_file(path: Path, name: str, word: str = "good") -> str:
    """A task file; its content is that of its words."""
    (path.parent / "rows.csv").write_text("text,label\nfine,1\n", encoding="utf-8")
    path.write_text(
        f'name = "{name}"\n[data]\ntrain = "rows.csv"\n[format]\ntemplate = "t: {{text}}"\nlabel = "label"\n'
        f'[labels]\n"0" = "bad"\n"1" = "{word}"\n',
        encoding="utf-8",
    )
    return str(path)


def test_the_content_of_a_mixture_is_what_it_is_made_of() -> None:
    one, two, three = (get_task(name) for name in ("wn_pos", "wn_isa", "wn_part"))
    mixtures = [
        Mixture(name="m", members=(one, two)),
        Mixture(name="m", members=(two, one)),
        Mixture(name="m", members=(one, three)),
        Mixture(name="m", members=(one, two), cap=100),
        Mixture(name="m", members=(one, two), temperature=2.0),
        Mixture(name="m", members=(one, dataclasses.replace(two, content="another"))),
    ]
    assert len({mixture.content for mixture in mixtures}) == len(mixtures)
    assert mixtures[0].content == Mixture(name="other", members=(one, two), file="m.toml").content


@pytest.mark.parametrize("name", ["wn_pos", "sst2", "glue", "wordnet"])
def test_a_file_with_a_built_in_name_is_refused(name: str, tmp_path: Path) -> None:
    kind = "mixture" if name in MIXTURES else "task"
    message = f"name is '{name}', which is a built-in {kind}; choose another$"
    with pytest.raises(TaskError, match=message):
        get_learnable(task_file(tmp_path / "mine.toml", name))
    for path, content in (("mix.toml", f'name = "{name}"\n'), (f"{name}.toml", "")):
        (tmp_path / path).write_text(content + 'tasks = ["wn_isa", "wn_part"]\n', encoding="utf-8")
        with pytest.raises(TaskError, match=message):
            get_learnable(str(tmp_path / path))


@pytest.mark.parametrize(
    "name", ["a+b", "a,b", " a", "a ", "a\nb", "\u001b[31ma", "mine.toml", " "]
)
def test_a_name_that_lists_and_mixtures_could_not_tell_from_others_is_refused(
    name: str, tmp_path: Path
) -> None:
    path = task_file(tmp_path / "mine.toml", json.dumps(name)[1:-1])
    with pytest.raises(TaskError, match="expected a word or more on one line") as caught:
        get_learnable(path)
    assert "\n" not in str(caught.value)


def test_what_a_file_describes_knows_its_file(tmp_path: Path) -> None:
    path = task_file(tmp_path / "mine.toml", "mine")
    assert getattr(get_learnable(path), "file") == path  # noqa: B009
    assert get_task("wn_pos").file == ""


def test_two_tasks_of_one_name_are_refused_where_their_content_differs(tmp_path: Path) -> None:
    paths = [task_file(tmp_path / f"{i}.toml", "mine") for i in range(2)]
    one, other = (get_task(path) for path in paths)
    check_distinct([one, one, dataclasses.replace(other, content=one.content), get_task("wn_pos")])
    other = dataclasses.replace(other, content="another")
    with pytest.raises(TaskError) as caught:
        check_distinct([get_task("wn_pos"), one, other])
    expected = f"two different tasks are called 'mine': {paths[0]} and {paths[1]}; give one of them another name"
    assert str(caught.value) == expected
    with pytest.raises(TaskError, match="two different tasks are called 'mine'"):
        check_distinct([one, Mixture(name="m", members=(get_task("wn_pos"), other))])


def test_two_mixtures_of_one_name_are_refused_where_their_members_differ() -> None:
    one, two, three = (get_task(name) for name in ("wn_pos", "wn_isa", "wn_part"))
    mixtures = [Mixture(name="m", members=members) for members in ((one, two), (one, three))]
    check_distinct([*mixtures[:1] * 2, one])
    with pytest.raises(TaskError, match="two different tasks are called 'm'"):
        check_distinct(mixtures)
    with pytest.raises(TaskError, match="two different tasks are called 'wn_pos'"):
        check_distinct([one, dataclasses.replace(mixtures[0], name="wn_pos")])
