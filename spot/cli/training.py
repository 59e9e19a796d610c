"""Commands that train prompts: ``train-source``, ``transfer`` and ``retrieve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.groups import refuse_given, takes_groups
from spot.cli.options import (
    BankOption,
    ExecutorOption,
    JsonOption,
    TrainerOptions,
    find_learnable,
    find_tasks,
)
from spot.cli.plans import (
    DryRunOption,
    foreseen_runs,
    foreseen_transfers,
    opened_to_plan,
    show_plan,
)
from spot.cli.reports import report_ranking, report_sources, report_transfers
from spot.cli.searching import search_settings
from spot.cli.transfer_options import MethodOptions, RankingOptions, SeedOptions
from spot.training.settings import SEED, WHOLE

if TYPE_CHECKING:
    from bank import Bank
    from spot.retrieval.query import Query
    from spot.retrieval.rank import Retriever
    from spot.transfer.runs import Trainer
    from tasks import Mixture, Task


@takes_groups
def train_source(
    context: typer.Context,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(help="Tasks, mixtures (glue, or sst2+mrpc), or paths of task files."),
    ] = None,
    *,
    mixture: Annotated[
        list[str] | None,
        typer.Option(
            help="One prompt for all of these: a named mixture, tasks joined by commas, or a TOML file."
        ),
    ] = None,
    seeds: SeedOptions,
    start: Annotated[
        str,
        typer.Option(
            help="Start from this prompt of the bank, an address, a run or TASK@TAG, not from --init."
        ),
    ] = "",
    dry_run: DryRunOption = False,
    bank: BankOption,
    training: TrainerOptions,
    executor: ExecutorOption,
    out: JsonOption,
) -> None:
    """Train prompts on source tasks and put their key and value into the bank.

    A run that the bank holds already is not trained again; one that was interrupted goes on where it was.
    """
    from bank.vectors import prompt_sha256
    from spot.cli.prompts import prompt_of_bank
    from spot.prompts.made_for import check_backbone
    from spot.transfer.runs import sharing

    executor.check(context)
    if start:
        refuse_given(context, ["init"], "--start says where the prompt starts")
    learnt = find_learnable([*(tasks or ()), *(name.replace(",", "+") for name in mixture or ())])
    searched, training = training.recipe.searched, training.without_search()
    training.recipe.check()  # refused before anything is made
    if searched and dry_run:
        raise typer.BadParameter(
            "--dry-run does not know what auto will find; leave one of them out"
        )
    with opened_to_plan(bank) if dry_run else bank.open(create=True) as opened:
        begin = prompt_of_bank(start, opened).alone() if start else None
        trainer, chosen = training.make(
            opened, learnt, what="sources", executor=executor, surely=not dry_run
        )
        if begin:
            check_backbone(begin, trainer.backbone)
        trainer, chosen, found = search_settings(
            trainer, chosen, learnt, searched, seed=seeds.first_seed, start=begin
        )
        address = prompt_sha256(begin.prompt) if begin else None
        if trainer.recipe.shared:
            trainer, learnt = sharing(trainer, learnt)
        specs = [
            trainer.spec(task, seed, "source", address) for task in learnt for seed in seeds.range
        ]
        if dry_run:
            show_plan(foreseen_runs(trainer, specs), trainer, bank.shown, out)
            return
        report_sources(trainer, chosen, specs, trainer.run_all(specs), found, out)


@takes_groups
def transfer(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="Target task: a name or the path of a task file.")],
    *,
    seeds: SeedOptions,
    ranking: RankingOptions,
    method: MethodOptions,
    dry_run: DryRunOption = False,
    bank: BankOption,
    training: TrainerOptions,
    executor: ExecutorOption,
    out: JsonOption,
) -> None:
    """Find the best sources for a target, train from their values, compare with no transfer."""
    from spot.transfer.transfer import run_transfers
    from tasks import get_learnable
    from tasks.errors import TaskError

    options = method.options(ranking)
    executor.check(context)
    method.check(context)
    task, *files = find_tasks([target, *map(str, method.source_file or ())])
    from_files = {one.name: one for one in files}

    def find_task(name: str) -> Task | Mixture:
        try:
            return from_files.get(name) or get_learnable(name)
        except TaskError as error:
            raise TaskError(
                f"source {name!r} is no built-in task, and its data is needed again; give its file by --source-file"
            ) from error

    with bank.open(write=not dry_run) as opened:
        trainer, chosen = training.make(
            opened,
            [task],
            what="target",
            executor=executor,
            surely=not dry_run,
            resize=method.resize,
        )
        length = trainer.recipe.prompt_length
        if length == trainer.querying.recipe.prompt_length:
            refuse_given(context, ["resize"], f"the sources' prompts have {length} tokens as well")
        if dry_run:
            foresight = foreseen_transfers(trainer, task, seeds.range, options, find_task)
            show_plan(foresight, trainer, bank.shown, out)
            return
        results = run_transfers(
            trainer, task, seeds=seeds.range, options=options, find_task=find_task
        )
        report_transfers(trainer, chosen, results, options, out)


@takes_groups
def retrieve(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            help="Task whose query is trained (or taken from the bank), where the measure compares one."
        ),
    ] = "",
    *,
    query: Annotated[
        Path | None,
        typer.Option(help="A query prompt [P, H] from a file (or PEFT folder) instead."),
    ] = None,
    top_k: Annotated[
        int, typer.Option(help="How many to list; 0 lists all.", min=0, max=WHOLE)
    ] = 0,
    ranking: RankingOptions,
    seed: Annotated[int, typer.Option(help="Seed of the query.", min=0, max=SEED)] = 0,
    bank: BankOption,
    training: TrainerOptions,
    out: JsonOption,
) -> None:
    """Rank the bank's sources for a task or a query prompt."""
    from spot.retrieval.measures import checked_measure, compares_query
    from spot.retrieval.rank import checked_aggregate
    from spot.transfer.sources import left_out, retriever_for

    _check_either(context, target, query)
    measure, aggregate = checked_measure(ranking.similarity), checked_aggregate(ranking.aggregate)
    compares = compares_query(measure)
    if not compares:
        refuse_given(context, ["seed"], f"measure {measure} ranks without a query")
    prompt: Query | None
    shared: list[str] = []
    with bank.open_or_copy() if target else bank.open() as opened:
        if query:
            retriever, prompt = _query_of_file(query, opened)
        else:
            (task,) = find_tasks([target])
            # the bank may hold the query
            trainer, _ = training.make(opened, [task], what="query", surely=False)
            retriever = retriever_for(trainer, task, allow_overlap=ranking.allow_overlap)
            shared = left_out(trainer, task, retriever)
            prompt = _query_of_task(task, trainer, seed=seed) if compares else None
        ranked = retriever.rank(prompt, measure=measure, top_k=top_k or None, aggregate=aggregate)
        cautions = retriever.cautions(prompt, measure=measure, aggregate=aggregate)
        similarity = retriever.measure(measure, prompt)
        report_ranking(opened, retriever, ranked, cautions, similarity, shared, out)


def _check_either(context: typer.Context, target: str, query: Path | None) -> None:
    """Refuse both and none, and what would not be used.

    Raises:
        SpotError: that was given.
    """
    from spot.errors import RetrievalError

    if bool(target) == bool(query):
        raise RetrievalError("give either a TARGET task or --query FILE")
    if query:
        unused = (TrainerOptions, "seed", "allow_overlap")
        refuse_given(
            context, unused, "--query ranks a prompt as it is, with nothing trained or loaded"
        )


def _query_of_file(path: Path, bank: Bank) -> tuple[Retriever, Query]:
    """A prompt as a query, and what ranks the keys that it can be compared with."""
    from spot.prompts.files import read_prompt
    from spot.retrieval.query import Query, partition_of
    from spot.retrieval.rank import Retriever

    file = read_prompt(path).alone()
    return Retriever(bank, partition_of(file, bank)), Query(file.prompt, file.start)


def _query_of_task(target: Task, trainer: Trainer, *, seed: int) -> Query:
    """A task's query, trained where the bank does not hold it."""
    from spot.transfer.sources import query_of

    return query_of(trainer, target, trainer.run(target, seed=seed, role="query"))


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    add = app.command
    add(
        "train-source",
        epilog="Example: spot train-source sst2 mrpc --seeds 3 --data-dir data --bank bank.sqlite",
    )(train_source)
    add(
        "transfer",
        epilog="Example: spot transfer rte --top-k 3 --similarity per_token --seeds 3 --data-dir data",
    )(transfer)
    add("retrieve", epilog="Example: spot retrieve wn_living --similarity per_token --json")(
        retrieve
    )
