"""Commands that use prompts, and ``doctor``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.decoding_options import DecodingOptions
from spot.cli.groups import refuse_given, takes_groups
from spot.cli.options import (
    BackboneOption,
    BankOption,
    DataOption,
    JsonOption,
    find_tasks,
)
from spot.cli.output import (
    PARTIAL_DATA,
    errors,
    noted,
    print_json,
    print_rows,
    say,
    size,
    stdin_lines,
    tell,
)
from spot.training.settings import LENGTH, WHOLE

if TYPE_CHECKING:
    import numpy as np

    from bank import Bank
    from spot.backbone.load import Backbone
    from spot.inference.diagnostics import Diagnostics
    from spot.inference.predict import Answers
    from spot.prompts.files import PromptFile
    from tasks.task import Example, Task
    from tasks.tokenized import Tokenized

PromptOption = Annotated[
    str,
    typer.Option(
        "--prompt",
        help="A prompt: its address or run in the bank, or TASK@best, @latest or @TAG there; or a file (.npy, "
        ".safetensors, .pt, .bin) or PEFT folder.",
    ),
]
ENDINGS = (".npy", ".safetensors", ".pt", ".pth", ".bin")
"""Of files with prompts (:data:`spot.prompts.formats.READERS`, which loads NumPy)."""

EvaluateBy = Annotated[str, typer.Option(help="auto, rank (label likelihood) or generate.")]


INPUT = 512
"""Tokens of an input that are read, if not told otherwise (:class:`tasks.tokenize.Lengths`)."""

SUSPICIOUS = 10
"""Different texts to which the same answer is worth a word."""


def in_bank(prompt: str) -> bool:
    """Whether a prompt is named as a bank names it, by hexadecimal digits or ``TASK@TAG``; anything else is a path.

    What names a folder before it, or ends as files of prompts do, is a path also where it holds an ``@``.
    """
    from bank.names import is_version

    if is_version(prompt):
        return "/" not in prompt and not prompt.endswith(ENDINGS)
    return bool(prompt) and set(prompt) <= set("0123456789abcdef")


def find_prompt(name: str, bank: BankOption) -> PromptFile | None:
    """A prompt by its address or the digest of a run (its value), or by a path; ``None`` for the bare backbone."""
    from spot.prompts.files import read_prompt

    if not name:
        return None
    if not in_bank(name):
        return read_prompt(Path(name))
    with bank.open() as opened:
        return prompt_of_bank(name, opened)


def prompt_of_bank(name: str, bank: Bank) -> PromptFile:
    """A prompt by its address or the digest of a run (its value), as if it had been exported and read again."""
    from bank.files import exported
    from spot.prompts.files import PromptFile

    content = exported(bank, name)
    return PromptFile(Path(name), content.prompt, content.metadata, start=content.start)


def prompt_for(backbone: Backbone, file: PromptFile | None) -> np.ndarray:
    """The prompt ``[..., P, H]``, if it was not made for another backbone; none has no tokens."""
    import numpy as np

    from spot.prompts.initializers import check_fits
    from spot.prompts.made_for import check_backbone

    if file is None:
        return np.zeros((0, backbone.width), np.float32)
    file = file.for_width(backbone.width)
    check_backbone(file, backbone)
    return check_fits(
        file.prompt, backbone, file.prompt.shape[-2], form=file.form, where=str(file.path)
    )


def given_texts(texts: Sequence[str] | None) -> list[str]:
    """The arguments, or without any the lines of stdin.

    Raises:
        SpotError: neither has one.
    """
    from spot.errors import SpotError

    inputs = list(texts) if texts else stdin_lines()
    if not inputs:
        raise SpotError("no input texts; give them as arguments or on stdin")
    return inputs


def form_of(file: PromptFile | None) -> str:
    """What a file says that it is a prompt of."""
    return file.form if file else "prompt"


def refuse_bank(context: typer.Context, prompt: str) -> None:
    """Refuse ``--bank`` where no prompt comes from there."""
    if not in_bank(prompt):
        refuse_given(
            context,
            ["bank"],
            "the prompt is a file" if prompt else "there is no --prompt to look up",
        )


@takes_groups
def evaluate(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="A task's name or the path of a task file.")],
    *,
    prompt: PromptOption = "",
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    limit: Annotated[int, typer.Option(help="Examples used; 0 uses all.", min=0, max=WHOLE)] = 0,
    evaluate_by: EvaluateBy = "auto",
    max_input: Annotated[
        int, typer.Option(help="Longest input in tokens.", min=1, max=LENGTH)
    ] = INPUT,
    decoding: DecodingOptions,
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    out: JsonOption,
) -> None:
    """Score a prompt on a split of a task; without --prompt, the bare backbone."""
    from spot.errors import SpotError
    from spot.inference.predict import answer, ranks
    from spot.prompts.forms import FORMS
    from tasks.choices import choose
    from tasks.task import Split, take
    from tasks.written import require

    refuse_bank(context, prompt)
    choose(split, list(Split), "split", error=SpotError)
    (learnable,) = find_tasks([task])
    require(learnable.metrics)
    file = find_prompt(prompt, bank)  # before what takes long
    examples = take(data.examples(learnable, Split(split)), limit)
    way = decoding.checked(context, ranked=ranks(evaluate_by, examples))
    backbone = where.load()
    soft = prompt_for(backbone, file)
    tokens = _tokens(backbone, examples, max_input=max_input, name=learnable.name)
    if tokens.cut:
        errors().print(
            f"{tokens.cut} of {len(tokens)} inputs are cut at {max_input} tokens (--max-input)"
        )
    answered = answer(
        backbone, soft, examples, tokens, form=form_of(file), method=evaluate_by, decoding=way
    )
    partial = {PARTIAL_DATA: True} if data.is_partial(learnable) else {}
    scores = learnable.score(answered.texts, examples)
    most_frequent, floor = _floor(learnable, examples)
    states = soft if FORMS[form_of(file)].states else soft[:0]
    diagnostics = _diagnostics(backbone, states, split, examples, tokens, answered)
    if out.json:
        print_json({"task": learnable.name, "split": split, "examples": len(examples), "scores": scores,
                    "most frequent answer": floor, "cut inputs": tokens.cut,
                    "decoding": way.options, "diagnostics": diagnostics.document()} | partial)  # fmt: skip
        return
    rows = [
        {"of": "prompt" if prompt else "bare backbone"} | scores | partial,
        {"of": f"most frequent answer of {split}, {most_frequent[:24]!r}"} | floor | partial,
    ]
    print_rows(noted(rows), title=f"{learnable.name} {split}, {len(examples)} examples")
    say(diagnostics.line())


def _tokens(
    backbone: Backbone, examples: Sequence[Example], *, max_input: int = INPUT, name: str = ""
) -> Tokenized:
    """Examples as a backbone reads them."""
    from tasks.tokenize import Lengths, tokenize

    return tokenize(
        examples,
        backbone.tokenizer.encode,
        tokenizer_fingerprint=backbone.tokenizer.fingerprint,
        ends=backbone.config.ends,
        lengths=Lengths(inputs=max_input),
        name=name,
    )


def _floor(task: Task, examples: Sequence[Example]) -> tuple[str, dict[str, float]]:
    """The most frequent answer to examples, and what it scores on them."""
    from tasks.task import most_frequent_target

    answer = most_frequent_target(examples)
    return answer, dict(task.score([answer] * len(examples), examples))


def _diagnostics(
    backbone: Backbone,
    soft: np.ndarray,
    split: str,
    examples: Sequence[Example],
    tokens: Tokenized,
    answered: Answers,
) -> Diagnostics:
    """What answers of a prompt tell beside scores; ``soft[..., P, H]`` are its states, empty where it has none."""
    from spot.inference.diagnostics import Diagnostics, chance_level, count_answers, mean_norm

    counted = count_answers(
        answered.texts, examples, ranked=answered.ranked, losses=answered.losses
    )
    return Diagnostics(
        split=split,
        answered=counted,
        chance=chance_level(examples, tokens).by_example,
        prompt_norm=mean_norm(soft) / backbone.embedding_norm if soft.size else None,
        inputs=len(tokens),
        cut=tokens.cut,
    )


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
    decoding: DecodingOptions,
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Answer texts with a prompt; inputs are in the task's own `key: text` form."""
    from spot.errors import SpotError
    from spot.inference.decoding import MAX_NEW_TOKENS
    from spot.inference.predict import predict
    from tasks.task import Example

    refuse_bank(context, prompt)
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
    soft = prompt_for(backbone, file)
    tokens = _tokens(backbone, examples)
    way = dataclasses.replace(way, max_new_tokens=way.max_new_tokens or MAX_NEW_TOKENS)
    answers = predict(backbone, soft, examples, tokens, form=form_of(file), decoding=way)
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
    app.command("eval", epilog="Example: spot eval sst2 --prompt 1f3a9c0b --data-dir data")(
        evaluate
    )
    app.command(
        "predict",
        epilog="Example: spot predict 'definition: a large wild cat' --prompt 1f3a9c0b --choices animal,plant",
    )(predict_texts)
    app.command("doctor", epilog="Example: spot doctor --bank bank.sqlite")(doctor)
