"""`stanchion kill`: shows what is in flight, asks, and needs --yes where nobody can be asked."""

from __future__ import annotations

import io

import pytest

KILL = "01a20198-dc40-7064-8f83-97419a579307"
RUN = "01990000-0000-7000-8000-00000000abcd"
IMPACT = {
    "running": 2,
    "waiting": 1,
    "queued": 0,
    "newest": [
        {
            "run_id": RUN,
            "blueprint": "triage",
            "version": 3,
            "status": "SUSPENDED",
            "waiting_on": "approval",
            "created_at": "2026-11-22T04:51:58Z",
        }
    ],
}
MADE = {
    "id": KILL,
    "kind": "connector",
    "name": "casebook",
    "version": None,
    "digest": None,
    "reason": "It leaks.",
    "set_by": "olga",
    "set_at": "2026-11-22T04:52:04Z",
    "lifted_by": None,
    "lifted_at": None,
    "lift_reason": None,
}


@pytest.fixture
def server_with_kills(at):
    at.routes["GET /api/kills/connector/casebook/impact"] = (200, IMPACT, {})
    at.routes["GET /api/kills"] = (200, {"items": [MADE], "next": None}, {})
    at.routes["POST /api/kills"] = (201, MADE, {})
    at.routes[f"POST /api/kills/{KILL}/lift"] = (200, {**MADE, "lifted_by": "ada"}, {})
    return at


class Terminal(io.StringIO):
    """A person at a terminal who answers so."""

    def isatty(self) -> bool:
        return True


def posts(at) -> list:
    return [(route, body) for route, _, body, _ in at.seen if route.startswith("POST")]


def test_a_person_sees_what_is_in_flight_and_is_asked(server_with_kills, cli, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    done = cli("kill", "connector/casebook", "--reason", "It leaks.")
    assert done.code == 0
    assert "2 running, 1 waiting, 0 queued" in done.err
    assert f"{RUN}  triage v3  SUSPENDED (approval)" in done.err
    assert "Kill connector/casebook?" in done.err
    body = {"kind": "connector", "name": "casebook", "version": None, "reason": "It leaks."}
    assert posts(server_with_kills) == [("POST /api/kills", body)]


def test_no_kills_nothing(server_with_kills, cli, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    done = cli("kill", "connector/casebook", "--reason", "It leaks.")
    assert done.code == 1
    assert "Nothing was changed." in done.err
    assert posts(server_with_kills) == []


def test_without_a_terminal_it_needs_yes(server_with_kills, cli, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    done = cli("kill", "connector/casebook", "--reason", "It leaks.")
    assert done.code == 2
    assert "--yes" in done.err
    assert posts(server_with_kills) == []
    assert cli("kill", "set", "connector/casebook", "--reason", "It leaks.", "--yes", "-o", "id").out.strip() == KILL
    assert len(posts(server_with_kills)) == 1


@pytest.mark.parametrize("said", ["connector/casebook", KILL])
def test_it_is_lifted_by_its_id_or_by_what_it_stops(server_with_kills, cli, said):
    done = cli("kill", "lift", said, "--reason", "Mended.")
    assert (done.code, "Lifted." in done.err) == (0, True)
    assert posts(server_with_kills) == [(f"POST /api/kills/{KILL}/lift", {"reason": "Mended."})]


def test_what_is_not_killed_cannot_be_lifted(server_with_kills, cli):
    done = cli("kill", "lift", "blueprint/triage", "--reason", "Mended.")
    assert done.code == 3
    assert "blueprint/triage is not killed" in done.err


def test_the_tenant_is_ones_own(server_with_kills, cli):
    server_with_kills.routes["GET /api/whoami"] = (200, {"tenant": "acme"}, {})
    server_with_kills.routes["GET /api/kills/tenant/acme/impact"] = (200, {**IMPACT, "newest": []}, {})
    assert cli("kill", "tenant", "--reason", "It leaks.", "--yes").code == 0
    assert posts(server_with_kills)[0][1]["name"] == "acme"


def test_a_word_that_names_nothing_is_usage(server_with_kills, cli):
    assert cli("kill", "casebook", "--reason", "It leaks.").code == 2
    assert cli("kill", "set", "casebook", "--reason", "It leaks.").code == 2


def test_a_flag_has_no_runs_and_its_kill_says_what_happens(server_with_kills, cli):
    made = {**MADE, "kind": "flag", "name": "new-page"}
    server_with_kills.routes["GET /api/kills/flag/new-page/impact"] = (
        200,
        {**IMPACT, "waiting": 0, "running": 0, "newest": []},
        {},
    )
    server_with_kills.routes["POST /api/kills"] = (201, made, {})
    done = cli("kill", "flag/new-page", "--reason", "It leaks.", "--yes")
    assert (done.code, "everybody would get the value of their own" in done.err, "no run" in done.err) == (
        0,
        True,
        False,
    )
