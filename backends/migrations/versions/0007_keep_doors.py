"""keep doors"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "container_door",
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("container", sa.String(length=255), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("alias"),
        sa.UniqueConstraint("tenant", "region", "name"),
    )
    op.create_index(op.f("ix_container_door_container"), "container_door", ["container"], unique=False)
    op.create_index(op.f("ix_container_door_tenant"), "container_door", ["tenant"], unique=False)


def downgrade() -> None:
    """Take it back."""
    op.drop_index(op.f("ix_container_door_tenant"), table_name="container_door")
    op.drop_index(op.f("ix_container_door_container"), table_name="container_door")
    op.drop_table("container_door")
