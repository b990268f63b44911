"""The verbs of images, bound to one unit of work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete, select

from backends.db import Share, Unit
from backends.errors import Exists
from backends.image.models import Image, ImageState


class ImageService:
    """Adds, shares and removes images. Mappings name snapshots that the caller has looked up before."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    def add(
        self,
        *,
        id: str,
        name: str,
        architecture: str,
        root_device: str | None,
        mappings: list[dict[str, Any]],
        notes: dict[str, Any],
        ready: bool,
    ) -> Image:
        """A new private image of the caller's; `ready=False` leaves it pending until its snapshots are complete.

        Raises `Exists` (facts: name, image) when the tenant has an image of that name here.
        """
        session, scope = self.unit.session, self.unit.scope
        assert scope is not None, "an image belongs to somebody"
        taken = session.scalar(select(Image.id).where(Image.name == name, Image.tenant == scope.tenant))
        if taken is not None:
            raise Exists(name=name, image=taken)
        image = Image(
            id=id,
            public=False,
            name=name,
            state=ImageState.AVAILABLE if ready else ImageState.PENDING,
            architecture=architecture,
            root_device=root_device,
            mappings=mappings,
            created=self.unit.now,
            notes=notes,
        )
        session.add(image)
        if not ready:
            self.unit.nudge("volume")
        return image

    def remove(self, image: Image) -> None:
        """Forget the image and its grants. Its snapshots stay."""
        session = self.unit.session
        session.execute(delete(Share).where(Share.resource == image.id))
        session.delete(image)

    def granted(self, image: Image) -> list[str]:
        """The tenants that the image is shared with, sorted."""
        return granted(self.unit, image.id)

    def grant(self, image: Image, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Share the image with tenants, or stop sharing it. Repeating is harmless."""
        grant(self.unit, image.id, add=add, remove=remove)

    def using_snapshot(self, snapshot: str) -> list[str]:
        """The ids of the caller's images that have `snapshot` in their mappings."""
        scope = self.unit.scope
        assert scope is not None
        rows = self.unit.session.execute(select(Image.id, Image.mappings).where(Image.tenant == scope.tenant))
        return [id for id, mappings in rows if any(m.get("snapshot") == snapshot for m in mappings)]


def granted(unit: Unit, resource: str) -> list[str]:
    """The tenants that a shared row is granted to, sorted."""
    return list(unit.session.scalars(select(Share.tenant).where(Share.resource == resource).order_by(Share.tenant)))


def grant(unit: Unit, resource: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Add and remove grants of a shared row. Repeating is harmless."""
    present = set(granted(unit, resource))
    for tenant in sorted(set(add) - present):
        unit.session.add(Share(resource=resource, tenant=tenant))
    gone = set(remove) & present
    if gone:
        unit.session.execute(delete(Share).where(Share.resource == resource, Share.tenant.in_(gone)))
