"""What answers, losses, prompt and inputs tell of a run or an evaluation, beyond its score, and what to try next.

All of it is computed from answers that were found anyway: there is no second pass over data.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tasks.task import Example
from tasks.tokenized import Tokenized

NAMED = 20
"""Most different answers of free text that are counted by name; of labels all are."""

SHOWN = 3
"""Most answers that a line names."""

KINDS = 16
"""Most different sets of choices that are labels of tasks; where there are more, an example's choices are its own."""

FAR = 30.0
"""Mean norm of a prompt's tokens, in those of the embedding's rows, from which it is called far out."""

NEAR = 0.05
"""Distance from its start, likewise, up to which a prompt has hardly moved."""

AT_CHANCE = 0.95
"""Share of the chance level from which a loss is said to be at it."""

FEW_OUTSIDE = 0.02
"""Share of answers outside the labels that is not worth a word."""

FEW_CUT = 0.01
"""Share of inputs cut, or of targets, that is not worth a word."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answered:
    """Answers to the examples of a split, counted.

    Attributes:
        examples: how many.
        ranked: whether answers are choices of highest likelihood; else they were generated.
        predicted: how many examples each answer was given to, the most frequent first. Answers are named by their
            texts where examples share their choices, and else by their place among these (``choice 1``); those outside
            the choices are none of them. Of free text, the :data:`NAMED` most frequent.
        true: likewise of the targets.
        different: different answers, those outside the choices included.
        outside: answers that are none of their example's choices; ``None`` where answers are free.
        one_class: whether all examples with the same choices got one answer, though their targets differ.
        loss: mean loss a target token over examples, each counting alike; ``None`` where it is not known.
    """

    examples: int
    ranked: bool
    predicted: Mapping[str, int]
    true: Mapping[str, int]
    different: int
    outside: int | None
    one_class: bool
    loss: float | None = None


def count_answers(
    answers: Sequence[str],
    examples: Sequence[Example],
    *,
    ranked: bool,
    losses: np.ndarray | None = None,
) -> Answered:
    """Count what was answered to ``examples``.

    Args:
        answers: one an example.
        examples: with their targets and choices.
        ranked: whether choices were ranked.
        losses: ``[n]`` float, mean loss a target token of every example, where it is known.
    """
    free = not all(example.choices for example in examples)
    name = _namer(examples, free=free)
    predicted = collections.Counter(
        name(example, answer)
        for example, answer in zip(examples, answers, strict=True)
        if free or answer in example.choices
    )
    true = collections.Counter(name(example, example.target) for example in examples)
    outside = sum(a not in e.choices for e, a in zip(examples, answers, strict=True))
    most = NAMED if free else None
    return Answered(
        examples=len(examples),
        ranked=ranked,
        predicted=dict(predicted.most_common(most)),
        true=dict(true.most_common(most)),
        different=len(predicted) if free else len(predicted) + bool(outside),
        outside=None if free else outside,
        one_class=_one_class(answers, examples, name),
        loss=None if losses is None or not np.isfinite(losses).all() else float(np.mean(losses)),
    )


Namer = Callable[[Example, str], str]
"""What an example's answer is counted as."""


def _namer(examples: Sequence[Example], *, free: bool) -> Namer:
    """Texts where choices are shared; the place among them where every example has its own."""
    if free or shares_choices(examples):
        return lambda _example, answer: answer

    def place(example: Example, answer: str) -> str:
        return (
            f"choice {example.choices.index(answer) + 1}" if answer in example.choices else answer
        )

    return place


def shares_choices(examples: Sequence[Example]) -> bool:
    """Whether choices are labels of a task, or of a few tasks, and no texts of each example's own."""
    kinds = {example.choices for example in examples}
    return () not in kinds and len(kinds) <= min(KINDS, max(1, len(examples) // 2))


def _one_class(answers: Sequence[str], examples: Sequence[Example], name: Namer) -> bool:
    """Whether a constant answer was given to all examples of every task whose targets differ."""
    shared = shares_choices(examples)
    given: dict[Any, set[str]] = collections.defaultdict(set)
    wanted: dict[Any, set[str]] = collections.defaultdict(set)
    for example, answer in zip(examples, answers, strict=True):
        group = example.choices if shared else ()
        given[group].add(name(example, answer))
        wanted[group].add(name(example, example.target))
    varied = [group for group, targets in wanted.items() if len(targets) > 1]
    return bool(varied) and all(len(given[group]) == 1 for group in varied)


# -- the chance level ----------------------------------------------------------------------------------------


class Chance(NamedTuple):
    """The loss a target token of who knows how often each target comes, and nothing of the inputs.

    Attributes:
        by_example: where examples count alike, as in a development loss.
        by_token: where target tokens count alike, as in the training loss.
    """

    by_example: float
    by_token: float


def chance_level(examples: Sequence[Example], tokens: Tokenized) -> Chance:
    """The chance level of a split's loss, in nats a target token.

    Where examples share their choices, target y of ``L_y`` tokens (its end token included) that a share ``p_y`` of the
    examples with the same choices has costs ``-ln p_y`` in all: once a label's first tokens have told it from the
    others, its other tokens are certain. The mean over examples is ``sum_y p_y (-ln p_y) / L_y``; that over tokens
    ``sum_y p_y (-ln p_y) / sum_y p_y L_y``, the entropy of the labels by their mean length. Two equally frequent
    labels of two tokens: ``ln(2) / 2 = 0.35``; of one token, ``ln(2)``.

    Elsewhere a token t that makes up a share ``q_t`` of all target tokens costs ``-ln q_t``: the loss of a unigram
    model of the targets.
    """
    lengths = np.maximum(tokens.targets.lengths, 1)
    costs = _label_costs(examples) if shares_choices(examples) else _unigram_costs(tokens)
    return Chance(float((costs / lengths).mean()), float(costs.sum() / lengths.sum()))


def _label_costs(examples: Sequence[Example]) -> np.ndarray:
    """``[n]``: minus the logarithm of each target's share among examples with the same choices."""
    targets = collections.Counter((example.choices, example.target) for example in examples)
    groups = collections.Counter(example.choices for example in examples)
    shares = [targets[e.choices, e.target] / groups[e.choices] for e in examples]
    return -np.log(shares)


def _unigram_costs(tokens: Tokenized) -> np.ndarray:
    """``[n]``: minus the logarithms of the shares of each target's tokens, added up."""
    _, places, counts = np.unique(tokens.targets.ids, return_inverse=True, return_counts=True)
    costs = -np.log(counts / counts.sum())[places]
    sums = np.concatenate([np.zeros(1), np.cumsum(costs)])
    return np.asarray(np.diff(sums[tokens.targets.starts]))


# -- the whole -----------------------------------------------------------------------------------------------


def mean_norm(tokens: np.ndarray) -> float:
    """Mean Euclidean norm of tokens ``[..., H]``."""
    return float(np.linalg.norm(np.asarray(tokens, np.float64), axis=-1).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """What there is to say of a run or an evaluation beyond its score; what is not known is ``None``.

    Attributes:
        split: which was answered.
        answered: how.
        chance: chance level of the answers' loss, see :func:`chance_level`.
        training_loss: mean loss a target token of the steps before the value's evaluation.
        training_chance: its chance level.
        prompt_norm: mean norm of the prompt's tokens, in mean norms of the embedding's rows.
        moved: mean distance of its tokens from those that the run started from, likewise.
        from_text: root mean square distance of its tokens from the text that they should stay near to, likewise.
        inputs: examples whose inputs were read: of training for a run, of the split for an evaluation.
        cut: how many of them were too long and were cut.
        cut_targets: how many of their targets were.
        loss_split: whose loss and chance level these are, where it is another split that was answered.
    """

    split: str
    answered: Answered
    chance: float | None = None
    training_loss: float | None = None
    training_chance: float | None = None
    prompt_norm: float | None = None
    moved: float | None = None
    from_text: float | None = None
    inputs: int = 0
    cut: int = 0
    cut_targets: int = 0
    loss_split: str = ""

    @property
    def loss(self) -> tuple[float, float] | None:
        """The loss that is known and its chance level: that of the answers, else that of training."""
        if self.answered.loss is not None and self.chance is not None:
            return self.answered.loss, self.chance
        if self.training_loss is not None and self.training_chance is not None:
            return self.training_loss, self.training_chance
        return None

    @property
    def at_chance(self) -> bool:
        """Whether its loss is no better than that of who has not seen the inputs."""
        return self.loss is not None and self.loss[0] >= AT_CHANCE * self.loss[1]

    @property
    def outside_share(self) -> float | None:
        """Share of answers outside the labels."""
        answered = self.answered
        return None if answered.outside is None else answered.outside / answered.examples

    @property
    def findings(self) -> list[Finding]:
        """What is notable, the worst first."""
        return [finding for rule in RULES if (finding := rule(self))]

    def record(self) -> dict[str, Any]:
        """As plain data, from which :meth:`from_record` makes it again."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Diagnostics | None:
        """From what a bank holds; ``None`` where that is none, or of another version."""
        try:
            return cls(**{**record, "answered": Answered(**record["answered"])})
        except (TypeError, KeyError):
            return None

    def document(self) -> dict[str, Any]:
        """For programs: all of it, with shares and findings."""
        findings = self.findings
        return {
            **self.record(),
            "outside_share": self.outside_share,
            "cut_share": self.cut / self.inputs if self.inputs else 0.0,
            "notable": [finding.what for finding in findings],
            "try": list(dict.fromkeys(step for finding in findings for step in finding.tries)),
        }

    def line(self) -> str:
        """For readers: the essentials, then what is notable and what to try."""
        essentials = "; ".join(part for part in (_dealt(self), _losses(self), _norms(self)) if part)
        return ". ".join([essentials, *(finding.sentence() for finding in self.findings)])


class Finding(NamedTuple):
    """Something notable, and what to try, the likeliest first."""

    what: str
    tries: Sequence[str] = ()

    def sentence(self) -> str:
        what = self.what[:1].upper() + self.what[1:]
        return f"{what}: try {', '.join(self.tries)}" if self.tries else what


# -- findings ------------------------------------------------------------------------------------------------


def _answers_one_class(facts: Diagnostics) -> Finding | None:
    """The prompt says the same to every input."""
    if not facts.answered.one_class:
        return None
    (answer, *_rest) = [*facts.answered.predicted, "something outside its labels"]
    known = len(facts.answered.predicted) < 2
    what = f"answers one class for all{f' ({answer!r})' if known else ''}"
    return Finding(what, remedies(facts))


REMEDIES: Sequence[tuple[Callable[[Diagnostics], bool], str]] = (
    (
        lambda facts: (facts.prompt_norm or 0) >= FAR,
        "a lower --learning-rate (its prompt lies far outside the embedding)",
    ),
    (
        lambda facts: facts.moved is not None and facts.moved <= NEAR,
        "a higher --learning-rate (its prompt has hardly moved)",
    ),
    (
        lambda facts: facts.at_chance,
        "more --steps or another --learning-rate (its loss is at chance level)",
    ),
    (
        lambda facts: facts.loss is not None and not facts.at_chance,
        "more --steps (its loss is below chance level, so it is learning)",
    ),
    (lambda facts: not facts.answered.ranked and _labelled(facts), "--evaluate-by rank"),
    (lambda facts: True, "--learning-rate auto"),
    (lambda facts: _labelled(facts), "--init labels"),
)
"""What may help a run that answers one class for all, and when that is worth trying: the likeliest first."""


def _labelled(facts: Diagnostics) -> bool:
    return facts.answered.outside is not None


def remedies(facts: Diagnostics) -> list[str]:
    """Those of :data:`REMEDIES` whose condition holds."""
    return [remedy for fits, remedy in REMEDIES if fits(facts)]


def _answers_outside(facts: Diagnostics) -> Finding | None:
    share = facts.outside_share
    if share is None or share <= FEW_OUTSIDE:
        return None
    tries = ["more --steps", *([] if facts.answered.ranked else ["--evaluate-by rank"])]
    what = f"{facts.answered.outside} of {facts.answered.examples} answers are outside the labels"
    return Finding(what, tries)


def _loss_at_chance(facts: Diagnostics) -> Finding | None:
    """Where the answers tell as much already, nothing."""
    if not facts.at_chance or facts.answered.one_class:
        return None
    return Finding("its loss is at chance level", ["more --steps", "--learning-rate auto"])


def _inputs_cut(facts: Diagnostics) -> Finding | None:
    if facts.cut <= FEW_CUT * facts.inputs:
        return None
    return Finding(f"{facts.cut} of {facts.inputs} inputs were cut", ["a larger --max-input"])


def _targets_cut(facts: Diagnostics) -> Finding | None:
    if facts.cut_targets <= FEW_CUT * facts.inputs:
        return None
    what = f"{facts.cut_targets} of {facts.inputs} targets were cut"
    return Finding(what, ["a larger --max-target"])


RULES: Sequence[Callable[[Diagnostics], Finding | None]] = (
    _answers_one_class,
    _answers_outside,
    _loss_at_chance,
    _inputs_cut,
    _targets_cut,
)
"""What can be notable, the worst first."""


# -- the line ------------------------------------------------------------------------------------------------


def _dealt(facts: Diagnostics) -> str:
    """Predicted against true shares of the most frequent answers."""
    answered = facts.answered
    if answered.outside is None:
        return f"{facts.split}: {answered.different} different answers to {answered.examples}"
    most = sorted(answered.true, key=lambda name: -answered.predicted.get(name, 0))
    shares = [
        f"{_short(name)} {_percent(answered.predicted.get(name, 0), answered)} "
        f"({_percent(answered.true[name], answered)})"
        for name in most[:SHOWN]
    ]
    more = f", {len(most) - SHOWN} more" if len(most) > SHOWN else ""
    return f"{facts.split} answers (true): {', '.join(shares)}{more}"


def _percent(count: int, answered: Answered) -> str:
    return f"{100 * count / answered.examples:.0f} %"


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:23]}…"


def _losses(facts: Diagnostics) -> str:
    if facts.loss is None:
        return ""
    loss, chance = facts.loss
    of = "training" if facts.answered.loss is None else facts.loss_split
    return f"{of} loss {loss:.2f}, chance {chance:.2f}".lstrip()


def _norms(facts: Diagnostics) -> str:
    if facts.prompt_norm is None:
        return ""
    moved = "" if facts.moved is None else f", moved {facts.moved:.2g}"
    text = "" if facts.from_text is None else f", {facts.from_text:.2g} from its text"
    return f"prompt {facts.prompt_norm:.2g} times the embedding's norm{moved}{text}"
