"""Tasks that share texts are known: by name, on small files that share them as the published ones do and on those, and
by their texts on any."""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import Mixture, Task, TaskError, get_task
from tasks.definitions import built_in
from tasks.formats import classify, fields
from tasks.overlaps import (
    OVERLAP,
    SHARED_TEXTS,
    SKETCH,
    containment,
    hashes,
    overlapping,
    sketch,
    task_sentences,
    task_sketch,
)
from tasks.sources import Source
from tasks.task import PUBLISHED, Example, Split

DATA = Path(__file__).parents[2].parent / "shared" / "data"

MANY = 0.02
"""Share of test examples with a text from another task's training split, above which that is no accident."""


def texts(example: Example) -> set[str]:
    """Its fields of 25 letters or more, without case and punctuation."""
    fields = re.split(r"(?:^| )\w+: ", example.inputs)
    return {bare for field in fields if len(bare := re.sub(r"[^a-z0-9]", "", field.lower())) >= 25}


def test_the_table_names_tasks_and_is_symmetric() -> None:
    names = {task.name for task in built_in()}
    assert all(group <= names for group in SHARED_TEXTS)
    assert overlapping("sst2") == ("mr", "sst5")
    assert overlapping("ag_news") == ()
    assert all(name in overlapping(other) for name in names for other in overlapping(name))


@pytest.mark.parametrize("place", ["made", *(["published"] if DATA.is_dir() else [])])
def test_every_pair_of_tasks_that_shares_texts_is_in_the_table(
    place: str, official_files: Path
) -> None:
    data = DATA if place == "published" else official_files
    read = functools.partial(Task.examples, data_dir=data, allow_partial=True)
    trained: dict[str, set[str]] = {}
    tested: dict[str, list[set[str]]] = {}
    for task in built_in():
        try:
            trained[task.name] = set().union(*map(texts, read(task, Split.TRAIN)[:10_000]))
            tested[task.name] = [texts(example) for example in read(task, Split.TEST)[:1000]]
        except TaskError:  # no file of it at hand
            continue
    assert len(tested) > 40
    found = {
        (source, target)
        for source, known in trained.items()
        for target, examples in tested.items()
        if source != target and sum(bool(one & known) for one in examples) > MANY * len(examples)
    }
    assert {("mr", "sst2"), ("wnli", "wsc")} <= found
    assert [pair for pair in sorted(found) if pair[0] not in overlapping(pair[1])] == []


# -- by texts -----------------------------------------------------------------------------------------------


def sentences(count: int, seed: int) -> list[str]:
    """Different sentences of 25 letters or more."""
    draw = random.Random(seed)
    return [f"This is number {draw.randrange(10**12)} of many sentences" for _ in range(count)]


def test_a_text_is_the_same_under_every_template_and_spelling() -> None:
    text = "The cat sat on the mat, and slept. Nobody saw that it was over there!"
    written_as = [
        f"text: {text}",
        f"premise: Something else. hypothesis: {text}",
        f"paragraph: {text.upper().replace(',', ' ,')} question: Why?",
        text.replace(". ", " . ").replace("!", ""),
    ]
    assert len(hashes([text])) == 2
    for other in written_as:
        assert set(hashes([text])) <= set(hashes([other]))


def test_short_sentences_and_what_every_input_says_do_not_count() -> None:
    assert len(hashes(["text: A short one. Another."])) == 0
    form = "Is the mood of this review good or is it bad?"
    one, other = ([f"{text}. {form}" for text in sentences(9, seed)] for seed in (1, 2))
    assert containment(hashes(one), sketch(other)) == 0
    assert len(hashes(one)) == 9


def test_a_sketch_is_the_smallest_hashes_in_order_and_the_same_every_time() -> None:
    texts = sentences(SKETCH + 500, 0)
    every, kept = hashes(texts), sketch(texts)
    assert every.dtype == kept.dtype == np.uint64
    assert len(every) == len(texts)
    assert np.array_equal(kept, np.sort(every)[:SKETCH])
    assert np.array_equal(kept, sketch([*texts[::-1], *texts[:9]]))
    assert hashes(["The cat sat on the mat, and slept."]).tolist() == [CAT]


CAT = 14755025755674049091
"""blake2b of ``thecatsatonthematandslept`` in 8 bytes, read as a little-endian number."""


@pytest.mark.parametrize("size", [50, 5_000, 3 * SKETCH])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_containment_is_the_share_of_sentences_that_the_source_holds(
    size: int, share: float
) -> None:
    source, others = sentences(size, 1), sentences(2_000, 2)
    target = [
        *others[: round(2_000 * (1 - share))],
        *random.Random(3).choices(source, k=round(2_000 * share)),
    ]
    every = hashes(target)
    truth = float(np.isin(every, hashes(source)).mean())
    found = containment(every, sketch(source))
    judged = len(every) * min(1, SKETCH / size)
    assert abs(found - truth) <= (
        0 if size <= SKETCH else 4 * (truth * (1 - truth) / judged) ** 0.5
    )


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)))
@settings(max_examples=30)
def test_containment_of_few_is_exact_and_of_nothing_none(
    target: list[int], source: list[int]
) -> None:
    one, other = (
        {f"some sentence about number {'x' * i} it is" for i in numbers}
        for numbers in (target, source)
    )
    found = containment(hashes(["a.", *one]), sketch(["a.", *other]))
    assert found == (len(one & other) / len(one) if one else 0)


def table(folder: Path, name: str, parts: dict[str, Sequence[str]], key: str = "text") -> Task:
    """A task of these texts."""
    files = {}
    for part, texts in parts.items():
        files[part] = folder / f"{name}.{part}.jsonl"
        files[part].write_text(
            "\n".join(json.dumps({"x": text, "label": "0"}) for text in texts), encoding="utf-8"
        )
    formatter = classify(fields(**{key: "x", "further": "label"}), {"0": "no", "1": "yes"})
    return Task(
        name=name, family="f", source=Source(files=files), formatter=formatter, splits=PUBLISHED
    )


def test_tasks_that_no_table_names_are_found_by_their_texts(tmp_path: Path) -> None:
    texts = sentences(900, 4)
    target = table(
        tmp_path, "target", {"train": texts[:100], "dev": texts[100:200], "test": texts[200:300]}
    )
    seen = table(
        tmp_path, "seen", {"train": texts[150:160], "dev": texts, "test": texts}, key="review"
    )
    clean = table(
        tmp_path, "clean", {"train": [*texts[:100], *texts[300:]], "dev": texts, "test": texts}
    )
    wanted = task_sentences(target)
    assert containment(wanted, task_sketch(seen)) == 10 / 200 >= OVERLAP
    assert containment(wanted, task_sketch(clean)) == 0
    mixture = Mixture(name="m", members=(clean, seen))
    assert containment(wanted, task_sketch(mixture)) == 10 / 200
    assert set(task_sketch(mixture)) == set(task_sketch(seen)) | set(task_sketch(clean))


def test_free_text_between_words_of_a_template_is_a_text_of_its_own(tmp_path: Path) -> None:
    texts = [text.rstrip(".") for text in sentences(20, 5)]
    source = table(tmp_path, "source", {"train": texts, "dev": texts, "test": texts})

    def formatter(row: dict[str, str]) -> list[Example]:
        inputs = f"Somebody wrote {row['x']} and what is it"
        return [Example(inputs=inputs, target="0", cut=(15, 15 + len(row["x"])))]

    target = Task(name="t", family="f", source=source.source, formatter=formatter, splits=PUBLISHED)
    assert containment(task_sentences(target), task_sketch(source)) == 1


def test_tasks_from_wordnet_share_no_sentences_with_one_another() -> None:
    tasks = [task for task in built_in() if task.name.startswith("wn_")]
    sketches = [task_sketch(task) for task in tasks]
    for target in tasks:
        wanted = task_sentences(target)
        shares = [
            containment(wanted, one)
            for task, one in zip(tasks, sketches, strict=True)
            if task is not target
        ]
        assert max(shares) < OVERLAP


BY_TEXTS = [
    ("mr", "sst2"), ("mr", "sst5"), ("sst2", "mr"), ("sst5", "mr"), ("sst5", "sst2"), ("rte", "glue_rte"),
    ("glue_rte", "rte"), ("rte", "few_rte"), ("cb", "few_cb"), ("wic", "few_wic"),
    ("wic", "wn_wic"), ("wic", "wn_usage"), ("wn_wic", "wic"), ("wn_wic", "few_wic"), ("wnli", "wsc"),
    ("wsc", "wnli"), ("mrpc", "stsb"), ("stsb", "mrpc"),
]  # fmt: skip
"""Source and target whose published files share sentences."""


@pytest.mark.skipif(not DATA.is_dir(), reason="no data sets at hand")
def test_the_pairs_of_the_table_are_found_by_their_texts_and_none_beside_them() -> None:
    names = sorted({name for pair in BY_TEXTS for name in pair} | {"trec", "cola"})
    sketches = {name: task_sketch(get_task(name), DATA) for name in names}
    wanted = {name: task_sentences(get_task(name), DATA) for name in names}
    found = {
        (source, target)
        for source in names
        for target in names
        if source != target and containment(wanted[target], sketches[source]) >= OVERLAP
    }
    assert set(BY_TEXTS) <= found
    assert all(source in overlapping(target) for source, target in found)
