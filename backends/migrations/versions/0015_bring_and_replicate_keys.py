"""bring and replicate keys"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    with op.batch_alter_table("master_key", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lingers", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("outside", sa.Boolean(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("original", sa.String(length=64), nullable=True))
        batch_op.create_index(batch_op.f("ix_master_key_original"), ["original"], unique=False)

    with op.batch_alter_table("master_key_material", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ends", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("mark", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("master_key_material", schema=None) as batch_op:
        batch_op.drop_column("mark")
        batch_op.drop_column("ends")

    with op.batch_alter_table("master_key", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_master_key_original"))
        batch_op.drop_column("original")
        batch_op.drop_column("outside")
        batch_op.drop_column("lingers")
