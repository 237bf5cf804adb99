"""The `objects` adapter's part of a connector's document, and what is wrong with it beyond its schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, cast
from urllib.parse import urlsplit

from stanchion.base import Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapters.paths import check_no_proxy, path_complaint
from stanchion.tools.records import types_of

Format = Literal["json", "jsonl", "csv", "text", "metadata"]

# What an object is by itself: fields that a resource may declare beside those of its content.
META_FIELDS: Final[Mapping[str, str]] = {
    "object_path": "string",
    "object_size": "integer",
    "object_modified": "string",
    "object_etag": "string",
}
TEXT_FIELD: Final = "text"
KEY_FIELD: Final = "idempotency_key"
SECRET: Final[Json] = {"type": "string", "pattern": "^secret://", "maxLength": 500}
_NAME: Json = {"type": "string", "minLength": 1, "maxLength": 300}
_OBJECT: Json = {"type": "string", "minLength": 1, "maxLength": 500}
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Schemes and what each may hold under `auth`.
SCHEMES: Final[Mapping[str, str]] = {"memory": "", "folder": "", "s3": "s3", "az": "azure", "gs": "gcs"}

SETTINGS_SCHEMA: Final[Mapping[str, Schema]] = {
    "store": {
        "type": "object",
        "required": ["url"],
        "additionalProperties": False,
        "properties": {
            "url": {"type": "string", "pattern": "^(memory|folder|s3|az|gs)://[^?#]*$", "maxLength": 500},
            "region": _NAME,
            "endpoint": {"type": "string", "pattern": "^https?://[^?#]*$", "maxLength": 500},
        },
    },
    "auth": {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            "s3": {
                "type": "object",
                "required": ["access_key_id", "secret_access_key"],
                "additionalProperties": False,
                "properties": {"access_key_id": _NAME, "secret_access_key": SECRET, "session_token": SECRET},
            },
            "azure": {
                "type": "object",
                "required": ["account_key"],
                "additionalProperties": False,
                "properties": {"account_key": SECRET},
            },
            "gcs": {
                "type": "object",
                "required": ["service_account_key"],
                "additionalProperties": False,
                "properties": {"service_account_key": SECRET},
            },
        },
    },
}
RESOURCE_SCHEMA: Final[Mapping[str, Schema]] = {
    "prefix": {"type": "string", "maxLength": 500},
    "suffix": {"type": "string", "minLength": 1, "maxLength": 100},
    "format": {"enum": ["json", "jsonl", "csv", "text", "metadata"]},
    "delimiter": {"type": "string", "pattern": r"^[,;|\t]\Z"},
}
OPERATION_SCHEMAS: Final[Mapping[str, Schema]] = {
    "fetch": {"type": "object", "additionalProperties": False, "properties": {}},
    "lookup": {
        "type": "object",
        "required": ["object"],
        "additionalProperties": False,
        "properties": {"object": _OBJECT},
    },
    "push": {
        "type": "object",
        "required": ["object", "idempotency"],
        "additionalProperties": False,
        "properties": {
            "object": _OBJECT,
            "idempotency": {"enum": ["key", "natural"]},
            "existing": {"enum": ["replace", "keep", "match"]},
            "effect": {"enum": ["write", "destructive"]},
        },
    },
}


def places(template: str) -> list[str]:
    """The names in the braces of an object's path."""
    return _PLACE.findall(template)


def filled(template: str, values: Mapping[str, Json]) -> str:
    """The path of one object: each `{name}` becomes one part of a path or a piece of one, never several.

    Raises ValueError, to follow "the record cannot be an object: ".
    """

    def piece(found: re.Match[str]) -> str:
        value = values.get(found[1])
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        # What stores, or the folder's file system, would read as another path, or write otherwise than we do.
        if not text or text in {".", ".."} or "/" in text or "\\" in text or len(text.encode()) > 200:
            raise ValueError(f"its {found[1]} is empty, too long or holds a slash")
        if any(ord(character) < 0x20 or character in '\x7f#%?*"<>|:' for character in text):
            raise ValueError(f"its {found[1]} holds a character that no path of an object may have")
        return text

    return _PLACE.sub(piece, template)


def scheme_of(store: Mapping[str, Json]) -> str:
    """The scheme of a store's URL."""
    return str(store["url"]).partition("://")[0]


def check_objects(body: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    """The store's address and credentials, and of each resource: paths, formats, and what its push relies on."""
    store = cast("Mapping[str, Json]", body["store"])
    yield from check_no_proxy(body)
    yield from _check_store(store, cast("Mapping[str, Json]", body.get("auth") or {}))
    for name, resource in cast("Mapping[str, Mapping[str, Json]]", body["resources"]).items():
        yield from _check_resource(f"/resources/{name}", resource, scheme_of(store))


def _issue(pointer: str, code: str, message: str, hint: str = "") -> ConfigIssue:
    return ConfigIssue(pointer=pointer, code=code, message=message, hint=hint)


def _check_store(store: Mapping[str, Json], auth: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    scheme, _, rest = str(store["url"]).partition("://")
    if "@" in rest:
        yield _issue("/store/url", "connector.credential", "The URL holds a user or password.", "Use `auth`.")
    if (complaint := path_complaint(rest)) is not None and scheme != "memory":
        yield _issue("/store/url", "connector.path_escapes", f"What follows {scheme}:// {complaint}.")
    elif scheme == "az" and len([part for part in rest.split("/") if part]) < 2:
        yield _issue(
            "/store/url", "connector.bad_store", "Azure needs an account and a container: az://ACCOUNT/CONTAINER."
        )
    for name in ("region", "endpoint"):
        if name in store and scheme != "s3":
            yield _issue(
                f"/store/{name}",
                "connector.unknown_field",
                f"A store of the scheme {scheme} has no {name}.",
                "Leave it out.",
            )
    if scheme == "s3" and "region" not in store:
        yield _issue(
            "/store", "connector.missing_field", "S3 needs the `region` of the bucket.", "Such as eu-central-1."
        )
    endpoint = urlsplit(str(store.get("endpoint", "https://x")))
    if endpoint.scheme == "http" and not re.fullmatch(r"[0-9.]+|[0-9a-f:]+", endpoint.hostname or ""):
        yield _issue(
            "/store/endpoint",
            "connector.bad_store",
            "Without TLS an endpoint is reached by its address alone, which nobody can answer for another.",
            "Write https://, or the address and not the name.",
        )
    if wrong := auth.keys() - {SCHEMES[scheme]}:
        yield _issue(
            f"/auth/{next(iter(wrong))}",
            "connector.unknown_field",
            f"A store of the scheme {scheme} takes {'`auth.' + SCHEMES[scheme] + '`' if SCHEMES[scheme] else 'no `auth`'}.",
        )


def _check_resource(pointer: str, resource: Mapping[str, Json], scheme: str) -> Iterator[ConfigIssue]:
    prefix = str(resource.get("prefix", ""))
    if prefix and (complaint := path_complaint(prefix)) is not None:
        yield _issue(f"{pointer}/prefix", "connector.path_escapes", f"The prefix {complaint}.")
    form, fields = str(resource["format"]), cast("Mapping[str, Mapping[str, Json]]", resource["fields"])
    if "delimiter" in resource and form != "csv":
        yield _issue(
            f"{pointer}/delimiter", "connector.unknown_field", f"The format {form} has no delimiter.", "Leave it out."
        )
    yield from _check_fields(pointer, form, fields)
    lookup = cast("Mapping[str, Json] | None", resource.get("lookup"))
    if lookup is not None:
        yield from _check_object(f"{pointer}/lookup/object", str(lookup["object"]), {"key"}, {"key"})
        if form in {"jsonl", "csv"}:
            yield _issue(
                f"{pointer}/lookup",
                "connector.not_offered",
                f"An object of the format {form} holds many records; a lookup reads one object with one record.",
                "Use `fetch` with `where`, or the format json, text or metadata.",
            )
    push = cast("Mapping[str, Json] | None", resource.get("push"))
    if push is not None:
        yield from _check_push(f"{pointer}/push", push, form, fields, scheme)


def _check_fields(pointer: str, form: str, fields: Mapping[str, Mapping[str, Json]]) -> Iterator[ConfigIssue]:
    for name, schema in fields.items():
        wanted = META_FIELDS.get(name)
        if wanted is not None and wanted not in types_of(schema):
            yield _issue(
                f"{pointer}/fields/{name}",
                "connector.bad_field",
                f"{name} is what the store says: of the type {wanted}.",
            )
        elif (form == "metadata" and wanted is None) or (form == "text" and wanted is None and name != TEXT_FIELD):
            has = ", ".join([*([TEXT_FIELD] if form == "text" else []), *META_FIELDS])
            yield _issue(
                f"{pointer}/fields/{name}",
                "connector.bad_field",
                f"The format {form} has no field {name}.",
                f"It has: {has}.",
            )


def _check_push(
    pointer: str, push: Mapping[str, Json], form: str, fields: Mapping[str, Mapping[str, Json]], scheme: str
) -> Iterator[ConfigIssue]:
    natural, existing = push["idempotency"] == "natural", str(push.get("existing", "replace"))
    yield from _check_object(
        f"{pointer}/object",
        str(push["object"]),
        {n for n in fields if n not in META_FIELDS} | {KEY_FIELD},
        set[str]() if natural else {KEY_FIELD},
    )
    if form not in {"json", "text"}:
        yield _issue(
            pointer, "connector.not_offered", f"A push writes one object, of the format json or text, not {form}."
        )
    if form == "text" and TEXT_FIELD not in fields:
        yield _issue(pointer, "connector.missing_field", "A push of the format text writes the field `text`.")
    if not natural and "existing" in push:
        yield _issue(
            f"{pointer}/existing",
            "connector.unknown_field",
            "With `idempotency: key` each write is an object of its own, which is never replaced.",
            "Leave it out.",
        )
    if existing == "match" and "null" not in types_of(fields.get("object_etag", {})):
        yield _issue(
            f"{pointer}/existing",
            "connector.missing_field",
            "`existing: match` compares the field `object_etag`, which is null for an object that is new.",
            'Declare: object_etag: {type: [string, "null"]}.',
        )
    if existing == "match" and scheme == "folder":
        yield _issue(
            f"{pointer}/existing",
            "connector.not_offered",
            "A folder cannot compare an object and replace it in one step.",
            "Use `keep`, which writes only what is not there.",
        )


def _check_object(pointer: str, template: str, known: set[str], needed: set[str]) -> Iterator[ConfigIssue]:
    used = places(template)
    plain = _PLACE.sub("x", template)
    if (complaint := path_complaint(plain)) is not None:
        yield _issue(pointer, "connector.path_escapes", f"The path {complaint}.")
    if "{" in plain or "}" in plain or "//" in plain or plain.endswith("/"):
        yield _issue(
            pointer,
            "connector.bad_path",
            "The path is not one of an object.",
            "Parts with slashes between them; {name} is a field.",
        )
    for name in sorted(set(used) - known):
        yield _issue(
            pointer,
            "connector.undeclared_parameter",
            f"The path uses {{{name}}}, which is not there.",
            f"It may use: {', '.join(f'{{{n}}}' for n in sorted(known))}.",
        )
    for name in sorted(needed - set(used)):
        yield _issue(
            pointer, "connector.unused_parameter", f"The path does not use {{{name}}}.", "Its meaning depends on it."
        )
