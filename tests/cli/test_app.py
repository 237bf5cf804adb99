from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
import yaml

from stanchion import __version__
from stanchion.approvals import rules
from stanchion.base import (
    Conflict,
    Denied,
    Internal,
    Invalid,
    LimitExceeded,
    NotFound,
    Problem,
    Unauthenticated,
    Unavailable,
)
from stanchion.cli.app import COMMANDS, root
from stanchion.cli.client import Timeout
from stanchion.cli.nouns.approval import REASON_CHARS_MAX, REASON_CHARS_MIN
from stanchion.cli.problems import exit_code
from stanchion.cli.profiles import ProfileStore
from stanchion.releases.routes import ValidateRequest
from tests.cli.stub import problem, sse

RUN = "01990000-0000-7000-8000-00000000abcd"
OTHER = "01990000-0000-7000-8000-00000000ffff"


@pytest.mark.parametrize(
    ("problem_type", "code"),
    [(Invalid, 1), (NotFound, 3), (Denied, 4), (Unauthenticated, 4), (Conflict, 5), (Timeout, 7), (Unavailable, 8), (LimitExceeded, 1), (Internal, 1)],
)  # fmt: skip
def test_exit_codes(problem_type: type[Problem], code: int):
    assert exit_code(problem_type("x.y", "m")) == code


def test_what_the_command_line_itself_refuses_is_usage():
    assert {exit_code(Invalid(code, "m")) for code in ("config.invalid", "cli.usage", "cli.url")} == {2}


def test_every_command_loads_and_says_what_it_is(cli):
    result = cli("--help")
    assert result.code == 0
    for word in COMMANDS:
        assert f"  {word} " in result.out
        command = root.get_command(None, word)  # type: ignore[arg-type]
        assert command is not None
        assert command.help
        for name, inner in getattr(command, "commands", {}).items():
            assert inner.help, f"{word} {name}"


def test_the_version_is_cheap(capfd):
    before = os.times()
    done = subprocess.run([sys.executable, "-m", "stanchion", "--version"], capture_output=True, text=True, check=True)
    after = os.times()
    assert done.stdout == f"stanchion {__version__}\n"
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    with capfd.disabled():
        print(f"[stanchion --version: {cpu:.3f} s CPU]", end=" ")
    code = "import sys; from stanchion.cli.app import run; run(['run', '--help']); print([m for m in sys.modules if m in %r])"
    heavy = ("psycopg", "pydantic", "fastapi", "rich", "yaml", "httpx", "structlog", "cedarpy")
    done = subprocess.run([sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("said", "meant"), [(("rum",), "run"), (("run", "strat"), "start"), (("run", "list", "--statsu", "X"), "--status")]
)
def test_did_you_mean(cli, said, meant):
    result = cli(*said)
    assert result.code == 2
    assert result.err.count("Did you mean") == 1
    assert f"Did you mean {meant}?" in result.err.replace("'", "")
    assert result.out == ""


def test_a_group_alone_says_what_there_is_and_calls_it_no_error(cli):
    for group in ("release", "config", "kill", "flag"):
        done = cli(group)
        assert (done.code, done.err.count("Usage:"), "Error" in done.err) == (2, 1, False)
        assert "  list " in done.err


@pytest.mark.parametrize(
    "said",
    [
        ("list", "--state", "open"),
        ("list", "--waiting", "--unreviewed"),
        ("show", "policy/limits@2"),
        ("promote", "policy/limits@2", "--reason", "x"),
        ("canary", "--steps", "10,100", "--reason", "x"),
        ("gates", "policy/limits"),
    ],
)
def test_what_would_be_passed_over_is_refused(cli, at, said):
    at.routes["GET /api/releases/policy/limits"] = (200, {"rollout": None}, {})
    done = cli("release", *said)
    assert done.code == 2, done.err
    assert [route for route, *_ in at.seen if route.startswith("POST")] == []


def test_a_plan_of_a_rollout_needs_no_reason_and_has_no_state_of_its_own(cli, at):
    rollout = {
        "id": "1",
        "state": "ACTIVE",
        "strategy": "canary",
        "unit": "run",
        "members": [],
        "steps": [],
        "guards": None,
    }
    planned = {"rollout": rollout, "blueprints": ["triage"], "gates": None}
    at.routes["POST /api/rollouts/plan"] = (200, planned, {})
    done = cli("release", "plan", "policy/limits@2", "--steps", "10,100")
    assert done.code == 0, done.err
    assert [body["reason"] for _, _, body, _ in at.seen if body] == ["planned"]
    assert ("ACTIVE" in done.out, "canary" in done.out, "Nothing was changed." in done.err) == (False, True, True)


def test_runs_that_have_not_stopped_yet_are_not_forgotten(cli, at):
    digest = "sha256:" + "5" * 64
    impact = {"running": 1, "waiting": 2, "queued": 0, "stopped": 1}
    done = {"version": {"digest": digest}, "to": None, "cancelled": 1, "left": [], "next": None}
    at.routes["GET /api/revocations/" + digest.replace(":", "%3A")] = (200, {"digest": digest, "impact": impact}, {})
    at.routes["POST /api/revocations/" + digest.replace(":", "%3A") + "/cancel"] = (200, done, {})
    said = ("release", "cancel-revoked", digest, "--reason", "x", "--yes")
    assert "3 before their next use of it are left" in cli(*said).err
    assert "are left" not in cli(*said, "--everything").err


def test_a_rollout_that_has_ended_stands_at_no_step(cli, at):
    ended = {"id": RUN, "state": "DONE", "members": [], "step": 1, "share": 50, "ended_at": "2026-11-22T04:52:04Z"}
    at.routes["GET /api/rollouts"] = (200, {"items": [ended, {**ended, "ended_at": None}], "next": None}, {})
    first, second = cli("release", "list", "--rollouts").out.splitlines()[1:]
    assert ("50" in first.split(), "50" in second.split()) == (False, True)
    assert cli("release", "list", "--rollouts", "-o", "json").json[0]["share"] == 50


def test_no_server_is_named(cli):
    result = cli("run", "list")
    assert result.code == 3
    assert "stanchion up" in result.err


def test_an_empty_list_is_an_empty_list(cli, at):
    at.routes["GET /api/runs"] = (200, {"items": [], "next": None}, {})
    assert cli("run", "list", "-o", "json").json == []
    assert cli("run", "list", "-o", "ndjson").out == ""
    assert cli("run", "list", "-o", "yaml").out == "[]\n"
    table = cli("run", "list")
    assert (table.out, table.err) == ("", "None.\n")


def test_the_forms_of_a_list(cli, at):
    item = {
        "id": RUN,
        "status": "SUSPENDED",
        "blueprint": "case-triage",
        "created_at": "2026-11-20T10:00:00.123Z",
        "ended_at": None,
    }
    waiting = {**item, "waiting_on": {"kind": "approval", "text": "Wartet auf ein Urteil 案件"}}
    at.routes["GET /api/runs"] = (200, {"items": [waiting], "next": None}, {})
    lines = cli("run", "list").out.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "BLUEPRINT", "CREATED", "ENDED", "WAITS", "ON"]
    assert lines[1].split("  ")[0] == RUN
    assert "2026-11-20 10:00:00Z" in lines[1]
    assert lines[1].endswith("Wartet auf ein Urteil 案件")
    assert "\x1b" not in lines[1]
    assert cli("run", "list", "-o", "id").out == RUN + "\n"
    assert json.loads(cli("run", "list", "-o", "ndjson").out) == waiting
    assert "案件" in cli("run", "list", "-o", "yaml").out


def test_a_problem_for_people_and_for_programs(cli, at):
    errors = [
        {
            "file": "a.yaml",
            "line": 3,
            "column": 5,
            "step": "draft",
            "message": "Unknown verb.",
            "hint": "Did you mean lookup?",
        }
    ]
    at.routes["GET /api/runs/" + RUN] = (404, problem("run.unknown", "No such run.", errors=errors), {})
    result = cli("run", "show", RUN)
    assert (result.code, result.out) == (3, "")
    for said in (
        "No such run.",
        "a.yaml:3:5: Unknown verb. (step draft)",
        "Did you mean lookup?",
        "run.unknown, request req-1",
    ):
        assert said in result.err
    result = cli("run", "show", RUN, "-o", "json")
    assert result.out == ""
    assert json.loads(result.err)["error"]["code"] == "run.unknown"
    assert json.loads(result.err)["error"]["errors"] == errors
    said_once = {"pointer": "/a", "message": "It is wrong.", "hint": "There are words."}
    whole = problem("run.unknown", "No such run.", errors=[said_once], hint="There are words.")
    at.routes["GET /api/runs/" + RUN] = (404, whole, {})
    assert cli("run", "show", RUN).err.count("There are words.") == 1


def test_errors_that_are_listed_are_not_told_before_the_list_too(cli, at):
    errors = [
        {"file": "a.yaml", "line": 3, "column": 5, "message": "Unknown verb."},
        {"file": "b.yaml", "line": 1, "column": 1, "message": "No name."},
    ]
    message = "2 errors in a.yaml, b.yaml: nothing was applied. First: a.yaml:3:5 Unknown verb."
    at.routes["GET /api/runs/" + RUN] = (422, problem("apply.invalid", message, errors=errors), {})
    said = cli("run", "show", RUN).err.splitlines()
    assert said[:3] == [
        "Error: 2 errors in a.yaml, b.yaml: nothing was applied.",
        "  a.yaml:3:5: Unknown verb.",
        "  b.yaml:1:1: No name.",
    ]
    assert json.loads(cli("run", "show", RUN, "-o", "json").err)["error"]["message"] == message


def test_an_error_of_the_whole_input_has_no_empty_place(cli, at):
    errors = [{"pointer": "", "message": "'below' is a required property."}]
    at.routes["GET /api/runs/" + RUN] = (422, problem("run.input_invalid", "It does not fit.", errors=errors), {})
    assert "\n  'below' is a required property.\n" in cli("run", "show", RUN).err


def test_a_server_that_is_away_is_told_with_what_named_it(cli, monkeypatch):
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("STANCHION_URL", nobody)
    assert f"There is no Stanchion at {nobody} (STANCHION_URL): " in cli("run", "list").err
    assert f"There is no Stanchion at {nobody} (--url): " in cli("run", "list", "--url", nobody).err
    monkeypatch.delenv("STANCHION_URL")
    ProfileStore(os.environ).put("staging", nobody, "stn_staging_test")
    away = cli("run", "list")
    assert (away.code, f"There is no Stanchion at {nobody} (profile staging): " in away.err) == (8, True)


def test_an_id_by_its_beginning_or_its_end(cli, at):
    at.routes["GET /api/runs"] = (200, {"items": [{"id": RUN}, {"id": OTHER}], "next": None}, {})
    at.routes["GET /api/runs/" + RUN] = (200, {"id": RUN, "status": "RUNNING"}, {})
    assert cli("run", "show", "abcd", "-o", "id").out == RUN + "\n"
    ambiguous = cli("run", "show", "0199")
    assert ambiguous.code == 5
    assert RUN in ambiguous.err
    assert OTHER in ambiguous.err
    assert cli("run", "show", "dead").code == 3
    assert cli("run", "show", "xyz!").code == 2


def test_a_dead_letter_shows_what_it_was_asked_and_with_which_versions(cli, at):
    pins = [{"kind": "connector", "name": "meters", "version": 2, "digest": "sha256:" + "ab" * 32}]
    letter = {"id": RUN, "reason": "adapter.missing_file", "input": {"since": "2024-01-01"}, "pins": pins}
    at.routes["GET /api/dlq"] = (200, {"items": [{"id": RUN}], "next": None}, {})
    at.routes["GET /api/dlq/" + RUN] = (200, letter, {})
    shown = cli("dlq", "show", "abcd").out.splitlines()
    assert 'input         {"since": "2024-01-01"}' in shown
    assert "pins          connector meters v2 sha256:" + "ab" * 32 in shown


def test_a_run_that_is_no_dead_letter_is_a_conflict_also_by_a_short_id(cli, at):
    at.routes["GET /api/dlq"] = (200, {"items": [{"id": RUN}], "next": None}, {})
    at.routes["GET /api/runs"] = (200, {"items": [{"id": OTHER}], "next": None}, {})
    at.routes["POST /api/dlq/requeue"] = (409, problem("dlq.not_dead", f"Run {OTHER} is RUNNING."), {})
    result = cli("dlq", "requeue", "abcd", "ffff", "--reason", "x")
    assert (result.code, result.out) == (5, "")
    assert f"Run {OTHER} is RUNNING." in result.err
    assert at.seen[-1][2]["run_ids"] == [RUN, OTHER]
    assert cli("dlq", "discard", "dead", "--reason", "x").code == 3


def test_starting_a_run_with_inputs_of_every_form(cli, at, tmp_path, monkeypatch):
    schema = {
        "properties": {
            "case_id": {"type": "string"},
            "limit": {"type": "integer"},
            "note": {"type": ["string", "null"]},
        }
    }
    at.routes["GET /api/blueprints/triage"] = (200, {"name": "triage", "input_schema": schema}, {})
    at.routes["POST /api/blueprints/triage/runs"] = (202, {"run_id": RUN, "id": RUN, "status": "PENDING"}, {})
    (tmp_path / "in.json").write_text('{"limit": 1, "deep": {"a": [1]}}')
    given = (
        "-i",
        "@in.json",
        "-i",
        "case_id=0012",
        "-i",
        "limit=5",
        "-i",
        "note=null",
        "-i",
        "free=[1, 2]",
        "-i",
        "odd=a=b",
    )
    result = cli("run", "start", "triage", *given, "--idempotency-key", "k1", "-o", "id")
    assert (result.code, result.out) == (0, RUN + "\n")
    _, _, body, headers = at.seen[-1]
    assert body["input"] == {
        "limit": 5,
        "deep": {"a": [1]},
        "case_id": "0012",
        "note": "null",
        "free": [1, 2],
        "odd": "a=b",
    }
    assert headers["idempotency-key"] == "k1"
    for wrong in ("nothing", "@none.json"):
        assert cli("run", "start", "triage", "-i", wrong).code == 2
    (tmp_path / "list.json").write_text("[1]")
    assert "no JSON object" in cli("run", "start", "triage", "-i", "@list.json").err


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELLED", 1)])
def test_waiting_for_the_end(cli, at, status, code):
    answers = iter([{"id": RUN, "status": "RUNNING"}, {"id": RUN, "status": status, "output": {"n": 1}}])
    at.routes["POST /api/blueprints/b/runs"] = (202, {"run_id": RUN}, {})
    at.routes["GET /api/runs/" + RUN] = lambda *_: (200, next(answers), {})
    stream = sse(
        ("1", "step", {"path": "first", "status": "RUNNING"}), ("2", "run", {"status": status}), ("3", "end", {})
    )
    at.routes[f"GET /api/runs/{RUN}/events"] = (200, stream, {"Content-Type": "text/event-stream"})
    result = cli("run", "start", "b", "--follow", "-o", "json")
    assert result.code == code
    assert result.json["status"] == status
    assert result.err == "first: started\n"


def test_waiting_has_an_end(cli, at):
    at.routes["GET /api/runs/" + RUN] = (200, {"id": RUN, "status": "RUNNING"}, {})
    stream = sse(("1", "step", {"path": "first", "status": "RUNNING"}))
    at.routes[f"GET /api/runs/{RUN}/events"] = (200, stream, {"Content-Type": "text/event-stream"})
    result = cli("run", "watch", RUN, "--timeout", "0")
    assert result.code == 7
    assert f"stanchion run watch {RUN}" in result.err


def test_ctrl_c_detaches_and_says_how_to_return(cli, at, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("stanchion.cli.nouns.run.follow", interrupted)
    result = cli("run", "watch", RUN)
    assert result.code == 130
    assert f"stanchion run watch {RUN}" in result.err


def test_a_decision_quotes_what_was_shown(cli, at):
    asked = {"id": RUN, "status": "PENDING", "args_digest": "sha256:1", "run_id": OTHER}
    at.routes[f"GET /api/approvals/{RUN}"] = (200, asked, {})
    at.routes[f"POST /api/approvals/{RUN}/approve"] = (200, {**asked, "status": "APPROVED"}, {})
    assert cli("approval", "approve", RUN, "--reason", "Checked.", "--digest", "sha256:other").code == 5
    assert not any(seen[0].startswith("POST") for seen in at.seen)
    assert cli("approval", "approve", RUN, "--reason", "Checked.").code == 0
    assert at.seen[-1][2] == {"reason": "Checked.", "args_digest": "sha256:1"}
    assert cli("approval", "reject", RUN).code == 2


def test_apply_reads_a_folder_recursively_and_says_unchanged(cli, at, tmp_path):
    folder = tmp_path / "art"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "b.yaml").write_text("policy: b\n")
    (folder / "a.yml").write_text("blueprint: a\n")
    (folder / ".hidden.yaml").write_text("x: 1\n")
    (folder / "note.txt").write_text("no\n")
    change = {"kind": "blueprint", "name": "a", "version": 1, "digest": "sha256:1", "change": "unchanged"}
    at.routes["POST /api/artifacts/apply"] = (200, {"environment": "local", "changes": [change], "warnings": []}, {})
    result = cli("apply", "-f", str(folder))
    assert result.code == 0
    assert "Everything is unchanged in environment local." in result.err
    sent = at.seen[-1][2]["documents"]
    assert [d["source"] for d in sent] == ["blueprint: a\n", "policy: b\n"]
    (folder / "bad.yaml").write_bytes(b"\xff")
    assert "not UTF-8" in cli("apply", "-f", str(folder)).err
    assert cli("apply", "-f", str(tmp_path / "none")).code == 2


def test_a_set_of_documents_that_is_too_large_says_the_way_out(cli, at, tmp_path):
    folder = tmp_path / "art"
    folder.mkdir()
    (folder / "a.yaml").write_text("blueprint: a\n")
    refused = problem("request.too_large", "The body has more than 1048576 bytes.", limit_bytes=1_048_576)
    at.routes["POST /api/artifacts/apply"] = at.routes["POST /api/blueprints/validate"] = (413, refused, {})
    for words in (("apply",), ("blueprint", "validate")):
        result = cli(*words, "-f", str(folder))
        assert result.code == 1
        assert "the server takes 1048576 in one call" in result.err
        assert "Split the folder" in result.err
    most = ValidateRequest.model_json_schema()["properties"]["documents"]["maxItems"]
    for n in range(most):
        (folder / f"b{n}.yaml").write_text(f"blueprint: b{n}\n")
    sent = len(at.seen)
    result = cli("apply", "-f", str(folder))
    assert result.code == 2
    assert f"{most + 1} documents are more than {most}" in result.err
    assert "Split the folder" in result.err
    assert len(at.seen) == sent


@pytest.mark.parametrize("verb", ["approve", "reject"])
@pytest.mark.parametrize("reason", ["Too few", "   seven   ", "x" * 2001])
def test_a_reason_that_no_approval_takes_is_refused_here(cli, at, verb, reason):
    result = cli("approval", verb, RUN, "--reason", reason)
    assert result.code == 2
    assert "8 to 2000 characters" in result.err
    assert not at.seen
    assert "8 to 2000 characters" in cli("approval", verb, "--help").out
    assert (REASON_CHARS_MIN, REASON_CHARS_MAX) == (rules.REASON_CHARS_MIN, rules.REASON_CHARS_MAX)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ({"ok": True, "code": "", "detail": "PostgreSQL 18.0.", "hint": "", "duration_ms": 12}, 0, "PostgreSQL 18.0. (12 ms)"),
        ({"ok": False, "code": "adapter.down", "detail": "No answer.", "hint": "Start it.", "duration_ms": 9}, 1, "No answer. Start it. (adapter.down, 9 ms)"),
    ],
)  # fmt: skip
def test_a_tested_connector_speaks_for_itself(cli, at, answer, code, words):
    at.routes["POST /api/connectors/c/test"] = (200, answer, {})
    result = cli("connector", "test", "c")
    assert (result.code, result.err) == (code, words + "\n")
    assert cli("connector", "test", "c", "-o", "json").json == answer


DISCOVERED = {
    "connector": "c",
    "adapter": "sql",
    "narrative": "Found 1 tables and views that can be read.",
    "truncated": False,
    "capabilities": {"fetch": {"paging": "by position"}, "push": {"idempotency": ["key", "none"]}},
    "resources": {"cases": {"key": "id", "fields": {"id": {"type": "string"}}, "fetch": {"statement": "select id"}}},
    "operations": {},
}


def test_what_a_system_has_is_printed_to_be_pasted(cli, at):
    at.routes["POST /api/connectors/c/discover"] = (200, DISCOVERED, {})
    for form in ((), ("-o", "yaml")):
        result = cli("connector", "discover", "c", *form)
        assert yaml.safe_load(result.out) == {"resources": DISCOVERED["resources"]}
        assert "Found 1 tables" in result.err
        assert "push: idempotency key, none" in result.err
    assert cli("connector", "discover", "c", "-o", "json").json == DISCOVERED
    assert cli("connector", "discover", "c", "-o", "id").out == "cases\n"
    at.routes["POST /api/connectors/c/discover"] = (200, {**DISCOVERED, "resources": {}}, {})
    assert cli("connector", "discover", "c").out == ""


def test_no_colour_where_none_is_wanted(cli, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("click._compat.isatty", lambda _: True)
    for words in (("rum",), ("run", "list")):
        assert "\x1b" not in cli(*words).err
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b" in cli("rum").err


def test_validate_fails_on_errors_alone(cli, at, tmp_path):
    (tmp_path / "a.yaml").write_text("blueprint: a\n")
    issue = {"file": "a.yaml", "line": 1, "column": 1, "code": "c", "message": "m", "hint": "", "severity": "warning"}
    at.routes["POST /api/blueprints/validate"] = (200, {"issues": [issue]}, {})
    result = cli("blueprint", "validate", "-f", "a.yaml")
    assert result.code == 0
    assert "a.yaml:1:1: warning: m" in result.err
    at.routes["POST /api/blueprints/validate"] = (200, {"issues": [{**issue, "severity": "error"}]}, {})
    assert cli("blueprint", "validate", "-f", "a.yaml").code == 1


def test_a_graph_shows_every_block_and_way_out(cli, at):
    value = {"transform": {"value": 1}}
    approval = {
        "policy": "p",
        "on_reject": [{"id": "tell", **value}, {"id": "close", **value}],
        "on_expire": "skip",
    }
    steps = [
        {"id": "risk", "logic_gate": {"if": "input.n > 1", "then": [{"id": "ask", "govern": approval}], "else": [{"id": "no", **value}]}},
        {"id": "all", "for_each": {"in": "input.list", "steps": [{"id": "one", **value}]}},
    ]  # fmt: skip
    at.routes["GET /api/blueprints/b"] = (200, {"name": "b", "version": 2, "document": {"steps": steps}}, {})
    assert cli("blueprint", "graph", "b").out.splitlines() == [
        "b v2",
        "├─ risk  LOGIC_GATE",
        "│  then input.n > 1",
        "│  └─ ask  GOVERN",
        "│     on_reject",
        "│     ├─ tell  TRANSFORM",
        "│     └─ close  TRANSFORM",
        "│     on_expire: skip",
        "│  else",
        "│  └─ no  TRANSFORM",
        "└─ all  FOR_EACH  for each in input.list",
        "   each",
        "   └─ one  TRANSFORM",
    ]


def test_profiles_keep_a_key_private_and_a_named_one_wins(cli, server, tmp_path, monkeypatch):
    server.routes["GET /api/whoami"] = (200, {"tenant": "default", "principal": {"name": "ada"}}, {})
    assert cli("auth", "login", server.url).code == 2
    monkeypatch.setenv("STANCHION_TOKEN", "key-1")
    assert cli("auth", "login", server.url + "/some/page").code == 0
    monkeypatch.delenv("STANCHION_TOKEN")
    kept = tmp_path / "xdg" / "stanchion" / "profiles.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert cli("auth", "whoami", "-o", "id").out == "ada\n"
    assert server.seen[-1][3]["authorization"] == "Bearer key-1"
    assert cli("auth", "whoami", "--profile", "none").code == 3
    assert cli("auth", "logout").code == 0
    assert cli("auth", "whoami").code == 3


def test_the_instance_in_the_data_folder_is_found(cli, server, tmp_path):
    server.routes["GET /api/whoami"] = (200, {"tenant": "default", "principal": {"name": "admin"}}, {})
    (tmp_path / ".stanchion").mkdir()
    (tmp_path / ".stanchion" / "profile.json").write_text(json.dumps({"url": server.url, "token": "a"}))
    (tmp_path / ".stanchion" / "profile-supervisor.json").write_text(json.dumps({"url": server.url, "token": "s"}))
    assert cli("auth", "whoami").code == 0
    assert server.seen[-1][3]["authorization"] == "Bearer a"
    assert cli("auth", "whoami", "--profile", "supervisor").code == 0
    assert server.seen[-1][3]["authorization"] == "Bearer s"
    (tmp_path / ".stanchion" / "profile.json").write_text("{")
    assert "damaged" in cli("auth", "whoami").err
    assert "No Stanchion has been started" in cli("auth", "whoami", "--data", str(tmp_path / "x")).err


def test_settings_show_lists_every_setting_with_its_source(cli, monkeypatch):
    monkeypatch.setenv("STANCHION_WEB_PORT", "7099")
    rows = {row["key"]: row for row in cli("settings", "show", "-o", "json").json}
    assert rows["web.port"] == {
        "key": "web.port",
        "value": "7099",
        "source": "STANCHION_WEB_PORT",
        "variable": "STANCHION_WEB_PORT",
    }
    monkeypatch.setenv("STANCHION_WEB_PROT", "1")
    result = cli("settings", "show")
    assert result.code == 2
    assert "STANCHION_WEB_PROT: There is no setting" in result.err
