"""The flags of flagd's evaluator test-bed, written anew as Stanchion's flag documents.

A flag keeps its published name where the name is part of what is hashed; the others are named for what they show.
"""

from __future__ import annotations

from stanchion.base import Json

SUITS: Json = {suit: suit for suit in ("clubs", "diamonds", "hearts", "spades", "wild")}
ACES: Json = {suit: f"ace-of-{suit}" for suit in ("clubs", "diamonds", "hearts", "spades")} | {"wild": "wild"}
QUARTERS: list[Json] = [["clubs", 25], ["diamonds", 25], ["hearts", 25], ["spades", 25]]
GALLERY: Json = {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}
STAFF: Json = {"==": ["ballmer@macrosoft.com", {"var": ["email"]}]}
KEY: Json = {"var": "targetingKey"}
PREMIUM: Json = {"==": [{"var": "tier"}, "premium"]}


def flag(name: str, kind: str, variants: Json, default: str | None = None, **rest: Json) -> dict[str, Json]:
    return {"flag": name, "owner": "conformance", "type": kind, "variants": variants, "default": default, **rest}


def texts(*names: str) -> Json:
    """Text variants that are their own names."""
    return {name: name for name in names}


def if_else(condition: Json, then: Json, *otherwise: Json) -> Json:
    return {"if": [condition, then, *otherwise]}


def versions(name: str, operator: str, target: str) -> dict[str, Json]:
    rule = if_else({"sem_ver": [{"var": "version"}, operator, target]}, "match", "no-match")
    return flag(name, "string", texts("match", "no-match"), "no-match", targeting=rule)


def operator_alone(name: str, rule: Json) -> dict[str, Json]:
    """An operator whose own result, true or false, names the variant."""
    return flag(name, "string", texts("true", "false", "fallback"), "fallback", targeting=rule)


STATIC = [
    flag("truth", "boolean", {"on": True, "off": False}, "on"),
    flag("greeting", "string", {"greeting": "hi", "parting": "bye"}, "greeting"),
    flag("whole", "number", {"one": 1, "ten": 10}, "ten"),
    flag("broken-number", "number", {"tenth": 0.1, "half": 0.5}, "half"),
    flag("mapping", "object", {"empty": {}, "template": GALLERY}, "template"),
    flag("words", "string", {"one": "uno", "two": "dos"}, "one"),
    flag("zero-truth", "boolean", {"zero": False, "non-zero": True}, "zero"),
    flag("zero-text", "string", {"zero": "", "non-zero": "str"}, "zero"),
    flag("zero-whole", "number", {"zero": 0, "non-zero": 1}, "zero"),
    flag("zero-number", "number", {"zero": 0.0, "non-zero": 1.0}, "zero"),
    flag("zero-mapping", "object", {"zero": {}, "non-zero": GALLERY}, "zero"),
    flag("no-default-null", "boolean", {"on": True, "off": False}, None),
    {k: v for k, v in flag("no-default", "number", {"small": 10, "big": 1000}).items() if k != "default"},
    flag(
        "described",
        "boolean",
        {"on": True, "off": False},
        "on",
        metadata={"string": "1.0.2", "integer": 2, "boolean": True, "float": 0.1},
    ),
]
DISABLED = [{**document, "flag": f"disabled-{document['flag']}", "enabled": False} for document in STATIC[:5]]
_BOSS: Json = {"==": ["jobs@orange.com", {"var": ["email"]}]}
TARGETED = [
    {
        **document,
        "flag": f"targeted-{document['flag']}",
        "targeting": {"if": [{"$ref": "staff"}, "zero"]},
        "evaluators": {"staff": STAFF},
    }
    for document in STATIC[6:10]
] + [
    flag("by-key", "string", texts("miss", "hit"), "miss",
         targeting=if_else({"==": [KEY, "5c3d8535-f81a-4478-a6d3-afaa4d51199e"]}, "hit", None)),
    flag("boss-else-null", "string", {"normal": "CFO", "special": "CEO"}, None,
         targeting=if_else(_BOSS, "special", None)),
    flag("boss-no-else", "string", {"normal": "CFO", "special": "CEO"}, None, targeting=if_else(_BOSS, "special")),
    flag("two-greetings", "string", texts("hi", "bye", "none"), "none",
         targeting=if_else({"$ref": "staff"}, "hi", "bye"), evaluators={"staff": STAFF}),
    flag("two-answers", "string", texts("yes", "no", "none"), "none",
         targeting=if_else({"$ref": "staff"}, "yes", "no"), evaluators={"staff": STAFF}),
    flag("unknown-evaluator", "string", texts("hit", "miss", "fallback"), "fallback",
         targeting=if_else({"$ref": "nobody-defined-it"}, "hit", "miss"), evaluators={"staff": STAFF}),
    flag("clock", "number", {"past": -1, "future": 1, "none": 0}, "none",
         targeting=if_else({">": [{"var": "$flagd.timestamp"}, {"var": "time"}]}, "past",
                           if_else({"<": [{"var": "$flagd.timestamp"}, {"var": "time"}]}, "future", "none"))),
    flag("four-attributes", "string", {"internal": "INTERNAL", "external": "EXTERNAL"}, "external",
         targeting=if_else({"and": [{"==": [{"var": ["fn"]}, "Sulisław"]}, {"==": [{"var": ["ln"]}, "Świętopełk"]},
                                    {"==": [{"var": ["age"]}, 29]}, {"==": [{"var": ["customer"]}, False]}]},
                           "internal", "external")),
]  # fmt: skip
EDGES = [
    flag("chooses-null", "number", {"one": 1, "two": 2}, "two", targeting=if_else(True, None, "one")),
    flag("no-such-operator", "number", {"one": 1, "two": 2}, "two", targeting={"invalid": ["not an operator"]}),
    flag("no-such-variant", "number", {"one": 1, "two": 2}, "two", targeting=if_else(True, "three", "one")),
    flag("chooses-true", "number", {"false": 1, "true": 2}, "false", targeting=if_else(True, True, False)),
    flag("empty-targeting", "number", {"false": 1, "true": 2}, "false", targeting={}),
    flag("null-and-no-key", "number", {"one": 1, "two": 2}, "two", targeting={"fractional": [None, ["one"]]}),
]
FRACTIONAL = [
    flag("fractional-flag", "string", SUITS, "wild",
         targeting={"fractional": [{"cat": [{"var": "$flagd.flagKey"}, {"var": "user.name"}]}, *QUARTERS]}),
    flag("fractional-flag-shorthand", "string", texts("heads", "tails", "draw"), "draw",
         targeting={"fractional": [["heads"], ["tails", 1]]}),
    flag("shared-seed", "string", SUITS, "wild",
         targeting={"fractional": [{"cat": ["shared-seed", {"var": "user.name"}]}, *QUARTERS]}),
    flag("shared-seed-again", "string", ACES, "wild",
         targeting={"fractional": [{"cat": ["shared-seed", {"var": "user.name"}]}, *QUARTERS]}),
    flag("hash-edges", "string", texts("lower", "upper"), "lower",
         targeting={"fractional": [KEY, ["lower", 50], ["upper", 50]]}),
    flag("single-entry", "string", texts("single", "fallback"), "fallback",
         targeting={"fractional": [["single", 1]]}),
    flag("nested-if", "string", texts("premium", "standard", "fallback"), "fallback",
         targeting={"fractional": [KEY, [if_else(PREMIUM, "premium", "standard"), 50], ["standard", 50]]}),
    flag("nested-var", "string", texts("red", "green", "blue", "fallback"), "fallback",
         targeting={"fractional": [KEY, [{"var": "color"}, 50], ["blue", 50]]}),
    flag("nested-weight", "string", texts("red", "blue", "fallback"), "fallback",
         targeting={"fractional": [KEY, ["red", if_else(PREMIUM, 100, 0)], ["blue", 10]]}),
    flag("as-condition", "string", {"big": "hundreds", "small": "ones", "fallback": "zero"}, "fallback",
         targeting=if_else({"fractional": [[False, 0], [True, 100]]}, "big", "small")),
    flag("as-condition-false", "string", {"big": "hundreds", "small": "ones", "fallback": "zero"}, "fallback",
         targeting=if_else({"fractional": [[False, 100], [True, 0]]}, "big", "small")),
    flag("missing-key", "string", texts("one", "two", "fallback"), "fallback",
         targeting={"fractional": [{"var": "missing_key"}, ["one", 50], ["two", 50]]}),
    flag("zero-weights", "string", texts("one", "two", "fallback"), "fallback",
         targeting={"fractional": [KEY, ["one", 0], ["two", 0]]}),
    flag("negative-weight", "string", texts("one", "two", "fallback"), "fallback",
         targeting={"fractional": [KEY, ["one", -50], ["two", 100]]}),
]  # fmt: skip
_VERSION: Json = {"var": "version"}
OPERATORS = [
    flag("affixes", "string", texts("prefix", "postfix", "none"), "none",
         targeting=if_else({"starts_with": [{"var": "id"}, "abc"]}, "prefix",
                           if_else({"ends_with": [{"var": "id"}, "xyz"]}, "postfix",
                                   if_else({"ends_with": [{"var": "id"}, 3]}, "fail", "none")))),
    flag("ordered-versions", "string", texts("equal", "greater", "lesser", "none"), "none",
         targeting=if_else({"sem_ver": [_VERSION, "=", "2.0.0"]}, "equal",
                           if_else({"sem_ver": [_VERSION, ">", "2.0.0"]}, "greater",
                                   if_else({"sem_ver": [_VERSION, "<", "2.0.0"]}, "lesser",
                                           if_else({"sem_ver": [_VERSION, "=", "2.0.0.0"]}, "fail", "none"))))),
    flag("version-ranges", "string", texts("minor", "major", "none"), "none",
         targeting=if_else({"sem_ver": [_VERSION, "~", "3.0.0"]}, "minor",
                           if_else({"sem_ver": [_VERSION, "^", "3.0.0"]}, "major", "none"))),
    versions("v-prefix", "=", "v1.0.0"),
    versions("partial-version", "^", "1"),
    versions("numeric-version", ">", "1.1"),
    versions("build-metadata", "=", "1.0.0+build"),
    operator_alone("no-version", {"sem_ver": [_VERSION, "=", "1.0.0"]}),
    operator_alone("no-version-operator", {"sem_ver": [_VERSION, "===", "1.0.0"]}),
    operator_alone("two-version-arguments", {"sem_ver": [_VERSION, "="]}),
    operator_alone("prefix-of-number", {"starts_with": [{"var": "num"}, "abc"]}),
    operator_alone("postfix-of-number", {"ends_with": [{"var": "num"}, "xyz"]}),
    operator_alone("prefix-alone", {"starts_with": ["abc"]}),
    operator_alone("postfix-alone", {"ends_with": ["xyz"]}),
]  # fmt: skip
ALL: list[dict[str, Json]] = [*STATIC, *DISABLED, *TARGETED, *EDGES, *FRACTIONAL, *OPERATORS]
