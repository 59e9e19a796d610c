"""Recipes of a bank, the backbones they are for, and the partitions in which their keys can be compared."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Engine, Text, cast, func, select
from sqlalchemy.orm import Session

from bank import schema
from bank.errors import BankError
from bank.identity import OF_ENSEMBLE
from bank.records import BackboneRecord, Partition, RecipeRecord, SourceRecipe
from bank.sessions import get_or_add, reading


def put_backbone(session: Session, record: BackboneRecord) -> schema.Backbone:
    """The backbone's row, added where it is missing.

    Raises:
        BankError: the bank holds it with another width.
    """
    backbone = get_or_add(
        session,
        schema.Backbone,
        {"fingerprint": record.fingerprint},
        name=record.name,
        width=record.width,
        config=dict(record.config),
    )
    if backbone.width != record.width:
        raise BankError(
            f"backbone {record.name} is {backbone.width} wide in this bank, and the prompt "
            f"{record.width}; it was made for another model, whose name or fingerprint it needs"
        )
    return backbone


def put_recipe(session: Session, record: RecipeRecord) -> schema.Recipe:
    """The recipe's row, and its backbone's, added where they are missing.

    Raises:
        BankError: a backbone that the bank holds with another width.
    """
    backbone = put_backbone(session, record.backbone)
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
            func.coalesce(cast(schema.Recipe.options, Text), "").not_like(OF_ENSEMBLE),
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


def source_recipes(engine: Engine) -> list[SourceRecipe]:
    """See :meth:`bank.store.Bank.source_recipes`."""
    trained = (
        select(schema.Run.recipe_id, schema.Run.task_id)
        .join(schema.Run.snapshots)
        .join(schema.Run.recipe)
        .join(schema.Recipe.backbone)
        .where(
            schema.Run.role == "source",
            schema.Run.removed.is_(None),
            schema.Snapshot.kind == "key",
        )
        .order_by(schema.Run.recipe_id.desc(), schema.Run.task_id)
        .distinct()
    )
    by_partition: dict[Partition, dict[int, set[int]]] = {}
    names: dict[Partition, str] = {}
    options: dict[int, dict[str, Any]] = {}
    with reading(engine) as session:
        for recipe_id, task_id in session.execute(trained):
            recipe = session.get_one(schema.Recipe, recipe_id)
            partition = _partition(recipe)
            names[partition] = recipe.backbone.name
            tasks = by_partition.setdefault(partition, {})
            tasks.setdefault(recipe_id, set()).add(task_id)
            options[recipe_id] = dict(recipe.options)
    found = [
        SourceRecipe(
            partition=partition,
            backbone=names[partition],
            options=options[max(tasks, key=lambda recipe: len(tasks[recipe]))],
            sources=len(set().union(*tasks.values())),
        )
        for partition, tasks in by_partition.items()
    ]
    return sorted(found, key=lambda one: -one.sources)


def _partition(recipe: schema.Recipe) -> Partition:
    return Partition(
        fingerprint=recipe.backbone.fingerprint,
        prompt_length=recipe.prompt_length,
        key_step=recipe.key_step,
        family=recipe.family,
    )
