"""What the settings ask to be there from the beginning."""

from __future__ import annotations

import secrets

from compat.context import Call
from compat.dispatch import Dispatcher, invoke
from compat.errors import AWSError
from compat.iam.principal import root
from gateway.settings import Settings


def make_buckets(dispatcher: Dispatcher, settings: Settings) -> None:
    """Make the buckets that the settings name, as the root of the default account would; those that exist stay.

    Raises `AWSError` for a name that no bucket can have, or that is another account's.
    """
    for name in settings.buckets:
        where = {} if settings.default_region == "us-east-1" else {"LocationConstraint": settings.default_region}
        call = Call(
            service="s3",
            name="CreateBucket",
            params={"Bucket": name} | ({"CreateBucketConfiguration": where} if where else {}),
            principal=root(settings.default_account),
            region=settings.default_region,
            request_id=secrets.token_hex(8),
        )
        try:
            invoke(dispatcher, call)
        except AWSError as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise
