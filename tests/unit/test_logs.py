"""The log: one line a request that stays one line, whatever is in it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.logs import MOST, RequestLog, configure
from gateway.settings import load


def written(*requests: tuple[str, str, str, int, float], **settings: Any) -> bytes:
    """What a log with these settings writes about these requests."""
    reading, writing = os.pipe()
    log = RequestLog(load(settings), writing)

    async def write() -> None:
        for request in requests:
            log.write(*request)
        log.flush()

    asyncio.run(write())
    os.close(writing)
    with open(reading, "rb") as stream:
        return stream.read()


REQUEST = ("abc-1", "s3:GetObject", "arn:aws:iam::000000000000:root", 200, 0.0123)


def test_a_line_has_id_operation_principal_status_and_milliseconds() -> None:
    (line,) = written(REQUEST).decode().splitlines()
    moment, _, rest = line.partition(" ")
    assert moment.endswith("Z")
    assert rest == (
        "[info] request id=abc-1 operation=s3:GetObject principal=arn:aws:iam::000000000000:root status=200 ms=12.3"
    )


def test_json_lines_have_the_same() -> None:
    found = json.loads(written(REQUEST, log_format="json"))
    del found["timestamp"]
    assert found == {
        "level": "info",
        "event": "request",
        "id": "abc-1",
        "operation": "s3:GetObject",
        "principal": "arn:aws:iam::000000000000:root",
        "status": 200,
        "ms": 12.3,
    }


@pytest.mark.parametrize("level", ["warning", "error", "off"])
def test_above_info_nothing_is_written(level: str) -> None:
    assert written(REQUEST, log_level=level) == b""


words = st.text(st.characters(exclude_categories=()), max_size=30)


@given(operation=words, principal=words, form=st.sampled_from(["text", "json"]))
def test_whatever_the_words_a_request_is_one_line(operation: str, principal: str, form: str) -> None:
    output = written(("id", operation, principal, 404, 0.0), log_format=form).decode()
    assert len(output.splitlines() if form == "text" else output.rstrip("\n").split("\n")) == 1
    assert "404" in output


def test_lines_come_by_themselves_and_in_order() -> None:
    reading, writing = os.pipe()
    log = RequestLog(load({}), writing)

    async def write() -> bytes:
        for number in range(MOST + 1):
            log.write(str(number), "s3:GetObject", "", 200, 0.0)
        loop = asyncio.get_running_loop()
        output = b""
        while output.count(b"\n") <= MOST:
            output += await loop.run_in_executor(None, os.read, reading, 65536)
        return output

    lines = asyncio.run(write()).decode().splitlines()
    assert [line.split("id=")[1].split()[0] for line in lines] == [str(number) for number in range(MOST + 1)]
    os.close(writing)
    os.close(reading)


def test_a_log_that_nobody_reads_is_given_up() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = RequestLog(load({}), writing)

    async def write() -> None:
        log.write(*REQUEST)
        log.flush()

    asyncio.run(write())
    os.close(writing)
    assert not log.enabled


@pytest.fixture
def logging_restored() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    own = logging.getLogger("nephele").level
    yield
    logging.root.handlers[:], logging.root.level = handlers, level
    logging.getLogger("nephele").setLevel(own)


@pytest.mark.parametrize("form", ["text", "json"])
def test_other_lines_keep_their_traceback(form: str, capfd: pytest.CaptureFixture[str], logging_restored: None) -> None:
    configure(load({"log_format": form}))
    try:
        raise ValueError("the reason")
    except ValueError:
        logging.getLogger("nephele.reconcile").exception("converging %s failed", "volumes")
    logging.getLogger("nephele.reconcile").debug("not heard")
    logging.getLogger("somebody.else").info("not heard")
    output = capfd.readouterr().err
    assert "converging volumes failed" in output
    assert "the reason" in output
    assert "not heard" not in output
    if form == "json":
        assert json.loads(output)["logger"] == "nephele.reconcile"
