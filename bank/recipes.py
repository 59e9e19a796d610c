"""Recipes of a bank, the backbones they are for, and the partitions in which their keys can be compared."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.orm import Session

from bank import schema
from bank.errors import BankError
from bank.records import Partition, RecipeRecord
from bank.sessions import get_or_add, reading


def put_recipe(session: Session, record: RecipeRecord) -> schema.Recipe:
    """The recipe's row, and its backbone's, added where they are missing.

    Raises:
        BankError: a backbone that the bank holds with another width.
    """
    backbone = get_or_add(
        session,
        schema.Backbone,
        {"fingerprint": record.backbone.fingerprint},
        name=record.backbone.name,
        width=record.backbone.width,
        config=dict(record.backbone.config),
    )
    if backbone.width != record.backbone.width:
        raise BankError(
            f"backbone {record.backbone.name} is {backbone.width} wide in this bank, and the prompt "
            f"{record.backbone.width}; it was made for another model, whose name or fingerprint it needs"
        )
    return get_or_add(
        session,
        schema.Recipe,
        {"digest": record.digest},
        backbone_id=backbone.id,
        family=record.family,
        prompt_length=record.prompt_length,
        key_step=record.key_step,
        options=dict(record.options),
    )


def in_partition(partition: Partition) -> tuple[ColumnElement[bool], ...]:
    """Conditions on recipes and backbones: those of a partition."""
    return (
        schema.Backbone.fingerprint == partition.fingerprint,
        schema.Recipe.prompt_length == partition.prompt_length,
        schema.Recipe.key_step == partition.key_step,
        schema.Recipe.family == partition.family,
    )


def partitions(engine: Engine) -> list[Partition]:
    """See :meth:`bank.store.Bank.partitions`."""
    query = (
        select(
            schema.Backbone.fingerprint,
            schema.Recipe.prompt_length,
            schema.Recipe.key_step,
            schema.Recipe.family,
        )
        .join(schema.Recipe.backbone)
        .join(schema.Run, schema.Run.recipe_id == schema.Recipe.id)
        .join(schema.Run.snapshots)
        .where(
            schema.Run.role == "source",
            schema.Run.removed.is_(None),
            schema.Snapshot.kind == "key",
        )
        .distinct()
    )
    with reading(engine) as session:
        return [Partition(**row) for row in session.execute(query).mappings()]


def recipe_options(engine: Engine, partition: Partition) -> dict[str, Any]:
    """See :meth:`bank.store.Bank.recipe_options`."""
    query = (
        select(schema.Recipe.options).join(schema.Recipe.backbone).where(*in_partition(partition))
    )
    with reading(engine) as session:
        return dict(session.scalars(query.order_by(schema.Recipe.id).limit(1)).one_or_none() or {})
