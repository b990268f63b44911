"""Launch templates: numbered versions of what a launch says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select

from compat.context import Context
from compat.describe import page
from compat.ec2.listing import cut, walk
from compat.errors import AWSError
from compat.filters import Filters, as_texts, matches
from compat.operation import Params, Result, operation
from compat.records import Record, record_kind

TEMPLATE = record_kind(
    "launch-template",
    prefix="lt-",
    missing="InvalidLaunchTemplateId.NotFound",
    malformed="InvalidLaunchTemplateId.Malformed",
    id_member="LaunchTemplateId",
    label="launch template ID",
    message="The specified launch template, with template ID {id}, does not exist.",
    ids="LaunchTemplateIds",
)

Version = dict[str, Any]


def template(ctx: Context, id: str | None, name: str | None) -> Record:
    """The template that a call names by id or name."""
    if id and name:
        raise AWSError("InvalidParameterCombination", "Give either LaunchTemplateId or LaunchTemplateName, not both.")
    if name:
        found = TEMPLATE.named(ctx, name)
        if found is None:
            raise AWSError(
                "InvalidLaunchTemplateName.NotFoundException",
                f"The specified launch template, with template name {name}, does not exist.",
            )
        return found
    if not id:
        raise AWSError("MissingParameter", "The request must contain LaunchTemplateId or LaunchTemplateName")
    row: Record = ctx.find(TEMPLATE.name, id)
    return row


def version_of(row: Record, wanted: str | None) -> Version:
    """A version by number, `$Latest` or `$Default` (the one meant when nothing is said)."""
    document = row.document
    number = {
        None: document["default"],
        "": document["default"],
        "$Default": document["default"],
        "$Latest": document["latest"],
    }
    key = str(number.get(wanted, wanted))
    found: Version | None = document["versions"].get(key)
    if found is None:
        raise AWSError(
            "InvalidLaunchTemplateId.VersionNotFound",
            f"Could not find the specified version {wanted} for the launch template with ID {row.id}.",
        )
    return found


def with_template(ctx: Context, p: Params) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """A launch's parameters laid over those of its template, and the tags that the template gives, by kind."""
    named = p.get("LaunchTemplate")
    if not named:
        return dict(p), {}
    row = template(ctx, named.get("LaunchTemplateId"), named.get("LaunchTemplateName"))
    version = version_of(row, named.get("Version"))
    data: dict[str, Any] = version["data"]
    merged = {member: value for member, value in data.items() if member != "TagSpecifications"}
    for member, value in p.items():
        if value is None or value in ([], {}):
            continue
        held = merged.get(member)
        merged[member] = {**held, **value} if isinstance(held, dict) and isinstance(value, dict) else value
    if p.get("NetworkInterfaces") or p.get("SubnetId") or p.get("SecurityGroupIds") or p.get("SecurityGroups"):
        _settle_network(merged, p)
    tags: dict[str, list[dict[str, Any]]] = {
        one["ResourceType"]: list(one.get("Tags") or ())
        for one in data.get("TagSpecifications") or ()
        if "ResourceType" in one
    }
    tags.setdefault("instance", []).extend(
        [
            {"Key": "aws:ec2launchtemplate:id", "Value": row.id},
            {"Key": "aws:ec2launchtemplate:version", "Value": str(version["number"])},
        ]
    )
    return merged, tags


def _settle_network(merged: dict[str, Any], p: Params) -> None:
    """A call's subnet and groups go into the template's first interface, where the template has interfaces."""
    cards = merged.get("NetworkInterfaces")
    if p.get("NetworkInterfaces"):
        for member in ("SubnetId", "SecurityGroupIds", "SecurityGroups"):
            merged.pop(member, None)
    elif cards:
        first = dict(cards[0])
        if p.get("SubnetId"):
            first["SubnetId"] = p["SubnetId"]
        if p.get("SecurityGroupIds"):
            first["Groups"] = p["SecurityGroupIds"]
        merged["NetworkInterfaces"] = [first, *cards[1:]]
        for member in ("SubnetId", "SecurityGroupIds", "SecurityGroups"):
            merged.pop(member, None)


def _version(ctx: Context, number: int, p: Params, data: dict[str, Any]) -> Version:
    return {
        "number": number,
        "description": p.get("VersionDescription"),
        "created": as_texts(ctx.now)[0],
        "by": ctx.principal.arn,
        "data": data,
    }


def _plain(value: Any) -> Any:
    """Launch data as JSON can hold it."""
    if isinstance(value, Mapping):
        return {member: _plain(one) for member, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return as_texts(value)[0] if isinstance(value, datetime) else value


def render_template(ctx: Context, row: Record) -> dict[str, Any]:
    """A template in AWS's form."""
    return {
        "LaunchTemplateId": row.id,
        "LaunchTemplateName": row.name,
        "CreateTime": row.created,
        "CreatedBy": row.document["versions"][min(row.document["versions"], key=int)]["by"],
        "DefaultVersionNumber": row.document["default"],
        "LatestVersionNumber": row.document["latest"],
        "Tags": ctx.tags(row.id),
        "Operator": {"Managed": False},
    }


def render_version(row: Record, version: Version) -> dict[str, Any]:
    """A version of a template in AWS's form."""
    answer = {
        "LaunchTemplateId": row.id,
        "LaunchTemplateName": row.name,
        "VersionNumber": version["number"],
        "VersionDescription": version["description"],
        "CreateTime": datetime.fromisoformat(version["created"]),
        "CreatedBy": version["by"],
        "DefaultVersion": version["number"] == row.document["default"],
        "LaunchTemplateData": version["data"],
        "Operator": {"Managed": False},
    }
    return {member: value for member, value in answer.items() if value is not None}


@operation("ec2:CreateLaunchTemplate", on="launch-template/*")
def create_launch_template(ctx: Context, p: Params) -> Result:
    """Keep a template with its first version."""
    name = p["LaunchTemplateName"]
    if TEMPLATE.named(ctx, name) is not None:
        raise AWSError("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
    first = _version(ctx, 1, p, _plain(p["LaunchTemplateData"]))
    row = TEMPLATE.add(ctx, {"default": 1, "latest": 1, "versions": {"1": first}}, name=name)
    return {"LaunchTemplate": render_template(ctx, row)}


@operation("ec2:CreateLaunchTemplateVersion", on=lambda ctx, p: [f"launch-template/{p.get('LaunchTemplateId') or '*'}"])
def create_launch_template_version(ctx: Context, p: Params) -> Result:
    """Add a version, on top of another one if the call says so."""
    row = template(ctx, p.get("LaunchTemplateId"), p.get("LaunchTemplateName"))
    data = _plain(p["LaunchTemplateData"])
    if p.get("SourceVersion"):
        data = {**version_of(row, p["SourceVersion"])["data"], **data}
    number = row.document["latest"] + 1
    version = _version(ctx, number, p, data)
    row.document = {**row.document, "latest": number, "versions": {**row.document["versions"], str(number): version}}
    return {"LaunchTemplateVersion": render_version(row, version)}


@operation("ec2:ModifyLaunchTemplate", on=lambda ctx, p: [f"launch-template/{p.get('LaunchTemplateId') or '*'}"])
def modify_launch_template(ctx: Context, p: Params) -> Result:
    """Say which version is the default."""
    if p.get("LaunchTemplateId") and p.get("LaunchTemplateName"):
        raise AWSError(
            "InvalidParameterCombination",
            "Either provide launch template ID or launch template name to modify the template.",
        )
    row = template(ctx, p.get("LaunchTemplateId"), p.get("LaunchTemplateName"))
    wanted = p.get("DefaultVersion")
    if wanted and not wanted.startswith("$") and wanted not in row.document["versions"]:
        raise AWSError(
            "InvalidLaunchTemplateId.VersionNotFound",
            f"The launch template version {wanted} is not found for the specified launch template.",
        )
    if wanted:
        row.document = {**row.document, "default": version_of(row, wanted)["number"]}
    return {"LaunchTemplate": render_template(ctx, row)}


@operation("ec2:DeleteLaunchTemplate", on=lambda ctx, p: [f"launch-template/{p.get('LaunchTemplateId') or '*'}"])
def delete_launch_template(ctx: Context, p: Params) -> Result:
    """Forget a template with all its versions."""
    row = template(ctx, p.get("LaunchTemplateId"), p.get("LaunchTemplateName"))
    answer = {"LaunchTemplate": render_template(ctx, row)}
    TEMPLATE.drop(ctx, row)
    return answer


@operation(
    "ec2:DeleteLaunchTemplateVersions", on=lambda ctx, p: [f"launch-template/{p.get('LaunchTemplateId') or '*'}"]
)
def delete_launch_template_versions(ctx: Context, p: Params) -> Result:
    """Forget versions; the default one stays."""
    row = template(ctx, p.get("LaunchTemplateId"), p.get("LaunchTemplateName"))
    done: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    versions = dict(row.document["versions"])
    for wanted in p["Versions"]:
        about: dict[str, Any] = {"LaunchTemplateId": row.id, "LaunchTemplateName": row.name}
        if wanted.isdigit():
            about["VersionNumber"] = int(wanted)
        error = None
        if wanted not in versions:
            error = ("launchTemplateVersionDoesNotExist", f"The version {wanted} does not exist.")
        elif int(wanted) == row.document["default"]:
            error = ("unexpectedError", "The default version cannot be deleted.")
        if error is None:
            del versions[wanted]
            done.append(about)
        else:
            refused.append(about | {"ResponseError": {"Code": error[0], "Message": error[1]}})
    latest = max(int(number) for number in versions)
    row.document = {**row.document, "versions": versions, "latest": max(latest, row.document["default"])}
    return {
        "SuccessfullyDeletedLaunchTemplateVersions": done,
        "UnsuccessfullyDeletedLaunchTemplateVersions": refused,
    }


TEMPLATE_FILTERS: Filters = {
    "create-time": lambda ctx, row: row.created,
    "launch-template-name": TEMPLATE.row.name,
    "launch-template-id": TEMPLATE.row.id,
}


@operation("ec2:DescribeLaunchTemplates")
def describe_launch_templates(ctx: Context, p: Params) -> Result:
    """The caller's templates."""
    names = p.get("LaunchTemplateNames") or ()
    if any(TEMPLATE.named(ctx, name) is None for name in names):
        raise AWSError(
            "InvalidLaunchTemplateName.NotFoundException",
            "At least one of the launch templates specified in the request does not exist.",
        )
    where = (TEMPLATE.row.name.in_(list(names)),) if names else ()
    return page(ctx, p, TEMPLATE.name, TEMPLATE_FILTERS, render_template, where=where)


# The places of a rendered version that DescribeLaunchTemplateVersions filters by.
_PLACES = {
    "create-time": "CreateTime",
    "ebs-optimized": "LaunchTemplateData.EbsOptimized",
    "http-endpoint": "LaunchTemplateData.MetadataOptions.HttpEndpoint",
    "http-protocol-ipv4": "LaunchTemplateData.MetadataOptions.HttpProtocolIpv4",
    "http-tokens": "LaunchTemplateData.MetadataOptions.HttpTokens",
    "host-resource-group-arn": "LaunchTemplateData.Placement.HostResourceGroupArn",
    "iam-instance-profile": "LaunchTemplateData.IamInstanceProfile.Arn",
    "image-id": "LaunchTemplateData.ImageId",
    "instance-type": "LaunchTemplateData.InstanceType",
    "is-default-version": "DefaultVersion",
    "kernel-id": "LaunchTemplateData.KernelId",
    "license-configuration-arn": "LaunchTemplateData.LicenseSpecifications.LicenseConfigurationArn",
    "network-card-index": "LaunchTemplateData.NetworkInterfaces.NetworkCardIndex",
    "ram-disk-id": "LaunchTemplateData.RamDiskId",
}


def _passes(version: dict[str, Any], filters: list[Mapping[str, Any]]) -> bool:
    for one in filters:
        place = _PLACES.get(one.get("Name") or "")
        if place is None:
            raise AWSError("InvalidParameterValue", f"The filter '{one.get('Name')}' is invalid")
        found = as_texts(walk(version, place.split(".")))
        if not any(matches(text, list(one.get("Values") or ())) for text in found):
            return False
    return True


_WHICH_VERSIONS = (
    "To describe the launch template data for all your launch templates, for ‘--versions’ specify ‘$Latest’, "
    "‘$Default’, or both, and omit ‘--launch-template-id’, ‘--launch-template-name’, and version numbers. To "
    "describe the launch template data for a specific launch template, specify ‘--launch-template-id’ or "
    "‘--launch-template-name’, and for ‘--versions’ specify one or more of the following values: ‘$Latest’, "
    "‘$Default’, or one or more version numbers."
)


def _newest_first(version: dict[str, Any]) -> str:
    return f"{version['LaunchTemplateId']}/{10**9 - version['VersionNumber']:010}"


@operation("ec2:DescribeLaunchTemplateVersions")
def describe_launch_template_versions(ctx: Context, p: Params) -> Result:
    """Versions of one template, newest first; or the newest or default ones of all templates."""
    wanted = list(p.get("Versions") or ())
    if p.get("LaunchTemplateId") or p.get("LaunchTemplateName"):
        row = template(ctx, p.get("LaunchTemplateId"), p.get("LaunchTemplateName"))
        versions = [version_of(row, one) for one in wanted] or list(row.document["versions"].values())
        least, most = int(p.get("MinVersion") or 0), int(p.get("MaxVersion") or 1 << 31)
        pairs = [(row, version) for version in versions if least <= version["number"] <= most]
    else:
        if not wanted or set(wanted) - {"$Latest", "$Default"}:
            raise AWSError("InvalidParameterValue" if wanted else "MissingParameter", _WHICH_VERSIONS)
        rows = ctx.session.scalars(select(TEMPLATE.row)).all()
        pairs = [(row, version_of(row, one)) for row in rows for one in wanted]
    unique = {(row.id, version["number"]): render_version(row, version) for row, version in pairs}
    found = [version for version in unique.values() if _passes(version, list(p.get("Filters") or ()))]
    shown, token = cut(ctx, p, found, _newest_first)
    result: Result = {"LaunchTemplateVersions": shown}
    return result if token is None else result | {"NextToken": token}
