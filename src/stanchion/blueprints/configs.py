"""A verb's config: which parts are templates, expressions, artifact names or blocks, and compiling them in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from stanchion.base import Json
from stanchion.blueprints.check import Fault, key_of
from stanchion.blueprints.json_schema import dangling
from stanchion.blueprints.scopes import Known, Place
from stanchion.blueprints.types import Lookup, Schema, VerbSpec
from stanchion.blueprints.values import Configs, configs_read
from stanchion.expressions import (
    Expression,
    FaultyExpression,
    FaultyTemplate,
    Template,
    compile_expression,
    compile_template,
    has_expressions,
)

ANY: Schema = {}


@dataclass(slots=True)
class Findings:
    """What compiling a document gathers: its faults, the artifacts it names, what each open block reads."""

    known: Mapping[str, Known]
    configs: Configs
    faults: list[Fault] = field(default_factory=list[Fault])
    references: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])
    reading: list[set[str]] = field(default_factory=list[set[str]])

    def broken(self, pointer: str) -> bool:
        """Whether something at or below `pointer` is wrong already, so that its meaning need not be asked for."""
        return any(f.pointer == pointer or f.pointer.startswith(pointer + "/") for f in self.faults)

    def expression(self, source: Json, place: Place, pointer: str, step: str, *, wanted: str) -> Expression | None:
        """Compile a bare expression that must give `wanted` (a JSON Schema type); None if it has faults."""
        if not isinstance(source, str) or self.broken(pointer):
            return None
        try:
            made = compile_expression(
                source,
                place.schema(self.configs.scope(source)),
                where=_where(step, pointer),
                hidden=place.hidden(self.known, pointer),
            )
        except FaultyExpression as error:
            self._expression_faults(pointer, source, error)
            return None
        kind = made.schema.get("type", wanted)
        if kind != wanted and not (isinstance(kind, list) and wanted in kind):
            words = {"boolean": "true or false", "array": "a list"}[wanted]
            message = f"This must give {words}, and it gives {_type_words(made.schema)}."
            self.faults.append(Fault(pointer=pointer, code="blueprint.expression_type", message=message))
        self._read(made.paths, source, pointer)
        return made

    def template(self, value: Json, place: Place, pointer: str, step: str) -> Template | None:
        """Compile a value with `${ }`; None if it has faults."""
        hidden = place.hidden(self.known, pointer) if has_expressions(value) else None
        try:
            scope = place.schema(self.configs.scope(value))
            made = compile_template(value, scope, where=_where(step, pointer), hidden=hidden)
        except FaultyTemplate as error:
            for string in error.strings:
                for fault in string.faults:
                    self.faults.append(
                        Fault(
                            pointer=pointer + string.pointer,
                            code=fault.code,
                            message=fault.message,
                            hint=fault.hint,
                            text=string.source,
                            offset=fault.offset,
                        )
                    )
            return None
        self._read(made.paths, value, pointer)
        return made

    def _expression_faults(self, pointer: str, source: str, error: FaultyExpression) -> None:
        for fault in error.faults:
            self.faults.append(
                Fault(
                    pointer=pointer,
                    code=fault.code,
                    message=fault.message,
                    hint=fault.hint,
                    text=source,
                    offset=fault.offset,
                )
            )

    def _read(self, paths: tuple[str, ...], value: Json, pointer: str) -> None:
        """Note what expressions read: the configs among the references, the steps for the blocks that are open."""
        for name in configs_read(paths):
            self.references["config", name] = None
        self.faults += self.configs.unknown(value, paths, pointer)
        ids = {p.split(".")[1] for p in paths if p.startswith("steps.")}
        for reading in self.reading:
            reading.update(ids)


@dataclass(frozen=True, slots=True)
class Config:
    """A compiled config: the values of `Step.config`, and the inferred schema of each template by field."""

    values: Mapping[str, Template | Expression | Json]
    templates: Mapping[str, Template]

    def type_at(self, pointer: str) -> Schema:
        """The inferred schema of the value at a template position (`/value`, `/with/case`)."""
        _, name, *rest = pointer.split("/")
        made = self.templates.get(name.replace("~1", "/").replace("~0", "~"))
        schema: Schema = made.schema if made is not None else ANY
        for token in rest:
            inner = schema.get("properties") if schema.get("type") == "object" else None
            found = inner.get(token) if isinstance(inner, dict) else schema.get("items")
            schema = found if isinstance(found, dict) else ANY
        return schema


def compile_config(
    spec: VerbSpec, raw: Mapping[str, Json], place: Place, pointer: str, step: str, findings: Findings
) -> Config:
    """Compile each field as the verb's schema marks it. Blocks are left out: they become operations."""
    values: dict[str, Template | Expression | Json] = {}
    templates: dict[str, Template] = {}
    for name, value in raw.items():
        schema = _property(spec.config_schema, name)
        at = f"{pointer}/{key_of(name)}"
        if _is_block(schema, value):
            continue
        findings.faults += _literals(value, schema, at)
        if schema.get("x-expression") is True:
            made = findings.expression(value, place, at, step, wanted="boolean")
            if made is not None:
                values[name] = made
        elif _takes_templates(schema):
            template = findings.template(value, place, at, step)
            if template is not None:
                values[name] = templates[name] = template
                findings.faults += _misfits(value, schema, template.schema, at)
        else:
            values[name] = value
        if schema.get("x-schema") is True and not findings.broken(at):
            for where, message, hint in dangling(value, at):
                findings.faults.append(Fault(pointer=where, code="document.schema", message=message, hint=hint))
    return Config(values, templates)


def check_config(
    spec: VerbSpec, raw: Mapping[str, Json], config: Config, lookup: Lookup, pointer: str, findings: Findings
) -> Schema:
    """Look up the artifacts the config names, hear the verb's own complaints, and return the output's schema: as much of it
    as is known in spite of them, so that what is wrong behind this step is told in the same round."""
    unknown = False
    for kind, name, at in _artifacts(dict(raw), spec.config_schema, pointer):
        findings.references[(kind, name)] = None
        if lookup(kind, name) is None:
            unknown = True
            hint = f"Apply the {kind} {name} together with this document, or correct the name."
            message = f"There is no {kind} {name!r}."
            findings.faults.append(Fault(pointer=at, code="blueprint.unknown_artifact", message=message, hint=hint))
    for issue in () if unknown else spec.check(raw, lookup):
        at = pointer + issue.pointer
        findings.faults.append(
            Fault(pointer=at, code=issue.code, message=issue.message, hint=issue.hint, unquoted=issue.unquoted)
        )
    return spec.output_schema(raw, lookup, config.type_at)


def artifacts_named(spec: VerbSpec, raw: Mapping[str, Json]) -> tuple[tuple[str, str], ...]:
    """(kind, name) of every artifact that a config names, each once."""
    return tuple(sorted({(kind, name) for kind, name, _ in _artifacts(dict(raw), spec.config_schema, "")}))


def is_block_field(schema: Schema, name: str, value: Json) -> bool:
    """Whether this field of a config holds steps, by the verb's schema."""
    return _is_block(_property(schema, name), value)


def _where(step: str, pointer: str) -> str:
    return f"step {step}, {pointer}" if step else pointer


def _property(schema: Schema, name: str) -> Schema:
    declared = schema.get("properties")
    found = declared.get(name) if isinstance(declared, dict) else None
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else ANY


def _options(schema: Schema) -> Iterator[Schema]:
    yield schema
    for union in ("anyOf", "oneOf"):
        for option in cast("list[Json]", schema.get(union, [])):
            if isinstance(option, dict):
                yield option


def _is_block(schema: Schema, value: Json) -> bool:
    return isinstance(value, list) and any(o.get("x-block") is True for o in _options(schema))


def _takes_templates(schema: Schema) -> bool:
    if schema.get("x-template") is True:
        return True
    inner: list[Json] = [schema.get("items"), schema.get("additionalProperties")]
    properties = schema.get("properties")
    inner += list(properties.values()) if isinstance(properties, dict) else []
    inner += [cast("Json", o) for o in _options(schema) if o is not schema]
    return any(isinstance(i, dict) and _takes_templates(i) for i in inner)


def _literals(value: Json, schema: Schema, pointer: str) -> Iterator[Fault]:
    """Texts with `${` where the verb takes none: they would be sent as written."""
    if any(o.get("x-template") is True for o in _options(schema)):
        return
    if isinstance(value, str) and "${" in value and schema.get("x-expression") is not True:
        if not ("x-artifact" in schema or "enum" in schema or "pattern" in schema):  # the schema check says so itself
            message = "This field is literal; it takes no expression."
            hint = "Write the value itself, or compute it in a field that takes ${ }."
            yield Fault(pointer=pointer, code="document.literal", message=message, hint=hint)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _literals(item, _property(schema, name), f"{pointer}/{key_of(name)}")
    elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
        for index, item in enumerate(value):
            yield from _literals(item, items, f"{pointer}/{index}")


def _artifacts(value: Json, schema: Schema, pointer: str) -> Iterator[tuple[str, str, str]]:
    """(kind, name, pointer) of every artifact that a config names."""
    kind = schema.get("x-artifact")
    if isinstance(kind, str) and isinstance(value, str):
        yield kind, value, pointer
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _artifacts(item, _property(schema, name), f"{pointer}/{key_of(name)}")
    elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
        for index, item in enumerate(value):
            yield from _artifacts(item, items, f"{pointer}/{index}")


def _misfits(value: Json, schema: Schema, inferred: Schema, pointer: str) -> Iterator[Fault]:
    """Expressions whose type can never fit what the verb takes at their place."""
    if isinstance(value, dict):
        members = inferred.get("properties")
        for name, item in value.items():
            inner = members.get(name) if isinstance(members, dict) else None
            at = f"{pointer}/{key_of(name)}"
            yield from _misfits(item, _property(schema, name), inner if isinstance(inner, dict) else ANY, at)
    if not isinstance(value, str) or "${" not in value:
        return
    wanted, given = _type_set(schema), _type_set(inferred)
    if "number" in wanted:
        wanted |= {"integer"}
    if wanted and given and not wanted & given:
        message = f"This takes {_words(wanted)}, and the expression gives {_type_words(inferred)}."
        yield Fault(pointer=pointer, code="blueprint.expression_type", message=message)


def _type_set(schema: Schema) -> set[str]:
    kinds: set[str] = set()
    for option in _options(schema):
        kind = option.get("type")
        kinds |= {kind} if isinstance(kind, str) else set(cast("list[str]", kind)) if isinstance(kind, list) else set()
    return kinds


def _words(kinds: set[str]) -> str:
    names = {"object": "an object", "array": "a list", "string": "a text", "boolean": "true or false"}
    return " or ".join(sorted(names.get(k, f"a {k}" if k != "integer" else "a whole number") for k in kinds))


def _type_words(schema: Schema) -> str:
    return _words(_type_set(schema)) or "something else"
