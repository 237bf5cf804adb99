"""Reading configs: which ones an expression names, their types, and their values in an environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from stanchion.base import Json
from stanchion.blueprints.check import Fault, key_of
from stanchion.blueprints.json_schema import closed, with_defaults
from stanchion.blueprints.types import Lookup, Schema
from stanchion.blueprints.values.inference import inferred

# Where an expression may name a config. It finds more than that (within a text literal): what an expression really reads
# are its paths.
_MENTION = re.compile(r"(?<![\w.`])config\s*\.\s*([A-Za-z_][A-Za-z0-9_]*)")


def identifier(name: str) -> str:
    """How expressions spell a config's name: `risk-limits` is `config.risk_limits`. Names have no underscores, so the
    spelling belongs to one name."""
    return name.replace("-", "_")


def name_of(spelling: str) -> str:
    """The name behind the spelling of an expression."""
    return spelling.replace("_", "-")


def config_schema(body: Mapping[str, Json]) -> Schema:
    """The JSON Schema that the values of a published config fit, in every environment: an object, closed unless its
    author opened it."""
    declared = body.get("schema")
    if isinstance(declared, dict):
        return closed({**declared, "type": "object"})
    schema, _ = inferred(_object(body.get("values")), overlays(body))
    return closed(schema)


def config_values(body: Mapping[str, Json], environment: str) -> dict[str, Json]:
    """What the values of a published config are in an environment: its overlay over the values, then the defaults of
    the schema for what neither gives."""
    made = overlaid(_object(body.get("values")), overlays(body).get(environment, {}))
    declared = body.get("schema")
    return cast("dict[str, Json]", with_defaults(declared, made)) if isinstance(declared, dict) else made


def overlaid(values: Mapping[str, Json], overlay: Mapping[str, Json]) -> dict[str, Json]:
    """`values` with an overlay in place: objects key by key, everything else whole (a list replaces a list)."""
    made = dict(values)
    for name, value in overlay.items():
        before = made.get(name)
        made[name] = overlaid(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return made


def config_set_here(body: Mapping[str, Json], environment: str) -> list[str]:
    """JSON pointers of the values that an environment sets itself, in document order."""

    def leaves(value: Json, before: Json, pointer: str) -> Iterator[str]:
        if isinstance(value, dict) and isinstance(before, dict):
            for name, item in value.items():
                yield from leaves(item, before.get(name), f"{pointer}/{key_of(name)}")
        else:
            yield pointer

    overlay: Json = dict(overlays(body).get(environment, {}))
    return list(leaves(overlay, body.get("values"), ""))


def overlays(body: Mapping[str, Json]) -> dict[str, Mapping[str, Json]]:
    """What each environment sets otherwise."""
    return {name: _object(overlay) for name, overlay in _object(body.get("environments")).items()}


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A text of a value that may name a config: where the text stands in the value, and the name in the text."""

    pointer: str
    text: str
    offset: int
    spelling: str


@dataclass(frozen=True, slots=True)
class Configs:
    """The configs that the expressions of one document name: looked up once each, their schemas kept."""

    lookup: Lookup
    _schemas: dict[str, Schema | None] = field(default_factory=dict[str, "Schema | None"])

    def scope(self, value: Json) -> dict[str, Schema]:
        """By spelling, the schemas of the configs that the expressions in `value` name; anything for one that is not
        there, so that it is the only thing said of it."""
        return {m.spelling: self.schema(m.spelling) or {} for m in mentions(value)}

    def schema(self, spelling: str) -> Schema | None:
        """The schema of one config, or None if there is none of this name."""
        if spelling not in self._schemas:
            body = self.lookup("config", name_of(spelling))
            self._schemas[spelling] = None if body is None else config_schema(body)
        return self._schemas[spelling]

    def unknown(self, value: Json, paths: tuple[str, ...], pointer: str) -> Iterator[Fault]:
        """A fault for each config that `paths` read and that is not there, where the value at `pointer` first names it."""
        missing = {name for name in configs_read(paths) if self.schema(identifier(name)) is None}
        for mention in mentions(value, pointer) if missing else ():
            name = name_of(mention.spelling)
            if name in missing:
                missing.remove(name)
                yield Fault(
                    pointer=mention.pointer,
                    code="config.unknown_artifact",
                    message=f"There is no config {name!r}.",
                    hint=f"Apply the config {name} together with this document, or correct the name.",
                    text=mention.text,
                    offset=mention.offset,
                )


def configs_read(paths: Iterable[str]) -> tuple[str, ...]:
    """The names of the configs that the paths of an expression or template read, each once."""
    return tuple(dict.fromkeys(name_of(path.split(".")[1]) for path in paths if path.startswith("config.")))


def config_scope(bodies: Mapping[str, Mapping[str, Json]], environment: str) -> dict[str, Json]:
    """What expressions read as `config` in an environment, of these configs by name: their values by spelling."""
    return {identifier(name): config_values(body, environment) for name, body in bodies.items()}


def mentions(value: Json, pointer: str = "") -> Iterator[Mention]:
    """Everything in the texts of `value` that may name a config."""
    if isinstance(value, str):
        if "config" in value:
            for found in _MENTION.finditer(value):
                yield Mention(pointer=pointer, text=value, offset=found.start(), spelling=found[1])
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from mentions(item, f"{pointer}/{key_of(name)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from mentions(item, f"{pointer}/{index}")
