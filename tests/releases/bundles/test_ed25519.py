"""Ed25519 against the vectors of RFC 8032 §7.1, OpenSSL, and what a strict verification has to refuse."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.base import digest_bytes
from stanchion.releases.bundles import SigningKey, ed25519, envelope

# (secret key, public key, message, signature): TEST 1, 2, 3 and SHA(abc) of RFC 8032 §7.1.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
            "454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
            "3dca179c138ac17ad9bef1177331a704"
        ),
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493
# The eight points of small order in their canonical encodings (the identity, and those of order 2, 4 and 8).
SMALL = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), VECTORS)
def test_the_vectors_of_the_standard(secret: str, public: str, message: str, signature: str) -> None:
    seed, key, said, signed = (bytes.fromhex(text) for text in (secret, public, message, signature))
    assert ed25519.public_of(seed) == key
    assert ed25519.sign(seed, said) == signed
    assert ed25519.verify(key, said, signed)


@settings(max_examples=25, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200), bit=st.integers(0, 511))
def test_what_is_signed_is_verified_and_no_bit_of_it_may_change(seed: bytes, message: bytes, bit: int) -> None:
    key, signature = ed25519.public_of(seed), ed25519.sign(seed, message)
    assert ed25519.verify(key, message, signature)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not ed25519.verify(key, message, bytes(flipped))
    assert not ed25519.verify(key, message + b"\0", signature)
    other = bytearray(key)
    other[bit % 32] ^= 1 << bit % 8
    assert not ed25519.verify(bytes(other), message, signature)


@pytest.mark.parametrize("point", SMALL)
def test_a_key_of_small_order_verifies_nothing(point: str) -> None:
    key = bytes.fromhex(point)
    assert not ed25519.is_key(key)
    # With the identity as key and as R, S = 0 fits every message under a verification that lets such keys in.
    assert not ed25519.verify(key, b"anything", bytes.fromhex(SMALL[0]) + bytes(32))


def test_a_signature_has_one_form() -> None:
    _, public, message, signature = (bytes.fromhex(text) for text in VECTORS[1])
    raised = int.from_bytes(signature[32:], "little") + ORDER
    assert not ed25519.verify(public, message, signature[:32] + raised.to_bytes(32, "little"))
    for wrong in (b"", signature[:63], signature + b"\0"):
        assert not ed25519.verify(public, message, wrong)
    # y = p + 1 is the identity in a second encoding; y = 2 is the y of no point.
    for wrong in ((2**255 - 18).to_bytes(32, "little"), (2).to_bytes(32, "little"), b"short"):
        assert not ed25519.is_key(wrong)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="a second implementation to compare with")
def test_openssl_agrees(tmp_path) -> None:
    seed, message = bytes(range(32)), b"a bundle"
    (tmp_path / "key.der").write_bytes(bytes.fromhex("302e020100300506032b657004220420") + seed)
    (tmp_path / "message").write_bytes(message)

    def openssl(*arguments: str) -> bytes:
        return subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, check=True).stdout

    theirs = openssl("pkeyutl", "-sign", "-rawin", "-inkey", "key.der", "-keyform", "DER", "-in", "message")
    assert ed25519.sign(seed, message) == theirs
    public = openssl("pkey", "-in", "key.der", "-inform", "DER", "-pubout", "-outform", "DER")
    assert public[-32:] == ed25519.public_of(seed)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="it is OpenSSL that verifies here")
def test_a_bundle_is_verified_as_the_reference_says(tmp_path, repo) -> None:
    """The Python of docs/reference/bundles.md, run as it stands there, and OpenSSL."""
    key = SigningKey(bytes(range(32)))
    (tmp_path / "greet.bundle").write_bytes(envelope.seal(b'{"format":1}', key))
    (tmp_path / "key.pem").write_text(key.public.pem)
    page = (repo / "docs/reference/bundles.md").read_text()
    script = page.partition("<<'PY'\n")[2].partition("PY\n")[0]
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    verify = "pkeyutl -verify -pubin -inkey key.pem -rawin -in signed -sigfile signature"
    assert f"openssl {verify}" in page
    assert subprocess.run(["openssl", *verify.split()], cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "signed").write_bytes((tmp_path / "signed").read_bytes() + b" ")
    assert subprocess.run(["openssl", *verify.split()], cwd=tmp_path, capture_output=True, check=False).returncode != 0
    public = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", "key.pem", "-outform", "DER"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert key.public.fingerprint == digest_bytes(public.stdout)
