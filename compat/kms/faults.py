"""KMS's errors."""

from __future__ import annotations

from compat.errors import AWSError


def not_found(what: str) -> AWSError:
    """The key, alias or grant does not exist."""
    return AWSError("NotFoundException", what)


def disabled(arn: str) -> AWSError:
    """The key is disabled."""
    return AWSError("DisabledException", f"{arn} is disabled.")


def invalid_state(arn: str, state: str) -> AWSError:
    """The key's state forbids it."""
    return AWSError("KMSInvalidStateException", f"{arn} is {state}.")


def invalid_ciphertext() -> AWSError:
    """The ciphertext is none, was changed, or belongs to another encryption context."""
    return AWSError("InvalidCiphertextException", "")


def invalid_usage(arn: str, usage: str, operation: str) -> AWSError:
    """The key is for something else."""
    return AWSError("InvalidKeyUsageException", f"{arn} key usage is {usage} which is not valid for {operation}.")


def unsupported(message: str) -> AWSError:
    """The key does not do that."""
    return AWSError("UnsupportedOperationException", message)


def invalid(message: str) -> AWSError:
    """A parameter says what cannot be."""
    return AWSError("ValidationException", message)
