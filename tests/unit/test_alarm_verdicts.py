"""Alarms: what they come to over data that is there and data that is missing, by the tables that AWS gives."""

from __future__ import annotations

import pytest

from compat.cloudwatch.alarm_rounds import weigh
from compat.cloudwatch.alarm_rules import BadRule, Rule, about

KEEP = None
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def verdict(points: str, wanted: int, treatment: str, most: int = 3) -> str | None:
    """`points` are the latest five periods, the latest last: `0` is well, `X` breaches, `-` is missing."""
    known = [(300 - 60 * place, 9.0 if one == "X" else 1.0) for place, one in enumerate(reversed(points)) if one != "-"]
    asked = {
        "EvaluationPeriods": most,
        "DatapointsToAlarm": wanted,
        "TreatMissingData": treatment,
        "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    found = weigh(asked, known[:most])
    return None if found is None else found.state


@pytest.mark.parametrize(
    "points, wanted, expected",
    [
        ("0-X-X", 3, ("OK", "OK", "OK", "OK")),
        ("----0", 3, ("OK", "OK", "OK", "OK")),
        ("-----", 3, ("INSUFFICIENT_DATA", KEEP, "ALARM", "OK")),
        ("0XX-X", 3, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("--X--", 3, ("ALARM", KEEP, "ALARM", "OK")),
        ("0-X-X", 2, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("00X0X", 2, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("0-X--", 2, ("OK", "OK", "ALARM", "OK")),
        ("----0", 2, ("OK", "OK", "ALARM", "OK")),
        ("---X-", 2, ("ALARM", KEEP, "ALARM", "OK")),
    ],
)
def test_missing_data_counts_as_the_alarm_says(points: str, wanted: int, expected: tuple[str | None, ...]) -> None:
    assert tuple(verdict(points, wanted, one) for one in TREATMENTS) == expected


def test_rules_of_composite_alarms() -> None:
    rule = Rule('(ALARM("a b") OR OK(c)) AND NOT INSUFFICIENT_DATA(arn:aws:cloudwatch:us-east-1:1:alarm:d) and true')
    assert about(rule) == ["a b", "c", "d"]
    assert rule.holds({"a b": "ALARM", "c": "ALARM"}.get)
    assert not rule.holds({"a b": "OK", "c": "ALARM"}.get)
    for text in ("", "ALARM", "ALARM(", "ALARM()", "ALARM(a) OK(b)", "(TRUE", "MAYBE(a)", "NOT " * 200 + "TRUE"):
        with pytest.raises(BadRule):
            Rule(text)
