"""What lifecycle rules say of a version."""

from __future__ import annotations

import pytest

from backends.object.rounds import Fate, Sight, Verdict
from compat.s3.lifecycle_rules import Rule, Rules, When

DAY = 86_400_000_000
RULE = Rule("r", b"", (), None, None, When(1, None), False, (), None, (), None)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("", Verdict(Fate.DELETE)),
        ('{"replication":"PENDING","replicas":{"b":"PENDING"}}', None),
        ('{"replication":"COMPLETED","replicas":{"b":"COMPLETED"}}', Verdict(Fate.DELETE)),
        ('{"replication":"FAILED","replicas":{"b":"FAILED","c":"PENDING"}}', Verdict(Fate.DELETE)),
        ('{"replication":"REPLICA"}', Verdict(Fate.DELETE)),
    ],
)
def test_what_is_still_to_be_replicated_waits(terms: str, expected: Verdict | None) -> None:
    sight = Sight(b"k", 1, 0, "v", 0, 1, 0, "", "", terms)
    assert Rules((RULE,), DAY, varies=False).judge(sight, 3 * DAY) == expected
