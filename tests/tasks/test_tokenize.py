"""Examples to tokens: what is cut, which answers are refused, digests, and the cache."""

import dataclasses
import gc
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import Example, TaskError
from tasks.tokenize import Around, Lengths, tokenize
from tasks.tokenized import Ragged, Tokenized

END = 1

EXAMPLES = [
    Example(inputs="text: a", target="no", choices=("no", "yes")),
    Example(inputs="text: " + "b" * 40, target="yes", choices=("no", "yes")),
    Example(inputs="text: c", target="perhaps", choices=("yes", "perhaps")),
    Example(inputs="text: d", target="free text"),
]


def letters(texts: Sequence[str]) -> list[list[int]]:
    """A token for each letter, without an end."""
    return [[ord(letter) for letter in text] for text in texts]


def never(texts: Sequence[str]) -> list[list[int]]:
    """An encoder that must not be asked."""
    raise AssertionError("not read from the cache")


def tokens(
    examples: Sequence[Example] = EXAMPLES,
    *,
    encode: Callable[[Sequence[str]], list[list[int]]] = letters,
    fingerprint: str = "letters",
    end: int = END,
    lengths: Lengths = Lengths(inputs=24, targets=6),  # noqa: B008
    cache: Path | None = None,
) -> Tokenized:
    """Tokenised examples."""
    return tokenize(
        examples,
        encode,
        tokenizer_fingerprint=fingerprint,
        around=Around(((), (end,)), ((), (end,))),
        lengths=lengths,
        cache=cache,
    )


def rows(ragged: Ragged) -> list[list[int]]:
    """All rows as lists."""
    return [ragged[i].tolist() for i in range(len(ragged))]


def content(data: Tokenized) -> dict[str, Any]:
    """Everything that a tokenised split holds, as plain lists."""
    ragged = {
        name: rows(getattr(data, name)) for name in ("inputs", "targets", "choices", "choice_rows")
    }
    return ragged | {"cut": data.cut, "cut targets": data.cut_targets, "digest": data.digest}


# -- tokenising ---------------------------------------------------------------------------------------------


def test_every_sequence_ends_with_the_end_token_and_loses_its_tail() -> None:
    data = tokens()
    whole = letters([example.inputs for example in EXAMPLES])
    assert rows(data.inputs) == [[*ids[:23], END] for ids in whole]
    assert rows(data.targets) == [
        [*ids[:5], END] for ids in letters([example.target for example in EXAMPLES])
    ]
    assert data.cut == 1
    assert len(data) == len(EXAMPLES)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=10), st.integers(1, 20), st.integers(2, 20)
)
def test_nothing_is_longer_than_allowed_and_the_cut_are_counted(
    sizes: list[int], inputs: int, targets: int
) -> None:
    examples = [
        Example(inputs="x" * size, target="y" * size, choices=("z" * size,)) for size in sizes
    ]
    data = tokens(examples, lengths=Lengths(inputs=inputs, targets=targets))
    assert data.inputs.lengths.tolist() == [min(size + 1, inputs) for size in sizes]
    assert data.targets.lengths.tolist() == [min(size + 1, targets) for size in sizes]
    assert all(
        row[-1] == END
        for ragged in (data.inputs, data.targets, data.choices)
        for row in rows(ragged)
    )
    assert data.cut == sum(size + 1 > inputs for size in sizes)
    assert data.cut_targets == sum(size + 1 > targets for size in sizes)


def test_what_stands_in_front_of_texts_has_room_and_makes_other_tokens() -> None:
    examples = [Example(inputs="abcdef", target="gh", choices=("gh", "ij"))]
    ask = {"tokenizer_fingerprint": "letters", "lengths": Lengths(inputs=5, targets=4)}
    bare, begun, both = (
        tokenize(examples, letters, around=Around((front, ()), (begin, (END,))), **ask)  # type: ignore[arg-type]
        for front, begin in (((), ()), ((7,), ()), ((7,), (8,)))
    )
    (plain,) = letters(["abcdef"])
    assert rows(bare.inputs) == [plain[:5]]
    assert rows(begun.inputs) == rows(both.inputs) == [[7, *plain[:4]]]
    assert rows(begun.targets) == rows(bare.targets)
    assert rows(both.targets) == [[8, *rows(bare.targets)[0]]]
    assert len({bare.digest, begun.digest, both.digest}) == 3


PASSAGE = "passage: " + "b" * 40 + " question: c"
FIELD = (9, 49)


def test_too_long_an_input_keeps_what_stands_around_the_field_that_is_shortened() -> None:
    examples = [
        Example(inputs=PASSAGE, target="no", cut=FIELD),
        Example(inputs="text: a", target="no", cut=(6, 7)),
    ]
    for length in range(len("passage: question: c") + 2, 64):
        data = tokens(examples, lengths=Lengths(inputs=length))
        kept = min(40, length - 1 - len("passage:  question: c"))
        first, second = ("".join(map(chr, row[:-1])) for row in rows(data.inputs))
        assert first == "passage: " + "b" * kept + " question: c"
        assert second == "text: a"
        assert data.cut == (kept < 40)


def test_an_input_whose_other_fields_alone_are_too_long_loses_its_tail() -> None:
    for cut in ((0, 0), FIELD):
        (row,) = rows(
            tokens(
                [Example(inputs=PASSAGE, target="no", cut=cut)], lengths=Lengths(inputs=20)
            ).inputs
        )
        assert row == [*letters([PASSAGE])[0][:19], END]


@given(st.text("ab :", max_size=30), st.integers(0, 30), st.integers(0, 30), st.integers(2, 32))
def test_an_input_that_fits_is_never_changed_and_none_is_too_long(
    text: str, start: int, size: int, longest: int
) -> None:
    cut = (min(start, len(text)), min(start + size, len(text)))
    data = tokens([Example(inputs=text, target="no", cut=cut)], lengths=Lengths(inputs=longest))
    (row,) = rows(data.inputs)
    assert len(row) == min(len(text) + 1, longest)
    if len(text) < longest:
        assert row == [*letters([text])[0], END]
        assert (
            data.digest
            == tokens([Example(inputs=text, target="no")], lengths=Lengths(inputs=longest)).digest
        )


def words(texts: Sequence[str]) -> list[list[int]]:
    """A token for each word, whatever spaces there are."""
    return [[len(word) for word in text.split()] for text in texts]


@pytest.mark.parametrize("encode", [letters, words])
def test_the_digest_changes_only_where_the_tokens_do(
    encode: Callable[[Sequence[str]], list[list[int]]],
) -> None:
    spans = {"tail": (0, 0), "field": FIELD, "last field": (60, 61), "whole": (0, len(PASSAGE))}
    for length in range(2, 70):
        found = {
            name: tokens(
                [Example(inputs=PASSAGE, target="no", cut=cut)],
                encode=encode,
                lengths=Lengths(inputs=length),
            )
            for name, cut in spans.items()
        }
        for data in found.values():
            assert (data.digest == found["tail"].digest) == (
                rows(data.inputs) == rows(found["tail"].inputs)
            )


def test_the_cache_never_gives_tokens_that_were_cut_otherwise(tmp_path: Path) -> None:
    for cut in ((0, 0), FIELD, (9, 30), (0, 0), FIELD):
        example = Example(inputs=PASSAGE, target="no", cut=cut)
        assert content(tokens([example], cache=tmp_path)) == content(tokens([example]))
    assert content(tokens([example], encode=never, cache=tmp_path)) == content(tokens([example]))


# -- answers that cannot be told apart ----------------------------------------------------------------------


def known_letters(texts: Sequence[str]) -> list[list[int]]:
    """A token for each letter of the alphabet whatever its case, one for all other signs, none for spaces."""
    return [
        [ord(c) if "a" <= c <= "z" else 2 for c in text.lower() if not c.isspace()]
        for text in texts
    ]


@pytest.mark.parametrize(
    "choices",
    [
        ("<", ">"),
        ("good", "Good"),
        ("good", " good"),
        ("extremely good", "extremely bad"),
        ("yes", "no", "yes "),
        ("好", "坏"),
    ],
)
def test_answers_that_become_the_same_tokens_are_refused_by_name(
    choices: tuple[str, ...], tmp_path: Path
) -> None:
    examples = [EXAMPLES[0], Example(inputs="text: a", target=choices[0], choices=choices)]
    with pytest.raises(TaskError) as caught:
        tokens(examples, encode=known_letters, cache=tmp_path)
    message = str(caught.value)
    assert message.startswith(
        f"the answers {choices[0]!r} and {choices[-1]!r} become the same tokens"
    )
    assert "\n" not in message
    assert not any(tmp_path.iterdir())


def test_answers_of_different_examples_may_be_the_same_tokens() -> None:
    examples = [
        Example(inputs="text: a", target=word, choices=(word, "other")) for word in ("good", "Good")
    ]
    assert len(tokens(examples, encode=known_letters)) == 2


@pytest.mark.parametrize("answer", [" ", "\t\n"])
@pytest.mark.parametrize("choices", [False, True])
def test_an_answer_without_a_token_is_refused(answer: str, choices: bool) -> None:
    example = Example(inputs="text: a", target=answer, choices=(answer, "yes") if choices else ())
    with pytest.raises(TaskError, match=r"^task t: the answer '.*' becomes no token"):
        tokenize(
            [example],
            known_letters,
            tokenizer_fingerprint="",
            around=Around(((), ()), ((), (END,))),
            lengths=Lengths(),
            name="t",
        )


def test_inputs_without_an_answer_are_tokenised() -> None:
    assert rows(tokens([Example(inputs="text: a", target="", choices=("no", "yes"))]).targets) == [
        [END]
    ]


def test_choices_are_a_table_without_repetition_that_examples_point_to() -> None:
    data = tokens()
    assert rows(data.choices) == [
        [*letters([word])[0][:5], END] for word in ("no", "yes", "perhaps")
    ]
    assert rows(data.choice_rows) == [[0, 1], [0, 1], [1, 2], []]


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6), max_size=12))
def test_ragged_rows_come_back_as_they_were(drawn: list[list[int]]) -> None:
    ragged = Ragged.from_rows(drawn)
    assert rows(ragged) == drawn
    assert len(ragged) == len(drawn)
    assert ragged.lengths.tolist() == [len(row) for row in drawn]
    assert ragged.ids.dtype == np.int32
    assert ragged.ids.size == sum(map(len, drawn))


# -- the digest and the cache -------------------------------------------------------------------------------

CHANGES: dict[str, dict[str, Any]] = {
    "longer inputs": {"lengths": Lengths(inputs=25, targets=6)},
    "longer targets": {"lengths": Lengths(inputs=24, targets=7)},
    "lengths exchanged": {"lengths": Lengths(inputs=6, targets=24)},
    "another tokenizer": {"fingerprint": "others"},
    "another input": {
        "examples": [dataclasses.replace(EXAMPLES[0], inputs="text: e"), *EXAMPLES[1:]]
    },
    "another target": {"examples": [dataclasses.replace(EXAMPLES[0], target="yes"), *EXAMPLES[1:]]},
    "other choices": {
        "examples": [dataclasses.replace(EXAMPLES[0], choices=("no", "yep")), *EXAMPLES[1:]]
    },
    "choices in another order": {
        "examples": [dataclasses.replace(EXAMPLES[0], choices=("yes", "no")), *EXAMPLES[1:]]
    },
    "no choices": {"examples": [dataclasses.replace(EXAMPLES[0], choices=()), *EXAMPLES[1:]]},
    "a letter moved to the target": {
        "examples": [dataclasses.replace(EXAMPLES[0], inputs="text: ", target="ano"), *EXAMPLES[1:]]
    },
    "one example less": {"examples": EXAMPLES[:-1]},
    "another order": {"examples": EXAMPLES[::-1]},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changes_the_tokens_changes_the_digest(change: dict[str, Any]) -> None:
    assert tokens(**change).digest != tokens().digest


def test_the_digests_of_all_changes_differ_and_are_stable() -> None:
    digests = [tokens(**change).digest for change in CHANGES.values()]
    assert len(set(digests)) == len(CHANGES)
    assert digests == [tokens(**change).digest for change in CHANGES.values()]


def test_another_end_token_changes_the_digest() -> None:
    assert tokens(end=2).digest != tokens().digest


def test_a_cache_gives_back_what_was_written_without_tokenising(tmp_path: Path) -> None:
    cache = tmp_path / "not" / "yet" / "there"
    written = tokens(cache=cache)
    assert [path.name for path in cache.iterdir()] == [f"{written.digest}.npz"]
    again = tokens(encode=never, cache=cache)
    assert content(again) == content(written) == content(tokens())
    for name in ("inputs", "targets", "choices", "choice_rows"):
        assert getattr(again, name).ids.dtype == np.int32


def test_examples_without_choices_come_back_from_the_cache(tmp_path: Path) -> None:
    free = [Example(inputs="a", target="b")]
    assert content(tokens(free, cache=tmp_path)) == content(
        tokens(free, encode=never, cache=tmp_path)
    )


def test_another_change_is_not_read_from_the_cache(tmp_path: Path) -> None:
    tokens(cache=tmp_path)
    for change in CHANGES.values():
        assert content(tokens(**change, cache=tmp_path)) == content(tokens(**change))


def saved(**arrays: Any) -> Callable[[Path, bytes], None]:
    """Replaces a cache file by other arrays."""

    def replace(path: Path, whole: bytes) -> None:
        with path.open("wb") as out:
            np.savez(out, **arrays)

    return replace


DAMAGES: dict[str, Callable[[Path, bytes], Any]] = {
    "empty": lambda path, whole: path.write_bytes(b""),
    "text": lambda path, whole: path.write_bytes(b"no archive at all"),
    "first half": lambda path, whole: path.write_bytes(whole[: len(whole) // 2]),
    "last byte gone": lambda path, whole: path.write_bytes(whole[:-1]),
    "zeros": lambda path, whole: path.write_bytes(bytes(len(whole))),
    "flipped in the middle": lambda path, whole: path.write_bytes(
        whole[:200] + bytes(255 - byte for byte in whole[200:220]) + whole[220:]
    ),
    "archive of something else": saved(other=np.arange(3)),
    "archive without arrays": saved(),
}


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_file_is_ignored_and_written_anew(
    tmp_path: Path, damage: Callable[[Path, bytes], Any]
) -> None:
    written = tokens(cache=tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path, path.read_bytes())
    assert content(tokens(cache=tmp_path)) == content(written)
    assert content(tokens(encode=never, cache=tmp_path)) == content(written)
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_cache_file_is_not_left_open(tmp_path: Path) -> None:
    tokens(cache=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokens(cache=tmp_path)
        gc.collect()
    assert not caught


def test_a_cache_file_that_holds_a_single_array_is_ignored(tmp_path: Path) -> None:
    written = tokens(cache=tmp_path)
    (path,) = tmp_path.iterdir()
    with path.open("wb") as out:
        np.save(out, np.arange(3))
    assert content(tokens(cache=tmp_path)) == content(written)


def test_a_cache_file_with_rows_beyond_its_tokens_is_ignored(tmp_path: Path) -> None:
    written = tokens(cache=tmp_path)
    (path,) = tmp_path.iterdir()
    with np.load(path) as arrays:
        changed = dict(arrays)
    saved(**changed | {"inputs_ids": changed["inputs_ids"][:-5]})(path, b"")
    assert content(tokens(cache=tmp_path)) == content(written)


def with_bytes_flipped(folder: Path, places: slice) -> None:
    """Tokenise again with each of these bytes of the cache file flipped, one at a time."""
    expected = content(tokens(cache=folder))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for place in range(len(whole))[places]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert content(tokens(cache=folder)) == expected


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_no_flipped_byte_of_the_cached_tokens_stops_or_changes_anything(tmp_path: Path) -> None:
    with_bytes_flipped(tmp_path, slice(0, -700, 7))


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_no_flipped_byte_of_the_list_of_cached_arrays_stops_or_changes_anything(
    tmp_path: Path,
) -> None:
    with_bytes_flipped(tmp_path, slice(-620, None, 2))


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert content(tokens(cache=blocked)) == content(tokens())
