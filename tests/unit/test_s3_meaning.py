"""What S3's headers, names and policies mean: ranges, conditions, bucket names, public policies, version names."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.object.listing import behind
from backends.object.names import is_genuine, rank_of, version_name
from backends.object.versions import Head
from compat.errors import AWSError
from compat.s3.buckets import check_name
from compat.s3.conditions import check_read, expectation, is_same, span_of
from compat.s3.policies import is_public_policy
from compat.s3.properties import checked_metadata, facts_of, kept_tags, shown, shown_tags


def head(etag: str = "abc", modified: int = 5_000_000) -> Head:
    return Head("", 0, 0, 10, modified, etag, "", "", "", 0, "", "", "", "", None, None, None)


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_what_a_slice_is(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    forms = {f"bytes={first}-{last}": slice(first, last + 1), f"bytes={first}-": slice(first, None)}
    if last:
        forms[f"bytes=-{last}"] = slice(-last, None)
    for text, wanted in forms.items():
        expected = data[wanted]
        if text == f"bytes={first}-{last}" and last < first:
            if first < size:
                assert span_of(text, size) is None
            continue
        if not expected:
            with pytest.raises(AWSError) as caught:
                span_of(text, size)
            assert (caught.value.code, caught.value.status) == ("InvalidRange", 416)
            assert caught.value.headers == {"Content-Range": f"bytes */{size}"}
            continue
        span = span_of(text, size)
        assert span is not None
        assert data[span.start : span.start + span.length] == expected


@given(st.text())
def test_any_other_range_says_nothing_or_is_refused(text: str) -> None:
    try:
        span = span_of(text, 10)
    except AWSError as refusal:
        assert refusal.status == 416
    else:
        assert span is None or (0 <= span.start < 10 and 0 < span.length <= 10 - span.start)


@pytest.mark.parametrize(
    ("wanted", "same"),
    [('"abc"', True), ("abc", True), ("*", True), ('"x", "abc"', True), ('W/"abc"', True), ('"x"', False), ("", False)],
)
def test_etags_are_compared_as_clients_write_them(wanted: str, same: bool) -> None:
    assert is_same("abc", wanted) is same


def test_a_copy_knows_no_304() -> None:
    with pytest.raises(AWSError) as caught:
        check_read(head(), {"IfNoneMatch": "abc"})
    assert caught.value.status == 304
    with pytest.raises(AWSError) as caught:
        check_read(head(), {"CopySourceIfNoneMatch": "abc"}, "CopySource")
    assert caught.value.status == 412


def test_what_conditional_writes_expect() -> None:
    assert expectation({}, "k") is None
    absent, present = expectation({"IfNoneMatch": "*"}, "k"), expectation({"IfMatch": '"abc"'}, "k")
    assert absent is not None and present is not None
    absent(None)
    present(head())
    for expect, found, code in (
        (absent, head(), "PreconditionFailed"),
        (present, head("other"), "PreconditionFailed"),
        (present, None, "NoSuchKey"),
    ):
        with pytest.raises(AWSError) as caught:
            expect(found)
        assert caught.value.code == code
    with pytest.raises(AWSError) as caught:
        expectation({"IfNoneMatch": '"abc"'}, "k")
    assert caught.value.status == 501


@given(st.integers(-(2**62), -1))
def test_a_version_name_tells_its_rank(rank: int) -> None:
    name = version_name(rank)
    assert len(name) == 32
    assert name.replace(".", "").replace("_", "").isalnum()
    assert rank_of(name) == rank
    assert is_genuine(name)
    assert not is_genuine(name[:-4] + ("AAAA" if name[-4:] != "AAAA" else "BBBB"))


@given(st.text(max_size=40))
def test_any_other_text_is_no_version(text: str) -> None:
    assert len(text) == 32 or rank_of(text) is None


@given(st.binary(min_size=1, max_size=6), st.binary(max_size=4))
def test_nothing_with_a_prefix_sorts_behind_what_is_behind_it(prefix: bytes, rest: bytes) -> None:
    end = behind(prefix)
    if end is None:
        assert set(prefix) == {255}
    else:
        assert prefix + rest < end
        assert not end.startswith(prefix)


@pytest.mark.parametrize("name", ["abc", "a.b-c", "1-2", "x" * 63, "1.2.3.x"])
def test_names_that_serve(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", "ab", "x" * 64, "A-b", "a_b", "a..b", ".ab", "ab.", "1.2.3.4", "xn--a", "a--x-s3"]
)
def test_names_that_do_not(name: str) -> None:
    with pytest.raises(AWSError) as caught:
        check_name(name)
    assert caught.value.code == "InvalidBucketName"


def policy(**statement: Any) -> str:
    whole = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", "Principal": "*"} | statement
    return json.dumps({"Version": "2012-10-17", "Statement": [{k: v for k, v in whole.items() if v is not None}]})


@pytest.mark.parametrize(
    ("written", "public"),
    [
        (policy(), True),
        (policy(Principal={"AWS": "*"}), True),
        (policy(Principal={"AWS": ["arn:aws:iam::111122223333:root", "*"]}), True),
        (policy(Condition={"Bool": {"aws:SecureTransport": "true"}}), True),
        (policy(Condition={"StringLike": {"aws:PrincipalArn": "*"}}), True),
        (policy(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), False),
        (policy(Principal={"AWS": "111122223333"}), False),
        (policy(Effect="Deny"), False),
    ],
)
def test_which_policies_are_public(written: str, public: bool) -> None:
    assert is_public_policy(written) is public


@given(st.dictionaries(st.text("abcdef-", min_size=1, max_size=8), st.text(max_size=20), max_size=5))
def test_metadata_comes_back(metadata: dict[str, str]) -> None:
    facts = shown(facts_of({"Metadata": metadata, "ContentEncoding": "aws-chunked, gzip"}))
    assert facts["ContentEncoding"] == "gzip"
    assert facts.get("Metadata", {}).keys() == metadata.keys()
    for name, value in checked_metadata(metadata).items():
        told = facts["Metadata"][name]
        assert told == value if re.fullmatch("[ -~\\t\\r\\n]*", value) else told.startswith("=?UTF-8?")


ALLOWED = st.characters(categories=["L", "Nd"], include_characters=" _.:/=+-@")


@given(st.dictionaries(st.text("abc", min_size=1, max_size=9), st.text(ALLOWED, max_size=9), max_size=10))
def test_tags_come_back(tags: dict[str, str]) -> None:
    given_tags = [{"Key": key, "Value": value} for key, value in tags.items()]
    assert shown_tags(kept_tags(given_tags)) == given_tags
