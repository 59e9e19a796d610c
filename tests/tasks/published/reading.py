"""DROP and MRQA."""

from __future__ import annotations

from datasets import List, Value

from tests.further import IN_DOMAIN, OUT_OF_DOMAIN, drop, mrqa
from tests.tasks.published import Published

TEXT, NUMBER = Value("string"), Value("int32")

TOKENS = {"tokens": List(TEXT), "offsets": List(NUMBER)}
SPANS = List({"start": List(NUMBER), "end": List(NUMBER)})

CUT, TESTED = range(180), range(480, 483)

PUBLISHED = {
    ("ucinlp/drop", ""): Published(
        features={
            "section_id": TEXT,
            "query_id": TEXT,
            "passage": TEXT,
            "question": TEXT,
            "answers_spans": {"spans": List(TEXT), "types": List(TEXT)},
        },
        parts={"train": list(map(drop, CUT)), "validation": list(map(drop, TESTED))},
    ),
    ("mrqa-workshop/mrqa", "plain_text"): Published(
        features={
            "subset": TEXT,
            "context": TEXT,
            "context_tokens": TOKENS,
            "qid": TEXT,
            "question": TEXT,
            "question_tokens": TOKENS,
            "detected_answers": {
                "text": List(TEXT),
                "char_spans": SPANS,
                "token_spans": SPANS,
            },
            "answers": List(TEXT),
        },
        parts={
            "train": [mrqa(subset)(number) for subset in IN_DOMAIN for number in CUT],
            "validation": [mrqa(subset)(number) for subset in IN_DOMAIN for number in TESTED],
            "test": [mrqa(subset)(number) for subset in OUT_OF_DOMAIN for number in CUT],
        },
    ),
}
