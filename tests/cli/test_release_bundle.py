"""Bundles on the command line: what is sent, what is refused before anything is sent, and a file verified without a server."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest

from stanchion.base import digest
from stanchion.releases.bundles import Member, Origin, SigningKey, codec, envelope
from tests.cli.stub import Stub

KEY = SigningKey(bytes(range(32)))
DIGEST = digest({"policy": "greeting"})
AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
PAYLOAD = codec.encode(
    Origin(
        environment="staging", production=False, tenant="default", exported_by="ada", exported_at=AT, reason="Next.",
        stanchion="0.1.0",
    ),
    [("policy", "greeting")],
    [
        Member(
            kind="policy", name="greeting", version=7, digest=DIGEST, body={"policy": "greeting"}, refs=(), source="",
            source_path="/home/ada/greeting.yaml", owner="casework", author="ada", changelog="", created_at=AT, labels={},
            risk="low", live=True,
        )
    ],
)  # fmt: skip
FILE = envelope.seal(PAYLOAD, KEY)
HELD = {
    "kind": "policy",
    "name": "greeting",
    "version": 7,
    "digest": DIGEST,
    "live": True,
    "selected": True,
    "evidence": 0,
}
ORIGIN = codec.origin_json(codec.decode(PAYLOAD).origin)
EXPORTED = {
    "bundle": FILE.decode(), "digest": DIGEST, "content": DIGEST, "fingerprint": KEY.public.fingerprint, "origin": ORIGIN,
    "artifacts": [HELD],
}  # fmt: skip
ARRIVED = {"kind": "policy", "name": "greeting", "version": 1, "digest": DIGEST, "change": "new", "live": False, "origin_version": 7}  # fmt: skip
IMPORTED = {
    "digest": DIGEST, "content": DIGEST, "fingerprint": KEY.public.fingerprint, "signer": "staging", "origin": ORIGIN,
    "environment": "production", "known": False, "artifacts": [ARRIVED], "misfits": [], "applied": None,
}  # fmt: skip
APPLIED = {
    "environment": "production",
    "changes": [{**HELD, "version": 1, "change": "created"}],
    "warnings": [],
    "gates": None,
}


def live(*digests: str):
    rows = [{"kind": "policy", "name": "greeting", "version": 1, "digest": one} for one in digests]
    return (200, {"items": rows, "next": None}, {})


@pytest.fixture
def served(at):
    at.routes["POST /api/bundles/export"] = (200, EXPORTED, {})
    at.routes["POST /api/bundles/import"] = (200, IMPORTED, {})
    return at


def posts(stub) -> list:
    return [(route, body) for route, _, body, _ in stub.seen if route.startswith("POST")]


def test_export_writes_the_file_byte_for_byte(served, cli, tmp_path):
    done = cli("release", "export", "policy/greeting@7", "--out", "greeting.bundle", "--reason", "Next.")
    assert done.code == 0, done.err
    assert (tmp_path / "greeting.bundle").read_bytes() == FILE
    sent = {"artifacts": [{"kind": "policy", "name": "greeting", "version": 7}], "everything": False, "reason": "Next."}
    assert posts(served) == [("POST /api/bundles/export", sent)]
    assert "bundle" not in cli("release", "export", "--all", "--out", "x", "--reason", "r", "-o", "json").json
    for wrong in ((), ("policy/greeting", "--all")):
        assert cli("release", "export", *wrong, "--out", "x", "--reason", "r").code == 2
    assert cli("release", "export", "--all", "--out", str(tmp_path), "--reason", "r").code == 2
    assert cli("release", "export", "--all", "--out", "no/such/folder", "--reason", "r").code == 5


def test_import_sends_the_file_as_it_is(served, cli, tmp_path):
    (tmp_path / "b").write_bytes(FILE)
    done = cli("release", "import", "b", "--reason", "Tried.", "--apply", "--environment", "production")
    assert done.code == 0
    sent = {"bundle": FILE.decode(), "reason": "Tried.", "dry_run": False, "apply": True, "environment": "production"}
    assert posts(served) == [("POST /api/bundles/import", sent)]
    assert "From staging, exported by ada at 2026-11-22T09:00:00Z, signed by the key staging." in done.err
    assert "1 new, 0 unchanged, nothing is live by it in environment production." in done.err
    served.routes["POST /api/bundles/import"] = (
        200,
        {**IMPORTED, "known": True, "applied": APPLIED, "misfits": ["Too old."]},
        {},
    )
    again = cli("release", "import", "b", "--reason", "Tried.", "--apply")
    assert "The bundle was here before, 1 made live in environment production." in again.err
    assert "Not to be made live as it is: Too old." in again.err
    (tmp_path / "b").write_bytes(b"\xff")
    assert "bundle.malformed" in cli("release", "import", "b", "--reason", "r").err
    (tmp_path / "b").write_bytes(bytes((16 << 20) + 1))
    assert cli("release", "import", "b", "--reason", "r", "-o", "json").code == 1
    served.routes["POST /api/bundles/import"] = (413, {"code": "request.too_large", "limit_bytes": 1024}, {})
    (tmp_path / "b").write_bytes(FILE)
    assert "web.body_bytes_max" in cli("release", "import", "b", "--reason", "r").err


def test_verify_needs_no_server(cli, tmp_path):
    (tmp_path / "b").write_bytes(FILE)
    done = cli("release", "verify", "b", "--key", KEY.public.text, "-o", "json")
    assert (done.code, done.json["artifacts"][0]["digest"], done.json["origin"]) == (0, DIGEST, ORIGIN)
    assert "is whole, and signed by" in done.err
    assert cli("release", "verify", "b", "--key", KEY.public.pem, "-o", "id").out.strip() == DIGEST
    other = SigningKey(bytes(32)).public.text
    assert "bundle.bad_signature" in cli("release", "verify", "b", "--key", other).err
    (tmp_path / "b").write_bytes(FILE[:-1])
    assert "it ends too early" in cli("release", "verify", "b", "--key", KEY.public.text).err
    # Where the author's text stood is nobody's business elsewhere.
    assert b"/home/ada" not in PAYLOAD


def test_keys_and_trust(at, cli, monkeypatch):
    shown = {
        "public_key": KEY.public.text, "fingerprint": KEY.public.fingerprint, "pem": KEY.public.pem, "environment": "staging",
        "tenant": "default",
    }  # fmt: skip
    at.routes["GET /api/signing-key"] = (200, shown, {})
    assert cli("release", "keys", "show", "-o", "id").out.strip() == KEY.public.text
    assert cli("release", "keys", "show", "--pem").out == KEY.public.pem
    row = {"name": "staging", "tenant": "default", "environment": None, "fingerprint": KEY.public.fingerprint}
    at.routes["POST /api/trusted-keys"] = (201, row, {})
    at.routes["POST /api/trusted-keys/staging/remove"] = (200, row, {})
    at.routes["GET /api/trusted-keys"] = (200, {"items": [row], "next": None}, {})
    at.routes["GET /api/bundles"] = (200, {"items": [], "next": None}, {})
    done = cli(
        "release", "trust", "add", "staging", "--key", KEY.public.text, "--environment", "staging", "--reason", "Ours."
    )
    assert done.code == 0
    sent = {
        "name": "staging",
        "public_key": KEY.public.text,
        "tenant": None,
        "environment": "staging",
        "reason": "Ours.",
    }
    assert posts(at) == [("POST /api/trusted-keys", sent)]
    assert cli("release", "trust", "list", "--removed", "-o", "id").out == "staging\n"
    assert cli("release", "trust", "remove", "staging", "--reason", "New.").code == 0
    assert cli("release", "bundles", "-o", "json").json == []


class Two:
    """Two servers, each with a profile."""

    def __init__(self, cli, monkeypatch) -> None:
        self.cli = cli
        self.staging, self.production = Stub(), Stub()
        for name, stub in (("staging", self.staging), ("production", self.production)):
            me = {
                "principal": {"name": "ada"},
                "tenant": "default",
                "environment": name,
                "production": name == "production",
            }
            stub.routes["GET /api/whoami"] = (200, me, {})
            monkeypatch.setenv("STANCHION_TOKEN", "stn_test")
            assert cli("auth", "login", stub.url, "--name", name).code == 0
        monkeypatch.delenv("STANCHION_TOKEN")
        self.staging.routes["POST /api/bundles/export"] = (200, EXPORTED, {})
        self.production.routes["POST /api/bundles/import"] = (200, {**IMPORTED, "applied": APPLIED}, {})
        self.production.routes["GET /api/releases"] = live(DIGEST)

    def promote(self, *more: str):
        return self.cli(
            "release", "promote", "policy/greeting", "--from", "staging", "--to", "production", "--reason", "r", *more
        )


@pytest.fixture
def two(cli, monkeypatch):
    made = Two(cli, monkeypatch)
    yield made
    made.staging.close()
    made.production.close()


def test_promote_from_one_to_the_other(two):
    done = two.promote()
    assert done.code == 0, done.err
    assert f"1 live in production with the digests of staging; bundle {DIGEST}." in done.err
    assert [route for route, _ in posts(two.staging)] == ["POST /api/bundles/export"]
    sent = [(body["dry_run"], body["apply"], body["environment"]) for _, body in posts(two.production)]
    assert sent == [(True, True, "production"), (False, True, "production")]
    assert {body["bundle"] for _, body in posts(two.production)} == {FILE.decode()}


def test_promote_says_when_something_else_is_live_in_the_end(two):
    two.production.routes["GET /api/releases"] = live("sha256:" + "0" * 64)
    done = two.promote()
    assert (done.code, "cli.promoted_otherwise" in done.err) == (5, True)


def test_promote_dry_or_refused_changes_nothing(two, monkeypatch):
    done = two.promote("--dry-run")
    assert (done.code, "Nothing was changed." in done.err) == (0, True)
    assert [body["dry_run"] for _, body in posts(two.production)] == [True]
    two.production.routes["POST /api/bundles/import"] = (409, {"code": "release.gated", "detail": "No."}, {})
    assert two.promote().code != 0


def test_promote_asks_a_person(two, monkeypatch):
    monkeypatch.setattr("stanchion.cli.nouns.apply_plan.is_asked", lambda: True)
    for answer, code, calls in (("n\n", 1, 1), ("y\n", 0, 3)):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        done = two.promote()
        assert (done.code, len(posts(two.production))) == (code, calls)
        assert f"policy/greeting {DIGEST[:19]}…  created" in done.err
        assert "Make these live in production, production?" in done.err


def test_promote_is_said_wrongly(two, cli):
    for wrong in (
        ("policy/a", "--from", "staging"),
        ("policy/a", "--from", "staging", "--to", "staging"),
        ("policy/a", "policy/b"),
        ("policy/a", "--to", "soon"),
        ("policy/a", "--dry-run"),
    ):
        done = cli("release", "promote", *wrong, "--reason", "r", "--profile", "production")
        assert done.code == 2, wrong
    assert posts(two.production) == posts(two.staging) == []
    assert json.dumps(EXPORTED)
