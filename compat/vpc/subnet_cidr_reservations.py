"""Reservations in subnets: ranges of which no address is given out unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from backends.network import cidr as ranges
from backends.network.errors import Malformed
from compat.describe import decode_token, encode_token
from compat.errors import AWSError
from compat.filters import split
from compat.operation import operation
from compat.records import Record, record_kind
from compat.vpc.facts import bad_value

if TYPE_CHECKING:
    from backends.network.models import Segment
    from compat.context import Context
    from compat.filters import Filters
    from compat.operation import Params, Result

KIND = record_kind(
    "subnet-cidr-reservation",
    prefix="scr-",
    missing="InvalidSubnetCidrReservationID.NotFound",
    malformed=None,
    id_member="SubnetCidrReservationId",
    label="subnet-cidr-reservation ID",
)


def _render(ctx: Context, row: Record) -> dict[str, Any]:
    return {**row.document, "SubnetCidrReservationId": row.id, "OwnerId": ctx.account, "Tags": ctx.tags(row.id)}


def _of(ctx: Context, subnet: Segment) -> list[Record]:
    """A subnet's reservations; `name` of the row is the subnet's id."""
    row = KIND.row
    return list(ctx.session.scalars(select(row).where(row.name == subnet.id).order_by(row.id)))


@operation(
    "ec2:CreateSubnetCidrReservation",
    on=("subnet/{SubnetId}", "subnet-cidr-reservation/*"),
    raises={Malformed: bad_value("cidr")},
)
def create_subnet_cidr_reservation(ctx: Context, p: Params) -> Result:
    """Hold a range of a subnet back: for prefixes, or for addresses that callers name."""
    subnet: Segment = ctx.find("subnet", p["SubnetId"])
    block = ranges.parse(p["Cidr"])
    whole = [one.cidr for one in subnet.ranges] if block.version == 6 else [subnet.cidr] * bool(subnet.cidr)
    if not ranges.inside(block, [ranges.parse(one) for one in whole]):
        raise AWSError(
            "InvalidParameterValue", f"Reservation CIDR should be within subnet CIDR block ({', '.join(whole)})"
        )
    held = [ranges.parse(one.document["Cidr"]) for one in _of(ctx, subnet)]
    if ranges.clash(block, held) is not None:
        raise AWSError(
            "InvalidParameterValue", f"Reservation CIDR {block} has overlap with existing reserved CIDR block"
        )
    document = {"SubnetId": subnet.id, "Cidr": str(block), "ReservationType": p["ReservationType"]}
    if p.get("Description"):
        document["Description"] = p["Description"]
    row = KIND.add(ctx, document, name=subnet.id)
    ctx.network.keep_back(subnet, [*map(str, held), str(block)])
    return {"SubnetCidrReservation": _render(ctx, row)}


FILTERS: Filters = {
    "reservationType": lambda ctx, row: row.document["ReservationType"],
    "subnet-id": lambda ctx, row: row.document["SubnetId"],
    "ReservationType": lambda ctx, row: row.document["ReservationType"],
    "SubnetId": lambda ctx, row: row.document["SubnetId"],
}


@operation("ec2:GetSubnetCidrReservations", on="subnet/{SubnetId}")
def get_subnet_cidr_reservations(ctx: Context, p: Params) -> Result:
    """A subnet's reservations, by IP version."""
    rows = _of(ctx, ctx.find("subnet", p["SubnetId"]))
    conditions, tests = split(p.get("Filters") or (), FILTERS, KIND.row.id)
    if conditions:
        wanted = set(ctx.session.scalars(select(KIND.row.id).where(*conditions)))
        rows = [row for row in rows if row.id in wanted]
    rows = [row for row in rows if all(test(ctx, row) for test in tests)]
    if p.get("NextToken"):
        after = decode_token(ctx.operation.key, p["NextToken"])
        rows = [row for row in rows if row.id > after]
    limit = p.get("MaxResults") or len(rows)
    shown = [_render(ctx, row) for row in rows[:limit]]
    result: Result = {
        "SubnetIpv4CidrReservations": [one for one in shown if ":" not in one["Cidr"]],
        "SubnetIpv6CidrReservations": [one for one in shown if ":" in one["Cidr"]],
    }
    if len(rows) > limit:
        result["NextToken"] = encode_token(ctx.operation.key, rows[limit - 1].id)
    return result


@operation(
    "ec2:DeleteSubnetCidrReservation",
    on="subnet-cidr-reservation/{SubnetCidrReservationId}",
)
def delete_subnet_cidr_reservation(ctx: Context, p: Params) -> Result:
    """Let the addresses of a range be given out again."""
    row: Record = ctx.find(KIND.name, p["SubnetCidrReservationId"])
    shown = _render(ctx, row)
    subnet: Segment = ctx.find("subnet", row.name)
    KIND.drop(ctx, row)
    ctx.network.keep_back(subnet, [one.document["Cidr"] for one in _of(ctx, subnet) if one.id != row.id])
    return {"DeletedSubnetCidrReservation": shown}


def forget_reservations(ctx: Context, subnet: Segment) -> None:
    """The subnet goes, and its reservations with it."""
    for row in _of(ctx, subnet):
        KIND.drop(ctx, row)
