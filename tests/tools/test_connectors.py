"""A connector's document: what is published, and every way to get it wrong, each at its own place."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from stanchion.base import Json, NotFound, SystemClock, dumps, loads
from stanchion.blueprints import BlueprintKind, Document, Parsed
from stanchion.blueprints.check import KEYWORDS
from stanchion.blueprints.values.kind import CONFIG_SCHEMA
from stanchion.releases.policies.kind import SCHEMA as POLICY
from stanchion.tools import FETCH, LOOKUP, PUSH, connector_of
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.catalogue.kind import SCHEMA as TOOL
from stanchion.tools.connectors import resource_of
from stanchion.tools.connectors.schema import document_schema
from stanchion.tools.triggers.rules import SCHEMA as TRIGGER
from tests.tools.documents import fault_at, parsed

SQL = """
connector: casebook
description: The casebook.
owner: casework
adapter: sql
environment: local
timeout: 5s
limits: {calls_per_s: 20, burst: 40, concurrent: 8}
database: {driver: sqlite, path: casebook.db}
resources:
  cases:
    key: case_id
    fields:
      case_id: {type: string}
      fine_eur: {type: integer}
      note: {type: [string, "null"]}
    fetch:
      statement: select * from cases where (:status is null or status = :status) and fine_eur >= :least
      parameters:
        status: {type: [string, "null"]}
        least: {type: integer}
    lookup:
      statement: select * from cases where case_id = :key
  outcomes:
    fields:
      case_id: {type: string}
      tier: {type: string, enum: [minor, severe]}
      comment: {type: [string, "null"]}
    push:
      statement: insert into outcomes values (:case_id, :tier, :comment, :idempotency_key)
      idempotency: probe
      probe: select 1 from outcomes where idempotency_key = :idempotency_key
"""
HTTP = """
connector: registry
owner: casework
adapter: http
environment: local
base_url: https://registry.example/api
headers: {X-Client: stanchion}
resources:
  cases:
    key: case_id
    fields:
      case_id: {type: string}
    fetch:
      path: /cases
      parameters: {country: {type: [string, "null"]}}
      query: {verbose: true}
      records: /items
      page: {style: cursor, parameter: after, next: /next}
    lookup:
      path: /cases/{key}
      records: /case
"""
FILES = """
connector: inbox
owner: casework
adapter: files
environment: local
root: data
resources:
  cases:
    file: cases.csv
    key: case_id
    fields:
      case_id: {type: string}
      size: {type: integer}
      tags: {type: array}
    fetch: {}
    lookup: {}
    push: {idempotency: probe}
"""
ALL = {"sql": SQL, "http": HTTP, "files": FILES}


def parse(source: str) -> Parsed:
    return parsed(source.strip() + "\n", "casebook.yaml")


@pytest.mark.parametrize("adapter", ALL)
def test_a_right_document_has_no_issue(adapter: str) -> None:
    parsed = parse(ALL[adapter])
    assert parsed.issues == ()
    assert parsed.name in {"casebook", "registry", "inbox"}
    assert parsed.owner == "casework"
    connector = connector_of(parsed.body, "sha256:x")
    assert connector.environment == "local"
    assert connector.timeout_s == (5.0 if adapter == "sql" else 30.0)


@pytest.mark.parametrize("limits", ["{calls_per_s: 0.5}", "{calls_per_s: 20, burst: 40}", "{concurrent: 8}"])
def test_limits_can_be_published(limits: str) -> None:
    assert parse(FILES + f"limits: {limits}\n").issues == ()


def _keywords(schema: Any) -> Iterator[str]:
    yield from schema
    for name, value in schema.items():
        if name in ("properties", "$defs"):
            below = list(value.values())
        elif name in ("items", "additionalProperties", "propertyNames", "anyOf", "oneOf"):
            below = value if isinstance(value, list) else [value]
        else:
            continue
        for one in below:
            if isinstance(one, dict):
                yield from _keywords(one)


@pytest.mark.parametrize("adapter", [None, *Adapters(Path("nowhere"), SystemClock()).by_name])
def test_the_schema_of_a_connector_uses_what_documents_are_checked_by(adapter: str | None) -> None:
    """A keyword that the walker does not know would break the first document that reaches it."""
    known = Adapters(Path("nowhere"), SystemClock())
    schema = document_schema(None if adapter is None else known.get(adapter), tuple(known.by_name))
    assert set(_keywords(schema)) - KEYWORDS == set()


@pytest.mark.parametrize(
    "schema", [TOOL, TRIGGER, POLICY, CONFIG_SCHEMA], ids=["tool", "trigger", "authorization", "config"]
)
def test_so_do_those_of_other_kinds(schema: Any) -> None:
    assert set(_keywords(schema)) - KEYWORDS == set()


WRONG: list[tuple[str, str, str, str, str]] = [
    # adapter, text, its replacement, the code, the line on which it is said
    ("sql", "adapter: sql", "adapter: sqll", "document.choice", "adapter: sqll"),
    ("sql", "environment: local", "environmnt: local", "document.unknown_field", "environmnt: local"),
    ("sql", "timeout: 5s", "timeout: 5 parsecs", "document.duration", "timeout: 5"),
    ("sql", "calls_per_s: 20, burst: 40", "burst: 40", "document.missing_field", "burst: 40"),
    ("sql", "burst: 40", "burst: 0", "document.range", "burst: 0"),
    ("sql", "concurrent: 8", "conccurent: 8", "document.unknown_field", "conccurent: 8"),
    ("sql", "timeout: 5s", "timeout: 2h", "connector.bad_timeout", "timeout: 2h"),
    ("sql", "path: casebook.db", "path: ../casebook.db", "connector.path_escapes", "database:"),
    ("sql", "path: casebook.db", "path: /etc/passwd", "connector.path_escapes", "database:"),
    ("sql", "path: casebook.db", "url_file: x.url", "connector.missing_field", "database:"),
    ("sql", "key: case_id", "key: case_idd", "connector.unknown_key", "key: case_idd"),
    ("sql", "    key: case_id\n", "", "connector.missing_field", "statement: select * from cases where case_id"),
    ("sql", "and fine_eur >= :least", "", "connector.unused_parameter", "statement: select * from cases where (:"),
    ("sql", ">= :least", ">= :last", "connector.undeclared_parameter", ">= :last"),
    ("sql", "where case_id = :key", "where case_id = :id", "connector.undeclared_parameter", "= :id"),
    ("sql", "where case_id = :key", "where 1 = 1", "connector.unused_parameter", "where 1 = 1"),
    ("sql", "case_id = :key", "case_id = :key; drop table cases", "connector.bad_statement", "drop table"),
    ("sql", "case_id = :key", "case_id = ?", "connector.bad_statement", "case_id = ?"),
    ("sql", "case_id = :key", "case_id = :key or note = 'x", "connector.bad_statement", "or note"),
    ("sql", "idempotency: probe", "idempotency: natural", "connector.unused_probe", "probe: select"),
    ("sql", "idempotency: probe", "idempotency: maybe", "document.choice", "idempotency: maybe"),
    ("sql", "      idempotency: probe\n", "", "document.missing_field", "push:"),
    (
        "sql",
        "      probe: select 1 from outcomes where idempotency_key = :idempotency_key\n",
        "",
        "connector.missing_probe",
        "idempotency: probe",
    ),
    ("sql", ":comment, :idempotency_key)", ":remark, :idempotency_key)", "connector.undeclared_parameter", ":remark"),
    ("sql", "fine_eur: {type: integer}", "fine_eur: {type: int}", "document.choice", "type: int}"),
    ("sql", "fine_eur: {type: integer}", "fine_eur: {}", "connector.bad_field", "fine_eur: {}"),
    ("sql", "fine_eur: {type: integer}", "fine-eur: {type: integer}", "document.pattern", "fine-eur"),
    (
        "sql",
        "description: The casebook.",
        "description: postgresql://bob:hunter2@db/x",
        "connector.credential",
        "description",
    ),
    ("sql", "    lookup:\n", "    lookupp:\n", "document.unknown_field", "lookupp:"),
    (
        "http",
        "base_url: https://registry.example/api",
        "base_url: https://u:p@registry.example",
        "connector.credential",
        "base_url",
    ),
    (
        "http",
        "base_url: https://registry.example/api",
        "base_url: https://u@registry.example",
        "connector.bad_base_url",
        "base_url",
    ),
    (
        "http",
        "base_url: https://registry.example/api",
        "base_url: ftp://registry.example",
        "document.pattern",
        "base_url",
    ),
    ("http", "X-Client: stanchion", "Authorization: Bearer x", "connector.credential", "headers"),
    ("http", "X-Client: stanchion", "X-Api-Key: x", "connector.credential", "headers"),
    ("http", "X-Client: stanchion", "Host: x", "connector.bad_header", "headers"),
    ("http", "path: /cases/{key}", "path: /cases/{id}", "connector.undeclared_parameter", "path: /cases/{id}"),
    ("http", "path: /cases/{key}", "path: /cases/../{key}", "connector.bad_path", "path: /cases/.."),
    ("http", "parameter: after, ", "", "connector.missing_field", "page:"),
    ("http", "next: /next}", "next: /next, first: 1}", "connector.unknown_field", "page:"),
    ("http", "    lookup:\n", "    push: {}\n    lookup:\n", "document.missing_field", "push: {}"),
    ("files", "root: data\n", "root: data\nexecute: {a: {effect: read}}\n", "connector.not_offered", "execute:"),
    ("files", "file: cases.csv", "file: cases.xlsx", "connector.unknown_format", "file: cases.xlsx"),
    ("files", "file: cases.csv", "file: ../cases.csv", "connector.path_escapes", "file: ../cases.csv"),
    ("files", "    key: case_id\n", "    delimiter: ;;\n", "document.pattern", "delimiter: ;;"),
    ("files", "file: cases.csv", "file: cases.jsonl\n    delimiter: ;", "connector.unknown_field", "delimiter: ;"),
    ("files", "root: data", "root: /etc", "connector.path_escapes", "root: /etc"),
    (
        "files",
        "size: {type: integer}",
        "idempotency_key: {type: string}",
        "connector.reserved_field",
        "idempotency_key:",
    ),
    ("files", "push: {idempotency: probe}", "push: {idempotency: none}", "document.choice", "push:"),
]


@pytest.mark.parametrize(
    ("adapter", "text", "wrong", "code", "line"), WRONG, ids=[f"{w[0]}-{w[3]}-{n}" for n, w in enumerate(WRONG)]
)
def test_each_fault_is_said_at_its_place(adapter: str, text: str, wrong: str, code: str, line: str) -> None:
    found, _ = fault_at(ALL[adapter].strip() + "\n", text, wrong, code, line)
    assert found.file == "connector.yaml"


@pytest.mark.parametrize(
    ("text", "wrong", "said"),
    [
        ("X-Client: stanchion", "Accept: text/csv", "always application/json"),
        ("records: /items", "records: data.items", "A JSON pointer, such as /data/items"),
    ],
)
def test_a_fault_says_what_is_allowed(text: str, wrong: str, said: str) -> None:
    (issue,) = parse(HTTP.replace(text, wrong)).issues
    assert said in issue.hint


MANY = """
connector: office
owner: 1.50
adapter: filez
environment: local
root: /etc
description: postgresql://bob:hunter2@db/x
resources:
  claims:
    file: claims.xlsx
    key: claim
    fields:
      claim_id: {type: strin}
      amount: {}
      state: {type: string, enum: [open, NO, 1.50, 12:30, 2024-01-01]}
    lookup: {}
    push: {idempotency: maybe}
    bogus: 1
  staff:
    file: staff.csv
    key: nam
    fields: {name: text}
    fetch:
"""


def said(source: str) -> list[tuple[int, str]]:
    return [(issue.line, issue.code) for issue in parse(source).issues]


def test_every_error_is_said_at_once() -> None:
    assert said(MANY) == [
        (2, "document.type"),
        (3, "document.choice"),
        (5, "connector.path_escapes"),
        (6, "connector.credential"),
        (9, "connector.unknown_format"),
        (10, "connector.unknown_key"),
        (12, "document.choice"),
        (13, "connector.bad_field"),
        (14, "connector.bad_field"),
        (16, "document.choice"),
        (17, "document.unknown_field"),
        (20, "connector.unknown_key"),
        (21, "document.type"),
        (22, "document.type"),
    ]


def test_an_adapter_that_nobody_knows_hides_nothing_that_all_adapters_share() -> None:
    own = {"connector.path_escapes", "connector.unknown_format", "document.unknown_field"}
    wrong = [(line, code) for line, code in said(MANY.replace("filez", "excel")) if code not in own]
    assert wrong == [found for found in said(MANY) if found[1] not in own and found[0] != 16]
    nothing = [issue.code for issue in parse(SQL.replace("adapter: sql", "").replace("int}", "integer}")).issues]
    assert nothing == ["document.missing_field"]


def test_what_follows_from_an_error_is_not_said_beside_it() -> None:
    for text, wrong, code in (
        ("key: case_id", "key: 5", "document.type"),
        ("      case_id: {type: string}", "      case-id: {type: string}", "document.pattern"),
        ("least: {type: integer}", "least: 5", "document.type"),
        ("case_id: {type: string}", "case_id:", "document.type"),
        ("    fetch:\n", "    fetchh:\n", "document.unknown_field"),
        ("statement: select * from cases where case_id = :key", "statement: 5", "document.type"),
        ("case_id: {type: string}", "case_id: {type: strin}", "document.choice"),
    ):
        (issue,) = parse(SQL.replace(text, wrong, 1)).issues
        assert issue.code == code, (wrong, issue)


@pytest.mark.parametrize(
    ("adapter", "text", "wrong", "hint"),
    [
        ("files", "fetch: {}", "fetch:", "Write fetch: {}."),
        ("files", "push: {idempotency: probe}", "push:", "Write push: {idempotency: …}."),
        ("files", "size: {type: integer}", "size:", "Write size: {type: string}."),
        ("files", "size: {type: integer}", "size: integer", "Write size: {type: integer}."),
        ("sql", "database: {driver: sqlite, path: casebook.db}", "database:", "Write database: {driver: …}."),
        ("http", "headers: {X-Client: stanchion}", "headers:", "Write headers: {}."),
    ],
)
def test_a_body_left_empty_is_answered_with_its_shape(adapter: str, text: str, wrong: str, hint: str) -> None:
    (issue,) = parse(ALL[adapter].replace(text, wrong)).issues
    assert (issue.code, issue.hint) == ("document.type", hint)


def test_a_value_that_yaml_read_as_another_type_is_to_be_quoted() -> None:
    found = {issue.line: issue.hint for issue in parse(MANY).issues}
    assert (found[2], found[14]) == ("Quote it: '1.50'.", "Quote it: '1.50'.")


def test_a_literal_of_a_step_that_is_no_text_is_to_be_quoted() -> None:
    source = """
blueprint: filing
owner: casework
steps:
  - id: file
    push:
      connector: casebook
      resource: outcomes
      record: {case_id: 007, tier: minor, comment: true}
  - id: one
    lookup: {connector: casebook, resource: cases, key: 1.50}
  - id: some
    fetch: {connector: casebook, resource: cases, where: {status: 12:30, least: 1}}
  - id: more
    fetch: {connector: casebook, resource: cases, where: {status: NO, least: "1"}}
"""
    kind = BlueprintKind({verb.verb: verb for verb in (FETCH, LOOKUP, PUSH)})
    issues = kind.parse(Document(path="filing.yaml", source=source.strip() + "\n"), lookup).issues
    assert [(issue.line, issue.code, issue.hint) for issue in issues] == [
        (8, "blueprint.wrong_type", "Quote it: '007'."),
        (8, "blueprint.wrong_type", "Quote it: 'true'."),
        (10, "document.type", "Quote it: '1.50'."),
        (14, "blueprint.wrong_type", ""),
    ]


def test_an_undeclared_parameter_is_to_be_declared() -> None:
    config: dict[str, Json] = {"connector": "casebook", "resource": "cases", "where": {"least": 1, "zone": "x"}}
    (issue,) = FETCH.check(config, lookup)
    assert "fetch.parameters" in issue.hint


def test_a_fault_names_the_nearest_right_name() -> None:
    issue = parse(SQL.replace("key: case_id", "key: case_idd")).issues[0]
    assert "case_id" in issue.hint


def lookup(kind: str, name: str) -> dict[str, Json] | None:
    return dict(parse(SQL).body) if (kind, name) == ("connector", "casebook") else None


def codes(verb: Any, config: dict[str, Json]) -> list[tuple[str, str]]:
    return [(issue.pointer, issue.code) for issue in verb.check(config, lookup)]


def test_a_step_is_checked_against_its_connector() -> None:
    base: dict[str, Json] = {"connector": "casebook", "resource": "cases"}
    assert codes(FETCH, {**base, "where": {"least": 5}}) == []
    assert codes(FETCH, {**base, "where": {"least": "${input.least}", "status": "open"}}) == []
    assert codes(FETCH, base) == [("/where", "blueprint.missing_parameter")]
    assert codes(FETCH, {**base, "where": {"least": "many"}}) == [("/where/least", "blueprint.wrong_type")]
    assert codes(FETCH, {**base, "where": {"least": 1, "stats": "x"}}) == [
        ("/where/stats", "blueprint.unknown_parameter")
    ]
    assert codes(LOOKUP, {**base, "key": "${input.case_id}"}) == []
    assert codes(LOOKUP, {**base, "key": 5}) == [("/key", "blueprint.wrong_type")]
    assert codes(LOOKUP, {**base, "resource": "case", "key": "x"}) == [("/resource", "blueprint.unknown_resource")]
    assert codes(PUSH, {**base, "record": {}}) == [("/resource", "blueprint.unknown_operation")]
    outcome: dict[str, Json] = {"connector": "casebook", "resource": "outcomes"}
    assert codes(PUSH, {**outcome, "record": {"case_id": "C1", "tier": "minor"}}) == []
    assert codes(PUSH, {**outcome, "record": "${steps.x.value}"}) == []
    assert codes(PUSH, {**outcome, "record": "C1"}) == [("/record", "blueprint.wrong_type")]
    assert codes(PUSH, {**outcome, "record": {"case_id": "C1", "teir": "minor"}}) == [
        ("/record/teir", "blueprint.unknown_record_field"),
        ("/record", "blueprint.missing_field"),
    ]
    assert codes(PUSH, {**outcome, "record": {"case_id": "C1", "tier": "huge"}}) == [
        ("/record/tier", "blueprint.wrong_type")
    ]


def test_outputs_have_the_types_of_the_connector() -> None:
    base: dict[str, Json] = {"connector": "casebook", "resource": "cases", "key": "x"}
    record: Any = LOOKUP.output_schema(base, lookup, lambda _: {})["properties"]["record"]  # type: ignore[index, call-overload]
    assert record["properties"]["fine_eur"] == {"type": "integer"}
    assert record["type"] == "object"
    nullable: Any = LOOKUP.output_schema({**base, "missing": None}, lookup, lambda _: {})["properties"]["record"]  # type: ignore[index, call-overload]
    assert nullable["type"] == ["object", "null"]
    records: Any = FETCH.output_schema(base, lookup, lambda _: {})["properties"]["records"]  # type: ignore[index, call-overload]
    assert records["items"]["required"] == ["case_id", "fine_eur", "note"]


def test_an_unknown_resource_and_operation_at_run_time() -> None:
    connector = connector_of(parse(SQL).body)
    with pytest.raises(NotFound, match="Did you mean cases"):
        resource_of(connector, "case", "fetch")
    with pytest.raises(NotFound, match="has no push"):
        resource_of(connector, "cases", "push")


def test_a_broken_document_is_answered_and_not_raised() -> None:
    for source in ["", "[]", "connector: 5", "connector: x\nadapter: sql", "connector: x\nadapter: [1]", "{"]:
        assert parse(dedent(source)).issues


JUNK: list[Json] = [None, 5, 1.5, True, "", "x", [], {}, ["a", {}], {"a": 1}, "${x}"]


def places(value: Any) -> list[tuple[Any, Any]]:
    """(holder, key) of every value below `value`."""
    keys: Any = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_written_is_answered_with_issues(seed: int) -> None:
    """Checks of a sound part of a document must not stumble over what is missing from it."""
    rng = random.Random(seed)
    for source in ALL.values():
        body: Any = loads(dumps(dict(parse(source).body)))
        for _ in range(rng.randint(1, 4)):
            found = places(body)
            if not found:
                break
            holder, key = rng.choice(found)
            if rng.random() < 0.3:
                del holder[key]
            elif isinstance(holder, dict) and rng.random() < 0.3:
                holder[rng.choice(["a/b", "x~y", "fetch", "push", "key", "fields", "page"])] = rng.choice(JUNK)
            else:
                holder[key] = loads(dumps(rng.choice(JUNK)))
        issues = parse(dumps(body).decode()).issues
        assert all(issue.message and issue.line >= 1 for issue in issues)
        assert len(set(issues)) == len(issues)


POSTGRES = SQL.replace(
    "{driver: sqlite, path: casebook.db}",
    "{driver: postgresql, url: 'postgresql://robot@db.example/cases?sslmode=verify-full', password: 'secret://local/db'}",
)


@pytest.mark.parametrize(
    ("text", "other", "code"),
    [
        ("robot@db", "robot@db", None),
        ("'secret://local/db'", "hunter2", "connector.credential"),
        ("'secret://local/db'", "'secret://nowhere/db'", "secret.unknown_provider"),
        ("robot@db", "robot:hunter2@db", "connector.credential"),
        ("db.example/cases?", "db.example/cases?password=hunter2&", "connector.bad_database_url"),
        ("db.example/cases?", "db.example/cases?passfile=/etc/passwd&", "connector.bad_database_url"),
        ("robot@db.example", "", "connector.bad_database_url"),
        ("robot@db.example", "robot@%2Frun%2Fpostgresql", "connector.bad_database_url"),
        ("robot@db.example", "robot@db.example,%2Frun%2Fpostgresql", "connector.bad_database_url"),
        ("db.example/cases?", "db.example/cases?host=/run/postgresql&", "connector.bad_database_url"),
        ("db.example/cases?", "db.example/cases?sslkeylogfile=/tmp/keys&", "connector.bad_database_url"),
        ("db.example/cases?", "db.example/cases?oauth_issuer=http://10.0.0.1&", "connector.bad_database_url"),
        ("db.example/cases?", "db.example/cases?sslrootcert=/etc/passwd&", "connector.bad_database_url"),
        ("password:", "url_file: x.url, password:", "connector.unknown_field"),
        ("password:", "path: x.db, password:", "connector.unknown_field"),
        (
            "url: 'postgresql://robot@db.example/cases?sslmode=verify-full'",
            "url_file: a.url",
            "connector.unknown_field",
        ),
    ],
)
def test_a_database_by_url_and_secret(text: str, other: str, code: str | None) -> None:
    assert text in POSTGRES
    issues = parse(POSTGRES.replace(text, other)).issues
    assert code in ([issue.code for issue in issues] or [None]), issues
    assert "hunter2" not in " ".join(f"{issue.message} {issue.hint}" for issue in issues)
