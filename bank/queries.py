"""Integrity of a bank."""

from __future__ import annotations

from sqlalchemy import func, select, text

from bank import schema
from bank.sessions import reading
from bank.store import Bank
from bank.vectors import belong, prompt_sha256


def verify(bank: Bank) -> list[str]:
    """Problems found: damaged prompts, missing or wrong key vectors, runs without a value; empty if sound."""
    problems = []
    with reading(bank.engine) as session:
        if bank.engine.dialect.name == "sqlite":
            answer = session.execute(text("PRAGMA integrity_check")).scalars().all()
            problems += [f"database: {line}" for line in answer if line != "ok"]
            broken = session.execute(text("PRAGMA foreign_key_check")).all()
            problems += [f"database: row {row[1]} of {row[0]} refers to a missing {row[2]}" for row in broken]
        for prompt in session.scalars(select(schema.Prompt)).yield_per(64):
            problems += _prompt_problems(prompt)
        with_value = select(schema.Snapshot.run_id).where(schema.Snapshot.kind == "value")
        for run in session.scalars(select(schema.Run).where(schema.Run.id.not_in(with_value))):
            problems.append(f"run {run.digest[:12]}: has no value prompt")
    return problems


def _prompt_problems(prompt: schema.Prompt) -> list[str]:
    name = f"prompt {prompt.sha256[:12]}"
    if prompt.values.size != prompt.length * prompt.width:
        return [f"{name}: {prompt.values.size} numbers stored, expected {prompt.length} x {prompt.width}"]
    values = prompt.values.reshape(prompt.length, prompt.width)
    if prompt_sha256(values) != prompt.sha256:
        return [f"{name}: checksum differs from its address"]
    if prompt.vectors is None:
        return [f"{name}: has no key vectors"]
    if not belong(values, (prompt.vectors.average, prompt.vectors.average_normalized)):
        return [f"{name}: key vectors do not belong to it"]
    return []


def statistics(bank: Bank) -> dict[str, int]:
    """Rows of every table."""
    with reading(bank.engine) as session:
        return {
            table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
            for table in schema.Base.metadata.sorted_tables
        }
