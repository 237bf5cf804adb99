"""What a document may say of http writes, operations and credentials, and that everything else is refused at its place."""

from __future__ import annotations

import pytest

from stanchion.tools import connector_of
from tests.tools.documents import fault_at, parsed

ERP = """\
connector: erp
owner: ledgers
adapter: http
environment: local
base_url: https://erp.example/api
auth:
  header: {X-Api-Key: "secret://local/erp#key"}
  oauth2:
    grant: client_credentials
    token_url: https://login.example/token
    client_id: stanchion
    client_secret: secret://local/erp#client
resources:
  invoices:
    fields:
      number: {type: string}
      total: {type: number}
    push:
      method: POST
      path: /invoices
      body: {invoice: "{record}", total: "{total}", reference: "{idempotency_key}"}
      idempotency: probe
      probe: {path: /invoices, query: {reference: "{idempotency_key}"}, found: /items/0}
      answers: {already: [409], unsure: [202]}
      applied_if: {at: /ok, equals: true}
      receipt: {id: /data/id}
      reversible: true
execute:
  cancel:
    method: PUT
    path: /invoices/{number}/state
    parameters:
      number: {type: string}
      reason: {type: [string, "null"]}
    places: {reason: {in: header, name: X-Reason}}
    effect: destructive
    idempotency: natural
    undone_by: reopen
    result_at: /data
    result: {type: object}
  reopen:
    path: /rpc
    rpc: {method: invoice.reopen, params: ["{number}"], already: [17]}
    parameters: {number: {type: string}}
    effect: write
    idempotency: none
  find:
    method: GET
    path: /invoices
    parameters: {state: {type: string}}
    effect: read
"""


def test_a_right_document() -> None:
    found = parsed(ERP)
    assert found.issues == ()
    connector = connector_of(found.body)
    cancel = connector.operations["cancel"].operations["execute"]
    assert (cancel.effect, cancel.idempotency, cancel.reversible, cancel.undone_by) == (
        "destructive",
        "natural",
        True,
        "reopen",
    )
    assert connector.resources["invoices"].operations["push"].reversible
    assert parsed(ERP[: ERP.index("resources:")] + ERP[ERP.index("execute:") :]).issues == ()


WRONG: list[tuple[str, str, str, str]] = [
    # text, its replacement, the code, the text at which it is said
    ('"secret://local/erp#key"', "hunter2", "connector.credential", "hunter2"),
    ("secret://local/erp#client", "hunter2", "connector.credential", "hunter2"),
    ("secret://local/erp#client", "secret://locl/erp", "secret.unknown_provider", "secret://locl/erp"),
    ("secret://local/erp#client", "secret://local/../erp", "secret.bad_reference", "secret://local/../erp"),
    ("resources:\n", "headers: {X-Client: 'secret://local/erp'}\nresources:\n", "connector.credential", "headers:"),
    ('"{total}"', '"secret://local/erp"', "connector.credential", "body:"),
    ("X-Api-Key", "Authorization", "connector.bad_header", "Authorization"),
    ("X-Api-Key", "Content-Length", "connector.bad_header", "Content-Length"),
    ("  oauth2:\n", "  bearer: {token: 'secret://local/t'}\n  oauth2:\n", "connector.bad_auth", "grant:"),
    ("    client_secret: secret://local/erp#client\n", "", "connector.missing_field", "grant:"),
    ("client_credentials", "refresh_token", "connector.missing_field", "grant:"),
    ("client_credentials", "password", "document.choice", "password"),
    ("base_url: https:", "base_url: http:", "connector.no_tls", "base_url"),
    ("token_url: https:", "token_url: http:", "connector.no_tls", "token_url"),
    (
        "path: /invoices\n      body",
        "path: /invoices/{id}\n      body",
        "connector.undeclared_parameter",
        "path: /invoices/{id}",
    ),
    ("path: /invoices\n      body", "path: /a/../b\n      body", "connector.bad_path", "path: /a/../b"),
    ('"{total}"', '"{totl}"', "connector.undeclared_parameter", "body:"),
    ("method: POST", "method: GET", "document.choice", "method: GET"),
    ("idempotency: probe", "idempotency: natural", "connector.bad_idempotency", "idempotency: natural"),
    ("idempotency: probe", "idempotency: key", "connector.unused_probe", "probe:"),
    ('"{idempotency_key}"}, found', '"{key}"}, found', "connector.undeclared_parameter", "probe:"),
    ('query: {reference: "{idempotency_key}"}, ', "", "connector.unused_parameter", "probe:"),
    ("already: [409], unsure", "allready: [409], unsure", "document.unknown_field", "allready"),
    ("already: [409], unsure", "already: [99], unsure", "document.range", "99"),
    ("    method: PUT\n", "", "connector.missing_field", "path: /invoices/{number}/state"),
    ("method: PUT", "method: POST", "connector.bad_idempotency", "idempotency: natural"),
    ("effect: destructive", "effect: read", "connector.bad_effect", "effect: read"),
    ("    effect: destructive\n", "", "document.missing_field", "cancel:"),
    ("    idempotency: none\n", "", "connector.missing_field", "path: /rpc"),
    ("undone_by: reopen", "undone_by: reopn", "connector.unknown_operation", "undone_by: reopn"),
    ("places: {reason", "places: {reson", "connector.unknown_field", "reson"),
    ("places: {reason: {in: header", "places: {number: {in: header", "connector.unknown_field", "number: {in"),
    (
        "effect: read\n",
        "effect: destructive\n    idempotency: none\n",
        "connector.bad_effect",
        "effect: destructive\n    idempotency: none",
    ),
    ("effect: read\n", "effect: read\n    idempotency: key\n", "connector.unknown_field", "idempotency: key"),
    ("effect: read\n", "effect: read\n    probe: {path: /a}\n", "connector.unknown_field", "probe: {path: /a}"),
    ("effect: read\n", "effect: read\n    body: {a: 1}\n", "connector.unknown_field", "body: {a: 1}"),
    ("    rpc:", "    method: POST\n    rpc:", "connector.unknown_field", "method: POST\n    rpc"),
    ('params: ["{number}"]', 'params: ["{nmber}"]', "connector.undeclared_parameter", "rpc:"),
    ("state: {type: string}", "state: {}", "connector.bad_field", "state: {}"),
    ("  find:\n", "  Find:\n", "document.pattern", "Find:"),
    ("reversible: true", "reversible: maybe", "document.type", "reversible: maybe"),
]


@pytest.mark.parametrize(("text", "other", "code", "at"), WRONG, ids=[f"{n}-{w[2]}" for n, w in enumerate(WRONG)])
def test_each_fault_is_said_at_its_place(text: str, other: str, code: str, at: str) -> None:
    for issue in fault_at(ERP, text, other, code, at)[1]:
        assert "hunter2" not in f"{issue.message} {issue.hint}"


def test_credentials_without_tls_only_where_the_network_is_listed() -> None:
    source = ERP.replace(
        "base_url: https://erp.example", "egress: {private: [erp.internal]}\nbase_url: http://erp.internal"
    )
    assert [issue.code for issue in parsed(source).issues] == []


def test_a_connector_that_offers_nothing() -> None:
    source = ERP[: ERP.index("resources:")]
    assert "connector.missing_field" in [issue.code for issue in parsed(source).issues]
