"""keep annotations of objects"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "object_annotation",
        sa.Column("book", sa.String(length=32), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.String(length=64), nullable=False),
        sa.Column("checksum", sa.String(length=160), nullable=False),
        sa.Column("blob", sa.String(length=32), nullable=True),
        sa.Column("small", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("book", "name"),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("object_version", schema=None) as batch_op:
        batch_op.add_column(sa.Column("book", sa.String(length=32), nullable=True))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("object_version", schema=None) as batch_op:
        batch_op.drop_column("book")

    op.drop_table("object_annotation")
