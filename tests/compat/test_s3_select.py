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


def test_dialects_of_csv(world: Any) -> None:
    odd = {"CSV": {"FieldDelimiter": ";;", "RecordDelimiter": "|", "QuoteCharacter": "'", "QuoteEscapeCharacter": "'"}}
    odd["CSV"]["Comments"] = "#"
    assert select(world, "odd.csv", "SELECT _1 FROM S3Object", odd).splitlines()[0] == "a"
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


@pytest.mark.parametrize(
    ("query", "code"),
    [
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
