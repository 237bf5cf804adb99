"""Signatures equal those of the test suite that Amazon publishes for Signature Version 4."""

from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from yarl import URL

from stanchion.tools.credentials.sigv4 import Key, signed

# The suite's own key, which opens nothing.
KEY = Key(
    access_key_id="AKIDEXAMPLE",
    secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    region="us-east-1",
    service="service",
)
AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
UNRESERVED = f"-._~{string.digits}{string.ascii_uppercase}{string.ascii_lowercase}"
# name in the suite, method, path and query, further headers, body, signature
SUITE = [
    ("get-vanilla", "GET", "/", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-vanilla-query-order-key-case",
        "GET",
        "/?Param2=value2&Param1=value1",
        {},
        b"",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    ("post-vanilla", "POST", "/", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ("get-utf8", "GET", "/\u1234", {}, b"", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    (
        "get-unreserved",
        "GET",
        f"/{UNRESERVED}",
        {},
        b"",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    (
        "get-vanilla-utf8-query",
        "GET",
        "/?\u1234=bar",
        {},
        b"",
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    (
        "post-x-www-form-urlencoded",
        "POST",
        "/",
        FORM,
        b"Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    (
        "get-header-value-trim",
        "GET",
        "/",
        {"My-Header1": " value1", "My-Header2": ' "a   b   c"'},
        b"",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    ("get-relative", "GET", "/example/..", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("get-slash", "GET", "//", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-slash-pointless-dot",
        "GET",
        "/./example",
        {},
        b"",
        "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
    ),
    ("get-slashes", "GET", "//example//", {}, b"", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
    (
        "get-space",
        "GET",
        "/example space/",
        {},
        b"",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
]


@pytest.mark.parametrize(("_name", "method", "path", "headers", "body", "signature"), SUITE, ids=[s[0] for s in SUITE])
def test_the_published_signatures(
    _name: str, method: str, path: str, headers: dict[str, str], body: bytes, signature: str
) -> None:
    url = URL("https://example.amazonaws.com" + path, encoded=True)
    added = signed(KEY, method, url, headers, body, AT)
    assert added["X-Amz-Date"] == "20150830T123600Z"
    assert added["Authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="
    )
    assert added["Authorization"].endswith(f"Signature={signature}")


def test_what_is_signed_changes_the_signature() -> None:
    url = URL("https://example.amazonaws.com:8443/a?b=1")
    made = {signed(KEY, "POST", url, {}, body, AT)["Authorization"][-64:] for body in (b"", b"1", b"2")} | {
        signed(KEY, "PUT", url, {}, b"", AT)["Authorization"][-64:]
    }
    assert len(made) == 4
    assert signed(KEY, "GET", url, {}, b"", AT) == signed(KEY, "GET", URL(str(url)), {}, b"", AT)


def test_temporary_keys_and_s3_sign_more_headers() -> None:
    key = Key(access_key_id="A", secret_access_key="s", session_token="t", region="eu-central-1", service="s3")
    added = signed(key, "PUT", URL("https://bucket.example/a%20b"), {}, b"x", AT)
    assert added["X-Amz-Security-Token"] == "t"
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token" in added["Authorization"]
    assert added["X-Amz-Content-Sha256"] == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert "secret" not in repr(key).lower()
