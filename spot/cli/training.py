"""Commands that train prompts: ``train-source``, ``transfer`` and ``retrieve``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.diagnosed import (
    diagnostics_of,
    document_of,
    say_diagnostics,
    tested_diagnostics,
)
from spot.cli.groups import refuse_given, takes_groups
from spot.cli.options import (
    Announced,
    BankOption,
    ExecutorOption,
    JsonOption,
    TrainerOptions,
    find_learnable,
    find_tasks,
)
from spot.cli.output import noted, print_json, print_rows, say, tell
from spot.cli.plans import (
    DryRunOption,
    foreseen_runs,
    foreseen_transfers,
    opened_to_plan,
    show_plan,
)
from spot.cli.shown import (
    found_document,
    found_line,
    found_rows,
    gain_document,
    ranking_document,
    ranking_rows,
    run_row,
    show_transfers,
    transfer_document,
)
from spot.training.settings import SEED, SEEDS, WHOLE

if TYPE_CHECKING:
    from bank import Bank
    from spot.retrieval.query import Query
    from spot.retrieval.rank import Retriever
    from spot.transfer.runs import Trainer
    from spot.transfer.transfer import TransferOptions
    from tasks import Mixture, Task

Similarity = Annotated[
    str,
    typer.Option(
        help="What ranks: auto, which is displacement (way of mean tokens from their starts) where starts are known "
        "and average elsewhere. Of SPoT: average (cosine of mean tokens), per_token. Others: centred (from the bank's "
        "mean), seed_centred (from the mean of a seed's keys), fused (mean of average and centred, standardised), "
        "matching (best pairs of tokens), subspace, vocabulary (nearness to words), neurons (units that fire under "
        "both prompts), evidence (expected gain by what the bank saw). Without a query: trial (loss of sources on 64 "
        "examples), text (words of the tasks' examples), demonstrations (units that fire under the value and the "
        "target's examples)."
    ),
]


@dataclasses.dataclass(frozen=True)
class SeedOptions:
    """With which seeds."""

    seeds: Annotated[
        int, typer.Option(help="How many seeds, counted from --first-seed.", min=1, max=SEEDS)
    ] = 1
    first_seed: Annotated[int, typer.Option(help="First seed.", min=0, max=SEED)] = 0

    @property
    def range(self) -> range:
        """The seeds themselves."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclasses.dataclass(frozen=True)
class RankingOptions:
    """How sources are ranked."""

    similarity: Similarity = "auto"
    aggregate: Annotated[
        str,
        typer.Option(
            help="Over the seeds that all sources share: mean, max, or none to rank every prompt."
        ),
    ] = "mean"
    allow_overlap: Annotated[
        bool,
        typer.Option(
            help="Also rank sources whose training texts may hold test examples of the target."
        ),
    ] = False


@dataclasses.dataclass(frozen=True)
class MethodOptions:
    """What is done with the sources that were ranked."""

    method: Annotated[
        str,
        typer.Option(
            help="best: train from each of the k best sources and keep the best on dev; average: from their weighted "
            "average; mixture: from a prompt trained on their tasks and the target together; generic: from --source; "
            "oracle: from every source; none: only without transfer."
        ),
    ] = "best"
    top_k: Annotated[int, typer.Option(help="Sources tried.", min=1, max=WHOLE)] = 3
    source: Annotated[
        str, typer.Option(help="Task or mixture of the bank that --method generic starts from.")
    ] = ""
    source_file: Annotated[
        list[Path] | None,
        typer.Option(help="Task file of a source, for --method mixture; give it several times."),
    ] = None
    baseline: Annotated[
        bool, typer.Option(help="Also train without transfer, at the same budget.")
    ] = True
    budget: Annotated[
        str,
        typer.Option(
            help="full: from every source to the end; halving: from all of them, and without transfer, for a little, "
            "and keep halving the field by dev score. For the methods best and oracle."
        ),
    ] = "full"

    def options(self, ranking: RankingOptions) -> TransferOptions:
        """Both as a transfer takes them.

        Raises:
            SpotError: names that are not known, or options that exclude each other.
        """
        from spot.transfer.transfer import TransferOptions

        settings = dataclasses.asdict(self) | dataclasses.asdict(ranking)
        settings.pop("source_file")
        return TransferOptions(**settings)

    def check(self, context: typer.Context) -> None:
        """Refuse what a known method would not use.

        Raises:
            SpotError: such an option was given.
        """
        from spot.transfer.methods import METHODS

        method = METHODS[self.method]
        refuse_given(context, method.unused, f"method {self.method} {method.why}")
        if not method.reads_sources:
            refuse_given(
                context, ["source_file"], f"method {self.method} does not train on a source's data"
            )


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
    from spot.cli.tools import prompt_of_bank
    from spot.prompts.made_for import check_backbone

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
        begin = prompt_of_bank(start, opened) if start else None
        address = prompt_sha256(begin.prompt) if begin else None
        trainer, chosen = training.make(
            opened,
            learnt,
            what="sources",
            executor=None if dry_run else executor,
            surely=not dry_run,
        )
        if begin:
            check_backbone(begin, trainer.backbone)
        found = None
        if searched:
            if isinstance(trainer.executor, Announced):
                trainer.executor.announce()  # where the search begins
            initial = begin.prompt if begin else None
            found = trainer.search(learnt, searched, seed=seeds.first_seed, initial=initial)
            tell(found_line(found, len(learnt)))
            trainer = trainer.with_recipe(found.configuration.of(trainer.recipe))
            chosen = dataclasses.replace(chosen, recipe=trainer.recipe)
        wanted = [(task, seed) for task in learnt for seed in seeds.range]
        specs = [trainer.spec(task, seed, "source", address) for task, seed in wanted]
        if dry_run:
            show_plan(foreseen_runs(trainer, specs), trainer, bank.shown, out)
            return
        runs = trainer.run_all(specs)
        rows = [
            run_row(task.name, seed, run, trainer.data(task), trainer.recipe)
            for (task, seed), run in zip(wanted, runs, strict=True)
        ]
        told = diagnostics_of(opened, [run.digest for run in runs])
        if out.json:
            documents = [document_of(told.get(run.digest)) for run in runs]
            rows = [
                row | {"diagnostics": document}
                for row, document in zip(rows, documents, strict=True)
            ]
            document = {
                "bank": str(opened),
                "backbone": trainer.backbone.fingerprint,
                "recipe": chosen.document(),
                "runs": rows,
            }
            print_json(document | ({"search": found_document(found)} if found else {}))
            return
        if found:
            print_rows(found_rows(found), title="search by development loss")
        print_rows(noted(rows))
        for (task, seed), run in zip(wanted, runs, strict=True):
            say_diagnostics(f"{task.name} seed {seed}", told.get(run.digest))
        say(f"in {opened}")


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
    from spot.transfer.transfer import gain_of, run_transfers
    from tasks import get_learnable

    options = method.options(ranking)
    executor.check(context)
    method.check(context)
    task, *files = find_tasks([target, *map(str, method.source_file or ())])
    from_files = {one.name: one for one in files}

    def find_task(name: str) -> Task | Mixture:
        return from_files.get(name) or get_learnable(name)

    with bank.open(write=not dry_run) as opened:
        trainer, chosen = training.make(
            opened,
            [task],
            what="target",
            executor=None if dry_run else executor,
            surely=not dry_run,
        )
        if dry_run:
            foresight = foreseen_transfers(trainer, task, seeds.range, options, find_task)
            show_plan(foresight, trainer, bank.shown, out)
            return
        results = run_transfers(
            trainer, task, seeds=seeds.range, options=options, find_task=find_task
        )
        gain = gain_of(results)
        told = tested_diagnostics(opened, results, evaluate_by=trainer.recipe.evaluate_by)
        if out.json:
            transfers = [
                transfer_document(result)
                | {"diagnostics": {name: document_of(one) for name, one in of_runs.items()}}
                for result, of_runs in zip(results, told, strict=True)
            ]
            print_json(
                {
                    "bank": str(opened),
                    "recipe": chosen.document(),
                    "transfers": transfers,
                    "gain": gain_document(gain),
                }
            )
            return
        show_transfers(task.name, results, options, recipe_steps=trainer.recipe.steps)
        for result, of_runs in zip(results, told, strict=True):
            for name, one in of_runs.items():
                say_diagnostics(f"seed {result.seed}, {name}", one)
        if gain:
            say(gain.line())
        say(f"in {opened}; `spot bank transfers --task {task.name}` shows them again")


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
    from spot.errors import RetrievalError
    from spot.retrieval.measures import checked_measure, compares_query
    from spot.retrieval.rank import checked_aggregate
    from spot.transfer.sources import retriever_for

    if bool(target) == bool(query):
        raise RetrievalError("give either a TARGET task or --query FILE")
    if query:
        unused = (TrainerOptions, "seed", "allow_overlap")
        refuse_given(
            context, unused, "--query ranks a prompt as it is, with nothing trained or loaded"
        )
    measure, aggregate = checked_measure(ranking.similarity), checked_aggregate(ranking.aggregate)
    compares = compares_query(measure)
    if not compares:
        refuse_given(context, ["seed"], f"measure {measure} ranks without a query")
    prompt: Query | None
    with bank.open_or_copy() if target else bank.open() as opened:
        if query:
            retriever, prompt = _query_of_file(query, opened)
        else:
            (task,) = find_tasks([target])
            # the bank may hold the query
            trainer, _ = training.make(opened, [task], what="query", surely=False)
            retriever = retriever_for(trainer, task, allow_overlap=ranking.allow_overlap)
            prompt = _query_of_task(task, trainer, seed=seed) if compares else None
        ranked = retriever.rank(prompt, measure=measure, top_k=top_k or None, aggregate=aggregate)
        cautions = retriever.cautions(prompt, measure=measure, aggregate=aggregate)
        if out.json:
            similarity = retriever.measure(measure, prompt)
            print_json(
                ranking_document(
                    ranked, cautions, partition=retriever.partition, similarity=similarity
                )
            )
            return
        print_rows(ranking_rows(ranked), title=f"sources in {opened}: {retriever.partition}")
        for caution in cautions:
            say(f"caution: {caution}")


def _query_of_file(path: Path, bank: Bank) -> tuple[Retriever, Query]:
    """A prompt as a query, and what ranks the keys that it can be compared with."""
    from spot.prompts.files import read_prompt
    from spot.retrieval.query import Query, partition_of
    from spot.retrieval.rank import Retriever

    file = read_prompt(path)
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
