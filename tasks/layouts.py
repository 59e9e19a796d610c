"""Readers of data sets that have a layout of their own: documents of many rows, or a part in many files."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tasks.errors import TaskError
from tasks.files import read_text
from tasks.json_files import parse_json, read_jsonl
from tasks.rows import Numbered, Row
from tasks.tables import text_lines

GZIP_GROWTH = 100
"""Times its size that a gzip file of text may hold unpacked."""

GZIP_FREE = 2**26
"""Bytes that every gzip file may hold."""


@contextlib.contextmanager
def _laid_out(where: str, layout: str) -> Iterator[None]:
    """Errors of a document that has another shape name it and the layout."""
    try:
        yield
    except KeyError as error:
        raise TaskError(f"{where}: not in the layout of {layout} (no {error})") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise TaskError(f"{where}: not in the layout of {layout} ({error})") from error


# -- gzip ------------------------------------------------------------------------------------------------


def gzip_lines(path: Path) -> Iterator[str]:
    """Lines of a gzip file of UTF-8 text, unpacked as they are read.

    Raises:
        TaskError: a file that is missing, no gzip or no UTF-8, or one that unpacks to more than a text of its size.
    """
    number = 0
    try:
        left = max(GZIP_FREE, GZIP_GROWTH * path.stat().st_size)
        with gzip.open(path, "rb") as file:
            while line := file.readline(left + 1):
                number += 1
                left -= len(line)
                if left < 0:
                    raise TaskError(
                        f"{path}, row {number}: unpacks to more than a file of its size holds"
                    )
                yield line.decode()
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}, row {number}: not UTF-8 text") from error
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{path}, row {number + 1}: cannot be read as gzip ({error})") from error


def _gzip_objects(path: Path, layout: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(gzip_lines(path), 1):
        if line.strip():
            content = parse_json(f"{path}, row {number}", line)
            if not isinstance(content, dict):
                raise TaskError(f"{path}, row {number}: not in the layout of {layout}")
            yield number, content


def read_mrqa(path: Path) -> Iterator[Numbered]:
    """MRQA's gzipped JSON lines: a header that names the data set, then a passage with its questions a line.

    A row is a question: ``subset``, ``context``, ``qid``, ``question`` and ``answers``, as on the hub.
    """
    subset = ""
    for number, document in _gzip_objects(path, "MRQA"):
        with _laid_out(f"{path}, row {number}", "MRQA"):
            if "header" in document:
                subset = document["header"]["dataset"]
                continue
            for question in document["qas"]:
                values = {key: question[key] for key in ("qid", "question", "answers")}
                yield Numbered(number, {"subset": subset, "context": document["context"], **values})


def first_of_gzip(rows: Mapping[str, int]) -> Callable[[Path], Iterator[Numbered]]:
    """A reader of the first rows of gzipped JSON lines.

    Args:
        rows: how many, by a word that stands in the file's name.
    """

    def read(path: Path) -> Iterator[Numbered]:
        most = next((count for word, count in rows.items() if word in path.name), None)
        for number, document in itertools.islice(_gzip_objects(path, "JSON lines"), most):
            yield Numbered(number, document)

    return read


# -- questions and pairs ---------------------------------------------------------------------------------


def read_drop(path: Path) -> Iterator[Numbered]:
    """DROP's document: passages by name, each with its questions. A row is a question with all annotators' answers."""
    passages = parse_json(str(path), read_text(path))
    number = 0
    with _laid_out(str(path), "DROP"):
        for passage in passages.values():
            for asked in passage["qa_pairs"]:
                number += 1
                given = [asked["answer"], *asked.get("validated_answers", ())]
                answers = [text for answer in given if (text := _drop_answer(answer))]
                yield Numbered(
                    number,
                    {
                        "passage": passage["passage"],
                        "question": asked["question"],
                        "query_id": asked["query_id"],
                        "answers": list(dict.fromkeys(answers)),
                    },
                )


def _drop_answer(answer: Mapping[str, Any]) -> str:
    """The text of an answer: a number, a date as day, month and year, or spans with commas between."""
    if answer["number"]:
        return str(answer["number"])
    if answer["spans"]:
        return ", ".join(answer["spans"])
    return " ".join(filter(None, (answer["date"].get(unit) for unit in ("day", "month", "year"))))


def read_race(path: Path) -> Iterator[Numbered]:
    """A part of RACE: a folder with ``middle`` and ``high``, in which every file is an article with its questions."""
    files = [file for level in ("high", "middle") for file in _articles(path / level)]
    number = 0
    for file in files:
        document = parse_json(str(file), read_text(file))
        with _laid_out(str(file), "RACE"):
            columns = (document["questions"], document["options"], document["answers"])
            for question, options, answer in zip(*columns, strict=True):
                number += 1
                row = {"article": document["article"], "question": question, "options": options}
                yield Numbered(number, row | {"answer": answer, "example_id": document["id"]})


def _articles(folder: Path) -> Sequence[Path]:
    files = sorted(folder.glob("*.txt"), key=lambda file: (len(file.stem), file.stem))
    if not files:
        raise TaskError(f"{folder}: no article of RACE; both middle and high must be there")
    return files


def read_anli_rounds(path: Path) -> Iterator[Numbered]:
    """A part of all three rounds of ANLI, given that of one: ``R1/train.jsonl`` has ``R2`` and ``R3`` beside ``R1``."""
    for name in ("R1", "R2", "R3"):
        yield from read_jsonl(path.parents[1] / name / path.name)


def read_customer_reviews(path: Path) -> Iterator[Numbered]:
    """Customer reviews as in SentEval: sentences of praise in ``NAME.pos``, of blame in ``NAME.neg`` beside it."""
    number = 0
    for suffix, label in ((".pos", "1"), (".neg", "0")):
        for line in text_lines(read_text(path.with_suffix(suffix), "latin-1")):
            number += 1
            if line.strip():
                yield Numbered(number, {"text": line.strip(), "label": label})


# -- texts to write --------------------------------------------------------------------------------------


def read_stories(path: Path) -> Iterator[Numbered]:
    """A part of CNN/DailyMail: a list of addresses, with the articles beside it in ``cnn`` and ``dailymail``.

    An article lies in ``stories`` under the hash of its address (Hermann et al. 2015; See et al. 2017). Rows have
    ``article`` and ``highlights``.
    """
    for number, line in enumerate(text_lines(read_text(path)), 1):
        if not (address := line.strip()):
            continue
        name = f"{hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()}.story"
        places = [path.parent / paper / "stories" / name for paper in ("cnn", "dailymail")]
        story = next((place for place in places if place.exists()), None)
        if story is None:
            raise TaskError(
                f"{path}, row {number}: no article {name} in cnn/stories or dailymail/stories"
            )
        yield Numbered(number, _story(read_text(story)))


SENTENCE_ENDS = (".", "!", "?", "'", "`", '"', "\u2019", "\u201d", ")")


def _story(text: str) -> Row:
    """Paragraphs before the first ``@highlight``, and the lines after it, each ending as a sentence."""
    lines = [line.strip() for line in text_lines(text) if line.strip()]
    first = next((i for i, line in enumerate(lines) if line == "@highlight"), len(lines))
    highlights = [line for line in lines[first:] if line != "@highlight"]
    return {
        "article": " ".join(map(_ended, lines[:first])),
        "highlights": "\n".join(map(_ended, highlights)),
    }


def _ended(line: str) -> str:
    return line if line.endswith(SENTENCE_ENDS) else f"{line} ."


def read_meanings(path: Path) -> Iterator[Numbered]:
    """E2E's comma-separated meanings and references, ``mr`` and ``ref``; columns that the header does not name go."""
    table = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        names = [name.lower() for name in next(table, [])]
        for values in table:
            if len(values) < len(names):
                raise TaskError(
                    f"{path}, row {table.line_num}: {len(values)} columns, expected {len(names)}"
                )
            yield Numbered(table.line_num, dict(zip(names, values, strict=False)))
    except csv.Error as error:
        raise TaskError(f"{path}, row {table.line_num}: {error}") from error


def read_webnlg(path: Path) -> Iterator[Numbered]:
    """A part of WebNLG: a folder of XML files at any depth, or one of them. A row is an entry, as on the hub."""
    files = sorted(path.rglob("*.xml")) if path.is_dir() else [path]
    if not files:
        raise TaskError(f"{path}: no XML file of WebNLG in it")
    for number, entry in enumerate(itertools.chain.from_iterable(map(_entries, files)), 1):
        yield Numbered(number, entry)


def _entries(path: Path) -> Iterable[Row]:
    text = read_text(path)
    if re.search("<!(DOCTYPE|ENTITY)", text):
        raise TaskError(f"{path}: defines entities, which WebNLG's files do not")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise TaskError(f"{path}: not XML ({error})") from error
    return [_entry(entry) for entry in root.iter("entry")]


def _entry(entry: ElementTree.Element) -> Row:
    sets = [
        [triple.text or "" for triple in triples.iter("mtriple")]
        for triples in entry.iter("modifiedtripleset")
    ]
    lexes = list(entry.iter("lex"))
    return {
        "category": entry.get("category", ""),
        "modified_triple_sets": {"mtriple_set": sets},
        "lex": {
            "comment": [lex.get("comment", "") for lex in lexes],
            "text": [lex.text or "" for lex in lexes],
        },
    }
