"""TOML of any content: bounded work, and one line for what cannot be read."""

import time
from pathlib import Path

import pytest

from tasks import TaskError
from tasks.tomlfile import LARGEST, read_toml

HOSTILE: dict[str, tuple[bytes, str]] = {
    "lists within lists": (b"a = " + b"[" * 100_000, "nested too deeply"),
    "tables within tables": (b"a = " + b"{a=" * 50_000, "nested too deeply"),
    "a key of many parts": (b"a" + b".a" * 100_000 + b" = 1", "a key of too many parts"),
    "a table of many parts": (b"[a" + b".a" * 100_000 + b"]", "a key of too many parts"),
    "quoted parts": (b"'a'" + b" . 'a'" * 50_000 + b" = 1", "a key of too many parts"),
    "a number of many digits": (b"a = " + b"9" * 5_000, "a number of too many digits"),
    "open text": (b'a = "' + b"x" * 100_000, "not TOML"),
    "marks": (b'"' * 100_000, "not TOML"),
    "letters": (b"a" * 1_000_000, "not TOML"),
    "spaces": (b" " * 1_000_000 + b"=", "not TOML"),
    "zeros": (b"\0" * 100_000, "not TOML"),
    "a key twice": (b"a = 1\na = 2\n", "Cannot overwrite a value"),
    "bytes": (bytes(range(128, 256)), "not UTF-8 text"),
    "UTF-16": ("a = 1".encode("utf-16"), "not UTF-8 text"),
    "too large": (b"#" * (LARGEST + 1), "too many for a TOML file"),
}


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_toml_is_one_line_soon(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    start = time.process_time()
    with pytest.raises(TaskError) as caught:
        read_toml(path)
    assert time.process_time() - start < 5
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert reason in message
    assert "\n" not in message
    assert len(message) < 400


def test_texts_with_many_dots_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        f'notes = """\n{"." * 500}\n{"a word. " * 500}\n"""\na.b.c.d.e = 1\n', encoding="utf-8"
    )
    assert read_toml(path)["a"] == {"b": {"c": {"d": {"e": 1}}}}


def test_a_path_of_another_system_has_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('train = "C:\\data\\reviews.csv"\n', encoding="utf-8")
    with pytest.raises(TaskError, match="write paths with / or in single quotes"):
        read_toml(path)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path, "a folder"),
        (Path("/dev/zero"), "pipe or device"),
        (Path("a\0.toml"), "null"),
    ):
        with pytest.raises(TaskError, match=reason):
            read_toml(path)
