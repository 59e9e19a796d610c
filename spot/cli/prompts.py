"""Prompts as commands are given them: of a bank or in files, and held against a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.groups import refuse_given
from spot.cli.options import BankOption
from spot.cli.output import stdin_lines, tell
from spot.training.settings import LENGTH

if TYPE_CHECKING:
    import numpy as np

    from bank import Bank
    from spot.backbone.load import Backbone
    from spot.inference.many import Asked, Given
    from spot.prompts.files import PromptFile
    from tasks.task import Example
    from tasks.tokenized import Tokenized

PromptOption = Annotated[
    str,
    typer.Option(
        "--prompt",
        help="A prompt: its address or run in the bank, or TASK@best, @latest or @TAG there; or a file (.npy, "
        ".safetensors, .pt, .bin) or PEFT folder.",
    ),
]
PromptsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        help="A prompt: its address or run in the bank, or TASK@best, @latest or @TAG there; or a file (.npy, "
        ".safetensors, .pt, .bin) or PEFT folder. May be given several times.",
    ),
]
ENDINGS = (".npy", ".safetensors", ".pt", ".pth", ".bin")
"""Of files with prompts (:data:`spot.prompts.formats.READERS`, which loads NumPy)."""


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
    """The prompt ``[..., P, H]``, if it was not made for another backbone; none has no tokens.

    Raises:
        PromptError: it was, it is of another shape, or there are several that answer together.
    """
    import numpy as np

    from spot.prompts.initializers import check_fits
    from spot.prompts.made_for import check_backbone

    if file is None:
        return np.zeros((0, backbone.width), np.float32)
    file = file.alone().for_width(backbone.width)
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


def tell_trained_lengths(files: Sequence[PromptFile | None], tokens: Tokenized) -> None:
    """Say where prompts are asked longer inputs than those that they were trained and scored on."""
    told = [file.recipe.get("max_input") for file in files if file]
    trained = min((length for length in told if isinstance(length, int)), default=None)
    longest = int(tokens.inputs.lengths.max(initial=0))
    if trained is not None and longest > trained:
        tell(
            f"inputs have up to {longest} tokens; the run cut them at {trained}, as --max-input {trained} does"
        )


def refuse_bank(context: typer.Context, prompts: Sequence[str]) -> None:
    """Refuse ``--bank`` where no prompt comes from there."""
    if not any(map(in_bank, prompts)):
        refuse_given(
            context,
            ["bank"],
            "the prompt is a file" if any(prompts) else "there is no --prompt to look up",
        )


def given_prompt(backbone: Backbone, file: PromptFile | None) -> Given:
    """The same with its form, or all of several that answer together.

    Raises:
        PromptError: as :func:`prompt_for`, or a way to answer together that is not known.
    """
    import numpy as np

    from spot.errors import PromptError
    from spot.inference.ensembles import ENSEMBLES, Ensemble
    from spot.inference.many import Given
    from tasks.choices import choose

    if file is None or file.ensemble is None:
        return Given(prompt_for(backbone, file), form_of(file))
    by, weights = file.ensemble
    choose(by, ENSEMBLES, f"{file.path}: ensemble", error=PromptError)
    prompts = [prompt_for(backbone, one) for one in file.apart()]
    return Given(np.stack(prompts), file.form, ensemble=Ensemble(by, weights))


INPUT = 512
"""Tokens of an input that are read, if not told otherwise (:class:`tasks.tokenize.Lengths`)."""

MaxInput = Annotated[int, typer.Option(help="Longest input in tokens.", min=1, max=LENGTH)]

BARE = "bare backbone"
"""What answers without a prompt."""


def asked(
    backbone: Backbone, examples: Sequence[Example], *, max_input: int = INPUT, name: str = ""
) -> Asked:
    """Examples as a backbone reads them; says how many inputs are cut."""
    from spot.inference.many import Asked
    from tasks.tokenize import Lengths, tokenize

    tokens = tokenize(
        examples,
        backbone.tokenizer.encode,
        tokenizer_fingerprint=backbone.tokenizer.fingerprint,
        around=backbone.config.around,
        lengths=Lengths(inputs=max_input),
        name=name,
    )
    if tokens.cut:
        where = f"{name}: " if name else ""
        tell(
            f"{where}{tokens.cut} of {len(tokens)} inputs are cut at {max_input} tokens (--max-input)"
        )
    return Asked(examples, tokens)
