"""Records: what a target gives becomes the types a resource declares, and what is written is held to them.

Only declared fields pass, and every declared field is there: expressions of a Blueprint are typed by these schemas,
so a value of another type must stop here, at its record and field, and nowhere later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import cast
from uuid import UUID

from jsonschema import Draft202012Validator

from stanchion.base import Invalid, Json, loads
from stanchion.blueprints import Schema, validate_value
from stanchion.tools.adapter import Target
from stanchion.tools.types import Record

_NUMBER = (int, float, Decimal)
# A field with no keyword beyond these needs no validator.
_PLAIN = frozenset({"type", "title", "description", "default", "examples", "sensitive"})
_NUMERAL = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\s*")
# What a format wants, in words; the meaning is that of `validate_value`.
_WANTED: Mapping[str, str] = {
    "decimal": "a decimal such as 12.50",
    "date": "a date such as 2026-03-31",
    "date-time": "a date-time with its time zone, such as 2026-03-31T12:00:00Z",
    "email": "an email address",
    "uri": "a URI",
    "uuid": "a UUID",
}


def types_of(schema: Schema) -> tuple[str, ...]:
    """The types a field's schema allows, `type` being one name or a list."""
    declared = schema.get("type")
    if isinstance(declared, str):
        return (declared,)
    return tuple(str(t) for t in declared) if isinstance(declared, list) else ()


def read_record(target: Target, number: int, values: Mapping[str, object]) -> dict[str, Json]:
    """The declared fields of one record that the target returned; `number` is its place in the result, from 1.

    Raises AdapterProblem `adapter.missing_field` or `adapter.wrong_type`, naming record and field, never the value.
    """
    record: dict[str, Json] = {}
    for name, schema in target.resource.fields.items():
        if name not in values and "null" not in types_of(schema):
            raise target.problem(
                "adapter.missing_field",
                f"returned record {number} without the field {name!r}.",
                hint=f'The connector declares it; return it, or declare its type as [..., "null"]. It has: {_names(values)}.',
            )
        try:
            record[name] = read_value(schema, values.get(name))
        except ValueError as error:
            raise target.problem(
                "adapter.wrong_type",
                f"returned record {number} with a {name!r} that {error}.",
                hint="Correct the type of the field in the connector, or what the target returns.",
            ) from None
    return record


def _names(values: Mapping[str, object]) -> str:
    return ", ".join(sorted(str(name) for name in values)[:20]) or "nothing"


def read_value(schema: Schema, value: object) -> Json:
    """`value` as one of the schema's types. Raises ValueError with the reason, without the value."""
    types = types_of(schema)
    if value is None:
        if "null" in types:
            return None
        raise ValueError(f"is null, not {_said(types)}")
    plain = _plain(value, types)
    for name in types:
        if (found := _as_type(name, plain)) is not None:
            return _held(schema, found)
    raise ValueError(f"is {_kind(plain)}, not {_said(types)}")


def _plain(value: object, types: tuple[str, ...]) -> object:
    """Values of drivers as JSON has them: times in ISO 8601, decimals exact where a text is wanted."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal) and "string" in types:
        return format(value, "f")
    return value


def _as_type(name: str, value: object) -> Json:
    """`value` if it is, or losslessly stands for, the JSON type `name`; else None."""
    if name == "string":
        return value if isinstance(value, str) else None
    if name == "boolean":
        # SQLite has no booleans: they are stored as 0 and 1.
        return bool(value) if isinstance(value, bool) or (isinstance(value, int) and value in {0, 1}) else None
    if name in {"integer", "number"}:
        return _as_number(name, value)
    return _as_container(name, value)


def _as_number(name: str, value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, _NUMBER) or not math.isfinite(value):
        return None
    if name == "number":
        return float(value)
    return int(value) if value == int(value) and abs(value) < 1 << 63 else None


def _as_container(name: str, value: object) -> Json:
    # SQL targets without a JSON type hold objects and arrays as text.
    if isinstance(value, str):
        try:
            value = loads(value)
        except Invalid:
            return None
    if name == "array" and isinstance(value, list):
        return cast("Json", [_json(item) for item in cast("list[object]", value)])
    if name == "object" and isinstance(value, dict):
        return {str(key): _json(item) for key, item in cast("dict[object, object]", value).items()}
    return None


def _json(value: object) -> Json:
    """Values nested in containers, as JSON has them."""
    value = _plain(value, ())
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in cast("list[object]", value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"holds a {type(value).__name__}, which is not JSON")


def _held(schema: Schema, value: Json) -> Json:
    """`value`, held to every keyword of the schema, formats among them, as an input is. Raises ValueError."""
    if not _PLAIN.issuperset(schema) and (faults := validate_value(schema, value)):
        raise ValueError(_broken(schema, value, faults[0][0]))
    return value


def _broken(schema: Schema, value: Json, where: str) -> str:
    """Why `value` does not fit, without the value, which the validator's own messages quote."""
    form = str(schema.get("format", ""))
    if form and validate_value({"format": form}, value):
        return f"is {'empty' if value == '' else 'a text'}, not {_WANTED.get(form, form)}"
    error = next(iter(Draft202012Validator(dict(schema)).iter_errors(value)), None)  # pyright: ignore[reportUnknownArgumentType]
    if error is None:
        return f"breaks 'format' of its schema{f' at {where}' if where else ''}"
    where = "".join(f"/{part}" for part in error.absolute_path)
    if error.validator == "enum" and not where:
        choices = ", ".join(str(choice) for choice in cast("list[object]", schema["enum"])[:20])
        return f"is none of {choices}"
    return f"breaks {error.validator!r} of its schema{f' at {where}' if where else ''}"


def _kind(value: object) -> str:
    names: dict[type, str] = {
        str: "a text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        bytes: "binary",
    }
    return names.get(type(value)) or f"a {type(value).__name__}"


def _said(types: tuple[str, ...]) -> str:
    return " or ".join(types) or "of a declared type"


def text_value(schema: Schema, text: str) -> Json:
    """A CSV cell as one of the schema's types; an empty cell is null where that is allowed. Raises ValueError."""
    types = types_of(schema)
    if text == "" and "null" in types:
        return None
    for name in types:
        if (value := _parsed(name, text)) is not None:
            return read_value(schema, value)
    raise ValueError(f"is {'empty' if text == '' else 'a text'}, not {_said(types)}")


def _parsed(name: str, text: str) -> object:
    if name == "string":
        return text
    if name == "boolean":
        return {"true": True, "false": False}.get(text.strip().lower())
    if name == "integer":
        # int() and Decimal() would take 1_000 and digits of other scripts.
        return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", text) else None
    if name == "number":
        return Decimal(text) if _NUMERAL.fullmatch(text) else None
    return text if name in {"array", "object"} else None


def check_record(resource: str, fields: Mapping[str, Schema], record: Json) -> Record:
    """A record about to be written, held to the resource's fields; absent fields that may be null become null.

    Raises Invalid `push.bad_record` with every complaint at once (`errors`), before anything is called.
    """
    if not isinstance(record, Mapping):
        raise Invalid("push.bad_record", f"The record for {resource} is not an object.", errors=["not an object"])
    errors = [f"{name}: not a field of {resource}" for name in record if name not in fields]
    held: dict[str, Json] = {}
    for name, schema in fields.items():
        if name not in record and "null" not in types_of(schema):
            errors.append(f"{name}: missing")
            continue
        try:
            held[name] = _strict(schema, record.get(name))
        except ValueError as error:
            errors.append(f"{name}: {error}")
    if errors:
        raise Invalid(
            "push.bad_record",
            f"The record for {resource} does not fit its fields: {'; '.join(errors[:10])}.",
            hint=f"The fields of {resource} are: {', '.join(fields)}.",
            errors=errors,
        )
    return held


def complaint(schema: Schema, value: Json) -> str:
    """What is wrong with writing `value` where `schema` is declared, such as "is a text, not integer"; else nothing."""
    try:
        _strict(schema, value)
    except ValueError as error:
        return str(error)
    return ""


def _strict(schema: Schema, value: Json) -> Json:
    """What we write is not coerced: a text that looks like a list, or 1 for true, is a mistake of the Blueprint."""
    types = types_of(schema)
    if value is not None and not any(_is(name, value) for name in types):
        raise ValueError(f"is {_kind(value)}, not {_said(types)}")
    return read_value(schema, value)


def _is(name: str, value: Json) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, int | float):
        return name == "number" or (name == "integer" and value == int(value))
    return isinstance(value, {"string": str, "array": list, "object": dict}.get(name, ()))


def check_parameters(where: str, parameters: Mapping[str, Schema], values: Mapping[str, Json]) -> dict[str, Json]:
    """Values for declared parameters of a fetch; an absent one that may be null is null. Raises Invalid `fetch.bad_where`."""
    held, errors = _held_values(where, parameters, values)
    if errors:
        raise Invalid(
            "fetch.bad_where",
            f"`where` does not fit the parameters of {where}: {'; '.join(errors[:10])}.",
            hint=f"Its parameters are: {', '.join(parameters) or 'none'}.",
            errors=errors,
        )
    return held


def check_arguments(where: str, parameters: Mapping[str, Schema], values: Json) -> dict[str, Json]:
    """Arguments for an operation; an absent one that may be null is null. Raises Invalid `execute.bad_arguments`."""
    if not isinstance(values, Mapping):
        raise Invalid(
            "execute.bad_arguments", f"The arguments for {where} are not an object.", errors=["not an object"]
        )
    held, errors = _held_values(where, parameters, values)
    if errors:
        raise Invalid(
            "execute.bad_arguments",
            f"The arguments do not fit {where}: {'; '.join(errors[:10])}.",
            hint=f"Its parameters are: {', '.join(parameters) or 'none'}.",
            errors=errors,
        )
    return held


def check_result(where: str, schema: Schema, value: Json) -> Json:
    """What an operation gave, held to the schema that its connector declares. Raises Invalid `execute.bad_result`,
    naming the place within it, never the value."""
    faults = validate_value(schema, value) if schema else []
    if faults:
        raise Invalid(
            "execute.bad_result",
            f"The result of {where} {_broken(schema, value, faults[0][0])}.",
            hint="Correct `result` in the connector, or `result_at`, which says where in the answer it stands."
            " What the operation did is in the effect ledger.",
        )
    return value


def _held_values(
    where: str, parameters: Mapping[str, Schema], values: Mapping[str, Json]
) -> tuple[dict[str, Json], list[str]]:
    errors = [f"{name}: not a parameter of {where}" for name in values if name not in parameters]
    held: dict[str, Json] = {}
    for name, schema in parameters.items():
        try:
            held[name] = _strict(schema, values.get(name))
        except ValueError as error:
            errors.append(f"{name}: {error}" if name in values else f"{name}: missing")
    return held, errors
