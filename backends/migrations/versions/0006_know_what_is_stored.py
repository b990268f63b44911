"""know what is stored: checksums of contents at rest, and how far work on the whole store has come"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "object_chore",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    for table, options in (("blob", {"sqlite_with_rowid": False}), ("object_small", {})):
        with op.batch_alter_table(table, schema=None, table_kwargs=options) as batch_op:
            batch_op.add_column(sa.Column("digest", sa.BigInteger(), nullable=True))
            batch_op.add_column(sa.Column("damage", sa.String(length=100), server_default="", nullable=False))
