"""From an OpenAPI 3.0 or 3.1 document to a connector's document, ready for review. Pure; nothing is fetched.

What the document cannot say is said carefully: a method that is not GET writes, DELETE takes away, and no write is
recognised when repeated, unless the operation takes a header `Idempotency-Key`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

import yaml

from stanchion.base import Invalid, Json, loads
from stanchion.tools.adapters.http_openapi_schemas import Schemas

OPERATIONS_MAX: Final = 200
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_EFFECTS: Final = {"get": "read", "delete": "destructive"}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PATH: Final = re.compile(r"/[^?#\s]*")
_NAME_MAX: Final = 63
# Safe: it makes plain values alone; the one in C, where it is there.
_LOADER: Final = cast("Any", getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The connector's document, and what a reviewer should know: what was left out, what was guessed."""

    body: Mapping[str, Json]
    notes: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class _Draft:
    """One operation in the making."""

    path: str
    parameters: dict[str, Json] = field(default_factory=dict[str, "Json"])
    places: dict[str, Json] = field(default_factory=dict[str, "Json"])
    more: dict[str, Json] = field(default_factory=dict[str, "Json"])
    optional_body: bool = False
    key_header: str = ""


def import_openapi(
    document: object, *, name: str, owner: str, environment: str, base_url: str | None = None, under: str = ""
) -> Imported:
    """The connector that `document` describes, with its operations under the path `under`.

    Raises Invalid `openapi.unsupported`, `openapi.no_server`, `openapi.no_operations`.
    """
    body = _mapping(document)
    version = str(body.get("openapi", ""))
    if not version.startswith(("3.0", "3.1")):
        raise Invalid(
            "openapi.unsupported",
            "This is no OpenAPI document of version 3.0 or 3.1."
            + (" It is Swagger 2.0." if str(body.get("swagger", "")).startswith("2") else ""),
            hint="It begins with `openapi: 3.…`. Convert an older one first.",
        )
    return _Import(body, Schemas(body)).made(name, owner, environment, base_url, under)


def openapi_connector(
    data: bytes, *, name: str, owner: str, environment: str, base_url: str | None = None, under: str = ""
) -> Imported:
    """`import_openapi` of the bytes of a file, YAML or JSON. Raises Invalid `openapi.unreadable` too."""
    try:
        document: object = loads(data) if data.lstrip()[:1] == b"{" else yaml.load(data, Loader=_LOADER)  # noqa: S506 - it is the safe one
    except (Invalid, yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise Invalid(
            "openapi.unreadable", "The OpenAPI document is neither JSON nor YAML.", hint=str(error)[:300]
        ) from None
    return import_openapi(document, name=name, owner=owner, environment=environment, base_url=base_url, under=under)


class _Import:
    """One import. `notes` collects what the reviewer should know."""

    def __init__(self, body: Mapping[str, Any], schemas: Schemas) -> None:
        self._body = body
        self._schemas = schemas
        self._notes: list[str] = []

    def made(self, name: str, owner: str, environment: str, base_url: str | None, under: str) -> Imported:
        operations: dict[str, Json] = {}
        left = 0
        for path, method, item, operation in self._operations(under):
            if len(operations) == OPERATIONS_MAX:
                left += 1
                continue
            made = self._operation(path, method, item, operation)
            if made is not None:
                operations[self._named(operation, method, path, operations)] = made
        if not operations:
            raise Invalid(
                "openapi.no_operations",
                "The document has no operation that a connector can hold" + (f" under {under}." if under else "."),
                hint="; ".join(self._notes[:5]) or "Its `paths` are empty, or under another path.",
            )
        if left:
            self._notes.append(
                f"{left} more operations were left out: a connector has at most {OPERATIONS_MAX}; take parts by --under."
            )
        info = _mapping(self._body.get("info"))
        url = self._url(base_url)
        auth = self._auth(name)
        document: dict[str, Json] = {
            "connector": name,
            "description": _line(str(info.get("title") or name), 300),
            "owner": owner,
            "adapter": "http",
            "environment": environment,
            "base_url": url,
            **({"auth": auth} if auth else {}),
            "execute": operations,
        }
        if auth and url.startswith("http://"):
            self._notes.append("The server has no TLS: credentials go only to hosts listed under `egress.private`.")
        if any(_mapping(made).get("idempotency") == "none" for made in operations.values()):
            self._notes.append(
                "Writes say `idempotency: none`: a lost answer is asked of a person. Say `natural`, `key` or `probe` where it holds."
            )
        return Imported(body=document, notes=tuple(dict.fromkeys([*self._notes, *self._schemas.notes])))

    def _operations(self, under: str) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
        for path, found in _mapping(self._body.get("paths")).items():
            item = _mapping(self._schemas.resolved(found))
            for method in _METHODS:
                if method in item and path.startswith(under):
                    yield path, method, item, _mapping(item[method])

    def _named(self, operation: Mapping[str, Any], method: str, path: str, taken: Mapping[str, Json]) -> str:
        """A name for the operation: its id in small letters, or method and path; with a number if that is taken."""
        said = str(operation.get("operationId") or f"{method}-{path}")
        slug = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", said)
        slug = re.sub(r"[^a-z0-9]+", "-", slug.lower()).strip("-")
        slug = (slug if slug[:1].isalpha() else f"call-{slug}")[:_NAME_MAX].rstrip("-")
        number, found = 2, slug
        while found in taken:
            found, number = f"{slug[: _NAME_MAX - 4]}-{number}", number + 1
        return found

    def _operation(
        self, path: str, method: str, item: Mapping[str, Any], operation: Mapping[str, Any]
    ) -> dict[str, Json] | None:
        where = f"{method.upper()} {path}"
        draft = _Draft(path=path)
        reason = self._parameters(draft, item, operation) or self._request(draft, method, operation)
        bare = re.sub(r"\{[A-Za-z_][A-Za-z0-9_]*\}", "", draft.path)
        if reason is None and (not _PATH.fullmatch(draft.path) or "{" in bare or len(draft.path) > 1000):
            reason = "its path has a part that no parameter fills"
        if reason is not None:
            self._notes.append(f"{where} was left out: {reason}.")
            return None
        effect = _EFFECTS.get(method, "write")
        made: dict[str, Json] = {
            "description": _described(operation, where),
            "method": method.upper(),
            "path": draft.path,
            "effect": effect,
        }
        if effect != "read":
            made["idempotency"] = "key" if draft.key_header else "none"
            if draft.key_header and draft.key_header.lower() != "idempotency-key":
                made["key_header"] = draft.key_header
        if draft.parameters:
            made["parameters"] = draft.parameters
        if draft.places:
            made["places"] = draft.places
        if draft.optional_body:
            made["nulls"] = "omit"
        made |= draft.more
        result = self._result(operation)
        if result:
            made["result"] = result
        return made

    def _parameters(self, draft: _Draft, item: Mapping[str, Any], operation: Mapping[str, Any]) -> str | None:
        """Parameters of path, query and header; why the operation cannot be called, or None."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for raw in [*_list(item.get("parameters")), *_list(operation.get("parameters"))]:
            parameter = _mapping(self._schemas.resolved(raw))
            found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
        for (place, name), parameter in found.items():
            needed = place == "path" or parameter.get("required") is True
            if place == "header" and name.lower() in {"accept", "content-type", "authorization"}:
                continue
            if place == "header" and name.lower() in {"idempotency-key", "x-idempotency-key"}:
                draft.key_header = name
                continue
            if place not in {"path", "query", "header"}:
                if needed:
                    return f"it needs the {place} {name}"
                continue
            ident = _identifier(name, draft.parameters)
            content = _mapping(next(iter(_mapping(parameter.get("content")).values()), None))
            schema = parameter.get("schema", content.get("schema"))
            draft.parameters[ident] = self._schemas.parameter(schema, optional=not needed, about=parameter)
            if place == "path":
                draft.path = draft.path.replace(f"{{{name}}}", f"{{{ident}}}")
            else:
                draft.places[ident] = {"in": place, **({"name": name} if name != ident else {})}
        return None

    def _request(self, draft: _Draft, method: str, operation: Mapping[str, Any]) -> str | None:
        """The body's fields as parameters, or one parameter `body` for what is no object."""
        request = _mapping(self._schemas.resolved(operation.get("requestBody")))
        content = _mapping(request.get("content"))
        if not content or method == "get":
            return None
        if method == "delete":
            return "a DELETE with a body" if request.get("required") is True else None
        kind = _json_type(content)
        form = kind is None and "application/x-www-form-urlencoded" in content
        if form:
            draft.more["encoding"] = "form"
            kind = "application/x-www-form-urlencoded"
        if kind is None:
            return f"it takes {', '.join(list(content)[:3])} and no JSON or form"
        return self._taken(draft, _mapping(content[kind]).get("schema"), form=form)

    def _taken(self, draft: _Draft, schema: object, *, form: bool) -> str | None:
        fields = self._schemas.fields(schema)
        if fields is None:
            if form:
                return "its form is no object"
            ident = _identifier("body", draft.parameters)
            draft.parameters[ident] = self._schemas.parameter(schema, optional=False, about={})
            draft.more["body"] = f"{{{ident}}}"
            return None
        for name, (inner, needed) in fields.items():
            ident = _identifier(name, draft.parameters)
            draft.optional_body |= not needed
            draft.parameters[ident] = self._schemas.parameter(inner, optional=not needed, about={})
            if ident != name:
                draft.places[ident] = {"in": "body", "name": name}
        return "it has more than 100 parameters" if len(draft.parameters) > 100 else None

    def _result(self, operation: Mapping[str, Any]) -> dict[str, Json]:
        for status, raw in sorted(_mapping(operation.get("responses")).items(), key=lambda entry: str(entry[0])):
            if str(status).startswith("2"):
                content = _mapping(_mapping(self._schemas.resolved(raw)).get("content"))
                kind = _json_type(content)
                if kind is not None:
                    return self._schemas.result(_mapping(content[kind]).get("schema"))
        return {}

    def _url(self, given: str | None) -> str:
        if given is not None:
            return given
        server = _mapping(next(iter(_list(self._body.get("servers"))), None))
        url = str(server.get("url", ""))
        for name, variable in _mapping(server.get("variables")).items():
            url = url.replace(f"{{{name}}}", str(_mapping(variable).get("default", "")))
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.username or parts.query:
            raise Invalid(
                "openapi.no_server",
                "The document names no server by an absolute URL.",
                hint="Say it: --base-url https://host/path",
            )
        return url.rstrip("/")

    def _auth(self, name: str) -> dict[str, Json]:
        """`auth` of the first requirement that can be met, with references for the secrets to set."""
        schemes = _mapping(_mapping(self._body.get("components")).get("securitySchemes"))
        wanted = [_mapping(entry) for entry in _list(self._body.get("security"))] or [{n: []} for n in schemes]
        for requirement in wanted:
            made: dict[str, Json] = {}
            fine = True
            for scheme in requirement:
                part = _auth_of(_mapping(self._schemas.resolved(schemes.get(scheme))), f"secret://local/{name}")
                fine = fine and part is not None and not set(part) & set(made)
                made |= part or {}
            if fine and made:
                self._notes.append(
                    f"Set its credentials: `stanchion secret set {name}`; `auth` says which fields it needs."
                )
                return made
        if schemes:
            self._notes.append("None of its ways to sign in is one that `auth` has; write it by hand.")
        return {}


def _auth_of(scheme: Mapping[str, Any], secret: str) -> dict[str, Json] | None:
    kind, how = scheme.get("type"), str(scheme.get("scheme", "")).lower()
    if kind == "http" and how == "basic":
        return {"basic": {"username": f"{secret}#username", "password": f"{secret}#password"}}
    if kind == "http" and how == "bearer":
        return {"bearer": {"token": f"{secret}#token"}}
    if kind == "apiKey" and scheme.get("in") in {"header", "query"}:
        return {str(scheme["in"]): {str(scheme.get("name")): f"{secret}#key"}}
    if kind == "mutualTLS":
        return {"client_certificate": {"certificate": f"{secret}#certificate", "private_key": f"{secret}#private-key"}}
    flow = _mapping(_mapping(scheme.get("flows")).get("clientCredentials"))
    if kind == "oauth2" and str(flow.get("tokenUrl", "")).startswith("https://"):
        scopes = " ".join(_mapping(flow.get("scopes")))
        return {
            "oauth2": {
                "grant": "client_credentials",
                "token_url": str(flow["tokenUrl"]),
                "client_id": f"{secret}#client-id",
                "client_secret": f"{secret}#client-secret",
                **({"scope": scopes[:500]} if scopes else {}),
            }
        }
    return None


def _json_type(content: Mapping[str, Any]) -> str | None:
    for kind in content:
        plain = kind.split(";")[0].strip().lower()
        if plain == "application/json" or plain.endswith("+json"):
            return kind
    return None


def _identifier(name: str, taken: Mapping[str, Json]) -> str:
    """The name as expressions can select it, with a number if that is taken."""
    ident = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "value"
    ident = (ident if not ident[0].isdigit() else f"_{ident}")[:60]
    if _IDENTIFIER.fullmatch(name):
        ident = name
    number, found = 2, ident
    while found in taken or found in {"arguments", "idempotency_key"}:
        found, number = f"{ident[:58]}_{number}", number + 1
    return found


def _described(operation: Mapping[str, Any], where: str) -> str:
    said = _line(str(operation.get("summary") or operation.get("description") or where), 300)
    return f"Deprecated. {said}" if operation.get("deprecated") is True else said


def _line(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1].rstrip() + "…"


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
