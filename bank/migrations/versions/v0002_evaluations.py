"""Answers on a test split, and what a transfer spent on which budget."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("data", sa.String(length=64), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_evaluation_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint("run_id", "data", name=op.f("uq_evaluation_run_id")),
    )
    op.add_column(
        "transfer", sa.Column("budget", sa.String(), server_default="full", nullable=False)
    )
    op.add_column("transfer", sa.Column("steps", sa.Integer(), nullable=True))
    op.add_column("candidate", sa.Column("steps", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("candidate", "steps")
    op.drop_column("transfer", "steps")
    op.drop_column("transfer", "budget")
    op.drop_table("evaluation")
