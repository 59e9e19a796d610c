"""Prompts of any form, members of mixtures, transfers from single sources, and how answers were decoded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SINGLE = ("best", "oracle", "generic", "imported")
"""Methods of those days that start each run from one source."""


def upgrade() -> None:
    op.add_column("prompt", sa.Column("shape", sa.JSON(), nullable=True))
    op.add_column("evaluation", sa.Column("decoding", sa.JSON(), nullable=True))
    op.add_column(
        "transfer", sa.Column("single", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    transfer = sa.table(
        "transfer", sa.column("method", sa.String()), sa.column("single", sa.Boolean())
    )
    op.execute(sa.update(transfer).where(transfer.c.method.in_(SINGLE)).values(single=sa.true()))
    op.create_table(
        "member",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_member_task_id_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_member")),
        sa.UniqueConstraint("task_id", "name", name=op.f("uq_member_task_id")),
    )
    member = sa.table("member", sa.column("task_id", sa.Integer()), sa.column("name", sa.String()))
    for task, description in (
        op.get_bind().execute(sa.text("SELECT id, description FROM task")).all()
    ):
        for name in _members(description):
            op.execute(sa.insert(member).values(task_id=task, name=name))


def _members(description: Any) -> Iterator[str]:
    """Names of a mixture's members, each once; what is damaged names none, and is left to be found."""
    try:
        names = (json.loads(description) if isinstance(description, str | bytes) else description)[
            "tasks"
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    if isinstance(names, list):
        yield from dict.fromkeys(name for name in names if isinstance(name, str))


def downgrade() -> None:
    op.drop_table("member")
    op.drop_column("transfer", "single")
    op.drop_column("evaluation", "decoding")
    op.drop_column("prompt", "shape")
