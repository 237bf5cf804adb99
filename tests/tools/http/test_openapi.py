"""An OpenAPI document becomes a connector that can be published, and says what was guessed and what was left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stanchion.base import Invalid
from stanchion.tools.adapters.http_openapi import openapi_connector
from tests.tools.documents import parsed

INVOICES = """\
openapi: 3.0.3
info: {title: Invoices, version: '1'}
servers: [{url: 'https://{region}.erp.example/api/', variables: {region: {default: eu}}}]
security: [{signIn: []}]
paths:
  /invoices:
    get:
      operationId: listInvoices
      summary: List invoices.
      parameters:
        - {name: state, in: query, schema: {type: string, enum: [open, paid]}}
        - {name: page-size, in: query, schema: {type: integer, maximum: 100}}
        - {name: X-Trace, in: header, schema: {type: string}}
      responses:
        '200':
          content:
            application/json: {schema: {type: array, items: {$ref: '#/components/schemas/Invoice'}}}
    post:
      operationId: createInvoice
      parameters: [{name: Idempotency-Key, in: header, required: true, schema: {type: string}}]
      requestBody: {$ref: '#/components/requestBodies/New'}
      responses:
        '201': {content: {application/json: {schema: {$ref: '#/components/schemas/Invoice'}}}}
  /invoices/{invoice-id}:
    parameters:
      - {name: invoice-id, in: path, required: true, schema: {type: string, format: uuid}}
    delete: {deprecated: true, summary: Take it back., responses: {'204': {description: gone}}}
    put:
      operationId: replaceInvoice
      requestBody:
        required: true
        content: {application/json: {schema: {type: array, items: {type: string}}}}
      responses: {'200': {description: fine}}
  /upload:
    post:
      requestBody: {content: {multipart/form-data: {schema: {type: object}}}}
  /session:
    get:
      parameters: [{name: sid, in: cookie, required: true, schema: {type: string}}]
  /form:
    post:
      requestBody:
        content: {application/x-www-form-urlencoded: {schema: {type: object, properties: {a: {type: string}}}}}
components:
  securitySchemes:
    signIn:
      type: oauth2
      flows: {clientCredentials: {tokenUrl: 'https://login.example/token', scopes: {write: Write.}}}
  requestBodies:
    New:
      required: true
      content:
        application/json:
          schema:
            allOf:
              - $ref: '#/components/schemas/Invoice'
              - {type: object, required: [currency], properties: {currency: {type: string, minLength: 3, maxLength: 3}}}
  schemas:
    Invoice:
      type: object
      required: [number, lines, gone]
      properties:
        id: {type: string, readOnly: true}
        number: {type: string, pattern: '^[0-9]+$'}
        due: {type: string, format: date, nullable: true}
        paid: {type: boolean, default: false}
        lines: {type: array, items: {$ref: '#/components/schemas/Line'}}
        parent: {$ref: '#/components/schemas/Invoice'}
        amount: {oneOf: [{type: number}, {type: string}]}
        size: {type: integer, format: int32, minimum: 0, exclusiveMinimum: true}
    Line: {type: object, properties: {text: {type: string}, next: {$ref: '#/components/schemas/Line'}}}
"""


def imported(source: str, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    made = openapi_connector(
        source.encode(), **{"name": "invoices", "owner": "ledgers", "environment": "local", **more}
    )
    body: Any = json.loads(json.dumps(made.body))
    return body, made.notes


def issues(body: dict[str, Any]) -> list[str]:
    return [f"{issue.pointer} {issue.code} {issue.message}" for issue in parsed(body).issues]


def test_it_can_be_published_as_it_is() -> None:
    body, _ = imported(INVOICES)
    assert issues(body) == []
    assert body["base_url"] == "https://eu.erp.example/api"
    assert list(body["execute"]) == [
        "list-invoices",
        "create-invoice",
        "replace-invoice",
        "delete-invoices-invoice-id",
        "post-form",
    ]


def test_effects_and_keys_are_said_carefully() -> None:
    body, notes = imported(INVOICES)
    said = {n: (o["effect"], o.get("idempotency")) for n, o in body["execute"].items()}
    assert said == {
        "list-invoices": ("read", None),
        "create-invoice": ("write", "key"),
        "delete-invoices-invoice-id": ("destructive", "none"),
        "replace-invoice": ("write", "none"),
        "post-form": ("write", "none"),
    }
    assert any("POST /upload was left out: it takes multipart/form-data" in note for note in notes)
    assert any("GET /session was left out: it needs the cookie sid" in note for note in notes)
    assert any("idempotency: none" in note for note in notes)
    assert body["execute"]["delete-invoices-invoice-id"]["description"] == "Deprecated. Take it back."


def test_parameters_keep_their_places_and_types() -> None:
    operations = imported(INVOICES)[0]["execute"]
    listing = operations["list-invoices"]
    assert listing["parameters"]["state"] == {"type": ["string", "null"], "enum": ["open", "paid", None]}
    assert listing["places"] == {
        "state": {"in": "query"},
        "page_size": {"in": "query", "name": "page-size"},
        "X_Trace": {"in": "header", "name": "X-Trace"},
    }
    created = operations["create-invoice"]["parameters"]
    assert "id" not in created, "the server gives it"
    assert created["number"] == {"type": "string", "pattern": "^[0-9]+$"}
    assert created["currency"] == {"type": "string", "minLength": 3, "maxLength": 3}
    assert created["due"]["type"] == ["string", "null"]
    assert created["size"] == {"type": ["integer", "null"], "exclusiveMinimum": 0}
    assert set(created["amount"]["type"]) == {"string", "number", "null"}
    assert operations["create-invoice"]["nulls"] == "omit"
    assert operations["replace-invoice"]["path"] == "/invoices/{invoice_id}"
    assert operations["replace-invoice"]["body"] == "{body}"
    assert operations["post-form"]["encoding"] == "form"
    result = operations["list-invoices"]["result"]
    assert result["items"]["properties"]["parent"] == {}, "what refers to itself ends"
    assert "pattern" not in result["items"]["properties"]["number"]
    assert result["items"]["required"] == ["number", "lines"], "what is required and not declared is not required"


@pytest.mark.parametrize(
    ("scheme", "auth"),
    [
        ({"type": "http", "scheme": "basic"}, {"basic": {"username": "S#username", "password": "S#password"}}),
        ({"type": "http", "scheme": "Bearer"}, {"bearer": {"token": "S#token"}}),
        ({"type": "apiKey", "in": "header", "name": "X-Key"}, {"header": {"X-Key": "S#key"}}),
        ({"type": "apiKey", "in": "query", "name": "key"}, {"query": {"key": "S#key"}}),
        (
            {"type": "mutualTLS"},
            {"client_certificate": {"certificate": "S#certificate", "private_key": "S#private-key"}},
        ),
        ({"type": "apiKey", "in": "cookie", "name": "sid"}, None),
        ({"type": "openIdConnect", "openIdConnectUrl": "https://login.example"}, None),
    ],
)
def test_ways_to_sign_in_become_references(scheme: dict[str, Any], auth: dict[str, Any] | None) -> None:
    document = {
        "openapi": "3.1.0",
        "servers": [{"url": "https://erp.example"}],
        "paths": {"/a": {"get": {}}},
        "components": {"securitySchemes": {"one": scheme}},
    }
    body, notes = imported(json.dumps(document))
    wanted = None if auth is None else json.loads(json.dumps(auth).replace("S#", "secret://local/invoices#"))
    assert body.get("auth") == wanted
    assert issues(body) == []
    assert any("sign in" in note or "secret set" in note for note in notes)


def test_oauth_and_what_the_document_does_not_say() -> None:
    body, _ = imported(INVOICES)
    assert body["auth"]["oauth2"]["token_url"] == "https://login.example/token"
    assert body["auth"]["oauth2"]["scope"] == "write"
    relative = INVOICES.replace("https://{region}.erp.example/api/", "/api")
    with pytest.raises(Invalid) as caught:
        imported(relative)
    assert caught.value.code == "openapi.no_server"
    assert imported(relative, base_url="https://erp.example/api")[0]["base_url"] == "https://erp.example/api"
    assert list(imported(INVOICES, under="/form")[0]["execute"]) == ["post-form"]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("swagger: '2.0'\npaths: {}", "openapi.unsupported"),
        ("[]", "openapi.unsupported"),
        ("openapi: 3.0.0\npaths: {}", "openapi.no_operations"),
        ("openapi: 3.0.0\nx: [", "openapi.unreadable"),
        ('{"openapi": ', "openapi.unreadable"),
        ("openapi: 3.0.0\nx: !!python/object:os.system {}", "openapi.unreadable"),
    ],
)
def test_what_is_no_openapi_document(source: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        imported(source)
    assert caught.value.code == code


def test_it_is_bounded() -> None:
    """Many operations, deep and wide schemas, references in a ring and out of the document, aliases that multiply."""
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        deep = {"type": "object", "properties": {"a": deep}}
    wide = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5000)}}
    ring = {"r1": {"$ref": "#/components/schemas/r2"}, "r2": {"$ref": "#/components/schemas/r1"}}
    schemas = {**ring, "deep": deep, "wide": wide, "out": {"$ref": "https://elsewhere.example/x.json"}}

    def operation(name: str) -> dict[str, Any]:
        schema = {"$ref": f"#/components/schemas/{name}"}
        return {"get": {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}}

    paths = {f"/{name}": operation(name) for name in schemas} | {f"/n{n}": {"get": {}} for n in range(300)}
    document = {
        "openapi": "3.1.0",
        "servers": [{"url": "https://erp.example"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }
    body, notes = imported(json.dumps(document))
    assert len(body["execute"]) == 200
    assert any("105 more operations were left out" in note for note in notes)
    assert any("leads out of the document" in note for note in notes)
    assert len(json.dumps(body)) < 500_000
    assert issues(body) == []
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))]
    bomb = "openapi: 3.0.0\nservers: [{url: 'https://e.example'}]\npaths: {/a: {get: {}}}\n" + "\n".join(lines)
    assert list(imported(bomb)[0]["execute"]) == ["get-a"]


def test_the_command_prints_a_document_for_review(tmp_path: Path) -> None:
    import yaml

    from stanchion.cli.nouns.connector import connector

    path = tmp_path / "openapi.yaml"
    path.write_text(INVOICES)
    done = CliRunner().invoke(connector, ["import-openapi", str(path), "--name", "invoices", "--owner", "ledgers"])
    assert done.exit_code == 0, done.output
    assert issues(yaml.safe_load(done.stdout)) == []
    assert "was left out" in done.stderr
