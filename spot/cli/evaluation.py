"""``spot eval``: prompts, their ensembles and words in their place, scored on a split of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.decoding_options import DecodingOptions
from spot.cli.groups import refuse_given, takes_groups
from spot.cli.options import BackboneOption, BankOption, DataOption, JsonOption, find_scored
from spot.cli.output import PARTIAL_DATA, noted, print_json, print_rows, say
from spot.cli.prompts import (
    BARE,
    INPUT,
    MaxInput,
    PromptsOption,
    asked,
    find_prompt,
    given_prompt,
    refuse_bank,
    tell_trained_lengths,
)
from spot.training.settings import SEED, WHOLE

if TYPE_CHECKING:
    from spot.backbone.load import Backbone
    from spot.inference.diagnostics import Diagnostics
    from spot.inference.many import Asked, Given
    from spot.inference.predict import Answers
    from tasks.task import Example, Task

EvaluateBy = Annotated[str, typer.Option(help="auto, rank (label likelihood) or generate.")]

PANEL = "Words in place of a prompt"
SHOTS = 1_000
"""The most worked examples: what no model's inputs hold."""

ALL = "all"


@dataclasses.dataclass(frozen=True)
class DesignOptions:
    """Prompt design: what is said in words."""

    text_prompt: Annotated[
        str,
        typer.Option(help="An instruction in front of every input.", rich_help_panel=PANEL),
    ] = ""
    shots: Annotated[
        int,
        typer.Option(
            help="Worked examples of the training split in front of every input.",
            min=0,
            max=SHOTS,
            rich_help_panel=PANEL,
        ),
    ] = 0
    shots_seed: Annotated[
        int, typer.Option(help="Draws them.", min=0, max=SEED, rich_help_panel=PANEL)
    ] = 0

    def check(self, context: typer.Context) -> None:
        """Refuse a seed that draws nothing."""
        if not self.shots:
            refuse_given(context, ["shots_seed"], "there are no --shots to draw")

    def words(self) -> str:
        """What it is called; empty where nothing is said."""
        shots = f"{self.shots} worked example{'s' if self.shots > 1 else ''}" if self.shots else ""
        return " and ".join(
            part for part in ("instruction" if self.text_prompt else "", shots) if part
        )

    def applied(self, task: Task, data: DataOption, examples: Sequence[Example]) -> list[Example]:
        """Examples behind the words; those that are worked are not asked."""
        from spot.errors import SpotError
        from tasks.prompt_design import designed, worked
        from tasks.task import Split

        shown: list[Example] = []
        if self.shots:
            shown = worked(data.examples(task, Split.TRAIN), self.shots, self.shots_seed)
        left = [example for example in examples if example not in shown]
        if not left:
            raise SpotError(
                f"--shots {self.shots}: all {len(examples)} examples of the split are worked ones, which leaves none "
                "to ask; take fewer, or another --split"
            )
        return designed(left, self.text_prompt, shown)


@takes_groups
def evaluate(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="A task's name or the path of a task file.")],
    *,
    prompt: PromptsOption = None,
    ensemble: Annotated[
        list[str] | None,
        typer.Option(
            help="Put the prompts' answers together: vote, likelihood or probability (means over the prompts), "
            "weighted (learnt on dev), average (the mean prompt), or all; may be given several times."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    limit: Annotated[int, typer.Option(help="Examples used; 0 uses all.", min=0, max=WHOLE)] = 0,
    evaluate_by: EvaluateBy = "auto",
    max_input: MaxInput = INPUT,
    design: DesignOptions,
    decoding: DecodingOptions,
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    out: JsonOption,
) -> None:
    """Score prompts on a split of a task, and ensembles of them; without --prompt, the bare backbone."""
    from spot.errors import SpotError
    from spot.inference.ensembles import AVERAGE, WEIGHTED
    from spot.inference.many import answer_all
    from spot.inference.predict import ranks
    from tasks.task import Split, take

    names = prompt or [""]
    refuse_bank(context, names)
    design.check(context)
    ways = _ways(ensemble or [], names, split)
    (learnable,) = find_scored([task], split)
    files = [find_prompt(name, bank) for name in names]  # before what takes long

    def of(split: str) -> list[Example]:
        examples = take(data.examples(learnable, Split(split)), limit)
        return design.applied(learnable, data, examples)

    examples = of(split)
    ranked = ranks(evaluate_by, examples)
    way = decoding.checked(context, ranked=ranked)
    backbone = where.load()
    prompts = [given_prompt(backbone, file) for file in files]
    if ways and any(given.ensemble for given in prompts):
        raise SpotError("--ensemble: one of the prompts is an ensemble already; name its prompts")
    if ALL in (ensemble or []):
        ways = [way for way in ways if _can(way, prompts, ranked)]
    sets = [asked(backbone, examples, max_input=max_input, name=learnable.name)]
    if WEIGHTED in ways:
        sets.append(asked(backbone, of(Split.DEV), max_input=max_input, name=learnable.name))
    tell_trained_lengths(files, sets[0].tokens)
    mean = [_mean(prompts)] if AVERAGE in ways else []
    answers = answer_all(backbone, [*prompts, *mean], sets, method=evaluate_by, decoding=way)
    found = Evaluated(
        learnable,
        backbone,
        [_called(name, len(names), design.words()) for name in names],
        prompts,
        sets[0],
        [each[0] for each in answers[: len(prompts)]],
        dict(_together(ways, answers, len(prompts), sets)),
    )
    partial = {PARTIAL_DATA: True} if data.is_partial(learnable) else {}
    constant, floor = most_frequent(learnable, examples)
    if out.json:
        print_json({"task": learnable.name, "split": split, "examples": len(examples)}
                   | found.document(split)
                   | {"most frequent answer": floor, "most frequent text": constant}
                   | {"cut inputs": sets[0].tokens.cut, "decoding": way.options}
                   | ({"words": design.words()} if design.words() else {}) | partial)  # fmt: skip
        return
    rows = [
        *found.rows(),
        {"of": f"most frequent answer of {split}, {constant[:24]!r}"} | floor,
    ]
    title = f"{learnable.name} {split}, {len(examples)} examples"
    print_rows(noted([row | partial for row in rows]), title=title)
    for line in found.lines(split):
        say(line)


def _ways(asked_for: Sequence[str], names: Sequence[str], split: str) -> list[str]:
    """Ensembles by name.

    Raises:
        SpotError: an unknown one, fewer than two prompts, or weights that would be learnt on what they are scored on.
    """
    from spot.errors import SpotError
    from spot.inference.ensembles import AVERAGE, ENSEMBLES, WEIGHTED
    from tasks.choices import choose

    known = (*ENSEMBLES, AVERAGE)
    for way in asked_for:
        choose(way, (*known, ALL), "ensemble", error=SpotError)
    chosen = [way for way in known if way in asked_for or ALL in asked_for]
    if chosen and len(names) < 2:
        raise SpotError("--ensemble: an ensemble is of two prompts or more; give --prompt again")
    if WEIGHTED in chosen and split != "test":
        if ALL not in asked_for:
            raise SpotError("--ensemble weighted learns on dev; score it on test")
        chosen.remove(WEIGHTED)
    return chosen


def _can(way: str, prompts: Sequence[Given], ranked: bool) -> bool:
    """Whether an ensemble can be made: a mean of prompts of one form and length, all others but votes of answers that
    are ranked."""
    from spot.inference.ensembles import AVERAGE, VOTE

    return _alike(prompts) if way == AVERAGE else ranked or way == VOTE


def _alike(prompts: Sequence[Given]) -> bool:
    return len({(given.form, given.prompt.shape) for given in prompts}) == 1


def _called(name: str, count: int, words: str) -> str:
    """What a prompt among so many is called, with the words in front of its inputs."""
    called = (name if count > 1 else "prompt") if name else BARE
    return f"{called}, {words}" if words else called


def _together(
    ways: Sequence[str], answers: Sequence[Sequence[Answers]], count: int, sets: Sequence[Asked]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Ensembles by name, with what they answer.

    Args:
        ways: their names.
        answers: of ``count`` prompts to every set, and those of the mean prompt behind them where it answers too.
        count: of prompts.
        sets: what is scored, and where weights are learnt the examples for that.
    """
    from spot.inference.ensembles import AVERAGE, ENSEMBLES, WEIGHTED, Voters, weights_of

    voters = [
        Voters([each[number] for each in answers[:count]], one.examples)
        for number, one in enumerate(sets)
    ]
    for way in ways:
        if way == AVERAGE:
            yield way, answers[-1][0].texts
        else:
            weights = weights_of(voters[-1]) if way == WEIGHTED else ()
            yield way, ENSEMBLES[way](voters[0], weights)


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Answers of prompts and of their ensembles to a split of a task.

    Attributes:
        task: that scores.
        backbone: the frozen model.
        names: of the prompts.
        prompts: the same, read.
        asked: the split.
        answers: of every prompt.
        ensembles: what they answer, by name.
    """

    task: Task
    backbone: Backbone
    names: Sequence[str]
    prompts: Sequence[Given]
    asked: Asked
    answers: Sequence[Answers]
    ensembles: Mapping[str, Sequence[str]]

    def score(self, texts: Sequence[str]) -> dict[str, float]:
        """Metrics of answers."""
        return dict(self.task.score(list(texts), self.asked.examples))

    def rows(self) -> list[dict[str, Any]]:
        """A row a prompt and an ensemble."""
        named = zip(self.names, (each.texts for each in self.answers), strict=True)
        together = ((f"{way} of {len(self.names)}", texts) for way, texts in self.ensembles.items())
        return [{"of": name} | self.score(texts) for name, texts in (*named, *together)]

    def diagnostics(self, split: str) -> list[Diagnostics]:
        """What the answers of every prompt tell beside scores."""
        return [
            _diagnostics(self.backbone, prompt, split, self.asked, each)
            for prompt, each in zip(self.prompts, self.answers, strict=True)
        ]

    def lines(self, split: str) -> list[str]:
        """The same for readers, a line a prompt."""
        told = [each.line() for each in self.diagnostics(split)]
        if len(told) == 1:
            return told
        return [f"{name}: {line}" for name, line in zip(self.names, told, strict=True)]

    def document(self, split: str) -> dict[str, Any]:
        """All of it for programs: of one prompt as it is, of several in a list."""
        each = [
            {"scores": self.score(answers.texts), "diagnostics": told.document()}
            for answers, told in zip(self.answers, self.diagnostics(split), strict=True)
        ]
        if len(each) == 1:
            return each[0]
        return {
            "prompts": [{"prompt": name} | one for name, one in zip(self.names, each, strict=True)],
            "ensembles": {way: self.score(texts) for way, texts in self.ensembles.items()},
        }


def _mean(prompts: Sequence[Given]) -> Given:
    """The mean prompt.

    Raises:
        SpotError: prompts of several forms or lengths.
    """
    import numpy as np

    from spot.errors import SpotError
    from spot.inference.many import Given

    if not _alike(prompts):
        raise SpotError("--ensemble average: prompts of several forms or lengths have no mean")
    values = np.mean([given.prompt.astype(np.float64) for given in prompts], axis=0)
    return Given(values.astype(np.float32), prompts[0].form)


def most_frequent(task: Task, examples: Sequence[Example]) -> tuple[str, dict[str, float]]:
    """The most frequent answer to examples, and what it scores on them."""
    from tasks.task import most_frequent_target

    answer = most_frequent_target(examples)
    return answer, dict(task.score([answer] * len(examples), examples))


def _diagnostics(
    backbone: Backbone, given: Given, split: str, asked: Asked, answered: Answers
) -> Diagnostics:
    """What answers of a prompt tell beside scores."""
    from spot.inference.diagnostics import Diagnostics, chance_level, count_answers, mean_norm
    from spot.prompts.forms import FORMS

    examples, tokens = asked
    counted = count_answers(
        answered.texts, examples, ranked=answered.ranked, losses=answered.losses
    )
    states = given.prompt if FORMS[given.form].states else given.prompt[:0]
    return Diagnostics(
        split=split,
        answered=counted,
        chance=chance_level(examples, tokens).by_example,
        prompt_norm=mean_norm(states) / backbone.embedding_norm if states.size else None,
        inputs=len(tokens),
        cut=tokens.cut,
    )


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "spot eval sst2 --prompt 1f3a9c0b --data-dir data, or: spot eval wn_pos --shots 4"
    app.command("eval", epilog=f"Example: {example}")(evaluate)
