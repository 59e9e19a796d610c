"""Task files: the one written to start from, every format of data, and one line for every mistake."""

import functools
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import Example, Split, Task, TaskError, get_task
from tasks.metrics import METRICS
from tasks.taskfile import example_task_file, load_task_file
from tasks.taskfile_data import OF_ROWS
from tasks.template import KEYS

GOOD = """\
name = "mine"
metrics = ["accuracy"]
[data]
train = "a.csv"
[format]
template = "review: {text}"
label = "label"
[labels]
"0" = "bad"
"1" = "good"
"""


def load(folder: Path, content: str) -> Task:
    """The task of a file of this content."""
    path = folder / "mine.toml"
    path.write_text(content, encoding="utf-8")
    return load_task_file(path)


def refused(folder: Path, content: str) -> str:
    """What is said of a task file, without the path that it begins with."""
    with pytest.raises(TaskError) as caught:
        load(folder, content)
    message = str(caught.value)
    assert "\n" not in message
    path, _, reason = message.partition(": ")
    assert path == str(folder / "mine.toml")
    return reason


# -- good files ---------------------------------------------------------------------------------------------


def test_the_file_to_start_from_is_a_task_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "reviews.toml"
    path.write_text(example_task_file("reviews"), encoding="utf-8")
    content = "text,label\n" + "".join(
        f"{'bad' if i % 2 else 'fine'} {i},{(i + 1) % 2}\n" for i in range(100)
    )
    (tmp_path / "reviews_train.csv").write_text(content, encoding="utf-8")
    task = load_task_file(path)
    assert (task.name, task.family, task.metrics) == ("reviews", "sentiment", ("accuracy",))
    found = [example for split in Split for example in task.examples(split)]
    assert len(found) == 100
    assert Example(inputs="review: fine 0", target="good", choices=("bad", "good")) in found
    assert Example(inputs="review: bad 1", target="bad", choices=("bad", "good")) in found


def test_the_commented_keys_of_the_file_to_start_from_are_keys(tmp_path: Path) -> None:
    lines = example_task_file("reviews").splitlines()
    files = [
        line.removeprefix("# ") if line.startswith(("# dev =", "# test =")) else line
        for line in lines
    ]
    (tmp_path / "a").mkdir()
    assert load(tmp_path / "a", "\n".join(files)).source.files.keys() == {"train", "dev", "test"}
    hub = ("# hub =", "# config =", "# parts =")
    hubs = [
        line.removeprefix("# ") if line.startswith(hub) else line
        for line in lines
        if not line.startswith("train")
    ]
    (tmp_path / "b").mkdir()
    source = load(tmp_path / "b", "\n".join(hubs)).source
    assert source.hub is not None
    assert (source.hub.path, source.hub.parts["dev"]) == ("owner/name", "validation")


@pytest.mark.parametrize("name", ['a"b', "a\nb", "a b", "a/b", "a\\b", "{a}"])
def test_a_name_that_means_something_in_toml_is_quoted(name: str) -> None:
    assert tomllib.loads(example_task_file(name))["name"] == name


def test_every_metric_is_listed_in_the_file_to_start_from() -> None:
    (line,) = [line for line in example_task_file("x").splitlines() if line.startswith("metrics")]
    assert line.split("# ")[1].split(", ") == list(METRICS)


ROWS = [{"text": f"film  {i}", "label": str(i % 2)} for i in range(40)]


def written(folder: Path, suffix: str) -> Path:
    """``ROWS`` in a file of this kind."""
    path = folder / f"a{suffix}"
    if suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(ROWS), path)
        return path
    separated = {".csv": ",", ".tsv": "\t"}
    if suffix in separated:
        lines = [
            separated[suffix].join(row.values())
            for row in ({"text": "text", "label": "label"}, *ROWS)
        ]
        content = "\n".join(lines)
    else:
        content = json.dumps(ROWS) if suffix == ".json" else "\n".join(map(json.dumps, ROWS))
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_the_same_rows_of_any_format_are_the_same_examples_in_the_same_splits(
    tmp_path: Path, suffix: str
) -> None:
    written(tmp_path, ".csv")
    written(tmp_path, suffix)
    expected = load(tmp_path, GOOD)
    task = load(tmp_path, GOOD.replace("a.csv", f"a{suffix}"))
    for split in Split:
        assert task.examples(split) == expected.examples(split)


def test_files_lie_beside_the_task_file_wherever_it_is_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    written(home, ".csv")
    (home / "mine.toml").write_text(GOOD, encoding="utf-8")
    monkeypatch.chdir(home)
    task = load_task_file(Path("mine.toml"))
    monkeypatch.chdir(elsewhere)
    assert len(task.examples(Split.TRAIN, data_dir=elsewhere)) > 20


LAYOUTS = {
    ("train",): ("train", "train", "train"),
    ("dev",): ("dev", "dev", "dev"),
    ("test",): ("test", "test", "test"),
    ("train", "dev"): ("train", "train", "dev"),
    ("train", "test"): ("train", "train", "test"),
    ("dev", "test"): ("dev", "dev", "test"),
    ("train", "dev", "test"): ("train", "dev", "test"),
}


@pytest.mark.parametrize(("parts", "cut_from"), LAYOUTS.items())
def test_splits_that_are_not_given_are_cut_from_those_that_are(
    tmp_path: Path, parts: tuple[str, ...], cut_from: tuple[str, ...]
) -> None:
    files = "\n".join(f'{part} = "{part}.csv"' for part in parts)
    for part in parts:
        lines = "".join(f"{part} {i},1\n" for i in range(60))
        (tmp_path / f"{part}.csv").write_text(f"text,label\n{lines}", encoding="utf-8")
    task = load(tmp_path, GOOD.replace('train = "a.csv"', files))
    found = [example.inputs for split in Split for example in task.examples(split)]
    assert len(found) == len(set(found)) == 60 * len(parts)
    for split, part in zip(Split, cut_from, strict=True):
        assert all(
            example.inputs.startswith(f"review: {part} ") for example in task.examples(split)
        )


def test_a_template_may_use_several_columns_braces_and_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,other\nfine,1,{x}\n", encoding="utf-8")
    content = GOOD.replace('"review: {text}"', '"""{{a}} one: {text}\n two:   {other} {text}"""')
    (example,) = load(tmp_path, content + '# "2" = "no"').formatter(
        {"text": "a\tb", "other": "{x}", "label": 1}
    )
    assert (example.inputs, example.target) == ("{a} one: a b two: {x} a b", "good")
    assert example.choices == ("bad", "good")


def test_a_column_of_the_template_may_have_any_letters_but_braces(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Tell us: why!,label\nfine,1\n", encoding="utf-8")
    task = load(tmp_path, GOOD.replace("{text}", "{Tell us: why!}"))
    (example,) = task.formatter({"Tell us: why!": "fine", "label": 1})
    assert example.inputs == "review: fine"


def test_raw_labels_are_met_without_the_blanks_around_them(tmp_path: Path) -> None:
    (example,) = load(tmp_path, GOOD.replace('"1" =', '" 1 " =')).formatter(
        {"text": "fine", "label": "1 "}
    )
    assert example.target == "good"


def test_without_labels_the_answer_is_free_text_scored_by_exact_match(tmp_path: Path) -> None:
    content = GOOD.split("[labels]")[0].replace('metrics = ["accuracy"]\n', "")
    task = load(tmp_path, content)
    assert (task.metrics, task.labels, task.family) == (("exact_match",), (), "user")
    assert task.formatter({"text": "a", "label": "Any Thing"}) == [
        Example(inputs="review: a", target="Any Thing")
    ]


def test_without_metrics_labels_are_scored_by_accuracy(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD.replace('metrics = ["accuracy"]\n', "")).metrics == ("accuracy",)


def test_labels_keep_the_order_of_the_file_and_values_may_share_a_word(tmp_path: Path) -> None:
    labels = '"9" = "good"\n"-1" = "bad"\n"8" = "good"\n2 = "so"\n'
    task = load(tmp_path, GOOD.split('"0"')[0] + labels)
    assert task.labels == ("good", "bad", "so")
    assert task.formatter({"text": "a", "label": 8})[0].target == "good"
    assert task.formatter({"text": "a", "label": "2"})[0].target == "so"


@pytest.mark.parametrize(("key", "targets"), [("-1", ["bad", "good"]), ("0", ["good"])])
def test_a_label_of_minus_one_is_used_where_it_is_a_label_and_else_left_out(
    tmp_path: Path, key: str, targets: list[str]
) -> None:
    (tmp_path / "a.csv").write_text("text,label\nfine,-1\nfiner,1\n", encoding="utf-8")
    content = GOOD.replace("[data]\n", '[data]\ndev = "a.csv"\ntest = "a.csv"\n').replace(
        '"0"', f'"{key}"'
    )
    assert [example.target for example in load(tmp_path, content).examples(Split.TRAIN)] == targets


def test_mistakes_in_the_rows_are_those_of_any_task(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,gold\n" + "fine,1\n" * 3, encoding="utf-8")
    with pytest.raises(
        TaskError, match=r"a\.csv, row 2: no column 'label' \(columns: text, gold\)"
    ):
        load(tmp_path, GOOD.replace("[data]\n", '[data]\ntest = "a.csv"\n')).examples(Split.TEST)
    with pytest.raises(TaskError, match=r"b\.csv: no such file"):
        load(tmp_path, GOOD.replace("a.csv", "b.csv")).examples(Split.TRAIN)


# -- how data is written ------------------------------------------------------------------------------------


def of_data(*lines: str, file: str = "a.csv") -> str:
    """The good file with its data in ``file``, and further lines of ``[data]``."""
    return GOOD.replace('train = "a.csv"', "\n".join((f'train = "{file}"', *lines)))


def everything(task: Task) -> list[tuple[str, str]]:
    """Inputs and targets of all splits, sorted."""
    return sorted(
        (example.inputs, example.target) for split in Split for example in task.examples(split)
    )


EXPECTED = sorted((f"review: film {i}", "good" if i % 2 else "bad") for i in range(40))

WRITTEN: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "no header": ("a.csv", ('columns = ["label", "text"]',), "{label},film {i}\n"),
    "semicolons": (
        "a.csv",
        ('delimiter = ";"', 'columns = ["text", "label"]'),
        "film {i};{label}\n",
    ),
    "bars": (
        "a.txt",
        ('format = "csv"', 'delimiter = "|"', 'columns = ["text", "label"]'),
        "film {i}|{label}\n",
    ),
    "quoted tabs": (
        "a.tsv",
        ("quoted = true", 'columns = ["text", "label"]'),
        '"film\t{i}"\t{label}\n',
    ),
    "unquoted commas": (
        "a.csv",
        ("quoted = false", 'columns = ["text", "label"]'),
        "film {i},{label}\n",
    ),
    "label text": ("a.txt", ('format = "label text"',), "{label} film {i}\n"),
    "another suffix": (
        "a.data",
        ('format = "jsonl"',),
        '{{"text": "film {i}", "label": {label}}}\n',
    ),
    "lines in a .json": (
        "a.json",
        ('format = "jsonl"',),
        '{{"text": "film {i}", "label": {label}}}\n',
    ),
    "a suffix in capitals": ("a.JSONL", (), '{{"text": "film {i}", "label": "{label}"}}\n'),
    "numbers with a point": ("a.jsonl", (), '{{"text": "film {i}", "label": {label}.0}}\n'),
}


@pytest.mark.parametrize(("file", "lines", "row"), WRITTEN.values(), ids=WRITTEN)
def test_a_task_file_says_how_its_data_is_written(
    tmp_path: Path, file: str, lines: tuple[str, ...], row: str
) -> None:
    content = "".join(row.format(i=i, label=i % 2) for i in range(40))
    (tmp_path / file).write_bytes(content.encode())
    assert everything(load(tmp_path, of_data(*lines, file=file))) == EXPECTED


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-be"])
def test_a_task_file_names_an_encoding(tmp_path: Path, encoding: str) -> None:
    content = "text,label\n" + "".join(f"café {i},{i % 2}\n" for i in range(40))
    (tmp_path / "a.csv").write_bytes(content.encode(encoding))
    task = load(tmp_path, of_data(f'encoding = "{encoding}"'))
    assert [text for text, _ in everything(task)] == [
        text.replace("film", "café") for text, _ in EXPECTED
    ]
    with pytest.raises(TaskError, match="encoding = "):
        everything(load(tmp_path, GOOD))


@pytest.mark.parametrize(
    "names", ['"a_text.txt"', '["a_text.txt", "a_labels.txt"]', '["a_text.txt", "gold"]']
)
def test_texts_and_labels_may_lie_in_two_files(tmp_path: Path, names: str) -> None:
    (tmp_path / "a_text.txt").write_text(
        "".join(f"film {i}\n" for i in range(40)), encoding="utf-8"
    )
    labels = "".join(f"{i % 2}\n" for i in range(40))
    (tmp_path / ("gold" if "gold" in names else "a_labels.txt")).write_text(
        labels, encoding="utf-8"
    )
    content = GOOD.replace('train = "a.csv"', f'train = {names}\nformat = "text and labels"')
    assert everything(load(tmp_path, content)) == EXPECTED


def test_booleans_are_labels_as_json_spells_them_or_as_python_does(tmp_path: Path) -> None:
    rows = [{"text": f"film {i}", "label": bool(i % 2)} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for false, true in (("false", "true"), ("False", "True")):
        content = of_data(file="a.jsonl").replace('"0"', f'"{false}"').replace('"1"', f'"{true}"')
        assert everything(load(tmp_path, content)) == EXPECTED


def test_rows_of_one_value_stay_in_one_split(tmp_path: Path) -> None:
    rows = [{"text": f"film {i}", "label": i % 2, "maker": f"m{i % 30}"} for i in range(300)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    content = of_data('split_key = "maker"', file="a.jsonl").replace(
        '"review: {text}"', '"{text} of {maker}"'
    )
    task = load(tmp_path, content)
    makers = [{example.inputs.split()[-1] for example in task.examples(split)} for split in Split]
    assert sum(map(len, makers)) == len(set.union(*makers)) == 30
    with pytest.raises(TaskError, match="no column 'make'"):
        everything(load(tmp_path, content.replace('split_key = "maker"', 'split_key = "make"')))


# -- rows that are left out -----------------------------------------------------------------------------------


def test_rows_without_a_label_are_left_out_where_the_task_says_so_and_counted(
    tmp_path: Path,
) -> None:
    rows = [*ROWS, {"text": "nobody knows", "label": "-"}, {"text": "nor here", "label": "-"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = load(tmp_path, of_data('skip = { label = ["-", "?"] }', file="a.jsonl"))
    assert everything(task) == EXPECTED
    assert task.source.skipped == {"train": {"no label (-)": 2}}
    with pytest.raises(
        TaskError, match=r"unknown label '-'.* left out by skip = \{ label = \[\"-\"\] \}"
    ):
        everything(load(tmp_path, of_data(file="a.jsonl")))


def test_rows_may_be_left_out_by_any_column(tmp_path: Path) -> None:
    lines = "".join(f"film {i},{i % 2},{'en' if i < 30 else 'de'}\n" for i in range(40))
    (tmp_path / "a.csv").write_text(f"text,label,language\n{lines}", encoding="utf-8")
    task = load(tmp_path, of_data('skip = { language = "de" }'))
    assert len(everything(task)) == 30
    assert task.source.skipped["train"] == {"language is de": 10}
    with pytest.raises(
        TaskError, match=r"row 2: no column 'langauge' \(columns: text, label, language\)"
    ):
        everything(load(tmp_path, of_data('skip = { langauge = "de" }')))


@pytest.mark.parametrize("null", ["null", "NaN"])
@pytest.mark.parametrize("column", ["text", "label"])
def test_null_is_an_error_with_its_row_or_left_out_and_counted(
    tmp_path: Path, null: str, column: str
) -> None:
    bad = {"text": '"fine"', "label": "1"} | {column: null}
    good = "".join(json.dumps(row) + "\n" for row in ROWS)
    content = good + f'{{"text": {bad["text"]}, "label": {bad["label"]}}}\n' * 3
    (tmp_path / "a.jsonl").write_text(content, encoding="utf-8")
    whole = of_data('test = "a.jsonl"', file="a.jsonl")
    with pytest.raises(
        TaskError, match=rf"a\.jsonl, row 41: column '{column}' is {null}; skip_nulls = true"
    ):
        load(tmp_path, whole).examples(Split.TEST)
    task = load(tmp_path, of_data("skip_nulls = true", file="a.jsonl"))
    assert everything(task) == EXPECTED
    why = "no label (null)" if column == "label" else "text is null"
    assert task.source.skipped["train"] == {why: 3}
    lacking = {"text": '"text": "fine"', "label": '"label": "1"'}
    del lacking[column]
    (tmp_path / "a.jsonl").write_text(
        good + f"{{{', '.join(lacking.values())}}}\n", encoding="utf-8"
    )
    task = load(tmp_path, of_data("skip_nulls = true", file="a.jsonl"))
    assert everything(task) == EXPECTED
    assert task.source.skipped["train"] == {why: 1}, "a value that is not there at all"


def test_null_in_a_column_that_is_not_used_is_no_matter(tmp_path: Path) -> None:
    rows = [row | {"note": None} for row in ROWS]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for lines in ((), ("skip_nulls = true",)):
        assert everything(load(tmp_path, of_data(*lines, file="a.jsonl"))) == EXPECTED


def test_bad_rows_are_an_error_unless_some_are_allowed(tmp_path: Path) -> None:
    lines = "".join(f"film {i},{i % 2}\n" for i in range(40))
    (tmp_path / "a.csv").write_text(f"text,label\n{lines}cut\n", encoding="utf-8")
    with pytest.raises(TaskError, match="row 42: 1 columns, expected 2; allow_bad_rows"):
        everything(load(tmp_path, GOOD))
    task = load(tmp_path, of_data("allow_bad_rows = 1"))
    assert everything(task) == EXPECTED
    assert task.source.skipped["train"] == {"not 2 columns": 1}


@pytest.mark.parametrize("value", ["-1", "-1.0", '"-1"'])
def test_minus_one_is_no_label_however_it_is_spelled(tmp_path: Path, value: str) -> None:
    content = (
        "".join(json.dumps(row) + "\n" for row in ROWS) + f'{{"text": "x", "label": {value}}}\n'
    )
    (tmp_path / "a.jsonl").write_text(content, encoding="utf-8")
    task = load(tmp_path, of_data(file="a.jsonl"))
    assert everything(task) == EXPECTED
    assert task.source.skipped["train"] == {"no label (-1)": 1}


@pytest.mark.parametrize("lines", [(), ('skip = { label = ["-"] }',)])
def test_a_test_set_without_a_label_says_so(tmp_path: Path, lines: tuple[str, ...]) -> None:
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f"film {i},{i % 2}\n" for i in range(40))
    )
    unlabelled = "-" if lines else "-1"
    (tmp_path / "b.csv").write_text("text,label\n" + f"fine,{unlabelled}\n" * 20)
    task = load(tmp_path, of_data('test = "b.csv"', *lines))
    with pytest.raises(
        TaskError, match=r"split test is empty: none of its 20 rows has a label \(.*b\.csv\)"
    ):
        task.examples(Split.TEST)


def test_a_split_that_no_row_falls_into_says_how_many_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nfine,1\n", encoding="utf-8")
    with pytest.raises(
        TaskError, match=r"is empty: none of 1 rows falls into it; name a file for it"
    ):
        everything(load(tmp_path, GOOD))


# -- texts, answers and groups --------------------------------------------------------------------------------

QUESTIONS = """\
name = "mine"
[data]
train = "a.json"
test = "a.json"
[format]
template = "question: {question} context: {context}"
answers = "answers"
"""

FLAT: list[Any] = [
    {"text": ["red", "dark red"], "answer_start": [0, 5]},
    [{"text": "red", "answer_start": 0}, {"text": "dark red", "answer_start": 5}],
    ["red", "dark red"],
]


def questions(folder: Path, content: object, layout: str = QUESTIONS) -> list[Example]:
    """Examples of a file of questions."""
    (folder / "a.json").write_text(json.dumps(content), encoding="utf-8")
    return load(folder, layout).examples(Split.TEST)


@pytest.mark.parametrize("answers", FLAT)
def test_answers_of_flat_rows_are_read_in_every_shape(tmp_path: Path, answers: object) -> None:
    rows = [
        {"question": "what?", "context": "a house", "answers": a}
        for a in (answers, [], {"text": []})
    ]
    for content in (rows, {"version": "v2.0", "data": rows}):
        found = questions(tmp_path, content)
        assert [(e.target, e.answers) for e in found] == [
            ("red", ("red", "dark red")),
            ("unanswerable", ("unanswerable",)),
            ("unanswerable", ("unanswerable",)),
        ]
        assert found[0].inputs == "question: what? context: a house"


def nested(version: int) -> dict[str, object]:
    """A file in SQuAD's shape, with an unanswerable question in version 2."""
    answers = [{"text": "red", "answer_start": 0}, {"text": "dark red", "answer_start": 0}]
    asked: list[dict[str, object]] = [{"id": "a", "question": "what?", "answers": answers}]
    if version == 2:
        asked[0]["is_impossible"] = False
        asked.append(
            {
                "id": "b",
                "question": "who?",
                "answers": [],
                "is_impossible": True,
                "plausible_answers": answers,
            }
        )
    return {
        "version": f"v{version}",
        "data": [{"title": "t", "paragraphs": [{"context": "a house", "qas": asked}]}],
    }


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("key", ["answers", "label"])
def test_squads_own_files_are_read_in_either_version(
    tmp_path: Path, version: int, key: str
) -> None:
    found = questions(tmp_path, nested(version), QUESTIONS.replace("answers =", f"{key} ="))
    assert [example.target for example in found] == ["red", "unanswerable"][:version]
    assert found[0].answers == ("red", "dark red")


def test_the_word_for_no_answer_may_be_another(tmp_path: Path) -> None:
    found = questions(tmp_path, nested(2), QUESTIONS + 'unanswerable = "no answer"\n')
    assert found[1].answers == ("no answer",)
    flat = [{"question": "q", "context": "c", "answers": ["x"], "is_impossible": True}]
    assert questions(tmp_path, flat)[0].target == "unanswerable"


def test_the_built_in_squad_reads_version_2(tmp_path: Path) -> None:
    (tmp_path / "squad_sample").mkdir()
    content = nested(2)
    paragraph = content["data"][0]["paragraphs"][0]  # type: ignore[index]
    content["data"] = [{"paragraphs": [paragraph | {"context": f"a house {i}"} for i in range(40)]}]
    (tmp_path / "squad_sample" / "squad.json").write_text(json.dumps(content), encoding="utf-8")
    read = functools.partial(get_task("squad").examples, data_dir=tmp_path, allow_partial=True)
    found = [example for split in Split for example in read(split)]
    assert len(found) == 80
    assert {example.answers for example in found} == {("red", "dark red"), ("unanswerable",)}


def test_a_group_is_scored_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "text,label,question\na,1,q1\nb,0,q1\nc,1,2\n", encoding="utf-8"
    )
    content = GOOD.replace('label = "label"', 'label = "label"\ngroup = "question"').replace(
        '"accuracy"', '"group_exact_match"'
    )
    examples = load(tmp_path, content.replace("[format]", 'test = "a.csv"\n[format]')).examples(
        Split.TEST
    )
    assert [example.group for example in examples] == ["q1", "q1", "2"]
    several = load(tmp_path, content.replace('group = "question"', 'group = ["text", "question"]'))
    rows = [
        {"text": text, "question": question, "label": 1}
        for text, question in (("1-1", "2"), ("1", "1-2"))
    ]
    (one,), (other,) = map(several.formatter, rows)
    assert one.group != other.group


def test_the_longest_field_is_cut_unless_another_is_named(tmp_path: Path) -> None:
    row = {"question": " who\nwrote  it? ", "passage": "a  long\ttext about it", "label": "1"}
    layout = GOOD.replace("review: {text}", "passage: {passage} question: {question}.")
    (example,) = load(tmp_path, layout).formatter(row)
    assert example.inputs == "passage: a long text about it question: who wrote it? ."
    assert example.inputs[slice(*example.cut)] == "a long text about it"
    (example,) = load(tmp_path, layout.replace("[labels]", 'cut = "question"\n[labels]')).formatter(
        row
    )
    assert example.inputs[slice(*example.cut)] == "who wrote it?"
    (example,) = load(tmp_path, GOOD.replace("review: {text}", "{question} {passage}")).formatter(
        row
    )
    assert example.cut == (0, 0)  # its tail


def test_a_list_is_no_text(tmp_path: Path) -> None:
    task = load(tmp_path, GOOD)
    with pytest.raises(ValueError, match="column 'text' holds a list, expected text"):
        task.formatter({"text": ["a"], "label": "1"})
    with pytest.raises(ValueError, match="column 'label' holds a list"):
        task.formatter({"text": "a", "label": ["1"]})


# -- which task it is -----------------------------------------------------------------------------------------


def test_the_content_of_a_task_is_what_it_says_and_its_data_and_not_where_it_lies(
    tmp_path: Path,
) -> None:
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, ".csv")
        folders.append(load(tmp_path / name, GOOD).content)
    assert folders[0] == folders[1]
    assert re.fullmatch("[0-9a-f]{64}", folders[0])
    (tmp_path / "two" / "a.csv").rename(tmp_path / "two" / "b.csv")
    named = GOOD.replace("a.csv", "b.csv").replace('"mine"', '"other"') + '# a remark\n"2" = "so"\n'
    assert load(tmp_path / "two", named.replace('"2" = "so"\n', "")).content == folders[0]
    assert load(tmp_path / "two", named).content != folders[0]


CHANGES: Mapping[str, tuple[str, str]] = {
    "template": ("review:", "text:"),
    "label column": ('label = "label"', 'label = "text"'),
    "a word": ('"good"', '"fine"'),
    "order of labels": ('"0" = "bad"\n"1" = "good"', '"1" = "good"\n"0" = "bad"'),
    "part": ('train = "a.csv"', 'dev = "a.csv"'),
    "format": ('"a.csv"', '"a.csv"\nformat = "tsv"'),
    "delimiter": ('"a.csv"', '"a.csv"\ndelimiter = ";"'),
    "columns": ('"a.csv"', '"a.csv"\ncolumns = ["text", "label"]'),
    "rows that are left out": ('"a.csv"', '"a.csv"\nskip_nulls = true'),
    "split key": ('"a.csv"', '"a.csv"\nsplit_key = "text"'),
    "group": ("[labels]", 'group = "text"\n[labels]'),
    "cut": ("[labels]", 'cut = "text"\n[labels]'),
    "the hub": ('train = "a.csv"', 'hub = "a/b"'),
    "a revision": ('train = "a.csv"', 'hub = "a/b"\nrevision = "main"'),
}


def test_every_change_of_a_task_changes_its_content(tmp_path: Path) -> None:
    path = written(tmp_path, ".csv")
    contents = [load(tmp_path, GOOD).content]
    for old, new in CHANGES.values():
        assert GOOD.count(old) == 1
        contents.append(load(tmp_path, GOOD.replace(old, new)).content)
    path.write_bytes(path.read_bytes() + b"fine,1\n")
    contents.append(load(tmp_path, GOOD).content)
    path.unlink()
    contents.append(load(tmp_path, GOOD).content)
    assert len(set(contents)) == len(CHANGES) + 3


def test_the_labels_in_a_file_of_their_own_are_content(tmp_path: Path) -> None:
    (tmp_path / "a_text.txt").write_text("one\ntwo\n", encoding="utf-8")
    content = GOOD.replace('train = "a.csv"', 'train = "a_text.txt"\nformat = "text and labels"')
    found = set()
    for labels in ("0\n1\n", "1\n0\n"):
        (tmp_path / "a_labels.txt").write_text(labels, encoding="utf-8")
        found.add(load(tmp_path, content).content)
    named = load(
        tmp_path, content.replace('"a_text.txt"', '["a_text.txt", "a_labels.txt"]')
    ).content
    assert len(found) == 2
    assert named in found


def test_a_built_in_task_has_no_content_of_a_file() -> None:
    assert get_task("wn_pos").content == ""


# -- every option of the file to start from -------------------------------------------------------------------

OPTION = re.compile(r"# ([a-z_]+ = .*)")


def test_every_option_of_the_file_to_start_from_is_one(tmp_path: Path) -> None:
    lines = example_task_file("reviews").splitlines()
    options = [i for i, line in enumerate(lines) if OPTION.fullmatch(line)]
    keys = {OPTION.fullmatch(lines[i])[1].split()[0] for i in options}  # type: ignore[index]
    assert keys >= {
        "format",
        "columns",
        "delimiter",
        "quoted",
        "encoding",
        "skip",
        "skip_nulls",
        "allow_bad_rows",
    }
    assert keys >= {*OF_ROWS, *KEYS} - {"template", "label"}
    assert keys >= {"split_key", "hub", "revision", "answers", "unanswerable", "group", "cut"}
    hub_lines = [
        i for i in options if lines[i].split()[1] in ("hub", "config", "revision", "parts")
    ]
    hub_lines += [i for i in options if "coarse_label" in lines[i]]
    for i in options:
        content = list(lines)
        content[i] = lines[i].removeprefix("# ")
        if i in hub_lines:
            content[hub_lines[0]] = lines[hub_lines[0]].removeprefix("# ")
            content = [line for line in content if not line.startswith("train = ")]
        if content[i].startswith("answers"):
            content = [line for line in content if not line.startswith(("label = ", "metrics"))]
        if content[i - 1].startswith("# shared_texts"):
            content[i - 1] = content[i - 1].removeprefix("# ")
        if lines[i].startswith(("# answers", "# choices", "# numbers")):
            content = "\n".join(content).split("\n[labels]\n")[0].splitlines()
        assert isinstance(load(tmp_path, "\n".join(content)), Task)


# -- mistakes -----------------------------------------------------------------------------------------------

MISTAKES: Mapping[str, tuple[str, str, str]] = {
    "unknown key": (
        "[data]",
        "batch = 3\n[data]",
        "key 'batch' is not known; choose from data, family",
    ),
    "unknown key of data": (
        "[format]",
        'trian = "b.csv"\n[format]',
        "[data] key 'trian' is not known; did you mean 'train'? choose from",
    ),
    "unknown key of format": (
        "[labels]",
        'prefix = "a"\n[labels]',
        "[format] key 'prefix' is not known; choose from answers, choices, cut",
    ),
    "no name": ('name = "mine"\n', "", "name is missing"),
    "empty name": ('"mine"', '""', "name is empty"),
    "name of another type": ('"mine"', "5", "name is 5; expected a text"),
    "no data": ('[data]\ntrain = "a.csv"\n', "", "table [data] is missing"),
    "data of another type": (
        '[data]\ntrain = "a.csv"\n',
        'data = "a.csv"\n',
        "table [data] is missing",
    ),
    "no file": (
        'train = "a.csv"',
        "",
        "[data] names neither a file for train, dev or test, nor a hub data set",
    ),
    "file of unknown kind": (
        "a.csv",
        "a.xlsx",
        "data.train is a.xlsx; expected one of .jsonl, .json",
    ),
    "number as file": ('"a.csv"', "5", "data.train is 5; expected the name of a file"),
    "parts of unknown name": (
        'train = "a.csv"',
        'hub = "a/b"\nparts = { trian = "x" }',
        "data.parts must name",
    ),
    "no parts": ('train = "a.csv"', 'hub = "a/b"\nparts = {}', "data.parts must name"),
    "parts of another type": (
        'train = "a.csv"',
        'hub = "a/b"\nparts = "train"',
        "data.parts must name",
    ),
    "no format": (
        '[format]\ntemplate = "review: {text}"\nlabel = "label"\n',
        "",
        "table [format] is missing",
    ),
    "no template": ('template = "review: {text}"\n', "", "format.template is missing"),
    "no label": ('label = "label"\n', "", "format.label is missing"),
    "template without column": ("{text}", "text", "format.template names no column"),
    "template with an empty column": ("{text}", "{text} {}", "format.template names no column"),
    "template with an open brace": (
        "{text}",
        "{text",
        "format.template cannot be read: a brace stands alone in",
    ),
    "labels of another type": (
        '[labels]\n"0" = "bad"\n"1" = "good"\n',
        "[[labels]]\na = 1\n",
        "table [labels]",
    ),
    "metrics of another type": ('["accuracy"]', '"accuracy"', "metrics must be a list of names"),
    "no metric": ('["accuracy"]', "[]", "metrics must be a list of names"),
    "unknown metric": (
        '["accuracy"]',
        '["acuracy"]',
        "metric 'acuracy' is not known; did you mean 'accuracy'? choose from",
    ),
    "metric of another type": ('["accuracy"]', "[5]", "metric 5 is no text"),
    "format of unknown name": (
        "[format]",
        'format = "excel"\n[format]',
        "data.format 'excel' is not known; choose from",
    ),
    "misspelt format": (
        "[format]",
        'format = "jsnol"\n[format]',
        "data.format 'jsnol' is not known; did you mean 'jsonl'?",
    ),
    "long delimiter": (
        "[format]",
        'delimiter = "::"\n[format]',
        "data.delimiter is '::'; expected one character",
    ),
    "mark as delimiter": (
        "[format]",
        "delimiter = '\"'\n[format]",
        "data.delimiter is '\"'; expected one character",
    ),
    "quoted of another type": (
        "[format]",
        'quoted = "yes"\n[format]',
        "data.quoted is 'yes'; expected true or false",
    ),
    "unknown encoding": (
        "[format]",
        'encoding = "ansi"\n[format]',
        "data.encoding is 'ansi', which is not known",
    ),
    "columns of another type": (
        "[format]",
        'columns = "text"\n[format]',
        "data.columns is 'text'; expected a list",
    ),
    "columns of numbers": (
        "[format]",
        "columns = [1]\n[format]",
        "data.columns is [1]; expected a list of texts",
    ),
    "a column twice": (
        "[format]",
        'columns = ["a", "a"]\n[format]',
        "data.columns names 'a' more than once",
    ),
    "bad rows below none": (
        "[format]",
        "allow_bad_rows = -1\n[format]",
        "data.allow_bad_rows is -1; expected the",
    ),
    "bad rows as a switch": (
        "[format]",
        "allow_bad_rows = true\n[format]",
        "data.allow_bad_rows is True; expected a",
    ),
    "skip of another type": (
        "[format]",
        'skip = ["-"]\n[format]',
        "data.skip is ['-']; expected a table",
    ),
    "skip without values": (
        "[format]",
        "skip = { label = [] }\n[format]",
        "data.skip.label is []; expected a list",
    ),
    "skip of tables": (
        "[format]",
        "skip = { label = [{}] }\n[format]",
        "data.skip.label is [{}]; expected a list",
    ),
    "skip of endless numbers": (
        "[format]",
        f"skip = {{ label = [0x{'f' * 9999}] }}\n[format]",
        "data.skip.label is a list too long to show; expected a list",
    ),
    "endless bad rows": (
        "[format]",
        f"allow_bad_rows = 0x{'f' * 9999}\n[format]",
        "data.allow_bad_rows is a int too long to show; expected the",
    ),
    "revision without hub": (
        "[format]",
        'revision = "a"\n[format]',
        "data.revision goes with data.hub",
    ),
    "delimiter of JSON": (
        '"a.csv"',
        '"a.json"\ndelimiter = ";"',
        "data.delimiter is not for files such as a.json",
    ),
    "encoding of Parquet": (
        '"a.csv"',
        '"a.parquet"\nencoding = "ascii"',
        "data.encoding is not for files such as",
    ),
    "delimiter of a hub": (
        'train = "a.csv"',
        'hub = "a/b"\ndelimiter = ";"',
        "data.delimiter is for files",
    ),
    "hub of another type": ('train = "a.csv"', "hub = 5", "data.hub is 5; expected a text"),
    "columns of a hub": (
        'train = "a.csv"',
        'hub = "a/b"\ncolumns = ["a"]',
        "data.columns is ['a']; expected our",
    ),
    "two files of a table": (
        '"a.csv"',
        '["a.csv", "b.csv"]',
        "data.train is ['a.csv', 'b.csv']; expected the name",
    ),
    "a compressed file": (
        "a.csv",
        "a.csv.gz",
        "data.train is a.csv.gz, a compressed file; unpack it",
    ),
    "answers beside label": (
        "[labels]",
        'answers = "a"\n[labels]',
        "format.answers stands beside format.label",
    ),
    "answers with labels": ('label = "label"', 'answers = "a"', "format.answers is for free text"),
    "cut of a column elsewhere": (
        "[labels]",
        'cut = "txet"\n[labels]',
        "format.cut: the template's column 'txet' is not known; did you mean 'text'?",
    ),
    "family of another type": (
        'name = "mine"',
        'name = "mine"\nfamily = ["a"]',
        "family is ['a']; expected a text",
    ),
    "notes of another type": (
        'name = "mine"',
        'name = "mine"\nnotes = 5',
        "notes is 5; expected a text",
    ),
    "a hexadecimal number without end": (
        '"mine"',
        f"0x{'f' * 9999}",
        "name is a int too long to show",
    ),
    "no TOML": ("[data]", "[data", "not TOML ("),
    "a brace alone": (
        "{text}",
        "{text} }",
        "format.template cannot be read: a brace stands alone in ' }'",
    ),
}


@pytest.mark.parametrize(("old", "new", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_the_task_file_and_the_key(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert GOOD.count(old) == 1
    assert refused(tmp_path, GOOD.replace(old, new)).startswith(reason)


@pytest.mark.parametrize(
    "metric", [name for name, metric in METRICS.items() if metric.needs_labels]
)
def test_metrics_of_classes_need_two_labels(tmp_path: Path, metric: str) -> None:
    content = GOOD.replace("accuracy", metric)
    assert load(tmp_path, content).metrics == (metric,)
    reason = f"metric {metric!r} needs at least two [labels]"
    assert refused(tmp_path, content.replace('"1" = "good"\n', "")) == reason
    assert refused(tmp_path, content.split("[labels]")[0]) == reason


@pytest.mark.parametrize("metric", ["f1", "matthews_correlation", "f1_over_answers"])
def test_metrics_of_two_labels_are_of_no_more(tmp_path: Path, metric: str) -> None:
    content = GOOD.replace("accuracy", metric) + '"2" = "middling"\n'
    reason = f"metric {metric!r} is of two labels, and the task has 3; take macro_f1 or accuracy"
    assert refused(tmp_path, content) == reason


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_metrics_of_numbers_are_of_no_words(tmp_path: Path, metric: str) -> None:
    content = GOOD.replace("accuracy", metric)
    reason = f"metric {metric!r} is of numbers, and 'bad' is none; take accuracy"
    assert refused(tmp_path, content) == reason
    numbers = content.replace('"bad"', '"-1"').replace('"good"', '"1.5"')
    assert load(tmp_path, numbers).metrics == (metric,)


def test_labels_of_one_word_alone_are_no_classes(tmp_path: Path) -> None:
    reason = "every value of [labels] is 'good'; expected two words or more"
    assert refused(tmp_path, GOOD.replace('= "bad"', '= "good"')) == reason
    three = load(tmp_path, GOOD.replace("[labels]", '[labels]\n"2" = "good"'))
    assert sorted(three.labels) == ["bad", "good"]


@pytest.mark.parametrize(
    "metric", [name for name, metric in METRICS.items() if metric.needs_groups]
)
def test_metrics_of_groups_need_the_column_of_groups(tmp_path: Path, metric: str) -> None:
    content = GOOD.replace("accuracy", metric)
    reason = f"metric {metric!r} needs format.group, the column of what is scored together"
    assert refused(tmp_path, content) == reason
    assert load(tmp_path, content.replace("[format]", '[format]\ngroup = "text"')).metrics == (
        metric,
    )


def test_a_task_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"none\.toml: no such file; `spot init-task` writes one"):
        load_task_file(tmp_path / "none.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes('name = "café"'.encode("latin-1"))
    with pytest.raises(TaskError, match=r"latin\.toml: not UTF-8 text"):
        load_task_file(path)


def test_a_folder_in_place_of_a_task_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=str(tmp_path)):
        load_task_file(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["accuracy"]', '[["accuracy"]]'),
        ('["accuracy"]', "[{ a = 1 }]"),
        ("a.csv", "\\u0000.csv"),
        ('"mine"', f'"mine"\nnotes = {"9" * 5_000}'),
        ('"mine"', f'"mine"\nnotes = {"[" * 5_000}'),
    ],
    ids=["nested metrics", "table of metrics", "null byte", "huge number", "deep nesting"],
)
def test_odd_values_are_an_error_of_the_task(tmp_path: Path, old: str, new: str) -> None:
    assert refused(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"1" = "good"', '"1" = { a = 1 }'),
        ('train = "a.csv"', 'hub = "a/b"\nparts = { train = 1 }'),
        ('train = "a.csv"', 'hub = "a/b"\ntrain = "a.csv"'),
    ],
    ids=["table of label words", "number as part", "hub and file"],
)
def test_values_that_mean_nothing_are_refused_with_their_key(
    tmp_path: Path, old: str, new: str
) -> None:
    reason = refused(tmp_path, GOOD.replace(old, new))
    assert any(key in reason for key in ("labels", "data.parts", "data.hub"))


def test_a_byte_order_mark_before_a_task_file_does_no_harm(tmp_path: Path) -> None:
    assert load(tmp_path, f"\ufeff{GOOD}").name == "mine"


# -- anything at all ----------------------------------------------------------------------------------------

bare = st.sampled_from(
    [
        "name",
        "metrics",
        "data",
        "format",
        "labels",
        "notes",
        "train",
        "hub",
        "parts",
        "template",
        "label",
        "x",
    ]
)
plain = st.text(
    st.characters(codec="ascii", categories=["L", "N", "P", "Z"], exclude_characters='"\\'),
    max_size=8,
)


def inline_table(values: list[str]) -> str:
    """An inline table of these values."""
    return f"{{ {', '.join(f'k{i} = {value}' for i, value in enumerate(values))} }}"


value = st.recursive(
    plain.map(lambda text: f'"{text}"')
    | st.integers().map(str)
    | st.sampled_from(["true", "1.5", '"{a}.csv"']),
    lambda inner: st.lists(inner, max_size=3).map(inline_table),
    max_leaves=4,
)
line = st.one_of(
    st.builds(lambda key, v: f"{key} = {v}", bare, value),
    bare.map(lambda key: f"[{key}]"),
    st.sampled_from(GOOD.splitlines()),
    plain,
)


@settings(max_examples=300)
@given(st.lists(line, max_size=14).map("\n".join))
def test_no_text_makes_loading_fail_otherwise_than_with_an_error_of_the_task(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        task = load(folder, content)
    except TaskError as error:
        assert str(error).startswith(f"{folder / 'mine.toml'}: ")
    else:
        assert task.name == tomllib.loads(content)["name"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(range(len(GOOD.splitlines()))), st.data())
def test_a_good_file_with_one_line_changed_loads_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, number: int, data: st.DataObject
) -> None:
    lines = GOOD.splitlines()
    lines[number] = data.draw(line)
    folder = tmp_path_factory.getbasetemp()
    try:
        assert isinstance(load(folder, "\n".join(lines)), Task)
    except TaskError as error:
        assert str(error).startswith(f"{folder / 'mine.toml'}: ")
