"""Readers of files and the hub: what they yield, and that each error names the file and the row."""

import csv
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import TaskError
from tasks.json_files import read_json, read_jsonl
from tasks.parquet import read_parquet
from tasks.readers import FORMATS, label_first, text_and_labels
from tasks.rows import Numbered, Reader
from tasks.sources import Hub, Source
from tasks.tables import table, tsv

read_csv = table(",")

Write = Callable[[str, str | bytes], Path]

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of the test's folder."""

    def to(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to


def numbered(reader: Reader, path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """Row numbers and rows."""
    return [(row.number, row.values) for row in reader(path) if isinstance(row, Numbered)]


def fails(reader: Reader, path: Path) -> str:
    """The one-line message of the TaskError that reading raises."""
    with pytest.raises(TaskError) as caught:
        list(reader(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


# -- tab-separated values -----------------------------------------------------------------------------------


def test_a_tsv_takes_its_columns_from_the_header_and_numbers_rows_as_an_editor_does(
    write: Write,
) -> None:
    path = write("a.tsv", "text\tlabel\none\t1\ntwo\t0\n")
    assert numbered(tsv(), path) == [
        (2, {"text": "one", "label": "1"}),
        (3, {"text": "two", "label": "0"}),
    ]


def test_a_tsv_without_header_takes_the_given_columns_from_the_first_line_on(write: Write) -> None:
    path = write("a.tsv", "one\t1\ntwo\t0")
    expected = [(1, {"text": "one", "label": "1"}), (2, {"text": "two", "label": "0"})]
    assert numbered(tsv("text", "label"), path) == expected


def test_a_byte_order_mark_is_no_part_of_the_first_column(write: Write) -> None:
    for reader, name in ((tsv(), "a.tsv"), (tsv(quoted=True), "b.tsv")):
        path = write(name, BOM + b"Quality\ttext\n1\tone\n")
        assert numbered(reader, path) == [(2, {"Quality": "1", "text": "one"})]
    assert numbered(read_csv, write("a.csv", BOM + b"x,y\n1,2\n")) == [(2, {"x": "1", "y": "2"})]
    assert numbered(read_jsonl, write("a.jsonl", BOM + b'{"x": 1}\n')) == [(1, {"x": 1})]
    assert numbered(read_json, write("a.json", BOM + b'[{"x": 1}]')) == [(1, {"x": 1})]


def test_quotation_marks_of_an_unquoted_tsv_are_characters_like_any_other(write: Write) -> None:
    path = write("a.tsv", 'text\tlabel\n" He said "no\t1\n""\t0\n')
    assert [row["text"] for _, row in numbered(tsv(), path)] == ['" He said "no', '""']


def test_windows_line_ends_and_blank_lines_of_a_tsv_leave_no_trace(write: Write) -> None:
    path = write("a.tsv", "text\tlabel\r\none\t1\r\n\r\ntwo\t0\r\n\r\n")
    assert numbered(tsv(), path) == [
        (2, {"text": "one", "label": "1"}),
        (4, {"text": "two", "label": "0"}),
    ]


def test_a_quoted_tsv_holds_tabs_newlines_and_doubled_quotation_marks(write: Write) -> None:
    path = write("a.tsv", 'sentence\tlabel\n"one\n\ttwo ""three"""\t1\nfour\t0\n')
    (_, first), (last, second) = numbered(tsv(quoted=True), path)
    assert first == {"sentence": 'one\n\ttwo "three"', "label": "1"}
    assert (last, second) == (4, {"sentence": "four", "label": "0"})


@pytest.mark.parametrize("quoted", [False, True])
def test_a_wrong_number_of_columns_names_the_file_and_the_row(write: Write, quoted: bool) -> None:
    for line, count in (("two", 1), ("two\t0\t0", 3)):
        path = write("a.tsv", f"text\tlabel\none\t1\n{line}\nthree\t1\n")
        assert fails(tsv(quoted=quoted), path).startswith(
            f"{path}, row 3: {count} columns, expected 2"
        )


def test_a_wrong_number_of_columns_without_header_is_held_against_the_given_ones(
    write: Write,
) -> None:
    path = write("a.tsv", "one\t1\ntwo\n")
    assert fails(tsv("text", "label"), path).startswith(f"{path}, row 2: 1 columns, expected 2")


cell = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), min_size=1).filter(
    str.strip
)


@settings(max_examples=60)
@given(st.lists(st.tuples(cell, cell), max_size=8))
def test_every_tsv_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tsv"
    path.write_text(
        "".join(f"{a}\t{b}\n" for a, b in [("x", "y"), *table]), encoding="utf-8", newline=""
    )
    assert numbered(tsv(), path) == [(i, {"x": a, "y": b}) for i, (a, b) in enumerate(table, 2)]


# -- comma-separated values ---------------------------------------------------------------------------------


def test_a_csv_has_a_header_and_quoted_fields_of_several_lines(write: Write) -> None:
    path = write("a.csv", 'text,label\r\n"one, ""two""\nthree",1\r\nfour,0\r\n')
    (_, first), (last, second) = numbered(read_csv, path)
    assert first == {"text": 'one, "two"\nthree', "label": "1"}
    assert (last, second) == (4, {"text": "four", "label": "0"})


def test_a_wrong_number_of_columns_of_a_csv_names_the_file_and_the_row(write: Write) -> None:
    path = write("a.csv", "text,label\none,1\ntwo\n")
    assert fails(read_csv, path).startswith(f"{path}, row 3: 1 columns, expected 2")


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))),
        max_size=8,
    )
)
def test_every_fully_quoted_csv_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("x", "y"), *table])
    path.write_bytes(out.getvalue().encode())
    assert [row for _, row in numbered(read_csv, path)] == [{"x": a, "y": b} for a, b in table]


@pytest.mark.parametrize("character", ["\u2028", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_only_line_ends_end_a_row(write: Write, character: str) -> None:
    for reader, comma in ((read_csv, ","), (tsv(quoted=True), "\t")):
        path = write("a", f"text{comma}label\none{character}two{comma}1\n")
        assert numbered(reader, path) == [(2, {"text": f"one{character}two", "label": "1"})]


def test_blank_lines_of_a_csv_leave_no_trace(write: Write) -> None:
    for reader, comma in ((read_csv, ","), (tsv(quoted=True), "\t")):
        path = write("a", f"text{comma}label\n\none{comma}1\n\n")
        assert numbered(reader, path) == [(3, {"text": "one", "label": "1"})]


def test_a_quotation_mark_that_never_closes_is_an_error_of_the_task(write: Write) -> None:
    for reader, comma in ((read_csv, ","), (tsv(quoted=True), "\t")):
        path = write("a", f'text{comma}label\n"one{comma}1\n' + f"two{comma}0\n" * 40_000)
        assert str(path) in fails(reader, path)


# -- JSON ---------------------------------------------------------------------------------------------------


def test_json_lines_keep_types_and_skip_blank_lines(write: Write) -> None:
    path = write("a.jsonl", '{"x": 1, "y": true}\n\n{"x": null, "y": {"z": ["é"]}}\n')
    assert numbered(read_jsonl, path) == [
        (1, {"x": 1, "y": True}),
        (3, {"x": None, "y": {"z": ["é"]}}),
    ]


@settings(max_examples=60)
@given(
    st.lists(
        st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.none()),
        max_size=6,
    )
)
def test_every_json_lines_file_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    assert numbered(read_jsonl, path) == list(enumerate(rows, 1))


def test_a_json_line_that_does_not_parse_names_the_file_and_the_row(write: Write) -> None:
    path = write("a.jsonl", '{"x": 1}\n\n{"x": \n{"x": 2}\n')
    assert fails(read_jsonl, path).startswith(f"{path}, row 3: not JSON (")


def test_a_json_line_that_is_no_object_names_the_file_and_the_row(write: Write) -> None:
    path = write("a.jsonl", '{"x": 1}\n[1, 2]\n')
    assert fails(read_jsonl, path) == f"{path}, row 2: expected a JSON object, found list"


def test_a_json_file_is_a_list_of_objects(write: Write) -> None:
    path = write("a.json", '[{"x": 1},\n {"x": 2}]')
    assert numbered(read_json, path) == [(1, {"x": 1}), (2, {"x": 2})]


def test_nested_squad_gives_one_row_a_question_with_every_answer(write: Write) -> None:
    def question(text: str, *answers: str) -> dict[str, object]:
        return {
            "question": text,
            "id": text,
            "answers": [{"text": a, "answer_start": 0} for a in answers],
        }

    first = {"context": "C1", "qas": [question("q1", "a", "b"), question("q2", "c")]}
    second = {"context": "C2", "qas": [question("q3", "d")]}
    articles = [{"title": "t", "paragraphs": [first, second]}, {"paragraphs": [first]}]
    path = write("a.json", json.dumps({"version": "1.1", "data": articles}))
    q1 = {"context": "C1", "question": "q1", "answers": ["a", "b"]}
    q2 = {"context": "C1", "question": "q2", "answers": ["c"]}
    q3 = {"context": "C2", "question": "q3", "answers": ["d"]}
    assert numbered(read_json, path) == list(enumerate([q1, q2, q3, q1, q2], 1))


def test_articles_of_squad_are_read_one_alone_and_one_a_line(write: Write) -> None:
    def article(question: str) -> dict[str, object]:
        asked = {"question": question, "answers": [{"text": "a", "answer_start": 0}]}
        return {"title": "t", "paragraphs": [{"context": "c", "qas": [asked, asked]}]}

    row = {"context": "c", "question": "one?", "answers": ["a"]}
    assert numbered(read_json, write("a.json", json.dumps(article("one?")))) == [(1, row), (2, row)]
    lines = [json.dumps(article("one?")), json.dumps(article("two?"))]
    other = row | {"question": "two?"}
    path = write("a.jsonl", "\n".join(lines))
    assert numbered(read_jsonl, path) == [(1, row), (1, row), (2, other), (2, other)]
    broken = write("b.jsonl", lines[0] + '\n{"paragraphs": [{"qas": [{}]}]}')
    assert fails(read_jsonl, broken).startswith(
        f"{broken}, row 2: not in SQuAD's format (question 1: "
    )


def test_json_of_columns_or_of_lines_says_how_it_is_read(write: Write) -> None:
    columns = write("a.json", '{"text": ["a", "b"], "label": {"0": 1}}')
    assert fails(read_json, columns).endswith(
        "found an object with 'text', 'label'; write a list of rows, as pandas does with to_json(orient=\"records\")"
    )
    document = write("a.jsonl", '[\n{"x": 1},\n{"x": 2}]')
    assert fails(read_jsonl, document).endswith(
        'if the file is one list of objects, say format = "json" under [data]'
    )


def test_a_json_file_that_does_not_parse_names_the_file_and_the_line(write: Write) -> None:
    path = write("a.json", '[{"x": 1},\n {"x": 2},\n {"x" 3}]')
    assert fails(read_json, path).startswith(f"{path}, row 3: not JSON (")


@pytest.mark.parametrize("content", ['"text"', "5", "{}", '{"rows": []}'])
def test_json_of_another_shape_names_the_file(write: Write, content: str) -> None:
    path = write("a.json", content)
    assert fails(read_json, path).startswith(f"{path}: expected a list of objects")


@pytest.mark.parametrize(
    "content",
    [
        '{"data": 5}',
        '{"data": [{"paragraphs": 5}]}',
        '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q"}]}]}]}',
    ],
)
def test_json_that_only_looks_like_squad_names_the_file(write: Write, content: str) -> None:
    path = write("a.json", content)
    assert str(path) in fails(read_json, path)


def test_a_json_list_of_other_things_than_objects_names_the_file_and_the_row(write: Write) -> None:
    path = write("a.json", '[{"x": 1}, 5]')
    assert fails(read_json, path).startswith(f"{path}, row 2: expected a JSON object")


@pytest.mark.parametrize(
    "nested",
    ["[" * 100_000, '{"x": ' * 50_000, "[" * 500 + "]" * 500, '[{"x": ' * 300 + "1" + "}]" * 300],
)
def test_json_nested_without_end_is_an_error_of_the_task(write: Write, nested: str) -> None:
    for reader in (read_json, read_jsonl):
        assert fails(reader, write("a", nested)).endswith("not JSON (nested too deeply)")


def test_json_nested_as_far_as_data_is_stays_as_it_is(write: Write) -> None:
    value: object = 1
    for _ in range(40):
        value = {"x": [value]}
    path = write("a.jsonl", json.dumps(value) + "\n")
    assert numbered(read_jsonl, path) == [(1, value)]


def test_a_number_of_many_digits_is_an_error_with_its_row(write: Write) -> None:
    path = write("a.jsonl", '{"x": 1}\n{"x": ' + "9" * 5_000 + "}\n")
    assert fails(read_jsonl, path) == f"{path}, row 2: not JSON (a number of too many digits)"
    assert fails(read_json, write("b.json", "[" + "9" * 5_000 + "]")).endswith(
        "not JSON (a number of too many digits)"
    )


def test_a_key_twice_in_one_object_is_refused(write: Write) -> None:
    path = write("a.jsonl", '{"text": "a", "label": 1}\n{"text": "a", "label": 1, "text": "b"}\n')
    assert fails(read_jsonl, path) == f"{path}, row 2: not JSON (key 'text' twice in one object)"


def test_many_keys_are_searched_for_a_repeated_one_in_time(write: Write) -> None:
    keys = ", ".join(f'"k{i}": 1' for i in range(50_000))
    start = time.process_time()
    assert "key 'k49999' twice" in fails(read_jsonl, write("a.jsonl", f'{{{keys}, "k49999": 2}}'))
    assert time.process_time() - start < 5


def test_json_lines_in_a_json_file_are_told_how_to_be_read(write: Write) -> None:
    message = fails(read_json, write("a.json", '{"x": 1}\n{"x": 2}\n'))
    assert (
        'row 2: not JSON (Extra data); if every line is an object of its own, say format = "jsonl"'
        in message
    )


def test_rows_under_data_are_rows(write: Write) -> None:
    path = write("a.json", '{"version": "1", "data": [{"x": 1}, {"x": 2}]}')
    assert numbered(read_json, path) == [(1, {"x": 1}), (2, {"x": 2})]


# -- Parquet ------------------------------------------------------------------------------------------------


def test_parquet_rows_keep_their_types(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["one", "two"], "label": [1, 0]}), path)
    assert numbered(read_parquet, path) == [
        (1, {"text": "one", "label": 1}),
        (2, {"text": "two", "label": 0}),
    ]


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write columns as a Parquet file."""
    pyarrow = pytest.importorskip("pyarrow")
    module = pytest.importorskip("pyarrow.parquet")

    def to(columns: Mapping[str, Any] | list[tuple[str, Any]], **options: Any) -> Path:
        named = list(columns.items()) if isinstance(columns, Mapping) else columns
        path = tmp_path / "a.parquet"
        arrays = [
            values if isinstance(values, pyarrow.Array) else pyarrow.array(values)
            for _, values in named
        ]
        module.write_table(
            pyarrow.table(arrays, names=[name for name, _ in named]), path, **options
        )
        return path

    return to


def test_parquet_columns_of_one_name_are_refused(parquet: Callable[..., Path]) -> None:
    path = parquet([("text", ["a"]), ("label", [1]), ("text", ["b"])])
    assert fails(read_parquet, path) == f"{path}: two columns are called 'text'; rename one of them"


def test_parquet_texts_nulls_and_lists_come_back_as_they_were_written(
    parquet: Callable[..., Path],
) -> None:
    columns = {
        "text": ["one", None, "one", "two", ""],
        "bytes": [b"one", b"\xff", None, b"", b"x"],
        "answers": [["a"], [], None, ["a", "b"], [None]],
        "number": [1.5, float("inf"), None, -0.0, 2.0],
        "struct": [{"text": ["a"]}, None, {"text": []}, {"text": None}, {"text": ["a", "b"]}],
    }
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    assert [row for _, row in numbered(read_parquet, parquet(columns))] == rows


def test_parquet_of_many_rows_is_read_in_parts(parquet: Callable[..., Path]) -> None:
    texts = [f"text {i % 1500}" for i in range(4000)]
    path = parquet({"text": texts}, row_group_size=1700)
    assert numbered(read_parquet, path) == [(i, {"text": text}) for i, text in enumerate(texts, 1)]


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_parquet_that_unpacks_without_end_is_refused_in_time(
    parquet: Callable[..., Path], compression: str
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    shared = pyarrow.array(["x" * 2_000_000]).dictionary_encode().take(pyarrow.array([0] * 20_000))
    start = time.process_time()
    path = parquet({"text": shared}, compression=compression)
    if path.stat().st_size < 100_000:
        assert "than a file of its size holds" in fails(read_parquet, path)
    many = parquet({"label": pyarrow.array([1] * 2_000_000)}, compression=compression)
    assert "2000000 rows of" in fails(read_parquet, many)
    assert time.process_time() - start < 5


def test_a_parquet_file_that_is_none_or_missing_names_the_file(
    write: Write, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    path = write("a.parquet", b"PAR1 but nothing that follows")
    message = fails(read_parquet, path)
    assert message.startswith(f"{path}: not a Parquet file (")
    missing = tmp_path / "b.parquet"
    assert fails(read_parquet, missing) == f"{missing}: no such file"


def test_parquet_without_pyarrow_says_what_to_install(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    path = write("a.parquet", b"")
    message = fails(read_parquet, path)
    assert message.startswith(f"{path}: ")
    assert "spot-prompt-transfer[hub]" in message


# -- label first, text and labels ---------------------------------------------------------------------------


def test_label_first_cuts_at_the_first_space_or_tab_only(write: Write) -> None:
    path = write("a.txt", "1 one two  three \n\n0 four\r\n1\tfive six\n0\n")
    expected = [(1, {"label": "1", "text": "one two  three"}), (3, {"label": "0", "text": "four"})]
    expected += [(4, {"label": "1", "text": "five six"}), (5, {"label": "0", "text": ""})]
    assert numbered(label_first(), path) == expected


def test_label_first_reads_latin_1_where_it_is_told_to(write: Write) -> None:
    path = write("a.txt", "0 Who painted Olympia ?\n1 café\n".encode("latin-1"))
    assert numbered(label_first("latin-1"), path)[1] == (2, {"label": "1", "text": "café"})
    assert fails(label_first(), path).startswith(f"{path}, row 2: not utf-8 text; ")


def test_texts_and_labels_go_together_line_by_line(write: Write) -> None:
    path = write("val_text.txt", "one \ntwo\n")
    write("val_labels.txt", "1\n0\n")
    expected = [(1, {"text": "one", "label": "1"}), (2, {"text": "two", "label": "0"})]
    assert numbered(text_and_labels(), path) == expected


def test_texts_and_labels_of_unequal_number_name_the_file_and_both_counts(write: Write) -> None:
    path = write("val_text.txt", "one\ntwo\nthree\n")
    write("val_labels.txt", "1\n0\n")
    assert fails(text_and_labels(), path) == f"{path}: 3 texts, but val_labels.txt has 2 labels"


def test_texts_whose_labels_file_nobody_names_are_refused(write: Write) -> None:
    path = write("texts.txt", "one\n")
    assert fails(text_and_labels(), path).startswith(f"{path}: its labels are not known")
    labels = write("gold", "1\n")
    assert numbered(text_and_labels(labels={path: labels}), path) == [
        (1, {"text": "one", "label": "1"})
    ]


def test_a_missing_file_of_labels_is_named(write: Write) -> None:
    path = write("val_text.txt", "one\n")
    labels = path.with_name("val_labels.txt")
    assert fails(text_and_labels(), path) == f"{labels}: no such file"


# -- every reader of text -----------------------------------------------------------------------------------

TEXT_READERS: dict[str, Reader] = {
    "tsv": tsv(),
    "tsv without header": tsv("text", "label"),
    "quoted tsv": tsv(quoted=True),
    "csv": read_csv,
    "jsonl": read_jsonl,
    "json": read_json,
    "label first": label_first(),
    "text and labels": text_and_labels(),
}


@pytest.mark.parametrize("reader", TEXT_READERS.values(), ids=TEXT_READERS)
def test_a_missing_file_is_named(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / "nowhere_text.txt"
    assert fails(reader, path) == f"{path}: no such file"


@pytest.mark.parametrize("reader", TEXT_READERS.values(), ids=TEXT_READERS)
@pytest.mark.parametrize("line", [1, 2, 7])
def test_bytes_that_are_not_utf_8_are_an_error_at_their_line(
    write: Write, reader: Reader, line: int
) -> None:
    lines = [b"some text"] * 9
    lines[line - 1] = b"caf\xe9 au lait"
    path = write("a_text.txt", b"\n".join(lines))
    assert fails(reader, path).startswith(f"{path}, row {line}: not utf-8 text; ")


@pytest.mark.parametrize("reader", TEXT_READERS.values(), ids=TEXT_READERS)
def test_a_folder_in_place_of_a_file_is_an_error_that_names_it(
    tmp_path: Path, reader: Reader
) -> None:
    assert fails(reader, tmp_path).startswith(f"{tmp_path}: cannot be read (")


# -- the hub ------------------------------------------------------------------------------------------------

HUB = Hub(path="owner/name", config="small", columns={"label": "coarse_label"})


class FakeClassLabel:
    """Stands for ``datasets.ClassLabel`` where the package is not installed."""


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Install a hub client whose ``load_dataset`` raises."""

    def install(error: Exception) -> None:
        def load_dataset(*args: object, **kwargs: object) -> None:
            raise error

        fake = SimpleNamespace(load_dataset=load_dataset, ClassLabel=FakeClassLabel)
        monkeypatch.setitem(sys.modules, "datasets", fake)

    return install


def hub_fails(part: str) -> str:
    """The one-line message of the TaskError that the hub raises."""
    with pytest.raises(TaskError) as caught:
        HUB.rows(part)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_hub_without_the_datasets_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    message = hub_fails("train")
    assert message.startswith("hub data set owner/name/small: ")
    assert "spot-prompt-transfer[hub]" in message
    assert "--data-dir" in message


def test_a_hub_that_fails_is_one_line_with_the_first_line_of_its_reason(
    raising: Callable[[Exception], None],
) -> None:
    raising(ConnectionError("no route to host\nand a long trace"))
    message = hub_fails("train")
    assert message.startswith("hub data set owner/name/small: cannot be loaded (no route to host)")
    assert "--data-dir" in message


def test_a_hub_that_fails_without_a_reason_is_an_error_of_the_task(
    raising: Callable[[Exception], None],
) -> None:
    raising(ConnectionError())
    assert hub_fails("train").startswith("hub data set owner/name/small: cannot be loaded (")


def test_a_part_that_the_hub_has_not_is_named_with_those_it_has() -> None:
    assert (
        hub_fails("all")
        == "hub data set owner/name/small: has no part 'all'; it has train, dev, test"
    )


def test_hub_rows_have_our_column_names_and_the_names_of_class_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        text=datasets.Value("string"),
        coarse_label=datasets.ClassLabel(names=["DESC", "ENTY"]),
        fine=datasets.Value("int32"),
    )
    content = {"text": ["one", "two"], "coarse_label": [1, 0], "fine": [1, 0]}
    data = datasets.Dataset.from_dict(content, features=features)
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def load_dataset(*args: object, **kwargs: object) -> object:
        calls.append((args, kwargs))
        return data

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    rows = HUB.rows("dev")
    assert rows.where == "hub data set owner/name/small"
    assert [(row.number, row.values) for row in rows.rows] == [
        (1, {"text": "one", "label": "ENTY", "fine": 1}),
        (2, {"text": "two", "label": "DESC", "fine": 0}),
    ]
    list(Hub(path="owner/plain", parts={"all": "validation"}).rows("all").rows)
    assert calls == [
        (("owner/name", "small"), {"split": "validation"}),
        (("owner/plain", None), {"split": "validation"}),
    ]


class FakeData(list[dict[str, Any]]):
    """Stands for a data set of the hub, with a class label in ``star``."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__(rows)
        label = FakeClassLabel()
        label.names = ["bad", "good"]  # type: ignore[attr-defined]
        self.features = {"star": label}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, object]]]:
    """Install a hub client with these rows; its calls are kept."""

    def install(*rows: dict[str, Any]) -> list[dict[str, object]]:
        calls: list[dict[str, object]] = []

        def load_dataset(*args: object, **options: object) -> FakeData:
            calls.append(options)
            return FakeData(list(rows))

        fake = SimpleNamespace(load_dataset=load_dataset, ClassLabel=FakeClassLabel)
        monkeypatch.setitem(sys.modules, "datasets", fake)
        return calls

    return install


def test_a_revision_is_asked_for_where_it_is_named(
    hub: Callable[..., list[dict[str, object]]],
) -> None:
    calls = hub({"star": 1})
    list(Hub(path="a/b", revision="abc").rows("dev").rows)
    list(Hub(path="a/b").rows("dev").rows)
    assert calls == [{"split": "validation", "revision": "abc"}, {"split": "validation"}]


def test_what_a_hub_does_not_say_is_not_asked_for(
    hub: Callable[..., list[dict[str, object]]],
) -> None:
    calls = hub({"star": 1})
    list(Hub(path="a/b", folder="c", streaming=True, where={"star": "1"}).rows("dev").rows)
    list(Hub(path="a/b").rows("dev").rows)
    told = {"data_dir": "c", "streaming": True, "filters": [("star", "==", "1")]}
    assert calls == [
        {"split": "validation", "verification_mode": "no_checks"} | told,
        {"split": "validation"},
    ]


def test_rows_beyond_those_that_are_taken_are_never_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless:
        features = None

        def __iter__(self) -> Iterator[dict[str, int]]:
            yield from ({"x": i} for i in range(3))
            raise AssertionError("a row that nobody wants was read")

    fake = SimpleNamespace(load_dataset=lambda *_, **__: Endless(), ClassLabel=FakeClassLabel)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    hub = Hub(path="a/b", streaming=True, take={"train": 3})
    assert [row.values["x"] for row in hub.rows("train").rows] == [0, 1, 2]


@pytest.mark.parametrize("take", [{"train": 0}, {"train": -1}, {"all": 5}])
def test_rows_to_take_that_make_no_sense_are_refused(take: dict[str, int]) -> None:
    with pytest.raises(TaskError, match=r"hub data set a/b: take is .* rows of train, dev, test$"):
        Hub(path="a/b", take=take)


def test_class_labels_that_are_null_or_unknown_stay_so(
    hub: Callable[..., list[dict[str, object]]],
) -> None:
    hub({"star": None}, {"star": -1}, {"star": 1})
    assert [row.values["star"] for row in Hub(path="a/b").rows("dev").rows] == [None, -1, "good"]


def test_a_column_that_is_named_for_ours_goes_before_one_of_that_name(
    hub: Callable[..., list[dict[str, object]]],
) -> None:
    for row in ({"star": 1, "label": "x"}, {"label": "x", "star": 1}):
        hub(row)
        (found,) = Hub(path="a/b", columns={"label": "star"}).rows("dev").rows
        assert found.values == {"label": "good"}


def test_one_column_of_the_hub_may_have_two_names(
    hub: Callable[..., list[dict[str, object]]],
) -> None:
    hub({"star": 1})
    (found,) = Hub(path="a/b", columns={"label": "star", "text": "star"}).rows("dev").rows
    assert found.values == {"label": "good", "text": "good"}


def test_a_row_of_the_hub_that_cannot_be_unpacked_is_one_line(
    hub: Callable[..., list[dict[str, object]]],
) -> None:
    hub({"star": 1}, {"star": 7})
    rows = iter(Hub(path="a/b").rows("dev").rows)
    assert next(rows).values == {"star": "good"}
    with pytest.raises(TaskError, match=r"hub data set a/b, row 2: cannot be read \("):
        next(rows)


def test_a_task_of_the_hub_alone_is_asked_for_there_whatever_the_data_folder(
    tmp_path: Path, hub: Callable[..., list[dict[str, object]]]
) -> None:
    hub({"star": 1})
    assert len(list(Source(hub=Hub(path="a/b")).rows("dev", tmp_path).rows)) == 1


# -- sources ------------------------------------------------------------------------------------------------


def test_a_source_reads_by_suffix(write: Write) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    files = {
        ".jsonl": write("a.jsonl", '{"x": "1"}'),
        ".json": write("a.json", '[{"x": "1"}]'),
        ".csv": write("a.csv", "x\n1\n"),
        ".tsv": write("a.tsv", "x\n1\n"),
        ".parquet": write("a.parquet", b""),
    }
    parquet.write_table(pyarrow.table({"x": ["1"]}), files[".parquet"])
    assert set(files) <= {suffix for form in FORMATS.values() for suffix in form.suffixes}
    for path in files.values():
        where, rows = Source(files={"train": path}).rows("train", None)
        assert where == str(path)
        assert [row.values for row in rows] == [{"x": "1"}]


def test_a_file_of_unknown_suffix_is_named_with_the_suffixes_that_are_known(write: Write) -> None:
    path = write("a.xlsx", b"")
    with pytest.raises(
        TaskError, match=r"unknown format '\.xlsx'; expected one of \.jsonl, \.json, \.csv"
    ) as caught:
        Source(files={"train": path}).rows("train", None)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_relative_file_lies_in_the_data_folder_and_a_reader_of_its_own_reads_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "trec").mkdir()
    (tmp_path / "trec" / "train.txt").write_text("1 one\n", encoding="utf-8")
    source = Source(files={"train": Path("trec/train.txt")}, reader=label_first())
    (row,) = source.rows("train", tmp_path).rows
    assert row.values == {"label": "1", "text": "one"}


def test_a_file_that_is_not_in_the_data_folder_is_named_and_the_hub_not_asked(
    tmp_path: Path, raising: Callable[[Exception], None]
) -> None:
    raising(AssertionError("the hub was asked"))
    source = Source(files={"train": Path("trec/train.txt")}, reader=label_first(), hub=HUB)
    with pytest.raises(TaskError, match="no such file; see --data-dir and SPOT_DATA") as caught:
        source.rows("train", tmp_path)
    assert str(tmp_path / "trec" / "train.txt") in str(caught.value)


def test_the_hub_is_asked_only_where_no_data_folder_is_given(
    raising: Callable[[Exception], None],
) -> None:
    raising(ConnectionError("asked"))
    with pytest.raises(TaskError, match=r"hub data set owner/name/small.*asked"):
        Source(files={"train": Path("trec/train.txt")}, hub=HUB).rows("train", None)
    with pytest.raises(TaskError, match=r"trec/train\.txt: no such file; see --data-dir"):
        Source(files={"train": Path("trec/train.txt")}).rows("train", None)


def test_the_files_of_a_task_itself_come_before_data_folder_and_hub(
    write: Write, tmp_path: Path, raising: Callable[[Exception], None]
) -> None:
    raising(AssertionError("the hub was asked"))
    source = Source(files={"train": write("a.csv", "x\n1\n")}, hub=HUB)
    for folder in (None, tmp_path / "elsewhere"):
        assert [row.values for row in source.rows("train", folder).rows] == [{"x": "1"}]


def test_a_part_among_no_files_is_named_with_those_there_are(write: Write) -> None:
    source = Source(files={"train": write("a.csv", "x\n1\n")})
    with pytest.raises(TaskError, match=r"no part 'dev' among the files \(train\)"):
        source.rows("dev", None)


def test_readers_read_lazily_so_that_an_error_comes_after_the_good_rows(write: Write) -> None:
    rows: Iterator[object] = read_jsonl(write("a.jsonl", '{"x": 1}\nbroken\n'))
    assert next(rows) == (1, {"x": 1})
    with pytest.raises(TaskError, match="row 2"):
        next(rows)
