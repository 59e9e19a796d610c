"""Commands that train prompts: ``train-source``, ``transfer`` and ``retrieve``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.options import (
    BackboneOption,
    BankOption,
    DataOption,
    ExecutorOption,
    JsonOption,
    RecipeOptions,
    RunOptions,
    find_learnable,
    find_tasks,
    make_trainer,
    refuse_given,
    takes,
)
from spot.cli.output import print_json, print_rows, say
from spot.training.settings import SEED, SEEDS, WHOLE

if TYPE_CHECKING:
    from spot.retrieval.rank import Ranked
    from spot.transfer.transfer import TransferOptions, Transferred

Seeds = Annotated[int, typer.Option(help="How many seeds, counted from --first-seed.", min=1, max=SEEDS)]
FirstSeed = Annotated[int, typer.Option(help="First seed.", min=0, max=SEED)]
Similarity = Annotated[
    str,
    typer.Option(
        help="What ranks: auto, which is displacement (way of mean tokens from their starts) where starts are known "
        "and average elsewhere. Of SPoT: average (cosine of mean tokens), per_token. Others: centred (from the bank's "
        "mean), seed_centred (from the mean of a seed's keys), matching (best pairs of tokens), subspace, vocabulary "
        "(nearness to words), trial (loss of sources on 64 examples), evidence (expected gain by what the bank saw)."
    ),
]
AllowOverlap = Annotated[
    bool, typer.Option(help="Also rank sources whose training texts may hold test examples of the target.")
]
Aggregate = Annotated[
    str, typer.Option(help="Over the seeds that all sources share: mean, max, or none to rank every prompt.")
]


@takes(
    bank=BankOption,
    where=BackboneOption,
    data=DataOption,
    recipe=RecipeOptions,
    runs=RunOptions,
    executor=ExecutorOption,
    out=JsonOption,
)
def train_source(
    context: typer.Context,
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Tasks, mixtures (glue, or sst2+mrpc), or paths of task files.")
    ] = None,
    *,
    mixture: Annotated[
        list[str] | None,
        typer.Option(help="One prompt for all of these: a named mixture, tasks joined by commas, or a TOML file."),
    ] = None,
    seeds: Seeds = 1,
    first_seed: FirstSeed = 0,
    start: Annotated[
        str, typer.Option(help="Start from this prompt of the bank, an address or a run, not from --init.")
    ] = "",
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    recipe: RecipeOptions,
    runs: RunOptions,
    executor: ExecutorOption,
    out: JsonOption,
) -> None:
    """Train prompts on source tasks and put their key and value into the bank.

    A run that the bank holds already is not trained again; one that was interrupted goes on where it was.
    """
    from bank.vectors import prompt_sha256
    from spot.cli.tools import prompt_of_bank
    from spot.prompts.made_for import check_backbone
    from spot.transfer.executors import data_summary
    from tasks import Split

    executor.check(context)
    if start:
        refuse_given(context, ["init"], "--start says where the prompt starts")
    learnt = find_learnable([*(tasks or ()), *(name.replace(",", "+") for name in mixture or ())])
    recipe.recipe(where.backbone)  # refused before anything is made
    with bank.open(create=True) as opened:
        begin = prompt_of_bank(start, opened) if start else None
        address = prompt_sha256(begin.prompt) if begin else None
        trainer = make_trainer(opened, where, data, recipe, runs, executor=executor)
        if begin:
            check_backbone(begin, trainer.backbone)
        seeds_wanted = range(first_seed, first_seed + seeds)
        wanted = [(task, trainer.spec(task, seed, "source", address)) for task in learnt for seed in seeds_wanted]
        stored = trainer.run_all([spec for _task, spec in wanted])
        rows = [
            {
                "task": task.name,
                "seed": spec.seed,
                "dev score": run.score,
                "most frequent answer": trainer.data(task).floor(Split.DEV),
                "steps": run.steps,
                "padding": data_summary(trainer.data(task), trainer.recipe)["padding share"],
                "seconds": round(run.seconds, 1),
                "run": run.digest[:12],
                "value": run.value[:12],
            }
            for (task, spec), run in zip(wanted, stored, strict=True)
        ]
        if out.json:
            print_json({"bank": str(opened), "backbone": trainer.backbone.fingerprint, "runs": rows})
            return
        print_rows(rows)
        say(f"in {opened}")


@takes(
    bank=BankOption,
    where=BackboneOption,
    data=DataOption,
    recipe=RecipeOptions,
    runs=RunOptions,
    executor=ExecutorOption,
    out=JsonOption,
)
def transfer(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="Target task: a name or the path of a task file.")],
    *,
    seeds: Seeds = 1,
    first_seed: FirstSeed = 0,
    top_k: Annotated[int, typer.Option(help="Sources tried.", min=1, max=WHOLE)] = 3,
    similarity: Similarity = "auto",
    aggregate: Aggregate = "mean",
    method: Annotated[
        str,
        typer.Option(
            help="best: train from each of the k best sources and keep the best on dev; average: from their weighted "
            "average; mixture: from a prompt trained on their tasks and the target together; generic: from --source; "
            "oracle: from every source; none: only without transfer."
        ),
    ] = "best",
    source: Annotated[str, typer.Option(help="Task or mixture of the bank that --method generic starts from.")] = "",
    source_file: Annotated[
        list[Path] | None, typer.Option(help="Task file of a source, for --method mixture; give it several times.")
    ] = None,
    baseline: Annotated[bool, typer.Option(help="Also train without transfer, at the same budget.")] = True,
    budget: Annotated[
        str,
        typer.Option(
            help="full: from every source to the end; halving: from all of them, and without transfer, for a little, "
            "and keep halving the field by dev score. For the methods best and oracle."
        ),
    ] = "full",
    allow_overlap: AllowOverlap = False,
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    recipe: RecipeOptions,
    runs: RunOptions,
    executor: ExecutorOption,
    out: JsonOption,
) -> None:
    """Find the best sources for a target, train from their values, compare with no transfer."""
    from spot.transfer.methods import METHODS
    from spot.transfer.transfer import TransferOptions, gain_of, run_transfers
    from tasks import get_learnable

    options = TransferOptions(
        method=method,
        similarity=similarity,
        top_k=top_k,
        aggregate=aggregate,
        baseline=baseline,
        budget=budget,
        source=source,
        allow_overlap=allow_overlap,
    )
    executor.check(context)
    refuse_given(context, METHODS[method].unused, f"method {method} {METHODS[method].why}")
    if not METHODS[method].reads_sources:
        refuse_given(context, ["source_file"], f"method {method} does not train on a source's data")
    task, *files = find_tasks([target, *map(str, source_file or ())])
    from_files = {one.name: one for one in files}
    with bank.open(write=True) as opened:
        trainer = make_trainer(opened, where, data, recipe, runs, executor=executor)
        results = run_transfers(
            trainer,
            task,
            seeds=range(first_seed, first_seed + seeds),
            options=options,
            find_task=lambda name: from_files.get(name) or get_learnable(name),
        )
        gain = gain_of(results)
        if out.json:
            shown = dataclasses.asdict(gain) | {"verdict": gain.verdict} if gain else None
            if shown:
                shown["most frequent answer"] = shown.pop("floor")
            print_json({"bank": str(opened), "transfers": [_transfer_document(r) for r in results], "gain": shown})
            return
        _show_transfers(task.name, results, options, recipe_steps=trainer.recipe.steps)
        if gain:
            say(gain.line())
        say(f"in {opened}; `spot bank transfers --task {task.name}` shows them again")


@takes(
    bank=BankOption,
    where=BackboneOption,
    data=DataOption,
    recipe=RecipeOptions,
    runs=RunOptions,
    out=JsonOption,
)
def retrieve(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="Task whose query is trained (or taken from the bank).")] = "",
    *,
    query: Annotated[
        Path | None, typer.Option(help="A query prompt [P, H] from a file (or PEFT folder) instead.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="How many to list; 0 lists all.", min=0, max=WHOLE)] = 0,
    similarity: Similarity = "auto",
    aggregate: Aggregate = "mean",
    seed: Annotated[int, typer.Option(help="Seed of the query.", min=0, max=SEED)] = 0,
    allow_overlap: AllowOverlap = False,
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    recipe: RecipeOptions,
    runs: RunOptions,
    out: JsonOption,
) -> None:
    """Rank the bank's sources for a task or a query prompt."""
    from spot.errors import RetrievalError
    from spot.prompts.files import read_prompt
    from spot.retrieval.measures import checked_measure
    from spot.retrieval.query import Query, partition_of
    from spot.retrieval.rank import Retriever, checked_aggregate
    from spot.transfer.sources import query_of, retriever_for

    if bool(target) == bool(query):
        raise RetrievalError("give either a TARGET task or --query FILE")
    if query:
        unused = (BackboneOption, DataOption, RecipeOptions, RunOptions, "seed", "allow_overlap")
        refuse_given(context, unused, "--query ranks a prompt as it is, with nothing trained or loaded")
    checked_measure(similarity)
    checked_aggregate(aggregate)
    with bank.open_or_copy() if target else bank.open() as opened:
        if query:
            file = read_prompt(query)
            prompt = Query(file.prompt, file.start)
            retriever = Retriever(opened, partition_of(file, opened))
        else:
            (task,) = find_tasks([target])
            trainer = make_trainer(opened, where, data, recipe, runs, surely=False)  # the bank may hold the query
            retriever = retriever_for(trainer, task, allow_overlap=allow_overlap)
            run = trainer.run(task, seed=seed, role="query")
            prompt = query_of(trainer, task, run)
        ranked = retriever.rank(prompt, measure=similarity, top_k=top_k or None, aggregate=aggregate)
        cautions = retriever.cautions(prompt, measure=similarity, aggregate=aggregate)
        if out.json:
            document = {
                "partition": str(retriever.partition),
                "similarity": retriever.measure(similarity, prompt),
                "cautions": cautions,
                "ranked": [dataclasses.asdict(r) for r in ranked],
            }
            print_json(document)
            return
        print_rows(_ranking_rows(ranked), title=f"sources in {opened}: {retriever.partition}")
        for caution in cautions:
            say(f"caution: {caution}")


def _show_transfers(
    target: str, results: Sequence[Transferred], options: TransferOptions, *, recipe_steps: int
) -> None:
    """Tables of rankings and runs, a seed each, and what a reader of all of them must know."""
    for result in results:
        if result.ranked:
            print_rows(_ranking_rows(result.ranked), title=f"sources for {target}, query of seed {result.seed}")
        print_rows(_candidate_rows(result), title="runs of the target")
        if options.budget != "full":
            say(f"{result.steps} steps for the choice, {len(result.candidates) * recipe_steps} by full runs")
        say()
    if results[0].left_out:
        names = ", ".join(results[0].left_out)
        say(f"left out: {names}, whose training texts may hold test examples of {target} (--allow-overlap)")
    for caution in dict.fromkeys(line for result in results for line in result.cautions):
        say(f"caution: {caution}")
    if options.method == "none":
        scores = ", ".join(f"{result.outcome_test.metrics['score']:.2f}" for result in results)
        say(f"{target}, test score by seed: {scores}; most frequent answer {results[0].floor['test']:.2f}")


def _ranking_rows(ranked: list[Ranked] | Any) -> list[dict[str, Any]]:
    return [
        {
            "rank": r.rank,
            "source": r.task,
            **{name.replace("_", " "): value for name, value in r.similarities.items()},
            **({"expected gain": f"{r.expected.low:+.1f} to {r.expected.high:+.1f}"} if r.expected else {}),
            "best seed": r.seed,
            "run": r.run[:12],
        }
        for r in ranked
    ]


def _candidate_rows(result: Transferred) -> list[dict[str, Any]]:
    rows = [
        {
            "start": f"value of {candidate.source.task} (seed {candidate.source.seed})",
            "weight": candidate.weight,
            "steps": candidate.steps,
            "dev": candidate.score,
            "test": result.outcome_test.metrics["score"] if i == result.chosen else None,
            "": "chosen" if i == result.chosen else "" if candidate.run else "stopped",
        }
        for i, candidate in enumerate(result.candidates)
    ]
    floor = result.floor
    rows.append(
        {
            "start": "most frequent answer",
            "weight": None,
            "steps": 0,
            "dev": floor["dev"],
            "test": floor["test"],
            "": "",
        }
    )
    if result.baseline and result.baseline_test:
        test, chosen = result.baseline_test.metrics["score"], result.outcome == result.baseline
        rows.append(
            {
                "start": "no transfer",
                "weight": None,
                "steps": result.baseline.steps,
                "dev": result.baseline.score,
                "test": test,
                "": "baseline, chosen" if chosen else "baseline",
            }
        )
    return rows


def _transfer_document(result: Transferred) -> dict[str, Any]:
    return {
        "transfer": result.digest,
        "target": result.target,
        "seed": result.seed,
        "ranked": [dataclasses.asdict(source) for source in result.ranked],
        "similarity": result.similarity,
        "cautions": list(result.cautions),
        "left out": list(result.left_out),
        "attempts": [
            {
                "source": candidate.source.task,
                "source run": candidate.source.run,
                "weight": candidate.weight,
                "score": candidate.score,
                "steps": candidate.steps,
                "run": dataclasses.asdict(candidate.run) if candidate.run else None,
            }
            for candidate in result.candidates
        ],
        "chosen": result.chosen,
        "outcome": dataclasses.asdict(result.outcome),
        "steps": result.steps,
        "most frequent answer": dict(result.floor),
        "outcome_test": dict(result.outcome_test.metrics),
        "baseline": dataclasses.asdict(result.baseline) if result.baseline else None,
        "baseline_test": dict(result.baseline_test.metrics) if result.baseline_test else None,
    }


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
    add("retrieve", epilog="Example: spot retrieve wn_living --similarity per_token --json")(retrieve)
