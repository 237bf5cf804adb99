"""Sealed texts open for the right key, tenant and path, and for nothing else, whatever byte is changed."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Invalid, SystemClock, SystemIds, Unavailable
from stanchion.secrets.holding.envelope import decrypted, encrypted, secret_context
from stanchion.secrets.sealing import check_fields, fingerprint, opened, public_key, sealed, sealing_key_of

IDS = SystemIds(SystemClock())
SECRET = bytes(range(1, 33))
PUBLIC = sealing_key_of(SECRET)
FIELDS = {"value": "pl4nted-value"}
BOX = sealed(PUBLIC, FIELDS, tenant="default", path="erp/api-key", ids=IDS)
KEY = bytes(range(32))

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300)
field_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
places = st.tuples(st.text(max_size=20), st.text(max_size=20))


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def box(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def not_opened(secret: bytes, text: str, tenant: str = "default", path: str = "erp/api-key") -> None:
    with pytest.raises(Invalid) as caught:
        opened(secret, text, tenant=tenant, path=path)
    assert caught.value.code == "secret.not_opened"
    assert caught.value.__cause__ is None


@given(st.dictionaries(field_names, texts, min_size=1, max_size=5), places)
def test_what_was_sealed_is_what_is_opened(fields, place):
    text = sealed(PUBLIC, fields, tenant=place[0], path=place[1], ids=IDS)
    assert opened(SECRET, text, tenant=place[0], path=place[1]) == fields


@given(places, places)
def test_another_tenant_or_path_opens_nothing(place, other):
    text = sealed(PUBLIC, FIELDS, tenant=place[0], path=place[1], ids=IDS)
    if place == other:
        assert opened(SECRET, text, tenant=other[0], path=other[1]) == FIELDS
    else:
        not_opened(SECRET, text, *other)


@given(st.integers(0, len(raw(BOX)) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(position, change):
    data = bytearray(raw(BOX))
    data[position] ^= change
    # The top bit of the sender's key is ignored by X25519 (RFC 7748 §5); the derivation covers it all the same.
    not_opened(SECRET, box(bytes(data)))


@given(st.integers(0, len(raw(BOX)) - 1), st.binary(max_size=20))
def test_any_cut_or_longer_text_is_noticed(length, more):
    not_opened(SECRET, box(raw(BOX)[:length]))
    if more:
        not_opened(SECRET, box(raw(BOX) + more))


@given(st.text(max_size=80))
def test_no_text_breaks_it(text):
    not_opened(SECRET, text)


def test_another_key_opens_nothing_and_a_second_spelling_is_refused():
    not_opened(bytes(reversed(SECRET)), BOX)
    for text in (BOX + "=", BOX + "\n", BOX.replace("-", "+"), BOX[:-1] + chr(ord(BOX[-1]) + 1)):
        if text != BOX:
            not_opened(SECRET, text)


def test_the_derivation_is_the_one_that_is_documented():
    """Opened by hand, from the primitives of RFC 7748, RFC 5869 and SP 800-38D: what others may implement."""
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    data = raw(BOX)
    assert data[0] == 1
    shared = X25519PrivateKey.from_private_bytes(SECRET).exchange(X25519PublicKey.from_public_bytes(data[1:33]))
    extracted = hmac.digest(data[1:33] + PUBLIC, shared, hashlib.sha256)
    key = hmac.digest(extracted, b"stanchion sealed secret v1\x01", hashlib.sha256)
    text = AESGCM(key).decrypt(bytes(12), data[33:], b'["stanchion sealed secret v1","default","erp/api-key"]')
    assert json.loads(text) == FIELDS


def test_the_length_of_a_password_is_not_seen():
    lengths = {len(sealed(PUBLIC, {"value": "x" * n}, tenant="t", path="p", ids=IDS)) for n in range(1, 200)}
    assert len(lengths) == 1


def test_two_boxes_of_one_value_share_nothing():
    other = sealed(PUBLIC, FIELDS, tenant="default", path="erp/api-key", ids=IDS)
    assert raw(other)[1:33] != raw(BOX)[1:33]
    assert raw(other)[33:] != raw(BOX)[33:]


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31)])
def test_a_sealing_key_of_low_order_is_refused(public):
    with pytest.raises(Invalid) as caught:
        sealed(public, FIELDS, tenant="t", path="p", ids=IDS)
    assert caught.value.code == "secret.bad_sealing_key"


@pytest.mark.parametrize("text", ["", "AA", "!" * 43, "A" * 44, box(PUBLIC) + "="])
def test_what_is_no_sealing_key(text):
    with pytest.raises(Invalid) as caught:
        public_key(text)
    assert caught.value.code == "secret.bad_sealing_key"
    assert public_key(box(PUBLIC)) == PUBLIC
    assert fingerprint(PUBLIC).startswith("sha256:")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        [],
        "pl4nted",
        None,
        {"value": ""},
        {"value": "pl4nted\0"},
        {"value": "x" * 16_385},
        {"value": 7},
        {"value": {"a": "pl4nted"}},
        {"pl4nted value": "x"},
        {"": "pl4nted"},
        {1: "pl4nted"},
        {"value": "\ud800pl4nted"},
        {f"f{n}": "pl4nted" for n in range(33)},
        {f"f{n}": "p" * 16_000 for n in range(5)},
    ],
)
def test_what_are_no_fields_is_refused_without_being_repeated(fields):
    with pytest.raises(Invalid) as caught:
        check_fields(fields)
    assert caught.value.code == "secret.bad_value"
    assert "pl4nted" not in str(caught.value)


contexts = st.tuples(
    st.sampled_from(["default", "acme"]),
    st.sampled_from(["a", "a/b"]),
    st.integers(1, 3),
    st.sampled_from(["local", "prod"]),
)


@given(st.binary(max_size=200), contexts, contexts)
def test_what_was_encrypted_opens_for_its_tenant_path_version_and_environment_alone(text, context, other):
    data = encrypted(KEY, text, secret_context(*context), IDS)
    assert decrypted(KEY, data, secret_context(*context), what="it") == text
    if other != context:
        with pytest.raises(Unavailable) as caught:
            decrypted(KEY, data, secret_context(*other), what="it")
        assert (caught.value.code, caught.value.retryable) == ("secret.damaged", False)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_any_changed_or_cut_byte_of_a_ciphertext_is_noticed(text, data):
    context = secret_context("default", "a", 1, "local")
    stored = encrypted(KEY, text, context, IDS)
    changed = bytearray(stored)
    changed[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    for wrong in (bytes(changed), stored[: data.draw(st.integers(0, len(stored) - 1))], stored + b"x"):
        with pytest.raises(Unavailable):
            decrypted(KEY, wrong, context, what="it")


def test_no_nonce_is_used_twice():
    context = secret_context("default", "a", 1, "local")
    assert len({encrypted(KEY, b"x", context, IDS)[:12] for _ in range(2000)}) == 2000
