"""S3 Select on CSV, JSON and Parquet, through botocore's parser of event streams."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
ACCOUNT = "440000000000"

PEOPLE = 'name,age,city\nAda,36,"London, UK"\nBob,41,Paris\n"Eve ""E""",29,\n'
BOOKS = [
    {"title": "A", "price": 10.5, "tags": ["x", "y"], "author": {"name": "Ada"}},
    {"title": "B", "price": 20, "tags": [], "author": {"name": "Bob", "born": None}},
    {"title": "C", "price": 5},
]


@pytest.fixture(scope="module")
def world(server: Server) -> tuple[Any, str]:
    s3 = new_client(server.endpoint, "s3", ACCOUNT)
    bucket = make_bucket(s3)
    lines = "".join(json.dumps(book) + "\n" for book in BOOKS)
    for key, body in {
        "people.csv": PEOPLE.encode(),
        "people.csv.gz": gzip.compress(PEOPLE.encode()[:30]) + gzip.compress(PEOPLE.encode()[30:]),
        "people.csv.bz2": bz2.compress(PEOPLE.encode()),
        "odd.csv": b"a;;b|1;;'x''y|z'|# no|3",
        "ragged.csv": b"1,2,3\n4\n\n5,6\n",
        "books.jsonl": lines.encode(),
        "library.json": json.dumps({"books": BOOKS, "n": 3}).encode(),
        "many.csv": "".join(f"{number},{'x' * 40}\n" for number in range(20000)).encode(),
    }.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    return s3, bucket


CSV: dict[str, Any] = {"CSV": {"FileHeaderInfo": "USE"}}
LINES: dict[str, Any] = {"JSON": {"Type": "LINES"}}


def events(world: tuple[Any, str], key: str, query: str, given: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    s3, bucket = world
    more.setdefault("OutputSerialization", {"CSV": {}})
    answer = s3.select_object_content(
        Bucket=bucket, Key=key, Expression=query, ExpressionType="SQL", InputSerialization=given, **more
    )
    return list(answer["Payload"])


def select(world: tuple[Any, str], key: str, query: str, given: dict[str, Any], **more: Any) -> str:
    found = events(world, key, query, given, **more)
    return b"".join(event["Records"]["Payload"] for event in found if "Records" in event).decode()


def as_json(world: tuple[Any, str], key: str, query: str, given: dict[str, Any]) -> list[Any]:
    text = select(world, key, query, given, OutputSerialization={"JSON": {}})
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT * FROM S3Object", 'Ada,36,"London, UK"\nBob,41,Paris\n"Eve ""E""",29,\n'),
        ("select s.name from s3object s where s.city like 'Lon%'", "Ada\n"),
        ("SELECT name, age FROM S3Object WHERE CAST(age AS INT) > 30 LIMIT 1", "Ada,36\n"),
        ("SELECT s.NAME FROM S3Object s WHERE age = 41", "Bob\n"),
        ("SELECT COUNT(*), SUM(CAST(age AS INT)), AVG(CAST(age AS FLOAT)) FROM S3Object", "3,106,35.333333333333336\n"),
        ("SELECT MAX(CAST(s._2 AS INT)) AS m FROM S3Object s", "41\n"),
        ("SELECT UPPER(name) || '!' FROM S3Object WHERE name NOT IN ('Bob') AND age BETWEEN '30' AND '40'", "ADA!\n"),
        ("SELECT CASE WHEN city = '' THEN 'none' ELSE city END FROM S3Object WHERE name LIKE 'E%'", "none\n"),
        ("SELECT SUBSTRING(name, 1, 2), CHAR_LENGTH(name), TRIM(' x ') FROM S3Object LIMIT 1", "Ad,3,x\n"),
        ("SELECT COALESCE(NULLIF(city, ''), 'n/a') FROM S3Object WHERE NOT (age > 30)", "n/a\n"),
        ("SELECT CAST('2020-02-03T04:05:06Z' AS TIMESTAMP) FROM S3Object LIMIT 1", "2020-02-03T04:05:06Z\n"),
        ("SELECT EXTRACT(YEAR FROM TO_TIMESTAMP('2020-02-03T')) FROM S3Object LIMIT 1", "2020\n"),
        ("SELECT (1 + 2) * 3 - -1, 7 / 2, 7 % 2 FROM S3Object LIMIT 1", "10,3,1\n"),
        ("SELECT 'it''s' FROM S3Object LIMIT 1;", "it's\n"),
        ("SELECT TO_TIMESTAMP('2007-02-23T12:14:33.079-08:00') FROM S3Object LIMIT 1", "2007-02-23T20:14:33.079Z\n"),
        ("SELECT DATE_ADD(month, 5, `2010-01-01T`) FROM S3Object LIMIT 1", "2010-06-01T00:00:00Z\n"),
        ("SELECT name FROM S3Object WHERE `2020-01-01T10:00+02:00` = `2020-01-01T08:00Z` LIMIT 1", "Ada\n"),
        ("SELECT CAST(1.9 AS INT), CAST(-1.9 AS INT), CAST('1.9' AS INT) FROM S3Object LIMIT 1", "1,-1,1\n"),
    ],
)
def test_queries_on_csv(world: Any, query: str, expected: str) -> None:
    assert select(world, "people.csv", query, CSV) == expected


def test_events_and_counts(world: Any) -> None:
    found = events(world, "people.csv", "SELECT name FROM S3Object", CSV, RequestProgress={"Enabled": True})
    assert [next(iter(event)) for event in found] == ["Records", "Progress", "Stats", "End"]
    size = len(PEOPLE)
    assert found[2]["Stats"]["Details"] == {"BytesScanned": size, "BytesProcessed": size, "BytesReturned": 20}
    many = events(world, "many.csv", "SELECT * FROM S3Object", {"CSV": {}})
    assert sum("Records" in event for event in many) > 3
    assert many[-2]["Stats"]["Details"]["BytesReturned"] == many[-2]["Stats"]["Details"]["BytesScanned"]


@pytest.mark.parametrize(("key", "kind"), [("people.csv.gz", "GZIP"), ("people.csv.bz2", "BZIP2")])
def test_compressed_objects(world: Any, key: str, kind: str) -> None:
    found = events(world, key, "SELECT COUNT(*) FROM S3Object", {**CSV, "CompressionType": kind})
    assert found[0]["Records"]["Payload"] == b"3\n"
    assert found[1]["Stats"]["Details"]["BytesProcessed"] == len(PEOPLE)
    with refused("InvalidCompressionFormat"):
        select(world, "people.csv", "SELECT * FROM S3Object", {**CSV, "CompressionType": kind})


def test_a_compressed_object_that_breaks_off(world: Any) -> None:
    s3, bucket = world
    cut = {"GZIP": gzip.compress(PEOPLE.encode())[:-9], "BZIP2": bz2.compress(b"a\n")[:-5]}
    for kind, body in cut.items():
        key = f"cut.{kind}"
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        with refused("TruncatedInput"):
            select(world, key, "SELECT * FROM S3Object", {**CSV, "CompressionType": kind})


@pytest.mark.parametrize(
    ("body", "dialect", "expected"),
    [
        (b'a,b\n1,"x\ny"\n2,z\n', {}, '1,"x\ny"\n2,z\n'),
        (b'a,b|1,"x|y"|2,z', {"RecordDelimiter": "|"}, "1,x|y\n2,z\n"),
        (b'a,b\n1,"x\\"\ny"\n', {"QuoteEscapeCharacter": "\\"}, '1,"x""\ny"\n'),
    ],
)
def test_quoted_ends_of_records_must_be_allowed(
    world: Any, body: bytes, dialect: dict[str, str], expected: str
) -> None:
    s3, bucket = world
    s3.put_object(Bucket=bucket, Key="across.csv", Body=body)
    given = {"FileHeaderInfo": "USE"} | dialect
    allowed = {"CSV": given | {"AllowQuotedRecordDelimiter": True}}
    assert select(world, "across.csv", "SELECT * FROM S3Object", allowed) == expected
    for form in (given, given | {"AllowQuotedRecordDelimiter": False}):
        with refused("CSVUnescapedQuote"):
            select(world, "across.csv", "SELECT * FROM S3Object", {"CSV": form})
    with refused("UnsupportedScanRangeInput"):
        select(world, "across.csv", "SELECT * FROM S3Object", allowed, ScanRange={"Start": 0, "End": 9})


def test_what_stands_around_a_csv(world: Any) -> None:
    s3, bucket = world
    s3.put_object(Bucket=bucket, Key="quotes.csv", Body=b'a,b\n1,5" pipe\n2,"a ""q"" b"\n')
    found = select(world, "quotes.csv", "SELECT b FROM S3Object", CSV)
    assert found == '"5"" pipe"\n"a ""q"" b"\n'
    s3.put_object(Bucket=bucket, Key="noted.csv", Body=b'# "not a header\na,b\n#no\n1,2\n3,"#4"\n#end')
    noted = {"CSV": {"FileHeaderInfo": "USE", "Comments": "#"}}
    assert select(world, "noted.csv", "SELECT b FROM S3Object", noted) == "2\n#4\n"
    s3.put_object(Bucket=bucket, Key="marked.csv", Body=b"\xef\xbb\xbfa,b\n1,2\n")
    assert select(world, "marked.csv", "SELECT a FROM S3Object", CSV) == "1\n"
    s3.put_object(Bucket=bucket, Key="latin.csv", Body=b"a,b\n\xff,2\n")
    with refused("InvalidTextEncoding"):
        select(world, "latin.csv", "SELECT a FROM S3Object", CSV)


def test_dialects_of_csv(world: Any) -> None:
    odd: dict[str, Any] = {
        "CSV": {"FieldDelimiter": ";;", "RecordDelimiter": "|", "QuoteCharacter": "'", "QuoteEscapeCharacter": "'"}
    }
    more = {"Comments": "#", "AllowQuotedRecordDelimiter": True}
    assert select(world, "odd.csv", "SELECT * FROM S3Object", {"CSV": odd["CSV"] | more}) == "a,b\n1,x'y|z\n3\n"
    assert select(world, "ragged.csv", "SELECT * FROM S3Object", {"CSV": {}}) in (
        "1,2,3\n4\n5,6\n",
        "1,2,3\n4\n\n5,6\n",
    )
    assert select(world, "ragged.csv", "SELECT s._3 FROM S3Object s LIMIT 2", {"CSV": {}}) == "3\n\n"
    quoted = {"CSV": {"QuoteFields": "ALWAYS", "FieldDelimiter": "\t"}}
    text = select(world, "people.csv", "SELECT name, age FROM S3Object LIMIT 1", CSV, OutputSerialization=quoted)
    assert text == '"Ada"\t"36"\n'
    skipped = select(world, "people.csv", "SELECT _1 FROM S3Object LIMIT 1", {"CSV": {"FileHeaderInfo": "IGNORE"}})
    assert skipped == "Ada\n"


def test_csv_to_json(world: Any) -> None:
    assert as_json(world, "people.csv", "SELECT * FROM S3Object LIMIT 1", CSV) == [
        {"name": "Ada", "age": "36", "city": "London, UK"}
    ]
    assert as_json(world, "people.csv", "SELECT CAST(age AS INT) AS years FROM S3Object LIMIT 1", CSV) == [
        {"years": 36}
    ]


def test_queries_on_json(world: Any) -> None:
    assert as_json(world, "books.jsonl", "SELECT * FROM S3Object s WHERE s.price > 15", LINES) == [BOOKS[1]]
    assert as_json(world, "books.jsonl", "SELECT s.author.name, s.tags FROM S3Object s", LINES) == [
        {"name": "Ada", "tags": ["x", "y"]},
        {"name": "Bob", "tags": []},
        {},
    ]
    assert as_json(world, "books.jsonl", "SELECT s.tags[0] AS first FROM S3Object s LIMIT 1", LINES) == [{"first": "x"}]
    assert as_json(world, "books.jsonl", "SELECT s.title FROM S3Object s WHERE s.author IS MISSING", LINES) == [
        {"title": "C"}
    ]
    assert select(world, "books.jsonl", "SELECT SUM(s.price) FROM S3Object s", LINES) == "35.5\n"
    document = {"JSON": {"Type": "DOCUMENT"}}
    assert as_json(
        world, "library.json", "SELECT b.title FROM S3Object[*].books[*] b WHERE b.price < 15", document
    ) == [
        {"title": "A"},
        {"title": "C"},
    ]
    assert as_json(world, "library.json", "SELECT s.n FROM S3Object s", document) == [{"n": 3}]
    assert as_json(world, "library.json", "SELECT * FROM S3Object[*].books[*].tags[*]", document) == [
        {"_1": "x"},
        {"_1": "y"},
        {},
        {},
    ]


RULES = """{"Rules": [{"id": "1"}, {"expr": "y > x"}, {"id": "2", "expr": "z = DEBUG"}]}
{"created": "June 27", "modified": "July 6", "note": null}
"""


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT id FROM S3Object[*].Rules[*].id", [{"id": "1"}, {}, {"id": "2"}, {}]),
        ("SELECT id FROM S3Object[*].Rules[*].id WHERE id IS NOT MISSING", [{"id": "1"}, {"id": "2"}]),
        ("SELECT r.id FROM S3Object[*].rules[*] r WHERE r.Expr IS MISSING", [{"id": "1"}, {}]),
        ("SELECT d.created, d.modified FROM S3Object[*] d", [{}, {"created": "June 27", "modified": "July 6"}]),
        ("SELECT _1.created FROM S3Object[*]", [{}, {"created": "June 27"}]),
        ("SELECT s.rules[1].EXPR FROM S3Object s", [{"EXPR": "y > x"}, {}]),
        ('SELECT s."rules" FROM S3Object s', [{}, {}]),
        ("SELECT s.note FROM S3Object s WHERE s.note IS NULL", [{}, {"note": None}]),
        ("SELECT s.note FROM S3Object s WHERE s.note IS NOT MISSING", [{"note": None}]),
        ("SELECT s.* FROM S3Object s WHERE s.created IS NOT NULL", [json.loads(RULES.splitlines()[1])]),
        ("SELECT m FROM S3Object[*].Rules[2].* m", [{"m": "2"}, {"m": "z = DEBUG"}, {}]),
    ],
)
def test_what_is_missing_gives_empty_records(world: Any, query: str, expected: list[Any]) -> None:
    s3, bucket = world
    s3.put_object(Bucket=bucket, Key="rules.json", Body=RULES)
    assert as_json(world, "rules.json", query, {"JSON": {"Type": "DOCUMENT"}}) == expected


def test_queries_on_parquet(world: Any) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    s3, bucket = world
    file = io.BytesIO()
    parquet.write_table(arrow.table({"id": [1, 2, 3], "name": ["a", "b", None], "x": [1.5, 2.0, 3.25]}), file)
    s3.put_object(Bucket=bucket, Key="t.parquet", Body=file.getvalue())
    given: dict[str, Any] = {"Parquet": {}}
    assert as_json(world, "t.parquet", "SELECT * FROM S3Object WHERE id > 1", given) == [
        {"id": 2, "name": "b", "x": 2},
        {"id": 3, "name": None, "x": 3.25},
    ]
    assert select(world, "t.parquet", "SELECT SUM(s.x) FROM S3Object s WHERE s.name IS NOT NULL", given) == "3.5\n"
    with refused("ParquetParsingError"):
        select(world, "people.csv", "SELECT * FROM S3Object", given)


def test_scan_ranges(world: Any) -> None:
    whole = select(world, "many.csv", "SELECT _1 FROM S3Object", {"CSV": {}})
    pieces = [
        select(
            world, "many.csv", "SELECT _1 FROM S3Object", {"CSV": {}}, ScanRange={"Start": start, "End": start + 99999}
        )
        for start in range(0, 1000000, 100000)
    ]
    assert "".join(pieces) == whole
    last = select(world, "many.csv", "SELECT _1 FROM S3Object", {"CSV": {}}, ScanRange={"End": 60})
    assert last == "19999\n"


def test_scan_ranges_of_parquet_take_row_groups(world: Any) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    s3, bucket = world
    table = arrow.table({"n": list(range(5000)), "t": ["x" * 20] * 5000})
    written = io.BytesIO()
    parquet.write_table(table, written, row_group_size=1000)
    s3.put_object(Bucket=bucket, Key="groups.parquet", Body=written.getvalue())
    size, third = len(written.getvalue()), len(written.getvalue()) // 3
    query, found = "SELECT n FROM S3Object", ""
    for start, end in ((0, third), (third + 1, 2 * third), (2 * third + 1, size)):
        part = select(world, "groups.parquet", query, {"Parquet": {}}, ScanRange={"Start": start, "End": end})
        assert 0 < part.count("\n") < 5000
        found += part
    assert found == "".join(f"{number}\n" for number in range(5000))
    assert select(world, "groups.parquet", query, {"Parquet": {}}, ScanRange={"Start": 5, "End": 6}) == ""


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT CAST('' AS TIMESTAMP) FROM S3Object", "CastFailed"),
        ("SELECT TO_TIMESTAMP('30') FROM S3Object", "CastFailed"),
        ("SELECT * FROM read_csv('/etc/passwd')", "InvalidDataSource"),
        ("SELECT * FROM S3Object; DROP TABLE x", "LexerInvalidChar"),
        ("SELECT read_text('/etc/passwd') FROM S3Object", "UnsupportedFunction"),
        ("SELECT getenv('HOME') FROM S3Object", "UnsupportedFunction"),
        ("SELECT (SELECT 1) FROM S3Object", "ParseUnexpectedToken"),
        ("SELECT name FROM S3Object ORDER BY name", "UnsupportedSqlStructure"),
        ("SELECT name, COUNT(*) FROM S3Object", "UnsupportedSqlStructure"),
        ("SELECT nothing FROM S3Object", "MissingHeaders"),
        ("SELECT name", "ParseSelectMissingFrom"),
        ("INSERT INTO S3Object", "ParseExpectedKeyword"),
        ("SELECT CAST(name AS INT) FROM S3Object", "CastFailed"),
        ("SELECT CAST(name AS BLOB) FROM S3Object", "ParseInvalidTypeParam"),
        ("SELECT \"name' FROM S3Object", "LexerInvalidChar"),
        ("SELECT " + "(" * 200 + "1" + ")" * 200 + " FROM S3Object", "ExpressionTooLong"),
    ],
)
def test_what_is_no_query_is_refused(world: Any, query: str, code: str) -> None:
    with refused(code):
        select(world, "people.csv", query, CSV)


def test_quotes_do_not_break_out(world: Any) -> None:
    text = select(world, "people.csv", "SELECT '''; SELECT 1 --' FROM S3Object LIMIT 1", CSV)
    assert text == "'; SELECT 1 --\n"
    path = 'SELECT s."a\') FROM x --" FROM S3Object s'
    assert as_json(world, "books.jsonl", path, LINES) == [{}, {}, {}]


def test_refusals(world: Any) -> None:
    s3, bucket = world
    with refused("NoSuchKey"):
        select(world, "no-such-key", "SELECT * FROM S3Object", CSV)
    with refused("InvalidDataSource"):
        select(world, "people.csv", "SELECT * FROM S3Object", {**CSV, **LINES})
    with refused("JSONParsingError"):
        select(world, "people.csv", "SELECT * FROM S3Object s", LINES)
