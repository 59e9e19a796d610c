"""How much a bank holds."""

from __future__ import annotations

from sqlalchemy import func, select

from bank import schema
from bank.sessions import reading
from bank.store import Bank


def statistics(bank: Bank) -> dict[str, int]:
    """Rows of every table."""
    with reading(bank.engine) as session:
        return {
            table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
            for table in schema.Base.metadata.sorted_tables
        }
