"""Native machinery: identity, objects, images, guests, disks and networks. Nothing here knows AWS."""
