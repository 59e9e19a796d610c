"""Damaged and hostile files for every reader: `python -m tests.fuzzing --seed 1 --each 100`, or `--only csv/17`.

A mutation is a pure function of (seed, reader, index), and each one is read in a forked child with a clock and bounded
memory. Reading must end well, or in one of the errors that are a user's to mend, in one line.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import gzip
import io
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import sqlite3
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 5.0
"""Of processor, what reading one file may take."""

SILENCE = 60.0
"""Seconds without an answer after which a child hangs."""

MEMORY = 2**30
"""Bytes of addresses that a child may take beside those it begins with."""

Mutate = Callable[[random.Random, bytes], bytes]


SOUND = -1
"""Index of the file that is not damaged, and must be read."""


class TooSlow(SystemExit):
    """The clock of one file has run out."""


@dataclasses.dataclass(frozen=True)
class Reader:
    """A file of a folder of sound ones, how it is damaged, and how it is read.

    Attributes:
        name: what reports call it.
        folder: the sound files, below the folder of seeds.
        file: which of them is damaged.
        read: given the folder.
        mutations: one is drawn for every damaged file.
    """

    name: str
    folder: str
    file: str
    read: Callable[[Path], object]
    mutations: tuple[Mutate, ...]


# -- damage without knowing the format -------------------------------------------------------------------------


def flipped(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def overwritten(rng: random.Random, content: bytes) -> bytes:
    at, length = rng.randrange(len(content)), rng.choice((1, 4, 32, 300))
    return content[:at] + rng.randbytes(length) + content[at + length :]


def truncated(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.choice((0, 1, rng.randrange(len(content)), len(content) - 1))]


def duplicated(rng: random.Random, content: bytes) -> bytes:
    start, stop = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:stop] + content[start:stop] * rng.choice((1, 1, 30)) + content[stop:]


def cut_out(rng: random.Random, content: bytes) -> bytes:
    start, stop = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:start] + content[stop:]


def spliced(rng: random.Random, content: bytes) -> bytes:
    start, stop, at = (rng.randrange(len(content) + 1) for _ in range(3))
    return content[:at] + content[min(start, stop) : max(start, stop)] + content[at:]


LENGTHS = [
    struct.pack(form, number)
    for form in ("<Q", ">Q", "<I", ">I", "<H")
    for number in (0, 1, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
    if number < 2 ** (8 * struct.calcsize(form))
]


def wrong_length(rng: random.Random, content: bytes) -> bytes:
    """A hostile number over bytes that may be a length, more often near the file's beginning or end."""
    number = rng.choice(LENGTHS)
    near = min(len(content), 600)
    at = rng.choice(
        (rng.randrange(near), rng.randrange(len(content)), len(content) - 1 - rng.randrange(near))
    )
    return content[:at] + number + content[at + len(number) :]


BYTES: tuple[Mutate, ...] = (
    flipped,
    overwritten,
    truncated,
    duplicated,
    cut_out,
    spliced,
    wrong_length,
)

# -- text ------------------------------------------------------------------------------------------------------

DEEP = 100_000

HOSTILE_TEXTS = (
    "9" * 5000, "-1", "1e999", "NaN", "Infinity", "nan", "0", "10000000000", "1000000000000", "null", "true",
    "[]", "{}", "[" * DEEP, "{\"a\":" * DEEP, "(" * DEEP, "\"", "'", "\0", "\x1b[31m", "\ufeff", "\u2028", "\ud7ff",
    "{", "}", "{{",
    "{0.__class__}", "{text.__class__}", "{text[0]}", "{text!r:>999999999}", "a." * 50_000 + "a", "\t" * 1000,
    "," * 1000, "\r", "\n\n", "../" * 40 + "etc/passwd", "/dev/zero", "x" * 200_000,
)  # fmt: skip


def hostile_text(rng: random.Random, content: bytes) -> bytes:
    """A word of the text is replaced by, or followed by, a hostile one."""
    words = list(re.finditer(rb"[\w.+-]+", content)) or [re.match(b"", content)]
    start, stop = rng.choice(words).span()  # type: ignore[union-attr]
    return (
        content[: rng.choice((start, stop))] + rng.choice(HOSTILE_TEXTS).encode() + content[stop:]
    )


def other_encoding(rng: random.Random, content: bytes) -> bytes:
    text = content.decode(errors="replace")
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "utf-7"))
    return text.encode(encoding, "replace")


def lines_mixed(rng: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    match rng.randrange(4):
        case 0:
            rng.shuffle(lines)
        case 1:
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
        case 2:
            del lines[rng.randrange(len(lines))]
        case 3:
            lines = [line + rng.choice((b"", b"", b"\r", b"\t", b",", b'"')) for line in lines]
    return b"\n".join(lines)


TEXT: tuple[Mutate, ...] = (
    *BYTES,
    hostile_text,
    hostile_text,
    hostile_text,
    other_encoding,
    lines_mixed,
)

# -- trees: JSON and msgpack -----------------------------------------------------------------------------------


class Raw(str):
    """Stands in a tree for JSON that no value is written as."""


HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 3, 10**6, 10**9, 10**12, 2**63, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "\0",
    "9" * 5000, "x" * 100_000, [], {}, [[]], [None], [1, 2, 3], {"": {}}, {"a": 1}, ["a", 1, None], [10**12, 10**12],
    Raw("[" * DEEP + "]" * DEEP), Raw('{"a":' * DEEP + "1" + "}" * DEEP), Raw("9" * 5000), Raw("-" + "9" * 5000),
    Raw("1e99999"), Raw('"\\ud800"'), "../../../../../../etc/passwd", "/dev/zero", "{}", "[0-9]*" * 50, "(a+)+" * 20,
)  # fmt: skip


def places(tree: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree."""
    found = [] if found is None else found
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            found.append((tree, key))
            places(value, found)
    return found


def mutated_tree(rng: random.Random, tree: Any) -> Any:
    """The tree with a value replaced, removed, doubled, or put in another's place; sometimes several."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if not (known := places(tree)):
            return rng.choice(HOSTILE_VALUES)
        shallow = [place for place in known if place[0] is tree]
        holder, key = rng.choice(rng.choice((shallow, known)))
        match rng.randrange(8):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("", "x", "\0", "x" * 10_000, "__class__"))] = holder.pop(key)
            case 2:
                source, name = rng.choice(known)
                with contextlib.suppress(LookupError):
                    holder[key] = copy.deepcopy(source[name])
            case 3 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
                holder[key] = rng.choice(
                    (-1, 0, 1, 7, 10**6, 10**9, 10**12, 10**30, 0.5, float("nan"), 1e308)
                )
            case _:
                holder[key] = rng.choice(HOSTILE_VALUES)
    return tree


def json_bytes(tree: Any) -> bytes:
    """JSON with every :class:`Raw` as it is."""
    raws: list[Raw] = []

    def marked(value: Any) -> Any:
        if isinstance(value, Raw):
            raws.append(value)
            return f"<raw {len(raws) - 1}>"
        if isinstance(value, dict):
            return {key: marked(item) for key, item in value.items()}
        return [marked(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(marked(tree))
    for number, raw in enumerate(raws):
        text = text.replace(f'"<raw {number}>"', raw)
    return text.encode()


def json_tree(rng: random.Random, content: bytes) -> bytes:
    return json_bytes(mutated_tree(rng, json.loads(content)))


def json_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.strip().split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = json_tree(rng, lines[at])
    return b"\n".join(lines)


JSON: tuple[Mutate, ...] = (*TEXT, *[json_tree] * 12)
JSON_LINES: tuple[Mutate, ...] = (*TEXT, *[json_line] * 12)


def msgpack_tree(rng: random.Random, content: bytes) -> bytes:
    """A tree of modules with a value, a name or an array's own shape changed, or nested deeply."""
    import msgpack

    if rng.random() < 0.2:
        deep = rng.choice((b"\x81\xa1a", b"\x91", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"))
        return deep * rng.choice((1, 1500, DEEP)) + b"\x01"
    tree = msgpack.unpackb(
        content, ext_hook=lambda _code, data: {"array": msgpack.unpackb(data)}, strict_map_key=False
    )
    tree = mutated_tree(rng, tree)

    def packed(value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"array"}:
            return msgpack.ExtType(rng.choice((1, 1, 1, 1, 2, 3)), pack(value["array"]))
        if isinstance(value, dict):
            return {key: packed(item) for key, item in value.items()}
        return [packed(item) for item in value] if isinstance(value, list) else value

    def pack(value: Any) -> bytes:
        with contextlib.suppress(OverflowError):
            return msgpack.packb(value)
        return msgpack.packb(None)

    return pack(packed(tree))


# -- one format each -------------------------------------------------------------------------------------------

TOML_VALUES = (
    "[]", "{}", "1", "-1", "0", "1e999", "nan", "inf", "true", '""', '"x"', "[1, 2]", '["a", 1]', "[[[]]]", "{a = 1}",
    "1979-05-27T07:32:00Z", "0x" + "f" * 9000, "9" * 5000, "[" * 3000, "[" * DEEP, "{a = " * 3000,
    '"' + "x" * 100_000 + '"',
    '"{text.__class__}"', '"{text:>999999999}"', '"{a.b.c}"', '"{' + "[a]" * 5000 + '}"', '"../../../../etc/passwd"',
    '"/dev/zero"', '"\\u0000"', '"\\uFFFF"', "{" + "a." * 20_000 + "a = 1}", "99999999999", "1000000000000000000000000",
)  # fmt: skip


def toml_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.decode().split("\n")
    assigned = [i for i, line in enumerate(lines) if "=" in line]
    at = rng.choice(assigned)
    name, _, value = lines[at].partition("=")
    match rng.randrange(8):
        case 0:
            lines.insert(at, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at] = f"{'a.' * rng.choice((3, 1000, 20_000))}{name.strip()} ={value}"
        case 3:
            lines.insert(
                at,
                rng.choice(("[", "[["))
                + rng.choice(("data", "format", "a." * 20_000 + "a", "recipe"))
                + "]",
            )
        case _:
            lines[at] = f"{name}= {rng.choice(TOML_VALUES)}"
    return "\n".join(lines).encode()


TOML: tuple[Mutate, ...] = (*TEXT, *[toml_line] * 12)


def npy_header(rng: random.Random, content: bytes) -> bytes:
    (length,) = struct.unpack("<H", content[8:10])
    header = content[10 : 10 + length].decode()
    shape = rng.choice(("(3,)", "()", "(1000000000000, 4)", "(-1, 4)", "(4, 4,", "(0, 0)", "(2, 2, 3, 1)", "(" * 3000,
                        "('a', 4)", "(True, 12)", "(" + "9" * 5000 + ", 1)", "([" * 500, "-" * 5000 + "1"))  # fmt: skip
    dtype = rng.choice(
        (
            "<f4",
            ">f8",
            "|O",
            "<U99999999",
            "<c16",
            "[('a', '<f4')]",
            "|V999999999",
            "<M8[s]",
            "nothing",
            "<f2",
        )
    )
    if rng.random() < 0.6:
        header = re.sub(r"'shape': \([^)]*\)", f"'shape': {shape}", header)
    else:
        header = header.replace("'<f4'", dtype if dtype.startswith("[") else f"'{dtype}'")
    packed = header.encode()
    if len(packed) > 65_000:
        return (
            content[:6]
            + b"\x02\0"
            + struct.pack("<I", len(packed))
            + packed
            + content[10 + length :]
        )
    return content[:8] + struct.pack("<H", len(packed)) + packed + content[10 + length :]


def safetensors_header(rng: random.Random, content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    header = json_tree(rng, content[8 : 8 + length])
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def zip_member(rng: random.Random, content: bytes) -> bytes:
    """One member damaged, and the archive's sums right again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    chosen = rng.choice(list(members))
    damage = (
        (*BYTES, pickle_code)
        if chosen.endswith(".pkl")
        else (*BYTES, npy_header)
        if chosen.endswith(".npy")
        else BYTES
    )
    if members[chosen]:
        members[chosen] = rng.choice(damage)(rng, members[chosen])
    return zipped(
        members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    )


def zip_bomb(rng: random.Random, content: bytes) -> bytes:
    """One member that unpacks to 300 megabytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    chosen, filling = rng.choice(list(members)), bytes([rng.choice(b"\0(]")]) * 2**20
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, member in members.items():
            with archive.open(name, "w") as out:
                out.write(member[: 2 if name == chosen and rng.random() < 0.5 else None])
                for _ in range(300 if name == chosen else 0):
                    out.write(filling)
    return stream.getvalue()


def zipped(members: dict[str, bytes], compression: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression, compresslevel=1) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return stream.getvalue()


def pickle_code(rng: random.Random, content: bytes) -> bytes:
    """Opcodes put into a pickle: shared tuples that double, stacked marks, and calls."""
    code = rng.choice((
        b"(" * DEEP, b"]" * DEEP, b"](" * 2000 + b"e" * 2000, b")" + b"q\x00h\x00\x86" * 64,
        b"".join(b")q" + bytes([i]) + b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60)),
        b"]q\x00" + b"".join(b"h\x00h\x00e" for _ in range(50)), b"cos\nsystem\n(X\x02\0\0\0lstR",
        b"\x8a\xff" + b"\xff" * 255,
        b"\x8b\xff\xff\xff\x7f", b"L" + b"9" * 5000 + b"L\n", b"X\xff\xff\xff\xff", b"\x8d" + b"\xff" * 8,
        b"0" * 50, b"Q", b"R", b"u", b"s",
        b"}q\x00(h\x00h\x00u", b"b", b"\x81", b"}" + b")q\x01" + b"h\x01h\x01\x86q\x01" * 40 + b"K\x01s",
        b"j\xff\xff\xff\xff",
    ))  # fmt: skip
    at = rng.choice((2, rng.randrange(len(content)), len(content) - 1))
    return content[:at] + code + content[at:]


def resealed(rng: random.Random, content: bytes) -> bytes:
    """A checkpoint with damaged content under a checksum that is right."""
    import hashlib

    packed = rng.choice((*BYTES, checkpoint_tree))(rng, content[32:])
    return hashlib.sha256(packed).digest() + packed


def checkpoint_tree(rng: random.Random, content: bytes) -> bytes:
    return msgpack_tree(rng, content)


def sql(rng: random.Random, content: bytes) -> bytes:
    """A bank in which one value, or the schema, is another."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bank.sqlite"
        path.write_bytes(content)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            names = (
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
            tables = [row[0] for row in connection.execute(names)]
            filled = [
                t for t in tables if connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
            ]
            table = rng.choice(filled)
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            column = rng.choice(columns)
            value = rng.choice((
                None, -1, 0, 10**12, 2**62, "x", "", "nan", float("inf"), b"", b"\0" * 7, b"\xff" * 48, "[" * DEEP,
                "9" * 5000,
                '{"a": 1}', "[1]", "null", "x" * 100_000, "NaN", '"\\ud800"', "a\0b",
            ))  # fmt: skip
            statement = rng.choice((
                f"UPDATE {table} SET {column} = ?", f"UPDATE {table} SET {column} = ? WHERE rowid = 1",
                f"UPDATE {table} SET {column} = ? WHERE rowid = 1", f"DELETE FROM {table} WHERE ? IS NOT 7",
                f"DROP TABLE {table}; --?", f"ALTER TABLE {table} DROP COLUMN {column}; --?",
                f"ALTER TABLE {table} RENAME COLUMN {column} TO other; --?",
            ))  # fmt: skip
            with contextlib.suppress(sqlite3.Error, OverflowError):
                connection.execute("PRAGMA journal_mode = DELETE")
                if "--?" in statement:
                    connection.executescript(statement)
                else:
                    connection.execute(statement, (value,))
                connection.commit()
        return path.read_bytes()


def unpacked(mutations: tuple[Mutate, ...]) -> Mutate:
    """The content of a gzip file damaged, and packed again."""

    def packed_again(rng: random.Random, content: bytes) -> bytes:
        return gzip.compress(rng.choice(mutations)(rng, gzip.decompress(content)), 1, mtime=0)

    return packed_again


# -- sound files -----------------------------------------------------------------------------------------------

ROWS = [
    {"text": f"a {word} film number {i}", "label": i % 2}
    for i, word in enumerate(("bad", "fine") * 20)
]

TASK = """\
name = "mine"
family = "toy"
metrics = ["accuracy"]
notes = "made for a test"
[data]
train = "rows.{suffix}"
[format]
template = "review: {{text}}"
label = "label"
[labels]
"0" = "bad"
"1" = "good"
"""

SQUAD = {"version": "v2.0", "data": [{"title": "t", "paragraphs": [
    {"context": f"the cat {i} sat", "qas": [{"id": f"q{i}", "question": f"who sat {i}?", "is_impossible": False,
     "answers": [{"text": f"cat {i}", "answer_start": 4}]}]} for i in range(20)]}]}  # fmt: skip

SQUAD_TASK = """\
name = "questions"
metrics = ["token_f1"]
[data]
train = "rows.json"
[format]
template = "question: {question} context: {context}"
answers = "answers"
unanswerable = "unanswerable"
"""

LABELS = """
[format]
template = "review: {text}"
label = "label"
[labels]
"0" = "bad"
"1" = "good"
"""

LABEL_TEXT = 'name = "lines"\n[data]\nformat = "label text"\ntrain = "rows.txt"\n' + LABELS

TEXTS = (
    'name = "texts"\n[data]\nformat = "text and labels"\ntrain = ["texts.txt", "labels.txt"]\n'
    + LABELS
)

ODD = """\
name = "odd"
[data]
format = "csv"
train = "rows.txt"
columns = ["text", "label"]
delimiter = ";"
quoted = true
encoding = "utf-16"
skip = { label = ["-"] }
skip_nulls = true
allow_bad_rows = 2
split_key = "text"
""" + LABELS.replace("[labels]", 'group = "text"\ncut = "text"\n[labels]')

NESTED = """\
name = "nested"
[data]
train = "rows.jsonl"
unfold = "asked.answers"
shared_texts = ["asked.text"]
equal_texts = "asked.text"
train_where = { "asked.answers.sure" = ["true"] }
skip = { "asked.answers.score" = ["-"] }
[format]
template = "text: {asked.text} answer: {asked.answers.text}"
label = "asked.answers.score"
numbers = { low = 0, high = 5, step = 0.2 }
group = ["asked.id", "asked.text"]
replace = { "<br>" = " " }
mark = { column = "asked.text", word = "asked.word", index = "asked.id" }
spaced_punctuation = true
"""

NESTED_ROWS = [
    {"asked": {"id": i, "text": f"did a cat {i} sit<br>?", "word": "cat", "answers": [
        {"text": f"it did {i}, {k}", "score": (i + k) % 26 / 5, "sure": k < 2} for k in range(3)
    ]}}
    for i in range(40)
]  # fmt: skip

CHOICES = """name = "choices"
[data]
train = "rows.jsonl"
split_key = ["text", "label"]
unseen = "text"
[format]
template = "which: {text}"
label = "label"
choices = ["one", "two"]
[labels]
"0" = "one"
"1" = "two"
"""

MIXTURE = """\
name = "both"
tasks = ["wn_pos", "task.toml"]
cap = 100
temperature = 2.0
"""

STUDY = """\
sources = ["wn_pos", "wn_isa"]
targets = ["wn_living"]
source_seeds = 2
target_seeds = 1
k = [1, 2]
measures = ["average", "per_token"]
methods = ["average"]
train_limit = 32
sizes = [16]
[recipe]
steps = 20
key_step = 10
learning_rate = 0.3
init = "vocabulary"
"""


def make_seeds(folder: Path) -> None:
    """Sound files of every reader."""
    make_tasks(folder)
    make_prompts(folder)
    make_backbones(folder)
    make_states(folder)


def make_tasks(folder: Path) -> None:
    def task(name: str, suffix: str, content: bytes, text: str = TASK) -> None:
        place = folder / name
        place.mkdir(parents=True)
        (place / "task.toml").write_text(
            text.format(suffix=suffix) if text is TASK else text, encoding="utf-8"
        )
        (place / f"rows.{suffix}").write_bytes(content)

    def table(mark: str) -> bytes:
        return "\n".join(
            ["text" + mark + "label", *(f"{row['text']}{mark}{row['label']}" for row in ROWS)]
        ).encode()

    task("csv", "csv", table(","))
    task("tsv", "tsv", table("\t"))
    task("json", "json", json.dumps(ROWS).encode())
    task("jsonl", "jsonl", "\n".join(map(json.dumps, ROWS)).encode())
    task(
        "label_text",
        "txt",
        "\n".join(f"{row['label']} {row['text']}" for row in ROWS).encode(),
        LABEL_TEXT,
    )
    task("odd", "txt", table(";").replace(b"text;label\n", b"").decode().encode("utf-16"), ODD)
    task("texts", "txt", b"", TEXTS)
    (folder / "texts" / "texts.txt").write_text(
        "\n".join(str(row["text"]) for row in ROWS), encoding="utf-8"
    )
    (folder / "texts" / "labels.txt").write_text(
        "\n".join(str(row["label"]) for row in ROWS), encoding="utf-8"
    )
    task("squad", "json", json.dumps(SQUAD).encode(), SQUAD_TASK)
    task("nested", "jsonl", "\n".join(map(json.dumps, NESTED_ROWS)).encode(), NESTED)
    chosen = [row | {"one": f"one {i}", "two": "two"} for i, row in enumerate(ROWS)]
    task("choices", "jsonl", "\n".join(map(json.dumps, chosen)).encode(), CHOICES)
    with contextlib.suppress(ImportError):
        import pyarrow
        import pyarrow.parquet

        stream = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), stream)
        task("parquet", "parquet", stream.getvalue())
    (folder / "csv" / "mixture.toml").write_text(MIXTURE, encoding="utf-8")
    (folder / "csv" / "study.toml").write_text(STUDY, encoding="utf-8")
    supervised = [{"task": "t", "input": row["text"], "target": str(row["label"])} for row in ROWS]
    (folder / "csv" / "supervised.jsonl").write_text(
        "\n".join(map(json.dumps, supervised)), encoding="utf-8"
    )
    (folder / "csv" / "corpus.txt.gz").write_bytes(gzip.compress(table(" ") * 4, mtime=0))


def make_prompts(folder: Path) -> None:
    import safetensors.numpy

    place = folder / "prompts"
    place.mkdir()
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.save(place / "prompt.npy", values)
    (place / "prompt.safetensors").write_bytes(
        safetensors.numpy.save({"prompt": values}, metadata={"backbone": "toy"})
    )
    (place / "prompt.pt").write_bytes(torch_zip({"prompt_embeddings": values}))
    peft = place / "peft"
    peft.mkdir()
    (peft / "adapter_model.bin").write_bytes(torch_zip({"prompt_embeddings": values}))
    config = {"peft_type": "PROMPT_TUNING", "task_type": "SEQ_2_SEQ_LM", "num_virtual_tokens": 3, "token_dim": 4,
              "num_transformer_submodules": 1, "base_model_name_or_path": "toy"}  # fmt: skip
    (peft / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    measured = folder / "measured"
    measured.mkdir()
    (measured / "scores.json").write_text(
        json.dumps({"a": {"b": 1.0, "c": 2.0}, "b": {"a": 3.0, "c": 0.5}})
    )
    for number, name in enumerate("abc"):
        np.save(measured / f"{name}.npy", values + number)
    rows = [
        {"target": "a", "source": name, "score": 70.5, "baseline": 60, "seed": 0} for name in "bc"
    ]
    (measured / "outcomes.json").write_text(json.dumps(rows))
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    (measured / "outcomes.csv").write_text("\n".join(lines))


def torch_zip(tensors: dict[str, np.ndarray]) -> bytes:
    """A dictionary of tensors as ``torch.save`` writes it."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    code = b"\x80\x02}("
    for key, (name, values) in enumerate(tensors.items()):
        strides = tuple(stride // values.itemsize for stride in values.strides)
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu")
        storage += b"J" + struct.pack("<i", values.size) + b"tQ"
        code += (
            text(name)
            + b"ctorch._utils\n_rebuild_tensor_v2\n("
            + storage
            + b"K\0"
            + numbers(values.shape)
        )
        code += numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    members = {"archive/data.pkl": code + b"u."}
    members |= {
        f"archive/data/{key}": values.tobytes() for key, values in enumerate(tensors.values())
    }
    return zipped(members, zipfile.ZIP_STORED)


def make_backbones(folder: Path) -> None:
    import safetensors.numpy

    from spot.backbone.config import LlamaConfig, T5Config
    from spot.backbone.export import named_tensors, save_backbone
    from spot.backbone.random import random_model
    from spot.backbone.tokenizer import train_sentencepiece

    rng = random.Random(0)
    syllables = [consonant + vowel for consonant in "bdfgkl" for vowel in "aei"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(60)]
    lines = [" ".join(rng.choices(words, k=8)) for _ in range(300)]
    pieces = train_sentencepiece(lines, size=140, sample=300)
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": 2, "vocab_size": 140}
    model = random_model(T5Config(**sizes, num_layers=1, num_decoder_layers=1), seed=0)
    t5 = folder / "t5"
    save_backbone(model, t5, tokenizer_model=pieces)
    tensors = {
        name: np.ascontiguousarray(tensor, np.float32)
        for name, tensor in named_tensors(model).items()
    }

    def beside(name: str, file: str, content: bytes) -> Path:
        place = shutil.copytree(t5, folder / name)
        (place / "model.safetensors").unlink()
        (place / file).write_bytes(content)
        return place

    beside("bin", "pytorch_model.bin", torch_zip(tensors))
    beside("flax", "flax_model.msgpack", flax_file(tensors))
    half = len(tensors) // 2
    parts = dict(list(tensors.items())[:half]), dict(list(tensors.items())[half:])
    named = {
        name: f"model-0000{number}-of-00002.safetensors"
        for number, part in enumerate(parts, 1)
        for name in part
    }
    index = {"metadata": {"total_size": 1}, "weight_map": named}
    place = beside("shards", "model.safetensors.index.json", json.dumps(index).encode())
    for number, part in enumerate(parts, 1):
        (place / f"model-0000{number}-of-00002.safetensors").write_bytes(
            safetensors.numpy.save(part)
        )
    added = shutil.copytree(t5, folder / "added")
    (added / "added_tokens.json").write_text(
        json.dumps({f"<extra_id_{i}>": 139 - i for i in range(100)}), encoding="utf-8"
    )

    llama = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, eos_token_id=1, tied=True,
    )  # fmt: skip
    small = random_model(llama, seed=0)
    save_backbone(small, folder / "llama")
    byte_level(folder / "llama")
    (folder / "gguf").mkdir()
    with contextlib.suppress(ImportError):
        write_gguf(folder / "gguf" / "model.gguf", llama, named_tensors(small))


def flax_file(tensors: dict[str, np.ndarray]) -> bytes:
    import msgpack

    tree: dict[str, Any] = {}
    for name, values in tensors.items():
        *modules, leaf = name.split(".")
        at = tree
        for module in modules:
            at = at.setdefault(module, {})
        kernel = values.ndim == 2 and modules[-1] not in ("shared", "relative_attention_bias")
        leaf = "kernel" if kernel else "embedding" if values.ndim == 2 else leaf
        stored = np.ascontiguousarray(values.T) if kernel else values
        at[leaf] = msgpack.ExtType(
            1, msgpack.packb((stored.shape, stored.dtype.name, stored.tobytes()))
        )
    return msgpack.packb(tree)


def alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return ["<pad>", "<end>", *sorted(ByteLevel.alphabet()), "ab", "Ġa"]


def byte_level(folder: Path) -> None:
    """A byte-level ``tokenizer.json`` with its settings."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = alphabet()
    backend = Tokenizer(
        models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[("a", "b"), ("Ġ", "a")])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in tokens[:2]])
    backend.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<end>",
        "pad_token": "<pad>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_gguf(path: Path, config: Any, tensors: dict[str, np.ndarray]) -> None:
    import gguf

    from spot.backbone.gguf_file import NAMES

    writer = gguf.GGUFWriter(path, "llama")
    for name, value in {
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
    }.items():
        writer.add_uint32(f"llama.{name}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = alphabet() + [f"x{i}" for i in range(config.vocab_size - len(alphabet()))]
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["a b", "Ġ a"])
    writer.add_eos_token_id(1)
    theirs = {name: key for key, name in NAMES.items()}
    for name, values in tensors.items():
        parts = name.split(".")
        kind = parts.pop()
        block = f"blk.{parts[2]}." if parts[:2] == ["model", "layers"] else ""
        key = theirs[".".join(parts[3:] if block else parts)]
        writer.add_tensor(f"{block}{key}.{kind}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


TEMPLATE = {"prompts": np.zeros((2, 3), np.float32), "count": np.zeros((), np.int32)}


def make_states(folder: Path) -> None:
    """What the program itself writes: a bank, a checkpoint, the caches."""
    from spot.training import checkpoint
    from tests.small_bank import write_small_bank

    place = folder / "states"
    place.mkdir()
    checkpoint.save(
        place / "checkpoint.msgpack",
        TEMPLATE,
        {"clock": 3, "slots": {"0": {"step": 1}}},
        identity="mine",
    )
    write_small_bank(place / "bank.sqlite")
    publish(place / "bank.sqlite", folder / "published")
    tokens(place)
    caches(folder / "t5")


def backbone(folder: Path) -> object:
    from spot.backbone.load import load_backbone

    path = folder / "model.gguf" if (folder / "model.gguf").exists() else folder
    loaded = load_backbone(str(path))
    ids = loaded.tokenizer.encode(["bada gefi"])
    return loaded.tokenizer.decode(ids[0])


def caches(folder: Path) -> object:
    """The cached fingerprint lies beside the model here."""
    os.environ["SPOT_CACHE"] = str(folder / "cache")
    found = backbone(folder)
    for path in (folder / "cache" / "weights").iterdir():
        shutil.copyfile(path, folder / "digest")
    return found


def cached_digest(folder: Path) -> object:
    os.environ["SPOT_CACHE"] = str(folder / "cache")
    backbone(folder)
    for path in (folder / "cache" / "weights").iterdir():
        shutil.copyfile(folder / "digest", path)
    return backbone(folder)


def tokens(folder: Path) -> object:
    from tasks.task import Example
    from tasks.tokenize import Around, Lengths, tokenize

    examples = [
        Example(inputs=str(row["text"]), target="good", choices=("bad", "good")) for row in ROWS
    ]
    cache = folder / "tokens"
    if (folder / "tokens.npz").exists():
        for path in cache.iterdir():
            shutil.copyfile(folder / "tokens.npz", path)
    found = tokenize(
        examples,
        lambda texts: [[ord(c) % 50 for c in text] for text in texts],
        tokenizer_fingerprint="f",
        around=Around(((), (1,)), ((), (1,))),
        lengths=Lengths(),
        cache=cache,
    )
    for path in cache.iterdir():
        if not (folder / "tokens.npz").exists():
            shutil.copyfile(path, folder / "tokens.npz")
    assert found.inputs[0][-1] == 1, "a damaged cache was taken"
    return found


def prompt(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from spot.prompts.files import read_prompt

        return read_prompt(folder / name)

    return read


def scores(folder: Path) -> object:
    from spot.retrieval.cases import cases_of_files

    return cases_of_files(folder, folder / "scores.json")


def measured(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from bank.outcomes import read_measured

        return read_measured(folder / name)

    return read


def task(name: str = "task.toml") -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from tasks import get_learnable
        from tasks.mixture import Mixture
        from tasks.task import Split

        found = get_learnable(str(folder / name))
        members = found.members if isinstance(found, Mixture) else (found,)
        return [len(member.examples(split)) for member in members for split in Split]

    return read


def study(folder: Path) -> object:
    from spot.cli.options import find_learnable, find_tasks
    from spot.cli.study import recipe_options
    from spot.study.plan import read_plan

    plan = read_plan(folder / "study.toml")
    find_learnable(plan.sources), find_tasks(plan.targets)
    return recipe_options(plan.recipe, f"{folder}/study.toml: recipe").recipe("tiny")


def supervised(folder: Path) -> object:
    from spot.training.pretrain_data import read_supervised

    return read_supervised([folder / "supervised.jsonl"])


def corpus(folder: Path) -> object:
    from tasks.objectives import read_lines

    return sum(len(line) for line in read_lines([folder / "corpus.txt.gz"]))


def saved_state(folder: Path) -> object:
    from spot.training import checkpoint

    return checkpoint.load(folder / "checkpoint.msgpack", TEMPLATE, identity="mine")


def bank(folder: Path) -> object:
    from bank import Bank, listing
    from bank.engine import connected
    from bank.integrity import verify
    from bank.keys import KINDS

    path = folder / "bank.sqlite"
    for extra in folder.glob("bank.sqlite-*"):
        extra.unlink()
    with connected(path) as engine:
        listed = [
            listing.list_tasks(engine),
            listing.list_runs(engine),
            listing.list_prompts(engine),
            listing.list_transfers(engine),
        ]
        for row in listed[1]:
            listing.show_run(engine, str(row["run"]))
    with Bank.open(path, create=False) as opened:
        verify(opened)
        opened.count_rows()
        for partition in opened.partitions():
            keys = opened.keys(partition)
            for kind in KINDS:
                keys.vectors(kind)
            opened.outcomes(partition)
    return listed


def publish(path: Path, folder: Path) -> None:
    """A bank as it is published, with transfers and tags."""
    from bank import Bank
    from bank.card import card_of
    from bank.publish import published
    from bank.repository import write_repository
    from bank.selection import Selection

    with Bank.open(path) as opened:
        opened.tag("mnli@best", ["v1"])
        content = published(opened, Selection(), program="0", evidence=True)
    write_repository(folder, content, card_of(content, "toys", "toys"))


def published_bank(folder: Path) -> object:
    from bank.card import card_of
    from bank.publish import check_sound
    from bank.repository import read_repository

    content = read_repository(folder)
    check_sound(content, "there")
    return card_of(content, "toys", "toys")


READERS = (
    Reader("config", "t5", "config.json", backbone, JSON),
    Reader("safetensors", "t5", "model.safetensors", backbone, (*BYTES, *[safetensors_header] * 8)),
    Reader("spiece", "t5", "spiece.model", backbone, BYTES),
    Reader("tokenizer_config", "t5", "tokenizer_config.json", backbone, JSON),
    Reader("added_tokens", "added", "added_tokens.json", backbone, JSON),
    Reader("shard_index", "shards", "model.safetensors.index.json", backbone, JSON),
    Reader("torch", "bin", "pytorch_model.bin", backbone, (*BYTES, *[zip_member] * 14, zip_bomb)),
    Reader("flax", "flax", "flax_model.msgpack", backbone, (*BYTES, *[msgpack_tree] * 8)),
    Reader("llama_config", "llama", "config.json", backbone, JSON),
    Reader("tokenizer", "llama", "tokenizer.json", backbone, JSON),
    Reader("llama_settings", "llama", "tokenizer_config.json", backbone, JSON),
    Reader("gguf", "gguf", "model.gguf", backbone, BYTES),
    Reader("npy", "prompts", "prompt.npy", prompt("prompt.npy"), (*BYTES, *[npy_header] * 8)),
    Reader(
        "prompt",
        "prompts",
        "prompt.safetensors",
        prompt("prompt.safetensors"),
        (*BYTES, *[safetensors_header] * 8),
    ),
    Reader(
        "prompt_pt",
        "prompts",
        "prompt.pt",
        prompt("prompt.pt"),
        (*BYTES, *[zip_member] * 14, zip_bomb),
    ),
    Reader(
        "peft",
        "prompts",
        "peft/adapter_model.bin",
        prompt("peft"),
        (*BYTES, *[zip_member] * 14, zip_bomb),
    ),
    Reader("peft_config", "prompts", "peft/adapter_config.json", prompt("peft"), JSON),
    Reader("scores", "measured", "scores.json", scores, JSON),
    Reader("outcomes", "measured", "outcomes.json", measured("outcomes.json"), JSON),
    Reader("outcomes_csv", "measured", "outcomes.csv", measured("outcomes.csv"), TEXT),
    Reader("task", "csv", "task.toml", task(), TOML),
    Reader("mixture", "csv", "mixture.toml", task("mixture.toml"), TOML),
    Reader("study", "csv", "study.toml", study, TOML),
    Reader("csv", "csv", "rows.csv", task(), TEXT),
    Reader("tsv", "tsv", "rows.tsv", task(), TEXT),
    Reader("json", "json", "rows.json", task(), JSON),
    Reader("jsonl", "jsonl", "rows.jsonl", task(), JSON_LINES),
    Reader("squad", "squad", "rows.json", task(), JSON),
    Reader("nested", "nested", "rows.jsonl", task(), JSON_LINES),
    Reader("nested_task", "nested", "task.toml", task(), TOML),
    Reader("choices", "choices", "rows.jsonl", task(), JSON_LINES),
    Reader("choices_task", "choices", "task.toml", task(), TOML),
    Reader("parquet", "parquet", "rows.parquet", task(), BYTES),
    Reader("label_text", "label_text", "rows.txt", task(), TEXT),
    Reader("text_and_labels", "texts", "texts.txt", task(), TEXT),
    Reader("odd_task", "odd", "task.toml", task(), TOML),
    Reader("odd_rows", "odd", "rows.txt", task(), TEXT),
    Reader("supervised", "csv", "supervised.jsonl", supervised, JSON_LINES),
    Reader("corpus", "csv", "corpus.txt.gz", corpus, (*BYTES, unpacked(TEXT))),
    Reader("bank", "states", "bank.sqlite", bank, (*BYTES, *[sql] * 14)),
    Reader("manifest", "published", "bank.json", published_bank, JSON),
    Reader(
        "published_prompts",
        "published",
        "prompts.safetensors",
        published_bank,
        (*BYTES, *[safetensors_header] * 8),
    ),
    Reader("checkpoint", "states", "checkpoint.msgpack", saved_state, (*BYTES, *[resealed] * 14)),
    Reader("tokens", "states", "tokens.npz", tokens, (*BYTES, *[zip_member] * 7, zip_bomb)),
    Reader("digest", "t5", "digest", cached_digest, TEXT),
)

# -- children --------------------------------------------------------------------------------------------------


def damaged(reader: Reader, folder: Path, seed: int, index: int) -> bytes:
    """The file as it is damaged for an index; ``SOUND`` leaves it whole."""
    content = (folder / reader.folder / reader.file).read_bytes()
    rng = random.Random(f"{seed}/{reader.name}/{index}")
    if index == SOUND:
        return content
    try:
        return rng.choice(reader.mutations)(rng, content)
    except RecursionError:  # nested more deeply than it can be written
        return flipped(rng, content)


def outcome(reader: Reader, folder: Path, index: int) -> str:
    """``read``, ``refused``, or what else became of it; of a sound file that is refused, why."""
    from bank.errors import BankError
    from spot.errors import SpotError
    from tasks.errors import TaskError

    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        reader.read(folder)
        return "read"
    except (SpotError, BankError, TaskError) as error:
        if "\n" in str(error):
            return f"several lines: {str(error)[:100]!r}"
        return "refused" if index != SOUND else f"a sound file is refused: {error}"
    except TooSlow:
        return f"more than {SECONDS:.0f} seconds of processor"
    except BaseException as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        at = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""
        return f"{type(error).__name__} at {at}: {' '.join(str(error)[:100].split())}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def too_slow(_number: int, _frame: object) -> None:
    raise TooSlow


def work(reader: Reader, seeds: Path, seed: int, indices: list[int], answers: int) -> None:
    """A child: damage, read and answer, file by file."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, too_slow)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    with tempfile.TemporaryDirectory() as copy_to:
        folder = shutil.copytree(seeds / reader.folder, Path(copy_to) / reader.folder)
        os.environ["SPOT_CACHE"] = str(Path(copy_to) / "cache")
        for index in indices:
            os.write(answers, f"{index}\n".encode())
            try:
                content = damaged(reader, seeds, seed, index)
            except Exception as error:
                content, found = None, f"in the harness: {error!r}"
            began = time.monotonic()
            if content is not None:
                (folder / reader.file).write_bytes(content)
                found = outcome(reader, folder, index)
            line = json.dumps([index, found, time.monotonic() - began])
            os.write(answers, f"{line}\n".encode())
            if found not in ("read", "refused"):
                return  # what it left behind must not fail the next


def answered(
    reader: Reader, seeds: Path, seed: int, indices: list[int]
) -> Iterator[tuple[int, str, float]]:
    """Outcomes of the damaged files of these indices; a child that hangs or dies is replaced."""
    left = list(indices)
    while left:
        incoming, outgoing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(incoming)
                work(reader, seeds, seed, left, outgoing)
            finally:
                os._exit(0)
        os.close(outgoing)
        text, at = "", left[0]
        while True:
            ready, _, _ = select.select([incoming], [], [], SILENCE)
            piece = os.read(incoming, 65536) if ready else b""
            if not piece:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                os.close(incoming)
                break
            text += piece.decode()
            *whole, text = text.split("\n")
            for line in whole:
                if not line.startswith("["):
                    at = int(line)
                    continue
                index, found, seconds = json.loads(line)
                left.remove(index)
                yield index, found, seconds
        if at in left:
            left.remove(at)
            died = f"died of signal {status & 127}" if ready else "no answer: a hang in native code"
            yield at, died, SILENCE


def load_everything() -> None:
    """What children read with, so that a fork has it already; nothing here starts a thread."""
    import flax.serialization  # noqa: F401
    import safetensors.numpy  # noqa: F401
    import sentencepiece  # noqa: F401
    import transformers  # noqa: F401
    from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: F401

    import spot.cli.study
    import spot.retrieval.evaluate
    import spot.study.plan
    import spot.training.pretrain  # noqa: F401

    for optional in ("gguf", "pyarrow.parquet"):
        with contextlib.suppress(ImportError):
            __import__(optional)


def in_a_child(function: Callable[[], None]) -> None:
    child = os.fork()
    if not child:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the sound files could not be made"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=12, help="damaged files of every reader")
    parser.add_argument("--only", default="", help="a reader, or one of its files: csv, csv/17")
    parser.add_argument(
        "--keep", type=Path, help="with --only: write the damaged file here and read nothing"
    )
    options = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    # Arrow's own allocator reserves a gigabyte of addresses at once, which is all that a child may take.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    began = time.monotonic()
    load_everything()
    with tempfile.TemporaryDirectory() as name:
        seeds = Path(name) / "seeds"
        seeds.mkdir()
        in_a_child(lambda: make_seeds(seeds))
        counts: dict[str, int] = {}
        failures = []
        only, _, one = options.only.partition("/")
        for reader in READERS:
            if only not in ("", reader.name) or not (seeds / reader.folder / reader.file).exists():
                continue
            if options.keep:
                options.keep.write_bytes(damaged(reader, seeds, options.seed, int(one)))
                return
            indices = [int(one)] if one else [SOUND, *range(options.each)]
            slowest = 0.0
            for index, found, seconds in answered(reader, seeds, options.seed, indices):
                kind = found if found in ("read", "refused") else "failed"
                counts[kind] = counts.get(kind, 0) + 1
                slowest = max(slowest, seconds)
                if kind == "failed":
                    failures.append(
                        {
                            "reader": reader.name,
                            "index": index,
                            "found": found,
                            "seconds": round(seconds, 2),
                        }
                    )
            print(
                f"{reader.name}: {len(indices)}, slowest {slowest:.2f} s, after {time.monotonic() - began:.0f} s",
                file=sys.stderr,
            )
    print(
        json.dumps(
            {"counts": counts, "seconds": round(time.monotonic() - began, 1), "failures": failures},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
