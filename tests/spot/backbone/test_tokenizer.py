"""Token ids of texts that hold sentinels, added tokens and the spelling of special tokens."""

import io
import json
import random

import pytest
import sentencepiece

from spot.backbone.tokenizer import SentencePieceTokenizer, TransformersTokenizer, load_tokenizer
from spot.errors import BackboneError

ROWS = 140
ADDED = {"[EVENT]": 140, "<sep>": 141, "<sep2>": 142}
SPELLED = ["ba </s> de", "<pad>", "<unk> ba", "ba<pad></s>", "</s>"]


@pytest.fixture
def folder(tmp_path, tokenizer_model):
    (tmp_path / "spiece.model").write_bytes(tokenizer_model)
    return tmp_path


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def theirs(folder, texts):
    from transformers import T5Tokenizer

    return T5Tokenizer.from_pretrained(str(folder))(texts, add_special_tokens=False)["input_ids"]


@pytest.fixture
def fast(folder, tmp_path):
    """The same tokenizer as transformers 5 saves it: ``tokenizer.json`` and its settings, no ``spiece.model``."""
    from transformers import T5Tokenizer

    T5Tokenizer.from_pretrained(str(folder)).save_pretrained(tmp_path / "fast")
    assert not (tmp_path / "fast" / "spiece.model").exists()
    return tmp_path / "fast"


TEXTS = [
    "[EVENT] ba de <sep> ki",
    "ba<sep>de",
    " <sep> ",
    "<sep2>ba <sep><sep2>",
    "ba [EVENT]de <extra_id_0> <sep> <extra_id_1>",
    "<extra_id_7><sep>",
    "[event] < sep > <extra_id_100> ba",
]


def test_added_tokens_have_the_ids_that_transformers_gives(folder):
    write_json(folder / "added_tokens.json", ADDED)
    ours = load_tokenizer(folder)
    assert isinstance(ours, SentencePieceTokenizer)
    assert ours.encode(TEXTS) == theirs(folder, TEXTS)
    assert ours.size == ROWS + 3
    assert [ours.piece(index) for index in ADDED.values()] == list(ADDED)


def test_settings_may_list_the_added_tokens_instead(folder):
    def listed(token, special=False):
        return {
            "content": token,
            "lstrip": False,
            "rstrip": False,
            "single_word": False,
            "special": special,
        }

    tokens = {str(i): listed(token) for token, i in ADDED.items()} | {
        str(i): listed(token, special=True) for i, token in enumerate(("<pad>", "</s>", "<unk>"))
    }
    write_json(folder / "tokenizer_config.json", {"extra_ids": 100, "added_tokens_decoder": tokens})
    ours = load_tokenizer(folder)
    write_json(folder / "added_tokens.json", ADDED)
    assert ours.encode([*TEXTS, *SPELLED]) == load_tokenizer(folder).encode([*TEXTS, *SPELLED])


def test_added_tokens_come_back_as_text_and_enter_the_fingerprint(folder):
    before = load_tokenizer(folder)
    write_json(folder / "added_tokens.json", {"</s>": 1})
    assert load_tokenizer(folder).fingerprint == before.fingerprint
    write_json(folder / "added_tokens.json", ADDED)
    after = load_tokenizer(folder)
    assert after.fingerprint != before.fingerprint
    assert (
        after.decode([*after.encode(["[EVENT] ba de <sep> ki"])[0], 1, 5])
        == "[EVENT] ba de <sep> ki"
    )


def test_tokens_without_a_row_in_the_embedding_are_letters(folder):
    write_json(folder / "added_tokens.json", ADDED)
    ours = load_tokenizer(folder, rows=ROWS + 1)
    assert ours.size == ROWS + 1
    (ids,) = ours.encode(["[EVENT] ba <sep> <sep2>"])
    assert ids[0] == 140
    assert max(ids[1:]) < ROWS


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"<sep>": "140"},
        {"<sep>": -1},
        {"": 140},
        {"<sep>": None},
        {"<sep>": True},
        {"<sep>": 1.5},
    ],
)
def test_added_tokens_that_are_none_are_refused(folder, content):
    write_json(folder / "added_tokens.json", content)
    with pytest.raises(BackboneError, match=r"added_tokens|expected an object"):
        load_tokenizer(folder)


@pytest.mark.parametrize("listed", [[1], "x", {"a": {"content": "b"}}, {"140": 3}, {"140": {}}])
def test_settings_that_list_no_tokens_are_refused(folder, listed):
    write_json(folder / "tokenizer_config.json", {"added_tokens_decoder": listed})
    with pytest.raises(BackboneError, match=r"added_tokens_decoder|added tokens"):
        load_tokenizer(folder)


# -- what a text spells -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", SPELLED)
def test_control_tokens_that_a_text_spells_are_letters_in_both_files(folder, fast, text):
    for place in (folder, fast):
        (ids,) = load_tokenizer(place).encode([text])
        assert not {0, 1} & set(ids), place
        assert len(ids) > 1


@pytest.mark.parametrize("text", TEXTS)
def test_sentinels_have_the_ids_that_transformers_gives_in_both_files(folder, fast, text):
    (expected,) = theirs(folder, [text])
    assert load_tokenizer(folder).encode([text]) == [expected]
    assert load_tokenizer(fast).encode([text]) == [expected]


def test_both_files_have_the_same_ids_for_texts_of_letters(folder, fast, lines):
    assert isinstance(load_tokenizer(fast), TransformersTokenizer)
    assert load_tokenizer(fast).encode(lines) == load_tokenizer(folder).encode(lines)
    assert load_tokenizer(fast).size == load_tokenizer(folder).size == ROWS


def test_specials_and_sentinels_are_no_ordinary_ids_in_either_file(folder, fast):
    for place in (folder, fast):
        ids = set(load_tokenizer(place).ordinary_ids().tolist())
        assert ids == set(range(3, 40)), place


def test_tokens_added_to_a_vocabulary_of_sentinels_are_found_in_tokenizer_json_too(
    folder, tmp_path
):
    from transformers import T5Tokenizer

    tokenizer = T5Tokenizer.from_pretrained(str(folder))
    tokenizer.add_tokens(["<sep>"])
    tokenizer.save_pretrained(tmp_path / "more")
    expected = tokenizer(["ba<sep>de"], add_special_tokens=False)["input_ids"]
    assert load_tokenizer(tmp_path / "more").encode(["ba<sep>de"]) == expected
    (letters,) = load_tokenizer(tmp_path / "more", rows=ROWS).encode(["ba<sep>de"])
    assert max(letters) < ROWS


@pytest.fixture(scope="session")
def multilingual(lines):
    """A model in the style of mT5: the sentinels are among its pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=140,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        user_defined_symbols=[f"▁<extra_id_{i}>" for i in range(99, -1, -1)],
        minloglevel=2,
    )
    return model.getvalue()


@pytest.mark.parametrize("settings", [None, {"extra_ids": 0}, {"extra_ids": 100}, {}])
def test_sentinels_among_the_pieces_are_counted_once(folder, multilingual, settings):
    (folder / "spiece.model").write_bytes(multilingual)
    expected = theirs(folder, ["ba <extra_id_0> de <extra_id_1>"])
    if settings is not None:
        write_json(folder / "tokenizer_config.json", settings)
    ours = load_tokenizer(folder, rows=142)
    assert ours.size == 140
    assert ours.encode(["ba <extra_id_0> de <extra_id_1>"]) == expected
    assert ours.piece(expected[0][1]) == "▁<extra_id_0>"
    assert not set(range(3, 103)) & set(ours.ordinary_ids().tolist())


def test_sentinels_that_nobody_counted_are_none_where_the_embedding_has_no_room(folder):
    ours = load_tokenizer(folder, rows=44)
    assert ours.size == 40
    assert max(ours.encode(["ba <extra_id_0> de"])[0]) < 40
    write_json(folder / "tokenizer_config.json", {"extra_ids": 100})
    assert load_tokenizer(folder, rows=44).size == ROWS


def test_sentinels_among_the_pieces_are_counted_once_in_tokenizer_json(
    folder, multilingual, tmp_path
):
    from transformers import T5Tokenizer

    (folder / "spiece.model").write_bytes(multilingual)
    T5Tokenizer.from_pretrained(str(folder)).save_pretrained(tmp_path / "saved")
    ours = load_tokenizer(tmp_path / "saved", rows=142)
    assert ours.size <= 142
    texts = ["ba <extra_id_0> de", "ba<extra_id_3>", "<extra_id_90> </s>", "ba de ki"]
    assert all(max(ids) < 142 for ids in ours.encode(texts))
    assert ours.encode(["ba <extra_id_0> de"]) == theirs(folder, ["ba <extra_id_0> de"])


# -- decoder-only vocabularies ------------------------------------------------------------------------------


def write_byte_level(folder, *, beyond=("<PRE>", "<MID>"), found=("<tool>",), template=None):
    """A byte-level BPE of 260 rows; ``beyond`` are special tokens behind them, and ``found`` ordinary added ones."""
    from tokenizers.pre_tokenizers import ByteLevel

    pieces = ["<pad>", "<s>", "</s>", "<unk>", *sorted(ByteLevel.alphabet())]
    special = {token: (index, True) for index, token in enumerate(pieces[:4])}
    special |= {token: (len(pieces) + i, True) for i, token in enumerate(beyond)}
    special |= {token: (len(pieces) + len(beyond) + i, False) for i, token in enumerate(found)}
    added = [
        {"id": index, "content": token, "special": control}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for token, (index, control) in special.items()
    ]
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    model = {
        "type": "BPE",
        "vocab": {piece: i for i, piece in enumerate(pieces)},
        "merges": [],
        "unk_token": "<unk>",
    }
    content = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": level,
        "decoder": level,
        "post_processor": template,
        "model": model,
    }
    write_json(folder / "tokenizer.json", content)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    )
    return len(pieces)


def test_what_a_tokenizer_puts_in_front_of_a_text_is_known(tmp_path):
    write_byte_level(tmp_path)
    assert load_tokenizer(tmp_path).begin == ()
    text, start = (
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
    )
    template = {
        "type": "TemplateProcessing",
        "single": [start, text],
        "pair": [start, text],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    write_byte_level(tmp_path, template=template)
    begun = load_tokenizer(tmp_path)
    assert begun.begin == (1,)
    assert 1 not in begun.encode(["a b"])[0]


@pytest.mark.parametrize("name", ["T5Tokenizer", "LlamaTokenizer", "Qwen2Tokenizer"])
def test_settings_alone_are_no_tokenizer(tmp_path, name):
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": name})
    with pytest.raises(BackboneError, match=r"knows no words|no tokenizer can be built"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("found", [(), ("<tool>",)])
def test_added_tokens_beyond_the_embedding_never_come_from_a_text(tmp_path, found):
    rows = write_byte_level(tmp_path, found=found)
    ours = load_tokenizer(tmp_path, rows=rows)
    assert ours.size == rows
    text = "a <PRE> b </s><pad><s> <MID><tool> <unk>"
    (ids,) = ours.encode([text])
    assert min(ids) > 3
    assert max(ids) < rows
    assert ours.decode(ids) == text
    assert max(ours.ordinary_ids()) < rows


def test_ordinary_added_tokens_with_a_row_are_found_behind_special_ones(tmp_path):
    rows = write_byte_level(tmp_path) + 3
    (ids,) = load_tokenizer(tmp_path, rows=rows).encode(["a<tool><PRE>"])
    assert ids[1] == rows - 1
    assert rows - 3 not in ids


def test_pieces_beyond_the_embedding_leave_the_tokenizer_too_large(tmp_path):
    rows = write_byte_level(tmp_path)
    assert load_tokenizer(tmp_path, rows=rows - 1).size > rows - 1


def test_a_byte_tokenizer_leaves_specials_as_letters_and_finds_sentinels(tmp_path):
    from transformers import ByT5Tokenizer

    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "ByT5Tokenizer"})
    ours, tokenizer = load_tokenizer(tmp_path), ByT5Tokenizer()
    assert ours.encode(["a</s>"]) == [[index + 3 for index in b"a</s>"]]
    text = "a <extra_id_0> b<extra_id_1>"
    assert ours.encode([text]) == [tokenizer(text, add_special_tokens=False)["input_ids"]]


# -- damaged files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
        b"{}",
        b'{"model": {"type": "Unigram", "vocab": "x"}}',
        b'{"model": {"type": "BPE", "vocab": {"a": "x"}, "merges": []}}',
        b'{"model": {"type": "BPE", "vocab": {"a": ' + b"9" * 5000 + b'}, "merges": []}}',
    ],
)
def test_a_damaged_tokenizer_json_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    with pytest.raises(BackboneError) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_an_altered_tokenizer_json_is_read_or_refused(tmp_path):
    write_byte_level(tmp_path)
    path, rng = tmp_path / "tokenizer.json", random.Random(0)
    content = path.read_bytes()
    for _ in range(60):
        at = rng.randrange(len(content))
        path.write_bytes(
            content[:at] + bytes([rng.randrange(256)]) * rng.choice([1, 4]) + content[at + 1 :]
        )
        try:
            load_tokenizer(tmp_path, rows=260).encode(["a </s> <tool>"])
        except BackboneError as error:
            assert "\n" not in str(error)
