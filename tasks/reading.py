"""Questions that a text answers: DROP, and the data sets of the MRQA shared task in and out of domain.

Format and spaced punctuation are those of T5's SQuAD, as Lester et al. (2021) and SPoT (Vu et al. 2022) have them for
MRQA.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tasks.formats import question_answer
from tasks.layouts import read_drop, read_mrqa
from tasks.rows import Row
from tasks.sources import Hub, Source
from tasks.task import TRAIN_AND_DEV, Example, Part, Split, Splits, Task

ANSWERS = ("exact_match", "token_f1")

IN_DOMAIN: Mapping[str, str] = {
    "squad": "SQuAD",
    "newsqa": "NewsQA",
    "triviaqa": "TriviaQA-web",
    "searchqa": "SearchQA",
    "hotpotqa": "HotpotQA",
    "natural_questions": "NaturalQuestionsShort",
}
"""Our name to MRQA's of data sets with a train and a development part."""

OUT_OF_DOMAIN: Mapping[str, str] = {
    "bioasq": "BioASQ",
    "drop": "DROP",
    "duorc": "DuoRC.ParaphraseRC",
    "race": "RACE",
    "relation_extraction": "RelationExtraction",
    "textbookqa": "TextbookQA",
}
"""Those with one part, on which prompts for SQuAD are tried unseen."""


def reading() -> Iterator[Task]:
    """All of them."""
    yield drop()
    yield from mrqa()


def drop() -> Task:
    """DROP (Dua et al. 2019)."""
    files = {part: Path(f"drop_dataset/drop_dataset_{part}.json") for part in ("train", "dev")}
    return Task(
        name="drop",
        family="qa",
        source=Source(
            files=files,
            reader=read_drop,
            hub=Hub(
                path="ucinlp/drop",
                revision="95cda593fae71b60b5b19f82de3fcf3298c1239c",
                parts={"train": "train", "dev": "validation"},
            ),
        ),
        formatter=discrete_reasoning,
        metrics=ANSWERS,
        splits=TRAIN_AND_DEV,
        split_key="passage",
        notes="Dua et al. 2019, CC BY-SA 4.0; SQuAD's scores, not DROP's own, which weigh numbers; on the hub spans of "
        "one answer and answers of several people are one list, each of which is accepted",
    )


def discrete_reasoning(row: Row) -> Sequence[Example]:
    """DROP in SQuAD's format; of equal answers one is kept."""
    spans = row["answers_spans"]["spans"] if "answers_spans" in row else row["answers"]
    values = {"question": row["question"], "context": row["passage"]}
    return question_answer({**values, "answers": list(dict.fromkeys(spans))}) if spans else []


def mostly_test(name: str) -> Splits:
    """A part that is published for tests alone: a tenth trains, a tenth selects, the rest is reported."""
    return {
        Split.TRAIN: Part(name=name, high=0.1),
        Split.DEV: Part(name=name, low=0.1, high=0.2),
        Split.TEST: Part(name=name, low=0.2),
    }


def mrqa() -> Iterator[Task]:
    """The twelve data sets of MRQA (Fisch et al. 2019) with published answers, as ``mrqa_NAME``."""
    for name, subset in IN_DOMAIN.items():
        yield _mrqa(name, subset, {"train": "train", "dev": "validation"}, TRAIN_AND_DEV)
    for name, subset in OUT_OF_DOMAIN.items():
        yield _mrqa(name, subset, {"test": "test"}, mostly_test("test"))


def _mrqa(name: str, subset: str, parts: Mapping[str, str], splits: Splits) -> Task:
    folders = {"train": "train", "dev": "dev", "test": "dev"}
    only_tested = "train" not in parts
    return Task(
        name=f"mrqa_{name}",
        family="qa",
        source=Source(
            files={part: Path("mrqa", folders[part], f"{subset}.jsonl.gz") for part in parts},
            reader=read_mrqa,
            hub=Hub(
                path="mrqa-workshop/mrqa",
                config="plain_text",
                revision="f3178d9888471dfb2b67c93de14f0ddf499a8d9f",
                parts=parts,
                where={"subset": subset},
            ),
        ),
        formatter=question_answer,
        metrics=ANSWERS,
        splits=splits,
        split_key="context",
        notes=f"{subset} as in MRQA 2019"
        + (", out of domain: one part, cut 10/10/80 by passage" if only_tested else ""),
    )
