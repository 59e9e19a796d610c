"""``spot analyze``: what prompts are made of, and what their scores owe to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.groups import takes_groups
from spot.cli.options import BackboneOption, BankOption, DataOption, JsonOption, find_scored
from spot.cli.output import print_json, print_rows, say, tell
from spot.cli.prompts import (
    INPUT,
    MaxInput,
    PromptOption,
    PromptsOption,
    asked,
    find_prompt,
    form_of,
    prompt_for,
    refuse_bank,
)
from spot.training.settings import SEED, WHOLE

if TYPE_CHECKING:
    import numpy as np

    from spot.backbone.load import Backbone
    from spot.inference.many import Asked, Given
    from tasks.task import Task

PIECES = 100
"""The most nearest pieces of a token."""

POINTS = 1_000
"""The most points of a line."""

app = typer.Typer(
    help="Look into prompts: nearest pieces, edits, the line between two, units that fire, and norms along training.",
    no_args_is_help=True,
)


@dataclasses.dataclass(frozen=True)
class ScoredOn:
    """What prompts are scored on."""

    data: DataOption
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "dev"
    limit: Annotated[int, typer.Option(help="Examples used; 0 uses all.", min=0, max=WHOLE)] = 200
    max_input: MaxInput = INPUT

    def task(self, name: str) -> Task:
        """The task, before anything starts.

        Raises:
            SpotError: an unknown split, or a missing package of its metrics.
        """
        (task,) = find_scored([name], self.split)
        return task

    def asked(self, task: Task, backbone: Backbone) -> Asked:
        """Examples of the split."""
        from tasks.task import Split, take

        examples = take(self.data.examples(task, Split(self.split)), self.limit)
        return asked(backbone, examples, max_input=self.max_input, name=task.name)


def _scores(
    backbone: Backbone, prompts: Sequence[Given], task: Task, examples: Asked
) -> list[float]:
    """Of every prompt, in one pass."""
    from spot.inference.many import answer_all

    answers = answer_all(backbone, prompts, [examples])
    return [task.score(each[0].texts, examples.examples)["score"] for each in answers]


@app.command(epilog="Example: spot analyze neighbours --prompt sst2@best --backbone smollm2")
@takes_groups
def neighbours(
    context: typer.Context,
    *,
    prompt: PromptOption = "",
    count: Annotated[int, typer.Option(help="Pieces of every token.", min=1, max=PIECES)] = 5,
    words: Annotated[
        str,
        typer.Option(help="Label words, separated by commas: how many tokens are near to each."),
    ] = "",
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """The pieces of the vocabulary that each token of a prompt lies nearest to, by cosine."""
    from spot.analysis.neighbours import neighbours as nearest_pieces
    from spot.analysis.neighbours import pieces_of

    given, backbone = _one(context, prompt, bank, where)
    found = nearest_pieces(backbone, given.prompt, count)
    labels = [word.strip() for word in words.split(",") if word.strip()]
    spelt = (
        [pieces_of(backbone, ids) for ids in backbone.tokenizer.encode(labels)] if labels else []
    )
    near = dict(zip(labels, found.persisting(spelt), strict=True))
    rows: list[dict[str, Any]] = [
        {
            "token": token + 1,
            "norm": float(found.norms[token]),
            "cosine": float(found.cosines[token][0]),
            "pieces": list(pieces),
        }
        for token, pieces in enumerate(found.pieces)
    ]
    facts = {
        "mean cosine": float(found.cosines[:, 0].mean()),
        "of random vectors": float(found.control.mean()),
        "tokens that share their nearest piece": found.shared,
        "tokens near to label words": near,
    }
    if out.json:
        print_json({"tokens": rows} | facts)
        return
    print_rows([row | {"pieces": " ".join(map(repr, row["pieces"]))} for row in rows])
    say(
        f"nearest piece: cosine {facts['mean cosine']:.3f} on average, {facts['of random vectors']:.3f} of random "
        f"vectors; {found.shared} of {len(rows)} tokens share theirs"
    )
    for word, tokens in near.items():
        say(f"{word}: near to {tokens} tokens")


@app.command(epilog="Example: spot analyze edits wn_pos --prompt wn_pos@best --backbone smollm2")
@takes_groups
def edits(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="A task's name or the path of a task file.")],
    *,
    prompt: PromptOption = "",
    edit: Annotated[
        list[str] | None,
        typer.Option(
            help="shuffle, reverse, discretise (nearest pieces), mask (prompt and text do not see each other) or drop "
            "(each token); may be given several times; all if left out."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the shuffle.", min=0, max=SEED)] = 0,
    on: ScoredOn,
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Score a prompt whose tokens are shuffled, reversed, replaced by words or left out, all in one pass."""
    from spot.analysis.edits import EDITS
    from spot.errors import SpotError
    from spot.inference.many import Given
    from tasks.choices import choose

    for name in edit or ():
        choose(name, EDITS, "edit", error=SpotError)
    scored = on.task(task)
    given, backbone = _one(context, prompt, bank, where)
    changed = []
    for name in edit or EDITS:
        made = list(EDITS[name](backbone, given, seed))
        if edit and not made:
            raise SpotError(
                f"--edit {name}: there is no such edit of a prompt of the form {given.form}, {given.prompt.shape[-2]} "
                "tokens long"
            )
        changed += made
    prompts = [given, *(Given(one.prompt, given.form, one.blind) for one in changed)]
    whole, *scores = _scores(backbone, prompts, scored, on.asked(scored, backbone))
    rows: list[dict[str, Any]] = [{"edit": "none", "score": whole, "change": 0.0}]
    rows += [
        {"edit": one.name, "score": score, "change": score - whole}
        for one, score in zip(changed, scores, strict=True)
    ]
    if out.json:
        print_json({"task": scored.name, "split": on.split, "edits": rows})
        return
    print_rows(rows, title=f"{scored.name} {on.split}")


@app.command(
    epilog="Example: spot analyze line wn_pos --prompt wn_pos@best --prompt wn_verb_topic@best"
)
@takes_groups
def line(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="A task's name or the path of a task file.")],
    *,
    prompt: PromptsOption = None,
    points: Annotated[
        int, typer.Option(help="Prompts along the line, both ends included.", min=2, max=POINTS)
    ] = 11,
    plot: Annotated[Path | None, typer.Option(help="Draw the scores, a PNG file.")] = None,
    on: ScoredOn,
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Score the prompts on the straight line between two, in one pass."""
    import numpy as np

    from spot.analysis.edits import interpolated
    from spot.errors import SpotError
    from spot.inference.many import Given
    from spot.study.plots import check_picture, write_line

    names = prompt or []
    if len(names) != 2:
        raise SpotError("a line is between two prompts; give --prompt twice")
    if plot:
        check_picture(plot)
    scored = on.task(task)
    (first, last), backbone = _read(context, names, bank, where)
    if (first.form, first.prompt.shape) != (last.form, last.prompt.shape):
        raise SpotError("a line is between two prompts of one form and length")
    along = [Given(each, first.form) for each in interpolated(first.prompt, last.prompt, points)]
    scores = _scores(backbone, along, scored, on.asked(scored, backbone))
    shares = [float(share) for share in np.linspace(0.0, 1.0, points)]
    if plot:
        write_line(plot, shares, scores, f"{names[0]} to {names[1]}", scored.name)
        tell(f"wrote {plot}")
    rows = [
        {f"share of {names[1]}": share, "score": score}
        for share, score in zip(shares, scores, strict=True)
    ]
    if out.json:
        print_json({"task": scored.name, "split": on.split, "shares": shares, "scores": scores})
        return
    print_rows(rows, title=f"{scored.name} {on.split}, from {names[0]} to {names[1]}")


@app.command(epilog="Example: spot analyze units --prompt sst2@best --prompt imdb@best")
@takes_groups
def units(
    context: typer.Context,
    *,
    prompt: PromptsOption = None,
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Feed-forward units of the last layers that fire behind each prompt, and how far those of two overlap."""
    from spot.errors import SpotError
    from spot.inference.activations import activated

    names = prompt or []
    if not names:
        raise SpotError("no prompt to look into; name some by --prompt")
    prompts, backbone = _read(context, names, bank, where)
    fired = [activated(backbone, [given.prompt], form=given.form)[0] for given in prompts]
    shares = [float(each.mean()) for each in fired]
    overlap = [[_overlap(one, other) for other in fired] for one in fired]
    if out.json:
        print_json({"prompts": names, "share that fires": shares, "overlap": overlap})
        return
    rows = [
        {"prompt": name, "fires": share} | dict(zip(names, row, strict=True))
        for name, share, row in zip(names, shares, overlap, strict=True)
    ]
    print_rows(rows, title="share of units that fire, and cosine of who fires")


@app.command(epilog="Example: spot analyze norms sst2@best wn_pos@best --bank bank.sqlite")
@takes_groups
def norms(
    runs: Annotated[list[str], typer.Argument(help="Runs of the bank: digests, or TASK@TAG.")],
    *,
    bank: BankOption,
    out: JsonOption,
) -> None:
    """How long a prompt's tokens were at every evaluation of its run, in mean norms of the embedding's rows."""
    from bank.listing import show_run
    from spot.errors import SpotError

    found: list[dict[str, Any]] = []
    with bank.connect() as engine:
        for name in runs:
            run = show_run(engine, name)
            rows = [
                {"step": int(row["step"]), "score": row["score"], "norm": row["prompt norm"]}
                for row in run["history"]
                if "prompt norm" in row
            ]
            if not rows:
                raise SpotError(
                    f"{name}: its history tells no norms; it is a prefix, was imported, or was trained by an earlier "
                    "release: train it again"
                )
            found.append({"run": run["run"], "task": run["task"], "norms": rows})
    if out.json:
        print_json(found)
        return
    for each in found:
        print_rows(each["norms"], title=f"{each['task']} {each['run'][:12]}")


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine of two activation states ``[U]`` bool (Su et al. 2022, section 5)."""
    import numpy as np

    both = float((one & other).sum())
    return both / max(1.0, float(np.sqrt(one.sum() * other.sum())))


def _read(
    context: typer.Context, names: Sequence[str], bank: BankOption, where: BackboneOption
) -> tuple[list[Given], Backbone]:
    """Prompts and their backbone."""
    from spot.inference.many import Given

    refuse_bank(context, names)
    files = [find_prompt(name, bank) for name in names]
    backbone = where.load()
    return [Given(prompt_for(backbone, file), form_of(file)) for file in files], backbone


def _one(
    context: typer.Context, prompt: str, bank: BankOption, where: BackboneOption
) -> tuple[Given, Backbone]:
    """The prompt and its backbone.

    Raises:
        SpotError: no prompt was named.
    """
    from spot.errors import SpotError

    if not prompt:
        raise SpotError("no prompt to look into; name one by --prompt")
    (given,), backbone = _read(context, [prompt], bank, where)
    return given, backbone


def add_to(parent: typer.Typer) -> None:
    """Register the commands."""
    parent.add_typer(app, name="analyze")
