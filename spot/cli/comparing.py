"""``spot compare``: one task by every system there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.groups import refuse_given, takes_groups
from spot.cli.options import BankOption, JsonOption, TrainerOptions, find_tasks
from spot.cli.output import (
    PARTIAL_DATA,
    duration,
    errors,
    noted,
    print_json,
    print_rows,
    size,
    tell,
)
from spot.cli.transfer_options import RankingOptions, SeedOptions
from spot.cli.tuning import TuningRate
from spot.training.settings import WHOLE

if TYPE_CHECKING:
    from spot.transfer.comparison import Row

SHOTS = 1_000

GIVEN: Mapping[str, tuple[Sequence[str | type], str]] = {
    "sources": ([RankingOptions, "top_k"], "starts from sources"),
    "shots": (["shots"], "is shown worked examples"),
    "beside": (["beside"], "learns other tasks too"),
    "tuning": (["tuning_rate"], "trains all weights"),
}
"""Options by what uses them (:class:`spot.transfer.comparison.System`), and what such a system does."""


@takes_groups
def compare(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="The task: a name or the path of a task file.")],
    *,
    system: Annotated[
        list[str] | None,
        typer.Option(
            help="zero-shot, few-shot, 'prompt tuning', SPoT, 'deep prompts', prefix-tuning, 'model tuning', and "
            "'multi-task model tuning' where there are tasks --beside: these if left out. Or 'learnt weights', "
            "'attention over sources', suffix, 'decoder prompt' or infix-tuning; may be given several times."
        ),
    ] = None,
    seeds: SeedOptions,
    ranking: RankingOptions,
    top_k: Annotated[
        int, typer.Option(help="Sources that SPoT starts from.", min=1, max=WHOLE)
    ] = 3,
    shots: Annotated[int, typer.Option(help="Worked examples of few-shot.", min=1, max=SHOTS)] = 4,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="A task on which multi-task model tuning trains too, told by its name; may be given several times."
        ),
    ] = None,
    tuning_rate: TuningRate = 0.001,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw score against the share of numbers that are trained, a PNG file."),
    ] = None,
    bank: BankOption,
    training: TrainerOptions,
    out: JsonOption,
) -> None:
    """Compare prompt design, prompt tuning, SPoT, deep prompts, prefix-tuning and model tuning on a task.

    All that train follow one recipe: steps, batches, lengths. Score with interval, numbers trained and kept, memory
    that training holds beside the model, steps and time.
    """
    from spot.errors import SpotError
    from spot.study.plots import check_picture, write_points
    from spot.training.model_tuning import OPTIMIZER
    from spot.training.progress import make_reporter
    from spot.transfer.comparison import SYSTEMS, Comparison
    from spot.transfer.comparison import compare as compare_systems
    from spot.transfer.transfer import TransferOptions
    from tasks.choices import choose

    for name in system or ():
        used = SYSTEMS[choose(name, SYSTEMS, "system", error=SpotError)].uses
        if "beside" in used and not beside:
            raise SpotError(f"{name} is of several tasks; name others by --beside")
    if system:
        used_by_some = {use for name in system for use in SYSTEMS[name].uses}
        for use, (given, what) in GIVEN.items():
            if use not in used_by_some:
                refuse_given(context, given, f"no system that is compared {what}")
    if plot:
        check_picture(plot)
    options = TransferOptions(
        similarity=ranking.similarity,
        aggregate=ranking.aggregate,
        allow_overlap=ranking.allow_overlap,
        top_k=top_k,
    )
    task, *others = find_tasks([target, *(beside or ())])
    with bank.open(create=True) as opened:
        trainer, chosen = training.make(opened, [task], what="target")
        wanted = list(system or _usual(beside=bool(others)))
        if not system and not opened.sources(trainer.querying.partition):
            wanted = [name for name in wanted if "sources" not in SYSTEMS[name].uses]
            tell(f"SPoT is left out: {bank.shown} has no sources to compare with")
        comparison = Comparison(
            trainer=trainer,
            task=task,
            seeds=seeds.range,
            shots=shots,
            options=options,
            tuning=dataclasses.replace(OPTIMIZER, learning_rate=tuning_rate),
            beside=others,
            reporters=lambda title: make_reporter(title, errors()),
        )
        partial = any(trainer.data(one).partial for one in (task, *others))
        of_partial = {PARTIAL_DATA: True} if partial else {}
        rows = []
        for row in compare_systems(comparison, wanted):
            tell(f"{row.system}: {row.score.mean:.2f} [{row.score.low:.1f}, {row.score.high:.1f}]")
            rows.append(row)
    if plot:
        trains = [row for row in rows if row.share]
        write_points(
            plot,
            [row.share for row in trains],
            [row.score.mean for row in trains],
            [row.system for row in trains],
            "share of the model's numbers that are trained",
            task.name,
        )
        tell(f"wrote {plot}")
    if out.json:
        print_json(
            {
                "task": task.name,
                "recipe": chosen.document(),
                "systems": [_document(row) for row in rows],
            }
            | of_partial
        )
        return
    counted = f"{len(seeds.range)} seed{'s' if len(seeds.range) > 1 else ''}"
    print_rows(
        noted([_shown(row) | of_partial for row in rows]), title=f"{task.name} test, {counted}"
    )


def _usual(*, beside: bool) -> list[str]:
    """Systems that are compared where none is named."""
    from spot.transfer.comparison import SYSTEMS

    return [
        name
        for name, system in SYSTEMS.items()
        if system.usual and ("beside" not in system.uses or beside)
    ]


def _document(row: Row) -> dict[str, Any]:
    return {
        "system": row.system,
        "score": row.score.mean,
        "low": row.score.low,
        "high": row.score.high,
        "scores": list(row.scores),
        "trained": row.outcome.trained,
        "share": row.share,
        "kept bytes": 4 * row.outcome.kept,
        "state bytes": row.outcome.state,
        "steps": row.outcome.steps,
        "seconds": row.outcome.seconds,
    }


def _shown(row: Row) -> dict[str, Any]:
    outcome = row.outcome
    return {
        "system": row.system,
        "score": row.score.mean,
        "interval": f"{row.score.low:.1f} to {row.score.high:.1f}",
        "spread": _spread(row.scores),
        "trained": outcome.trained,
        "share %": f"{100 * row.share:.3g}" if row.share else "-",
        "kept": size(4 * outcome.kept) if outcome.kept else "-",
        "memory": size(outcome.state) if outcome.state else "-",
        "steps": round(outcome.steps),
        "time": duration(outcome.seconds) if outcome.seconds else "-",
    }


def _spread(scores: Sequence[float]) -> float | None:
    """Standard deviation over seeds."""
    import statistics

    return statistics.stdev(scores) if len(scores) > 1 else None


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "spot compare wn_living --bank bank.sqlite --seeds 2 --train-limit 64"
    app.command("compare", epilog=f"Example: {example}")(compare)
