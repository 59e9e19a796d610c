"""Published banks in repositories of the Hugging Face hub, ``hub:OWNER/NAME[@REVISION]``.

The token comes from the environment variable ``HF_TOKEN`` alone, and is never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bank.errors import BankError, reason
from bank.repository import FILES

SCHEME = "hub:"

TOKEN = "HF_TOKEN"


class HubRepository(NamedTuple):
    """A repository of the hub, at a branch, tag or commit, or at its main branch."""

    name: str
    revision: str | None

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + (f"@{self.revision}" if self.revision else "")


def hub_repository(place: str) -> HubRepository | None:
    """The repository that a place names, or ``None`` for a place that is none of the hub.

    Raises:
        BankError: a name that no repository has.
    """
    if not place.startswith(SCHEME):
        return None
    name, at, revision = place.removeprefix(SCHEME).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or (at and not revision):
        raise BankError(
            f"{place}: no repository of the hub; expected {SCHEME}OWNER/NAME[@REVISION]"
        )
    return HubRepository(name, revision or None)


def download(repository: HubRepository) -> Path:
    """The folder in the hub's cache that holds the files of a published bank.

    Raises:
        BankError: no such repository, no right to read it, or no hub.
    """
    from huggingface_hub import snapshot_download

    with _hub_errors(repository, "read it"):
        return Path(
            snapshot_download(
                repository.name,
                revision=repository.revision,
                allow_patterns=list(FILES),
                token=os.environ.get(TOKEN) or False,
            )
        )


def upload(folder: Path, repository: HubRepository, *, message: str, private: bool) -> str:
    """Put the files of a published bank into a repository, which is made where there is none, as one commit.

    Returns:
        Where the commit is seen.

    Raises:
        BankError: no token, no right to write it, or no hub.
    """
    from huggingface_hub import HfApi, upload_folder

    token = os.environ.get(TOKEN)
    if not token:
        raise BankError(f"{repository}: writing needs a token of the hub; set {TOKEN}")
    with _hub_errors(repository, "write it"):
        api = HfApi(token=token)
        api.create_repo(repository.name, private=private, exist_ok=True)
        if repository.revision:
            api.create_branch(repository.name, branch=repository.revision, exist_ok=True)
        commit = upload_folder(
            repo_id=repository.name,
            folder_path=str(folder),
            revision=repository.revision,
            commit_message=message,
            allow_patterns=list(FILES),
            token=token,
        )
    return str(getattr(commit, "commit_url", None) or repository)


@contextmanager
def _hub_errors(repository: HubRepository, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's client raises errors of several libraries
        raise BankError(
            f"{repository}: the hub did not let us {what} ({reason(error)}); check name, revision, {TOKEN} and network"
        ) from error
