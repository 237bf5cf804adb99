"""Standard Webhooks. The vectors are facts: computed once with OpenSSL's command line, not with this package."""

from __future__ import annotations

import base64
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.tools.webhooks import BadWebhook, ReplayWindow, secret_bytes, sign, verify

OLD = "whsec_" + base64.b64encode(bytes(range(24))).decode()
NEW = "whsec_" + base64.b64encode(bytes(range(64, 96))).decode()
BODY = b'{"type":"case.closed","data":{"case_id":"C1"}}'
AT = 1_780_000_000
ID = "eff_0011"
# printf '%s' 'eff_0011.1780000000.{"type":…}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0001…17 -binary | base64
VECTORS = [
    (OLD, "TAxsAscKKLkP6ozje/0YS1H0Ka8JPyuxEirzCFEuwK4="),
    (NEW, "ByfgXrR06pdi4aRZY/S2YnKhC536uh5O605gNCUml8w="),
]


@pytest.mark.parametrize(("secret", "signature"), VECTORS)
def test_vectors(secret, signature) -> None:
    assert sign([secret], ID, AT, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": str(AT),
        "webhook-signature": f"v1,{signature}",
    }
    assert verify([secret], sign([secret], ID, AT, BODY), BODY, now_s=AT).id == ID


def test_another_implementation_agrees() -> None:
    key = secret_bytes(OLD).hex()
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key}", "-binary"],
        input=f"{ID}.{AT}.".encode() + BODY,
        capture_output=True,
        check=True,
    )
    assert sign([OLD], ID, AT, BODY)["webhook-signature"] == "v1," + base64.b64encode(done.stdout).decode()


def test_during_a_rotation_whoever_knows_either_secret_verifies() -> None:
    headers = sign([NEW, OLD], ID, AT, BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert verify([OLD], headers, BODY, now_s=AT).secret == 0
    assert verify([NEW], headers, BODY, now_s=AT).secret == 0
    assert verify([NEW, OLD], sign([OLD], ID, AT, BODY), BODY, now_s=AT).secret == 1


def test_names_of_headers_in_any_case_and_other_versions_beside() -> None:
    headers = {name.title(): value for name, value in sign([OLD], ID, AT, BODY).items()}
    headers["Webhook-Signature"] = "v1a,abc v2,x " + headers["Webhook-Signature"]
    assert verify([OLD], headers, BODY, now_s=AT).sent_at_s == AT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"webhook-id": "eff_0012"}, "no_match"),
        ({"webhook-timestamp": str(AT + 1)}, "no_match"),
        ({"webhook-signature": "v1,AAAA"}, "no_match"),
        ({"webhook-signature": "v2,TAxsAscKKLkP6ozje/0YS1H0Ka8JPyuxEirzCFEuwK4="}, "no_match"),
        ({"webhook-signature": "v1,\u00fc"}, "no_match"),
        ({"webhook-signature": " ".join(["v1,AAAA"] * 17)}, "bad_header"),
        ({"webhook-id": "a.b"}, "bad_header"),
        ({"webhook-id": "a b"}, "bad_header"),
        ({"webhook-timestamp": "now"}, "bad_header"),
        ({"webhook-timestamp": "-1"}, "bad_header"),
        ({"webhook-timestamp": "\u0661"}, "bad_header"),
        ({"webhook-id": ""}, "missing_header"),
        ({"webhook-signature": ""}, "missing_header"),
    ],
)
def test_what_is_not_believed(change, reason) -> None:
    with pytest.raises(BadWebhook) as caught:
        verify([OLD], {**sign([OLD], ID, AT, BODY), **change}, BODY, now_s=AT)
    assert caught.value.reason == reason


def test_a_changed_body_a_foreign_secret_and_no_secret() -> None:
    headers = sign([OLD], ID, AT, BODY)
    for secrets, body in (([OLD], BODY + b" "), ([NEW], BODY), ([], BODY)):
        with pytest.raises(BadWebhook) as caught:
            verify(secrets, headers, body, now_s=AT)
        assert caught.value.reason == "no_match"


@pytest.mark.parametrize(("late_s", "reason"), [(301, "too_old"), (-301, "too_new"), (300, ""), (-300, "")])
def test_tolerance(late_s, reason) -> None:
    headers = sign([OLD], ID, AT, BODY)
    if not reason:
        assert verify([OLD], headers, BODY, now_s=AT + late_s).id == ID
        return
    with pytest.raises(BadWebhook) as caught:
        verify([OLD], headers, BODY, now_s=AT + late_s)
    assert caught.value.reason == reason


def test_who_cannot_sign_learns_nothing_of_the_clock() -> None:
    headers = {**sign([OLD], ID, AT, BODY), "webhook-signature": "v1,AAAA"}
    with pytest.raises(BadWebhook) as caught:
        verify([OLD], headers, BODY, now_s=AT + 10_000)
    assert caught.value.reason == "no_match"


@pytest.mark.parametrize(
    "secret",
    ["", "abc", "whsec_", "whsec_!!!!", "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_" + "AAAA" * 22],
)
def test_what_is_no_secret(secret) -> None:
    with pytest.raises(ValueError) as caught:
        sign([secret], ID, AT, BODY)
    assert secret == "" or secret not in str(caught.value)


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\r\nx: y", "\u00fc", "x" * 257])
def test_ids_that_no_header_carries(message_id) -> None:
    with pytest.raises(ValueError):
        sign([OLD], message_id, AT, BODY)


@given(body=st.binary(max_size=200), other=st.binary(max_size=200), at=st.integers(0, 10**11))
def test_exactly_the_signed_body_is_verified(body, other, at) -> None:
    headers = sign([OLD], ID, at, body)
    assert verify([OLD], headers, body, now_s=at).id == ID
    if other != body:
        with pytest.raises(BadWebhook):
            verify([OLD], headers, other, now_s=at)


def test_a_message_that_comes_again_is_known_within_the_window() -> None:
    window = ReplayWindow(600)
    assert window.first("a", 0)
    assert not window.first("a", 599)
    assert window.first("a", 601)
    assert len(window) == 1


def test_the_window_is_bounded() -> None:
    window = ReplayWindow(600, most=10)
    assert all(window.first(str(n), 0) for n in range(50))
    assert len(window) == 10
    assert not window.first("49", 1)
