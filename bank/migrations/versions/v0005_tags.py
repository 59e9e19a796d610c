"""Tags of runs, and runs that are removed until somebody wants them back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bank.types import UtcTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("removed", UtcTime(), nullable=True))
    op.create_table(
        "tag",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_tag_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tag")),
        sa.UniqueConstraint("run_id", "name", name=op.f("uq_tag_run_id")),
    )


def downgrade() -> None:
    op.drop_table("tag")
    op.drop_column("run", "removed")
