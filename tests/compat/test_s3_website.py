"""The website endpoint: index and error documents, redirections and routing rules, as a browser sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
ACCOUNT = "430000000000"


class Site:
    """A public bucket with a website configuration."""

    def __init__(self, server: Server, **configuration: Any) -> None:
        self.s3, self.server = new_client(server.endpoint, "s3", ACCOUNT), server
        self.bucket = make_bucket(self.s3)
        self.host = f"{self.bucket}.s3-website-us-east-1.amazonaws.com"
        self.s3.delete_public_access_block(Bucket=self.bucket)
        statement = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{self.bucket}", f"arn:aws:s3:::{self.bucket}/*"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.s3.put_bucket_policy(Bucket=self.bucket, Policy=policy)
        if configuration:
            self.s3.put_bucket_website(Bucket=self.bucket, WebsiteConfiguration=configuration)

    def put(self, key: str, body: str, **more: Any) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body.encode(), ContentType="text/html", **more)

    def get(self, path: str, method: str = "GET", host: str = "", **headers: str) -> requests.Response:
        headers["Host"] = host or self.host
        return requests.request(method, self.server.endpoint + path, headers=headers, allow_redirects=False, timeout=60)


INDEX = {"Suffix": "index.html"}


def test_index_documents_and_folders(server: Server) -> None:
    site = Site(server, IndexDocument=INDEX)
    site.put("index.html", "root")
    site.put("docs/index.html", "docs")
    site.put("page.html", "page")
    assert site.get("/").text == "root"
    assert site.get("/", host=f"{site.bucket}.s3-website.eu-central-1.amazonaws.com").text == "root"
    assert site.get("/docs/").text == "docs"
    assert site.get("/page.html?x=y").text == "page"
    head = site.get("/page.html", "HEAD")
    assert (head.status_code, head.text, head.headers["content-length"]) == (200, "", "4")
    assert head.headers["content-type"] == "text/html"
    moved = site.get("/docs")
    assert (moved.status_code, moved.headers["location"]) == (302, "/docs/")
    assert site.get("/page.html", **{"If-None-Match": head.headers["etag"]}).status_code == 304
    assert site.get("/page.html", Range="bytes=1-2").text == "ag"


def test_errors_are_pages(server: Server) -> None:
    site = Site(server, IndexDocument=INDEX)
    missing = site.get("/%3Cb%3E")
    assert missing.status_code == 404
    assert missing.headers["content-type"].startswith("text/html")
    assert "<li>Code: NoSuchKey</li>" in missing.text
    assert "<li>Key: &lt;b&gt;</li>" in missing.text
    assert site.get("/x", "HEAD").text == ""
    refused = site.get("/", "POST")
    assert (refused.status_code, "Code: MethodNotAllowed" in refused.text) == (405, True)
    bare = Site(server)
    assert "NoSuchWebsiteConfiguration" in bare.get("/").text
    assert "NoSuchBucket" in bare.get("/", host="no-such-bucket-at-all.s3-website-us-east-1.amazonaws.com").text
    site.s3.delete_bucket_policy(Bucket=site.bucket)
    private = site.get("/x")
    assert (private.status_code, "AccessDenied" in private.text) == (403, True)


def test_error_documents(server: Server) -> None:
    site = Site(server, IndexDocument=INDEX, ErrorDocument={"Key": "error.html"})
    lost = site.get("/gone")
    assert lost.status_code == 404
    assert "An Error Occurred While Attempting to Retrieve a Custom Error Document" in lost.text
    site.put("error.html", "sorry")
    shown = site.get("/gone", Range="bytes=0-0")
    assert (shown.status_code, shown.text) == (404, "sorry")


def test_redirections(server: Server) -> None:
    site = Site(server, RedirectAllRequestsTo={"HostName": "example.com", "Protocol": "https"})
    moved = site.get("/a%20b")
    assert (moved.status_code, moved.headers["location"]) == (301, "https://example.com/a%20b")
    for host in ("s3-website-us-east-1.amazonaws.com", "s3-website.eu-central-1.amazonaws.com"):
        for path in ("/", "/a"):
            nowhere = site.get(path, host=host)
            assert (nowhere.status_code, nowhere.headers["location"]) == (301, "https://aws.amazon.com/s3/")
    pages = Site(server, IndexDocument=INDEX)
    pages.put("old", "x", WebsiteRedirectLocation="/new")
    moved = pages.get("/old")
    assert (moved.status_code, moved.headers["location"], moved.text) == (301, "/new", "")
    pages.put("far", "x", WebsiteRedirectLocation="/" + "a" * 2047)
    assert len(pages.get("/far").headers["location"]) == 2048
    for wrong in ("/" + "a" * 2048, "elsewhere"):
        with refused("InvalidRedirectLocation"):
            pages.put("wrong", "x", WebsiteRedirectLocation=wrong)


def test_routing_rules(server: Server) -> None:
    rules = [
        {"Condition": {"KeyPrefixEquals": "docs/"}, "Redirect": {"ReplaceKeyPrefixWith": "documents/"}},
        {
            "Condition": {"HttpErrorCodeReturnedEquals": "404", "KeyPrefixEquals": "lost/"},
            "Redirect": {"HostName": "other.example", "ReplaceKeyWith": "found", "HttpRedirectCode": "307"},
        },
        {"Condition": {"KeyPrefixEquals": "secure/"}, "Redirect": {"Protocol": "https", "HostName": "safe.example"}},
    ]
    site = Site(server, IndexDocument=INDEX, RoutingRules=rules)
    site.put("lost/here", "not lost")
    moved = site.get("/docs/a")
    assert (moved.status_code, moved.headers["location"]) == (301, f"http://{site.host}/documents/a")
    assert site.get("/lost/here").text == "not lost"
    moved = site.get("/lost/b")
    assert (moved.status_code, moved.headers["location"]) == (307, "http://other.example/found")
    assert site.get("/secure/c").headers["location"] == "https://safe.example/secure/c"
    assert site.get("/elsewhere").status_code == 404


def test_rules_are_checked_when_they_are_put(server: Server) -> None:
    site = Site(server)
    for wrong in (
        {"IndexDocument": INDEX, "RoutingRules": [{"Redirect": {"ReplaceKeyWith": "a", "ReplaceKeyPrefixWith": "b"}}]},
        {"IndexDocument": INDEX, "RoutingRules": [{"Redirect": {"HttpRedirectCode": "200"}}]},
        {"IndexDocument": INDEX, "RoutingRules": [{"Redirect": {"Protocol": "ftp"}}]},
    ):
        with pytest.raises(site.s3.exceptions.ClientError) as caught:
            site.s3.put_bucket_website(Bucket=site.bucket, WebsiteConfiguration=wrong)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
