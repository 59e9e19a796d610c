"""Prompts into a bank that others trained, and out of it with what it knows about them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from bank import schema
from bank.errors import BankError
from bank.identity import ENSEMBLE, by_name, digest
from bank.names import ask_of, digest_named
from bank.records import (
    BackboneRecord,
    RecipeRecord,
    RunIdentity,
    RunRecord,
    SnapshotRecord,
    TaskRecord,
)
from bank.sessions import reading
from bank.store import Bank
from bank.vectors import checked_prompt, prompt_sha256

if TYPE_CHECKING:
    import numpy as np


def import_prompt(
    bank: Bank,
    value: np.ndarray,
    *,
    task: TaskRecord,
    backbone: BackboneRecord,
    form: str = "prompt",
    key: np.ndarray | None = None,
    seed: int = 0,
    score: float = 0.0,
    origin: str = "",
) -> str:
    """Store a prompt ``[..., P, H]`` that others trained as a source run; returns the run's digest.

    Its recipe is unknown, so imported prompts form a partition of their own and are never ranked against keys
    that were trained here. Without ``key`` the prompt itself stands in as its key. ``form`` says how a model reads it,
    ``origin`` where it came from.

    Raises:
        BankError: no prompt, one of another width than the backbone's, or a key of another shape.
    """
    value = checked_prompt(value)
    axes = list(value.shape[:-2])
    told = {} if form == "prompt" else {"form": form}
    recipe = RecipeRecord(
        backbone=backbone,
        prompt_length=value.shape[-2],
        key_step=0,
        family=digest("imported", *told.values(), *axes),  # others cannot be compared
        options={"imported": True} | told | ({"axes": axes} if axes else {}),
    )
    return bank.record_run(
        RunRecord(
            identity=RunIdentity(
                recipe=recipe, task=task, seed=seed, role="source", data=prompt_sha256(value)
            ),
            steps=0,
            metric="unknown",
            score=score,
            value=SnapshotRecord(prompt=value, step=0),
            key=SnapshotRecord(prompt=value if key is None else key, step=0),
            environment={"imported from": origin},
        )
    )


def record_ensemble(
    bank: Bank,
    prompts: np.ndarray,
    *,
    task: TaskRecord,
    backbone: BackboneRecord,
    form: str,
    by: str,
    weights: Sequence[float] = (),
    members: Sequence[str],
    examples: str,
    metrics: Mapping[str, float],
) -> str:
    """Store prompts ``[N, ..., P, H]`` of one task that answer together as one source run; returns its digest.

    As imported prompts, ensembles are of no recipe that others share, and are never ranked against keys.

    Args:
        bank: where to.
        prompts: all of one form and length.
        task: that they answer.
        backbone: that they were trained for.
        form: of each.
        by: how they answer together.
        weights: of each, where the way has any.
        members: what each was: digests of runs, or names of files.
        examples: digest of the development examples that the metrics are of; on others it is another run.
        metrics: of their answers to development examples, ``score`` among them.

    Raises:
        BankError: no prompts, or of another width than the backbone's.
    """
    values = checked_prompt(prompts)
    told = {"by": by, "weights": [float(weight) for weight in weights]}
    recipe = RecipeRecord(
        backbone=backbone,
        prompt_length=values.shape[-2],
        key_step=0,
        family=digest(ENSEMBLE, *values.shape[:-2]),
        options={"form": form, ENSEMBLE: told},
    )
    snapshot = SnapshotRecord(prompt=values, step=0)
    data = digest(prompt_sha256(values), examples)
    return bank.record_run(
        RunRecord(
            identity=RunIdentity(recipe=recipe, task=task, seed=0, role="source", data=data),
            steps=0,
            metric="score",
            score=metrics["score"],
            metrics=metrics,
            value=dataclasses.replace(snapshot, score=metrics["score"]),
            key=snapshot,
            environment={"made of": list(members)},
        )
    )


@dataclasses.dataclass(frozen=True)
class Exported:
    """A prompt that leaves a bank.

    Attributes:
        prompt: float32 ``[..., P, H]``.
        metadata: what the bank knows about it, all text: what :func:`exported` says.
        config: of its backbone; empty where no run made the prompt.
        start: mean token ``[W]`` of the prompt that its run started from, where the bank has it.
    """

    prompt: np.ndarray
    metadata: Mapping[str, str]
    config: Mapping[str, Any]
    start: np.ndarray | None = None


def exported(bank: Bank, name: str, *, kind: str = "") -> Exported:
    """A prompt and what makes it comparable with others, for the header of a file.

    The facts are ``sha256``, ``kind`` and ``step`` of the snapshot; ``run``, ``role``, ``task``, ``seed`` and ``score``
    of its run; ``started_from``, the address of the prompt that the run started from, where that came from a bank or
    file and not from the recipe's initialiser; ``backbone`` and ``fingerprint``; ``recipe``, the options as JSON, with
    its ``key_step`` and ``recipe_family``.

    Args:
        bank: where it is.
        name: its address, or the digest of a run, where a start is enough; or a version of a task.
        kind: which prompt of a run: ``value``, also if left out, or ``key``.

    Raises:
        BankError: not in the bank, ambiguous, a run without such a prompt, or a kind of a prompt named by its address.
    """
    with reading(bank.engine) as session:
        name = digest_named(ask_of(session.connection()), name)
    prompt = bank.find_prompt(name, kind=kind or "value")
    address = prompt_sha256(prompt)
    query = (
        select(schema.Snapshot)
        .join(schema.Snapshot.prompt)
        .where(schema.Prompt.sha256 == address)
        .order_by(schema.Snapshot.id)
    )
    with reading(bank.engine) as session:
        snapshots = session.scalars(query).all()
        of_run = [one for one in snapshots if one.run.digest.startswith(name)]
        if kind and not of_run:
            raise BankError(
                f"prompt {name!r} is named by its address, which is of one kind; leave out --kind {kind}"
            )
        if not snapshots:
            return Exported(prompt, {"sha256": address}, {})
        snapshot = next((one for one in of_run if one.kind == (kind or "value")), snapshots[0])
        facts = {"sha256": address} | _facts(snapshot, among=of_run or snapshots)
        return Exported(prompt, facts, snapshot.run.recipe.backbone.config, snapshot.run.start)


def _facts(snapshot: schema.Snapshot, *, among: Sequence[schema.Snapshot]) -> dict[str, str]:
    """What is known of a snapshot; ``among`` are all that hold the same numbers, or those of the run asked for."""
    run, recipe, backbone = snapshot.run, snapshot.run.recipe, snapshot.run.recipe.backbone
    # the same numbers may have been trained for two backbones, and are then for neither alone
    fingerprints = {one.run.recipe.backbone.fingerprint for one in among} - {by_name(backbone.name)}
    facts = {
        "kind": snapshot.kind,
        "step": str(snapshot.step),
        "run": run.digest,
        "role": run.role,
        "task": run.task.name,
        "seed": str(run.seed),
        "score": str(run.score),
        "started_from": run.started_from,
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint if fingerprints == {backbone.fingerprint} else None,
        "recipe": json.dumps(recipe.options, sort_keys=True),
        "key_step": str(recipe.key_step),
        "recipe_family": recipe.family,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}
