"""Text of every formatter, for an official row and for a row of the hub."""

import re
import sys
from collections.abc import Iterator, Mapping
from itertools import permutations
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import Example, Task, get_task, registry
from tasks.formats import (
    classify,
    fields,
    free_text,
    joined,
    multiple_choice,
    multirc_passages,
    record_passages,
    similarity_score,
    wsc,
    wsc_is_true,
)
from tasks.singles import singles
from tasks.suites import glue, super_glue
from tasks.task import place
from tests.further import FURTHER_ROWS

Row = Mapping[str, Any]


class ClassLabel(NamedTuple):
    """Stands for ``datasets.ClassLabel``."""

    names: list[str]


class Case(NamedTuple):
    """One example of a task: its official row, its row on the hub with the class labels, and the text of both."""

    task: str
    official: Row
    hub: Row
    classes: Mapping[str, list[str]]
    inputs: str
    target: str


YES_NO = {"label": ["entailment", "not_entailment"]}
TRUTH = {"label": ["False", "True"]}
NLI = ["entailment", "neutral", "contradiction"]

CASES = [
    Case(
        "sst2",
        {"sentence": "a  fine film ", "label": "1"},
        {"sentence": "a  fine film ", "label": 1, "idx": 0},
        {"label": ["negative", "positive"]},
        "sentence: a fine film",
        "positive",
    ),
    Case(
        "cola",
        {"origin": "gj04", "label": "0", "mark": "*", "sentence": "Him ran."},
        {"sentence": "Him ran.", "label": 0, "idx": 1},
        {"label": ["unacceptable", "acceptable"]},
        "sentence: Him ran.",
        "unacceptable",
    ),
    Case(
        "mrpc",
        {
            "Quality": "1",
            "#1 ID": "1",
            "#2 ID": "2",
            "#1 String": '" Hi " , he said',
            "#2 String": "He greeted",
        },
        {"sentence1": '" Hi " , he said', "sentence2": "He greeted", "label": 1, "idx": 0},
        {"label": ["not_equivalent", "equivalent"]},
        'sentence1: " Hi " , he said sentence2: He greeted',
        "equivalent",
    ),
    Case(
        "qqp",
        {
            "id": "0",
            "qid1": "1",
            "qid2": "2",
            "question1": 'Is "it" so?',
            "question2": "Is it?",
            "is_duplicate": "1",
        },
        {"question1": 'Is "it" so?', "question2": "Is it?", "label": 1, "idx": 0},
        {"label": ["not_duplicate", "duplicate"]},
        'question1: Is "it" so? question2: Is it?',
        "duplicate",
    ),
    *(
        Case(
            name,
            {
                "index": "0",
                "sentence1": "It rains.",
                "sentence2": "It snows.",
                "label1": "neutral",
                "gold_label": "contradiction",
            },
            {"premise": "It rains.", "hypothesis": "It snows.", "label": 2, "idx": 0},
            {"label": NLI},
            "hypothesis: It snows. premise: It rains.",
            "contradiction",
        )
        for name in ("mnli", "mnli_mismatched")
    ),
    Case(
        "stsb",
        {
            "index": "0",
            "genre": "g",
            "sentence1": "A cat.",
            "sentence2": "A dog.",
            "score": "3.270",
        },
        {"sentence1": "A cat.", "sentence2": "A dog.", "label": 3.2699999809265137, "idx": 0},
        {},
        "sentence1: A cat. sentence2: A dog.",
        "3.2",
    ),
    Case(
        "glue_rte",
        {"index": "0", "sentence1": "It rains.", "sentence2": "It is wet.", "label": "entailment"},
        {"sentence1": "It rains.", "sentence2": "It is wet.", "label": 0, "idx": 0},
        YES_NO,
        "sentence1: It rains. sentence2: It is wet.",
        "entailment",
    ),
    Case(
        "wnli",
        {
            "index": "0",
            "sentence1": "The pin had it.",
            "sentence2": "The hole had it.",
            "label": "0",
        },
        {"sentence1": "The pin had it.", "sentence2": "The hole had it.", "label": 0, "idx": 0},
        {"label": ["not_entailment", "entailment"]},
        "sentence1: The pin had it. sentence2: The hole had it.",
        "not_entailment",
    ),
    Case(
        "qnli",
        {"index": "0", "question": "Who?", "sentence": "He did.", "label": "not_entailment"},
        {"question": "Who?", "sentence": "He did.", "label": 1, "idx": 0},
        YES_NO,
        "question: Who? sentence: He did.",
        "not_entailment",
    ),
    Case(
        "boolq",
        {"question": "is it", "passage": "It -- is.", "idx": 0, "label": True},
        {"question": "is it", "passage": "It -- is.", "idx": 0, "label": 1},
        TRUTH,
        "passage: It -- is. question: is it",
        "True",
    ),
    Case(
        "cb",
        {"premise": "He may.", "hypothesis": "he does", "label": "neutral", "idx": 0},
        {"premise": "He may.", "hypothesis": "he does", "label": 2, "idx": 0},
        {"label": ["entailment", "contradiction", "neutral"]},
        "hypothesis: he does premise: He may.",
        "neutral",
    ),
    Case(
        "rte",
        {"premise": "It rains.", "hypothesis": "It is wet.", "label": "not_entailment", "idx": 0},
        {"premise": "It rains.", "hypothesis": "It is wet.", "label": 1, "idx": 0},
        YES_NO,
        "hypothesis: It is wet. premise: It rains.",
        "not_entailment",
    ),
    Case(
        "wic",
        {
            "word": "bank",
            "sentence1": "A bank.",
            "sentence2": "The bank.",
            "idx": 0,
            "label": False,
            "start1": 2,
        },
        {
            "word": "bank",
            "sentence1": "A bank.",
            "sentence2": "The bank.",
            "idx": 0,
            "label": 0,
            "start1": 2,
        },
        TRUTH,
        "sentence1: A bank. sentence2: The bank. word: bank",
        "False",
    ),
    Case(
        "copa",
        {
            "premise": "It fell.",
            "choice1": "Pushed.",
            "choice2": "Caught.",
            "question": "cause",
            "label": 1,
            "idx": 0,
        },
        {
            "premise": "It fell.",
            "choice1": "Pushed.",
            "choice2": "Caught.",
            "question": "cause",
            "label": 1,
            "idx": 0,
        },
        {"label": ["choice1", "choice2"]},
        "choice1: Pushed. choice2: Caught. premise: It fell. question: cause",
        "choice2",
    ),
    Case(
        "wsc",
        {
            "text": "Jane thanked Joan for the help she gave .",
            "target": {
                "span1_index": 2,
                "span1_text": "Joan",
                "span2_index": 6,
                "span2_text": "she",
            },
            "idx": 0,
            "label": True,
        },
        {
            "text": "Jane thanked Joan for the help she gave .",
            "span1_index": 2,
            "span1_text": "Joan",
            "span2_index": 6,
            "span2_text": "she",
            "idx": 0,
            "label": 1,
        },
        TRUTH,
        "Jane thanked Joan for the help *she* gave .",
        "Joan",
    ),
    Case(
        "ag_news",
        {"text": "Stocks rise", "label": "Business"},
        {"text": "Stocks rise", "label": 2},
        {"label": ["World", "Sports", "Business", "Sci/Tech"]},
        "text: Stocks rise",
        "business",
    ),
    Case(
        "trec",
        {"label": "5", "text": "How many ?"},
        {"text": "How many ?", "coarse_label": 5, "fine_label": 38},
        {"coarse_label": ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]},
        "text: How many ?",
        "number",
    ),
    Case(
        "sst5",
        {"label": "4", "text": "a triumph"},
        {"text": "a triumph", "label": 4, "label_text": "very positive"},
        {},
        "text: a triumph",
        "great",
    ),
    Case(
        "snli",
        {"premise": "two women", "hypothesis": "people", "label": "0"},
        {"premise": "two women", "hypothesis": "people", "label": 0},
        {"label": NLI},
        "hypothesis: people premise: two women",
        "entailment",
    ),
    Case(
        "scitail",
        {"premise": "Ice is solid.", "hypothesis": "Ice melts.", "label": "0"},
        {"premise": "Ice is solid.", "hypothesis": "Ice melts.", "label": "neutral"},
        {},
        "hypothesis: Ice melts. premise: Ice is solid.",
        "neutral",
    ),
    Case(
        "quora",
        {"question1": "Why ?", "question2": "How ?", "label": "0"},
        {"question1": "Why ?", "question2": "How ?", "label": 0, "idx": 0},
        {"label": ["not_duplicate", "duplicate"]},
        "question1: Why ? question2: How ?",
        "not_duplicate",
    ),
    Case(
        "tweet_irony",
        {"text": "great day", "label": "1"},
        {"text": "great day", "label": 1},
        {"label": ["non_irony", "irony"]},
        "text: great day",
        "irony",
    ),
    Case(
        "tweet_hate",
        {"text": "good day", "label": "0"},
        {"text": "good day", "label": 0},
        {"label": ["non-hate", "hate"]},
        "text: good day",
        "harmless",
    ),
    Case(
        "tweet_offensive",
        {"text": "bad day", "label": "1"},
        {"text": "bad day", "label": 1},
        {"label": ["non-offensive", "offensive"]},
        "text: bad day",
        "offensive",
    ),
    Case(
        "imdb",
        {"text": "dull", "label": 0},
        {"text": "dull", "label": 0},
        {"label": ["neg", "pos"]},
        "text: dull",
        "negative",
    ),
    Case(
        "squad",
        {"context": "In  May.", "question": "When?", "answers": ["May", "In May"]},
        {
            "context": "In  May.",
            "question": "When?",
            "answers": {"text": ["May", "In May"], "answer_start": [4, 0]},
        },
        {},
        "question: When ? context: In May .",
        "May",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_an_official_row_has_the_text_of_the_published_format(case: Case) -> None:
    (example,) = get_task(case.task).formatter(case.official)
    assert (example.inputs, example.target) == (case.inputs, case.target)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_a_row_of_the_hub_has_the_same_text(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    class Data(list[Row]):
        @property
        def features(self) -> Mapping[str, ClassLabel | None]:
            return {
                name: ClassLabel(case.classes[name]) if name in case.classes else None
                for name in case.hub
            }

    fake = SimpleNamespace(
        load_dataset=lambda *args, **kwargs: Data([case.hub]), ClassLabel=ClassLabel
    )
    monkeypatch.setitem(sys.modules, "datasets", fake)
    task = get_task(case.task)
    assert task.source.hub is not None
    for part in task.source.hub.parts:
        (row,) = task.source.hub.rows(part).rows
        assert [*task.formatter(row.values)] == [*task.formatter(case.official)]


def test_rows_without_a_gold_label_are_left_out() -> None:
    # as 334 rows of SNLI on the hub
    row = {
        "premise": "two women",
        "hypothesis": "people",
        "label": -1,
    }
    assert [*get_task("snli").formatter(row)] == []


def test_rows_whose_label_is_minus_one_are_kept_where_that_is_a_label() -> None:
    formatter = classify(fields("text"), {"-1": "bad", "0": "so", "1": "good"})
    assert [example.target for example in formatter({"text": "a", "label": -1})] == ["bad"]


WORDS = {
    "trec": {
        "description": ("0", "DESC"),
        "entity": ("1", "ENTY"),
        "abbreviation": ("2", "ABBR"),
        "human": ("3", "HUM"),
        "location": ("4", "LOC"),
        "number": ("5", "NUM"),
    },
    "sst5": {
        "terrible": ("0", "very negative"),
        "bad": ("1", "negative"),
        "okay": ("2", "neutral"),
        "good": ("3", "positive"),
        "great": ("4", "very positive"),
    },
    "ag_news": {
        "world": ("World",),
        "sports": ("Sports",),
        "business": ("Business",),
        "technology": ("Sci/Tech",),
    },
    "snli": {label: (str(i), label) for i, label in enumerate(NLI)},
    "scitail": {"neutral": ("0", "neutral"), "entailment": ("1", "entails")},
    "imdb": {"negative": ("0", "neg", "negative"), "positive": ("1", "pos", "positive")},
}


@pytest.mark.parametrize("name", WORDS)
def test_every_raw_label_has_its_word(name: str) -> None:
    case = next(case for case in CASES if case.task == name)
    for word, raw_labels in WORDS[name].items():
        for raw in raw_labels:
            assert get_task(name).formatter({**case.official, "label": raw})[0].target == word


def suites_and_singles() -> Iterator[Task]:
    """Tasks whose rows have an official form and the hub's."""
    for group in (glue, super_glue, singles):
        yield from group()


def test_splits_of_the_hub_are_those_of_its_data_sets() -> None:
    ours = {"train": "train", "dev": "validation", "test": "test"}
    without_dev = {"train": "train", "test": "test"}
    others = {
        "trec": without_dev,
        "ag_news": without_dev,
        "imdb": without_dev,
        "quora": {"train": "train", "test": "validation"},
        "squad": {"train": "train", "dev": "validation"},
        "mnli": {"train": "train", "dev": "validation_matched", "test": "test_matched"},
        "mnli_mismatched": {
            "train": "train",
            "dev": "validation_mismatched",
            "test": "test_mismatched",
        },
    }
    for task in suites_and_singles():
        if task.source.hub:
            assert task.source.hub.parts == others.get(task.name, ours)
            if task.name != "quora":
                assert {part.name for part in task.splits.values()} <= set(task.source.hub.parts)


def test_every_task_of_the_hub_has_a_case() -> None:
    of_the_hub = {task.name for task in suites_and_singles() if task.source.hub}
    assert of_the_hub == {case.task for case in CASES} | {"multirc", "record"}


@pytest.mark.parametrize("name", ["boolq", "cb", "rte", "wic"])
def test_the_few_shot_tasks_have_the_format_of_the_full_ones(name: str) -> None:
    case = next(case for case in CASES if case.task == name)
    assert get_task(f"few_{name}").formatter(case.official) == get_task(name).formatter(
        case.official
    )


CHOICES = {
    "sst2": ("negative", "positive"),
    "cola": ("unacceptable", "acceptable"),
    "mrpc": ("not_equivalent", "equivalent"),
    "quora": ("not_duplicate", "duplicate"),
    "boolq": ("False", "True"),
    "multirc": ("False", "True"),
    "sst5": ("terrible", "bad", "okay", "good", "great"),
    "snli": ("entailment", "neutral", "contradiction"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_label_words_are_in_label_order(name: str) -> None:
    assert get_task(name).labels == CHOICES[name]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_choices_of_an_example_are_the_labels_of_its_task(case: Case) -> None:
    task = get_task(case.task)
    (example,) = task.formatter(case.official)
    if task.labels:
        assert example.choices == task.labels
        assert example.target in example.choices
    else:
        assert case.task in {"stsb", "wsc", "squad"}


METRICS = {
    "cola": ("matthews_correlation",),
    "mrpc": ("f1", "accuracy"),
    "quora": ("f1", "accuracy"),
    "qqp": ("f1", "accuracy"),
    "record": ("exact_match_of_groups", "token_f1_of_groups"),
    "stsb": ("pearson", "spearman"),
    "cb": ("macro_f1", "accuracy"),
    "few_cb": ("macro_f1", "accuracy"),
    "multirc": ("f1_over_answers", "group_exact_match"),
    "squad": ("exact_match", "token_f1"),
    "wsc": ("word_subset",),
    "wn_define": ("exact_match",),
}


def test_tasks_have_the_metrics_of_their_publication_and_else_accuracy() -> None:
    found = {name: task.metrics for name, task in registry().items() if name not in FURTHER_ROWS}
    assert found == dict.fromkeys(found, ("accuracy",)) | METRICS


# -- MultiRC ------------------------------------------------------------------------------------------------

PARAGRAPH = "<b>Sent 1: </b>One went.<br><b>Sent 2: </b>Two  came.<br>"

MULTIRC = {
    "idx": 7,
    "passage": {
        "text": PARAGRAPH,
        "questions": [
            {
                "idx": 11,
                "question": "Who?",
                "answers": [{"text": "One", "label": 1}, {"text": "Two", "label": 0}],
            },
            {"idx": 12, "question": "Why?", "answers": [{"text": "Rain", "label": 0}]},
        ],
    },
}


def test_multirc_has_one_example_an_answer_in_order_without_markup() -> None:
    paragraph = "paragraph: Sent 1: One went. Sent 2: Two came."
    choices = ("False", "True")
    assert get_task("multirc").formatter(MULTIRC) == [
        Example(
            inputs=f"question: Who? answer: One {paragraph}",
            target="True",
            choices=choices,
            group="7-11",
        ),
        Example(
            inputs=f"question: Who? answer: Two {paragraph}",
            target="False",
            choices=choices,
            group="7-11",
        ),
        Example(
            inputs=f"question: Why? answer: Rain {paragraph}",
            target="False",
            choices=choices,
            group="7-12",
        ),
    ]


@pytest.mark.parametrize(("false", "true"), [(0, 1), ("False", "True"), (False, True)])
def test_a_flat_row_of_multirc_has_the_same_examples(false: object, true: object) -> None:
    flat = {"paragraph": PARAGRAPH, "question": "Who?"}
    rows = [
        flat
        | {"answer": "One", "idx": {"paragraph": 7, "question": 11, "answer": 3}, "label": true},
        flat
        | {"answer": "Two", "idx": {"paragraph": 7, "question": 11, "answer": 4}, "label": false},
    ]
    formatter = get_task("multirc").formatter
    assert [example for row in rows for example in formatter(row)] == [*formatter(MULTIRC)][:2]


def test_flat_rows_are_cut_by_the_official_row_of_their_passage() -> None:
    flat = [
        {"paragraph": PARAGRAPH, "question": question, "answer": answer, "label": label}
        | {"idx": {"paragraph": 7, "question": number, "answer": 3 + i}}
        for i, (number, question, answer, label) in enumerate(
            [(11, "Who?", "One", "True"), (11, "Who?", "Two", 0), (12, "Why?", "Rain", False)]
        )
    ]
    answers = iter(range(3, 6))
    questions = [
        asked | {"answers": [answer | {"idx": next(answers)} for answer in asked["answers"]]}
        for asked in MULTIRC["passage"]["questions"]  # type: ignore[index]
    ]
    official = {"version": 1.1, "passage": {"questions": questions, "text": PARAGRAPH}, "idx": 7}
    assert {place(key) for key in multirc_passages(flat)} == {place(official)}
    assert multirc_passages([official]) == [official]


def test_questions_of_different_passages_are_different_groups() -> None:
    formatter = get_task("multirc").formatter
    groups = {example.group for idx in (1, 11) for example in formatter(MULTIRC | {"idx": idx})}
    assert len(groups) == 4


# -- ReCoRD -------------------------------------------------------------------------------------------------

STORY = 'Rilu met Toma.\n@highlight\nToma said "so"\n@highlight\nRilu left\n@highlight\nAll is well'

RECORD = {
    "source": "Daily mail",
    "idx": 4,
    "passage": {
        "text": STORY,
        "entities": [
            {"start": 9, "end": 12},
            {"start": 0, "end": 3},
            {"start": STORY.index("Toma said"), "end": STORY.index("Toma said") + 3},
        ],
    },
    "qas": [
        {
            "idx": 8,
            "query": "Then @placeholder went",
            "answers": [
                {"start": 9, "end": 12, "text": "Toma"},
                {"start": 0, "end": 3, "text": "Rilu"},
            ],
        },
        {
            "idx": 9,
            "query": "@placeholder left",
            "answers": [{"start": 0, "end": 3, "text": "Rilu"}],
        },
    ],
}


def test_record_has_one_example_a_right_entity_in_t5s_form() -> None:
    rest = 'entities: Rilu, Toma passage: Rilu met Toma. Toma said "so" Rilu left. All is well'
    choices = ("Rilu", "Toma")
    examples = list(get_task("record").formatter(RECORD))
    found = [(example.inputs, example.target, example.group) for example in examples]
    assert found == [
        (f"query: Then @placeholder went {rest}", "Rilu", "4-8"),
        (f"query: Then @placeholder went {rest}", "Toma", "4-8"),
        (f"query: @placeholder left {rest}", "Rilu", "4-9"),
    ]
    assert {example.choices for example in examples} == {choices}
    assert [example.answers for example in examples] == [choices, choices, ("Rilu",)]


def test_a_row_of_record_of_the_hub_is_a_query_and_has_the_same_examples() -> None:
    flat = {"passage": STORY, "entities": ["Toma", "Rilu"]}
    rows = [
        flat | {"query": query, "answers": answers, "idx": {"passage": 4, "query": number}}
        for query, answers, number in (
            ("Then @placeholder went", ["Toma", "Rilu"], 8),
            ("@placeholder left", ["Rilu"], 9),
        )
    ]
    formatter = get_task("record").formatter
    assert [example for row in rows for example in formatter(row)] == [*formatter(RECORD)]
    assert record_passages(rows) == [*record_passages([RECORD])] * 2


def test_a_query_of_record_whose_answers_are_hidden_has_no_example() -> None:
    hidden = RECORD | {"qas": [{"idx": 1, "query": "@placeholder went"}]}
    assert list(get_task("record").formatter(hidden)) == []


def test_an_answer_of_record_that_is_spelled_as_no_entity_may_be_chosen() -> None:
    answers = [{"text": "The Toma", "start": 0, "end": 3}]
    (example,) = get_task("record").formatter(
        RECORD | {"qas": [{"idx": 1, "query": "@placeholder", "answers": answers}]}
    )
    assert example.choices == ("Rilu", "Toma", "The Toma")
    assert "entities: Rilu, Toma passage:" in example.inputs


# -- WSC ----------------------------------------------------------------------------------------------------


def wsc_of(text: str, pronoun: str, index: int) -> Example:
    """The example of a row of WSC."""
    span = {"span1_text": "Ann", "span2_text": pronoun, "span2_index": index}
    (example,) = wsc({"text": text, "target": span, "label": False})
    return example


def test_wsc_marks_the_pronoun_at_its_index_and_not_another_of_the_same_spelling() -> None:
    assert wsc_of("she saw Ann and  she", "she", 5).inputs == "she saw Ann and *she*"
    example = wsc_of("she saw Ann and she left", "she", 4)
    assert example.inputs == "she saw Ann and *she* left"
    assert (example.target, example.label, example.group, example.choices) == (
        "Ann",
        "False",
        "",
        (),
    )


def test_wsc_marks_a_pronoun_of_several_words() -> None:
    assert wsc_of("saw her own dog", "her own", 1).inputs == "saw *her own* dog"


@pytest.mark.parametrize(
    ("text", "pronoun", "index", "marked"),
    [
        ('"Good for her," he said.', "her", 2, '"Good for *her* ," he said.'),
        ("They want to keep it , but later", "it", 3, "They want to keep *it* , but later"),
        ("it is so that they keep it now", "it", 5, "it is so that they keep *it* now"),
        ("it is so that they keep it now", "it", 1, "*it* is so that they keep it now"),
        ("Biting is what it did", "it", 2, "Biting is what *it* did"),
        ("They saw (him) there", "him", 2, "They saw ( *him* ) there"),
        ("Ann slept. She was tired", "she", 2, "Ann slept. *She* was tired"),
    ],
)
def test_the_pronoun_is_found_near_its_index_and_marked_without_punctuation(
    text: str, pronoun: str, index: int, marked: str
) -> None:
    assert wsc_of(text, pronoun, index).inputs == marked


@pytest.mark.parametrize("pronoun", ["they", "", "*"])
def test_a_pronoun_that_is_not_in_the_text_is_refused(pronoun: str) -> None:
    with pytest.raises(ValueError, match="is not in the text"):
        wsc_of("she saw Ann", pronoun, 1)


def test_only_true_referents_are_used_for_training() -> None:
    assert get_task("wsc").train_filter is wsc_is_true
    assert [wsc_is_true({"label": label}) for label in (True, "True", 1, False, "False", 0)] == [
        True
    ] * 3 + [False] * 3


# -- the field that is shortened ---------------------------------------------------------------------------


def shortened(example: Example) -> str:
    """The text of an input that loses its tail."""
    return example.inputs[slice(*example.cut)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_what_is_shortened_is_the_longest_field_or_the_tail(case: Case) -> None:
    (example,) = get_task(case.task).formatter(case.official)
    texts = re.split(r"(?:^| )\w+: ", example.inputs)[1:] or [example.inputs]
    assert (shortened(example) or texts[-1]) in [
        text for text in texts if len(text) == max(map(len, texts))
    ]


def test_a_passage_before_its_question_is_shortened() -> None:
    row = {"question": "is it", "passage": "It  is a\nlong : passage.", "label": True}
    (example,) = get_task("boolq").formatter(row)
    assert shortened(example) == "It is a long : passage."


def test_the_longest_field_differs_by_row() -> None:
    formatter = classify(fields("a", "b", "c"), {"0": "no", "1": "yes"})
    found = [
        formatter(dict(zip("abc", texts, strict=True)) | {"label": 0})[0]
        for texts in permutations(("x", "yy", ""))
    ]
    assert [shortened(example) for example in found] == ["yy", "", "yy", "yy", "", "yy"]


# -- STS-B --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "target"),
    [
        ("0.000", "0.0"),
        ("0.09", "0.0"),
        ("0.11", "0.2"),
        ("2.500", "2.4"),
        ("3.8", "3.8"),
        ("4.91", "5.0"),
    ],
)
def test_scores_are_rounded_to_the_nearest_fifth(score: str, target: str) -> None:
    (example,) = similarity_score({"sentence1": "a", "sentence2": "b", "score": score})
    assert example.target == target


@given(st.floats(0, 5))
def test_every_score_becomes_one_of_26_choices_within_a_tenth(score: float) -> None:
    (example,) = similarity_score({"sentence1": "a", "sentence2": "b", "score": str(score)})
    assert len(example.choices) == 26
    assert example.target in example.choices
    assert abs(float(example.target) - score) <= 0.1 + 1e-9


# -- building blocks ----------------------------------------------------------------------------------------


def test_fields_keep_their_order_and_name_other_columns() -> None:
    assert list(fields("b", "a", c="column").items()) == [("b", "b"), ("a", "a"), ("c", "column")]
    assert joined(fields("b", "a"), {"a": "x\n\ty", "b": 3, "z": "unused"}) == "b: 3 a: x y"


def test_an_unknown_label_is_named_with_the_known_ones() -> None:
    formatter = classify(fields("text"), {"0": "no", "1": "yes"})
    with pytest.raises(ValueError, match="unknown label '2'; expected one of 0, 1"):
        formatter({"text": "a", "label": 2})


def test_a_raw_label_is_trimmed_and_may_be_any_type() -> None:
    formatter = classify(fields("text"), {"0": "no", "1": "yes"}, label="gold")
    assert {formatter({"text": "a", "gold": raw})[0].target for raw in (" 1 ", 1, "1")} == {"yes"}


def test_raw_labels_that_share_a_word_are_one_choice() -> None:
    formatter = classify(fields("text"), {"0": "no", "1": "yes", "no": "no", "yes": "yes"})
    assert formatter({"text": "a", "label": "yes"})[0].choices == ("no", "yes")


def test_free_text_keeps_the_target_as_it_is() -> None:
    (example,) = free_text(fields("text"), "answer")({"text": " a ", "answer": " An  Answer "})
    assert example == Example(inputs="text: a", target=" An  Answer ")


def test_the_answer_of_multiple_choice_is_one_of_its_columns() -> None:
    formatter = multiple_choice(fields("text", "a", "b"), ("a", "b"))
    (example,) = formatter({"text": "t", "a": "cat", "b": "dog", "label": "dog"})
    assert example == Example(inputs="text: t a: cat b: dog", target="dog", choices=("cat", "dog"))
    with pytest.raises(ValueError, match="label 'cow' is none of the choices cat, dog"):
        formatter({"text": "t", "a": "cat", "b": "dog", "label": "cow"})


@pytest.mark.parametrize("answers", ["May", ["May"], {"text": ["May"], "answer_start": [3]}])
def test_one_answer_may_be_given_as_text_list_or_record(answers: object) -> None:
    formatter = get_task("squad").formatter
    (example,) = formatter({"context": "c", "question": "q", "answers": answers})
    assert (example.target, example.answers) == ("May", ("May",))


def test_every_answer_of_a_question_is_accepted() -> None:
    (example,) = get_task("squad").formatter(
        {"context": "c", "question": "q", "answers": ["May", "in May"]}
    )
    assert example.answers == ("May", "in May")
