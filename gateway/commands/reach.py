"""`nephele reach SRC DST tcp/443`: would it pass, and which rule says so? Asked of a server, by its own analyses."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from gateway.clients import client

PORT = re.compile(r"(tcp|udp)/(\d{1,5})")


class Unclear(Exception):
    """The question cannot be asked so; the message says why."""


def reach(source: str, destination: str, what: str, **where: str | None) -> tuple[bool, str]:
    """Whether `source` reaches `destination`, and an account of it in lines. Raises `Unclear`."""
    from botocore.exceptions import BotoCoreError, ClientError

    matched = PORT.fullmatch(what)
    if matched is None:
        raise Unclear(f"{what!r} is no port: tcp/443, udp/53")
    ec2 = client("ec2", **where)
    asked: dict[str, Any] = {"Source": source, "Protocol": matched[1], "DestinationPort": int(matched[2])}
    asked["DestinationIp" if re.fullmatch(r"[\d.]+", destination) else "Destination"] = destination
    try:
        path = ec2.create_network_insights_path(**asked)["NetworkInsightsPath"]["NetworkInsightsPathId"]
        try:
            started = ec2.start_network_insights_analysis(NetworkInsightsPathId=path)["NetworkInsightsAnalysis"]
            id = started["NetworkInsightsAnalysisId"]
            try:
                (found,) = ec2.describe_network_insights_analyses(NetworkInsightsAnalysisIds=[id])[
                    "NetworkInsightsAnalyses"
                ]
            finally:
                ec2.delete_network_insights_analysis(NetworkInsightsAnalysisId=id)
        finally:
            with contextlib.suppress(ClientError):
                ec2.delete_network_insights_path(NetworkInsightsPathId=path)
    except (BotoCoreError, ClientError) as error:
        raise Unclear(str(error)) from error
    finally:
        ec2.close()
    if found["NetworkPathFound"]:
        steps = [_step(component) for component in found["ForwardPathComponents"]]
        return True, "\n".join([f"{source} reaches {destination} at {what}:", *(f"  {step}" for step in steps)])
    lines = [f"{source} does not reach {destination} at {what}:"]
    return False, "\n".join([*lines, *(f"  {_reason(one)}" for one in found["Explanations"])])


def _step(component: dict[str, Any]) -> str:
    text: str = component["Component"]["Id"]
    if rule := component.get("SecurityGroupRule"):
        text += f": {_rule(rule)}"
    if route := component.get("RouteTableRoute"):
        text += f": {_route(route)}"
    return text


def _reason(why: dict[str, Any]) -> str:
    """An explanation in one line: the code, where, and the rule that decided."""
    parts = [why["ExplanationCode"]]
    if "Direction" in why:
        parts.append(why["Direction"])
    for name in ("NetworkInterface", "Acl", "RouteTable", "InternetGateway", "VpcPeeringConnection"):
        if name in why:
            parts.append(f"at {why[name]['Id']}")
    if groups := why.get("SecurityGroups"):
        parts.append("no rule of " + ", ".join(group["Id"] for group in groups) + " allows it")
    if rule := why.get("AclRule"):
        number = "*" if rule["RuleNumber"] == 32767 else rule["RuleNumber"]
        parts.append(f"by rule {number} ({rule['RuleAction']} {rule['Protocol']} {rule['Cidr']})")
    if route := why.get("RouteTableRoute"):
        parts.append(f"by the route {_route(route)}")
    if "Address" in why:
        parts.append(f"nobody has the address {why['Address']}")
    return " ".join(str(part) for part in parts)


def _rule(rule: dict[str, Any]) -> str:
    ports = rule.get("PortRange")
    span = "" if ports is None else f" {ports['From']}-{ports['To']}"
    return f"allowed by {rule['Direction']} {rule['Protocol']}{span}" + (
        f" from {rule['Cidr']}" if "Cidr" in rule else ""
    )


def _route(route: dict[str, Any]) -> str:
    target = next((value for name, value in route.items() if name.endswith("Id")), "nowhere")
    return f"{route.get('DestinationCidr')} to {target} ({route.get('State')})"
