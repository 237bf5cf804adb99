"""Every field of every example Blueprint, deleted, mistyped, misspelt or dangling: each refused at its own place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.blueprints.support import FIXTURES, VERBS, lookup

from stanchion.blueprints import SCHEMA_OF_SCHEMAS, Document, compile_document, read_document
from stanchion.blueprints.check import deref, key_of, type_name
from stanchion.blueprints.verbs import checking_schema

REPOSITORY = Path(__file__).parents[2]
MUTANTS_MIN = 1300
SCHEMA = checking_schema(VERBS)
# Values of the wrong type, by the types a field takes.
WRONG = ("[7]", "three", "{a: 1}", "7")


def example_verbs():
    """The verbs of the real domains."""
    from stanchion.approvals import GovernVerb
    from stanchion.tools.verbs import Fetch, LookupVerb, Push

    own = (Fetch(), LookupVerb(), Push(), GovernVerb())
    return {v.verb: v for v in own}


def is_blueprint(path: Path) -> bool:
    return re.search(r"(?m)^blueprint:", path.read_text()) is not None


OWN = sorted(FIXTURES.glob("*.yaml"))
EXAMPLES = sorted(p for p in (REPOSITORY / "examples").rglob("*.yaml") if is_blueprint(p))


def setting(path: Path):
    """(name, source, verbs, lookup) of a Blueprint to mutate."""
    verbs, look = (VERBS, lookup) if path in OWN else (example_verbs(), neighbours(path))
    return str(path.relative_to(REPOSITORY)), path.read_text(), verbs, look


def neighbours(path: Path):
    """Finds the artifacts whose documents stand beside a Blueprint."""
    bodies = {}
    for other in sorted(path.parent.rglob("*.yaml")):
        body = read_document(Document(path=str(other), source=other.read_text())).body
        if isinstance(body, dict):
            kind = next(iter(body))
            bodies[(kind, body[kind])] = body
    return lambda kind, name: bodies.get((kind, name))


@dataclass(frozen=True)
class Mutant:
    """`start` and `end`: the characters of the mutated source on which an issue must stand."""

    kind: str
    what: str
    source: str
    start: int
    end: int
    suggestion: str = ""


@dataclass(frozen=True)
class Spot:
    """A key or element of a document with its schema; `free`: its key is the author's own word."""

    pointer: str
    value: object
    schema: dict
    required: bool
    free: bool
    is_element: bool


def spots(value, schema, root, pointer="", *, required=False, free=True, element=True) -> Iterator[Spot]:
    if "$ref" in schema and schema["$ref"].endswith("/schema"):
        root = SCHEMA_OF_SCHEMAS
    schema = deref(schema, root)
    if schema.get("x-schema"):
        schema, root = deref(SCHEMA_OF_SCHEMAS, SCHEMA_OF_SCHEMAS), SCHEMA_OF_SCHEMAS
    for union in ("anyOf", "oneOf"):
        if union in schema:
            options = [deref(o, root) for o in schema[union]]
            fitting = [o for o in options if o.get("type") in (type_name(value), None)]
            whole = {k: v for k, v in schema.items() if k != union}
            types = {"type": [o["type"] for o in options]} if all("type" in o for o in options) else {}
            schema = {**fitting[0], **whole, **types} if fitting else {**whole, **types}
    yield Spot(pointer, value, schema, required, free, element)
    if schema.get("x-template"):
        return
    if isinstance(value, dict):
        for name, item in value.items():
            declared = schema.get("properties", {})
            inner = declared.get(name, schema.get("additionalProperties", {}))
            inner = inner if isinstance(inner, dict) else {}
            yield from spots(
                item,
                inner,
                root,
                f"{pointer}/{key_of(name)}",
                required=name in schema.get("required", []),
                free=name not in declared,
                element=False,
            )
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            yield from spots(item, schema["items"], root, f"{pointer}/{index}")


def types_of(schema):
    kind = schema.get("type")
    return set() if kind is None else {kind} if isinstance(kind, str) else set(kind)


def replaced(source, start, end, text, kind, what, suggestion=""):
    return Mutant(kind, what, source[:start] + text + source[end:], start, start + max(1, len(text)), suggestion)


def written_key(source, place):
    match = re.compile(r"\"[^\"]*\"|'[^']*'|[^\s:]+").match(source, place.key_at)
    return match.start(), match.end()


def mutants(source: str, verbs) -> Iterator[Mutant]:
    read = read_document(Document(path="x", source=source))
    assert not read.issues
    places = read.positions.places
    schema = checking_schema(verbs)
    for spot in spots(read.body, schema, schema):
        place = places[spot.pointer]
        if spot.pointer:
            yield from mistyped(source, spot, place)
        if not spot.is_element and not spot.free:
            yield from misspelt(source, spot, place)
        if spot.required or spot.pointer.rpartition("/")[2] in verbs:
            yield deleted(source, spot, place, places)
        yield from dangling_artifact(source, spot, place)
        if spot.pointer.endswith("/id"):
            yield from renamed_step(source, spot, place)
    yield from dangling_paths(source)


def mistyped(source, spot, place):
    allowed = types_of(spot.schema)
    if not allowed:
        return
    kinds = {"[7]": "array", "three": "string", "{a: 1}": "object", "7": "integer"}
    for text in WRONG:
        if kinds[text] in allowed or (text == "7" and "number" in allowed):
            continue
        if text == "three" and source.lstrip().startswith("{"):
            text = '"three"'
        yield replaced(source, place.start, end_of(source, place), text, "mistype", f"{spot.pointer} = {text}")
    if isinstance(spot.value, str) and (
        "enum" in spot.schema or spot.schema.get("x-duration") or "pattern" in spot.schema
    ):
        text = '"no such ?"'
        yield replaced(source, place.start, end_of(source, place), text, "invalid", f"{spot.pointer} = {text}")
    if type(spot.value) is int and "minimum" in spot.schema:
        yield replaced(source, place.start, place.end, "-5", "invalid", f"{spot.pointer} = -5")


def end_of(source, place):
    """A block collection ends where the next token begins; give back the white space."""
    return (
        place.start + len(source[place.start : place.end].rstrip()) if place.style not in ("|", ">") else place.end - 1
    )


def misspelt(source, spot, place):
    start, end = written_key(source, place)
    name = source[start:end].strip("\"'")
    wrong = name + name[-1] if len(name) > 2 else name + "z"
    text = source[start:end].replace(name, wrong)
    yield replaced(source, start, end, text, "misspell", spot.pointer, name)


def deleted(source, spot, place, places):
    start, end = place.key_at, end_of(source, place)
    comma = re.compile(r"\s*,").match(source, end)
    if comma:
        end = comma.end()
    elif before := re.search(r",\s*$", source[:start]):
        start = before.start()
    container = spot.pointer.rpartition("/")[0]
    owner = places[container]
    at = owner.start if owner.key_at is None else owner.key_at
    if at == place.key_at:  # the first key of its object: the object begins at what is left of it
        at = start
    key = written_key(source, owner)[1] + 1 if owner.key_at is not None else at + 1
    stop = max(at + 1, owner.end - (end - start)) if owner.key_at is None else key
    return Mutant("delete", spot.pointer, source[:start] + source[end:], at, stop)


def dangling_artifact(source, spot, place):
    if "x-artifact" in spot.schema or spot.pointer.endswith("/resource"):
        text = '"gone-away"'
        yield replaced(source, place.start, place.end, text, "dangle", spot.pointer)


def renamed_step(source, spot, place):
    """A step renamed where it stands: the first reference to its old name dangles."""
    reference = re.search(rf"(?<![\w.])steps\.{spot.value}(?!\w)", source[place.end :])
    if reference:
        text = source[place.start : place.end].replace(spot.value, spot.value + "zz")
        at = place.end + reference.start() + len("zzsteps.")
        renamed = source[: place.start] + text + source[place.end :]
        yield Mutant("dangle", spot.pointer, renamed, at, at + len(spot.value), spot.value)


PATH = re.compile(r"(?<![\w.])(?:steps|input|run|person|sheet|row|open_case|sheet)(?:\.[a-z_]+)+(?!\s*[(\w])")


def dangling_paths(source):
    """Each segment of each path that an expression reads, made unknown."""
    for match in PATH.finditer(source):
        line = source[source.rfind("\n", 0, match.start()) + 1 :].split("\n", 1)[0]
        if line.lstrip().startswith("#"):
            continue
        at = match.start()
        segments = match.group().split(".")
        for index, segment in enumerate(segments):
            if index:
                text = segment + "zz"
                yield replaced(source, at, at + len(segment), text, "dangle", f"{match.group()} at {index}", segment)
            at += len(segment) + 1


def survivors(name, source, verbs, look) -> tuple[Counter, list[str]]:
    count: Counter = Counter()
    alive: list[str] = []
    _, before = compile_document(Document(path=name, source=source), verbs=verbs, lookup=look)
    assert not before, before
    for mutant in mutants(source, verbs):
        count[mutant.kind] += 1
        made, issues = compile_document(Document(path=name, source=mutant.source), verbs=verbs, lookup=look)
        spots_of = [(offset_of(mutant.source, i.line, i.column), i) for i in issues]
        here = [i for at, i in spots_of if mutant.start <= at < mutant.end]
        if made is not None or not here:
            alive.append(f"{mutant.kind} {mutant.what}: {[(i.line, i.column, i.message) for i in issues][:4]}")
        elif mutant.kind == "misspell" and not any(mutant.suggestion in i.hint + i.message for i in here):
            alive.append(f"{mutant.kind} {mutant.what}: no hint {[(i.message, i.hint) for i in here]}")
        assert all(i.message and i.file == name for i in issues)
    return count, alive


def offset_of(source, line, column):
    lines = source.split("\n")
    return sum(len(x) + 1 for x in lines[: line - 1]) + column - 1


@pytest.mark.parametrize("path", [*OWN, *EXAMPLES], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_mutant_of_the_document_is_refused_where_it_was_made(path):
    count, alive = survivors(*setting(path))
    assert not alive, "\n".join(alive)
    assert min(count[k] for k in ("delete", "mistype", "misspell", "dangle")) >= 5, count


def test_the_generator_reaches_every_kind_of_field():
    made = [m for path in OWN for m in mutants(path.read_text(), VERBS)]
    assert len(made) >= MUTANTS_MIN, Counter(m.kind for m in made)
    reached = {m.what.rpartition("/")[2] for m in made if m.kind == "misspell"}
    declared = {"blueprint", "description", "owner", "input", "steps", "output"}
    for name in ("step", "schema"):
        declared |= set(deref({"$ref": f"#/$defs/{name}"}, SCHEMA)["properties"])
    assert not declared - reached
