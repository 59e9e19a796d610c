"""Tables: quotation marks of every shape, duplicate columns, delimiters, bad rows, line ends."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import TaskError
from tasks.rows import Numbered, Reader, Skipped
from tasks.tables import table, tsv

read_csv = table(",")

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of the test's folder."""

    def to(content: str) -> Path:
        path = tmp_path / "a.txt"
        path.write_bytes(content.encode())
        return path

    return to


def values(reader: Reader, path: Path) -> list[list[str]]:
    """The fields of every row."""
    return [list(row.values.values()) for row in reader(path) if isinstance(row, Numbered)]


def fails(reader: Reader, path: Path) -> str:
    """The one-line message of the TaskError that reading raises, without the path that it begins with."""
    with pytest.raises(TaskError) as caught:
        list(reader(path))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}, row ")
    return message.removeprefix(f"{path}, ")


# -- quotation marks that never close ------------------------------------------------------------------------

PLAIN = [f"{i % 2},film number {i}" for i in range(12)]


@pytest.mark.parametrize("row", [0, 5, 11])
def test_a_mark_that_never_closes_is_named_by_the_row_where_it_opens(
    write: Write, row: int
) -> None:
    lines = [*PLAIN]
    lines[row] = '1,"opened and never closed'
    path = write("\n".join(["label,text", *lines, ""]))
    assert fails(read_csv, path).startswith(
        f"row {row + 2}: a quotation mark opens there and never closes"
    )


@pytest.mark.parametrize(
    "later",
    [
        '1,"another field" between marks',
        '1,"another field, between marks"',
        '1,""doubled"" marks',
        '1,"a ""b"" c"',
    ],
)
def test_a_mark_that_another_row_closes_is_named_by_the_row_where_it_opens(
    write: Write, later: str
) -> None:
    lines = [*PLAIN[:4], '0,"opened', *PLAIN[4:8], later, *PLAIN[8:]]
    assert fails(read_csv, write("\n".join(["label,text", *lines, ""]))).startswith(
        "row 6: a quotation mark opens"
    )


@pytest.mark.parametrize("between", [0, 1, 5])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_rows_that_a_mark_takes_in_are_known_by_their_labels(
    write: Write, between: int, delimiter: str
) -> None:
    lines = [
        *PLAIN[:4],
        '0,"a screen of 40',
        *PLAIN[4 : 4 + between],
        '1,a screen of 50"',
        *PLAIN[10:],
    ]
    path = write("\n".join(["label,text", *lines, ""]).replace(",", delimiter))
    message = fails(table(delimiter), path)
    assert message.startswith(
        f"row 6: a quotation mark opens there and takes in {between + 1} further lines"
    )


@pytest.mark.parametrize("between", [0, 1, 5])
@pytest.mark.parametrize(
    ("opens", "closes"),
    [('3,"a screen of 40,1,x', '9,a screen of 50",0,y'), ('3,a,1,"x', '9,b,0,y"')],
)
def test_rows_that_a_mark_takes_in_are_known_wherever_it_stands(
    write: Write, between: int, opens: str, closes: str
) -> None:
    lines = [f"{i},film number {i},{i % 2},x" for i in range(12)]
    path = write(
        "\n".join(
            [
                "id,text,label,from",
                *lines[:4],
                opens,
                *lines[4 : 4 + between],
                closes,
                *lines[10:],
                "",
            ]
        )
    )
    message = fails(read_csv, path)
    assert message.startswith(
        f"row 6: a quotation mark opens there and takes in {between + 1} further lines"
    )


@pytest.mark.parametrize(
    "text", ["a film\n- slow, 1\n- dull, 0", "Dear all,\n\nfine, 1\nthanks, 0", "one\n0,1\ntwo"]
)
def test_lines_of_a_field_that_do_not_begin_and_end_as_rows_are_text(
    write: Write, text: str
) -> None:
    lines = [f"film number {i},{i % 2}" for i in range(12)]
    path = write("\n".join(["text,label", *lines, f'"{text}",1', ""]))
    assert values(read_csv, path)[-1] == [text, "1"]


def test_columns_that_the_first_row_names_already_are_refused(write: Write) -> None:
    message = fails(table(",", "text", "label"), write("text,label\nfine,1\n"))
    assert message == "row 1: holds the names of the columns; leave columns under [data] out"


def test_rows_that_a_mark_takes_in_are_known_in_a_table_without_labels(write: Write) -> None:
    lines = [f"question {i}?,answer number {i}" for i in range(20)]
    lines[7], lines[14] = 'question,"a screen of 40', 'question 14?,a screen of 50"'
    assert fails(read_csv, write("\n".join(["text,answer", *lines, ""]))).startswith(
        "row 9: a quotation mark opens"
    )


def test_a_field_of_several_lines_is_text_whatever_its_lines_hold(write: Write) -> None:
    texts = [
        "first line\nsecond line",
        "one, two\nthree, four\nfive, six\nseven, eight",
        "\tindented, line\n\tand, another\n\tand, more\n",
        'she said "no, 1"\n\n"yes, 0"',
        "list:\n1\n0\n1",
        "\r\nWindows,\r\nlines,\r\n",
    ]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows([("text", "label"), *((text, i % 2) for i, text in enumerate(texts))])
    assert [row[0] for row in values(read_csv, write(out.getvalue()))] == texts


def test_text_behind_a_closing_mark_is_an_error_and_marks_inside_a_field_are_not(
    write: Write,
) -> None:
    good = write('text,label\nthe "best" film,1\na 5" disk,0\nends so",1\n')
    assert [row[0] for row in values(read_csv, good)] == [
        'the "best" film',
        'a 5" disk',
        'ends so"',
    ]
    message = fails(read_csv, write('text,label\nfine,1\n"Stars" is fine,1\n'))
    assert message.startswith(
        "row 3: a quotation mark opens there and text follows its end in line 3; double the marks"
    )
    assert "quoted = false under [data]" in message


def test_an_unquoted_csv_keeps_every_mark(write: Write) -> None:
    path = write('text,label\n"Stars" is fine,1\n"open,0\n')
    assert values(table(",", quoted=False), path) == [['"Stars" is fine', "1"], ['"open', "0"]]


def test_a_row_of_several_lines_is_numbered_by_its_first(write: Write) -> None:
    rows = list(read_csv(write('text,label\n"one\ntwo\nthree",1\nfour,0\n')))
    assert [row.number for row in rows] == [2, 5]


def test_a_field_of_any_length_is_read(write: Write) -> None:
    long = "word " * 100_000
    for reader, mark in ((read_csv, ","), (tsv(quoted=True), "\t"), (tsv(), "\t")):
        assert values(reader, write(f"text{mark}label\n{long}{mark}1\n")) == [[long, "1"]]


field = st.text(st.sampled_from('ab,"\n\r\t 01'), max_size=12)


@settings(max_examples=300)
@given(st.lists(st.tuples(field, st.sampled_from("01")), min_size=1, max_size=6), st.data())
def test_a_table_with_one_mark_taken_away_is_refused_or_keeps_its_other_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], data: st.DataObject
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("text", "label"), *rows])
    content = out.getvalue()
    marks = [i for i, letter in enumerate(content) if letter == '"']
    if marks:
        i = data.draw(st.sampled_from(marks))
        content = content[:i] + content[i + 1 :]
    path = tmp_path_factory.getbasetemp() / "marks.csv"
    path.write_bytes(content.encode())
    try:
        found = values(read_csv, path)
    except TaskError as error:
        assert str(error).startswith(f"{path}, row ")
    else:
        assert all(len(row) == 2 for row in found)


# -- tables that look quoted ---------------------------------------------------------------------------------

LOOKS_QUOTED = {
    "doubled marks": 'text\tlabel\nfine\t1\n"She said ""no"" and left"\t0\n',
    "doubled marks beside stray ones": 'text\tlabel\na 5" disk\t1\n"She said ""no"""\t0\n',
    "every field": '"text"\t"label"\n"fine"\t"1"\n"dull"\t"0"\n',
    "fields with commas": 'text\tlabel\nfine\t1\n"dull, and slow"\t0\n',
    "spaces around": 'text\tlabel\nfine\t1\n "a ""b"" c" \t0\n',
}


@pytest.mark.parametrize("content", LOOKS_QUOTED.values(), ids=LOOKS_QUOTED)
def test_a_table_that_looks_quoted_is_refused_where_nobody_has_said_so(
    write: Write, content: str
) -> None:
    path = write(content)
    message = fails(tsv(quoted=None), path)
    assert (
        "quoted = true under [data], or quoted = false if the marks belong to the text" in message
    )
    assert len(values(tsv(quoted=False), path)) == content.count("\n") - 1


def test_stray_marks_are_letters_where_nobody_has_said_anything(write: Write) -> None:
    texts = ['" He said "no', 'a 5" disk', '"quoted" to begin with', "''", '"', 'so "it" ends"']
    path = write("text\tlabel\n" + "".join(f"{text}\t1\n" for text in texts))
    assert [row[0] for row in values(tsv(quoted=None), path)] == texts


def test_a_mark_that_opens_where_a_row_is_cut_is_told_beside_it(write: Write) -> None:
    message = fails(tsv(quoted=None), write('text\tlabel\nfine\t1\n"first line\nsecond line"\t0\n'))
    assert message.startswith("row 3: 1 columns, expected 2; a quotation mark opens in it")
    assert "quoted = true under [data]" in message


# -- columns, delimiters, bad rows ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reader", "mark"), [(read_csv, ","), (tsv(), "\t"), (tsv(quoted=True), "\t")]
)
def test_two_columns_of_one_name_are_refused(write: Write, reader: Reader, mark: str) -> None:
    path = write(mark.join(["text", "label", "text"]) + "\n" + mark.join(["a", "1", "b"]) + "\n")
    assert fails(reader, path) == "row 1: two columns are called 'text'; rename one of them"


def test_columns_without_a_name_are_no_duplicates(write: Write) -> None:
    (row,) = read_csv(write("text,label,,\nfine,1,,\n"))
    assert isinstance(row, Numbered)
    assert (row.values["text"], row.values["label"]) == ("fine", "1")


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_header_of_one_column_names_the_delimiter_that_it_holds(write: Write, mark: str) -> None:
    path = write(f"text{mark}label\nfine{mark}1\n")
    said = {"\t": "\\t"}.get(mark, mark)
    assert f'say delimiter = "{said}" under [data]' in fails(read_csv, path)
    assert values(table(mark), path) == [["fine", "1"]]


def test_a_table_without_header_takes_its_columns_from_the_task(write: Write) -> None:
    (row,) = table(",", "label", "text")(write("1,fine\n"))
    assert row == (1, {"label": "1", "text": "fine"})


def test_bad_rows_are_left_out_up_to_the_number_that_is_allowed(write: Write) -> None:
    path = write("text\tlabel\nfine\t1\ncut\ndull\t0\nso\tmany\tfields\n")
    rows = list(table("\t", quoted=False, allow_bad_rows=2)(path))
    assert [row for row in rows if isinstance(row, Skipped)] == [
        (3, "not 2 columns"),
        (5, "not 2 columns"),
    ]
    assert [row.number for row in rows if isinstance(row, Numbered)] == [2, 4]
    assert fails(table("\t", quoted=False, allow_bad_rows=1), path).startswith(
        "row 5: 3 columns, expected 2"
    )
    message = fails(table("\t", quoted=False), path)
    assert (
        message
        == "row 3: 1 columns, expected 2; allow_bad_rows under [data] leaves some such rows out"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("reader", "mark"), [(read_csv, ","), (tsv(), "\t"), (tsv(quoted=True), "\t")]
)
def test_line_ends_of_every_system_end_rows(
    write: Write, reader: Reader, mark: str, end: str
) -> None:
    lines = [mark.join(("text", "label")), mark.join(("fine", "1")), mark.join(("dull", "0")), ""]
    assert values(reader, write(end.join(lines))) == [["fine", "1"], ["dull", "0"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_inside_a_quoted_field_are_kept(write: Write, end: str) -> None:
    path = write(f'text,label{end}"one{end}two",1{end}"dull",0{end}')
    assert values(read_csv, path) == [[f"one{end}two", "1"], ["dull", "0"]]
