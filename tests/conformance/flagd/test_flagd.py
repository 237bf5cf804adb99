"""flagd's published evaluator test-bed (open-feature/flagd-testbed 3.9.0), as tables of facts.

A row: the flag, the caller's own value, the attributes, and what must come out. README.md says which of its feature
files are covered, and why the others are not.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from stanchion.base import Json
from stanchion.controls.flags import ErrorCode, FlagSet, Reason, check
from tests.conformance.flagd.flags import ALL, GALLERY

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FLAGS = FlagSet(ALL)
STATIC, DEFAULT, MATCH = Reason.STATIC, Reason.DEFAULT, Reason.TARGETING_MATCH
STAFF = {"email": "ballmer@macrosoft.com"}
OUTSIDER = {"email": "ballmer@none.com"}


class Row(NamedTuple):
    """`reason` and `code` None: the test-bed does not say."""

    flag: str
    fallback: Json
    context: dict[str, Json]
    value: Json
    reason: Reason | None = None
    code: ErrorCode | None = None


def key(value: str, **rest: Json) -> dict[str, Json]:
    return {"targetingKey": value, **rest}


def name(value: str) -> dict[str, Json]:
    return {"user": {"name": value}}


EVALUATION = [
    Row("truth", False, {}, True),
    Row("greeting", "bye", {}, "hi"),
    Row("whole", 1, {}, 10),
    Row("broken-number", 0.1, {}, 0.5),
    Row("mapping", {}, {}, GALLERY),
]
ZERO_VALUES = [
    Row("zero-truth", True, {}, False, STATIC),
    Row("zero-text", "hi", {}, "", STATIC),
    Row("zero-whole", 1, {}, 0, STATIC),
    Row("zero-number", 0.1, {}, 0.0, STATIC),
    Row("zero-mapping", {"a": 1}, {}, {}, STATIC),
    Row("targeted-zero-truth", True, STAFF, False, MATCH),
    Row("targeted-zero-text", "hi", STAFF, "", MATCH),
    Row("targeted-zero-whole", 1, STAFF, 0, MATCH),
    Row("targeted-zero-number", 0.1, STAFF, 0.0, MATCH),
    Row("targeted-zero-truth", True, OUTSIDER, False, DEFAULT),
    Row("targeted-zero-text", "hi", OUTSIDER, "", DEFAULT),
    Row("targeted-zero-whole", 1, OUTSIDER, 0, DEFAULT),
    Row("targeted-zero-number", 0.1, OUTSIDER, 0.0, DEFAULT),
]
DISABLED = [
    Row("disabled-truth", False, {}, False, Reason.DISABLED),
    Row("disabled-greeting", "bye", {}, "bye", Reason.DISABLED),
    Row("disabled-whole", 1, {}, 1, Reason.DISABLED),
    Row("disabled-broken-number", 0.1, {}, 0.1, Reason.DISABLED),
    Row("disabled-mapping", {}, {}, {}, Reason.DISABLED),
]
ERRORS = [
    Row("nobody-made-it", "uh-oh", {}, "uh-oh", Reason.ERROR, ErrorCode.FLAG_NOT_FOUND),
    Row("words", 13, {}, 13, Reason.ERROR, ErrorCode.TYPE_MISMATCH),
]
NO_DEFAULT = [
    Row("no-default-null", True, {"email": ""}, True, DEFAULT),
    Row("no-default-null", False, {"email": ""}, False, DEFAULT),
    Row("no-default", 100, {"email": ""}, 100, DEFAULT),
    Row("boss-else-null", "Inventor", {"email": "wozniak@orange.com"}, "Inventor", DEFAULT),
    Row("boss-else-null", "Founder", {"email": "wozniak@orange.com"}, "Founder", DEFAULT),
    Row("boss-else-null", "CEO", {"email": "jobs@orange.com"}, "CEO", MATCH),
    Row("boss-no-else", "Retired", {"email": "wozniak@orange.com"}, "Retired", DEFAULT),
]
EVALUATOR_REFS = [
    Row("two-greetings", "fallback", STAFF, "hi", MATCH),
    Row("two-answers", "fallback", STAFF, "yes", MATCH),
    Row("two-greetings", "fallback", {"email": "user@example.com"}, "bye", MATCH),
    Row("unknown-evaluator", "fallback", {}, "fallback", Reason.ERROR, ErrorCode.PARSE_ERROR),
]
TARGETING = [
    Row("by-key", "fallback", key("5c3d8535-f81a-4478-a6d3-afaa4d51199e"), "hit", MATCH),
    Row("by-key", "fallback", key("f20bd32d-703b-48b6-bc8e-79d53c85134a"), "miss", DEFAULT),
    Row("clock", 0, {"time": 1}, -1),
    Row("clock", 0, {"time": 4133980802}, 1),
    Row("four-attributes", "EXTERNAL", {"fn": "Sulisław", "ln": "Świętopełk", "age": 29, "customer": False}, "INTERNAL", MATCH),
]  # fmt: skip
EDGES = [
    Row("chooses-null", 3, {}, 2, DEFAULT),
    Row("no-such-operator", 3, {}, 3, Reason.ERROR, ErrorCode.PARSE_ERROR),
    Row("no-such-variant", 3, {}, 3, Reason.ERROR, ErrorCode.GENERAL),
    Row("chooses-true", 3, {}, 2, MATCH),
    Row("empty-targeting", 3, {}, 1, STATIC),
    Row("null-and-no-key", 3, {}, 2, DEFAULT),
]
FRACTIONAL = [
    Row("fractional-flag", "fallback", name("jack"), "hearts"),
    Row("fractional-flag", "fallback", name("queen"), "spades"),
    Row("fractional-flag", "fallback", name("ten"), "clubs"),
    Row("fractional-flag", "fallback", name("nine"), "diamonds"),
    Row("fractional-flag", "fallback", name("3"), "clubs"),
    Row("fractional-flag-shorthand", "fallback", key("jon@company.com"), "heads"),
    Row("fractional-flag-shorthand", "fallback", key("jane@company.com"), "tails"),
    Row("fractional-flag-shorthand", "fallback", {"irrelevant": "none"}, "draw", DEFAULT),
    Row("fractional-flag-shorthand", "fallback", {"targetingKey": 12345}, "draw", DEFAULT),
    Row("fractional-flag-shorthand", "fallback", {"targetingKey": True}, "draw", DEFAULT),
    Row("shared-seed", "fallback", name("seven"), "hearts"),
    Row("shared-seed", "fallback", name("eight"), "diamonds"),
    Row("shared-seed", "fallback", name("nine"), "clubs"),
    Row("shared-seed", "fallback", name("two"), "spades"),
    Row("shared-seed-again", "fallback", name("seven"), "ace-of-hearts"),
    Row("shared-seed-again", "fallback", name("eight"), "ace-of-diamonds"),
    Row("shared-seed-again", "fallback", name("nine"), "ace-of-clubs"),
    Row("shared-seed-again", "fallback", name("two"), "ace-of-spades"),
    Row("single-entry", "fallback", key("some-targeting-key"), "single"),
    Row("hash-edges", "fallback", key("ejOoVL"), "lower"),
    Row("hash-edges", "fallback", key("bY9fO-"), "lower"),
    Row("hash-edges", "fallback", key("SI7p-"), "lower"),
    Row("hash-edges", "fallback", key("6LvT0"), "upper"),
    Row("hash-edges", "fallback", key("ceQdGm"), "upper"),
    Row("nested-if", "wrong", key("jon@company.com", tier="premium"), "premium"),
    Row("nested-if", "wrong", key("jon@company.com", tier="basic"), "standard"),
    Row("nested-if", "wrong", key("user1", tier="premium"), "standard"),
    Row("nested-if", "wrong", key("user1", tier="basic"), "standard"),
    Row("nested-var", "fallback", key("jon@company.com", color="red"), "red"),
    Row("nested-var", "fallback", key("jon@company.com", color="green"), "green"),
    Row("nested-var", "fallback", key("user1", color="red"), "blue"),
    Row("nested-var", "fallback", key("jon@company.com", color="yellow"), "fallback"),
    Row("nested-var", "fallback", key("jon@company.com", color=""), "fallback"),
    Row("nested-weight", "wrong", key("jon@company.com", tier="premium"), "red"),
    Row("nested-weight", "wrong", key("jon@company.com", tier="basic"), "blue"),
    Row("nested-weight", "wrong", key("user1", tier="premium"), "red"),
    Row("nested-weight", "wrong", key("user1", tier="basic"), "blue"),
    Row("as-condition", "zero", key("some-targeting-key"), "hundreds"),
    Row("as-condition-false", "zero", key("some-targeting-key"), "ones"),
    Row("missing-key", "wrong", {}, "fallback", DEFAULT),
    Row("zero-weights", "wrong", key("any-user"), "fallback", DEFAULT),
    Row("negative-weight", "wrong", key("any-user"), "two"),
]
STRING = [
    Row("affixes", "fallback", {"id": "abcdef"}, "prefix"),
    Row("affixes", "fallback", {"id": "uvwxyz"}, "postfix"),
    Row("affixes", "fallback", {"id": "abcxyz"}, "prefix"),
    Row("affixes", "fallback", {"id": "lmnopq"}, "none"),
    Row("affixes", "fallback", {"id": "3"}, "none"),
    Row("prefix-of-number", "wrong", {"num": 123}, "fallback", DEFAULT),
    Row("postfix-of-number", "wrong", {"num": 123}, "fallback", DEFAULT),
    Row("prefix-alone", "wrong", {}, "fallback", DEFAULT),
    Row("postfix-alone", "wrong", {}, "fallback", DEFAULT),
]


def version(flag: str, version: Json, value: Json, reason: Reason | None = None) -> Row:
    return Row(flag, "wrong", {"version": version}, value, reason)


SEMVER = [
    version("ordered-versions", "2.0.0", "equal"),
    version("ordered-versions", "2.1.0", "greater"),
    version("ordered-versions", "1.9.0", "lesser"),
    version("ordered-versions", "2.0.0-alpha", "lesser"),
    version("ordered-versions", "2.0.0.0", "none"),
    version("version-ranges", "3.0.1", "minor"),
    version("version-ranges", "3.1.0", "major"),
    version("version-ranges", "4.0.0", "none"),
    version("no-version", "not-a-version", "fallback", DEFAULT),
    version("no-version-operator", "1.0.0", "fallback", DEFAULT),
    version("two-version-arguments", "1.0.0", "fallback", DEFAULT),
    version("v-prefix", "1.0.0", "match"),
    version("v-prefix", "v1.0.0", "match"),
    version("v-prefix", "V1.0.0", "match"),
    version("v-prefix", "2.0.0", "no-match"),
    version("partial-version", "1.5.0", "match"),
    version("partial-version", "1.0.0", "match"),
    version("partial-version", "1.0", "match"),
    version("partial-version", "1", "match"),
    version("partial-version", 1, "match"),
    version("partial-version", 1.0, "match"),
    version("partial-version", 1.2, "match"),
    version("partial-version", "2.0.0", "no-match"),
    version("numeric-version", 1.2, "match"),
    version("numeric-version", 1.1, "no-match"),
    version("numeric-version", 2, "match"),
    version("numeric-version", 1, "no-match"),
    version("numeric-version", "1.2", "match"),
    version("build-metadata", "1.0.0", "match"),
    version("build-metadata", "1.0.0+other", "match"),
    version("build-metadata", "2.0.0", "no-match"),
]
TABLES = {
    "evaluation": EVALUATION,
    "zero-values": ZERO_VALUES,
    "disabled": DISABLED,
    "errors": ERRORS,
    "no-default-variant": NO_DEFAULT,
    "evaluator-refs": EVALUATOR_REFS,
    "targeting": [*TARGETING, *EDGES],
    "fractional": FRACTIONAL,
    "string": STRING,
    "semver": SEMVER,
}


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{table}-{n}-{row.flag}") for table, rows in TABLES.items() for n, row in enumerate(rows)]
)  # fmt: skip
def test_the_test_bed(row: Row) -> None:
    got = FLAGS.resolve(row.flag, row.fallback, row.context, now=NOW)
    assert got.value == row.value
    assert type(got.value) is type(row.value)
    if row.reason is not None:
        assert got.reason is row.reason
    assert row.code is None or got.error_code is row.code
    assert (got.error_code is None) == (got.reason is not Reason.ERROR)
    assert row.fallback == "fallback" or row.code is not None or got.error_code is None


def test_metadata_is_the_flags_own_and_empty_where_there_is_none() -> None:
    assert FLAGS.resolve("described", False, now=NOW).metadata == {
        "string": "1.0.2",
        "integer": 2,
        "boolean": True,
        "float": 0.1,
    }
    for flag, fallback in (("truth", True), ("whole", 23), ("broken-number", 2.3), ("greeting", "value")):
        assert FLAGS.resolve(flag, fallback, now=NOW).metadata == {}


def test_every_flag_is_evaluated_by_some_row() -> None:
    used = {row.flag for rows in TABLES.values() for row in rows} | {"described"}
    assert {document["flag"] for document in ALL} == used - {"nobody-made-it"}


# What of the test-bed's flags an author is told before anything is published.
REFUSED = {
    "unknown-evaluator": ["/targeting/if/0/$ref"],
    "no-such-operator": ["/targeting/invalid"],
    "no-such-variant": ["/targeting/if/1"],
    "zero-weights": ["/targeting/fractional"],
    "negative-weight": ["/targeting/fractional/1/1"],
    "affixes": ["/targeting/if/2/if/2/if/1", "/targeting/if/2/if/2/if/0/ends_with/1"],
    "ordered-versions": ["/targeting/if/2/if/2/if/2/if/1", "/targeting/if/2/if/2/if/2/if/0/sem_ver/2"],
    "two-version-arguments": ["/targeting/sem_ver"],
    "no-version-operator": ["/targeting/sem_ver/1"],
    "prefix-alone": ["/targeting/starts_with"],
    "postfix-alone": ["/targeting/ends_with"],
}


@pytest.mark.parametrize("document", ALL, ids=lambda document: str(document["flag"]))
def test_what_the_check_before_publishing_says(document: dict[str, Json]) -> None:
    assert [finding.pointer for finding in check(document)] == REFUSED.get(str(document["flag"]), [])
