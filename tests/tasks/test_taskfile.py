"""Task files: the one written to start from, every format of data, and one line for every mistake."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import Example, Split, Task, TaskError
from tasks.metrics import METRICS, NEED_LABELS
from tasks.taskfile import example_task_file, load_task_file

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
    content = "text,label\n" + "".join(f"{'bad' if i % 2 else 'fine'} {i},{(i + 1) % 2}\n" for i in range(100))
    (tmp_path / "reviews_train.csv").write_text(content, encoding="utf-8")
    task = load_task_file(path)
    assert (task.name, task.family, task.metrics) == ("reviews", "sentiment", ("accuracy",))
    found = [example for split in Split for example in task.examples(split)]
    assert len(found) == 100
    assert Example(inputs="review: fine 0", target="good", choices=("bad", "good"), cut=(8, 14)) in found
    assert Example(inputs="review: bad 1", target="bad", choices=("bad", "good"), cut=(8, 13)) in found


def test_the_commented_keys_of_the_file_to_start_from_are_keys(tmp_path: Path) -> None:
    lines = example_task_file("reviews").splitlines()
    files = [line.removeprefix("# ") if line.startswith(("# dev =", "# test =")) else line for line in lines]
    (tmp_path / "a").mkdir()
    assert load(tmp_path / "a", "\n".join(files)).source.files.keys() == {"train", "dev", "test"}
    hub = ("# hub =", "# config =", "# parts =")
    hubs = [line.removeprefix("# ") if line.startswith(hub) else line for line in lines if not line.startswith("train")]
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
        lines = [separated[suffix].join(row.values()) for row in ({"text": "text", "label": "label"}, *ROWS)]
        content = "\n".join(lines)
    else:
        content = json.dumps(ROWS) if suffix == ".json" else "\n".join(map(json.dumps, ROWS))
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_the_same_rows_of_any_format_are_the_same_examples_in_the_same_splits(tmp_path: Path, suffix: str) -> None:
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
        assert all(example.inputs.startswith(f"review: {part} ") for example in task.examples(split))


def test_a_template_may_use_several_columns_braces_and_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,other\nfine,1,{x}\n", encoding="utf-8")
    content = GOOD.replace('"review: {text}"', '"""{{a}} one: {text}\n two:   {other} {text}"""')
    (example,) = load(tmp_path, content + '# "2" = "no"').formatter({"text": "a\tb", "other": "{x}", "label": 1})
    assert example == Example(inputs="{a} one: a b two: {x} a b", target="good", choices=("bad", "good"), cut=(9, 12))


def test_without_labels_the_answer_is_free_text_scored_by_exact_match(tmp_path: Path) -> None:
    content = GOOD.split("[labels]")[0].replace('metrics = ["accuracy"]\n', "")
    task = load(tmp_path, content)
    assert (task.metrics, task.labels, task.family) == (("exact_match",), (), "user")
    assert task.formatter({"text": "a", "label": "Any Thing"}) == [
        Example(inputs="review: a", target="Any Thing", cut=(8, 9))
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
    content = GOOD.replace("[data]\n", '[data]\ndev = "a.csv"\ntest = "a.csv"\n').replace('"0"', f'"{key}"')
    assert [example.target for example in load(tmp_path, content).examples(Split.TRAIN)] == targets


def test_mistakes_in_the_rows_are_those_of_any_task(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,gold\n" + "fine,1\n" * 3, encoding="utf-8")
    with pytest.raises(TaskError, match=r"a\.csv, row 2: no column 'label' \(columns: text, gold\)"):
        load(tmp_path, GOOD.replace("[data]\n", '[data]\ntest = "a.csv"\n')).examples(Split.TEST)
    with pytest.raises(TaskError, match=r"b\.csv: no such file"):
        load(tmp_path, GOOD.replace("a.csv", "b.csv")).examples(Split.TRAIN)


# -- mistakes -----------------------------------------------------------------------------------------------

MISTAKES: Mapping[str, tuple[str, str, str]] = {
    "unknown key": ("[data]", "batch = 3\n[data]", "unknown key batch; expected data, family"),
    "unknown key of data": (
        "[format]",
        'trian = "b.csv"\n[format]',
        "unknown key data.trian (did you mean train?); expected",
    ),
    "unknown key of format": ("[labels]", 'prefix = "a"\n[labels]', "unknown key format.prefix; expected answers, cut"),
    "no name": ('name = "mine"\n', "", "name is missing"),
    "empty name": ('"mine"', '""', "name is empty"),
    "name of another type": ('"mine"', "5", "name is 5; expected a text"),
    "no data": ('[data]\ntrain = "a.csv"\n', "", "table [data] is missing"),
    "data of another type": ('[data]\ntrain = "a.csv"\n', 'data = "a.csv"\n', "table [data] is missing"),
    "no file": ('train = "a.csv"', "", "[data] names neither a file for train, dev or test, nor a hub data set"),
    "file of unknown kind": ("a.csv", "a.xlsx", "data.train is a.xlsx; expected one of .jsonl, .json"),
    "number as file": ('"a.csv"', "5", "data.train is 5; expected the name of a file"),
    "parts of unknown name": ('train = "a.csv"', 'hub = "a/b"\nparts = { trian = "x" }', "data.parts must name"),
    "no parts": ('train = "a.csv"', 'hub = "a/b"\nparts = {}', "data.parts must name"),
    "parts of another type": ('train = "a.csv"', 'hub = "a/b"\nparts = "train"', "data.parts must name"),
    "no format": ('[format]\ntemplate = "review: {text}"\nlabel = "label"\n', "", "table [format] is missing"),
    "no template": ('template = "review: {text}"\n', "", "format.template is missing"),
    "no label": ('label = "label"\n', "", "format.label is missing"),
    "template without column": ("{text}", "text", "format.template names no column"),
    "template with an empty column": ("{text}", "{text} {}", "format.template names no column"),
    "template with an open brace": ("{text}", "{text", "format.template cannot be read: expected '}'"),
    "labels of another type": ('[labels]\n"0" = "bad"\n"1" = "good"\n', "[[labels]]\na = 1\n", "table [labels]"),
    "metrics of another type": ('["accuracy"]', '"accuracy"', "metrics must be a list of names"),
    "no metric": ('["accuracy"]', "[]", "metrics must be a list of names"),
    "unknown metric": (
        '["accuracy"]',
        '["acuracy"]',
        "metric 'acuracy' is not known (did you mean accuracy?)",
    ),
    "metric of another type": ('["accuracy"]', "[5]", "metric 5 is not known"),
    "no TOML": ("[data]", "[data", "not TOML ("),
}


@pytest.mark.parametrize(("old", "new", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_the_task_file_and_the_key(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert GOOD.count(old) == 1
    assert refused(tmp_path, GOOD.replace(old, new)).startswith(reason)


@pytest.mark.parametrize("metric", sorted(NEED_LABELS))
def test_metrics_of_classes_need_two_labels(tmp_path: Path, metric: str) -> None:
    content = GOOD.replace("accuracy", metric)
    assert load(tmp_path, content).metrics == (metric,)
    reason = f"metric {metric!r} needs at least two [labels]"
    assert refused(tmp_path, content.replace('"1" = "good"\n', "")) == reason
    assert refused(tmp_path, content.split("[labels]")[0]) == reason


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
def test_values_that_mean_nothing_are_refused_with_their_key(tmp_path: Path, old: str, new: str) -> None:
    reason = refused(tmp_path, GOOD.replace(old, new))
    assert any(key in reason for key in ("labels", "data.parts", "data.hub"))


def test_a_byte_order_mark_before_a_task_file_does_no_harm(tmp_path: Path) -> None:
    assert load(tmp_path, f"\ufeff{GOOD}").name == "mine"


# -- anything at all ----------------------------------------------------------------------------------------

bare = st.sampled_from(
    ["name", "metrics", "data", "format", "labels", "notes", "train", "hub", "parts", "template", "label", "x"]
)
plain = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Z"], exclude_characters='"\\'), max_size=8)


def inline_table(values: list[str]) -> str:
    """An inline table of these values."""
    return f"{{ {', '.join(f'k{i} = {value}' for i, value in enumerate(values))} }}"


value = st.recursive(
    plain.map(lambda text: f'"{text}"') | st.integers().map(str) | st.sampled_from(["true", "1.5", '"{a}.csv"']),
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
