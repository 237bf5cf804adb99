"""`stanchion config`: what is shown, and what is sent."""

from __future__ import annotations

import pytest

SHOWN = {
    "name": "risk-limits",
    "version": 2,
    "live_version": 2,
    "digest": "sha256:" + "0" * 64,
    "owner": "casework",
    "description": "",
    "environment": "production",
    "values": {"words": {"high": "Look."}, "fine_eur": 50, "list": [1, 2]},
    "set_here": ["/fine_eur"],
    "schema": {"type": "object"},
    "released_at": "2026-11-22T04:51:58Z",
    "released_by": "ada",
    "candidate": None,
    "rollout": None,
    "here": {"process": "web", "version": 2, "age_s": 0.1},
    "held": [{"version": 2, "runs": 3}, {"version": 1, "runs": 1}],
}
CHANGED = {"name": "risk-limits", "version": 3, "digest": "sha256:1", "change": "updated", "source": "", "not_here": []}


@pytest.fixture
def server(at):
    at.routes["GET /api/configs"] = (200, {"items": [SHOWN], "next": None}, {})
    at.routes["GET /api/configs/risk-limits"] = (200, SHOWN, {})
    at.routes["POST /api/configs/risk-limits/set"] = (200, CHANGED, {})
    return at


def test_values_are_shown_with_where_they_come_from(server, cli):
    done = cli("config", "show", "risk-limits")
    assert done.code == 0
    assert "3 on version 2, 1 on version 1" in done.out
    assert "version 2, as of 0.1 s ago" in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert ["fine_eur", "50", "production"] in lines
    assert ["words.high", "Look.", "values"] in lines
    assert ["list", "[1,", "2]", "values"] in lines
    assert cli("config", "show", "risk-limits", "-o", "json").json == SHOWN
    assert cli("config", "list", "-o", "id").out == "risk-limits\n"


def test_an_environment_that_it_says_nothing_of_is_told(server, cli):
    server.routes["GET /api/configs/risk-limits"] = (200, {**SHOWN, "environment": "prodction", "set_here": []}, {})
    assert (
        "sets nothing of its own for prodction"
        in cli("config", "show", "risk-limits", "--environment", "prodction").err
    )
    assert "of its own" not in cli("config", "show", "risk-limits").err


def test_without_a_name_it_says_where_the_settings_are(server, cli):
    done = cli("config", "show")
    assert done.code == 2
    assert "stanchion settings show" in done.err


def test_set_sends_json_or_texts_by_pointer(server, cli):
    done = cli(
        "config",
        "set",
        "risk-limits",
        "fine_eur=80",
        "words.high=Look twice",
        "a/b.c=[1]",
        "on=true",
        "--reason",
        "Why.",
    )
    assert done.code == 0
    body = {
        "changes": {"/fine_eur": 80, "/words/high": "Look twice", "/a~1b/c": [1], "/on": True},
        "reason": "Why.",
        "dry_run": False,
    }
    assert [sent for route, _, sent, _ in server.seen if route.startswith("POST")] == [body]
    assert "has the old value" in done.err
    server.routes["POST /api/configs/risk-limits/set"] = (200, {**CHANGED, "not_here": ["/words/high"]}, {})
    done = cli("config", "set", "risk-limits", "words.high=x", "--reason", "Why.", "--dry-run")
    assert "a value of its own for words.high" in done.err
    assert "Nothing was changed." in done.err
    server.routes["POST /api/configs/risk-limits/set"] = (200, {**CHANGED, "change": "unchanged"}, {})
    done = cli("config", "set", "risk-limits", "fine_eur=80", "--reason", "Why.")
    assert ("has these values already" in done.err, "has the old value" in done.err) == (True, False)


def test_what_sets_nothing_is_refused(server, cli):
    for said in ("fine_eur", "=3"):
        done = cli("config", "set", "risk-limits", said, "--reason", "Why.")
        assert (done.code, "KEY=VALUE" in done.err) == (2, True)
    assert cli("config", "set", "risk-limits", "a=1").code == 2, "a reason is needed"
