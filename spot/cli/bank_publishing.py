"""``spot bank push``, ``pull`` and ``card``: banks out to folders and hubs, and in from there. Imports no JAX."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spot import __version__, paths
from spot.cli.bank_selection import SelectionOption
from spot.cli.groups import takes_groups
from spot.cli.options import BankOption, JsonOption
from spot.cli.output import print_json, say

if TYPE_CHECKING:
    from bank.manifest import Published
    from bank.publish import Stored

PLACES = (
    "A folder, or hub:OWNER/NAME[@REVISION], a repository of the Hugging Face hub (token: HF_TOKEN)"
)

Licences = Annotated[
    Path | None,
    typer.Option(
        help="TOML file: task = 'under what its data may be used, in words', for those the bank does not know."
    ),
]
Evidence = Annotated[
    bool,
    typer.Option(
        "--evidence", help="Also transfers between these tasks and the runs of their targets."
    ),
]


def add_to(app: typer.Typer) -> None:
    for name, command, example in (
        ("push", push, "spot bank push hub:me/my-bank --task sst2 --task mnli"),
        ("pull", pull, "spot bank pull hub:me/my-bank --only sst2"),
        ("card", card, "spot bank card --tag released"),
    ):
        app.command(name, epilog=f"Example: {example}")(command)


@takes_groups
def push(
    destination: Annotated[str, typer.Argument(help=f"{PLACES}.")],
    *,
    selection: SelectionOption,
    evidence: Evidence = False,
    answers: Annotated[
        bool,
        typer.Option("--answers", help="Also what runs answered to test splits, not scores alone."),
    ] = False,
    licences: Licences = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a repository that is new on the hub private.")
    ] = False,
    message: Annotated[str, typer.Option(help="Of the commit on the hub.")] = "",
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Publish a bank, or some of its runs: prompts, manifest and card. Without options, all sources."""
    from bank.hub import hub_repository, upload
    from bank.repository import write_repository

    repository = hub_repository(destination)
    content = _selected(bank, selection, evidence=evidence, answers=answers, licences=licences)
    told = f"{len(content.rows['runs'])} runs of {len(content.rows['tasks'])} tasks"
    document = {
        "runs": [row["digest"] for row in content.rows["runs"]],
        "tasks": [row["name"] for row in content.rows["tasks"]],
    }
    if repository is None:
        folder = paths.expanded(destination)
        write_repository(folder, content, _card(content, folder.resolve().name, destination))
        out.report({"where": str(folder), **document}, f"published {told} in {folder}")
        return
    with tempfile.TemporaryDirectory(prefix="spot-push-") as stage:
        folder = Path(stage) / "repository"
        write_repository(folder, content, _card(content, repository.name, str(repository)))
        where = upload(folder, repository, message=message or f"Bank of {told}", private=private)
    out.report({"where": where, **document}, f"published {told} in {where}")


@takes_groups
def pull(
    source: Annotated[
        str, typer.Argument(help=f"{PLACES}, or the name of a bank that comes with this package.")
    ],
    *,
    only: Annotated[list[str], typer.Option(help="Only this task; give it several times.")] = [],  # noqa: B006
    skip: Annotated[list[str], typer.Option(help="Not this task; give it several times.")] = [],  # noqa: B006
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Take a published bank into this one, in one transaction. What is held already is kept, and restored if removed.

    A task whose name stands for another one here is refused before anything is written: leave it out with --skip.
    """
    from bank.publish import check_sound, store
    from bank.repository import read_repository

    content = read_repository(_folder_of(source)).of_tasks(only, skip)
    check_sound(content, source)
    with bank.open(create=True) as opened:
        stored = store(opened, content, where=source)
        if out.json:
            print_json({"bank": str(opened), **stored._asdict()})
            return
        _tell(stored, source, str(opened))


@takes_groups
def card(
    *,
    selection: SelectionOption,
    evidence: Evidence = False,
    licences: Licences = None,
    title: Annotated[str, typer.Option(help="Title; else the bank's name.")] = "",
    bank: BankOption,
) -> None:
    """Print the card that `spot bank push` would write: tasks, metrics, recipes, lineage and licences in Markdown."""
    from bank.location import bank_url

    content = _selected(bank, selection, evidence=evidence, licences=licences)
    name = title or Path(bank_url(bank.bank).database or "bank").stem  # of a URL nothing else
    say(_card(content, name, f"hub:OWNER/{name}").rstrip())


def _selected(
    bank: BankOption,
    selection: SelectionOption,
    *,
    evidence: bool,
    licences: Path | None,
    answers: bool = False,
) -> Published:
    from bank.publish import published
    from tasks.catalogue import licences_of

    words = _read_licences(licences) if licences else {}
    with bank.open() as opened:
        return published(
            opened,
            selection.selection,
            program=__version__,
            evidence=evidence,
            answers=answers,
            licences=words,
            usual=licences_of(),
        )


def _card(content: Published, name: str, source: str) -> str:
    from bank.card import card_of

    return card_of(content, name, source)


def _read_licences(path: Path) -> dict[str, str]:
    """Words by task.

    Raises:
        SpotError: no file, not TOML, or something that is no text.
    """
    from spot.errors import SpotError

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpotError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise SpotError(
            f"{path}: not TOML ({error}); write lines such as sst2 = 'CC BY 4.0'"
        ) from error
    for task, words in content.items():
        if not isinstance(words, str) or not words.strip():
            raise SpotError(f"{path}: {task} is {words!r}; expected a licence in words")
    return content


def shipped_banks() -> dict[str, Path]:
    """Published banks that come with this package, by name."""
    return {path.name: path for path in sorted(banks_folder().glob("*/")) if path.is_dir()}


def banks_folder() -> Path:
    """Where they lie."""
    return Path(__file__).parent.parent / "assets" / "banks"


def _folder_of(source: str) -> Path:
    """The folder of a published bank; one that comes with this package comes before a folder of its name here."""
    from bank.hub import download, hub_repository
    from spot.errors import SpotError

    if repository := hub_repository(source):
        return download(repository)
    shipped = shipped_banks()
    if source in shipped:
        return shipped[source]
    folder = paths.expanded(source)
    if not folder.is_dir():
        names = ", ".join(shipped) or "none"
        raise SpotError(
            f"{source}: no such folder, and no bank that comes with this package ({names}); for the hub write "
            "hub:OWNER/NAME"
        )
    return folder


def _tell(stored: Stored, source: str, bank: str) -> None:
    """Lines about what came of it."""
    say(
        f"{len(stored.added)} runs and {stored.transfers} transfers added, {len(stored.held)} runs there already, "
        f"in {bank}"
    )
    if stored.restored:
        say(f"{len(stored.restored)} of them had been removed and are restored")
    if stored.differing:
        say(
            f"{len(stored.differing)} of them have other prompts in {source}, trained elsewhere; those of {bank} are "
            f"kept, and {stored.left_out} transfers that name them left out"
        )
