"""Commands that use prompts, and ``doctor``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.options import LENGTH, WHOLE, BackboneOption, BankOption, DataOption, JsonOption, find_tasks, takes
from spot.cli.output import print_json, print_rows, say, stdin_lines

if TYPE_CHECKING:
    import numpy as np

    from spot.backbone.load import Backbone

PromptOption = Annotated[
    str,
    typer.Option("--prompt", help="A prompt: file (.npy, .safetensors), or its address or run in the bank."),
]
EvaluateBy = Annotated[str, typer.Option(help="auto, rank (label likelihood) or generate.")]


def find_prompt(name: str, bank: BankOption, backbone: Backbone) -> np.ndarray:
    """A prompt by file, by address, or by the digest of a run (its value); none gives the bare backbone."""
    import numpy as np

    from bank import BankError
    from bank.files import read_prompt
    from spot.errors import PromptError

    if not name:
        return np.zeros((0, backbone.width), np.float32)
    if Path(name).suffix in (".npy", ".safetensors"):
        prompt = read_prompt(Path(name)).prompt
    else:
        with bank.open() as opened:
            made_for = opened.backbones_of(name)
            if made_for and backbone.fingerprint not in made_for:
                raise BankError(
                    f"prompt {name!r} was made for backbone {sorted(made_for)[0][:12]}, "
                    f"not for {backbone.name} ({backbone.fingerprint[:12]})"
                )
            prompt = opened.find_prompt(name)
    if prompt.shape[1] != backbone.width:
        raise PromptError(
            f"prompt {name!r} has width {prompt.shape[1]}, but backbone {backbone.name} has width "
            f"{backbone.width}; it was made for another model"
        )
    return prompt


@takes(bank=BankOption, where=BackboneOption, data=DataOption, out=JsonOption)
def evaluate(
    task: Annotated[str, typer.Argument(help="A task's name or the path of a task file.")],
    *,
    prompt: PromptOption = "",
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    limit: Annotated[int, typer.Option(help="Examples used; 0 uses all.", min=0, max=WHOLE)] = 0,
    evaluate_by: EvaluateBy = "auto",
    max_input: Annotated[int, typer.Option(help="Longest input in tokens.", min=1, max=LENGTH)] = 512,
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    out: JsonOption,
) -> None:
    """Score a prompt on a split of a task; without --prompt, the bare backbone."""
    from collections import Counter

    from spot.errors import SpotError
    from spot.inference.predict import predict
    from spot.training.task_data import take
    from tasks.pipeline import Lengths, tokenize
    from tasks.task import Split

    if split not in list(Split):
        raise SpotError(f"split {split!r} is not known; choose from {', '.join(Split)}")
    (found,) = find_tasks([task])
    examples = take(found.examples(Split(split), data_dir=data.folder), limit)
    backbone = where.load()
    tokens = tokenize(
        examples,
        backbone.tokenizer.encode,
        tokenizer_fingerprint=backbone.tokenizer.fingerprint,
        ends=backbone.config.ends,
        lengths=Lengths(inputs=max_input),
    )
    answers = predict(backbone, find_prompt(prompt, bank, backbone), examples, tokens, method=evaluate_by)
    majority = Counter(e.target for e in examples).most_common(1)[0][0]
    scores = found.score(answers, examples)
    constant = found.score([majority] * len(examples), examples)
    rows: list[dict[str, Any]] = [{"of": "prompt" if prompt else "bare backbone"} | scores]
    rows.append({"of": f"always {majority[:24]!r}"} | constant)
    if out.json:
        print_json({"task": found.name, "split": split, "examples": len(examples), "scores": scores,
                    "most_frequent_target": constant})  # fmt: skip
        return
    print_rows(rows, title=f"{found.name} {split}, {len(examples)} examples")


@takes(bank=BankOption, where=BackboneOption, out=JsonOption)
def predict_texts(
    texts: Annotated[list[str] | None, typer.Argument(help="Inputs; without any, lines of stdin.")] = None,
    *,
    prompt: PromptOption = "",
    choices: Annotated[str, typer.Option(help="Allowed answers, separated by commas; without, free text.")] = "",
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Answer texts with a prompt; inputs are in the task's own `key: text` form."""
    from spot.errors import SpotError
    from spot.inference.predict import predict
    from tasks.pipeline import Lengths, tokenize
    from tasks.task import Example

    inputs = list(texts) if texts else stdin_lines()
    if not inputs:
        raise SpotError("no input texts; give them as arguments or on stdin")
    labels = tuple(word.strip() for word in choices.split(",") if word.strip())
    examples = [Example(inputs=text, target="", choices=labels) for text in inputs]
    backbone = where.load()
    tokens = tokenize(
        examples,
        backbone.tokenizer.encode,
        tokenizer_fingerprint=backbone.tokenizer.fingerprint,
        ends=backbone.config.ends,
        lengths=Lengths(),
    )
    answers = predict(backbone, find_prompt(prompt, bank, backbone), examples, tokens, max_new_tokens=32)
    if out.json:
        print_json([{"input": text, "answer": answer} for text, answer in zip(inputs, answers, strict=True)])
        return
    for answer in answers:
        say(answer)


@takes(bank=BankOption, where=BackboneOption, out=JsonOption)
def doctor(*, bank: BankOption, where: BackboneOption, out: JsonOption) -> None:
    """Check versions, devices, caches, the backbone and the bank; exits with 1 if something is wrong."""
    from bank import BankError, queries
    from bank.integrity import verify
    from bank.location import shown_location
    from spot import paths
    from spot.errors import SpotError
    from spot.transfer.runs import environment

    facts: dict[str, Any] = environment()
    problems: list[str] = []
    try:
        cache = paths.cache_folder()
        facts["cache"] = f"{cache} ({_size(cache) / 1e6:.1f} MB)"
        paths.check_writable(cache)
    except SpotError as error:
        problems.append(f"cache: {error}")
    try:
        backbone = where.load()
        facts["backbone"] = f"{backbone.name}, fingerprint {backbone.fingerprint[:12]}, width {backbone.width}"
    except SpotError as error:
        problems.append(str(error))
    try:
        with bank.open() as opened:
            counts = queries.statistics(opened)
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


def _size(folder: Path) -> int:
    """Bytes of all files below a folder that can be looked into."""
    return sum(os.lstat(os.path.join(where, name)).st_size for where, _, names in os.walk(folder) for name in names)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("eval", epilog="Example: spot eval sst2 --prompt 1f3a9c0b --data-dir data")(evaluate)
    app.command(
        "predict",
        epilog="Example: spot predict 'definition: a large wild cat' --prompt 1f3a9c0b --choices animal,plant",
    )(predict_texts)
    app.command("doctor", epilog="Example: spot doctor --bank bank.sqlite")(doctor)
