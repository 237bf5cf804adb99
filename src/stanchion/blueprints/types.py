"""The nouns of a Blueprint: the parsed document, the ports its verbs fill, and the program the engine runs.

A document is checked once, at publish, and compiled to a `Program`: per block a flat list of operations with
jump targets, so that a run's position is one integer. The same digest always compiles to the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from stanchion.base import Json
from stanchion.expressions import Expression, Template

Schema = Mapping[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file to publish: `path` as the author knows it (for error positions), `source` its text (UTF-8)."""

    path: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One thing wrong with a document, at its own place.

    Attributes:
        code: stable, such as `document.unknown_field`.
        message: what is wrong. `hint`: the way out, with the nearest right name where there is one.
        file, line, column: 1-based position of the offending key or value.
        step: the id of the step it stands in, or None.
        pointer: JSON pointer into the document.
        severity: `error` refuses the document; `warning` does not.
    """

    code: str
    message: str
    hint: str
    file: str
    line: int
    column: int
    step: str | None
    pointer: str
    severity: Literal["error", "warning"] = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a kind makes of a document: its name, the body that is content-addressed, its references, its issues."""

    name: str
    body: Mapping[str, Json]
    owner: str
    references: tuple[tuple[str, str], ...]
    issues: tuple[Issue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """Two versions of one artifact of a kind, and a Blueprint whose runs show by what they say which one they have.

    By it a kind takes part, from the day it registers, in whatever is shown for every kind: a canary over real runs, a
    regression that takes itself back, one rollback alone.

    A run of the Blueprint, with no input, ends SUCCEEDED with the output `first` or `second`. If it waits for an approval
    on its way, any approver may approve. A kind whose versions are asked and not pinned has a question in its place.

    Attributes:
        first, second: the two versions. `others`: what is live beside them, the Blueprint among it, unless that is the
            artifact itself.
        files: path in the folder of connectors -> text, for what the documents read.
        asked: where there is no Blueprint, the path that answers `{}`, whoever POSTs it, with `first` or `second` as its
            `value`.
    """

    first: Document
    second: Document
    others: tuple[Document, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    asked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed attempt is repeated. Delay before attempt n+1 is full jitter (AWS Builders' Library) over
    `min(max_s, initial_s * 2**(n-1))` for `exponential`, over `initial_s` for `constant`."""

    attempts: int = 1
    backoff: Literal["exponential", "constant"] = "exponential"
    initial_s: float = 1.0
    max_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEach:
    """A fan-out. With `block` each item is a child run of that block; without, a StepRun `path[item_no]` of this run."""

    items: Expression
    alias: str | None
    concurrency: int
    on_item_error: Literal["stop", "continue"]
    max_failures: int | None
    block: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step as written: `verb` is its key, `config` the rest under it with templates compiled in place.

    `raw` is the same config as plain JSON (texts uncompiled): what static checks and references read. `references` are the
    artifacts that the config names, (kind, name); what expressions read is not among them.
    """

    id: str
    verb: str
    config: Mapping[str, Template | Expression | Json]
    raw: Mapping[str, Json]
    guard: Expression | None = None
    retry: Retry = Retry()
    timeout_s: float | None = None
    for_each: ForEach | None = None
    references: tuple[tuple[str, str], ...] = ()


class OpKind(StrEnum):
    """What the engine does at a position."""

    STEP = "step"
    GATE = "gate"
    FAN_OUT = "fan_out"
    JUMP = "jump"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation of a block.

    Attributes:
        kind: STEP runs a handler; GATE evaluates `condition`, goes on or jumps to `target`; FAN_OUT runs a for_each;
            JUMP goes to `target`; END finishes the block (always the last op, and only there).
        path: the StepRun's path (`risk`, `risk/then/approval`); empty for JUMP and END.
        step: the step for STEP, GATE and FAN_OUT.
        condition: for GATE.
        target: next op index when the gate is false, or where to jump; for a skipped or failed step unused.
        exits: named ways on -> op index. A handler may choose `rejected` or `expired`; `skipped`, on every GATE, is where
            the run goes on if the gate's own `if:` is false. Without an exit the following op is next.
        approvals: paths of the GOVERN steps that dominate this one (same or enclosing block, earlier): I8.
        own_fields: for a PUSH under an approval, the top-level record fields that come from those approvals' own
            outputs; they are left out of the digest that must equal a shown value.
    """

    kind: OpKind
    path: str = ""
    step: Step | None = None
    condition: Expression | None = None
    target: int = -1
    exits: Mapping[str, int]
    approvals: tuple[str, ...] = ()
    own_fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A list of operations with its own position: the root block (path ``""``) or the body of a for_each.

    `outer` names the step paths of enclosing blocks that this block's expressions read (a child run loads only these).
    """

    path: str
    ops: tuple[Op, ...]
    output: Template | None
    outer: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A compiled Blueprint. `references` are the artifacts it names, (kind, name)."""

    name: str
    description: str
    owner: str
    input_schema: Schema
    output_schema: Schema
    blocks: Mapping[str, Block]
    references: tuple[tuple[str, str], ...]


# Looks up the body of another artifact by kind and name; None if there is none.
Lookup = Callable[[str, str], Mapping[str, "Json"] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigIssue:
    """A verb's complaint about its own config; `pointer` is relative to the config (`/resource`).

    `unquoted`: a text was wanted and the value is a number or the like because its author did not quote it.
    """

    pointer: str
    code: str
    message: str
    hint: str = ""
    unquoted: bool = False


class VerbSpec(Protocol):
    """What the document must know of a verb. Registered by the domain that implements the verb.

    Attributes:
        verb: the step's key, lower case (`lookup`).
        effect: what the verb does to the outside.
        suspends: whether it may suspend the run (such verbs need a block inside a for_each).
        config_schema: JSON Schema of the config as written; every value position marked `"x-template": true` takes
            literals and `${ }`, every string marked `"x-expression": true` is a bare CEL expression, and
            `"x-artifact": "<kind>"` is the literal name of an artifact. `"x-block": true` is a list of steps,
            `"x-duration": true` a duration such as `60s`, `"x-schema": true` a JSON Schema. Fields not declared are
            refused if it says `additionalProperties: false`, which it should.
    """

    @property
    def verb(self) -> str: ...  # noqa: D102 - see above
    @property
    def effect(self) -> Literal["none", "read", "write"]: ...  # noqa: D102
    @property
    def suspends(self) -> bool: ...  # noqa: D102
    @property
    def config_schema(self) -> Schema: ...  # noqa: D102

    def check(self, config: Mapping[str, Json], lookup: Lookup) -> Iterable[ConfigIssue]:
        """Complaints beyond the schema: unknown resource, missing parameter. `config` is as written."""
        ...

    def output_schema(self, config: Mapping[str, Json], lookup: Lookup, types: Callable[[str], Schema]) -> Schema:
        """JSON Schema of the step's output. `types(pointer)` gives the inferred schema of the value at a template
        position of the config (so TRANSFORM's output has the type of its expression). Also asked of a config that has
        issues or names what is not there: what it leaves open is then any value."""
        ...


@runtime_checkable
class Writing(Protocol):
    """Filled too by a VerbSpec whose step can change the outside: an approval before it must show what it writes (I8)."""

    def written(self, config: Mapping[str, Json], lookup: Lookup) -> str | None:
        """The field of `config` that holds what is written (`record`), or None if this step only reads."""
        ...
