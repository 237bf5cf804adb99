"""`stanchion release revoke` and drain: show what is in flight, ask, take digests and versions, go through all pages."""

from __future__ import annotations

import io
import json

import pytest

DIGEST = "sha256:" + "5d" * 32
QUOTED = DIGEST.replace(":", "%3A")
RUN = "01990000-0000-7000-8000-00000000abcd"
IMPACT = {
    "kind": "connector",
    "name": "casebook",
    "version": 3,
    "digest": DIGEST,
    "standing": [{"environment": "local", "version": 3, "standing": "live"}],
    "stopped": 0,
    "running": 2,
    "waiting": 1,
    "queued": 0,
    "newest": [
        {
            "run_id": RUN, "blueprint": "triage", "version": 1, "status": "SUSPENDED", "waiting_on": "approval",
            "path": "asked", "created_at": "2026-11-22T04:51:58Z", "stopped": False,
        }
    ],
}  # fmt: skip
MADE = {
    "id": "01a20198-dc40-7064-8f83-97419a579307",
    "kind": "connector",
    "name": "casebook",
    "version": 3,
    "digest": DIGEST,
    "reason": "It is wrong.",
    "set_by": "olga",
    "set_at": "2026-11-22T04:52:04Z",
    "lifted_by": None,
    "lifted_at": None,
    "lift_reason": None,
}
DRAINED = {
    **MADE,
    "left": 1,
    "running": 1,
    "waiting": 0,
    "queued": 0,
    "emptied_at": None,
    "live": True,
    "impact": IMPACT,
}
VERSION = {"kind": "connector", "name": "casebook", "version": 3, "digest": DIGEST}


def outcomes(repinned: int, following: str | None, **left: str) -> dict:
    return {
        "version": VERSION,
        "to": {**VERSION, "version": 2},
        "repinned": repinned,
        "cancelled": 0,
        "running": 0,
        "refused": len(left),
        "left": [{"run_id": run, "fate": "refused", "reason": why} for run, why in left.items()],
        "next": following,
    }


class Terminal(io.StringIO):
    """A person at a terminal who answers so."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def server(at):
    where = f"/api/revocations/{QUOTED}"
    at.routes["GET /api/artifacts/connector/casebook"] = (200, VERSION, {})
    at.routes[f"GET {where}/impact"] = (200, IMPACT, {})
    at.routes[f"GET {where}"] = (200, {**MADE, "impact": IMPACT}, {})
    at.routes[f"GET {where}/runs"] = (200, {"items": IMPACT["newest"], "next": None}, {})
    at.routes["GET /api/revocations"] = (200, {"items": [MADE], "next": None}, {})
    at.routes["POST /api/revocations"] = (201, {**MADE, "impact": IMPACT}, {})
    at.routes[f"POST {where}/reinstate"] = (200, {**MADE, "lifted_by": "ada"}, {})
    at.routes[f"POST {where}/repin"] = (200, outcomes(2, None, **{RUN: "it does not fit"}), {})
    at.routes[f"POST {where}/cancel"] = (200, {**outcomes(0, None), "to": None, "cancelled": 3}, {})
    at.routes["POST /api/drains"] = (201, DRAINED, {})
    at.routes["GET /api/drains"] = (200, {"items": [DRAINED], "next": None}, {})
    at.routes["GET /api/drains/connector/casebook/3"] = (200, DRAINED, {})
    at.routes["POST /api/drains/connector/casebook/3/undrain"] = (200, {**MADE, "lifted_by": "ada"}, {})
    return at


def posts(at) -> list:
    return [(route, body) for route, _, body, _ in at.seen if route.startswith("POST")]


WHY = ("--reason", "It is wrong.")


@pytest.mark.parametrize("said", ["connector/casebook@3", DIGEST])
def test_a_person_sees_what_is_in_flight_and_is_asked(server, cli, monkeypatch, said: str) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    done = cli("release", "revoke", said, *WHY)
    assert done.code == 0, done.err
    assert "connector/casebook@3 is live: new runs get it in local." in done.err
    assert "2 running, 1 waiting." in done.err
    assert f"{RUN}  triage v1  SUSPENDED (approval) at asked" in done.err
    assert "Revoke connector/casebook@3?" in done.err
    assert "stanchion release rollback connector/casebook" in done.err
    assert posts(server) == [("POST /api/revocations", {"digest": DIGEST, "reason": "It is wrong."})]


def test_no_revokes_nothing_and_without_a_terminal_it_needs_yes(server, cli, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    done = cli("release", "revoke", DIGEST, *WHY)
    assert (done.code, "Nothing was changed." in done.err) == (1, True)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    done = cli("release", "revoke", DIGEST, *WHY)
    assert (done.code, "--yes" in done.err) == (2, True)
    assert posts(server) == []
    assert cli("release", "revoke", DIGEST, *WHY, "--yes", "-o", "id").out.strip() == DIGEST


@pytest.mark.parametrize("said", ["connector/casebook", "casebook", "sha256:5d5d", "connector/casebook@0"])
def test_what_names_no_version_is_said(server, cli, said: str) -> None:
    assert cli("release", "revoke", said, *WHY, "--yes").code == 2
    assert posts(server) == []


def test_what_is_revoked_is_listed_and_one_is_shown_with_its_runs(server, cli) -> None:
    assert cli("release", "revoked", "-o", "id").out.strip() == DIGEST
    shown = cli("release", "revoked", DIGEST)
    assert "In flight: 2 running, 1 waiting." in shown.err
    assert RUN in shown.err
    assert cli("release", "revoked", DIGEST, "-o", "id").out.strip() == RUN
    assert json.loads(cli("release", "revoked", DIGEST, "-o", "json").out)["runs"][0]["run_id"] == RUN


def test_all_runs_are_given_another_version_and_those_left_are_named(server, cli) -> None:
    done = cli("release", "repin", DIGEST, "--to", "2", *WHY)
    assert done.code == 0
    assert f"{RUN}  refused: it does not fit" in done.err
    assert posts(server) == [(f"POST /api/revocations/{QUOTED}/repin", {"reason": "It is wrong.", "to": 2})]


def test_every_page_is_asked_for(server, cli, monkeypatch) -> None:
    answers = [outcomes(500, RUN), outcomes(3, None)]
    sent: list[dict] = []

    def post(self, where, body=None, **more):
        sent.append(body)
        return answers[len(sent) - 1]

    monkeypatch.setattr("stanchion.cli.client.Api.post", post)
    done = json.loads(cli("release", "repin", DIGEST, *WHY, "-o", "json").out)
    assert (done["repinned"], done["next"]) == (503, None)
    assert [body.get("after") for body in sent] == [None, RUN]


def test_those_that_stopped_are_cancelled_after_a_yes(server, cli, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    done = cli("release", "cancel-revoked", DIGEST, *WHY)
    assert (done.code, "Cancel the 0 that stopped?" in done.err) == (0, True)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    done = cli("release", "cancel-revoked", DIGEST, "--everything", *WHY)
    assert (done.code, "Cancel all of these?" in done.err) == (1, True)
    body = {"reason": "It is wrong.", "everything": False}
    assert posts(server) == [(f"POST /api/revocations/{QUOTED}/cancel", body)]
    assert cli("release", "reinstate", DIGEST, *WHY).code == 0


def test_a_live_version_is_drained_after_a_yes(server, cli, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert cli("release", "drain", "connector/casebook@3", *WHY).code == 1
    assert posts(server) == []
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    done = cli("release", "drain", "connector/casebook@3", *WHY)
    assert (done.code, "It is live: starts are refused" in done.err) == (0, True)
    body = {"kind": "connector", "name": "casebook", "version": 3, "reason": "It is wrong."}
    assert posts(server) == [("POST /api/drains", body)]
    status = cli("release", "drain", "connector/casebook@3", "--status")
    assert "Left: 2 running, 1 waiting." in status.err
    assert "casebook" in cli("release", "drained").out
    assert cli("release", "undrain", "connector/casebook@3", *WHY).code == 0
    for wrong in (("connector/casebook", *WHY), ("connector/casebook@3",)):
        assert cli("release", "drain", *wrong).code == 2


@pytest.mark.parametrize("short", ["sha256:1234", "5d5d5d5", "casebook"])
def test_what_is_neither_a_version_nor_enough_of_a_digest(cli, short):
    refused = cli("release", "revoke", short, "--reason", "It is wrong.", "--yes")
    assert refused.code == 2
    assert f"{short!r} is none: write KIND/NAME@VERSION, or a digest or at least its first 8 digits." in refused.err
