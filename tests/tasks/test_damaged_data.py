"""Damaged data files and task files: every one is read, or refused in one line and little time."""

import csv
import io
import json
import random
import time
from pathlib import Path

import pytest

from tasks import Split, TaskError, get_learnable
from tasks.taskfile import load_task_file

ROWS = [{"text": f"film {i}, so so" + ' "x"' * (i % 3), "label": i % 2} for i in range(30)]

SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "c",
                    "qas": [{"question": f"q{i}", "answers": [{"text": "a"}]} for i in range(30)],
                },
            ]
        }
    ]
}

CLASSES = 'template = "{text}"\nlabel = "label"\n[labels]\n"0" = "bad"\n"1" = "good"\n'
ANSWERS = 'template = "{question} {context}"\nanswers = "answers"\n'


def table() -> bytes:
    """``ROWS`` as comma-separated values."""
    out = io.StringIO()
    writer = csv.DictWriter(out, ["text", "label"])
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def parquet() -> bytes:
    """``ROWS`` as Parquet."""
    pyarrow = pytest.importorskip("pyarrow")
    out = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(ROWS), out)
    return out.getvalue()


GOOD = {
    ".csv": lambda: table(),
    ".tsv": lambda: ("text\tlabel\n" + "".join(f"{row['text']}\t{row['label']}\n" for row in ROWS)).encode(),
    ".jsonl": lambda: "\n".join(map(json.dumps, ROWS)).encode(),
    ".json": lambda: json.dumps(SQUAD).encode(),
    ".parquet": parquet,
}  # fmt: skip

PIECES = [
    b'"', b'""', b"[", b"{", b"}", b"\0", b"\r", b"\n", b",", b"\t", b"\xff", b"\xef\xbb\xbf", b"null", b"NaN",
    b"1e999", b"9" * 5_000, b"[" * 2_000, b'{"a":' * 2_000, b"\\ud800", b"\\", b".", b"#", b"=",
]  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with one to four pieces changed, put in, or taken out."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        end = at + rng.randint(1, 20)
        match rng.randrange(4):
            case 0:
                found[at:at] = rng.choice(PIECES)
            case 1:
                del found[at:end]
            case 2:
                del found[end:]
            case _:
                found[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(found)


@pytest.mark.parametrize("suffix", GOOD)
@pytest.mark.parametrize("of_task", [False, True], ids=["data", "task file"])
def test_damaged_files_are_read_or_refused_in_one_line_and_in_time(
    tmp_path: Path, suffix: str, of_task: bool
) -> None:
    rng = random.Random(f"{suffix} {of_task}")
    layout = ANSWERS if suffix == ".json" else CLASSES
    content = GOOD[suffix]()
    task_file = f'name = "mine"\n[data]\ntrain = "a{suffix}"\nskip = {{ label = ["-"] }}\n[format]\n{layout}'
    for number in range(60):
        (tmp_path / f"a{suffix}").write_bytes(content if of_task else damaged(content, rng))
        path = tmp_path / "mine.toml"
        path.write_bytes(damaged(task_file.encode(), rng) if of_task else task_file.encode())
        start = time.process_time()
        try:
            task = load_task_file(path)
            for split in Split:
                task.examples(split)
        except TaskError as error:
            assert "\n" not in str(error), number
            assert len(str(error)) < 1_000, number
        assert time.process_time() - start < 5, number


def test_a_mixture_that_names_itself_or_another_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text('tasks = ["b.toml", "wn_pos"]\n', encoding="utf-8")
    second.write_text('tasks = ["a.toml", "wn_isa"]\n', encoding="utf-8")
    itself = tmp_path / "c.toml"
    itself.write_text('tasks = ["c.toml", "wn_pos"]\n', encoding="utf-8")
    for path in (first, second, itself):
        with pytest.raises(
            TaskError, match=r"tasks holds [abc]\.toml, which is a mixture; expected single tasks"
        ):
            get_learnable(str(path))
