"""One value per call: who, where, when, and the backends bound to the call's unit of work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, select

from backends.db import Scope, ScopedSession, Unit
from backends.statement import Statement
from compat import tags as tagging
from compat.errors import AWSError
from compat.kinds import KINDS, Kind
from compat.operation import Operation, Params

if TYPE_CHECKING:
    from backends.compute.service import ComputeService
    from backends.identity.service import IdentityService
    from backends.image.service import ImageService
    from backends.metrics.service import MetricService
    from backends.network.service import NetworkService
    from backends.object.containers import ContainerService
    from backends.object.store import ObjectStore
    from backends.volume.service import VolumeService
    from compat.cloud import Cloud
    from compat.iam.principal import Principal
    from compat.streams import RequestBody


@lru_cache(None)
def _count(row: Any) -> Statement:
    """How many rows of a class one tenant has, in one region where rows have regions."""
    count = select(func.count()).select_from(row).where(row.tenant == bindparam("t", ""))
    if not hasattr(row, "region"):
        return Statement(count, "t")
    return Statement(count.where(row.region == bindparam("r", "")), "t", "r")


# Services whose resources belong to an account, not to a region.
GLOBAL_SERVICES = frozenset({"iam", "sts"})


def host_id(request_id: str) -> str:
    """The second id of a request to S3, which is another one than the first and says nothing more."""
    return request_id[::-1]


def partition_of(region: str) -> str:
    """The partition of a region, as it stands in ARNs."""
    if region.startswith("cn-"):
        return "aws-cn"
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    return "aws"


@dataclass(slots=True)
class Call:
    """A request as the gateway understood it.

    `raw` is the request's parameters as they came, when they came in one piece: equal bytes are equal calls.
    `headers` are those a policy or a handler may ask for, lower-case.
    """

    service: str
    name: str
    params: Params
    principal: Principal
    region: str
    request_id: str
    raw: bytes | None = None
    plain: bool = False
    """Whether nothing of the request beside `params` can change its answer."""
    source_ip: str = "127.0.0.1"
    tls: tuple[str, str] | None = None
    """Version and cipher of the connection (`TLSv1.3`, `TLS_AES_256_GCM_SHA384`); None where it is not sealed."""
    user_agent: str = ""
    headers: Mapping[str, str] | None = None
    auth_type: str = "header"
    """How the caller proved itself: `header`, `query` (presigned), `post` or `anonymous`."""
    signature_version: str = "AWS4-HMAC-SHA256"
    signature_age: int = 0
    """Seconds since the signature was made."""
    body: RequestBody | None = None


class Context:
    """What a handler knows of its call. Reading `now` in a read operation keeps its answer from being cached."""

    def __init__(self, cloud: Cloud, operation: Operation, call: Call) -> None:
        self.cloud = cloud
        self.rules = cloud.rules
        self.operation = operation
        self.call = call
        self.params = call.params
        self.principal = call.principal
        self.account = call.principal.account
        self.region = call.region
        self.request_id = call.request_id
        self.source_ip = call.source_ip
        self.body = call.body
        self.volatile = False
        self.lasts = False
        """Whether the answer depends on nothing but the parameters, the caller and what is stored (see `lasting`)."""
        self.besides: dict[str, Any] | None = None
        """Members of the answer that come from where the call was looked at, not from its handler."""
        self.prepared: Any = None
        """What a Describe fetched in one go for its renderers."""
        self._moment: datetime | None = None
        self._unit: Unit | None = None
        self._reading: contextlib.AbstractContextManager[Unit] | None = None
        self._tags: dict[str, tagging.TagList] = {}
        self._minted: set[str] = set()
        self._services: dict[str, Any] = {}

    @property
    def partition(self) -> str:
        """The partition of the call's region: `aws`, `aws-cn` or `aws-us-gov`."""
        return partition_of(self.region)

    @property
    def now(self) -> datetime:
        """The moment of the call: one value, however often it is read."""
        self.volatile = True
        if self._moment is None:
            self._moment = self.cloud.database.clock()
        return self._moment

    @property
    def scope(self) -> Scope:
        """Whose rows this call may see."""
        return Scope(self.account, "" if self.operation.service in GLOBAL_SERVICES else self.region)

    # --- units of work -------------------------------------------------------------------------------------------

    @property
    def unit(self) -> Unit:
        """The open unit of work; where none is open (authorisation, say), one for reading is opened for the rest of
        the phase."""
        if self._unit is None:
            self._reading = self.cloud.database.unit(self.scope, write=False)
            self._unit = self._reading.__enter__()
        return self._unit

    @property
    def session(self) -> ScopedSession:
        """The open unit's session."""
        return self.unit.session

    @contextlib.contextmanager
    def transaction(self, *, write: bool) -> Iterator[Unit]:
        """A unit of work of its own, for the block: committed at its end. Nothing may be waited for inside."""
        self.close()
        with self.cloud.database.unit(self.scope, write=write, now=self._moment) as unit:
            self._unit = unit
            try:
                yield unit
            finally:
                self._detach()

    def close(self) -> None:
        """Close a unit that was opened for reading."""
        if self._unit is not None:
            if self._reading is not None:
                reading, self._reading = self._reading, None
                reading.__exit__(None, None, None)
            self._detach()

    def _detach(self) -> None:
        self._unit = None
        self._services.clear()

    def _service(self, name: str) -> Any:
        unit = self.unit
        service = self._services.get(name)
        if service is None or service.unit is not unit:
            service = self._services[name] = self.cloud.services[name](unit)
        return service

    # --- resources -----------------------------------------------------------------------------------------------

    def mint(self, kind: str) -> str:
        """A new id, counted against the quota, with the tags that the call gives to this kind. The only birth."""
        about = KINDS[kind]
        if about.quota is not None and self._held(about) >= about.quota:
            raise AWSError(
                about.quota_code, f"The maximum number of {kind} resources ({about.quota}) has been reached."
            )
        id = about.mints()
        self._minted.add(kind)
        tags = [
            tag
            for specification in self.params.get("TagSpecifications") or self.params.get("TagSpecification") or ()
            if specification.get("ResourceType") == kind
            for tag in specification.get("Tags") or ()
        ]
        self._tags[id] = tagging.give_tags(self, kind, id, tags) if tags else []
        return id

    def begin(self) -> None:
        """Another attempt of the call begins: nothing is born yet."""
        self._tags.clear()
        self._minted.clear()

    def refuse_stray_tags(self) -> None:
        """Refuse tags for a kind of resource that the call did not make: they would be lost."""
        for one in self.params.get("TagSpecifications") or self.params.get("TagSpecification") or ():
            kind = one.get("ResourceType")
            if not kind:
                raise AWSError("InvalidParameterValue", "Tag specification resource type must have a value")
            if kind not in self._minted:
                raise AWSError(
                    "InvalidParameterValue", f"'{kind}' is not a valid taggable resource type for this operation."
                )

    def _held(self, about: Kind) -> int:
        """How many of a kind the account has here."""
        self.unit.flush()
        tenant, region = self.scope
        counted: Any = about.row
        row = self.unit.one(_count(counted), *((tenant, region) if hasattr(counted, "region") else (tenant,)))
        return 0 if row is None else int(row[0])

    def find(self, kind: str, id: str | None) -> Any:
        """The row with that id, in the caller's sight; AWS's own error when malformed or absent. The way to a row."""
        about = KINDS[kind]
        if not id:
            raise AWSError("MissingParameter", f"The request must contain the parameter {about.label}")
        about.check(id)
        row = self.session.scalar(select(about.row).where(about.row.id == id))
        if row is None:
            raise about.absent(id)
        return row

    def find_all(self, kind: str, ids: Iterable[str]) -> list[Any]:
        """The rows with those ids, in that order, each once; the first that is malformed or absent is the error."""
        about = KINDS[kind]
        wanted = list(dict.fromkeys(ids))
        for id in wanted:
            about.check(id)
        found = {row.id: row for row in self.session.scalars(select(about.row).where(about.row.id.in_(wanted)))}
        absent = [id for id in wanted if id not in found]
        if absent:
            raise about.all_absent(absent)
        return [found[id] for id in wanted]

    def arn(self, service: str, resource: str, *, region: str | None = None, account: str | None = None) -> str:
        """An ARN in the call's partition; region and account are the call's unless given."""
        region = self.region if region is None else region
        account = self.account if account is None else account
        return f"arn:{self.partition}:{service}:{region}:{account}:{resource}"

    # --- tags ----------------------------------------------------------------------------------------------------

    def tags(self, id: str) -> tagging.TagList:
        """The tags of a resource, in key order."""
        if id not in self._tags:
            self._tags.update(tagging.tags_of(self, (id,)))
        return self._tags[id]

    def preload_tags(self, ids: Iterable[str]) -> None:
        """Fetch the tags of many resources in one query, for the renderers."""
        unknown = [id for id in ids if id not in self._tags]
        if unknown:
            self._tags.update(tagging.tags_of(self, unknown))

    def forget_tags(self, id: str) -> None:
        """The resource's tags changed."""
        self._tags.pop(id, None)

    # --- backends, bound to the open unit (each service keeps its unit as `unit`) -----------------------------------

    @property
    def identity(self) -> IdentityService:
        """Users, groups, roles, policies, keys."""
        return self._service("identity")  # type: ignore[no-any-return]

    @property
    def network(self) -> NetworkService:
        """Networks, segments, ports, addresses, rules."""
        return self._service("network")  # type: ignore[no-any-return]

    @property
    def images(self) -> ImageService:
        """Images that guests start from."""
        return self._service("images")  # type: ignore[no-any-return]

    @property
    def volumes(self) -> VolumeService:
        """Disks and snapshots."""
        return self._service("volumes")  # type: ignore[no-any-return]

    @property
    def compute(self) -> ComputeService:
        """Guests."""
        return self._service("compute")  # type: ignore[no-any-return]

    @property
    def metrics(self) -> MetricService:
        """Measured series."""
        return self._service("metrics")  # type: ignore[no-any-return]

    @property
    def containers(self) -> ContainerService:
        """Containers, to be changed. What they are is read from `cloud.hosts["containers"]`."""
        return self._service("containers")  # type: ignore[no-any-return]

    @property
    def objects(self) -> ObjectStore:
        """Containers and objects. One for the process: it opens its own short transactions."""
        return self.cloud.hosts["objects"]  # type: ignore[no-any-return]
