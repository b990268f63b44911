"""say why disks fail, and how far copies are"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    with op.batch_alter_table("disk", schema=None) as batch_op:
        batch_op.add_column(sa.Column("reason", sa.String(length=255), server_default="", nullable=False))
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.add_column(sa.Column("progress", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("reason", sa.String(length=255), server_default="", nullable=False))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.drop_column("reason")
        batch_op.drop_column("progress")
    with op.batch_alter_table("disk", schema=None) as batch_op:
        batch_op.drop_column("reason")
