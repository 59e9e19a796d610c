"""Files of users: what is no file, what is another, and every encoding of text."""

import gzip
import os
from pathlib import Path

import pytest

from tasks import TaskError
from tasks.errors import shown
from tasks.files import checked_encoding, file_digest, read_text


def fails(path: Path, encoding: str = "") -> str:
    """The one-line message of the TaskError that reading raises, without the path."""
    with pytest.raises(TaskError) as caught:
        read_text(path, encoding)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


TEXT = "text,label\ncafé 映画,1\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_an_encoding_that_a_mark_tells_needs_no_name(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT.encode(encoding))
    assert read_text(path) == TEXT


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [16, 32])
def test_marks_of_either_byte_order_are_known(tmp_path: Path, bits: int, big: bool) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"\ufeff{TEXT}".encode(f"utf-{bits}-{'be' if big else 'le'}"))
    assert read_text(path) == TEXT


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "shift_jis", "utf-8"])
def test_an_encoding_that_is_named_is_taken(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    text = TEXT.replace("映画", "") if encoding in ("latin-1", "cp1252") else TEXT.replace("é", "e")
    path.write_bytes(text.encode(encoding))
    assert read_text(path, encoding) == text


def test_bytes_of_another_encoding_name_the_row_and_how_to_say_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text\nfine\ncafé\n".encode("latin-1"))
    message = fails(path)
    assert message.startswith(", row 3: not utf-8 text; ")
    assert 'encoding = "latin-1"' in message
    assert fails(path, "ascii").startswith(", row 3: not ascii text")


def test_utf_16_without_its_mark_is_not_taken_for_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\nfine,1\n".decode().encode("utf-16-le"))
    assert 'encoding = "utf-16-le"' in fails(path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("text", ["fine", "café 映画"])
def test_text_of_two_or_four_bytes_a_letter_without_a_mark_is_named(
    tmp_path: Path, encoding: str, text: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"text,label\n{text},1\n".encode(encoding))
    assert f'encoding = "{encoding}"' in fails(path)
    assert read_text(path, encoding) == f"text,label\n{text},1\n"
    assert "zero" in fails(path, "latin-1")


def test_an_encoding_that_a_files_mark_contradicts_is_to_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\n".encode("utf-16"))
    assert (
        fails(path, "utf-8") == ", row 1: not utf-8 text; leave encoding out: its mark says utf-16"
    )


def test_names_of_encodings_are_checked() -> None:
    assert checked_encoding("utf-16") == "utf-16"
    for name in ("nonsense", "zlib", "a\0b", "rot13", ""):
        with pytest.raises(LookupError):
            checked_encoding(name)


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    )
    assert fails(path) == ": a git-LFS pointer, not the file; fetch it with `git lfs pull`"


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (gzip.compress(b"a", mtime=0), "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ\x00", "xz"),
    ],
)
def test_a_compressed_file_is_named(tmp_path: Path, start: bytes, kind: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(start)
    assert fails(path) == f": compressed ({kind}); unpack it first"


def test_what_is_no_file_is_named_and_not_opened(tmp_path: Path) -> None:
    assert fails(tmp_path) == ": cannot be read (a folder, expected a file)"
    assert fails(tmp_path / "none") == ": no such file"
    assert "cannot be read (" in fails(tmp_path / ("long" * 100))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert (
        fails(pipe)
        == ": cannot be read (a pipe or device, expected a file); write it to a file first"
    )
    assert "cannot be read" in fails(Path("/dev/zero"))
    with pytest.raises(TaskError, match="null"):
        read_text(Path("a\0b"))


def test_a_digest_is_of_the_bytes_and_follows_them(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = file_digest(path)
    assert first == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    path.write_bytes(b"two")
    assert file_digest(path) not in ("", first)
    for nothing in (tmp_path, tmp_path / "none", Path("a\0b"), Path("/dev/zero")):
        assert file_digest(nothing) == ""


def test_values_are_shown_short_whatever_they_are() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown("x" * 10_000)) < 100
    assert shown(16**10_000) == "a int too long to show"
    assert shown(deep) == "[[[[[[[...]]]]]]]"
    while deep:  # taken apart by hand: a long chain of destructors is deep as well
        (deep,) = deep  # type: ignore[assignment]


def test_an_error_is_one_line_whatever_it_names() -> None:
    assert str(TaskError("a\nb\r\nc\u2028d")) == "a b c d"
    assert len(str(TaskError(f"first {'x' * 10_000} last"))) < 1_000
    assert str(TaskError(f"first {'x' * 10_000} last")).endswith("last")
