"""What a Host header names: a service, a bucket, a website, an account of S3 Control."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DOMAINS = ("amazonaws.com", "amazonaws.com.cn", "localhost.localstack.cloud", "localhost")
_REGION = r"(?:us|eu|ap|ca|sa|me|af|il|mx|cn|us-gov|us-iso[a-z]?|eu-isoe|eusc-de)-[a-z]+-\d"
_PLACE = rf"(?:[.-]fips)?(?:[.-]dualstack)?(?:[.-](?:{_REGION}|external-1|global))?"
_WEBSITE = re.compile(rf"(?:(?P<bucket>.+)\.)?s3-website{_PLACE}")
_CONTROL = re.compile(rf"(?:(?P<account>[a-z0-9-]+)\.)?s3-control{_PLACE}")
_ACCESS_POINT = re.compile(
    rf"(?P<name>[a-z0-9-]+)-(?P<account>[0-9]{{12}})\.s3-accesspoint(?:-fips)?(?:\.dualstack)?\.(?P<region>{_REGION})"
)
_EXPRESS = re.compile(rf"(?:(?P<bucket>.+)\.)?s3express-(?P<zone>[a-z0-9-]+?){_PLACE}")
_BUCKET = re.compile(rf"(?:(?P<bucket>.+)\.)?s3(?:-accelerate)?{_PLACE}")
_SERVICE = re.compile(rf"(?P<service>[a-z0-9-]+?){_PLACE}")
_ACCOUNT = re.compile(r"\d{12}")
_NAMES = frozenset(
    {
        "autoscaling",
        "cloudformation",
        "ebs",
        "ec2",
        "elasticloadbalancing",
        "iam",
        "kms",
        "logs",
        "monitoring",
        "s3",
        "s3-control",
        "ssm",
        "sts",
        "tagging",
    }
)


@dataclass(frozen=True, slots=True)
class Host:
    """What a host name says. `style` is `virtual` where it names a bucket, else `path`.

    At the endpoint of websites it is `website`, with a bucket or without.
    """

    service: str = ""
    bucket: str = ""
    style: str = "path"
    account: str = ""
    control: bool = False
    directories: bool = False
    """Whether it is the host that lists directory buckets."""


def parse_host(header: bytes, domains: tuple[str, ...] = ()) -> Host:
    """Reads a Host header, port and all. A name below no known domain says nothing: path style. Never raises."""
    name = header.decode("latin-1").strip().lower()
    if not name.endswith("]"):
        bare, colon, port = name.rpartition(":")
        if colon and (port.isdigit() or not port):
            name = bare
    name = name.rstrip(".")
    for domain in sorted((*_DOMAINS, *domains), key=len, reverse=True):
        if name.endswith("." + domain):
            return _below(name[: -len(domain) - 1], domain)
    account, _, _ = name.partition(".")
    return Host(account=account, control=True) if _ACCOUNT.fullmatch(account) else Host()


def _below(name: str, domain: str) -> Host:
    """What the labels before a known domain say."""
    if (found := _WEBSITE.fullmatch(name)) and (found["bucket"] or domain.startswith("amazonaws.")):
        return Host("s3", found["bucket"] or "", "website")
    if found := _ACCESS_POINT.fullmatch(name):
        return Host("s3", _access_point(found["region"], found["account"], found["name"]), "virtual")
    if found := _CONTROL.fullmatch(name):
        return Host("s3-control", account=found["account"] or "", control=True)
    if found := _EXPRESS.fullmatch(name):
        bucket = found["bucket"] or ""
        return Host("s3", bucket, "virtual" if bucket else "path", directories=found["zone"] == "control")
    if found := _BUCKET.fullmatch(name):
        bucket = found["bucket"] or ""
        return Host("s3", bucket, "virtual" if bucket else "path")
    if (found := _SERVICE.fullmatch(name)) and found["service"] in _NAMES:
        return Host(found["service"])
    if _ACCOUNT.fullmatch(name):
        return Host(account=name, control=True)
    if domain.startswith("amazonaws.") or domain == "localhost.localstack.cloud":
        return Host()
    return Host("s3", name, "virtual")


def _access_point(region: str, account: str, name: str) -> str:
    """The ARN that stands in the place of a bucket's name."""
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    return f"arn:{partition}:s3:{region}:{account}:accesspoint/{name}"
