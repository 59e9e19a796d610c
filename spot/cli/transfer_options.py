"""Options of commands that rank sources and train from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.groups import refuse_given
from spot.training.settings import SEED, SEEDS, WHOLE

if TYPE_CHECKING:
    from spot.transfer.transfer import TransferOptions

Similarity = Annotated[
    str,
    typer.Option(
        help="What ranks: auto, which is displacement (way of mean tokens from their starts) where starts are known "
        "and average elsewhere. Of SPoT: average (cosine of mean tokens), per_token. Others: centred (from the bank's "
        "mean), seed_centred (from the mean of a seed's keys), fused (mean of average and centred, standardised), "
        "matching (best pairs of tokens), subspace, vocabulary (nearness to words), neurons (units that fire under "
        "both prompts), evidence (expected gain by what the bank saw). Without a query: trial (loss of sources on 64 "
        "examples), text (words of the tasks' examples), demonstrations (units that fire under the value and the "
        "target's examples)."
    ),
]


@dataclasses.dataclass(frozen=True)
class SeedOptions:
    """With which seeds."""

    seeds: Annotated[
        int, typer.Option(help="How many seeds, counted from --first-seed.", min=1, max=SEEDS)
    ] = 1
    first_seed: Annotated[int, typer.Option(help="First seed.", min=0, max=SEED)] = 0

    @property
    def range(self) -> range:
        """The seeds themselves."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclasses.dataclass(frozen=True)
class RankingOptions:
    """How sources are ranked."""

    similarity: Similarity = "auto"
    aggregate: Annotated[
        str,
        typer.Option(
            help="Over the seeds that all sources share: mean, max, or none to rank every prompt."
        ),
    ] = "mean"
    allow_overlap: Annotated[
        bool,
        typer.Option(
            help="Also rank sources whose training texts may hold test examples of the target."
        ),
    ] = False


@dataclasses.dataclass(frozen=True)
class MethodOptions:
    """What is done with the sources that were ranked."""

    method: Annotated[
        str,
        typer.Option(
            help="best: train from each of the k best sources and keep the best on dev; average: from their weighted "
            "average; weights: from a sum whose weights the target's examples learn; attention: a prompt to which "
            "every input adds its own mixture of theirs; mixture: from a prompt trained on their tasks and the target "
            "together; generic: from --source; oracle: from every source; none: only without transfer."
        ),
    ] = "best"
    top_k: Annotated[int, typer.Option(help="Sources tried.", min=1, max=WHOLE)] = 3
    source: Annotated[
        str, typer.Option(help="Task or mixture of the bank that --method generic starts from.")
    ] = ""
    source_file: Annotated[
        list[Path] | None,
        typer.Option(help="Task file of a source, for --method mixture; give it several times."),
    ] = None
    baseline: Annotated[
        bool, typer.Option(help="Also train without transfer, at the same budget.")
    ] = True
    restarts: Annotated[
        int,
        typer.Option(
            help="Runs without transfer a seed; the best on dev is a control of equal cost when they are as many as "
            "--top-k.",
            min=1,
            max=SEEDS,
        ),
    ] = 1
    budget: Annotated[
        str,
        typer.Option(
            help="full: from every source to the end; halving: from all of them, and without transfer, for a little, "
            "and keep halving the field by dev score. For the methods best and oracle."
        ),
    ] = "full"

    resize: Annotated[
        str,
        typer.Option(
            help="How a source's prompt gets the target's --prompt-length: repeat (its first tokens, or all again) or "
            "interpolate; without, both must be equal."
        ),
    ] = ""

    def options(self, ranking: RankingOptions) -> TransferOptions:
        """Both as a transfer takes them.

        Raises:
            SpotError: names that are not known, or options that exclude each other.
        """
        from spot.transfer.transfer import TransferOptions

        settings = dataclasses.asdict(self) | dataclasses.asdict(ranking)
        for beside in ("source_file", "resize"):
            settings.pop(beside)
        return TransferOptions(**settings)

    def check(self, context: typer.Context) -> None:
        """Refuse what a known method would not use.

        Raises:
            SpotError: such an option was given.
        """
        from spot.transfer.methods import METHODS

        method = METHODS[self.method]
        refuse_given(context, method.unused, f"method {self.method} {method.why}")
        if not method.reads_sources:
            refuse_given(
                context, ["source_file"], f"method {self.method} does not train on a source's data"
            )
