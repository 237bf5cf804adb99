"""The document of a config: reading it, with all that is wrong with it at its place.

```yaml
config: risk-limits
owner: casework
values:
  fine_eur: 100000
  countries: [DE, FR]
environments:
  production: {fine_eur: 50000}
```
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, cast

from stanchion.base import Json, nearest
from stanchion.blueprints.about import ABOUT_PROPERTIES
from stanchion.blueprints.check import Fault, check_document, in_order, to_issue
from stanchion.blueprints.json_schema import (
    SCHEMA_OF_SCHEMAS,
    closed,
    dangling,
    misfits,
    validate_value,
    with_defaults,
)
from stanchion.blueprints.reader import Positions
from stanchion.blueprints.types import Document, Issue, Lookup, Parsed, Schema, Specimen
from stanchion.blueprints.values.inference import inferred
from stanchion.blueprints.values.reading import overlaid, overlays
from stanchion.blueprints.verbs import RESERVED

# Environments that need no naming (DESIGN §2); a near miss of one of them is rather misspelt than another one.
_ENVIRONMENTS: Final = ("local", "development", "staging", "sandbox", "production")
_KEY: Final[Json] = {"minLength": 1, "maxLength": 128}

CONFIG_SCHEMA: Final[dict[str, Json]] = {
    "type": "object",
    "additionalProperties": False,
    "x-label": "field of a config",
    "required": ["config", "owner", "values"],
    "properties": {
        "config": {
            "type": "string",
            "pattern": "^[a-z][a-z0-9-]{0,62}$",
            "description": "A name has lower-case letters, digits and hyphens, and begins with a letter.",
        },
        "description": {"type": "string", "maxLength": 4000},
        "owner": {
            "type": "string",
            "minLength": 1,
            "maxLength": 200,
            "description": "the team that answers for it",
        },
        **ABOUT_PROPERTIES,
        "schema": {"$ref": "#/$defs/schema"},
        "values": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1000,
            "propertyNames": _KEY,
            "description": "each name with its value",
        },
        "environments": {
            "type": "object",
            "maxProperties": 100,
            "propertyNames": {
                "pattern": "^[a-z][a-z0-9-]{0,62}$",
                "description": "An environment's name has lower-case letters, digits and hyphens.",
            },
            "additionalProperties": {"type": "object", "propertyNames": _KEY},
            "description": "by environment, the values that are different there",
        },
    },
    "$defs": SCHEMA_OF_SCHEMAS["$defs"],
}


_SPECIMEN: Final = """\
config: specimen-config
owner: specimen
values: {word: first}
"""
_SPECIMEN_USE: Final = """\
blueprint: specimen-of-config
owner: specimen
steps:
  - id: words
    transform: {value: "${config.specimen_config.word}"}
output: ${steps.words.value}
"""


class ConfigKind:
    """Fills `artifacts.KindSpec`: how a document of kind `config` is read."""

    kind = "config"
    refs = frozenset[str]()
    specimen: Specimen | None = Specimen(
        first=Document(path="specimen-config.yaml", source=_SPECIMEN),
        second=Document(path="specimen-config.yaml", source=_SPECIMEN.replace("first", "second")),
        others=(Document(path="specimen-of-config.yaml", source=_SPECIMEN_USE),),
    )

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """The document's name, body, owner and all its issues. Never raises for what the author wrote."""
        del lookup  # a config refers to no other artifact
        value, issues, positions = check_document(document, CONFIG_SCHEMA)
        body = value if isinstance(value, dict) else dict[str, Json]()
        found = [*issues]
        if not any(issue.severity == "error" for issue in issues):
            found += [to_issue(fault, positions) for fault in _faults(body)]
            found += _doubts(body, positions)
        name, owner = body.get("config"), body.get("owner")
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=body,
            owner=owner if isinstance(owner, str) else "",
            references=(),
            issues=in_order(found),
        )


def _faults(body: Mapping[str, Json]) -> Iterable[Fault]:
    """What is wrong with a document that fits its schema."""
    name = str(body["config"])
    if name in RESERVED:
        message = f"{name} is a word of the expression language, so config.{name} could not be read."
        yield Fault(pointer="/config", code="config.reserved", message=message, hint=f"Call it {name}-values.")
    declared = body.get("schema")
    if not isinstance(declared, dict):
        yield from inferred(cast("dict[str, Json]", body["values"]), overlays(body))[1]
        return
    wrong = list(_schema_faults(declared))
    yield from wrong
    if not wrong:
        yield from _misfits(body, closed({**declared, "type": "object"}))


def _schema_faults(declared: dict[str, Json]) -> Iterator[Fault]:
    if declared.get("type", "object") != "object":
        message = "The values of a config are an object."
        yield Fault(pointer="/schema/type", code="document.schema", message=message, hint="Write type: object.")
        return
    for pointer, message, hint in dangling(declared, "/schema") or misfits(declared, "/schema"):
        yield Fault(pointer=pointer, code="document.schema", message=message, hint=hint)
    for pointer in _sensitive(declared, "/schema"):
        message = "A config is read by everybody who may read artifacts; nothing in it is sensitive."
        hint = "Keep a secret with a connector, as a secret:// reference."
        yield Fault(pointer=pointer, code="config.sensitive", message=message, hint=hint, at_key=True)


def _sensitive(schema: Json, pointer: str) -> Iterator[str]:
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _sensitive(item, f"{pointer}/{index}")
    if not isinstance(schema, dict):
        return
    if schema.get("sensitive") is True:
        yield f"{pointer}/sensitive"
    properties = schema.get("properties")
    for name, item in properties.items() if isinstance(properties, dict) else ():
        yield from _sensitive(item, f"{pointer}/properties/{name.replace('~', '~0').replace('/', '~1')}")
    for keyword in ("items", "additionalProperties", "anyOf", "oneOf"):
        yield from _sensitive(schema.get(keyword), f"{pointer}/{keyword}")


def _misfits(body: Mapping[str, Json], schema: Schema) -> Iterator[Fault]:
    """Values that do not fit the declared schema: those that hold everywhere, then what each environment makes of them."""
    values = cast("dict[str, Json]", body["values"])
    everywhere = validate_value(schema, with_defaults(schema, values))
    for pointer, message in everywhere:
        yield _misfit(values, "/values", pointer, message)
    for environment, overlay in overlays(body).items():
        made = with_defaults(schema, overlaid(values, overlay))
        for pointer, message in validate_value(schema, made):
            if (pointer, message) not in everywhere:
                yield _misfit(dict(overlay), f"/environments/{environment}", pointer, f"In {environment}: {message}")


def _misfit(written: Json, base: str, pointer: str, message: str) -> Fault:
    """A fault at as much of `pointer` as is written here; the rest comes from elsewhere, or is missing."""
    at = base
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(written, dict) and key in written:
            written = written[key]
        elif isinstance(written, list) and key.isdigit() and int(key) < len(written):
            written = written[int(key)]
        else:
            break
        at += f"/{token}"
    hint = "Correct the value, or what schema says of it."
    # What is missing is wrong with the key above it; what should not be there, with its own.
    at_key = at == base or "is no declared property" in message
    return Fault(pointer=at, code="config.misfit", message=message, hint=hint, at_key=at_key)


def _doubts(body: Mapping[str, Json], positions: Positions) -> Iterator[Issue]:
    """Warnings: what may be meant as written, and rather is not."""
    for environment in overlays(body):
        if environment not in _ENVIRONMENTS and (near := nearest(environment, _ENVIRONMENTS)):
            message = f"{environment} is read only where the environment is called so."
            yield _warning(
                f"/environments/{environment}",
                "config.environment",
                message,
                f"Did you mean {near}?",
                positions,
                at_key=True,
            )
    for place, value in (("/values", body.get("values")), ("/environments", body.get("environments"))):
        for pointer in _templates(value, place):
            message = "Values are literal: ${ } is not evaluated here."
            hint = "Compute the text where it is used, from the parts that the config holds."
            yield _warning(pointer, "config.literal", message, hint, positions)


def _templates(value: Json, pointer: str) -> Iterator[str]:
    if isinstance(value, str):
        if "${" in value:
            yield pointer
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _templates(item, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _templates(item, f"{pointer}/{index}")


def _warning(pointer: str, code: str, message: str, hint: str, positions: Positions, *, at_key: bool = False) -> Issue:
    fault = Fault(pointer=pointer, code=code, message=message, hint=hint, at_key=at_key)
    return replace(to_issue(fault, positions), severity="warning")
