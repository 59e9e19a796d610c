"""Snapshots of the own part of a prompt that shares another part with those of other tasks."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _allow("kind in ('key','value','own')")


def downgrade() -> None:
    op.execute("DELETE FROM snapshot WHERE kind = 'own'")
    _allow("kind in ('key','value')")


def _allow(kinds: str) -> None:
    """Another check of kinds; in SQLite in a table made anew, which can change none."""
    name = op.f("ck_snapshot_kind")
    with op.batch_alter_table("snapshot") as table:
        table.drop_constraint(name, type_="check")
        table.create_check_constraint(name, kinds)
