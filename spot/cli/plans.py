"""``--dry-run``: what a command would train, as a table and as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.options import BankOption, JsonOption
from spot.cli.output import duration, print_json, print_rows, say, size

if TYPE_CHECKING:
    from bank import Bank
    from spot.transfer.forecast import Cost, Forecast, Foresight, Wanted
    from spot.transfer.methods import FindTask
    from spot.transfer.planner import RunSpec
    from spot.transfer.runs import Trainer
    from spot.transfer.transfer import TransferOptions
    from tasks import Task

DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be trained, how long a few timed steps let expect that it takes, and how much disk and "
        "memory; train and write nothing.",
    ),
]


@contextmanager
def opened_to_plan(option: BankOption) -> Iterator[Bank]:
    """The bank for reading; an empty one in memory where there is none yet, which is not made."""
    from bank import Bank
    from bank.errors import NoBankError

    try:
        bank = option.open()
    except NoBankError:
        bank = Bank.open("sqlite://", create=True)
    with bank:
        yield bank


def foreseen_runs(trainer: Trainer, specs: Sequence[RunSpec]) -> Foresight:
    """Runs that are known."""
    from spot.transfer.forecast import Foresight

    foresight = Foresight(trainer.bank)
    foresight.add(trainer, specs)
    return foresight


def foreseen_transfers(
    trainer: Trainer,
    target: Task,
    seeds: Sequence[int],
    options: TransferOptions,
    find_task: FindTask,
) -> Foresight:
    """Runs of a target's transfers."""
    from spot.transfer.forecast import Foresight, foresee_transfers

    foresight = Foresight(trainer.bank)
    foresee_transfers(foresight, trainer, target, seeds=seeds, options=options, find_task=find_task)
    return foresight


def show_plan(foresight: Foresight, trainer: Trainer, bank: str, out: JsonOption) -> None:
    """Print what is wanted and what it costs."""
    from spot.backbone.placement import environment
    from spot.transfer.forecast import forecast

    plan = forecast(foresight, trainer)
    device = environment()["device"]
    if out.json:
        print_json(
            {"bank": bank, "backbone": trainer.backbone.fingerprint, "device": device}
            | plan_document(plan)
        )
        return
    print_rows(
        [_row(row, cost) for row, cost in zip(plan.wanted, plan.costs, strict=True)],
        title="plan; nothing is trained or written",
    )
    for line in plan_lines(plan, device):
        say(line)
    say(f"bank {bank}")


def _row(row: Wanted, cost: Cost) -> dict[str, Any]:
    return {
        "role": row.role,
        "task": row.task.name,
        "training examples": row.recipe.train_limit or "all",
        "runs": len(row.runs) + row.later,
        "held": row.held,
        "to train": row.train,
        "steps each": row.steps,
        "time": duration(cost.seconds) if row.train else "-",
        "known after": row.after or "-",
    }


def plan_lines(plan: Forecast, device: str) -> list[str]:
    """What all of it takes, in a few lines."""
    timing, cost = plan.timing, plan.cost
    if timing is None:
        return ["all of it is held: nothing would be trained"]
    at_most = "at most " if any(row.later for row in plan.wanted) else ""
    lengths = ", ".join(
        f"{length.median:.2g} s for {length.positions} positions" for length in timing.lengths
    )
    memory = f"memory: weights {size(plan.weight_bytes)}"
    if timing.peak_bytes:
        memory += f", {size(timing.peak_bytes)} at most while steps were timed"
    return [
        f"{at_most}{plan.steps} steps of {plan.train} runs, {plan.slots} at once: about {duration(cost.seconds)} "
        f"({duration(cost.low)} to {duration(cost.high)}), {duration(timing.compile_seconds)} of it to compile "
        f"{timing.compiled} shapes; final answers to test splits are not counted",
        f"timed on {device.partition(':')[0]}: a step of one run takes {lengths}",
        f"disk: the bank grows by {at_most or 'about '}{size(plan.bank_bytes)}, "
        f"checkpoints take {size(plan.checkpoint_bytes)} while runs are under way",
        memory,
    ]


def plan_document(plan: Forecast) -> dict[str, Any]:
    """The same for programs, with the digest of every run that is known."""
    timing, cost = plan.timing, plan.cost
    return {
        "wanted": [
            _wanted_document(row, each) for row, each in zip(plan.wanted, plan.costs, strict=True)
        ],
        "train": plan.train,
        "steps": plan.steps,
        "slots": plan.slots,
        "seconds": {
            "estimate": cost.seconds,
            "low": cost.low,
            "high": cost.high,
            "compiling": timing.compile_seconds if timing else 0.0,
        },
        "timed": [
            {
                "positions": length.positions,
                "seconds": length.seconds,
                "compiling": length.compiling,
            }
            for length in (timing.lengths if timing else ())
        ],
        "bytes": {
            "bank": plan.bank_bytes,
            "checkpoints": plan.checkpoint_bytes,
            "weights": plan.weight_bytes,
            "peak memory": timing.peak_bytes if timing else None,
        },
    }


def _wanted_document(row: Wanted, cost: Cost) -> dict[str, Any]:
    return {
        "role": row.role,
        "task": row.task.name,
        "train limit": row.recipe.train_limit,
        "runs": [
            {
                "run": run.digest,
                "seed": run.spec.seed,
                "start": run.spec.start,
                "held": run.digest not in row.missing,
            }
            for run in row.runs
        ],
        "later": row.later,
        "after": row.after,
        "held": row.held,
        "train": row.train,
        "steps each": row.steps,
        "steps": row.total_steps,
        "seconds": cost.seconds,
    }
