"""The settings of a recipe as data: each says what it is for, its bounds, and whether it shapes a key.

A recipe's checks, its record in the bank and the commands' options follow from them. Nothing heavy is imported here, so
that a command's help need not wait for it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

WHOLE = 2**31 - 1
"""The largest whole number of a setting: what NumPy, JAX and every database take."""

SEEDS = 10_000
"""The most seeds of one command."""

SEED = WHOLE - SEEDS
"""The largest first seed."""

LENGTH = 100_000
"""The longest prompt, input, target or batch."""

FORM_NAMES = (
    "prompt",
    "deep",
    "prefix",
    "prefix_encoder",
    "prefix_decoder",
    "prefix_cross",
    "infix",
    "suffix",
    "decoder",
    "attention",
)
SHARED_NAMES = ("", "multiply", "rank_one", "add", "concatenate")
EVALUATIONS = ("auto", "rank", "generate")
OPTIMIZERS = ("adafactor", "adamw")
CROSS_ENTROPY = "cross_entropy"
LOSSES = (CROSS_ENTROPY, "perceptron", "rank")
FALLING = ("linear", "cosine")
SCHEDULES = ("constant", *FALLING, "inverse_sqrt")
REGULAR, DOUBLING = "regular", "doubling"
SPACINGS = (REGULAR, DOUBLING)

SEARCHED = ("learning_rate", "init")
"""Settings that commands may search for: their options take the word ``AUTO``, which a recipe never holds."""

AUTO = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What a setting says of itself beside name, type and default.

    Attributes:
        help: what it is, as commands say it.
        shapes_key: whether it shapes a prompt up to its key step, so that keys of recipes that differ in it are never
            compared.
        later: the first release did not have it; it stands in a record only where it differs from its default, so that
            records made without it stay what they are. What came later shapes keys, but for what
            :data:`bank.identity.LATER_HARMLESS` names.
        least: smallest number.
        most: largest number.
        excluded: the one of these bounds that is not allowed itself.
        choices: all values of a name.
        option: its option of the command line, where that is not called as the field is.
        hidden: it has no option.
    """

    help: str
    shapes_key: bool
    later: bool = False
    least: float | None = None
    most: float | None = None
    excluded: float | None = None
    choices: tuple[str, ...] = ()
    option: str = ""
    hidden: bool = False

    def problem(self, value: Any) -> str:
        """What a number must be that this one is not; empty where it is in its bounds."""
        if self.least is not None and not value >= self.least:
            return f"must be at least {self.least}"
        if self.most is not None and not value <= self.most:
            return f"must be at most {self.most}"
        if self.excluded is not None and value == self.excluded:
            return f"must be {'above' if self.excluded == self.least else 'below'} {self.excluded}"
        return ""


def setting(default: Any, text: str, *, shapes_key: bool, **facts: Any) -> Any:
    """A dataclass's field that carries its :class:`Setting`."""
    about = Setting(help=text, shapes_key=shapes_key, **facts)
    return dataclasses.field(default=default, metadata={"setting": about})


def settings_of(group: Any) -> dict[str, Setting]:
    """What every field of a dataclass of settings says of itself, by name."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(group)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Adafactor as Lester et al. (2021, appendix A.1) run it for prompts, or AdamW."""

    name: str = setting(
        "adafactor", "adafactor or adamw.", shapes_key=True, choices=OPTIMIZERS, option="optimizer"
    )
    learning_rate: float = setting(
        0.3, "Learning rate (0.3).", shapes_key=True, least=0, most=WHOLE, excluded=0
    )
    schedule: str = setting(
        "constant", "constant, linear, cosine or inverse_sqrt.", shapes_key=True, choices=SCHEDULES
    )
    warmup_steps: int = setting(0, "Steps of linear warm-up.", shapes_key=True, least=0, most=WHOLE)
    weight_decay: float = setting(
        1e-5, "Weight decay (1e-5).", shapes_key=True, least=0, most=WHOLE
    )
    scale_by_parameter: bool = setting(
        False,
        "Adafactor scales updates by the size of what they change.",
        shapes_key=True,
        hidden=True,
    )
    factored: bool = setting(
        False, "Adafactor keeps factored statistics of matrices.", shapes_key=True, hidden=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeSettings:
    """All of a recipe but its optimiser.

    Defaults are those of Lester et al. (2021) and of SPoT (Vu et al. 2022): P = 100, Adafactor at a constant 0.3,
    batch 32, 30,000 steps, sampled-vocabulary start, key at step 10,000, evaluation every 500 steps.
    """

    form: str = setting(
        "prompt",
        "What is trained: prompt, deep (vectors before every layer), prefix (keys and values before those of every "
        "attention; prefix_encoder, prefix_decoder and prefix_cross of one kind of it, infix of what answers alone "
        "see), suffix (tokens behind the input), decoder (tokens before an encoder-decoder's answer), or attention "
        "(which spot transfer --method attention trains).",
        shapes_key=True,
        later=True,
        choices=FORM_NAMES,
    )
    mlp_width: int = setting(
        0,
        "Train through a network of so many hidden units, of which what it makes is kept; suits adamw. 0 without.",
        shapes_key=True,
        later=True,
        least=0,
        most=LENGTH,
    )
    shared: str = setting(
        "",
        "Tasks trained together have prompts of a shared part and one of their own: multiply, rank_one, add "
        "or concatenate (train-source).",
        shapes_key=True,
        later=True,
        choices=SHARED_NAMES,
    )
    together: str = setting(
        "",
        "The tasks that share, and a digest of their data.",
        shapes_key=True,
        later=True,
        hidden=True,
    )
    prompt_length: int = setting(100, "Virtual tokens P.", shapes_key=True, least=1, most=LENGTH)
    init: str = setting(
        "vocabulary", "vocabulary, labels, uniform, text:SENTENCE or file:PATH.", shapes_key=True
    )
    steps: int = setting(30_000, "Training steps.", shapes_key=False, least=1, most=WHOLE)
    """Of a schedule that decays they shape the key too: see :func:`bank.records.recipe_family`."""
    key_step: int = setting(
        10_000, "Step of the key snapshot.", shapes_key=True, least=1, most=WHOLE
    )
    batch_size: int = setting(32, "Examples a step.", shapes_key=True, least=1, most=LENGTH)
    evaluate_every: int = setting(
        500, "Steps between development evaluations.", shapes_key=False, least=1, most=WHOLE
    )
    evaluate_spacing: str = setting(
        REGULAR,
        "regular: evaluations after evaluate-every x 1, 2, 3, ... steps; doubling: x 1, 2, 4, ...",
        shapes_key=False,
        later=True,
        choices=SPACINGS,
    )
    evaluate_by: str = setting(
        "auto", "auto, rank (label likelihood) or generate.", shapes_key=False, choices=EVALUATIONS
    )
    patience: int = setting(
        0,
        "Stop after so many evaluations without gain; 0 never.",
        shapes_key=False,
        least=0,
        most=WHOLE,
    )
    max_input: int = setting(
        512, "Longest input in tokens, prompt not counted.", shapes_key=True, least=1, most=LENGTH
    )
    max_target: int = setting(
        64, "Longest target in tokens.", shapes_key=True, least=1, most=LENGTH
    )
    dropout: float = setting(
        0.0,
        "Share of features dropped in training (paper: 0.1).",
        shapes_key=True,
        later=True,
        least=0,
        most=1,
        excluded=1,
    )
    prompt_dropout: float = setting(
        0.0,
        "Share of the prompt's own numbers dropped in training, others at every step.",
        shapes_key=True,
        later=True,
        least=0,
        most=1,
        excluded=1,
    )
    loss: str = setting(
        CROSS_ENTROPY,
        "cross_entropy (of the target), or over label words: perceptron (where another one is likelier) or rank "
        "(softmax of their likelihood a token).",
        shapes_key=True,
        later=True,
        choices=LOSSES,
    )
    toward: str = setting(
        "",
        "A text that the prompt's tokens shall stay near to (Khashabi et al. 2021).",
        shapes_key=True,
        later=True,
    )
    toward_weight: float = setting(
        0.01,
        "Weight of their mean squared distance to it.",
        shapes_key=True,
        later=True,
        least=0,
        most=WHOLE,
    )
    z_loss: float = setting(
        0.0,
        "Weight of T5X's z-loss, such as 1e-4; 0 without.",
        shapes_key=True,
        later=True,
        least=0,
        most=WHOLE,
    )
    train_limit: int = setting(
        0,
        "Training examples used, drawn by a hash of each; 0 uses all.",
        shapes_key=False,
        least=0,
        most=WHOLE,
    )
    """A run's data is told apart by its digest."""
    dev_limit: int = setting(
        0, "Development examples used, likewise; 0 uses all.", shapes_key=False, least=0, most=WHOLE
    )
    sample: int = setting(
        0,
        "Which examples the limits draw: another number, another sample (Li and Liang 2021 draw five).",
        shapes_key=False,
        later=True,
        least=0,
        most=WHOLE,
    )
    curve_limit: int = setting(
        0,
        "Test examples answered at every evaluation too, for curves; they never select; 0 none.",
        shapes_key=False,
        later=True,
        least=0,
        most=WHOLE,
    )
