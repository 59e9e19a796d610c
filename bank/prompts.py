"""Prompts of a bank: each is stored once, under the address that its numbers give it, with its key vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session

from bank import schema
from bank.errors import BankError
from bank.names import ask_of, digest_named
from bank.sessions import ids_by, named, reading, transaction, unless_first
from bank.vectors import average, average_normalized, checked_prompt, prompt_sha256

if TYPE_CHECKING:
    import numpy as np


class Addressed(NamedTuple):
    """A prompt, its address and its key vectors.

    Attributes:
        values: ``[..., P, H]`` float32.
        sha256: its address.
        average: mean token ``[W]`` float32.
        average_normalized: mean unit token ``[W]`` float32.
    """

    values: np.ndarray
    sha256: str
    average: np.ndarray
    average_normalized: np.ndarray


def addressed(prompt: np.ndarray) -> Addressed:
    """A prompt ``[..., P, H]`` with its address and key vectors.

    Raises:
        BankError: not a prompt.
    """
    values = checked_prompt(prompt)
    return Addressed(values, prompt_sha256(values), average(values), average_normalized(values))


def put_prompts(session: Session, prompts: Sequence[Addressed]) -> dict[str, int]:
    """Store those prompts and key vectors that are not there yet; returns the ids of all by address."""
    by_address = {prompt.sha256: prompt for prompt in prompts}
    ids = ids_by(session, schema.Prompt.sha256, list(by_address))
    missing = [prompt for sha256, prompt in by_address.items() if sha256 not in ids]
    if missing:
        session.execute(insert(schema.Prompt), [_row(prompt) for prompt in missing])
        ids |= ids_by(session, schema.Prompt.sha256, [prompt.sha256 for prompt in missing])
    with_vectors = ids_by(session, schema.KeyVectors.prompt_id, list(ids.values()))
    vectors = [
        {
            "prompt_id": ids[sha256],
            "average": prompt.average,
            "average_normalized": prompt.average_normalized,
        }
        for sha256, prompt in by_address.items()
        if ids[sha256] not in with_vectors
    ]
    if vectors:
        session.execute(insert(schema.KeyVectors), vectors)
    return ids


def _row(prompt: Addressed) -> dict[str, Any]:
    shape = prompt.values.shape
    return {
        "sha256": prompt.sha256,
        "length": shape[-2],
        "width": shape[-1],
        "values": prompt.values,
        "shape": list(shape) if len(shape) > 2 else None,
    }


def put(engine: Engine, prompt: np.ndarray) -> str:
    """See :meth:`bank.store.Bank.put`; ``[..., P, H]``."""
    with_address = addressed(prompt)
    with transaction(engine) as session:
        unless_first(session, lambda: put_prompts(session, [with_address]))
    return with_address.sha256


def get_prompt(engine: Engine, sha256: str) -> np.ndarray:
    """See :meth:`bank.store.Bank.prompt`; ``[..., P, H]`` float32."""
    with reading(engine) as session:
        rows = session.scalars(
            select(schema.Prompt).where(named(schema.Prompt.sha256, sha256)).limit(2)
        ).all()
        if len(rows) != 1 or len(sha256) < 8:
            raise BankError(
                f"prompt {sha256!r} {_unknown(sha256, bool(rows))}; `spot bank prompts` lists addresses"
            )
        row = rows[0]
        shape = row.shape or [row.length, row.width]
        if row.values.size != math.prod(shape):
            raise BankError(
                f"prompt {row.sha256}: damaged (wrong number of bytes); see `spot bank verify`"
            )
        values = row.values.reshape(shape)
        if prompt_sha256(values) != row.sha256:
            raise BankError(
                f"prompt {row.sha256}: damaged (checksum differs); see `spot bank verify`"
            )
        return checked_prompt(values, where=f"prompt {row.sha256}")


def _unknown(sha256: str, ambiguous: bool) -> str:
    """What to say of an address that names no single prompt."""
    if ambiguous:
        return "is ambiguous; give more of its address"
    return (
        "is too short to name one; give 8 characters or more"
        if len(sha256) < 8
        else "is not in the bank"
    )


def find_prompt(engine: Engine, name: str, kind: str) -> np.ndarray:
    """See :meth:`bank.store.Bank.find_prompt`; ``[..., P, H]`` float32."""
    with reading(engine) as session:
        name = digest_named(ask_of(session.connection()), name)
        runs = session.scalars(
            select(schema.Run).where(named(schema.Run.digest, name)).limit(2)
        ).all()
        if len(runs) != 1 or len(name) < 8:
            return get_prompt(engine, name)
        if runs[0].removed is not None:
            raise BankError(
                f"run {name}: is removed; `spot bank restore {name[:12]}` brings it back"
            )
        addresses = {snapshot.kind: snapshot.prompt.sha256 for snapshot in runs[0].snapshots}
        if kind not in addresses:
            raise BankError(f"run {name}: has no {kind}; it has {', '.join(sorted(addresses))}")
    return get_prompt(engine, addresses[kind])
