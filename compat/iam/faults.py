"""What identity's native errors are called in IAM, with its wordings and quotas."""

from __future__ import annotations

from typing import Any

from backends.errors import Exists, InUse, Missing
from compat.errors import AWSError
from compat.iam.policy.document import Malformed
from compat.operation import Raises

MISSING = {
    "user": "The user with name {name} cannot be found.",
    "group": "The group with name {name} cannot be found.",
    "role": "The role with name {name} cannot be found.",
    "profile": "Instance Profile {name} cannot be found.",
    "policy": "Policy {name} was not found.",
    "attachment": "Policy {name} was not found.",
    "version": "Policy version {name} does not exist or is not attachable.",
    "key": "The Access Key with id {name} cannot be found.",
    "password": "Login Profile for User {name} cannot be found.",
    "membership": "The user with name {name} cannot be found.",
}
EXISTS = {
    "user": "User with name {name} already exists.",
    "group": "Group with name {name} already exists.",
    "role": "Role with name {name} already exists.",
    "profile": "Instance Profile {name} already exists.",
    "policy": "A policy called {name} already exists. Duplicate names are not allowed.",
}
IN_USE = {
    "access keys": "Cannot delete entity, must delete access keys first.",
    "login profile": "Cannot delete entity, must delete login profile first.",
    "inline policies": "Cannot delete entity, must delete policies first.",
    "attached policies": "Cannot delete entity, must detach all policies first.",
    "groups": "Cannot delete entity, must remove users from group first.",
    "users": "Cannot delete entity, must remove users from group first.",
    "possessions": "Cannot delete entity, must remove referenced objects first.",
    "profiles": "Cannot delete entity, must remove roles from instance profile first.",
    "roles": "Cannot delete entity, must remove roles from instance profile first.",
    "attachments": "Cannot delete a policy attached to entities.",
    "boundaries": "Cannot delete a policy that is used as a permissions boundary.",
    "versions": (
        "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
        "The default version is deleted with the policy."
    ),
    "default version": "Cannot delete the default version of a policy.",
}


def _missing(fact: Any) -> AWSError:
    if fact.kind == "inline policy":
        return AWSError("NoSuchEntity", f"The {fact.holder} policy with name {fact.name} cannot be found.")
    return AWSError("NoSuchEntity", MISSING[fact.kind].format(name=fact.name))


def _exists(fact: Any) -> AWSError:
    return AWSError("EntityAlreadyExists", EXISTS[fact.kind].format(name=fact.name))


def _in_use(fact: Any) -> AWSError:
    return AWSError("DeleteConflict", IN_USE[fact.by])


FAULTS: Raises = {Missing: _missing, Exists: _exists, InUse: _in_use}
"""For `raises=` of every operation of IAM."""


def malformed(fault: Malformed) -> AWSError:
    """The error for a policy document that breaks the grammar."""
    return AWSError("MalformedPolicyDocument", str(fault))


def limit(quota: str, number: int) -> AWSError:
    """The error for what would go beyond a quota."""
    return AWSError("LimitExceeded", f"Cannot exceed quota for {quota}: {number}")


def no_such(message: str) -> AWSError:
    """NoSuchEntity."""
    return AWSError("NoSuchEntity", message)


def invalid_input(message: str) -> AWSError:
    """InvalidInput."""
    return AWSError("InvalidInput", message)
