"""What a bank knows about a prompt, and how much it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from bank import schema
from bank.integrity import verify as verify
from bank.sessions import reading
from bank.store import Bank
from bank.vectors import prompt_sha256

if TYPE_CHECKING:
    import numpy as np


def prompt_metadata(bank: Bank, prompt: np.ndarray) -> dict[str, str]:
    """What the bank knows about a prompt, as text, for the header of an exported file."""
    query = (
        select(schema.Snapshot)
        .join(schema.Snapshot.prompt)
        .where(schema.Prompt.sha256 == prompt_sha256(prompt))
        .order_by(schema.Snapshot.id)
        .limit(1)
    )
    with reading(bank.engine) as session:
        snapshot = session.scalars(query).one_or_none()
        if snapshot is None:
            return {"sha256": prompt_sha256(prompt)}
        run = snapshot.run
        return {
            "sha256": snapshot.prompt.sha256,
            "kind": snapshot.kind,
            "step": str(snapshot.step),
            "task": run.task.name,
            "seed": str(run.seed),
            "run": run.digest,
            "score": str(run.score),
            "backbone": run.recipe.backbone.name,
            "fingerprint": run.recipe.backbone.fingerprint,
        }


def statistics(bank: Bank) -> dict[str, int]:
    """Rows of every table."""
    with reading(bank.engine) as session:
        return {
            table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
            for table in schema.Base.metadata.sorted_tables
        }
