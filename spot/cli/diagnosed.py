"""What runs and evaluations tell beyond their scores, as a line each and as documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spot.cli.output import say

if TYPE_CHECKING:
    from bank import Bank, Evaluation, StoredRun
    from spot.inference.diagnostics import Diagnostics
    from spot.transfer.transfer import Transferred


def diagnostics_of(bank: Bank, runs: Sequence[str]) -> dict[str, Diagnostics]:
    """What a bank says of runs, by their digests; of those that an older version trained nothing."""
    from spot.inference.diagnostics import Diagnostics

    environments = bank.environments(runs)
    made = {
        run: Diagnostics.from_record(facts.get("diagnostics") or {})
        for run, facts in environments.items()
    }
    return {run: diagnostics for run, diagnostics in made.items() if diagnostics}


def document_of(diagnostics: Diagnostics | None) -> dict[str, Any] | None:
    """All of it for programs; ``None`` where nothing is known."""
    return diagnostics.document() if diagnostics else None


def say_diagnostics(title: str, diagnostics: Diagnostics | None) -> None:
    """One line under a table, where something is known."""
    if diagnostics:
        say(f"{title}: {diagnostics.line()}")


def tested_diagnostics(
    bank: Bank, transfers: Sequence[Transferred], *, evaluate_by: str
) -> list[dict[str, Diagnostics]]:
    """Of every transfer's outcome, and of its baseline where there is one: what their test answers tell, beside what
    the bank says of their runs."""
    reported = [_reported(transfer) for transfer in transfers]
    known = diagnostics_of(bank, [run.digest for each in reported for run, _ in each.values()])
    return [
        {
            name: _tested(transfer, evaluation, known.get(run.digest), evaluate_by)
            for name, (run, evaluation) in each.items()
        }
        for transfer, each in zip(transfers, reported, strict=True)
    ]


def _reported(transfer: Transferred) -> dict[str, tuple[StoredRun, Evaluation]]:
    """Runs whose test answers a transfer reports, each once."""
    reported = {"outcome": (transfer.chosen_run, transfer.outcome_test)}
    if transfer.baseline and transfer.baseline_test and transfer.baseline != transfer.chosen_run:
        reported["baseline"] = (transfer.baseline, transfer.baseline_test)
    return reported


def _tested(
    transfer: Transferred, evaluation: Evaluation, of_run: Diagnostics | None, evaluate_by: str
) -> Diagnostics:
    from spot.inference.diagnostics import Diagnostics, count_answers
    from spot.inference.predict import ranks
    from tasks import Split

    ranked = ranks(evaluate_by, transfer.examples)
    answered = count_answers(evaluation.answers, transfer.examples, ranked=ranked)
    if of_run is None:
        return Diagnostics(split=Split.TEST.value, answered=answered)
    answered = dataclasses.replace(answered, loss=of_run.answered.loss)
    return dataclasses.replace(
        of_run, split=Split.TEST.value, answered=answered, loss_split=of_run.split
    )
