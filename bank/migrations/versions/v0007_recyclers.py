"""Maps between backbones, by which prompts are recycled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bank.types import UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recycler",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("target_id", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("shared", sa.Integer(), nullable=False),
        sa.Column("cosine", sa.Double(), nullable=False),
        sa.Column("error", sa.Double(), nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.Column("created", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"], ["backbone.id"], name=op.f("fk_recycler_source_id_backbone")
        ),
        sa.ForeignKeyConstraint(
            ["target_id"], ["backbone.id"], name=op.f("fk_recycler_target_id_backbone")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recycler")),
        sa.UniqueConstraint("digest", name=op.f("uq_recycler_digest")),
        sa.UniqueConstraint("source_id", "target_id", "method", name=op.f("uq_recycler_source_id")),
    )


def downgrade() -> None:
    op.drop_table("recycler")
