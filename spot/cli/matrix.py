"""``spot matrix``: many prompts against many tasks, without further training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.decoding_options import DecodingOptions
from spot.cli.evaluation import EvaluateBy, most_frequent
from spot.cli.groups import takes_groups
from spot.cli.options import BackboneOption, BankOption, DataOption, JsonOption, find_scored
from spot.cli.output import PARTIAL_DATA, print_json, print_rows, say, tell
from spot.cli.prompts import (
    BARE,
    INPUT,
    MaxInput,
    PromptsOption,
    asked,
    find_prompt,
    given_prompt,
    refuse_bank,
)
from spot.training.settings import WHOLE

if TYPE_CHECKING:
    from tasks.task import Example

LIMIT = 200
"""Examples of a task: a standard deviation of 3.5 points at most."""


@takes_groups
def matrix(
    context: typer.Context,
    tasks: Annotated[list[str], typer.Argument(help="Tasks, or paths of task files.")],
    *,
    prompt: PromptsOption = None,
    best: Annotated[
        bool, typer.Option("--best", help="The best run of every task in the bank, too.")
    ] = False,
    bare: Annotated[
        bool, typer.Option("--bare", help="The backbone without a prompt, too: a tuned model, say.")
    ] = False,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    limit: Annotated[
        int, typer.Option(help="Examples of a task; 0 uses all.", min=0, max=WHOLE)
    ] = LIMIT,
    evaluate_by: EvaluateBy = "auto",
    max_input: MaxInput = INPUT,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the table as a picture, a PNG file.")
    ] = None,
    decoding: DecodingOptions,
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    out: JsonOption,
) -> None:
    """Score many prompts on many tasks, in batches that all of them share; no prompt is trained further.

    Rows are prompts, columns tasks: what a prompt does off the diagonal is transfer without training (Lester et al.
    2021, section 5, evaluate this way under domain shift).
    """
    from spot.errors import SpotError
    from spot.inference.many import answer_all
    from spot.inference.predict import ranks
    from spot.study.plots import check_picture, write_heat_map
    from tasks.task import Split, take

    names = [*(prompt or []), *(_best_of(bank) if best else [])]
    if not names and not bare:
        raise SpotError("nothing to score: name prompts by --prompt, or take the bank's by --best")
    if not best:
        refuse_bank(context, names)
    if bare:
        names.append("")
    if plot:
        check_picture(plot)
    learnable = find_scored(tasks, split)
    files = [find_prompt(name, bank) for name in names]  # before what takes long
    examples = [take(data.examples(task, Split(split)), limit) for task in learnable]
    ranked = [ranks(evaluate_by, some) for some in examples]
    way = decoding.checked(context, ranked=all(ranked))
    backbone = where.load()
    sets = [
        asked(backbone, some, max_input=max_input, name=task.name)
        for task, some in zip(learnable, examples, strict=True)
    ]
    prompts = [given_prompt(backbone, file) for file in files]
    answers = answer_all(backbone, prompts, sets, method=evaluate_by, decoding=way)
    table = Table(
        sets={task.name: one.examples for task, one in zip(learnable, sets, strict=True)},
        scores={
            name: {
                task.name: dict(task.score(each.texts, one.examples))
                for task, one, each in zip(learnable, sets, row, strict=True)
            }
            for name, row in zip((name or BARE for name in names), answers, strict=True)
        },
        floor={
            task.name: most_frequent(task, one.examples)[1]
            for task, one in zip(learnable, sets, strict=True)
        },
        partial=[task.name for task in learnable if data.is_partial(task)],
    )
    if plot:
        write_heat_map(plot, table.cells(), list(table.scores), list(table.sets))
        tell(f"wrote {plot}")
    if out.json:
        print_json({"split": split} | table.document())
        return
    few = f", at most {limit} examples of a task" if limit else ""
    print_rows(table.rows(), title=f"scores on {split}{few}")
    if table.partial:
        say(f"partial data: {', '.join(table.partial)}")


@dataclasses.dataclass(frozen=True)
class Table:
    """Scores of prompts on tasks.

    Attributes:
        sets: the examples of every task.
        scores: metrics by prompt and task.
        floor: metrics of the most frequent answer by task.
        partial: tasks whose data is partial.
    """

    sets: Mapping[str, Sequence[Example]]
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]
    floor: Mapping[str, Mapping[str, float]]
    partial: Sequence[str]

    def rows(self) -> list[dict[str, Any]]:
        """A row a prompt, and one of the most frequent answers."""
        named = (*self.scores.items(), ("most frequent answer", self.floor))
        return [
            {"prompt": name} | {task: each["score"] for task, each in scores.items()}
            for name, scores in named
        ]

    def cells(self) -> list[list[float]]:
        """Scores alone, prompts by tasks."""
        return [[scores[task]["score"] for task in self.sets] for scores in self.scores.values()]

    def document(self) -> dict[str, Any]:
        """All of it for programs."""
        return {
            "examples": {task: len(examples) for task, examples in self.sets.items()},
            "scores": self.scores,
            "most frequent answer": self.floor,
            PARTIAL_DATA: self.partial,
        }


def _best_of(bank: BankOption) -> list[str]:
    """The best run of every task with sources, as bank names it."""
    from bank.listing import list_tasks

    with bank.connect() as engine:
        return [f"{row['task']}@best" for row in list_tasks(engine) if row["source"]]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "spot matrix mrpc quora --prompt mrpc@best --prompt quora@best --data-dir data"
    app.command("matrix", epilog=f"Example: {example}")(matrix)
