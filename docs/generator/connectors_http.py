"""The fields of the `http` adapter's writes, operations and credentials, and of EXECUTE's operations in general."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docs.generator.tables import Field, fields

from stanchion.tools.connectors.schema import EXECUTE, document_schema

_RPC = "With JSON-RPC: "
REQUEST: Mapping[str, Field] = {
    "query": Field(
        "{state: '{state}'}", "Query parameters; a text that is exactly `{name}` stands for a value.", "none"
    ),
    "body": Field(
        "{invoice: '{record}', reference: '{idempotency_key}'}",
        "What is sent. A text that is exactly `{name}` stands for a value, whole and of its type: a field or parameter, "
        "`{record}` (EXECUTE: `{arguments}`), `{idempotency_key}`.",
        "the record, or the arguments that no other place takes",
    ),
    "encoding": Field("form", "How the body is sent: as `json` or as a `form`.", "`json`"),
    "nulls": Field("omit", "Whether a null is sent in the body, or left out.", "`send`"),
    "rpc": Field("{method: invoice.create}", "The call is JSON-RPC 2.0, by POST to `path`.", "plain HTTP"),
    "rpc.method": Field("invoice.create", "The method."),
    "rpc.params": Field(
        "['{record}', {reference: '{idempotency_key}'}]",
        "The parameters, a list by position or an object by name, with `{name}` as in `body`.",
        "the record, or the arguments, by name",
    ),
    "rpc.already": Field("[1409]", "Error codes that mean: the target has this write already.", "none"),
    "rpc.refused": Field(
        "[-32000]",
        "Error codes that mean: certainly not done.",
        "codes outside of JSON-RPC's own range, and -32700, -32600 to -32602",
    ),
    "rpc.unsure": Field("[17]", "Error codes after which it may have been done.", "all others"),
}
WRITE: Mapping[str, Field] = {
    "key_header": Field(
        "X-Request-Key", "The header that carries the key.", "`Idempotency-Key`, unless a template places the key"
    ),
    "probe": Field(
        "{path: /invoices, query: {reference: '{idempotency_key}'}, found: /items/0}",
        "With `idempotency: probe`: a GET that tells whether the write is there. 404 means no.",
        "needed for `probe`",
    ),
    "probe.path": Field("/invoices/{number}", "What is asked."),
    "probe.query": Field("{reference: '{idempotency_key}'}", "And with which query parameters.", "none"),
    "probe.rpc": Field(
        "{method: invoice.find, params: ['{idempotency_key}']}", _RPC + "the method that is asked.", "a GET"
    ),
    "probe.rpc.method": Field("invoice.find", "The method."),
    "probe.rpc.params": Field("['{idempotency_key}']", "Its parameters.", "the record, by name"),
    "probe.rpc.already": Field("[]", "Not used by a probe.", "none"),
    "probe.rpc.refused": Field("[]", "Not used by a probe.", "none"),
    "probe.rpc.unsure": Field("[]", "Not used by a probe.", "none"),
    "probe.found": Field(
        "/items/0",
        "JSON pointer to something that is there only with the write: neither absent, null, false nor empty.",
        "any answer but 404",
    ),
    "answers": Field(
        "{already: [409]}", "What statuses mean; [below](#what-a-status-means) is what they mean without.", "as below"
    ),
    "answers.applied": Field("[200, 201]", "The write was applied.", "2xx"),
    "answers.already": Field("[409]", "The target has this write already.", "none"),
    "answers.refused": Field("[409]", "Certainly not applied.", "most of 4xx"),
    "answers.unsure": Field("[202]", "It may have been applied.", "5xx and a few others"),
    "applied_if": Field(
        "{at: /ok, equals: true}",
        "For targets that answer 2xx to everything: what the body says if it was applied.",
        "the status tells",
    ),
    "applied_if.at": Field("/ok", "JSON pointer into the answer."),
    "applied_if.equals": Field("true", "What stands there if it was applied. Anything else is a refusal."),
}
PUSH: Mapping[str, Field] = {
    "method": Field("PUT", "The method.", "`POST`"),
    "path": Field(
        "/invoices/{number}", "After `base_url`; `{name}` is a field or `{idempotency_key}`, percent-encoded."
    ),
    **REQUEST,
    "idempotency": Field(
        "key",
        "How a repeated write is recognised; see [below](#idempotency). `natural` is a PUT at the record's own path.",
    ),
    **WRITE,
    "receipt": Field(
        "{invoice_id: /data/id}",
        "What the receipt takes from the answer: name → JSON pointer. It is `receipt.fields` of the step.",
        "nothing",
    ),
    "effect": Field("destructive", "What a write is: `write`, or `destructive` if it takes something away.", "`write`"),
}
EXECUTED: Mapping[str, Field] = {
    "method": Field("POST", "The method; needed, but for `rpc`."),
    "path": Field("/invoices/{number}/cancel", "After `base_url`; `{name}` is a parameter, percent-encoded."),
    **REQUEST,
    "places": Field(
        "{trace: {in: header, name: X-Trace}}",
        "Where a parameter goes, by name: `query`, `header` or `body`; `name` is what it is called there.",
        "the query for GET and DELETE, else the body",
    ),
    "result_at": Field("/data", "JSON pointer to the result in the answer.", "the answer itself"),
    **WRITE,
}
_COMMON: Mapping[str, Field] = {
    "description": Field("Cancel an invoice that is not paid.", "What it does.", "empty"),
    "parameters": Field(
        "{number: {type: string}}", "Its parameters; one whose type allows null may be left out.", "none"
    ),
    "result": Field(
        "{type: object, properties: {id: {type: string}}}",
        "What it gives. A result that does not fit fails the step.",
        "anything",
    ),
    "effect": Field(
        "write", "`read`, `write`, or `destructive` if it takes something away. Reads go without the effect ledger."
    ),
    "idempotency": Field(
        "key", "How a repetition is recognised; see [below](#idempotency).", "needed unless `effect: read`"
    ),
    "reversible": Field("true", "Whether what it does can be taken back.", "`false`, `true` with `undone_by`"),
    "undone_by": Field("reopen-invoice", "The operation of this connector that takes it back.", "none"),
}
AUTH: Mapping[str, Field] = {
    "header": Field("{X-Api-Key: secret://local/erp}", "Headers.", "none"),
    "query": Field(
        "{api_key: secret://local/erp}", "Query parameters. Servers and proxies log them: the last resort.", "none"
    ),
    "body": Field("{/auth/token: secret://local/erp}", "Fields of the body, by name or JSON pointer.", "none"),
    "basic": Field("{username: stanchion, password: secret://local/erp}", "HTTP Basic.", "none"),
    "basic.username": Field("stanchion", "The user: a text or a reference."),
    "basic.password": Field("secret://local/erp", "The password."),
    "bearer": Field("{token: secret://local/erp}", "A token in the header Authorization.", "none"),
    "bearer.token": Field("secret://local/erp#token", "The token."),
    "bearer.scheme": Field("Token", "What stands before it.", "`Bearer`"),
    "oauth2": Field(
        "{grant: client_credentials, …}",
        "An access token that is fetched, kept until shortly before its end, and fetched once more after a 401.",
        "none",
    ),
    "oauth2.grant": Field("client_credentials", "`client_credentials` or `refresh_token`."),
    "oauth2.token_url": Field(
        "https://login.example/token", "The token endpoint. It is reached as if it stood in `egress.hosts`."
    ),
    "oauth2.client_id": Field("stanchion", "The client: a text or a reference."),
    "oauth2.client_secret": Field("secret://local/erp#client", "Its secret.", "needed for `client_credentials`"),
    "oauth2.refresh_token": Field(
        "secret://local/erp#refresh",
        "The refresh token. One that the server puts in its place is kept by the process alone.",
        "needed for `refresh_token`",
    ),
    "oauth2.client_auth": Field(
        "body", "How the client says who it is to the token endpoint: `basic` or in the `body`.", "`basic`"
    ),
    "oauth2.scope": Field("invoices.write", "The scope that is asked for.", "the server's"),
    "oauth2.audience": Field("https://erp.example", "The audience, where the server wants one.", "none"),
    "oauth2.resource": Field("https://erp.example", "The resource (RFC 8707), where the server wants one.", "none"),
    "sigv4": Field("{region: eu-central-1, service: execute-api, …}", "AWS Signature Version 4.", "none"),
    "sigv4.region": Field("eu-central-1", "The region."),
    "sigv4.service": Field("execute-api", "The service's signing name."),
    "sigv4.access_key_id": Field("secret://local/aws#id", "The key's id: a text or a reference."),
    "sigv4.secret_access_key": Field("secret://local/aws#key", "The key."),
    "sigv4.session_token": Field("secret://local/aws#session", "The session token of temporary keys.", "none"),
    "client_certificate": Field(
        "{certificate: secret://local/erp#cert, private_key: secret://local/erp#key}",
        "Mutual TLS; beside any of the others.",
        "none",
    ),
    "client_certificate.certificate": Field("secret://local/erp#cert", "The certificate with its chain, PEM."),
    "client_certificate.private_key": Field("secret://local/erp#key", "Its key, PEM, without a password."),
}


def executed() -> str:
    """What an operation of `execute` is, whatever its adapter."""
    whole: Mapping[str, Any] = document_schema(None, ())
    return fields(whole["properties"][EXECUTE]["additionalProperties"], _COMMON, "connector.execute")
