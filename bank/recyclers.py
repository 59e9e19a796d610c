"""Maps between backbones in a bank: fitted once for two backbones and a method, and then taken from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlalchemy import Engine, select
from sqlalchemy.orm import aliased

from bank import schema
from bank.cells import numbers_of
from bank.errors import BankError
from bank.identity import recycler_digest
from bank.recipes import put_backbone
from bank.records import BackboneRecord, RecyclerRecord
from bank.sessions import get_or_add, reading, transaction

if TYPE_CHECKING:
    import numpy as np


def record_recycler(engine: Engine, record: RecyclerRecord) -> str:
    """See :meth:`bank.store.Bank.record_recycler`."""
    from safetensors.numpy import save

    numbers = save(dict(record.numbers))
    _checked(numbers, "map")
    with transaction(engine) as session:
        source, target = (put_backbone(session, one) for one in (record.source, record.target))
        row = get_or_add(
            session,
            schema.Recycler,
            {"source_id": source.id, "target_id": target.id, "method": record.method},
            digest=recycler_digest(source.fingerprint, target.fingerprint, record.method, numbers),
            shared=record.shared,
            cosine=record.cosine,
            error=record.error,
            numbers=numbers,
        )
        return row.digest


def get_recycler(
    engine: Engine, source: str, target: str, method: str
) -> tuple[str, RecyclerRecord] | None:
    """See :meth:`bank.store.Bank.recycler`."""
    one, other = aliased(schema.Backbone), aliased(schema.Backbone)
    query = (
        select(schema.Recycler)
        .join(one, schema.Recycler.source)
        .join(other, schema.Recycler.target)
        .where(one.fingerprint == source, other.fingerprint == target)
        .where(schema.Recycler.method == method)
    )
    with reading(engine) as session:
        row = session.scalars(query).one_or_none()
        if row is None:
            return None
        if recycler_digest(source, target, method, row.numbers) != row.digest:
            raise BankError(f"map {row.digest}: damaged (checksum differs); see `spot bank verify`")
        record = RecyclerRecord(
            source=_record(row.source),
            target=_record(row.target),
            method=method,
            shared=row.shared,
            cosine=row.cosine,
            error=row.error,
            numbers=_checked(row.numbers, f"map {row.digest}"),
        )
        return row.digest, record


def _record(row: schema.Backbone) -> BackboneRecord:
    return BackboneRecord(
        fingerprint=row.fingerprint, name=row.name, width=row.width, config=row.config
    )


def _checked(numbers: bytes, where: str) -> Mapping[str, np.ndarray]:
    try:
        return numbers_of(numbers)
    except ValueError as error:
        raise BankError(f"{where}: expected {error}") from error
