"""The fields of a connector's document: the common part, and per adapter its settings and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from docs.generator import connectors_http
from docs.generator.connectors_further import FURTHER
from docs.generator.parts import deployment
from docs.generator.tables import Field, code, fields, table

from stanchion.tools.adapters.http import PAGES_MAX
from stanchion.tools.adapters.http_paging import PAGE_NEEDS
from stanchion.tools.adapters.mcp.adapter import RELIST_S
from stanchion.tools.connectors.build import TIMEOUT_S_DEFAULT
from stanchion.tools.connectors.schema import document_schema
from stanchion.tools.egress import MAX_BYTES_DEFAULT
from stanchion.tools.types import OUTPUT_BYTES_MAX, RECORDS_MAX

_DOCUMENT = {
    "connector": Field("casebook", "The name by which Blueprints reach it."),
    "description": Field("The casebook, read only.", "What it is.", "empty"),
    "owner": Field("casework", "The team that answers for it."),
    "labels": Field("{team: casework}", "Texts by which it is found; part of the version.", "none"),
    "risk": Field("high", "What a mistake in it can do; policy says which releases a level permits.", "`low`"),
    "adapter": Field("sql", "Which kind of system; the sections below."),
    "environment": Field(
        "local", "The one environment it belongs to. A deployment writes only through connectors of its own."
    ),
    "egress": Field(
        "{private: [10.1.0.0/16]}",
        "Where it may connect to, beside the host that its URL names; see [Allow a private host](../howto/allow-a-private-host.md).",
        "that host alone, at public addresses",
    ),
    "egress.hosts": Field(
        "[files.register.example]",
        "Further hosts that redirects and links may lead to, as `host` (port 443) or `host:port`.",
        "none",
    ),
    "egress.private": Field(
        "[10.1.0.0/16, erp.internal]",
        "Networks, addresses and hosts that may be reached though they are not public: loopback, private, link-local and the like. "
        "Never metadata addresses.",
        "none",
    ),
    "egress.proxy": Field(
        "http://proxy.internal:3128", "The HTTP proxy to go through.", "`tools.proxy` of the deployment"
    ),
    "egress.ca_file": Field(
        "erp-ca.pem",
        "Certificate authorities (PEM) to trust instead of the system's, below the connectors' folder.",
        "the system's",
    ),
    "egress.max_bytes": Field("1048576", "Largest body of one answer, decompressed.", f"`{MAX_BYTES_DEFAULT}`"),
    "timeout": Field(
        "5s",
        "How long one call may take: 100ms to 10m. A step's `timeout` bounds the whole attempt.",
        f"`{TIMEOUT_S_DEFAULT:g}s`",
    ),
    "limits": Field(
        "{calls_per_s: 20, burst: 40, concurrent: 8}",
        "How much of the target all processes together take; see [Rate limits](../explanation/broker.md#rate-limits).",
        "none",
    ),
    "limits.calls_per_s": Field("20", "Calls that begin in a second, on average.", "no limit"),
    "limits.burst": Field(
        "40", "Calls that may begin at once after a pause; with `calls_per_s`.", "what a second allows"
    ),
    "limits.concurrent": Field("8", "Calls at the same time.", "no limit"),
    "resources": Field(
        "{cases: {…}}", "The kinds of records it offers, by name (lower case).", "needed without `execute`"
    ),
    "execute": Field(
        "{close-case: {…}}", "The operations it offers to EXECUTE, by name; see [below](#an-operation).", "none"
    ),
}
_RESOURCE = {
    "description": Field("Open and closed cases.", "What a record is.", "empty"),
    "key": Field("case_id", "The field that names one record; needed for `lookup`. A text or a whole number.", "none"),
    "fields": Field(
        '{case_id: {type: string}, paid: {type: [boolean, "null"]}}',
        "Each field and its JSON Schema. Reads return all of them and nothing else; a PUSH gives all that may not be null.",
    ),
    "fetch": Field("{…}", "How many records are read, by adapter.", "cannot be fetched"),
    "lookup": Field("{…}", "How one record is read by its key.", "cannot be looked up"),
    "push": Field("{…}", "How one record is written.", "cannot be written"),
}
_STATEMENT = "Exactly one SQL statement. Parameters are `:name`, never text put together."
_EFFECT = Field("destructive", "What a write is: `write`, or `destructive` if it takes something away.", "`write`")
_ADAPTERS: Mapping[str, Mapping[str, Mapping[str, Field]]] = {
    "sql": {
        "": {
            "database": Field("{driver: sqlite, path: casebook.sqlite}", "Which database."),
            "database.driver": Field("postgresql", "Which kind."),
            "database.path": Field(
                "casebook.sqlite",
                "SQLite: the file, below the [connectors' folder](settings.md). It must exist.",
                "needed for `sqlite`",
            ),
            "database.url_file": Field(
                "outcomes.url",
                "PostgreSQL: a file of mode 0600 below the connectors' folder with one line, the URL with its password.",
                "needed for `postgresql` without `url`",
            ),
            "database.url": Field(
                "postgresql://robot@db.example/cases?sslmode=verify-full",
                "PostgreSQL: the URL, without a password.",
                "needed for `postgresql` without `url_file`",
            ),
            "database.password": Field("secret://local/cases", "The password of `url`, by reference.", "none"),
        },
        "fetch": {
            "statement": Field(
                "select … from cases where status = :status order by case_id",
                _STATEMENT + " It uses every declared parameter. `order by` it: pages are positions.",
            ),
            "parameters": Field(
                "{status: {type: string, enum: [open, closed]}}",
                "The parameters of `where`. One whose type allows null may be left out and is then null.",
                "none",
            ),
        },
        "lookup": {"statement": Field("select … from cases where case_id = :key", _STATEMENT + " It uses `:key`.")},
        "push": {
            "statement": Field(
                "insert into outcomes (case_id, key) values (:case_id, :idempotency_key)",
                _STATEMENT + " It may use every field and `:idempotency_key`.",
            ),
            "idempotency": Field("probe", "How a repeated write is recognised; see [below](#idempotency)."),
            "probe": Field(
                "select 1 from outcomes where key = :idempotency_key",
                "With `idempotency: probe`: gives a row if the write is there.",
                "needed for `probe`",
            ),
            "effect": _EFFECT,
        },
    },
    "files": {
        "": {"root": Field("register", "The folder of its files, below the connectors' folder.")},
        "resource": {
            "file": Field(
                "outcomes.jsonl", "The file; its ending says the format, `.jsonl` or `.csv` (with a header line)."
            ),
            "delimiter": Field(
                '";"', 'What separates the columns of a CSV file: `,` `;` `|` or a tab (`"\\t"`).', "`,`"
            ),
        },
        "fetch": {},
        "lookup": {},
        "push": {
            "idempotency": Field(
                "probe",
                "Each line carries the key in the field `idempotency_key`; the file is asked for it before a line is appended.",
            ),
            "effect": _EFFECT,
        },
    },
    "http": {
        "": {
            "base_url": Field(
                "https://register.example/api",
                "Scheme, host and path before every operation's path. Calls go there and to `egress.hosts` alone.",
            ),
            "headers": Field(
                "{Accept-Language: en}", "Constant headers. Those that carry credentials are refused.", "none"
            ),
            "auth": Field(
                "{bearer: {token: secret://local/erp}}", "Its credentials; see [below](#credentials).", "none"
            ),
            **{f"auth.{name}": field for name, field in connectors_http.AUTH.items()},
        },
        "fetch": {
            "path": Field("/countries/{country}/cases", "After `base_url`; `{name}` is a parameter, percent-encoded."),
            "parameters": Field(
                "{country: {type: string}}",
                "The parameters of `where`: those that `path` does not name go into the query.",
                "none",
            ),
            "query": Field("{state: open}", "Constant query parameters.", "none"),
            "records": Field("/data/items", "JSON pointer to the list in the answer.", "the answer itself"),
            "page": Field("{style: link}", "How the API continues; see [below](#paging).", "one page"),
            "page.style": Field("cursor", "Which way."),
            "page.parameter": Field("after", "The query parameter that says where to go on."),
            "page.next": Field("/meta/next", "JSON pointer to the next cursor."),
            "page.size_parameter": Field("limit", "The query parameter that says how many."),
            "page.size": Field("100", "How many records a page has."),
            "page.first": Field("1", "The number of the first page.", "`1`"),
        },
        "lookup": {
            "path": Field("/cases/{key}", "It uses `{key}`. The status 404 means that there is no such record."),
            "query": Field("{expand: all}", "Constant query parameters.", "none"),
            "records": Field("/data", "JSON pointer to the record in the answer.", "the answer itself"),
        },
        "push": connectors_http.PUSH,
        "execute": connectors_http.EXECUTED,
    },
    "mcp": {
        "": {
            "transport": Field("stdio", "How the server is reached: a command that runs in a box, or streamable HTTP."),
            "command": Field(
                "node",
                "The program: a name in `/usr/local/bin` or `/usr/bin`, or a path below one of `folders`. No shell reads it.",
                "needed for `stdio`",
            ),
            "args": Field("[server/index.js, /connectors/documents]", "Its arguments, as they are.", "none"),
            "folders": Field(
                "[{path: server}, {path: documents, writable: true}]",
                "The folders that it sees, below the connectors' folder, `writable` if it may write there; in the box each stands "
                "at `/connectors/PATH`. Its working folder is `/connectors`.",
                "none",
            ),
            "network": Field(
                "true",
                "Whether it gets the network of the broker, all of it: `egress` does not hold for it.",
                "`false`",
            ),
            "url": Field("https://tools.example/mcp", "The server's address.", "needed for `http`"),
            "auth": Field(
                "{bearer: {token: secret://local/tools-token}}", "Its credentials, as references; `http` alone.", "none"
            ),
            **{
                f"auth.{name}": field
                for name, field in connectors_http.AUTH.items()
                if name.split(".")[0] in {"header", "basic", "bearer", "oauth2"}
            },
            "relist": Field(
                "0", "How old the server's list of tools may be before a call, in seconds.", f"`{RELIST_S:g}`"
            ),
        },
        "execute": {
            "tool": Field("getTinyImage", "The tool's name at the server.", "the operation's name"),
            "digest": Field(
                "sha256:…", "The digest of name and definition, as `stanchion connector discover` writes it."
            ),
            "definition": Field(
                "{description: …, inputSchema: {…}}", "What was reviewed: the tool as its server lists it."
            ),
            "definition.title": Field("Tiny image", "As listed.", "none"),
            "definition.description": Field("Returns an image.", "As listed.", "none"),
            "definition.inputSchema": Field("{type: object}", "As listed; arguments are held to it before a call."),
            "definition.outputSchema": Field(
                "{type: object}", "As listed; structured content is held to it after a call.", "none"
            ),
            "definition.annotations": Field(
                "{readOnlyHint: true}", "As listed. Hints make `effect` stricter, never milder.", "none"
            ),
            "key_argument": Field(
                "request_id",
                "The argument by which the tool takes an idempotency key.",
                "needed for `idempotency: key`",
            ),
            "error_means": Field(
                "nothing_written",
                "What it means if a tool that writes says that it failed: `unknown` leaves it open whether it wrote.",
                "`unknown`",
            ),
        },
    },
    **FURTHER,
}
_STYLES = {
    "link": 'the header `Link: <…>; rel="next"`',
    "cursor": "the answer names the next cursor, which goes into `parameter`",
    "offset": "`parameter` counts records; a page with fewer than `size` is the last",
    "page": "`parameter` counts pages; a page with fewer than `size` is the last",
}


def _common() -> str:
    schema = document_schema(None, tuple(deployment().adapters.by_name))
    return fields(schema, _DOCUMENT, "connector")


def _resource() -> str:
    adapter = deployment().adapters.by_name["sql"]
    whole: Mapping[str, Any] = document_schema(adapter, ("sql",))
    resource = dict(whole["properties"]["resources"]["additionalProperties"])
    flat = {
        name: {k: v for k, v in inner.items() if k != "properties"} for name, inner in resource["properties"].items()
    }
    return fields({**resource, "properties": flat}, _RESOURCE, "connector.resource")


def _adapter(name: str) -> str:
    adapter = deployment().adapters.by_name[name]
    said = _ADAPTERS[name]
    parts: list[tuple[str, str, Mapping[str, Any]]] = [
        (
            "",
            "Beside the common fields:",
            {"properties": adapter.settings_schema, "required": adapter.settings_required},
        ),
        ("resource", "In a resource:", {"properties": adapter.resource_schema, "required": adapter.resource_required}),
        *((verb, f"`{verb}`:", schema) for verb, schema in adapter.operation_schemas.items()),
    ]
    if superfluous := said.keys() - {key for key, _, _ in parts}:
        raise SystemExit(f"connectors: {name} has no {', '.join(superfluous)}")
    out: list[str] = []
    for key, heading, schema in parts:
        if schema["properties"]:
            out.append(f"{heading}\n\n{fields(schema, said.get(key, {}), f'{name}.{key}')}")
        elif key in adapter.operation_schemas:
            out.append(f"{heading} no fields; write `{key}: {{}}`.\n")
    out += [f"`{verb}` is refused: {reason}\n" for verb, reason in adapter.refused.items()]
    return "\n".join(out)


def _paging() -> str:
    if PAGE_NEEDS.keys() != _STYLES.keys():
        raise SystemExit("connectors: the styles of paging differ")
    return table(
        ("style", "goes on by", "needs", "may have"),
        [
            (code(style), _STYLES[style], _names(needed), _names(allowed))
            for style, (needed, allowed) in PAGE_NEEDS.items()
        ],
    )


def _names(names: frozenset[str]) -> str:
    return ", ".join(code(name) for name in sorted(names)) or "–"


def _limits() -> str:
    return table(
        ("limit", "value"),
        [
            ("records of one FETCH", f"{RECORDS_MAX:,}"),
            ("bytes of one step's output", f"{OUTPUT_BYTES_MAX:,}"),
            ("`http`: bytes of one answer, unless `egress.max_bytes` says otherwise", f"{MAX_BYTES_DEFAULT:,}"),
            ("`http`: pages of one FETCH", f"{PAGES_MAX:,}"),
        ],
    )


PARTS: Mapping[str, Callable[[], str]] = {
    "connectors.document": _common,
    "connectors.resource": _resource,
    "connectors.paging": _paging,
    "connectors.execute": connectors_http.executed,
    "connectors.limits": _limits,
    **{f"connectors.{name}": partial(_adapter, name) for name in _ADAPTERS},
}
