"""A task file can do what a built-in task does: for every kind one that equals it, example by example."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import Split, Task, TaskError, get_task
from tasks.definitions import WORDNET_FOLDER
from tasks.taskfile import load_task_file

THREE = '"entailment" = "entailment"\n"contradiction" = "contradiction"\n"neutral" = "neutral"'

KINDS: dict[str, str] = {
    "sst2": """
[data]
train = "glue/SST-2/train.tsv"
dev = "glue/SST-2/dev.tsv"
quoted = false
shared_texts = "sentence"
[format]
template = "sentence: {sentence}"
label = "label"
[labels]
"0" = "negative"
"1" = "positive"
""",
    "cola": """
metrics = ["matthews_correlation"]
[data]
train = "glue/CoLA/train.tsv"
dev = "glue/CoLA/dev.tsv"
quoted = false
columns = ["origin", "label", "mark", "sentence"]
shared_texts = ["sentence"]
[format]
template = "sentence: {sentence}"
label = "label"
[labels]
"0" = "unacceptable"
"1" = "acceptable"
""",
    "mrpc": """
metrics = ["f1", "accuracy"]
[data]
train = "glue/MRPC/train.tsv"
dev = "glue/MRPC/dev.tsv"
quoted = false
shared_texts = ["#1 String", "#2 String"]
[format]
template = "sentence1: {#1 String} sentence2: {#2 String}"
label = "Quality"
[labels]
"0" = "not_equivalent"
"1" = "equivalent"
""",
    "stsb": """
[data]
train = "glue/STS-B/train.tsv"
dev = "glue/STS-B/dev.tsv"
quoted = false
shared_texts = ["sentence1", "sentence2"]
[format]
template = "sentence1: {sentence1} sentence2: {sentence2}"
label = "score"
numbers = { low = 0, high = 5, step = 0.2 }
""",
    "qnli": """
[data]
train = "glue/QNLI/train.tsv"
dev = "glue/QNLI/dev.tsv"
quoted = false
shared_texts = ["question", "sentence"]
equal_texts = "question"
[format]
template = "question: {question} sentence: {sentence}"
label = "label"
[labels]
"entailment" = "entailment"
"not_entailment" = "not_entailment"
""",
    "boolq": """
[data]
train = "super_glue/BoolQ/train.jsonl"
dev = "super_glue/BoolQ/val.jsonl"
split_key = "passage"
[format]
template = "passage: {passage} question: {question}"
label = "label"
[labels]
"false" = "False"
"true" = "True"
""",
    "cb": f"""
metrics = ["macro_f1", "accuracy"]
[data]
train = "super_glue/CB/train.jsonl"
dev = "super_glue/CB/val.jsonl"
[format]
template = "hypothesis: {{hypothesis}} premise: {{premise}}"
label = "label"
[labels]
{THREE}
""",
    "copa": """
[data]
train = "super_glue/COPA/train.jsonl"
dev = "super_glue/COPA/val.jsonl"
[format]
template = "choice1: {choice1} choice2: {choice2} premise: {premise} question: {question}"
label = "label"
[labels]
"0" = "choice1"
"1" = "choice2"
""",
    "multirc": """
metrics = ["f1_over_answers", "group_exact_match"]
[data]
train = "super_glue/MultiRC/train.jsonl"
dev = "super_glue/MultiRC/val.jsonl"
unfold = "passage.questions.answers"
split_key = "idx"
[format]
template = "question: {passage.questions.question} answer: {passage.questions.answers.text} paragraph: {passage.text}"
label = "passage.questions.answers.label"
group = ["idx", "passage.questions.idx"]
replace = { "<br>" = " ", "<b>" = "", "</b>" = "" }
[labels]
"0" = "False"
"1" = "True"
""",
    "wsc": """
[data]
train = "super_glue/WSC/train.jsonl"
dev = "super_glue/WSC/val.jsonl"
shared_texts = ["text"]
train_where = { label = ["true"] }
[format]
template = "{text}"
label = "target.span1_text"
truth = "label"
mark = { column = "text", word = "target.span2_text", index = "target.span2_index" }
""",
    "squad": """
metrics = ["exact_match", "token_f1"]
[data]
train = "squad/train-v1.1.json"
dev = "squad/dev-v1.1.json"
split_key = "context"
[format]
template = "question: {question} context: {context}"
answers = "answers"
spaced_punctuation = true
""",
    "few_rte": """
[data]
train = "few_glue/RTE/train.jsonl"
dev = "few_glue/RTE/dev32.jsonl"
test = "super_glue/RTE/val.jsonl"
[format]
template = "hypothesis: {hypothesis} premise: {premise}"
label = "label"
[labels]
"entailment" = "entailment"
"not_entailment" = "not_entailment"
""",
    "scitail": """
[data]
train = "scitail/train.txt"
dev = "scitail/dev.txt"
test = "scitail/test.txt"
format = "tsv"
quoted = false
columns = ["premise", "hypothesis", "label"]
[format]
template = "hypothesis: {hypothesis} premise: {premise}"
label = "label"
[labels]
"0" = "neutral"
"1" = "entailment"
""",
    "trec": """
[data]
train = "trec/train.txt"
test = "trec/test.txt"
format = "label text"
encoding = "latin-1"
[format]
template = "text: {text}"
label = "label"
[labels]
"0" = "description"
"1" = "entity"
"2" = "abbreviation"
"3" = "human"
"4" = "location"
"5" = "number"
""",
    "blitzer_books": """
[data]
train = "blitzer/books/train.tsv"
dev = "blitzer/books/dev.tsv"
quoted = true
[format]
template = "sentence: {sentence}"
label = "label"
[labels]
"0" = "negative"
"1" = "positive"
""",
    "tweet_hate": """
[data]
train = ["tweet_eval/hate/train_text.txt", "tweet_eval/hate/train_labels.txt"]
dev = ["tweet_eval/hate/val_text.txt", "tweet_eval/hate/val_labels.txt"]
test = ["tweet_eval/hate/test_text.txt", "tweet_eval/hate/test_labels.txt"]
format = "text and labels"
unseen = "text"
[format]
template = "text: {text}"
label = "label"
[labels]
"0" = "harmless"
"1" = "hate"
""",
    "wn_choose_word": """
metrics = ["accuracy"]
[data]
train = "wn_choose_word.train.jsonl"
dev = "wn_choose_word.dev.jsonl"
test = "wn_choose_word.test.jsonl"
[format]
template = "definition: {definition} choice1: {choice1} choice2: {choice2} choice3: {choice3} choice4: {choice4}"
label = "label"
choices = ["choice1", "choice2", "choice3", "choice4"]
""",
    "wn_define": """
[data]
train = "wn_define.train.jsonl"
dev = "wn_define.dev.jsonl"
test = "wn_define.test.jsonl"
[format]
template = "definition: {definition}"
label = "label"
""",
}
"""Task files of built-in tasks, of every kind, for the folder of their data."""

every_kind = pytest.mark.parametrize("name", KINDS)


@pytest.fixture
def pair(name: str, official_files: Path, tmp_path: Path) -> tuple[Task, Task, Path]:
    """The built-in task, the one of the file, and the folder of the first one's data."""
    folder = WORDNET_FOLDER if name.startswith("wn_") else official_files
    content = KINDS[name]
    for quote in ('= "', '= ["', '", "'):
        for start in ("glue/", "super_glue/", "few_glue/", "squad/", "scitail/", "trec/", "blitzer/",
                      "tweet_eval/", "wn_"):  # fmt: skip
            content = content.replace(f"{quote}{start}", f"{quote}{folder}/{start}")
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\n{content}', encoding="utf-8")
    return get_task(name), load_task_file(path), folder


@every_kind
def test_a_task_file_gives_the_examples_of_the_built_in_task(
    name: str, pair: tuple[Task, Task, Path]
) -> None:
    ours, theirs, folder = pair
    parts = {
        split: (ours.examples(split, data_dir=folder), theirs.examples(split)) for split in Split
    }
    assert parts[Split.TEST][0] == parts[Split.TEST][1]
    if name == "multirc":  # its passages are cut by a hash of all that the official row holds
        parts = {Split.TRAIN: tuple(parts[Split.TRAIN][i] + parts[Split.DEV][i] for i in (0, 1))}  # type: ignore[misc]
    for built_in, of_file in parts.values():
        assert sorted(map(repr, built_in)) == sorted(map(repr, of_file))
    assert (ours.metrics, ours.labels) == (theirs.metrics, theirs.labels)


@every_kind
def test_a_task_file_scores_as_the_built_in_task_does(
    name: str, pair: tuple[Task, Task, Path]
) -> None:
    ours, theirs, folder = pair
    examples = ours.examples(Split.TEST, data_dir=folder)
    guesses = [examples[i // 3 * 2].target for i in range(len(examples))]
    scores = theirs.score(guesses, theirs.examples(Split.TEST))
    assert scores == ours.score(guesses, examples)
    assert scores["score"] < 100


HEAD = 'name = "mine"\n[data]\ntrain = "a.jsonl"\n'


def load(folder: Path, content: str, rows: str = "") -> Task:
    """The task of a file of this content, beside its data."""
    (folder / "a.jsonl").write_text(rows, encoding="utf-8")
    path = folder / "mine.toml"
    path.write_text(content, encoding="utf-8")
    return load_task_file(path)


def test_labels_may_name_the_column_of_the_right_choice(tmp_path: Path) -> None:
    content = HEAD + (
        '[format]\ntemplate = "{q}"\nlabel = "label"\nchoices = ["a", "b"]\n[labels]\n"0" = "a"\n"1" = "b"\n'
    )
    task = load(tmp_path, content)
    assert task.labels == ()
    assert task.metrics == ("accuracy",)
    (example,) = task.formatter({"q": "who?", "a": "Ann", "b": "Bob", "label": 1})
    assert (example.target, example.choices) == ("Bob", ("Ann", "Bob"))


def test_rows_with_the_same_values_in_several_columns_stay_together(tmp_path: Path) -> None:
    rows = "\n".join(
        f'{{"a": {i // 4}, "b": {i // 2 % 2}, "t": "text {i}", "label": "x"}}' for i in range(400)
    )
    content = HEAD + 'split_key = ["a", "b"]\n[format]\ntemplate = "{a} {b} {t}"\nlabel = "label"\n'
    task = load(tmp_path, content, rows)
    groups = [
        {tuple(example.inputs.split()[:2]) for example in task.examples(split)} for split in Split
    ]
    assert sum(map(len, groups)) == 200
    assert all(len(one) >= 10 for one in groups)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("6", "label '6' lies outside 0 to 5"),
        ("nan", "label 'nan' lies outside 0 to 5"),
        ("much", "label 'much' is no number"),
    ],
)
def test_a_label_that_is_none_of_the_numbers_is_named_with_its_row(
    value: str, reason: str, tmp_path: Path
) -> None:
    content = HEAD + (
        '[format]\ntemplate = "{t}"\nlabel = "label"\nnumbers = { low = 0, high = 5, step = 0.5 }\n'
    )
    task = load(tmp_path, content, f'{{"t": "a", "label": "{value}"}}')
    with pytest.raises(TaskError) as caught:
        for split in Split:
            task.examples(split)
    assert str(caught.value) == f"{tmp_path / 'a.jsonl'}, row 1: {reason}"


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ("{ low = -1, high = 1, step = 1 }", ("-1", "0", "1")),
        ("{ low = 0.5, high = 1.5, step = 0.25 }", ("0.50", "0.75", "1.00", "1.25", "1.50")),
        ("{ low = 0, high = 40, step = 20 }", ("0", "20", "40")),
    ],
)
def test_numbers_are_written_with_the_decimals_of_their_step(
    numbers: str, texts: tuple[str, ...], tmp_path: Path
) -> None:
    content = HEAD + f'[format]\ntemplate = "{{t}}"\nlabel = "label"\nnumbers = {numbers}\n'
    task = load(tmp_path, content)
    for text in texts:
        (example,) = task.formatter({"t": "a", "label": float(text) + 1e-3 * (text != texts[-1])})
        assert (example.target, example.choices) == (text, texts)


@pytest.mark.parametrize(
    ("unfold", "row", "reason"),
    [
        ("a.b", '{"a": [1]}', "a holds 1, nothing named 'b'"),
        ("a.b", '{"c": 1}', "no column 'a' (columns: c)"),
        ("a", '{"a": [{"t": "x"}]}', "no column 'a.label' (columns: a)"),
    ],
)
def test_what_has_nothing_within_is_named_with_its_row(
    unfold: str, row: str, reason: str, tmp_path: Path
) -> None:
    content = HEAD + f'unfold = "{unfold}"\n[format]\ntemplate = "{{a.t}}"\nlabel = "a.label"\n'
    task = load(tmp_path, content, row)
    with pytest.raises(TaskError) as caught:
        task.examples(Split.TRAIN)
    assert str(caught.value) == f"{tmp_path / 'a.jsonl'}, row 1: {reason}"


def test_a_column_with_a_dot_in_its_name_is_that_column(tmp_path: Path) -> None:
    content = HEAD + '[format]\ntemplate = "{a.b}"\nlabel = "label"\n'
    rows = '{"a.b": "flat", "a": {"b": "deep"}, "label": "x"}'
    found = [
        example.inputs
        for split in Split
        for example in _none_where_empty(load(tmp_path, content, rows), split)
    ]
    assert found == ["flat"]


def _none_where_empty(task: Task, split: Split) -> list[object]:
    try:
        return list(task.examples(split))
    except TaskError as error:
        assert "is empty" in str(error)
        return []


FORMAT = '[format]\ntemplate = "{t}"\nlabel = "label"\n'

MISTAKES: dict[str, tuple[str, str]] = {
    "choices of one column": ('choices = ["a"]', "format.choices is ['a']; expected two columns"),
    "choices twice": ('choices = ["a", "a"]', "format.choices is ['a', 'a']; expected two columns"),
    "choices beside numbers": (
        'choices = ["a", "b"]\nnumbers = { low = 0, high = 5, step = 1 }',
        "format.choices stands beside format.numbers; give one of them",
    ),
    "numbers without a step": ("numbers = { low = 0, high = 5 }", "format.numbers is {'high': 5, 'low': 0}; exp"),
    "numbers upside down": (
        "numbers = { low = 5, high = 0, step = 1 }", "format.numbers is {'high': 0, 'low': 5, 'step': 1}; expected low"
    ),
    "too many numbers": ("numbers = { low = 0, high = 1e9, step = 1 }", "format.numbers is "),
    "numbers that are none": ("numbers = { low = 0, high = inf, step = 1 }", "format.numbers is "),
    "numbers beside labels": (
        'numbers = { low = 0, high = 5, step = 1 }\n[labels]\n"0" = "a"\n"1" = "b"',
        "format.numbers is for numbers; leave [labels] out",
    ),
    "a label of no choice": (
        'choices = ["one", "two"]\n[labels]\n"0" = "one"\n"1" = "too"',
        "a value of [labels]: format.choices' column 'too' is not known; did you mean 'two'",
    ),
    "a mark without a word": ('mark = { column = "t", index = "i" }', "format.mark is "),
    "a mark of another column": (
        'mark = { column = "u", word = "w", index = "i" }', "format.mark: the template's column 'u' is not known"
    ),
    "nothing replaced": ('replace = { "" = "a" }', "format.replace is "),
    "replaced by a number": ('replace = { "a" = 1 }', "format.replace is "),
    "groups twice": ('group = ["a", "a"]', "format.group names 'a' more than once"),
    "no groups": ("group = []", "format.group is []; expected a column or several"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_format_is_one_line(lines: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        load(tmp_path, HEAD + FORMAT + lines + "\n")
    assert str(caught.value).removeprefix(f"{tmp_path / 'mine.toml'}: ").startswith(reason)


OF_DATA: dict[str, tuple[str, str]] = {
    "two ways to stay together": (
        'split_key = "t"\nshared_texts = "t"', "data.shared_texts stands beside data.split_key; give one of them"
    ),
    "equal texts alone": ('equal_texts = "t"', "data.equal_texts: the column of data.shared_texts 't' is not known"),
    "a path with a gap": ('unfold = "a..b"', "data.unfold is 'a..b'; expected names with dots between"),
    "training rows of nothing": ("train_where = { label = [] }", "data.train_where.label is []; expected a list"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "reason"), OF_DATA.values(), ids=OF_DATA)
def test_a_mistake_in_the_data_is_one_line(lines: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        load(tmp_path, HEAD + lines + "\n" + FORMAT)
    assert str(caught.value).removeprefix(f"{tmp_path / 'mine.toml'}: ").startswith(reason)


def test_wscs_metric_asks_for_the_truth(tmp_path: Path) -> None:
    content = HEAD.replace("[data]", 'metrics = ["word_subset"]\n[data]') + FORMAT
    with pytest.raises(TaskError, match=r"metric 'word_subset' needs format\.truth"):
        load(tmp_path, content)


def test_options_that_are_not_given_leave_the_content_of_a_task_as_it_was(tmp_path: Path) -> None:
    before = load(tmp_path, HEAD + FORMAT).content
    assert before == "f74bccf97ae4948ad392ab6b655196e43301cd9d30e4096005f2abacb9454dcd"
    contents = {
        load(tmp_path, HEAD + FORMAT + f"{lines}\n").content
        for lines in ("spaced_punctuation = true", 'replace = { "a" = "b" }', 'group = ["t", "u"]')
    }
    assert len(contents | {before}) == 4


def test_training_rows_whose_text_is_in_the_development_rows_of_the_same_file_are_left_out(
    tmp_path: Path,
) -> None:
    texts = [f"a text of many letters that is number {i} of all" for i in range(60)]
    rows = "\n".join(
        f'{{"id": {i}, "t": "{text}", "label": "x"}}' for i, text in enumerate([*texts, *texts])
    )
    task = load(tmp_path, HEAD + 'unseen = "t"\n' + FORMAT, rows)
    found = {split: {example.inputs for example in task.examples(split)} for split in Split}
    assert len(found[Split.TRAIN]) > 30
    assert len(found[Split.DEV]) > 3
    assert not found[Split.TRAIN] & found[Split.DEV]


def test_a_row_without_the_column_of_unseen_is_named(tmp_path: Path) -> None:
    task = load(tmp_path, HEAD + 'unseen = "u"\n' + FORMAT, '{"t": "a", "label": "x"}')
    with pytest.raises(TaskError, match=r"a\.jsonl, row 1: no column 'u' \(columns: t, label\)$"):
        task.examples(Split.TRAIN)


def test_an_index_that_is_no_number_is_named(tmp_path: Path) -> None:
    task = load(tmp_path, HEAD + FORMAT + 'mark = { column = "t", word = "w", index = "i" }\n')
    assert task.formatter({"t": "a b", "w": "b", "i": "1", "label": "x"})[0].inputs == "a *b*"
    with pytest.raises(ValueError, match="column 'i' is 'one'; expected a whole number"):
        task.formatter({"t": "a b", "w": "b", "i": "one", "label": "x"})
