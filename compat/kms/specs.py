"""Key specs: what each is natively, what it is for, and by which algorithms."""

from __future__ import annotations

from typing import NamedTuple

SYMMETRIC = "SYMMETRIC_DEFAULT"
ENCRYPT, SIGN, MAC, AGREE = "ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"

_OAEP = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")
_RSA = tuple(f"RSASSA_{scheme}_SHA_{bits}" for scheme in ("PKCS1_V1_5", "PSS") for bits in (256, 384, 512))


class Spec(NamedTuple):
    """A key spec. `uses`: key usage → the algorithms that go with it; the first usage is the default, where there is
    one."""

    native: str
    uses: dict[str, tuple[str, ...]]
    default: str | None = None


SPECS: dict[str, Spec] = {
    SYMMETRIC: Spec("SYMMETRIC", {ENCRYPT: (SYMMETRIC,)}, ENCRYPT),
    **{f"RSA_{bits}": Spec(f"RSA_{bits}", {ENCRYPT: _OAEP, SIGN: _RSA}) for bits in (2048, 3072, 4096)},
    **{
        f"ECC_NIST_P{bits}": Spec(f"P{bits}", {SIGN: (f"ECDSA_SHA_{digest}",), AGREE: ("ECDH",)})
        for bits, digest in ((256, 256), (384, 384), (521, 512))
    },
    "ECC_SECG_P256K1": Spec("P256K1", {SIGN: ("ECDSA_SHA_256",)}),
    "ECC_NIST_EDWARDS25519": Spec("ED25519", {SIGN: ("ED25519_SHA_512",)}),
    **{f"HMAC_{bits}": Spec(f"HMAC_{bits}", {MAC: (f"HMAC_SHA_{bits}",)}) for bits in (224, 256, 384, 512)},
}
BY_NATIVE = {spec.native: name for name, spec in SPECS.items()}
MEMBERS = {
    ENCRYPT: "EncryptionAlgorithms",
    SIGN: "SigningAlgorithms",
    MAC: "MacAlgorithms",
    AGREE: "KeyAgreementAlgorithms",
}
"""Key usage → the member that lists algorithms."""
PAIRS = frozenset(name for name in SPECS if name.startswith(("RSA", "ECC")))


def signing(algorithm: str) -> tuple[str, str]:
    """Scheme and digest of a signing algorithm."""
    if algorithm.startswith("ED25519"):
        return "EDDSA", ""
    scheme = "PKCS1" if "PKCS1" in algorithm else "PSS" if "PSS" in algorithm else "ECDSA"
    return scheme, "SHA_" + algorithm.rpartition("_")[2]
