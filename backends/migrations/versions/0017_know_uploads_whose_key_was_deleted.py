"""know uploads whose key was deleted while they were open"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    with op.batch_alter_table("assembly", schema=None) as batch_op:
        batch_op.add_column(sa.Column("crossed", sa.SmallInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("assembly", schema=None) as batch_op:
        batch_op.drop_column("crossed")
