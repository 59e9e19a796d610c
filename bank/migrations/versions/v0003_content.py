"""What was trained on, where a run started, and every option of a transfer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bank.types import Float32Array

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("data", sa.String(length=64), nullable=True))
    op.add_column("run", sa.Column("start", Float32Array(), nullable=True))
    op.add_column("task", sa.Column("content", sa.String(length=64), nullable=True))
    op.add_column("task", sa.Column("texts", sa.LargeBinary(), nullable=True))
    op.add_column("transfer", sa.Column("options", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("transfer", "options")
    op.drop_column("task", "texts")
    op.drop_column("task", "content")
    op.drop_column("run", "start")
    op.drop_column("run", "data")
