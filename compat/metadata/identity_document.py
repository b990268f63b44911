"""The instance identity document and its signatures, made with the certificate of this deployment."""

from __future__ import annotations

import base64
import textwrap

from backends.identity.signet import Signet
from compat.metadata.instance import Instance
from compat.metadata.tree import Node, pretty


def document(instance: Instance) -> str:
    """The document, in AWS's order of members."""
    guest, shown = instance.guest, instance.shown
    private = instance.ports[0].private() if instance.ports else None
    return pretty(
        {
            "accountId": guest.tenant,
            "architecture": guest.architecture,
            "availabilityZone": guest.zone,
            "billingProducts": None,
            "devpayProductCodes": None,
            "marketplaceProductCodes": None,
            "imageId": guest.image,
            "instanceId": guest.id,
            "instanceType": guest.flavor,
            "kernelId": shown.get("KernelId"),
            "pendingTime": f"{guest.launched:%Y-%m-%dT%H:%M:%SZ}",
            "privateIp": None if private is None else private.ip,
            "ramdiskId": shown.get("RamdiskId"),
            "region": guest.region,
            "version": "2017-09-30",
        }
    )


def signed(instance: Instance, signet: Signet) -> dict[str, Node]:
    """The folder `dynamic/instance-identity`. Where AWS signs `pkcs7` with DSA, both PKCS #7 texts bear RSA here."""
    text = document(instance)

    def enclosed() -> str:
        return _lines(signet.enclose(text.encode()))

    return {
        "document": text,
        "pkcs7": enclosed,
        "rsa2048": enclosed,
        "signature": lambda: _lines(signet.sign(text.encode())),
    }


def _lines(data: bytes) -> str:
    """Base64 in lines of 64, as PEM has them."""
    return "\n".join(textwrap.wrap(base64.b64encode(data).decode(), 64))
