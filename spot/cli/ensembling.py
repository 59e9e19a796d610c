"""``spot ensemble``: several prompts of one task kept as one entry of the bank, which answers as one prompt does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.groups import takes_groups
from spot.cli.options import BackboneOption, BankOption, DataOption, JsonOption, find_scored
from spot.cli.output import print_json, print_rows, say
from spot.cli.prompts import (
    INPUT,
    MaxInput,
    PromptsOption,
    asked,
    find_prompt,
    given_prompt,
    tell_trained_lengths,
)
from spot.training.settings import WHOLE

if TYPE_CHECKING:
    import numpy as np

    from spot.inference.many import Given
    from spot.prompts.files import PromptFile


@takes_groups
def ensemble(
    task: Annotated[str, typer.Argument(help="The task of the prompts, or a task file's path.")],
    *,
    prompt: PromptsOption = None,
    by: Annotated[
        str,
        typer.Option(
            help="vote, likelihood or probability (means over the prompts), or weighted (learnt on dev)."
        ),
    ] = "vote",
    tag: Annotated[
        list[str] | None,
        typer.Option(help="A tag of the entry, by which TASK@TAG names it; may be given again."),
    ] = None,
    limit: Annotated[
        int, typer.Option(help="Development examples used; 0 uses all.", min=0, max=WHOLE)
    ] = 0,
    max_input: MaxInput = INPUT,
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    out: JsonOption,
) -> None:
    """Keep several prompts of a task as one entry of the bank, which answers as one prompt does.

    `spot eval`, `predict` and `matrix` take it by its run or tag, as any prompt (Lester et al. 2021, section 6). It is
    scored on development examples, on which the weights of `weighted` are learnt: score it on test by `spot eval`.
    """
    from bank.files import record_ensemble
    from bank.tags import check_tags
    from spot.errors import SpotError
    from spot.inference.ensembles import ENSEMBLES, WEIGHTED, Ensemble, Voters, weights_of
    from spot.inference.many import answer_all
    from spot.training.recipe import backbone_record
    from spot.training.task_record import task_record
    from tasks.choices import choose
    from tasks.task import Split, take

    choose(by, ENSEMBLES, "ensemble", error=SpotError)
    check_tags(tag or [])
    if len(prompt or []) < 2:
        raise SpotError("an ensemble is of two prompts or more; give --prompt again")
    names = list(prompt or [])
    (learnable,) = find_scored([task], Split.DEV)
    files = [find_prompt(name, bank) for name in names]  # before what takes long
    examples = take(data.examples(learnable, Split.DEV), limit)
    backbone = where.load()
    prompts = [given_prompt(backbone, file) for file in files]
    stacked = _stacked(names, prompts)
    questions = asked(backbone, examples, max_input=max_input, name=learnable.name)
    tell_trained_lengths(files, questions.tokens)
    voters = Voters([row[0] for row in answer_all(backbone, prompts, [questions])], examples)
    chosen = Ensemble(by, list(weights_of(voters)) if by == WEIGHTED else ())
    metrics = learnable.score(chosen.answers(voters).texts, examples)
    with bank.open(create=True) as opened:
        run = record_ensemble(
            opened,
            stacked,
            task=task_record(learnable),
            backbone=backbone_record(backbone),
            form=prompts[0].form,
            by=by,
            weights=chosen.weights,
            members=[_called(name, file) for name, file in zip(names, files, strict=True)],
            examples=questions.tokens.digest,
            metrics=metrics,
        )
        if tag:
            opened.tag(run, tag)
    rows = [
        {"of": name} | learnable.score(each.texts, examples)
        for name, each in zip(names, voters.answers, strict=True)
    ]
    rows.append({"of": f"{by} of {len(names)}"} | metrics)
    if out.json:
        print_json({"run": run, "task": learnable.name, "examples": len(examples), "dev": rows}
                   | {"by": by, "weights": list(chosen.weights), "tags": list(tag or ())})  # fmt: skip
        return
    print_rows(rows, title=f"{learnable.name} dev, {len(examples)} examples")
    if chosen.weights:
        say("weights " + ", ".join(f"{weight:.3g}" for weight in chosen.weights))
    named = f"{learnable.name}@{tag[0]}" if tag else run[:12]
    say(f"stored as run {run[:12]}; answer with it by --prompt {named}")


def _stacked(names: Sequence[str], prompts: Sequence[Given]) -> np.ndarray:
    """All prompts ``[N, ..., P, H]``.

    Raises:
        SpotError: of several forms or lengths, of which a bank keeps no stack, or one that is an ensemble already.
    """
    import numpy as np

    from spot.errors import SpotError

    for name, given in zip(names, prompts, strict=True):
        if given.ensemble is not None:
            raise SpotError(f"{name}: is an ensemble already; name its prompts")
        if (given.form, given.prompt.shape) != (prompts[0].form, prompts[0].prompt.shape):
            raise SpotError(
                f"{name}: of form {given.form} and shape {list(given.prompt.shape)}, {names[0]} of {prompts[0].form} "
                f"and {list(prompts[0].prompt.shape)}; an entry is of prompts of one form and length, and `spot eval "
                "--ensemble` takes any"
            )
    return np.stack([given.prompt for given in prompts])


def _called(name: str, file: PromptFile | None) -> str:
    """The run that a prompt is of, where its file says it, else what it was named by."""
    return file.metadata.get("run", name) if file else name


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "spot ensemble sst2 --prompt 1f3a9c0b --prompt 2b44c19d --by weighted --tag together"
    app.command("ensemble", epilog=f"Example: {example}")(ensemble)
