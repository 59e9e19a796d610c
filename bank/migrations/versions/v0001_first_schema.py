"""First schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bank.types import Float32Array, UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backbone",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backbone")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_backbone_fingerprint")),
    )
    op.create_table(
        "prompt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("values", Float32Array(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt")),
        sa.UniqueConstraint("sha256", name=op.f("uq_prompt_sha256")),
    )
    op.create_table(
        "task",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("description", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("name", name=op.f("uq_task_name")),
    )
    op.create_table(
        "key_vectors",
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("average", Float32Array(), nullable=False),
        sa.Column("average_normalized", Float32Array(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_key_vectors_prompt_id_prompt")
        ),
        sa.PrimaryKeyConstraint("prompt_id", name=op.f("pk_key_vectors")),
    )
    op.create_table(
        "recipe",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("backbone_id", sa.Integer(), nullable=False),
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("prompt_length", sa.Integer(), nullable=False),
        sa.Column("key_step", sa.Integer(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["backbone_id"], ["backbone.id"], name=op.f("fk_recipe_backbone_id_backbone")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipe")),
        sa.UniqueConstraint("digest", name=op.f("uq_recipe_digest")),
    )
    op.create_index(op.f("ix_recipe_family"), "recipe", ["family"], unique=False)
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("recipe_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("history", sa.JSON(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("started_from", sa.String(length=64), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "role in ('source','query','baseline','transfer')", name=op.f("ck_run_role")
        ),
        sa.ForeignKeyConstraint(["recipe_id"], ["recipe.id"], name=op.f("fk_run_recipe_id_recipe")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_run_task_id_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("digest", name=op.f("uq_run_digest")),
    )
    op.create_index(op.f("ix_run_recipe_id"), "run", ["recipe_id"], unique=False)
    op.create_index(op.f("ix_run_task_id"), "run", ["task_id"], unique=False)
    op.create_table(
        "snapshot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.CheckConstraint("kind in ('key','value')", name=op.f("ck_snapshot_kind")),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_snapshot_prompt_id_prompt")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_snapshot_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("run_id", "kind", name=op.f("uq_snapshot_run_id")),
    )
    op.create_index(op.f("ix_snapshot_prompt_id"), "snapshot", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_snapshot_run_id"), "snapshot", ["run_id"], unique=False)
    op.create_table(
        "transfer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("similarity", sa.String(), nullable=False),
        sa.Column("top_k", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("query_run_id", sa.Integer(), nullable=False),
        sa.Column("baseline_run_id", sa.Integer(), nullable=True),
        sa.Column("chosen_run_id", sa.Integer(), nullable=False),
        sa.Column("baseline_metrics", sa.JSON(), nullable=True),
        sa.Column("outcome_metrics", sa.JSON(), nullable=False),
        sa.Column("created", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["baseline_run_id"], ["run.id"], name=op.f("fk_transfer_baseline_run_id_run")
        ),
        sa.ForeignKeyConstraint(
            ["chosen_run_id"], ["run.id"], name=op.f("fk_transfer_chosen_run_id_run")
        ),
        sa.ForeignKeyConstraint(
            ["query_run_id"], ["run.id"], name=op.f("fk_transfer_query_run_id_run")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_transfer_task_id_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer")),
        sa.UniqueConstraint("digest", name=op.f("uq_transfer_digest")),
    )
    op.create_index(op.f("ix_transfer_task_id"), "transfer", ["task_id"], unique=False)
    op.create_table(
        "candidate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transfer_id", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("source_run_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("similarity", sa.Double(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_candidate_run_id_run")),
        sa.ForeignKeyConstraint(
            ["source_run_id"], ["run.id"], name=op.f("fk_candidate_source_run_id_run")
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfer.id"], name=op.f("fk_candidate_transfer_id_transfer")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidate")),
        sa.UniqueConstraint("transfer_id", "rank", name=op.f("uq_candidate_transfer_id")),
    )
    op.create_index(op.f("ix_candidate_transfer_id"), "candidate", ["transfer_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_candidate_transfer_id"), table_name="candidate")
    op.drop_table("candidate")
    op.drop_index(op.f("ix_transfer_task_id"), table_name="transfer")
    op.drop_table("transfer")
    op.drop_index(op.f("ix_snapshot_run_id"), table_name="snapshot")
    op.drop_index(op.f("ix_snapshot_prompt_id"), table_name="snapshot")
    op.drop_table("snapshot")
    op.drop_index(op.f("ix_run_task_id"), table_name="run")
    op.drop_index(op.f("ix_run_recipe_id"), table_name="run")
    op.drop_table("run")
    op.drop_index(op.f("ix_recipe_family"), table_name="recipe")
    op.drop_table("recipe")
    op.drop_table("key_vectors")
    op.drop_table("task")
    op.drop_table("prompt")
    op.drop_table("backbone")
