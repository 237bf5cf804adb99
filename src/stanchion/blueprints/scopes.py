"""What an expression may read at its place in the document, and why it may not read the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from stanchion.base import Json
from stanchion.blueprints.types import Schema
from stanchion.blueprints.verbs import RUN_SCHEMA

# Keys of a step under which further steps stand.
BLOCK_KEYS = ("then", "else", "on_reject", "on_expire")


@dataclass(frozen=True, slots=True)
class Known:
    """A step id of the document: where it stands, the StepRun path it will have, and the block it belongs to."""

    pointer: str
    path: str
    home: str
    inside: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A GOVERN step that dominates what follows: its id, StepRun path, and the values it shows, as written."""

    id: str
    path: str
    shown: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The scope at one place.

    Attributes:
        input: schema of the run's input.
        steps: ids of the steps that have run before this place, with their output schemas.
        item: schema of the current element within a for_each. `alias`: its second name.
        outer_items: names of elements of enclosing for_each blocks, which cannot be read here.
        approvals: GOVERN steps that dominate this place.
    """

    input: Schema
    steps: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    item: Schema | None = None
    alias: str | None = None
    outer_items: frozenset[str] = frozenset()
    approvals: tuple[Approval, ...] = ()

    def schema(self, configs: Mapping[str, Schema]) -> Schema:
        """The scope as one JSON Schema, as `compile_expression` takes it; of configs those that the expression names,
        by its spelling."""
        steps: dict[str, Json] = {k: cast("Json", v) for k, v in self.steps.items()}
        names: dict[str, Json] = {
            "input": cast("Json", self.input),
            "run": cast("Json", RUN_SCHEMA),
            "steps": {"type": "object", "properties": steps, "additionalProperties": False},
        }
        if configs:
            members: dict[str, Json] = {spelling: cast("Json", schema) for spelling, schema in configs.items()}
            names["config"] = {"type": "object", "properties": members, "additionalProperties": False}
        if self.item is not None:
            names["item"] = cast("Json", self.item)
            names["item_no"] = {"type": "integer"}
            if self.alias:
                names[self.alias] = cast("Json", self.item)
        return {"type": "object", "properties": names, "additionalProperties": False}

    def hidden(self, known: Mapping[str, Known], pointer: str) -> Mapping[str, str]:
        """Dotted names that exist and cannot be read at `pointer` -> why."""
        reasons = {f"steps.{i}": _reason(k, pointer) for i, k in known.items() if i not in self.steps}
        if self.item is None:
            reasons["item"] = "it is known only inside a for_each."
            reasons["item_no"] = "it is known only inside a for_each."
        for name in self.outer_items:
            reasons[name] = "it belongs to an outer for_each; let the inner `in` carry what is needed of it."
        return reasons

    def after(self, step: str, output: Schema) -> Place:
        """The scope once `step` has run."""
        return replace(self, steps={**self.steps, step: output})

    def of_item(self, item: Schema, alias: str | None) -> Place:
        """The scope inside a for_each over elements of `item`."""
        outer = self.outer_items | frozenset([self.alias] if self.alias else [])
        return replace(self, item=item, alias=alias, outer_items=outer - {alias})


def _reason(known: Known, pointer: str) -> str:
    if pointer.startswith(known.pointer + "/"):
        return "this is the step itself."
    if pointer.startswith(known.home + "/") or pointer == "/output":
        if known.home == "/steps" and pointer == "/output":
            return "it gives nothing."
        if pointer.startswith(known.home + "/"):
            return "this step runs later; only steps before this one can be read."
    why = f"this step runs only inside {known.inside}, so it may not have run here"
    if known.inside.startswith(("then of", "else of")):
        return f"{why}; compute it after the gate with ?: on the same condition, or put what needs it into the branch."
    return f"{why}."


def steps_in(body: Json) -> Iterator[tuple[str, Known]]:
    """Every step id of a document with its place, in document order; a duplicate comes again."""
    if isinstance(body, dict):
        yield from _block(body.get("steps"), "/steps", "", "this Blueprint")


def _block(steps: Json, pointer: str, prefix: str, inside: str) -> Iterator[tuple[str, Known]]:
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if not isinstance(step, dict):
            continue
        place = f"{pointer}/{index}"
        ident = step.get("id")
        name = ident if isinstance(ident, str) else ""
        path = f"{prefix}{name}"
        if name:
            yield name, Known(place, path, pointer, inside)
        for key, value in step.items():
            if not isinstance(value, dict):
                continue
            if key == "for_each":
                what = f"the for_each of {name} (its results are steps.{name}.succeeded)"
                yield from _block(value.get("steps"), f"{place}/for_each/steps", f"{path}/", what)
                continue
            for branch in BLOCK_KEYS:
                if isinstance(value.get(branch), list):
                    what = f"{branch} of {name}"
                    yield from _block(value[branch], f"{place}/{key}/{branch}", f"{path}/{branch}/", what)
