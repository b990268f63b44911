"""What people do with DuckDB over S3. DuckDB's own process, since its extension comes for one version of DuckDB only.

Arguments: folder with the packages, endpoint (host:port), access key, bucket, which has `some.csv`.
"""

from __future__ import annotations

import sys
from pathlib import Path

packages, place, key, bucket = sys.argv[1:]
sys.path.insert(0, packages)

import duckdb  # noqa: E402

EXTENSION = f"duckdb_extension_httpfs/extensions/v{duckdb.__version__}/httpfs.duckdb_extension"

with duckdb.connect() as database:
    database.execute(f"LOAD '{Path(packages, EXTENSION)}'")
    database.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET 'test', REGION 'us-east-1', ENDPOINT '{place}',"
        " URL_STYLE 'path', USE_SSL false)"
    )
    where = f"s3://{bucket}"
    numbers = "SELECT range AS n, range % 7 AS week FROM range(100000)"
    database.execute(f"COPY ({numbers}) TO '{where}/one.parquet'")
    database.execute(f"COPY ({numbers}) TO '{where}/parts' (FORMAT parquet, PARTITION_BY (week))")
    # Parts are of a 10,000th of this: 5 MB, so that there are some.
    database.execute("SET s3_uploader_max_filesize = '50GB'")
    words = "SELECT range AS n, md5(range::VARCHAR) || sha1(range::VARCHAR) AS word FROM range(200000)"
    database.execute(f"COPY ({words}) TO '{where}/words.csv'")
    assert database.execute(f"SELECT sum(n) FROM '{where}/one.parquet'").fetchone() == (4999950000,)
    week = database.execute(f"SELECT count(*) FROM '{where}/parts/*/*.parquet' WHERE week = 3").fetchone()
    assert week == (14286,), week
    count = database.execute(f"SELECT count(DISTINCT word) FROM '{where}/words.csv'").fetchone()
    assert count == (200000,), count
    assert database.execute(f"SELECT b FROM '{where}/some.csv' WHERE a = 2").fetchall() == [("y",)]
