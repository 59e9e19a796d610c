"""Options of how answers are found, and which of them a command would not use."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.groups import refuse_given
from spot.cli.recipes import finite
from spot.training.settings import LENGTH, SEED, WHOLE

if TYPE_CHECKING:
    from spot.inference.decoding import Decoding

PANEL = "Decoding"


@dataclasses.dataclass(frozen=True)
class GenerationOptions:
    """How texts are generated; defaults are those of :class:`spot.inference.decoding.Decoding`."""

    decoding: Annotated[
        str,
        typer.Option(help="greedy, beam (search) or sample.", rich_help_panel=PANEL),
    ] = "greedy"
    max_new_tokens: Annotated[
        int,
        typer.Option(
            help="Longest text in tokens; 0 takes that of the longest target, or 32 without targets.",
            min=0,
            max=LENGTH,
            rich_help_panel=PANEL,
        ),
    ] = 0
    stop: Annotated[
        list[str] | None,
        typer.Option(
            help="A text ends in front of this; may be given several times.", rich_help_panel=PANEL
        ),
    ] = None
    beams: Annotated[
        int,
        typer.Option(
            help="Sequences that beam search keeps.", min=1, max=64, rich_help_panel=PANEL
        ),
    ] = 4
    length_penalty: Annotated[
        float,
        typer.Option(
            help="Beam search divides log-likelihoods by the number of tokens to this power.",
            min=-10,
            max=10,
            callback=finite,
            rich_help_panel=PANEL,
        ),
    ] = 1.0
    temperature: Annotated[
        float,
        typer.Option(
            help="Of sampling: logits are divided by it.",
            min=1e-3,
            max=1e3,
            callback=finite,
            rich_help_panel=PANEL,
        ),
    ] = 1.0
    top_k: Annotated[
        int,
        typer.Option(
            help="Sample among so many most likely tokens; 0 among all.",
            min=0,
            max=WHOLE,
            rich_help_panel=PANEL,
        ),
    ] = 0
    top_p: Annotated[
        float,
        typer.Option(
            help="Sample among the most likely tokens that have this probability together.",
            min=1e-6,
            max=1,
            callback=finite,
            rich_help_panel=PANEL,
        ),
    ] = 1.0
    decoding_seed: Annotated[
        int, typer.Option(help="Of sampling.", min=0, max=SEED, rich_help_panel=PANEL)
    ] = 0


@dataclasses.dataclass(frozen=True)
class RankingOptions:
    """How choices are ranked."""

    rank_by: Annotated[
        str,
        typer.Option(
            help="Rank choices by likelihood, per_token (divided by the choice's length) or calibrated (beside what "
            "the choice has without an input).",
            rich_help_panel=PANEL,
        ),
    ] = "likelihood"


@dataclasses.dataclass(frozen=True)
class DecodingOptions:
    """How answers are found."""

    generation: GenerationOptions
    ranking: RankingOptions

    def checked(self, context: typer.Context, *, ranked: bool) -> Decoding:
        """The way to find answers.

        Args:
            context: of the running command.
            ranked: whether answers are choices, so that nothing is generated.

        Raises:
            SpotError: an option that does not fit, or would not be used.
        """
        from spot.inference.decoding import Decoding

        unused, because = (
            (GenerationOptions, "answers are ranked choices, and no text is generated")
            if ranked
            else (RankingOptions, "answers are generated, and no choices ranked")
        )
        refuse_given(context, [unused], because)
        given = self.generation
        return Decoding(
            policy=given.decoding,
            max_new_tokens=given.max_new_tokens,
            stop=tuple(given.stop or ()),
            beams=given.beams,
            length_penalty=given.length_penalty,
            temperature=given.temperature,
            top_k=given.top_k,
            top_p=given.top_p,
            seed=given.decoding_seed,
            ranking=self.ranking.rank_by,
        )
