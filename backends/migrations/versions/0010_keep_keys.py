"""keep keys"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "master_key",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("spec", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("keeper", sa.String(length=32), nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("goes", sa.BigInteger(), nullable=True),
        sa.Column("turn_days", sa.Integer(), nullable=False),
        sa.Column("turns", sa.BigInteger(), nullable=True),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("master_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_master_key_tenant"), ["tenant"], unique=False)

    op.create_table(
        "master_key_grant",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("token", sa.String(length=256), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["master_key.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("master_key_grant", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_master_key_grant_key"), ["key"], unique=False)
        batch_op.create_index(batch_op.f("ix_master_key_grant_tenant"), ["tenant"], unique=False)
        batch_op.create_index(batch_op.f("ix_master_key_grant_token"), ["token"], unique=False)

    op.create_table(
        "master_key_material",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["master_key.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key", "number"),
    )
    with op.batch_alter_table("master_key_material", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_master_key_material_tenant"), ["tenant"], unique=False)

    op.create_table(
        "master_key_name",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["master_key.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant", "region", "name"),
    )
    with op.batch_alter_table("master_key_name", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_master_key_name_key"), ["key"], unique=False)


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("master_key_name", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_master_key_name_key"))

    op.drop_table("master_key_name")
    with op.batch_alter_table("master_key_material", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_master_key_material_tenant"))

    op.drop_table("master_key_material")
    with op.batch_alter_table("master_key_grant", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_master_key_grant_token"))
        batch_op.drop_index(batch_op.f("ix_master_key_grant_tenant"))
        batch_op.drop_index(batch_op.f("ix_master_key_grant_key"))

    op.drop_table("master_key_grant")
    with op.batch_alter_table("master_key", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_master_key_tenant"))

    op.drop_table("master_key")
