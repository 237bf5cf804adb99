from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from stanchion.artifacts import PublishChange, place, unstorable
from stanchion.base import canonical, loads

DIGESTS = st.lists(st.sampled_from([f"sha256:{n}" for n in range(6)]), max_size=30)


@given(DIGESTS)
def test_any_history_of_publishes_is_gapless_and_holds_each_digest_once(published: list[str]) -> None:
    stored: list[tuple[int, str]] = []
    for digest in published:
        placed = place(digest, stored)
        known = {d: v for v, d in stored}
        if placed.change in (PublishChange.CREATED, PublishChange.UPDATED):
            assert digest not in known
            assert placed.version == len(stored) + 1
            stored.append((placed.version, digest))
        else:
            assert known[digest] == placed.version
            assert (placed.change is PublishChange.UNCHANGED) == (placed.version == len(stored))
    assert [v for v, _ in stored] == list(range(1, len(stored) + 1))
    assert [d for _, d in stored] == list(dict.fromkeys(published))


def test_the_order_of_the_known_versions_does_not_matter() -> None:
    placed = place("b", [(3, "c"), (1, "a"), (2, "b")])
    assert (placed.version, placed.change) == (2, PublishChange.REUSED)
    assert place("c", [(3, "c"), (1, "a")]).change is PublishChange.UNCHANGED


STORABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(STORABLE)
def test_what_is_storable_survives_json(value: object) -> None:
    assert unstorable(value) is None
    assert loads(canonical(value)) == value


def test_what_the_store_cannot_keep_is_named_with_its_pointer() -> None:
    cases = {
        "a\x00b": "U+0000",
        "\ud800": "surrogate",
        math.inf: "not finite",
        math.nan: "not finite",
        2**63: "64 bits",
        -(2**63) - 1: "64 bits",
    }
    for value, word in cases.items():
        found = unstorable({"steps": [{"id": "ok"}, {"with": value}]})
        assert found is not None
        assert found[0] == "/steps/1/with"
        assert word in found[1]
    in_key = unstorable({"a": {"b\x00": 1}})
    assert in_key is not None
    assert in_key[0] == "/a"
