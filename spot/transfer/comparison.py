"""One task by every system there is: words alone, trained prompts of each form, prompts from other tasks, and all
weights (Lester et al. 2021, figures 1 and 4)."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from bank import StoredRun
from spot.backbone.load import Backbone
from spot.inference.predict import predict
from spot.prompts.forms import FORMS, OWN
from spot.prompts.reparameterization import trainable
from spot.retrieval.bootstrap import Estimate
from spot.training.defaults import share_of_form
from spot.training.model_tuning import tune_model, tuning_digest, tuning_step
from spot.training.optimizers import Optimizer
from spot.training.prompt_tuning import step_of
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, SplitData, TaskData
from spot.transfer.executors import Reporters
from spot.transfer.gain import score_interval
from spot.transfer.methods import METHODS, mixture_of
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions, Transferred, run_transfers
from tasks.prompt_design import designed, worked
from tasks.task import Example, Split, Task, most_frequent_target
from tasks.tokenize import Lengths, tokenize
from tasks.tokenized import Tokenized

DESIGNED = 512
"""Tokens of an input with words in front of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared.

    Attributes:
        trainer: of the backbone, its bank, and the recipe that all systems that train follow.
        task: the target.
        seeds: of every system.
        shots: worked examples of prompt design.
        options: of transfer.
        tuning: how all weights are trained.
        beside: tasks on which one model is tuned together with the target.
        reporters: gives the tuning of every model its progress sink.
    """

    trainer: Trainer
    task: Task
    seeds: Sequence[int]
    shots: int
    options: TransferOptions
    tuning: Optimizer
    beside: Sequence[Task] = ()
    reporters: Reporters = lambda _title: None

    @property
    def test(self) -> SplitData:
        return self.trainer.task_data(self.task)[Split.TEST]


class Outcome(NamedTuple):
    """What a system answers to the test split.

    Attributes:
        answers: a sequence a seed.
        trained: numbers that it trains.
        kept: numbers that it keeps of a task, the best run's.
        state: bytes that training holds beside the model, for one run: what trains, gradient, optimiser's state.
        steps: optimiser steps a seed, of everything that it trains for the target.
        seconds: of training a seed on average, NaN where a bank had the runs already.
    """

    answers: Sequence[Sequence[str]]
    trained: int = 0
    kept: int = 0
    state: int = 0
    steps: float = 0.0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A system in the table.

    Attributes:
        system: its name.
        score: mean test score with its interval over seeds and examples.
        scores: one a seed.
        outcome: what it answered, and what it cost.
        share: of the model's numbers that it trains.
    """

    system: str
    score: Estimate
    scores: Sequence[float]
    outcome: Outcome
    share: float


def most_frequent(comparison: Comparison) -> Outcome:
    """Always the most frequent training answer."""
    data = comparison.trainer.task_data(comparison.task)
    answer = most_frequent_target(data[Split.TRAIN].examples)
    return Outcome([[answer] * len(comparison.test.examples)])


def zero_shot(comparison: Comparison) -> Outcome:
    """The bare backbone."""
    return Outcome([_bare(comparison, comparison.test.examples)])


def few_shot(comparison: Comparison) -> Outcome:
    """The bare backbone behind worked examples, drawn by each seed (prompt design)."""
    train = comparison.trainer.task_data(comparison.task)[Split.TRAIN].examples
    shown = [worked(train, min(comparison.shots, len(train)), seed) for seed in comparison.seeds]
    return Outcome(
        [_bare(comparison, designed(comparison.test.examples, "", shots)) for shots in shown]
    )


def _bare(comparison: Comparison, examples: Sequence[Example]) -> list[str]:
    """What the bare backbone answers; words in front of an input are not cut with it."""
    backbone, recipe = comparison.trainer.backbone, comparison.trainer.recipe
    tokens = tokenize(
        examples,
        backbone.tokenizer.encode,
        tokenizer_fingerprint=backbone.tokenizer.fingerprint,
        around=backbone.config.around,
        lengths=Lengths(inputs=max(recipe.max_input, DESIGNED), targets=recipe.max_target),
    )
    return _without_prompt(backbone, examples, tokens, recipe)


def _without_prompt(
    backbone: Backbone, examples: Sequence[Example], tokens: Tokenized, recipe: Recipe
) -> list[str]:
    nothing = np.zeros((0, backbone.width), np.float32)
    return predict(backbone, nothing, examples, tokens, method=recipe.evaluate_by)


def trained_form(form: str) -> Callable[[Comparison], Outcome]:
    """Prompts of a form, trained on the target alone, at the share of the recipe's rate that suits it."""

    def system(comparison: Comparison) -> Outcome:
        recipe = comparison.trainer.recipe
        if form != recipe.form:
            share = share_of_form(form) / share_of_form(recipe.form)
            rate = float(f"{share * recipe.optimizer.learning_rate:.2g}")
            recipe = recipe.changed({"form": form, "learning_rate": rate})
        trainer = comparison.trainer.alone(recipe)
        specs = [trainer.spec(comparison.task, seed, "baseline") for seed in comparison.seeds]
        runs = trainer.run_all(specs)
        tested = trainer.test_all(comparison.task, runs)
        shape = FORMS[form].shape(trainer.backbone.config, recipe.prompt_length)
        return Outcome(
            [evaluation.answers for evaluation in tested],
            **_cost_of(trainer.backbone, recipe, shape),
            steps=float(np.mean([run.steps for run in runs])),
            seconds=float(np.mean([run.seconds for run in runs])),
        )

    return system


def _cost_of(backbone: Backbone, recipe: Recipe, shape: Sequence[int]) -> dict[str, int]:
    """What a prompt ``[..., P, H]`` of a recipe costs, as an :class:`Outcome` says it; sources in it do not train."""
    trained = trainable(np.zeros(shape, np.float32), recipe.mlp_width, 0, shared=recipe.shared)
    state = step_of(backbone, recipe).state_bytes(trained)
    own = (OWN, *shape[1:]) if recipe.form == "attention" else shape
    return {"trained": math.prod(own), "kept": math.prod(shape), "state": state}


def transferred(name: str) -> Callable[[Comparison], Outcome]:
    """A method of transfer from the most similar sources: ``best`` on dev of runs from each is SPoT."""

    def system(comparison: Comparison) -> Outcome:
        options = dataclasses.replace(comparison.options, method=name, baseline=False)
        trainer, method = comparison.trainer, METHODS[name]
        results = run_transfers(trainer, comparison.task, seeds=comparison.seeds, options=options)
        runs = [_trained_for(result) for result in results]
        recipe = method.training(trainer).recipe
        shape = trainer.bank.prompt(results[0].chosen_run.value).shape
        return Outcome(
            [result.outcome_test.answers for result in results],
            **_cost_of(trainer.backbone, recipe, shape),
            steps=float(np.mean([result.steps + result.query.steps for result in results])),
            seconds=float(np.mean([sum(run.seconds for run in each) for each in runs])),
        )

    return system


def _trained_for(result: Transferred) -> list[StoredRun]:
    """The query, which is a run of its own where there is no baseline, and the target's runs, each once."""
    runs = [result.query, *(one.run for one in result.candidates if one.run)]
    return list({run.digest: run for run in runs}.values())


def tuned(comparison: Comparison) -> Outcome:
    """All weights, trained on the target (model tuning)."""
    trainer = comparison.trainer
    return _tuned(comparison, trainer.task_data(comparison.task), comparison.test)


def tuned_together(comparison: Comparison) -> Outcome:
    """All weights, trained on the target and tasks beside it, each told by its name in front of the input."""
    mixture = mixture_of(comparison.task, comparison.beside)
    read, recipe = comparison.trainer.datasets.read, comparison.trainer.recipe
    test = read(comparison.task, recipe, named=True)[Split.TEST]
    return _tuned(comparison, read(mixture, recipe, named=True), test)


def _tuned(comparison: Comparison, data: TaskData | MixtureData, test: SplitData) -> Outcome:
    """What models of all seeds answer to the target's test examples; their checkpoints go when all have answered."""
    trainer, tuning = comparison.trainer, comparison.tuning
    answers, seconds, folders = [], [], []
    for seed in comparison.seeds:
        name = tuning_digest(trainer.backbone, data, trainer.recipe, seed, tuning)[:20]
        folders.append(trainer.folder and trainer.folder / name)
        model = tune_model(
            trainer.backbone,
            data,
            trainer.recipe,
            seed=seed,
            optimizer=tuning,
            folder=folders[-1],
            checkpoint_seconds=trainer.checkpoint_seconds,
            reporter=comparison.reporters(f"tune {data.task.name}, seed {seed}"),
        )
        answers.append(_without_prompt(model.backbone, test.examples, test.tokens, trainer.recipe))
        seconds.append(model.seconds)
    for folder in filter(None, folders):
        shutil.rmtree(folder, ignore_errors=True)
    numbers = size_of(trainer.backbone)
    return Outcome(
        answers,
        trained=numbers,
        kept=numbers,
        state=tuning_step(trainer.backbone, trainer.recipe, tuning).state_bytes(
            trainer.backbone.weights
        ),
        steps=float(trainer.recipe.steps),
        seconds=float(np.mean(seconds)),
    )


def size_of(backbone: Backbone) -> int:
    """Numbers of a model."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(backbone.weights))


class System(NamedTuple):
    """A row of the table.

    Attributes:
        outcome: what it answers.
        usual: whether it is compared where none is named.
        uses: what it uses that others do not: ``sources`` of a bank, tasks ``beside`` the target, worked examples
            (``shots``), the optimiser of all weights (``tuning``).
    """

    outcome: Callable[[Comparison], Outcome]
    usual: bool = True
    uses: tuple[str, ...] = ()


SYSTEMS: Mapping[str, System] = {
    "most frequent answer": System(most_frequent),
    "zero-shot": System(zero_shot),
    "few-shot": System(few_shot, uses=("shots",)),
    "prompt tuning": System(trained_form("prompt")),
    "SPoT": System(transferred("best"), uses=("sources",)),
    "learnt weights": System(transferred("weights"), usual=False, uses=("sources",)),
    "attention over sources": System(transferred("attention"), usual=False, uses=("sources",)),
    "suffix": System(trained_form("suffix"), usual=False),
    "decoder prompt": System(trained_form("decoder"), usual=False),
    "deep prompts": System(trained_form("deep")),
    "prefix-tuning": System(trained_form("prefix")),
    "infix-tuning": System(trained_form("infix"), usual=False),
    "model tuning": System(tuned, uses=("tuning",)),
    "multi-task model tuning": System(tuned_together, uses=("tuning", "beside")),
}
"""Systems by name, the cheapest first."""


def compare(comparison: Comparison, systems: Sequence[str]) -> Iterator[Row]:
    """Every system on the task's test split, as each is known.

    Raises:
        RetrievalError: SPoT without a comparable source in the bank.
        TaskError: several tasks are to be learnt together, and there is none beside the target.
        SpotError: what training raises.
    """
    numbers = size_of(comparison.trainer.backbone)
    for name in systems:
        outcome = SYSTEMS[name].outcome(comparison)
        examples = comparison.test.examples
        scores = [
            comparison.task.score(list(answers), examples)["score"] for answers in outcome.answers
        ]
        yield Row(
            system=name,
            score=score_interval(comparison.task, examples, outcome.answers),
            scores=scores,
            outcome=outcome,
            share=outcome.trained / numbers,
        )
