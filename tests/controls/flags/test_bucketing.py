"""MurmurHash3 against published vectors, and dealing by weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.controls.flags import WEIGHT_SUM_MAX, bucket, distribute, murmur3

# (bytes, seed, hash): the vectors that circulate with the algorithm since its publication, and the five keys of flagd's
# test-bed whose hashes are its edges.
VECTORS = [
    (b"", 0, 0x00000000),
    (b"", 1, 0x514E28B7),
    (b"", 0xFFFFFFFF, 0x81F16F39),
    (b"\xff\xff\xff\xff", 0, 0x76293B50),
    (b"\x21\x43\x65\x87", 0, 0xF55B516B),
    (b"\x21\x43\x65\x87", 0x5082EDEE, 0x2362F9DE),
    (b"\x21\x43\x65", 0, 0x7E4A8634),
    (b"\x21\x43", 0, 0xA0F7B07A),
    (b"\x21", 0, 0x72661CF4),
    (b"\x00\x00\x00\x00", 0, 0x2362F9DE),
    (b"\x00\x00\x00", 0, 0x85F0B427),
    (b"\x00\x00", 0, 0x30F4C306),
    (b"\x00", 0, 0x514E28B7),
    (b"test", 0, 0xBA6BD213),
    (b"test", 0x9747B28C, 0x704B81DC),
    (b"Hello, world!", 0, 0xC0363E43),
    (b"Hello, world!", 0x9747B28C, 0x24884CBA),
    (b"The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
    (b"The quick brown fox jumps over the lazy dog", 0x9747B28C, 0x2FA826CD),
    (b"ejOoVL", 0, 0),
    (b"bY9fO-", 0, 1),
    (b"SI7p-", 0, 2**31 - 1),
    (b"6LvT0", 0, 2**31),
    (b"ceQdGm", 0, 2**32 - 1),
]


@pytest.mark.parametrize(("data", "seed", "expected"), VECTORS)
def test_murmur3_gives_the_published_hashes(data: bytes, seed: int, expected: int) -> None:
    assert murmur3(data, seed) == expected


def test_murmur3_passes_smhashers_verification() -> None:
    """SMHasher's VerificationTest: the hashes of 256 keys of growing length, hashed; its value for this variant."""
    hashes = b"".join(murmur3(bytes(range(n)), 256 - n).to_bytes(4, "little") for n in range(256))
    assert murmur3(hashes) == 0xB0F57EE3


@pytest.mark.parametrize(
    ("key", "place"), [("ejOoVL", 0), ("bY9fO-", 0), ("SI7p-", 49), ("6LvT0", 50), ("ceQdGm", 99), ("user1", 76)]
)
def test_a_bucket_is_the_hash_scaled_down(key: str, place: int) -> None:
    assert bucket(key, 100) == place


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [-1, 2], [WEIGHT_SUM_MAX, 1]])
def test_weights_that_say_nothing_give_nothing(weights: list[int]) -> None:
    assert distribute("key", weights) is None


def test_the_greatest_sum_of_weights_is_dealt() -> None:
    assert distribute("ceQdGm", [WEIGHT_SUM_MAX - 1, 1]) == 1
    assert distribute("SI7p-", [WEIGHT_SUM_MAX - 1, 1]) == 0


WEIGHTS = st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any)


@given(key=st.text(), weights=WEIGHTS, factor=st.integers(1, 1000))
def test_only_the_proportions_of_weights_count(key: str, weights: list[int], factor: int) -> None:
    index = distribute(key, weights)
    assert index is not None
    assert weights[index] > 0
    assert distribute(key, [weight * factor for weight in weights]) == index


@given(key=st.text(), weights=WEIGHTS, grown=st.integers(0, 1000))
def test_the_first_bucket_loses_nobody_when_it_grows(key: str, weights: list[int], grown: int) -> None:
    total = sum(weights)
    larger = min(total, weights[0] + grown)
    if distribute(key, [weights[0], total - weights[0]]) == 0:
        assert distribute(key, [larger, total - larger]) == 0


def test_100_000_keys_fall_by_the_weights() -> None:
    """Each count within 4.4 standard deviations of its binomial: by chance outside once in 90,000 runs, and keys are
    fixed, so the test always gives the same."""
    weights, keys = [1, 9, 15, 25, 50], 100_000
    counts = [0] * len(weights)
    for n in range(keys):
        index = distribute(f"some-flag/user-{n}", weights)
        assert index is not None
        counts[index] += 1
    for weight, count in zip(weights, counts, strict=True):
        p = weight / 100
        assert abs(count - keys * p) < 4.4 * (keys * p * (1 - p)) ** 0.5, counts
