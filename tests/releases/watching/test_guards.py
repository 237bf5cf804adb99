from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Invalid, dumps, loads
from stanchion.releases.watching import Better, Kind, guards_json, parse_guards, read_guards
from tests.docs.fences import fences


def one(**fields) -> dict:
    return {"guards": [{"metric": "errors", "kind": "rate", **fields}]}


def test_defaults_follow_the_kind_and_the_name_follows_the_metric():
    guards = parse_guards(
        {
            "guards": [
                {"metric": "errors", "kind": "rate"},
                {"metric": "score", "kind": "score"},
                {"metric": "latency_ms", "kind": "exceedance", "limit": 2000, "name": "slow"},
            ]
        }
    )
    assert guards.alpha == 0.05
    assert [(g.name, g.kind, g.better, g.limit) for g in guards.guards] == [
        ("errors", Kind.RATE, Better.LOWER, None),
        ("score", Kind.SCORE, Better.HIGHER, None),
        ("slow", Kind.EXCEEDANCE, Better.LOWER, 2000),
    ]
    assert [g.alpha for g in guards.guards] == pytest.approx([0.05 / 3] * 3)
    first = guards.guards[0]
    assert (first.margin, first.exclude, first.samples_min, first.staleness_s_max, first.window) == (
        0,
        0.1,
        100,
        900,
        1000,
    )


def test_a_guard_without_alpha_gets_an_even_part_of_what_is_left():
    guards = parse_guards(
        {
            "alpha": 0.1,
            "guards": [
                {"metric": "errors", "kind": "rate", "alpha": 0.04},
                {"metric": "denials", "kind": "rate"},
                {"metric": "overrides", "kind": "rate"},
            ],
        }
    )
    assert [g.alpha for g in guards.guards] == pytest.approx([0.04, 0.03, 0.03])


@given(
    alphas=st.lists(st.one_of(st.none(), st.floats(0.0001, 0.2)), min_size=1, max_size=8),
    whole=st.floats(0.001, 0.5),
)
def test_the_alphas_never_add_up_to_more_than_the_whole(alphas, whole):
    entries = [
        {"metric": f"m{n}", "kind": "rate", **({} if alpha is None else {"alpha": alpha})}
        for n, alpha in enumerate(alphas)
    ]
    guards, flaws = read_guards({"alpha": whole, "guards": entries})
    spent = math.fsum(alpha or 0 for alpha in alphas)
    if guards is None:
        assert [flaw.pointer for flaw in flaws] == ["/alpha"]
        assert spent > whole - 1e-9
    else:
        assert math.fsum(g.alpha for g in guards.guards) <= whole + 1e-9
        assert all(g.alpha > 0 for g in guards.guards)
        assert parse_guards(loads(dumps(guards_json(guards)))) == guards


@pytest.mark.parametrize(
    ("declaration", "pointer", "hint"),
    [
        ([], "", "Write {"),
        ({}, "/guards", "without one nothing is watched"),
        ({"guards": []}, "/guards", "without one nothing is watched"),
        ({"guards": [{"metric": "m", "kind": "rate"}] * 51}, "/guards", "1 to 50"),
        ({"guards": [3]}, "/guards/0", "metric"),
        ({**one(), "alhpa": 1}, "/alhpa", "Did you mean `alpha`?"),
        ({**one(), "alpha": 0}, "/alpha", "above 0 and at most 0.5"),
        ({"guards": [{"kind": "rate"}]}, "/guards/0/metric", "what is observed"),
        ({"guards": [{"metric": "errors"}]}, "/guards/0/kind", "rate, score or exceedance"),
        ({"guards": [{"metric": "eror_rate"}]}, "/guards/0/kind", "Did you mean the metric error_rate?"),
        (one(kind="rates"), "/guards/0/kind", "Did you mean `rate`?"),
        (one(kind=7), "/guards/0/kind", "Write one of rate, score, exceedance"),
        (one(metric="Errors"), "/guards/0/metric", "small letter"),
        (one(name=""), "/guards/0/name", "small letter"),
        (one(better="less"), "/guards/0/better", "lower, higher"),
        (one(margin=-0.1), "/guards/0/margin", "at least 0 and below 1"),
        (one(margin="2 %"), "/guards/0/margin", "a number at least 0"),
        (one(margin=True), "/guards/0/margin", "a number at least 0"),
        (one(margin=float("nan")), "/guards/0/margin", "a number at least 0"),
        (one(margin=10**400), "/guards/0/margin", "a number at least 0"),
        (one(margin=0.2), "/guards/0/exclude", "above 0.2, as 0.3"),
        (one(margin=0.05, exclude=0.05), "/guards/0/exclude", "above 0.05"),
        (one(samples_min=0), "/guards/0/samples_min", "a whole number at least 1"),
        (one(samples_min=2.5), "/guards/0/samples_min", "a whole number"),
        (one(staleness_s_max=float("inf")), "/guards/0/staleness_s_max", "at most"),
        (one(window=9), "/guards/0/window", "at least 10"),
        (one(alpha=0.06), "/alpha", "Lower the guards' alphas"),
        (one(limit=3), "/guards/0/limit", "Remove it"),
        (one(quantile=0.9), "/guards/0/quantile", "Remove it"),
        (one(kind="exceedance"), "/guards/0/limit", "`quantile`"),
        (one(kind="exceedance", limit=1, quantile=0.9), "/guards/0/limit", "`limit` (a value"),
        (one(kind="exceedance", limit=0), "/guards/0/limit", "above 0"),
        (one(kind="exceedance", quantile=1), "/guards/0/quantile", "at most 0.995"),
        (one(sample_min=5), "/guards/0/sample_min", "Did you mean `samples_min`?"),
        (one(**{"a/b~c": 5}), "/guards/0/a~1b~0c", "The fields are"),
        ({"guards": [{"metric": "m", "kind": "rate"}] * 2}, "/guards/1/name", "`name` of its own"),
    ],
)
def test_a_flaw_says_where_and_what_to_do(declaration, pointer, hint):
    guards, flaws = read_guards(declaration)
    assert guards is None
    assert [flaw.pointer for flaw in flaws] == [pointer]
    assert hint in flaws[0].hint
    assert flaws[0].message


def test_all_flaws_are_told_at_once():
    with pytest.raises(Invalid) as caught:
        parse_guards(
            {
                "alpha": 2,
                "guards": [
                    {"metric": "Errors", "kind": "rat", "margin": 3},
                    {"kind": "exceedance", "windw": 4, "limit": 1, "quantile": 0.5},
                ],
            }
        )
    assert caught.value.code == "guard.invalid"
    assert [error["pointer"] for error in caught.value.fields["errors"]] == [
        "/alpha",
        "/guards/0/metric",
        "/guards/0/kind",
        "/guards/0/margin",
        "/guards/1/windw",
        "/guards/1/metric",
        "/guards/1/limit",
    ]
    assert "7 flaws" in caught.value.message


def test_the_example_of_the_page_is_read(repo):
    page = (repo / "docs" / "explanation" / "guarded-rollouts.md").read_text(encoding="utf-8")
    example = next(fence for fence in fences(page) if fence.language == "json")
    guards = parse_guards(loads(example.text))
    assert [g.kind for g in guards.guards] == [Kind.RATE, Kind.SCORE, Kind.EXCEEDANCE, Kind.EXCEEDANCE]
