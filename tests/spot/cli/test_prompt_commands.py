"""``spot eval`` and ``spot predict`` take prompts of their backbone from files, folders and the bank, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank import BackboneRecord, Bank, TaskRecord
from bank.files import import_prompt
from bank.identity import by_name
from bank.vectors import prompt_sha256
from spot.backbone.load import load_backbone
from spot.prompts.files import read_prompt
from spot.prompts.write import write_prompt
from tests.spot.prompts.samples import adapter

Spot = Callable[..., Any]

WIDTH = 256
PROMPT = np.random.default_rng(0).normal(size=(4, WIDTH)).astype(np.float32)
ASK = ("predict", "kamo rilu", "--choices", "animal,plant")


@pytest.fixture(scope="module")
def fingerprint() -> str:
    return load_backbone("tiny").fingerprint


@pytest.mark.parametrize("name", ["prompt.npy", "prompt.safetensors", "adapter", "./adapter"])
def test_a_prompt_from_a_file_or_folder_answers(
    spot: Spot, tmp_path: Path, fingerprint: str, name: str
) -> None:
    write_prompt(tmp_path / name, PROMPT, {"fingerprint": fingerprint})
    answer = spot(*ASK, "--prompt", name)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.strip() in ("animal", "plant")


def test_texts_that_are_cut_are_told_of(spot: Spot, tmp_path: Path) -> None:
    write_prompt(tmp_path / "a.npy", PROMPT)
    answer = spot(*ASK, "--prompt", "a.npy", "--max-input", "2")
    assert answer.err == "1 of 1 inputs are cut at 2 tokens (--max-input)\n"
    edits = ("analyze", "edits", "wn_pos", "--prompt", "a.npy", "--limit", "2", "--edit", "reverse")
    assert spot(*edits, "--max-input", "2").err == (
        "wn_pos: 2 of 2 inputs are cut at 2 tokens (--max-input)\n"
    )


@pytest.mark.parametrize(
    "command", [ASK, ("eval", "wn_pos", "--limit", "2")], ids=lambda ask: ask[0]
)
def test_a_prompt_of_another_backbone_is_refused(
    spot: Spot, tmp_path: Path, command: tuple[str, ...]
) -> None:
    write_prompt(
        tmp_path / "other.safetensors", PROMPT, {"fingerprint": "0" * 64, "backbone": "other"}
    )
    line = spot(*command, "--prompt", "other.safetensors").error
    assert line.startswith(
        "other.safetensors: prompt was made for backbone 'other' (000000000000), not for tiny"
    )
    write_prompt(tmp_path / "wide.npy", PROMPT[:, :-1])
    assert (
        "has width 255, but backbone tiny has width 256"
        in spot(*command, "--prompt", "wide.npy").error
    )


@pytest.mark.parametrize("choices", ["bad", "bad,", "bad,bad", "bad, bad ", ",", " "])
def test_choices_that_leave_none_are_refused(spot: Spot, choices: str) -> None:
    line = spot("predict", "kamo rilu", "--choices", choices).error
    assert (
        line
        == f"--choices {choices!r}: expected two different answers or more, as in --choices yes,no"
    )


def test_a_name_that_is_no_address_is_a_path(spot: Spot, tmp_path: Path) -> None:
    assert spot(*ASK, "--prompt", "sst2").error.startswith("sst2: no such file")
    assert spot(*ASK, "--prompt", "prompt.txt").error.startswith("prompt.txt: no such file")
    assert spot(*ASK, "--prompt", "feedfeed").error.startswith("bank bank.sqlite: no such file")


def test_a_bank_that_is_not_looked_into_is_refused(spot: Spot, tmp_path: Path) -> None:
    write_prompt(tmp_path / "prompt.npy", PROMPT)
    line = spot(*ASK, "--prompt", "prompt.npy", "--bank", "bank.sqlite").error
    assert line == "--bank would not be used: the prompt is a file; leave it out"
    assert spot(*ASK, "--bank", "bank.sqlite").error.startswith(
        "--bank would not be used: there is no --prompt"
    )


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_prompt_of_the_bank_is_refused_with_another_backbone(
    spot: Spot, tmp_path: Path, fingerprint: str
) -> None:
    runs = {}
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        for name, made_for in (
            ("ours", fingerprint),
            ("other", "0" * 64),
            ("named", by_name("named")),
        ):
            model = BackboneRecord(fingerprint=made_for, name=name, width=WIDTH)
            task = TaskRecord(name="t", family="f")
            runs[name] = import_prompt(bank, PROMPT + len(runs), task=task, backbone=model)[:12]
    assert spot(*ASK, "--prompt", runs["ours"]).code == 0
    line = spot(*ASK, "--prompt", runs["other"]).error
    assert line.startswith(
        f"{runs['other']}: prompt was made for backbone 'other' (000000000000), not for tiny"
    )
    assert (
        f"{runs['other']}: prompt was made for"
        in spot("train-source", "wn_pos", "--start", runs["other"]).error
    )
    named = spot(*ASK, "--prompt", runs["named"])
    assert named.code == 0
    assert "made for a backbone called 'named'" in named.err, "no more than name and width is known"


def test_a_prompt_is_read_before_the_backbone_is_loaded(spot: Spot, tmp_path: Path) -> None:
    assert spot(*ASK, "--prompt", "missing.npy", "--backbone", "./missing").error.startswith(
        "missing.npy: no such file"
    )


def test_an_encoder_decoder_embeds_nothing_for_servers(spot: Spot) -> None:
    line = spot("embed", "kamo rilu").error
    assert line.startswith("tiny is an encoder-decoder, whose encoder reads the prompt")


def test_texts_are_generated_as_asked(spot: Spot, tmp_path: Path, fingerprint: str) -> None:
    write_prompt(tmp_path / "prompt.npy", PROMPT)
    ask = ("predict", "kamo rilu", "--prompt", "prompt.npy", "--max-new-tokens", "5")
    beam = spot(*ask, "--decoding", "beam", "--beams", "3", "--length-penalty", "0.5")
    assert (beam.code, beam.err) == (0, "")
    sample = ("--decoding", "sample", "--temperature", "3", "--top-k", "50", "--top-p", "0.9")
    drawn = {spot(*ask, *sample, "--decoding-seed", str(seed)).out for seed in (0, 0, 1, 2)}
    assert 2 <= len(drawn) <= 3
    (first,) = [text for text in [spot(*ask).out.strip()] if text]
    assert spot(*ask, "--stop", first[1:]).out.strip() == first[:1]


def test_an_evaluation_says_how_answers_were_found(spot: Spot) -> None:
    ask = ("eval", "wn_pos", "--limit", "3", "--json")
    assert json.loads(spot(*ask).out)["decoding"] == {}
    ranked = json.loads(spot(*ask, "--rank-by", "calibrated").out)
    assert ranked["decoding"] == {"ranking": "calibrated"}
    generated = json.loads(spot(*ask, "--evaluate-by", "generate", "--decoding", "beam").out)
    assert generated["decoding"] == {"policy": "beam", "beams": 4, "length_penalty": 1.0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--beams", "2"], "beams belongs to the decoding policy 'beam', not to 'greedy'"),
        (["--decoding", "best"], "decoding policy 'best' is not known"),
        (["--rank-by", "per_token"], "--rank-by would not be used: answers are generated"),
        (["--choices", "a,b", "--top-p", "0.5"], "--top-p would not be used: answers are ranked"),
        (["--choices", "a,b", "--rank-by", "length"], "ranking 'length' is not known"),
    ],
)
def test_decoding_that_does_not_fit_is_refused(spot: Spot, options: list[str], said: str) -> None:
    assert spot("predict", "kamo rilu", *options).error.startswith(said)


def test_ensembles_stand_beside_their_prompts(spot: Spot, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.npy" for name in "abc"]
    for path in paths:
        np.save(path, rng.normal(size=(4, WIDTH)).astype(np.float32))
    prompts = [part for path in paths for part in ("--prompt", path)]
    ask = ("eval", "wn_pos", "--limit", "8", *prompts)
    document = spot(*ask, "--ensemble", "all", "--json").document
    assert [one["prompt"] for one in document["prompts"]] == [str(path) for path in paths]
    assert list(document["ensembles"]) == [
        "vote",
        "likelihood",
        "probability",
        "weighted",
        "average",
    ]
    np.save(tmp_path / "mean.npy", np.mean([np.load(path) for path in paths], axis=0))
    alone = spot(*ask[:4], "--prompt", tmp_path / "mean.npy", "--json").document
    assert alone["scores"] == document["ensembles"]["average"]
    for one, path in zip(document["prompts"], paths, strict=True):
        assert one["scores"] == spot(*ask[:4], "--prompt", path, "--json").document["scores"]
    np.save(tmp_path / "longer.npy", rng.normal(size=(5, WIDTH)).astype(np.float32))
    longer = (*ask, "--prompt", "longer.npy", "--json", "--ensemble")
    assert "prompts of several forms or lengths have no mean" in spot(*longer, "average").error
    possible = spot(*longer, "all").document["ensembles"]
    assert list(possible) == ["vote", "likelihood", "probability", "weighted"]
    table = spot(*ask, "--ensemble", "vote").out
    assert "vote of 3" in table
    assert f"{paths[1]}: test answers (true)" in table


def kept_ensemble(spot: Spot, tmp_path: Path, by: str) -> tuple[list[str], dict[str, Any]]:
    """``--prompt`` of three prompts, and what keeping them as ``wn_pos@together`` prints."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.npy" for name in "abc"]
    for path in paths:
        np.save(path, rng.normal(size=(4, WIDTH)).astype(np.float32))
    prompts = [str(part) for path in paths for part in ("--prompt", path)]
    kept = spot("ensemble", "wn_pos", *prompts, "--by", by, "--tag", "together", "--json")
    return prompts, kept.document


@pytest.mark.parametrize("by", ["vote", "likelihood", "probability", "weighted"])
def test_an_ensemble_of_the_bank_answers_as_its_prompts_do_together(
    spot: Spot, tmp_path: Path, by: str
) -> None:
    prompts, kept = kept_ensemble(spot, tmp_path, by)
    assert len(kept["weights"]) == (3 if by == "weighted" else 0)
    assert kept["dev"][-1]["of"] == f"{by} of 3"
    ask = ("eval", "wn_pos", "--limit", "40")
    together = spot(*ask, *prompts, "--ensemble", by, "--json").document["ensembles"][by]
    few = spot("ensemble", "wn_pos", *prompts, "--by", by, "--limit", "40", "--json").document
    assert few["run"] != kept["run"], "scores of fewer examples are another run's"
    if by == "weighted":  # here learnt on 40 development examples, there on all
        kept = few
    for name in (kept["run"][:12], "wn_pos@together"):
        alone = spot(*ask, "--prompt", kept["run"][:12], "--json").document
        assert alone["scores"] == together, name
    exported = tmp_path / "together.safetensors"
    assert spot("bank", "export", kept["run"], exported).code == 0
    file = spot(*ask, "--prompt", exported, "--json").document
    assert file == alone
    table = spot("matrix", "wn_pos", "--limit", "40", "--prompt", exported, "--json").document
    assert table["scores"][str(exported)]["wn_pos"] == together
    assert spot("bank", "verify").code == 0
    shown = spot("bank", "show", kept["run"]).document
    assert shown["recipe"]["ensemble"] == {"by": by, "weights": kept["weights"]}
    assert shown["environment"]["made of"] == prompts[1::2]
    assert shown["metrics"] == {
        name: score for name, score in kept["dev"][-1].items() if name != "of"
    }


def test_an_ensemble_predicts_and_travels_as_a_prompt_does(spot: Spot, tmp_path: Path) -> None:
    _, kept = kept_ensemble(spot, tmp_path, "likelihood")
    ask = (*ASK, "--prompt", "wn_pos@together")
    answer = spot(*ask)
    assert answer.out.strip() in ("animal", "plant")
    assert spot("bank", "push", tmp_path / "published").code == 0
    other = ("--bank", "other.sqlite")
    assert spot("bank", "pull", tmp_path / "published", *other).code == 0
    assert spot(*ask, *other).out == answer.out
    again = spot("ensemble", "wn_pos", "--prompt", kept["run"], "--prompt", "a.npy").error
    assert again == f"{kept['run']}: is an ensemble already; name its prompts"
    ask = ("eval", "wn_pos", "--ensemble", "vote", "--prompt", "wn_pos@together")
    assert "is an ensemble already" in spot(*ask, "--prompt", "a.npy").error
    for command in (
        ("train-source", "wn_isa", "--start", "wn_pos@together", "--steps", "1"),
        ("recycle", "--prompt", "wn_pos@together", "--to", "tiny", "--out", "b.safetensors"),
        ("analyze", "edits", "wn_pos", "--prompt", "wn_pos@together"),
        ("bank", "export", "wn_pos@together", "folder"),
    ):
        line = spot(*command).error
        assert "holds 3 prompts that answer together, and one is wanted" in line, command
    assert "holds no source yet" in spot("retrieve", "wn_living").error, (
        "of an ensemble no key is ranked"
    )


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ((), "an ensemble is of two prompts or more"),
        (("--by", "votes"), "ensemble 'votes' is not known; did you mean 'vote'"),
        (("--prompt", "a.npy", "--prompt", "b.npy"), "b.npy: of form prompt and shape [4, 256]"),
        (("--prompt", "a.npy", "--prompt", "a.npy", "--tag", "best"), "'best' is computed"),
    ],
)
def test_what_makes_no_entry_of_the_bank_is_refused(
    spot: Spot, tmp_path: Path, more: tuple[str, ...], complaint: str
) -> None:
    for name, length in (("a", 3), ("b", 4)):
        np.save(tmp_path / f"{name}.npy", np.ones((length, WIDTH), np.float32))
    assert complaint in spot("ensemble", "wn_pos", "--limit", "2", *more).error
    assert not (tmp_path / "bank.sqlite").exists()


@pytest.mark.parametrize(
    "told", [3, {"by": 1, "weights": []}, {"by": "vote", "weights": [0.5]}, {"by": "vote"}]
)
def test_a_file_that_tells_no_way_to_answer_together_is_refused(
    spot: Spot, tmp_path: Path, told: object
) -> None:
    stacked, recipe = np.stack([PROMPT, PROMPT]), json.dumps({"form": "prompt", "ensemble": told})
    write_prompt(tmp_path / "a.safetensors", stacked, {"recipe": recipe})
    line = spot(*ASK, "--prompt", "a.safetensors").error
    assert "of how its prompts answer together; export it again" in line
    unknown = json.dumps({"form": "prompt", "ensemble": {"by": "council", "weights": []}})
    write_prompt(tmp_path / "b.safetensors", stacked, {"recipe": unknown})
    assert "ensemble 'council' is not known" in spot(*ASK, "--prompt", "b.safetensors").error


def test_inputs_longer_than_those_of_the_run_are_told(spot: Spot, tmp_path: Path) -> None:
    for name, longest in (("short", 4), ("long", 512)):
        recipe = json.dumps({"form": "prompt", "max_input": longest})
        write_prompt(tmp_path / f"{name}.safetensors", PROMPT, {"recipe": recipe})
    ask = ("eval", "wn_pos", "--limit", "2")
    told = "tokens; the run cut them at 4, as --max-input 4 does"
    assert told in spot(*ask, "--prompt", "short.safetensors").err
    assert told not in spot(*ask, "--prompt", "short.safetensors", "--max-input", "4").err
    assert "the run cut them" not in spot(*ask, "--prompt", "long.safetensors").err


def test_words_stand_in_place_of_a_prompt(spot: Spot) -> None:
    ask = ("eval", "wn_pos", "--limit", "4", "--shots", "2", "--max-input", "512")
    bare = spot(*ask, "--json").document
    assert bare["words"] == "2 worked examples"
    assert bare["cut inputs"] == 0
    seeded = spot(*ask, "--shots-seed", "1", "--text-prompt", "Which kind of word?")
    assert "bare backbone, instruction and 2 worked examples" in seeded.out
    none = spot("eval", "wn_pos", "--limit", "2", "--shots", "1000", "--split", "train").error
    assert none.startswith("--shots 1000: all 2 examples of the split are worked ones")
    trained = spot("eval", "wn_pos", "--limit", "4", "--shots", "1", "--split", "train")
    assert trained.code == 0


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--ensemble", "vote"), "an ensemble is of two prompts or more"),
        (("--ensemble", "votes"), "ensemble 'votes' is not known; did you mean 'vote'"),
        (("--shots-seed", "1"), "--shots-seed would not be used: there are no --shots to draw"),
        (
            ("--prompt", "a.npy", "--prompt", "b.npy", "--ensemble", "weighted", "--split", "dev"),
            "learns on dev; score it on test",
        ),
        (
            ("--prompt", "a.npy", "--prompt", "b.npy", "--ensemble", "average"),
            "prompts of several forms or lengths have no mean",
        ),
    ],
)
def test_ensembles_and_words_that_make_no_sense_are_refused(
    spot: Spot, tmp_path: Path, more: tuple[str, ...], complaint: str
) -> None:
    for name, length in (("a", 3), ("b", 4)):
        np.save(tmp_path / f"{name}.npy", np.ones((length, WIDTH), np.float32))
    assert complaint in spot("eval", "wn_pos", "--limit", "2", *more).error


def test_a_prompt_is_mapped_to_another_model_and_says_where_it_comes_from(
    spot: Spot, tmp_path: Path, fingerprint: str
) -> None:
    write_prompt(tmp_path / "a.safetensors", PROMPT, {"fingerprint": fingerprint, "task": "wn_pos"})
    ask = ("recycle", "--prompt", "a.safetensors", "--to", "tiny", "--out", "b.safetensors")
    document = spot(*ask, "--json").document
    assert document["held-out cosine"] > 0.99
    (told,) = document["prompts"]
    assert (told["recycled_from"], told["kept as"]) == (prompt_sha256(PROMPT), "b.safetensors")
    mapped = read_prompt(tmp_path / "b.safetensors")
    assert (mapped.fingerprint, mapped.metadata["task"]) == (fingerprint, "wn_pos")
    assert spot("eval", "wn_pos", "--limit", "2", "--prompt", "b.safetensors").code == 0
    assert "wrote b.safetensors: use it with --backbone tiny" in spot(*ask).out
    suffix = {"fingerprint": fingerprint, "recipe": '{"form": "suffix"}'}
    write_prompt(tmp_path / "c.safetensors", PROMPT, suffix)
    refused = ("recycle", "--prompt", "c.safetensors", "--to", "tiny", "--out", "d.safetensors")
    assert spot(*refused).error.startswith("c.safetensors: is of the form suffix; vectors of plain")
    imported = ("bank", "import", "b.safetensors", "--task", "wn_pos")
    assert spot(*imported).code == 0
    run = spot("bank", "runs", "--json").document["runs"][0]["run"]
    shown = spot("bank", "show", run).document
    assert shown["environment"]["imported from"] == (
        f"b.safetensors, recycled from {prompt_sha256(PROMPT)} of tiny"
    )


def test_an_imported_prompt_stays_of_its_form(spot: Spot, tmp_path: Path, fingerprint: str) -> None:
    rng = np.random.default_rng(3)
    shapes = {"suffix": (3, WIDTH), "deep": (4, 3, WIDTH), "infix": (2, 2, 3, WIDTH)}
    for form, shape in shapes.items():
        facts = {"fingerprint": fingerprint, "backbone": "tiny", "recipe": f'{{"form": "{form}"}}'}
        write_prompt(tmp_path / f"{form}.safetensors", rng.normal(size=shape), facts)
        assert spot("bank", "import", f"{form}.safetensors", "--task", form).code == 0
        spot("bank", "export", f"{form}@latest", "back.safetensors")
        assert read_prompt(tmp_path / "back.safetensors").form == form
    told = {"backbone": "tiny", "recipe": '{"ensemble": {"by": "vote", "weights": []}}'}
    write_prompt(tmp_path / "both.safetensors", rng.normal(size=(2, 3, WIDTH)), told)
    refused = spot("bank", "import", "both.safetensors", "--task", "both").error
    assert "holds 2 prompts that answer together, and one is wanted" in refused
    ask = ("eval", "wn_pos", "--limit", "4", "--json", "--prompt")
    assert spot(*ask, "suffix.safetensors").document == spot(*ask, "suffix@latest").document


def test_a_prefix_of_peft_is_imported_for_a_model_of_a_width(spot: Spot, tmp_path: Path) -> None:
    layers, heads = 2, 128
    facts = {"peft_type": "PREFIX_TUNING", "num_layers": layers, "token_dim": heads}
    stored = np.random.default_rng(4).normal(size=(3, layers * 2 * heads)).astype(np.float32)
    folder = adapter(tmp_path / "adapter", stored, base_model_name_or_path="tiny", **facts)
    ask = ("bank", "import", folder.name, "--task", "t")
    assert spot(*ask).error.endswith("does not say how wide its model is; give --width")
    assert spot(*ask, "--width", WIDTH).code == 0
    (run,) = spot("bank", "runs", "--json").document["runs"]
    spot("bank", "export", run["run"], "back.safetensors")
    back = read_prompt(tmp_path / "back.safetensors")
    assert (back.form, back.prompt.shape) == ("prefix_decoder", (2, 1, 3, WIDTH))
    np.testing.assert_array_equal(back.prompt, read_prompt(folder).for_width(WIDTH).prompt)
    np.save(tmp_path / "a.npy", PROMPT)
    ask = ("bank", "import", "a.npy", "--task", "t", "--backbone", "tiny", "--width", 7)
    assert spot(*ask).error == f"a.npy: is {WIDTH} wide, and --width 7"


def test_recycled_prompts_go_into_a_bank_with_where_they_come_from(
    spot: Spot, tmp_path: Path, fingerprint: str
) -> None:
    for number, name in enumerate("ab"):
        facts = {"fingerprint": fingerprint, "task": f"wn_{name}", "seed": str(number)}
        write_prompt(tmp_path / f"{name}.safetensors", PROMPT + number, facts)
    prompts = ("--prompt", "a.safetensors", "--prompt", "b.safetensors")
    into = ("--to", "tiny", "--into", "other.sqlite")
    document = spot("recycle", *prompts, *into, "--json").document
    other = ("--bank", "other.sqlite")
    for told, name, number in zip(document["prompts"], "ab", (0, 1), strict=True):
        shown = spot("bank", "show", told["kept as"], *other).document
        assert (shown["task"], shown["seed"]) == (f"wn_{name}", number)
        assert shown["environment"]["imported from"] == (
            f"{name}.safetensors, recycled from {prompt_sha256(PROMPT + number)} of tiny by map "
            + document["map"]
        )
    again = spot("recycle", *prompts, *into).out
    assert f"map {document['map'][:12]} is kept in other.sqlite" in again
    assert f"a.safetensors: run {document['prompts'][0]['kept as'][:12]} in other.sqlite" in again
    assert spot(*ASK, "--prompt", "wn_b@best", *other).code == 0
    assert spot("bank", "verify", *other).code == 0


def test_a_bank_s_map_is_not_fitted_again(
    spot: Spot, tmp_path: Path, fingerprint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate("ab"):
        facts = {"fingerprint": fingerprint, "task": "wn_pos"}
        write_prompt(tmp_path / f"{name}.safetensors", PROMPT + number, facts)
    ask = ("recycle", "--to", "tiny", "--into", "other.sqlite", "--json", "--prompt")
    sums = spot(*ask, "a.safetensors", "--by", "combination").document
    assert sums["map"] is None  # it is the two embeddings themselves
    fitted = spot(*ask, "a.safetensors").document
    monkeypatch.setattr("spot.prompts.recycling.fit_recycler", None)
    held = spot(*ask, "b.safetensors").document
    for name in ("map", "shared pieces", "held-out cosine", "held-out error"):
        assert held[name] == fitted[name]
    (listed,) = spot("bank", "recyclers", "--bank", "other.sqlite", "--json").document
    assert (listed["of"], listed["for"], listed["method"]) == ("tiny", "tiny", "linear")
    assert listed["recycler"] == held["map"][:12]
    assert listed["shared pieces"] == held["shared pieces"]
    assert "linear" in spot("bank", "recyclers", "--bank", "other.sqlite").out
    with Bank.open(tmp_path / "other.sqlite") as bank:
        values = [bank.find_prompt(one["prompts"][0]["kept as"]) for one in (fitted, held)]
        (_, record) = bank.recycler(fingerprint, fingerprint, "linear") or ("", None)
    assert record is not None
    for prompt, value in zip((PROMPT, PROMPT + 1), values, strict=True):
        expected = prompt.astype(np.float64) @ record.numbers["weights"] + record.numbers["offset"]
        np.testing.assert_array_equal(value, expected.astype(np.float32))


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--out", "b.safetensors"), "no prompt to map; name one by --prompt"),
        (
            ("--prompt", "a.npy"),
            "say where prompts go: one to a file by --out, or any number --into",
        ),
        (
            ("--prompt", "a.npy", "--out", "b.safetensors", "--into", "b.sqlite"),
            "say where prompts go",
        ),
        (
            ("--prompt", "a.npy", "--prompt", "a.npy", "--out", "b.safetensors"),
            "b.safetensors: takes one prompt; several go --into a bank",
        ),
        (
            ("--prompt", "a.npy", "--out", "b.npy"),
            "b.npy: the prompt goes into a file .safetensors",
        ),
        (
            ("--prompt", "a.npy", "--out", "b.safetensors", "--by", "linea"),
            "map 'linea' is not known; did you mean 'linear'",
        ),
    ],
)
def test_what_cannot_be_mapped_is_refused(
    spot: Spot, more: tuple[str, ...], complaint: str
) -> None:
    assert complaint in spot("recycle", "--to", "tiny", *more).error
