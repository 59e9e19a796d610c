"""Commands that use prompts, and ``doctor``."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from spot.cli.decoding_options import DecodingOptions
from spot.cli.groups import takes_groups
from spot.cli.options import (
    BackboneOption,
    BankOption,
    JsonOption,
)
from spot.cli.output import print_json, say, size, tell
from spot.cli.prompts import (
    INPUT,
    MaxInput,
    PromptOption,
    asked,
    find_prompt,
    given_prompt,
    given_texts,
    refuse_bank,
    tell_trained_lengths,
)

SUSPICIOUS = 10
"""Different texts to which the same answer is worth a word."""


@takes_groups
def predict_texts(
    context: typer.Context,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Inputs; without any, lines of stdin.")
    ] = None,
    *,
    prompt: PromptOption = "",
    choices: Annotated[
        str, typer.Option(help="Allowed answers, separated by commas; without, free text.")
    ] = "",
    max_input: MaxInput = INPUT,
    decoding: DecodingOptions,
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Answer texts with a prompt; inputs are in the task's own `key: text` form."""
    from spot.errors import SpotError
    from spot.inference.decoding import MAX_NEW_TOKENS
    from spot.inference.many import answer_all
    from tasks.task import Example

    refuse_bank(context, [prompt])
    inputs = given_texts(texts)
    labels = tuple(word.strip() for word in choices.split(",")) if choices else ()
    if choices and not (all(labels) and 1 < len(set(labels)) == len(labels)):
        raise SpotError(
            f"--choices {choices!r}: expected two different answers or more, as in --choices yes,no"
        )
    way = decoding.checked(context, ranked=bool(labels))
    examples = [Example(inputs=text, target="", choices=labels) for text in inputs]
    file = find_prompt(prompt, bank)  # before what takes long
    backbone = where.load()
    given = given_prompt(backbone, file)
    questions = asked(backbone, examples, max_input=max_input)
    tell_trained_lengths([file], questions.tokens)
    way = dataclasses.replace(way, max_new_tokens=way.max_new_tokens or MAX_NEW_TOKENS)
    ((answered,),) = answer_all(backbone, [given], [questions], decoding=way)
    answers = answered.texts
    if len(set(answers)) == 1 and len(set(inputs)) >= SUSPICIOUS:
        tell(
            f"the same answer to all {len(inputs)} texts; `spot eval` on labelled ones says whether the prompt has "
            "learnt its task"
        )
    if out.json:
        pairs = zip(inputs, answers, strict=True)
        print_json([{"input": text, "answer": answer} for text, answer in pairs])
        return
    for answer in answers:
        say(answer)


@takes_groups
def doctor(*, bank: BankOption, where: BackboneOption, out: JsonOption) -> None:
    """Check versions, devices, caches, the backbone and the bank; exits with 1 if something is wrong."""
    from bank import BankError
    from bank.integrity import verify
    from bank.location import shown_location
    from spot import paths
    from spot.backbone.placement import environment
    from spot.errors import SpotError

    facts: dict[str, Any] = environment()
    problems: list[str] = []
    try:
        cache = paths.cache_folder()
        facts["cache"] = f"{cache} ({size(_bytes_below(cache))})"
        paths.check_writable(cache)
    except SpotError as error:
        problems.append(f"cache: {error}")
    try:
        backbone = where.load()
        facts["backbone"] = (
            f"{backbone.name}, fingerprint {backbone.fingerprint}, width {backbone.width}"
        )
    except SpotError as error:
        problems.append(str(error))
    try:
        with bank.open() as opened:
            counts = opened.count_rows()
            facts["bank"] = (
                f"{opened}: {counts['run']} runs, {counts['prompt']} prompts, {counts['transfer']} transfers"
            )
            problems += verify(opened)
        with bank.open(write=True) as opened:
            opened.try_write()
    except BankError as error:
        if "no such file" in str(error):
            facts["bank"] = f"{shown_location(bank.bank)}: none yet"
        else:
            problems.append(str(error))
    if out.json:
        print_json({"facts": facts, "problems": problems})
    else:
        for name, value in facts.items():
            say(f"{name:22s} {value}")
        for problem in problems:
            say(f"problem: {problem}")
        if not problems:
            say("no problems found")
    if problems:
        raise typer.Exit(1)


def _bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder that can be looked into."""
    return sum(
        os.lstat(os.path.join(where, name)).st_size
        for where, _, names in os.walk(folder)
        for name in names
    )


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(
        "predict",
        epilog="Example: spot predict 'definition: a large wild cat' --prompt 1f3a9c0b --choices animal,plant",
    )(predict_texts)
    app.command("doctor", epilog="Example: spot doctor --bank bank.sqlite")(doctor)
