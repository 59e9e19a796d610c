"""Text of the tasks for reading, reasoning, inference, opinions and writing, for an official row and one of the hub.

Expected texts are written by hand from T5's and SPoT's definitions: spaced punctuation where a text answers a question,
COPA's choices, ``hypothesis`` before its premise, ``summarize:``, and prefix-tuning's lines of facts.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from tasks import Example, Split, get_task, registry
from tasks.task import place
from tests.further import FURTHER_ROWS

Row = Mapping[str, Any]


class ClassLabel(NamedTuple):
    """Stands for ``datasets.ClassLabel``."""

    names: list[str]


class Case(NamedTuple):
    """A row of a task as its official reader yields it and as it is on the hub, and the examples of both."""

    task: str
    official: Row
    hub: Row
    examples: Sequence[Example]
    classes: Mapping[str, list[str]] = {}


FOUR = ("choice1", "choice2", "choice3", "choice4")
TWO = FOUR[:2]
THREE = ("entailment", "neutral", "contradiction")

WENT = {
    "context": 'In May, "Ann" went to St. John\'s (N.L.).',
    "question": "Where did Ann go?",
    "answers": ["St. John's", "St. John's (N.L.)"],
}
WENT_EXAMPLE = Example(
    inputs='question: Where did Ann go ? context: In May , " Ann " went to St . John \' s ( N . L . ) .',
    target="St . John ' s",
    answers=("St . John ' s", "St . John ' s ( N . L . )"),
)

MRQA = {
    "mrqa_squad": "SQuAD",
    "mrqa_newsqa": "NewsQA",
    "mrqa_triviaqa": "TriviaQA-web",
    "mrqa_searchqa": "SearchQA",
    "mrqa_hotpotqa": "HotpotQA",
    "mrqa_natural_questions": "NaturalQuestionsShort",
    "mrqa_bioasq": "BioASQ",
    "mrqa_drop": "DROP",
    "mrqa_duorc": "DuoRC.ParaphraseRC",
    "mrqa_race": "RACE",
    "mrqa_relation_extraction": "RelationExtraction",
    "mrqa_textbookqa": "TextbookQA",
}


def anli_example(label: str) -> Example:
    """Of the row below."""
    return Example(
        inputs="hypothesis: It sank. context: The Ada is a ship that sank.",
        target=label,
        choices=THREE,
        # the last field is the longest, and loses its tail
        cut=(0, 0),
    )


SHIP = {"uid": "0", "hypothesis": "It sank.", "reason": ""}

CASES = [
    *(
        Case(
            name,
            {"subset": subset, "qid": "1", **WENT},
            {"subset": subset, "qid": "1", "context_tokens": {"tokens": [], "offsets": []}, **WENT},
            [WENT_EXAMPLE],
        )
        for name, subset in MRQA.items()
    ),
    Case(
        "drop",
        {
            "passage": "They kicked 3 goals, then 4.",
            "question": "How many goals?",
            "query_id": "q",
            "answers": ["7", "seven"],
        },
        {
            "section_id": "nfl_1",
            "query_id": "q",
            "passage": "They kicked 3 goals, then 4.",
            "question": "How many goals?",
            "answers_spans": {"spans": ["7", "seven", "7"], "types": ["number", "span", "number"]},
        },
        [
            Example(
                inputs="question: How many goals ? context: They kicked 3 goals , then 4 .",
                target="7",
                answers=("7", "seven"),
            )
        ],
    ),
    Case(
        "hellaswag",
        {
            "ind": 4,
            "activity_label": "Rowing",
            "ctx_a": "A man rows.",
            "ctx_b": "he",
            "ctx": "A man rows. he",
            "endings": ["swims.", "rests his  oars.", "flies.", "sings."],
            "source_id": "activitynet~v_1",
            "split": "train",
            "split_type": "indomain",
            "label": 1,
        },
        {
            "ind": 4,
            "activity_label": "Rowing",
            "ctx_a": "A man rows.",
            "ctx_b": "he",
            "ctx": "A man rows. he",
            "endings": ["swims.", "rests his  oars.", "flies.", "sings."],
            "source_id": "activitynet~v_1",
            "split": "train",
            "split_type": "indomain",
            "label": "1",
        },
        [
            Example(
                inputs="choice1: swims. choice2: rests his oars. choice3: flies. choice4: sings. "
                "context: A man rows. he",
                target="choice2",
                choices=FOUR,
                cut=(25, 40),
            )
        ],
    ),
    Case(
        "winogrande",
        {
            "qID": "3Q-1",
            "sentence": "Toma thanked Rilu since _ had helped.",
            "option1": "Toma",
            "option2": "Rilu",
            "answer": "2",
        },
        {
            "sentence": "Toma thanked Rilu since _ had helped.",
            "option1": "Toma",
            "option2": "Rilu",
            "answer": "2",
        },
        [
            Example(
                inputs="choice1: Toma choice2: Rilu sentence: Toma thanked Rilu since _ had helped.",
                target="choice2",
                choices=TWO,
            )
        ],
    ),
    Case(
        "cosmosqa",
        {
            "id": "3##1",
            "context": "I fell.",
            "question": "Why?",
            "answer0": "None of the above choices .",
            "answer1": "Ice.",
            "answer2": "Joy.",
            "answer3": "Rain.",
            "label": "3",
        },
        {
            "id": "3##1",
            "context": "I fell.",
            "question": "Why?",
            "answer0": "None of the above choices .",
            "answer1": "Ice.",
            "answer2": "Joy.",
            "answer3": "Rain.",
            "label": 3,
        },
        [
            Example(
                inputs="choice1: None of the above choices . choice2: Ice. choice3: Joy. choice4: Rain. "
                "context: I fell. question: Why?",
                target="choice4",
                choices=FOUR,
                cut=(9, 36),
            )
        ],
    ),
    Case(
        "race",
        {
            "article": "Ann sailed in May.",
            "question": "Ann sailed in _ .",
            "options": ["April", "May", "June", "July"],
            "answer": "B",
            "example_id": "high1.txt",
        },
        {
            "example_id": "high1.txt",
            "article": "Ann sailed in May.",
            "answer": "B",
            "question": "Ann sailed in _ .",
            "options": ["April", "May", "June", "July"],
        },
        [
            Example(
                inputs="choice1: April choice2: May choice3: June choice4: July "
                "context: Ann sailed in May. question: Ann sailed in _ .",
                target="choice2",
                choices=FOUR,
                cut=(65, 83),
            )
        ],
    ),
    Case(
        "docnli",
        {"premise": "A long text.", "hypothesis": "A text.", "label": "entailment"},
        {"premise": "A long text.", "hypothesis": "A text.", "label": "entailment"},
        [
            Example(
                inputs="hypothesis: A text. premise: A long text.",
                target="entailment",
                choices=("not_entailment", "entailment"),
            )
        ],
    ),
    *(
        Case(
            name,
            {**SHIP, "context": "The Ada is a ship that sank.", "label": "c", "genre": "wiki"},
            {**SHIP, "premise": "The Ada is a ship that sank.", "label": 2},
            [anli_example("contradiction")],
            {"label": list(THREE)},
        )
        for name in ("anli", "anli_r1", "anli_r2", "anli_r3")
    ),
    Case(
        "cr",
        {"text": "the zoom is great .", "label": "1"},
        {"text": "the zoom is great .", "label": 1, "label_text": "positive"},
        [
            Example(
                inputs="text: the zoom is great .",
                target="positive",
                choices=("negative", "positive"),
            )
        ],
    ),
    Case(
        "yelp2",
        {"label": "1", "text": r'Never again.\n\nThey said "no".'},
        {"text": r"Never again.\n\nThey said \"no\".", "label": 0},
        [
            Example(
                inputs='text: Never again. They said "no".',
                target="negative",
                choices=("negative", "positive"),
            )
        ],
        {"label": ["1", "2"]},
    ),
    Case(
        "xsum",
        {"document": "One.\nTwo.", "summary": "Both.", "id": 3},
        {"document": "One.\nTwo.", "summary": "Both.", "id": "3"},
        [Example(inputs="summarize: One. Two.", target="Both.")],
    ),
    Case(
        "cnn_dailymail",
        {"article": "(CNN) It rained .", "highlights": "It rained .\nAll day ."},
        {"article": "(CNN) It rained .", "highlights": "It rained .\nAll day .", "id": "ab"},
        [Example(inputs="summarize: (CNN) It rained .", target="It rained . All day .")],
    ),
    Case(
        "samsum",
        {"id": "1", "summary": "Ann is late.", "dialogue": "Ann: late :)\r\nBob: ok"},
        {"id": "1", "dialogue": "Ann: late :)\r\nBob: ok", "summary": "Ann is late."},
        [Example(inputs="summarize: Ann: late :) Bob: ok", target="Ann is late.")],
    ),
    Case(
        "e2e",
        {
            "mr": "name[Blue Spice], eatType[pub], priceRange[more than £30], customer rating[5 out of 5], "
            "familyFriendly[yes], near[Rainbow, Café]",
            "ref": "Blue Spice is a pub .",
        },
        {
            "meaning_representation": "name[Blue Spice], eatType[pub], priceRange[more than £30], "
            "customer rating[5 out of 5], familyFriendly[yes], near[Rainbow, Café]",
            "human_reference": "Blue Spice is a pub .",
        },
        [
            Example(
                inputs="name : Blue Spice | Type : pub | price : more than £30 | customer rating : 5 out of 5 | "
                "family friendly : yes | near : Rainbow, Café",
                target="Blue Spice is a pub .",
            )
        ],
    ),
    Case(
        "webnlg",
        {
            "category": "City",
            "modified_triple_sets": {
                "mtriple_set": [
                    ["Aarhus | leader | Jacob_Bundsgaard", 'Aarhus | area | "91.0"^^xsd:double']
                ]
            },
            "lex": {
                "comment": ["good", "toFix", "good"],
                "text": ["Jacob  Bundsgaard leads Aarhus.", "Bad.", "Aarhus is led by him."],
            },
        },
        {
            "category": "City",
            "size": 2,
            "eid": "Id1",
            "original_triple_sets": {"otriple_set": [["Aarhus | leader | x"]]},
            "modified_triple_sets": {
                "mtriple_set": [
                    ["Aarhus | leader | Jacob_Bundsgaard", 'Aarhus | area | "91.0"^^xsd:double']
                ]
            },
            "lex": {
                "comment": ["good", "toFix", "good"],
                "lid": ["Id1", "Id2", "Id3"],
                "text": ["Jacob  Bundsgaard leads Aarhus.", "Bad.", "Aarhus is led by him."],
                "lang": ["", "", ""],
            },
        },
        [
            Example(
                inputs='Aarhus : leader : Jacob_Bundsgaard | Aarhus : area : "91.0"^^xsd:double',
                target=target,
            )
            for target in ("Jacob Bundsgaard leads Aarhus.", "Aarhus is led by him.")
        ],
    ),
]

PARTS = {
    **dict.fromkeys(("drop", "hellaswag", "winogrande", "cosmosqa"), ("train", "validation")),
    **dict.fromkeys(("race", "docnli", "xsum", "cnn_dailymail", "samsum", "e2e"), ("train", "validation", "test")),
    **dict.fromkeys(list(MRQA)[:6], ("train", "validation")),
    **dict.fromkeys(list(MRQA)[6:], ("test",)),
    **{f"anli_r{i}": (f"train_r{i}", f"dev_r{i}", f"test_r{i}") for i in (1, 2, 3)},
    "anli": tuple(f"{part}_r1+{part}_r2+{part}_r3" for part in ("train", "dev", "test")),
    "yelp2": ("train", "test"),
    "cr": ("train+test",),
    "c4": ("train", "validation"),
    "webnlg": ("train", "validation", "test"),
}  # fmt: skip
"""What the hub calls the parts that are read."""

OTHER_METRICS = {
    **dict.fromkeys(("drop", *MRQA), ("exact_match", "token_f1")),
    **dict.fromkeys(("xsum", "cnn_dailymail", "samsum"), ("rouge1", "rouge2", "rougeL")),
    **dict.fromkeys(("e2e", "webnlg"), ("bleu", "chrf", "rougeL")),
    "c4": ("token_f1",),
    "docnli": ("f1", "accuracy"),
}

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)


@every_case
def test_an_official_row_has_the_examples_of_the_published_format(case: Case) -> None:
    assert [*get_task(case.task).formatter(case.official)] == case.examples


@every_case
def test_a_row_of_the_hub_has_the_same_examples(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Data(list[Row]):
        @property
        def features(self) -> Mapping[str, ClassLabel | None]:
            return {
                name: ClassLabel(case.classes[name]) if name in case.classes else None
                for name in case.hub
            }

    asked: list[str] = []

    def load_dataset(path: str, config: str | None, *, split: str, **_: object) -> Data:
        asked.append(split)
        return Data([case.hub])

    fake = SimpleNamespace(load_dataset=load_dataset, ClassLabel=ClassLabel)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    task = get_task(case.task)
    assert task.source.hub is not None
    for part in task.source.hub.parts:
        (row,) = task.source.hub.rows(part).rows
        assert [*task.formatter(row.values)] == case.examples
    assert tuple(asked) == PARTS[case.task]


@every_case
def test_labels_of_a_task_are_the_choices_of_its_examples(case: Case) -> None:
    task = get_task(case.task)
    assert {example.choices for example in case.examples} == {task.labels}
    assert task.metrics == OTHER_METRICS.get(case.task, ("accuracy",))


@every_case
def test_an_official_row_and_one_of_the_hub_fall_into_one_split(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = get_task(case.task)
    assert task.source.hub is not None
    columns = {ours: case.hub[theirs] for ours, theirs in task.source.hub.columns.items()}
    rows = [case.official, {**case.hub, **columns}]
    key = task.split_key
    if not key:
        # as published, uncut
        assert case.task in {"xsum", "cnn_dailymail", "samsum"}
    elif callable(key):
        assert place(key(rows[:1])[0]) == place(key(rows[1:])[0])
    else:
        assert rows[0][key] == rows[1][key]


# -- rows without an answer, and what is refused ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hellaswag", {"label": ""}),
        ("winogrande", {"answer": ""}),
        ("cosmosqa", {"label": -1}),
        ("drop", {"answers_spans": {"spans": [], "types": []}}),
        ("xsum", {"document": "\n"}),
        ("samsum", {"dialogue": ""}),
        ("webnlg", {"lex": {"comment": [], "text": []}}),
    ],
)
def test_a_row_without_an_answer_gives_no_example(name: str, change: Row) -> None:
    case = next(case for case in CASES if case.task == name)
    hub = get_task(name).source.hub
    assert hub is not None
    assert [*get_task(name).formatter({**case.hub, **change})] == []


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("hellaswag", {"label": "4"}, "the answer is number 4 of 4 options from 0"),
        ("winogrande", {"answer": "0"}, "the answer is number -1 of 2 options from 0"),
        ("race", {"answer": "E"}, "the answer is number -1 of 4 options from 0"),
        ("e2e", {"mr": "a pub"}, r"the meaning 'a pub' is not of the form name\[value\]"),
        ("e2e", {"mr": "name[A], pub"}, "is not of the form"),
    ],
)
def test_an_answer_or_meaning_that_cannot_be_is_refused(name: str, change: Row, said: str) -> None:
    case = next(case for case in CASES if case.task == name)
    with pytest.raises(ValueError, match=said):
        get_task(name).formatter({**case.official, **change})


def test_the_two_sentences_of_a_winogrande_pair_have_one_key_and_others_have_others() -> None:
    keys = get_task("winogrande").split_key
    assert callable(keys)
    rows = [
        {"sentence": f"{start} her since _ {end}.", "option1": one, "option2": other}
        for start, end, one, other in [
            ("Toma thanked", "had helped", "Toma", "Rilu"),
            ("Toma thanked", "was grateful", "Rilu", "Toma"),
            ("Toma left", "was grateful", "Rilu", "Toma"),
            ("Toma thanked", "had helped", "Toma", "Ann"),
        ]
    ]
    first, second, *others = map(place, keys(rows))
    assert first == second
    assert len({first, *others}) == 3


# -- language modelling ----------------------------------------------------------------------------------


def words(count: int, mark: str = "w") -> list[str]:
    """Different words."""
    return [f"{mark}{i}" for i in range(count)]


def test_a_document_of_c4_is_cut_at_a_place_that_its_text_draws() -> None:
    formatter = get_task("c4").formatter
    cuts = set()
    for number in range(200):
        text = words(120, f"x{number}y")
        (example,) = formatter({"text": "\n".join(text), "url": "u", "timestamp": "t"})
        inputs, target = example.inputs.split(), example.target.split()
        assert inputs + target == text[: len(inputs) + len(target)]
        assert len(target) == 32
        assert formatter({"text": "\n".join(text)}) == [example]
        cuts.add(len(inputs))
    assert min(cuts) >= 16
    assert max(cuts) <= 48
    assert len(cuts) > 25


@pytest.mark.parametrize(("count", "examples"), [(0, 0), (31, 0), (32, 1), (33, 1)])
def test_a_document_too_short_for_both_sides_is_left_out(count: int, examples: int) -> None:
    found = get_task("c4").formatter({"text": " ".join(words(count))})
    assert len(found) == examples
    for example in found:
        assert len(example.inputs.split()) == 16
        assert len(example.target.split()) == count - 16


def test_c4_is_streamed_and_only_its_first_documents_are_read() -> None:
    hub = get_task("c4").source.hub
    assert hub is not None
    assert hub.streaming
    assert hub.take == {"train": 100_000, "dev": 5_000}


# -- both places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FURTHER_ROWS))
def test_rows_of_the_hub_are_the_examples_of_official_files_in_the_same_split(
    name: str, local_hub: Path, official_files: Path
) -> None:
    task = get_task(name)
    for split in Split:
        found = set(task.examples(split))
        assert found
        assert found <= set(task.examples(split, data_dir=official_files))


# -- the catalogue ---------------------------------------------------------------------------------------


def test_every_task_of_these_groups_has_a_case() -> None:
    from tasks.generation import generation
    from tasks.inference import inference
    from tasks.language_modelling import language_modelling
    from tasks.opinions import opinions
    from tasks.reading import reading
    from tasks.reasoning import reasoning

    groups = (generation, inference, language_modelling, opinions, reading, reasoning)
    names = [task.name for group in groups for task in group()]
    assert sorted(names) == sorted([case.task for case in CASES] + ["c4"])
    assert set(names) == set(PARTS)
    for name in names:
        task = registry()[name]
        assert task.source.hub is not None
        assert task.source.hub.revision
        assert set(task.source.files) == set(task.source.hub.parts)
