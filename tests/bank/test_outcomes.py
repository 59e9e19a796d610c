"""What others measured, taken in: once, whole or not at all, and every wrong row named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bank import Bank, BankError, Outcome, Partition
from bank.integrity import verify
from bank.outcomes import Imported, Measured, import_outcomes, read_measured
from tests.bank.conftest import RunMaker, run_of


def row(
    target: str = "rte",
    source: str = "mnli",
    seed: int = 0,
    score: float = 70.0,
    **more: float | None,
) -> Measured:
    return Measured(where="row 1", target=target, source=source, seed=seed, score=score, **more)  # type: ignore[arg-type]


@pytest.fixture
def stocked(bank: Bank) -> Bank:
    """Sources of two seeds, the second better, and a target's baselines of two."""
    for source in ("mnli", "sst2"):
        for seed in range(2):
            bank.record_run(run_of(source, seed, score=80.0 + seed))
    for seed in range(2):
        bank.record_run(run_of("rte", seed, role="baseline", score=60.0 + seed))
    return bank


def outcomes(bank: Bank) -> list[Outcome]:
    return bank.outcomes(Partition.of(run_of().identity.recipe))


def test_what_others_measured_is_an_outcome(stocked: Bank) -> None:
    rows = [row(), row(source="sst2", score=55.0), row(seed=1, score=72.0, baseline=66.0)]
    assert import_outcomes(stocked, rows) == Imported(added=3, changed=0, unchanged=0)
    found = outcomes(stocked)
    assert [(o.target, o.seed, o.source, o.score, o.baseline) for o in found] == [
        ("rte", 0, "mnli", 70.0, 60.0),  # the bank's own baseline
        ("rte", 0, "sst2", 55.0, 60.0),
        ("rte", 1, "mnli", 72.0, 66.0),
    ]
    keys = stocked.keys(Partition.of(run_of().identity.recipe))
    best = keys.runs[list(zip(keys.tasks, keys.seeds, strict=True)).index(("mnli", 1))]
    assert {o.source_run for o in found if o.source == "mnli"} == {best}
    assert verify(stocked) == []


def test_importing_twice_keeps_one_and_a_new_score_replaces_the_old(stocked: Bank) -> None:
    rows = [row(), row(source="sst2", score=55.0)]
    import_outcomes(stocked, rows)
    assert import_outcomes(stocked, rows) == Imported(added=0, changed=0, unchanged=2)
    changed = [dataclasses.replace(rows[0], score=71.0), rows[1]]
    assert import_outcomes(stocked, changed) == Imported(added=0, changed=1, unchanged=1)
    assert [o.score for o in outcomes(stocked)] == [71.0, 55.0]


def test_a_baseline_that_was_measured_stays_until_another_one_is(stocked: Bank) -> None:
    import_outcomes(stocked, [row(baseline=66.0)])
    import_outcomes(stocked, [row(source="sst2", score=55.0)])
    assert [o.baseline for o in outcomes(stocked)] == [66.0, 66.0]
    import_outcomes(stocked, [row(baseline=50.0)])
    assert [o.baseline for o in outcomes(stocked)] == [50.0, 50.0]


def test_a_seed_of_the_source_may_be_named(stocked: Bank) -> None:
    import_outcomes(stocked, [row(source_seed=0)])
    (found,) = outcomes(stocked)
    keys = stocked.keys(Partition.of(run_of().identity.recipe))
    assert keys.seeds[list(keys.runs).index(found.source_run)] == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            row(target="boolq"),
            "row 1: the bank has no baseline or query of target 'boolq'; train it with",
        ),
        (row(seed=7), "row 1: the bank has no run of rte with seed 7; it has 0, 1"),
        (row(source="qqp"), "row 1: of source 'qqp' the bank has none; train it with"),
        (row(source_seed=5), "row 1: the bank has no run of source mnli with seed 5; it has 0, 1"),
        (row(score=70.0, source="rte"), "row 1: rte is the target itself"),
        (
            row(source="elsewhere"),
            "row 1: of source 'elsewhere' the bank has none that can be compared",
        ),
        (row(source="sst2", score=1.0), "row 1: rte from sst2, seed 0, is in row 0 too"),
        (row(baseline=50.0), "row 1: baseline 50.0, but None in row 0"),
    ],
)
def test_a_row_that_does_not_fit_the_bank_is_named_and_nothing_is_stored(
    stocked: Bank, wrong: Measured, message: str
) -> None:
    stocked.record_run(run_of("elsewhere", family="b" * 64))
    stocked.record_run(run_of("rte"))
    first = dataclasses.replace(row(source="sst2"), where="row 0")
    with pytest.raises(BankError) as error:
        import_outcomes(stocked, [first, wrong])
    assert message in str(error.value)
    assert outcomes(stocked) == []


def test_a_run_that_could_be_one_of_several_is_named_by_its_recipe(
    stocked: Bank, make_run: RunMaker
) -> None:
    record = make_run("rte", role="baseline")
    recipe = dataclasses.replace(record.identity.recipe, options={"train_limit": 64})
    stocked.record_run(
        dataclasses.replace(record, identity=dataclasses.replace(record.identity, recipe=recipe))
    )
    with pytest.raises(
        BankError, match=r"has 2 runs of rte with seed 0, of the recipes .* name one with --recipe"
    ):
        import_outcomes(stocked, [row()])
    import_outcomes(stocked, [row()], recipe=recipe.digest[:12])
    (found,) = outcomes(stocked)
    assert found.train_limit == 64
    with pytest.raises(BankError, match="it has none of that recipe"):
        import_outcomes(stocked, [row()], recipe="0000")


# -- files ---------------------------------------------------------------------------------------------------


def test_a_table_is_read_from_csv_and_json(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text(
        "\ufefftarget,source,seed,dev,plain,note\n"
        'rte,"a, b",0,70.5,60,\n'
        "\n"
        "rte,sst2,1, 71 ,,x\n",
        encoding="utf-8",
    )  # fmt: skip
    first, second = read_measured(table, score="dev", baseline="plain")
    assert first == Measured(
        where=f"{table}, line 2", target="rte", source="a, b", seed=0, score=70.5, baseline=60.0
    )
    assert (second.where, second.score, second.baseline) == (f"{table}, line 4", 71.0, None)
    document = tmp_path / "scores.json"
    document.write_text(
        json.dumps([{"target": "rte", "source": "sst2", "seed": 1, "score": 71, "source_seed": 2}])
    )
    (only,) = read_measured(document)
    assert (only.where, only.score, only.source_seed) == (f"{document}, row 1", 71.0, 2)


HEAD = "target,source,seed,score\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "unknown format '.txt'; expected .csv or .json"),
        ("a.csv", "", "has no rows"),
        ("a.csv", HEAD, "has no rows"),
        ("a.csv", "target,source,seed\nrte,mnli,0\n", "line 2: no score; it has target, source, seed"),
        ("a.csv", HEAD + "rte,,0,1\n", "line 2: no source"),
        ("a.csv", HEAD + "rte,mnli,0\n", "line 2: 3 cells, expected 4"),
        ("a.csv", "target,source,seed,score,score\nrte,mnli,0,1,2\n", "column 'score' is there 2 times"),
        ("a.csv", HEAD + "rte,mnli,0,high\n", "line 2: score is 'high'; expected a number"),
        ("a.csv", HEAD + "rte,mnli,0,nan\n", "score is 'nan'; expected a number"),
        ("a.csv", HEAD + "rte,mnli,0,101\n", "score is 101; expected points, 100 at most"),
        ("a.csv", HEAD + "rte,mnli,1.5,70\n", "seed is '1.5'; expected a whole number from 0"),
        ("a.csv", HEAD + "rte,mnli,-1,70\n", "seed is '-1'; expected a whole number from 0"),
        ("a.csv", HEAD + 'rte,"mnli,0,70\n', "cannot be read as CSV"),
        ("a.csv", b"target\xff", "cannot be read as CSV in UTF-8"),
        ("a.json", "{}", "expected a list of objects"),
        ("a.json", "[" * 100_000, "cannot be read as JSON"),
        ("a.json", '[{"target": "rte", "source": "mnli", "seed": true, "score": 1}]', "seed is 'True'"),
        ("a.json", '[{"target": "rte", "source": "mnli", "seed": 0, "score": %s}]' % ("9" * 5000), "cannot be read"),
        ("a.json", '[{"target": "rte", "source": "mnli", "seed": 0, "score": 1%s}]' % ("0" * 400), "expected a number"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BankError) as error:
        read_measured(tmp_path / name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(BankError, match="cannot be read"):
        read_measured(tmp_path / "missing.csv")
