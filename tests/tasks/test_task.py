"""Splits, errors and scores of tasks, and every built-in task on its real data."""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import Example, Split, Task, TaskError, get_task, registry
from tasks.formats import classify, fields
from tasks.rows import Numbered
from tasks.sources import Source
from tasks.task import DEV_AND_TEST, PUBLISHED, TRAIN_AND_DEV, TRAIN_AND_TEST, Part, one_part
from tests.further import FURTHER_ROWS
from tests.official import PASSAGES, QUESTIONS, ROWS, TEST
from tests.places import DATA, PLACES, places_of

Row = dict[str, Any]
Splits = Mapping[Split, Part]


def verbatim(row: Mapping[str, Any]) -> Sequence[Example]:
    """A row as it is, so that examples can be traced back."""
    return [Example(inputs=row["text"], target=row["label"], choices=("0", "1"))]


def task_of(parts: Mapping[str, list[Row]], splits: Splits = PUBLISHED, **changes: Any) -> Task:
    """A task whose parts lie in memory."""

    def reader(path: Path) -> Iterator[Numbered]:
        return (Numbered(number, row) for number, row in enumerate(parts[path.name], 1))

    source = Source(files={part: Path("/", part) for part in parts}, reader=reader)
    defaults: dict[str, Any] = {
        "name": "toy",
        "family": "f",
        "formatter": verbatim,
        "labels": ("0", "1"),
    }
    return Task(source=source, splits=splits, **defaults | changes)


def rows(count: int, seed: int = 0) -> list[Row]:
    """Different rows."""
    draw = random.Random(seed)
    return [{"text": f"{i} {draw.random()}", "label": str(draw.randrange(2))} for i in range(count)]


def texts(task: Task, split: Split) -> list[str]:
    """Inputs of a split; none where it is empty."""
    try:
        return [example.inputs for example in task.examples(split)]
    except TaskError as error:
        assert "is empty" in str(error)
        return []


# -- splits -------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, tuple[Splits, tuple[str, ...]]] = {
    "published": (PUBLISHED, ("train", "dev", "test")),
    "train and dev": (TRAIN_AND_DEV, ("train", "dev")),
    "train and test": (TRAIN_AND_TEST, ("train", "test")),
    "dev and test": (DEV_AND_TEST, ("dev", "test")),
    "one part": (one_part("all"), ("all",)),
}


@pytest.mark.parametrize(("splits", "parts"), LAYOUTS.values(), ids=LAYOUTS)
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 80))
def test_every_row_of_every_part_is_in_exactly_one_split(
    splits: Splits, parts: tuple[str, ...], seed: int, count: int
) -> None:
    content = {part: rows(count, seed + i) for i, part in enumerate(parts)}
    task = task_of(content, splits)
    found = Counter(text for split in Split for text in texts(task, split))
    assert found == Counter(row["text"] for part in parts for row in content[part])


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_rows_and_of_columns_does_not_move_a_row_to_another_split(seed: int) -> None:
    content = rows(60, seed)
    shuffled = [dict(reversed(row.items())) for row in content]
    random.Random(seed).shuffle(shuffled)
    more = [*rows(30, seed + 1), *content]
    for split in Split:
        here = texts(task_of({"all": content}, one_part("all")), split)
        assert sorted(texts(task_of({"all": shuffled}, one_part("all")), split)) == sorted(here)
        assert set(here) <= set(texts(task_of({"all": more}, one_part("all")), split))


def test_examples_keep_the_order_of_the_file_and_are_the_same_every_time() -> None:
    content = rows(200)
    task = task_of({"all": content}, one_part("all"))
    place = {row["text"]: i for i, row in enumerate(content)}
    for split in Split:
        found = texts(task, split)
        assert [place[text] for text in found] == sorted(place[text] for text in found)
        assert texts(task, split) == found


@pytest.mark.parametrize(
    ("splits", "shares"),
    [
        (one_part("all"), {"train": 0.8, "dev": 0.1, "test": 0.1}),
        (TRAIN_AND_DEV, {"train": 0.9, "dev": 0.1}),
        (DEV_AND_TEST, {"train": 0.9, "dev": 0.1}),
    ],
)
def test_a_cut_has_its_proportions_within_three_standard_deviations(
    splits: Splits, shares: Mapping[str, float]
) -> None:
    count = 5_000
    (part,) = {splits[Split(split)].name for split in shares}
    task = task_of({part: rows(count)}, splits)
    for split, share in shares.items():
        deviation = (count * share * (1 - share)) ** 0.5
        assert abs(len(texts(task, Split(split))) - count * share) < 3 * deviation


def test_the_published_dev_set_of_a_task_without_test_set_is_only_reported() -> None:
    content = {"train": rows(50, 1), "dev": rows(50, 2)}
    task = task_of(content, TRAIN_AND_DEV)
    assert texts(task, Split.TEST) == [row["text"] for row in content["dev"]]


def test_the_cut_is_by_sha256_of_the_sorted_row_and_so_the_same_on_every_machine() -> None:
    content = [*rows(100), {"text": "é", "label": "1"}]

    def place(row: Row) -> float:
        text = json.dumps(row, sort_keys=True, ensure_ascii=False)
        return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 16**16

    task = task_of({"all": content}, one_part("all"))
    assert texts(task, Split.TRAIN) == [row["text"] for row in content if place(row) < 0.8]
    assert texts(task, Split.DEV) == [row["text"] for row in content if 0.8 <= place(row) < 0.9]
    assert texts(task, Split.TEST) == [row["text"] for row in content if place(row) >= 0.9]


def test_the_cut_of_known_rows_never_changes() -> None:
    content = [{"text": str(i), "label": "0"} for i in range(30)]
    task = task_of({"all": content}, one_part("all"))
    assert texts(task, Split.DEV) == ["2", "7", "19", "25", "27"]
    assert texts(task, Split.TEST) == []


def test_rows_of_one_split_key_stay_together() -> None:
    content = [row | {"passage": f"p{i // 5}"} for i, row in enumerate(rows(500))]
    task = task_of({"all": content}, one_part("all"), split_key="passage")
    passage = {row["text"]: row["passage"] for row in content}
    passages = {split: {passage[text] for text in texts(task, split)} for split in Split}
    assert all(passages.values())
    assert sum(map(len, passages.values())) == 100


def test_the_train_filter_is_for_training_rows_only() -> None:
    content = rows(100)
    task = task_of(
        {part.value: content for part in Split}, train_filter=lambda row: row["label"] == "1"
    )
    assert texts(task, Split.TRAIN) == [row["text"] for row in content if row["label"] == "1"]
    assert texts(task, Split.DEV) == texts(task, Split.TEST) == [row["text"] for row in content]


# -- errors -------------------------------------------------------------------------------------------------


def test_a_split_without_a_row_is_an_error_that_names_task_split_and_file() -> None:
    task = task_of({"train": rows(3), "dev": []})
    with pytest.raises(TaskError, match=r"^task toy: split dev is empty \(/dev\)$"):
        task.examples(Split.DEV)
    filtered = task_of({"train": rows(3)}, train_filter=lambda row: False)
    with pytest.raises(
        TaskError, match=r"^task toy: split train is empty: none of 3 rows .* \(/train\)$"
    ):
        filtered.examples(Split.TRAIN)


def test_a_missing_column_is_named_with_file_row_and_the_columns_there_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review,label\nfine,1\n", encoding="utf-8")
    source = Source(files={"train": path})
    task = Task(
        name="toy",
        family="f",
        source=source,
        formatter=classify(fields("text"), {"0": "no", "1": "yes"}),
    )
    with pytest.raises(TaskError) as caught:
        task.examples(Split.TRAIN)
    assert str(caught.value) == f"{path}, row 2: no column 'text' (columns: review, label)"


def test_an_unknown_label_is_named_with_file_row_and_the_labels_there_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\nfine,1\n"two\nlines",0\nodd,7\n', encoding="utf-8")
    source = Source(files={"train": path})
    task = Task(
        name="toy",
        family="f",
        source=source,
        formatter=classify(fields("text"), {"0": "no", "1": "yes"}),
    )
    with pytest.raises(TaskError) as caught:
        task.examples(Split.TRAIN)
    assert str(caught.value) == f"{path}, row 5: unknown label '7'; expected one of 0, 1"


@pytest.mark.parametrize("error", [ValueError("odd"), TypeError("odd"), IndexError("odd")])
def test_what_a_formatter_cannot_read_is_an_error_at_its_row(error: Exception) -> None:
    def formatter(row: Mapping[str, Any]) -> Sequence[Example]:
        if row["text"] == bad:
            raise error
        return verbatim(row)

    content = rows(4)
    bad = content[2]["text"]
    with pytest.raises(TaskError, match=r"^/train, row 3: odd$"):
        task_of({"train": content}, formatter=formatter).examples(Split.TRAIN)


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"split_key": "passage"}, "passage"),
        ({"train_filter": lambda row: row["gold"] == "1"}, "gold"),
    ],
)
def test_a_missing_column_of_the_cut_or_the_filter_is_named_with_file_and_row(
    changes: Row, column: str
) -> None:
    with pytest.raises(
        TaskError, match=rf"^/train, row 1: no column '{column}' \(columns: text, label\)$"
    ):
        task_of({"train": rows(3)}, **changes).examples(Split.TRAIN)


def test_a_missing_score_is_named_as_a_column() -> None:
    content = [{"sentence1": "a", "sentence2": "b"}]
    with pytest.raises(TaskError, match="row 1: no column 'score'"):
        task_of({"train": content}, formatter=get_task("stsb").formatter).examples(Split.TRAIN)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("stsb", {"sentence1": "a", "sentence2": "b", "score": "inf"}),
        (
            "wsc",
            {
                "text": None,
                "label": True,
                "target": {"span1_text": "a", "span2_text": "b", "span2_index": 0},
            },
        ),
    ],
)
def test_values_of_another_kind_are_an_error_at_their_row(name: str, row: Row) -> None:
    with pytest.raises(TaskError, match="row 1: "):
        task_of({"train": [row]}, formatter=get_task(name).formatter).examples(Split.TRAIN)


# -- scores -------------------------------------------------------------------------------------------------


def test_the_score_is_the_mean_of_the_metrics() -> None:
    task = task_of({}, metrics=("f1", "accuracy"))
    examples = [Example(inputs="x", target=target) for target in "0111"]
    scores = task.score(["0", "0", "1", "1"], examples)
    assert scores == {"f1": pytest.approx(80), "accuracy": 75, "score": pytest.approx(77.5)}
    assert list(scores) == ["f1", "accuracy", "score"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_predictions_of_another_number_are_refused(count: int) -> None:
    examples = [Example(inputs="x", target="0")] * 2
    with pytest.raises(TaskError, match=f"^{count} predictions for 2 examples$"):
        task_of({}).score(["0"] * count, examples)


# -- the registry -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"), [("sst-2", "sst2"), ("multi_rc", "multirc"), ("tweet", "tweet_hate")]
)
def test_an_unknown_task_says_what_may_be_meant(name: str, meant: str) -> None:
    with pytest.raises(TaskError) as caught:
        get_task(name)
    assert str(caught.value).startswith(f"task {name!r} is not known; ")
    assert "did you mean '" in str(caught.value)
    assert repr(meant) in str(caught.value)


def test_a_name_like_no_task_says_where_they_are_listed() -> None:
    with pytest.raises(TaskError, match=r"^task '\?\?' is not known; `spot tasks` lists them"):
        get_task("??")


def test_a_path_of_a_task_file_is_a_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    content = 'name = "mine"\n[data]\ntrain = "a.csv"\n[format]\ntemplate = "t: {text}"\nlabel = "label"\n'
    path.write_text(content, encoding="utf-8")
    assert get_task(str(path)).name == "mine"


def test_names_are_keys_and_descriptions_plain_facts() -> None:
    for name, task in registry().items():
        assert task.name == name
        assert get_task(name) is task
        facts = task.describe()
        assert json.loads(json.dumps(facts)) == facts
        assert facts["metrics"] == list(task.metrics)
        assert set(task.splits) == set(Split)
        assert len(set(task.labels)) == len(task.labels) != 1


# -- every built-in task on its data ------------------------------------------------------------------------

every_place = pytest.mark.parametrize("data", PLACES, indirect=True)

every_task = pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param(name, place, id=f"{name}-{place}")
        for name in registry()
        for place in places_of(name)
    ],
    indirect=["data"],
)


@pytest.fixture
def data(request: pytest.FixtureRequest, official_files: Path) -> Path:
    """The data folder of a place."""
    return official_files if request.param == "made" else DATA


@cache
def examples_of(name: str, split: Split, data: Path) -> list[Example]:
    """The examples of a split of a built-in task."""
    return get_task(name).examples(split, data_dir=data, allow_partial=True)


TOTALS = {
    "sst2": (67_349, 872),
    "cola": (8_551, 1_043),
    "mrpc": (3_667, 408),
    "stsb": (5_749, 1_500),
    "glue_rte": (2_490, 277),
    "wnli": (635, 71),
    "qnli": (4_959, 504),
    "boolq": (2_960, 310),
    "cb": (250, 56),
    "rte": (2_490, 277),
    "wic": (5_428, 638),
    "copa": (400, 100),
    "multirc": (27_243, 4_848),
    "few_boolq": (64, 3_270),
    "few_cb": (64, 56),
    "few_rte": (64, 277),
    "few_wic": (64, 638),
    "ag_news": (8_975, 1_026),
    "trec": (5_452, 500),
    "mr": (9_600, 1_062),
    "sst5": (9_645, 2_210),
    "snli": (9_842, 9_824),
    "scitail": (1_304, 2_126),
    "quora": (10_000, 10_000),
    "blitzer_books": (1_700, 300),
    "blitzer_dvd": (1_700, 300),
    "blitzer_electronics": (1_700, 300),
    "tweet_irony": (3_817, 784),
    "tweet_hate": (9_977, 2_970),
    "tweet_offensive": (13_218, 860),
    "imdb": (5_000, 2_000),
    "squad": (3_895, 435),
    "e2e": (4_099, 1_847),
    "webnlg": (3_614, 141),
}
"""Examples of train and dev together, and of test, as published or as at hand; 45 tweets are left out."""


@every_task
def test_a_built_in_task_has_all_its_rows(name: str, data: Path) -> None:
    sizes = {split: len(examples_of(name, split, data)) for split in Split}
    assert all(sizes.values())
    if data != DATA:
        assert sum(sizes.values()) == (ROWS | FURTHER_ROWS).get(name, sum(sizes.values()))
    elif name in TOTALS:
        assert (sizes[Split.TRAIN] + sizes[Split.DEV], sizes[Split.TEST]) == TOTALS[name]
    else:
        assert name == "wsc" or name.startswith("wn_")


def test_the_parts_at_hand_are_cut_without_a_rest() -> None:
    assert sum(TOTALS["qnli"]) == 5_463
    assert sum(TOTALS["boolq"]) == 3_270
    assert sum(TOTALS["mr"]) == 10_662
    assert sum(TOTALS["squad"]) == 4_330


@every_place
def test_every_question_of_multircs_validation_set_is_a_group(data: Path) -> None:
    questions = 953 if data == DATA else PASSAGES // 2 * QUESTIONS
    assert len({example.group for example in examples_of("multirc", Split.TEST, data)}) == questions


@every_place
def test_wsc_trains_on_true_referents_and_is_scored_on_all(data: Path) -> None:
    assert {example.label for example in examples_of("wsc", Split.TRAIN, data)} == {"True"}
    held, reported = (
        sum(example.label == "True" for example in examples_of("wsc", split, data))
        for split in (Split.DEV, Split.TEST)
    )
    if data == DATA:
        assert (held, reported) == (30, 38)
    for part, true in (
        ("train", len(examples_of("wsc", Split.TRAIN, data)) + held),
        ("val", reported),
    ):
        lines = (
            (data / "super_glue" / "WSC" / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
        )
        assert sum(json.loads(line)["label"] for line in lines) == true
    assert (
        len(examples_of("wsc", Split.TEST, data)) == len(lines) == (104 if data == DATA else TEST)
    )


@every_place
@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("snli", "premise: ", "$"),
        ("scitail", "hypothesis: ", " premise: "),
        ("qnli", "question: ", " sentence: "),
        ("boolq", "passage: ", " question: "),
    ],
)
def test_what_several_rows_share_stays_in_one_split(
    name: str, start: str, end: str, data: Path
) -> None:
    def shared(split: Split) -> set[str]:
        found = (
            re.search(f"{start}(.*?)(?:{end})", example.inputs)
            for example in examples_of(name, split, data)
        )
        return {match[1] for match in found if match}

    train, dev = shared(Split.TRAIN), shared(Split.DEV)
    assert len(dev) > 10
    assert not train & dev


@every_place
def test_passages_of_squad_stay_in_one_split(data: Path) -> None:
    passages = [
        {example.inputs.split("context: ")[1] for example in examples_of("squad", split, data)}
        for split in Split
    ]
    assert sum(map(len, passages)) == len(set().union(*passages))


@every_task
def test_gold_predictions_score_100_and_no_prediction_scores_nothing(name: str, data: Path) -> None:
    task = get_task(name)
    for split in Split:
        examples = examples_of(name, split, data)
        gold = task.score([example.target for example in examples], examples)
        nothing = task.score([""] * len(examples), examples)
        if name == "wsc":  # a false referent shall not be predicted
            true = 100 * sum(example.label == "True" for example in examples) / len(examples)
            assert gold["score"] == pytest.approx(true)
            assert nothing["score"] == 0
        else:
            assert gold == dict.fromkeys([*task.metrics, "score"], pytest.approx(100))
            assert nothing["score"] <= 0


@every_task
def test_targets_are_among_the_choices_of_their_examples(name: str, data: Path) -> None:
    task = get_task(name)
    for split in Split:
        for example in examples_of(name, split, data):
            assert example.target.strip()
            assert example.target in (example.choices or example.answers or (example.target,))
            assert not task.labels or example.choices == task.labels


@every_task
def test_no_field_of_an_input_is_empty_but_those_published_so(name: str, data: Path) -> None:
    inputs = [example.inputs for split in Split for example in examples_of(name, split, data)]
    assert name in WITHOUT_KEYS or all(re.match(r"[a-z0-9]+: ", text) for text in inputs)
    clean = sum(text == " ".join(text.split()) for text in inputs)
    assert len(inputs) - clean == (EMPTY_FIELDS.get(name, 0) if data == DATA else 0)


WITHOUT_KEYS = {"wsc", "e2e", "webnlg", "c4"}

EMPTY_FIELDS = {"multirc": 3, "tweet_hate": 8}
"""Answers and tweets that are published without a word."""


@every_task
def test_every_label_word_is_a_target_of_training_and_none_is_all(name: str, data: Path) -> None:
    labels = get_task(name).labels
    if labels:
        counts = Counter(example.target for example in examples_of(name, Split.TRAIN, data))
        assert set(counts) == set(labels)


PUBLISHED_DUPLICATES = {
    "cola": (0, 13, 1),
    "stsb": (0, 5, 0),
    "trec": (0, 10, 0),
    "sst5": (1, 2, 0),
    "blitzer_books": (0, 4, 1),
    "blitzer_dvd": (0, 12, 1),
    "blitzer_electronics": (0, 12, 2),
    "tweet_hate": (3, 143, 0),
    "tweet_offensive": (1, 5, 0),
    "imdb": (0, 2, 0),
}
"""Pairs of input and target that train and dev, train and test, dev and test share because the publication has them
twice: in two parts, or in one with another source, number or spacing."""


@every_task
def test_splits_share_no_example_but_those_published_twice(name: str, data: Path) -> None:
    train, dev, test = (
        {(e.inputs, e.target) for e in examples_of(name, split, data)} for split in Split
    )
    expected = PUBLISHED_DUPLICATES.get(name, (0, 0, 0)) if data == DATA else (0, 0, 0)
    assert (len(train & dev), len(train & test), len(dev & test)) == expected


def test_ag_news_is_written_with_quotation_marks_which_are_no_part_of_its_texts(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "ag_news"
    folder.mkdir()
    rows = [
        f'"""Peace"" talks {i}"\tWorld\nit\'s draw {i}\tSports\na "stray" mark {i}\tBusiness\n'
        for i in range(40)
    ]
    (folder / "train.tsv").write_text("".join(rows), encoding="utf-8")
    task = get_task("ag_news")
    texts = {
        example.inputs
        for split in Split
        for example in task.examples(split, data_dir=tmp_path, allow_partial=True)
    }
    assert {'text: "Peace" talks 7', "text: it's draw 7", 'text: a "stray" mark 7'} <= texts
    assert len(texts) == 120
