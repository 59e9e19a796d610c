"""Our SentencePiece tokenizer against transformers'."""

import gzip
import itertools
from pathlib import Path

import pytest

from spot.backbone.tokenizer import SentencePieceTokenizer, load_tokenizer, train_sentencepiece
from tasks import Split, get_task

pytest.importorskip("torch")
pytestmark = pytest.mark.interop

SHARED = Path(__file__).resolve().parents[3] / "shared"
NOVELS = SHARED / "corpora" / "novels.txt.gz"
VOCABULARY = SHARED / "models" / "t5_vocab"


@pytest.fixture
def folder(tmp_path, tokenizer_model):
    (tmp_path / "spiece.model").write_bytes(tokenizer_model)
    return tmp_path


def their_tokenizer(folder):
    from transformers import T5Tokenizer

    return T5Tokenizer.from_pretrained(str(folder))


def their_encode(tokenizer, texts):
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def test_sentences_have_the_same_tokens(folder, sentences):
    theirs = their_tokenizer(folder)
    ours = load_tokenizer(folder)
    assert isinstance(ours, SentencePieceTokenizer)
    assert ours.size == len(theirs)
    assert ours.encode(sentences) == their_encode(theirs, sentences)


def test_sentences_come_back_as_text(folder, sentences):
    theirs, ours = their_tokenizer(folder), load_tokenizer(folder)
    for tokens in ours.encode(sentences[:100]):
        assert ours.decode([*tokens, 1, 0, 0]) == theirs.decode(tokens)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ba   do ",
        "ba\tdo\nki",
        "ﬁ ½ é 中 ①",
        "<extra_id_0>",
        "<extra_id_0> ba <extra_id_1>",
        "ba<extra_id_3>do",
        "ba  <extra_id_99>  do.",
    ],
)
def test_spaces_symbols_and_sentinels_have_the_same_tokens(folder, text):
    assert load_tokenizer(folder).encode([text]) == their_encode(their_tokenizer(folder), [text])


@pytest.mark.parametrize("text", ["<extra_id_100> ba", "<extra_id_5000>"])
def test_a_sentinel_beyond_the_last_is_text(folder, text):
    assert load_tokenizer(folder).encode([text]) == their_encode(their_tokenizer(folder), [text])


def test_pieces_have_the_same_names(folder):
    theirs, ours = their_tokenizer(folder), load_tokenizer(folder)
    assert [ours.piece(i) for i in range(ours.size)] == theirs.convert_ids_to_tokens(
        list(range(ours.size))
    )


def definitions():
    """WordNet's, which the package carries."""
    tasks = [get_task(name) for name in ("wn_define", "wn_noun_topic", "wn_pos", "wn_usage")]
    return [example.inputs for task in tasks for example in task.examples(Split.TRAIN)]


@pytest.fixture(
    params=["definitions", *(["novels"] if NOVELS.exists() and VOCABULARY.exists() else [])]
)
def english(request, tmp_path):
    """Lines of English, and the folder of a SentencePiece model of English."""
    if request.param == "novels":
        with gzip.open(NOVELS, "rt", encoding="utf-8") as file:
            return [line.rstrip("\n") for line in itertools.islice(file, 0, 20000, 5)], VOCABULARY
    lines = definitions()
    (tmp_path / "spiece.model").write_bytes(
        train_sentencepiece(lines, size=2000, sample=len(lines))
    )
    return lines, tmp_path


def test_english_has_the_same_tokens_up_to_ties(english):
    lines, folder = english
    ours = load_tokenizer(folder).encode(lines)
    theirs = their_encode(their_tokenizer(folder), lines)
    differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
    assert differing <= len(lines) / 1000
