"""Flag documents: reading one, and everything that is wrong with it at once.

A document is the body of an artifact of kind `flag`:

    flag: new-summary
    owner: casework
    type: boolean                  # boolean, string, number or object
    variants: {on: true, off: false}
    default: off                   # left out or null: the caller's own value
    enabled: true                  # false: the caller's own value, for everyone
    rules: [...]                   # Stanchion's form (`plain`), or
    targeting: {if: [...]}         # flagd's (`logic`), with `evaluators: {name: {...}}` for its `$ref`
    metadata: {team: casework}

`labels` and `risk`, which documents of every kind have, are checked where the kinds are registered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from stanchion.base import Json, did_you_mean
from stanchion.controls.flags.bucketing import WEIGHT_SUM_MAX
from stanchion.controls.flags.fractional import whole
from stanchion.controls.flags.logic import FLAGD_ARGUMENTS, LogicCompiler, Node, escape, results
from stanchion.controls.flags.plain import RuleReader
from stanchion.controls.flags.types import Choice, Decide, ErrorCode, Finding, Flag, FlagType, Frame, Reason, Refused
from stanchion.controls.flags.values import text
from stanchion.controls.flags.versions import OPERATORS as SEM_VER_OPERATORS
from stanchion.controls.flags.versions import parse

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
VARIANTS_MAX: Final = 100
FIELDS: Final = (
    "flag",
    "description",
    "owner",
    "labels",
    "risk",
    "type",
    "variants",
    "default",
    "enabled",
    "targeting",
    "evaluators",
    "rules",
    "metadata",
)
_TYPES: Final[Mapping[type, FlagType]] = {
    bool: FlagType.BOOLEAN,
    str: FlagType.STRING,
    int: FlagType.NUMBER,
    float: FlagType.NUMBER,
    dict: FlagType.OBJECT,
}


def type_of(value: Json) -> FlagType | None:
    """The flag type a value has; None for null and lists."""
    return _TYPES.get(type(value))


def check(document: object) -> list[Finding]:
    """Everything wrong with a flag document, all at once; empty if it can be published."""
    return _Reader().read(document)[1]


def compile_flag(document: object) -> Flag:
    """The flag of a document. Never raises: one that cannot be evaluated has `broken` set, and says so when asked."""
    return _Reader().read(document)[0]


@dataclass(slots=True)
class _Reader:
    findings: list[Finding] = field(default_factory=list[Finding])

    def read(self, document: object) -> tuple[Flag, list[Finding]]:
        if not isinstance(document, dict):
            self._fatal("", "flag.document", "A flag is a mapping that begins with `flag: <name>`.", "")
            return self._flag("", None, {}, None, {}), self.findings
        body = cast("dict[str, Json]", document)
        name = self._about(body)
        kind = self._type(body)
        variants = self._variants(body, kind)
        default = self._default(body, variants)
        decide = self._targeting(body, name, variants)
        return self._flag(name, kind, variants, default, body, decide), self.findings

    def _flag(
        self,
        name: str,
        kind: FlagType | None,
        variants: Mapping[str, Json],
        default: str | None,
        body: Mapping[str, Json],
        decide: Decide | None = None,
    ) -> Flag:
        metadata = body.get("metadata")
        fatal = next((f for f in self.findings if f.fatal), None)
        return Flag(
            name=name,
            type=kind,
            variants=variants,
            default=default,
            enabled=body.get("enabled", True) is not False,
            metadata=metadata if isinstance(metadata, dict) else {},
            decide=decide,
            broken="" if fatal is None else f"{fatal.pointer or '/'}: {fatal.message}",
        )

    def _about(self, body: Mapping[str, Json]) -> str:
        for key in body:
            if key not in FIELDS:
                self._wrong(
                    f"/{escape(key)}", "flag.unknown_field", f"A flag has no `{key}`.", did_you_mean(key, FIELDS)
                )
        name = body.get("flag")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            hint = "Lower-case letters, digits and hyphens, beginning with a letter, at most 63."
            self._wrong("/flag", "flag.name", "`flag` is the flag's name.", hint)
        owner = body.get("owner")
        if not isinstance(owner, str) or not 0 < len(owner) <= 200:
            self._wrong("/owner", "flag.owner", "A flag has an owner: the team that answers for it.", "owner: casework")
        if not isinstance(body.get("description", ""), str):
            self._wrong("/description", "flag.description", "`description` is a text.", "Put it in quotes.")
        if not isinstance(body.get("enabled", True), bool):
            self._fatal("/enabled", "flag.enabled", "`enabled` is true or false.", "Write it without quotes.")
        self._metadata(body.get("metadata", {}))
        return name if isinstance(name, str) else ""

    def _metadata(self, metadata: Json) -> None:
        if not isinstance(metadata, dict):
            self._wrong("/metadata", "flag.metadata", "`metadata` maps names to values.", "metadata: {team: casework}")
            return
        for key, value in metadata.items():
            if value is None or isinstance(value, dict | list):
                message = "A value of `metadata` is a text, a number, true or false."
                self._wrong(f"/metadata/{escape(key)}", "flag.metadata", message, "")

    def _type(self, body: Mapping[str, Json]) -> FlagType | None:
        kind = body.get("type")
        if isinstance(kind, str) and kind in FlagType.__members__.values():
            return FlagType(kind)
        self._wrong(
            "/type", "flag.type", f"`type` is one of {', '.join(FlagType)}.", did_you_mean(text(kind), FlagType)
        )
        return None

    def _variants(self, body: Mapping[str, Json], kind: FlagType | None) -> Mapping[str, Json]:
        variants = body.get("variants")
        if not isinstance(variants, dict) or not 0 < len(variants) <= VARIANTS_MAX:
            hint = "variants: {on: true, off: false}"
            self._fatal("/variants", "flag.variants", f"`variants` maps 1 to {VARIANTS_MAX} names to values.", hint)
            return {}
        for name, value in variants.items():
            at = f"/variants/{escape(name)}"
            if not 0 < len(name) <= 100:
                self._wrong(at, "flag.variants", "A variant's name has 1 to 100 characters.", "")
            if kind is not None and type_of(value) is not kind:
                message = f"Variant {name!r} has the value {_shown(value)}, and the flag is of type {kind}."
                self._wrong(at, "flag.variant_type", message, "All variants have the type that `type` says.")
        return variants

    def _default(self, body: Mapping[str, Json], variants: Mapping[str, Json]) -> str | None:
        default = body.get("default")
        if default is None:
            return None
        if isinstance(default, str) and (default in variants or not variants):
            return default
        hint = did_you_mean(text(default), variants) if variants else ""
        self._fatal("/default", "flag.unknown_variant", f"There is no variant {text(default)!r}.", hint)
        return None

    def _targeting(self, body: Mapping[str, Json], name: str, variants: Mapping[str, Json]) -> Decide | None:
        if "rules" in body and "targeting" in body:
            hint = "Keep one of the two."
            self._fatal("/targeting", "flag.targeting", "A flag has either `rules` or `targeting`.", hint)
            return None
        if "rules" in body:
            if "evaluators" in body:
                self._wrong("/evaluators", "flag.targeting", "Only `targeting` refers to evaluators.", "Remove them.")
            reader = RuleReader(name, variants, self.findings)
            return reader.read(body["rules"])
        return self._logic(body, variants)

    def _logic(self, body: Mapping[str, Json], variants: Mapping[str, Json]) -> Decide | None:
        targeting = body.get("targeting", {})
        evaluators = self._evaluators(body.get("evaluators", {}))
        if not isinstance(targeting, dict):
            hint = "Leave it out for a flag that is the same for everyone."
            self._fatal("/targeting", "flag.targeting", "`targeting` is an operation of JsonLogic.", hint)
            return None
        if not targeting:
            return None
        compiler = LogicCompiler(evaluators, self.findings)
        node = compiler.node(targeting, "/targeting")
        self._results(targeting, variants)
        for pointer, logic in _operations(targeting, "/targeting"):
            self._operation(pointer, logic)
        return _decider(node, variants)

    def _evaluators(self, evaluators: Json) -> Mapping[str, Node]:
        if not isinstance(evaluators, dict):
            hint = "evaluators: {is-staff: {ends_with: [{var: email}, '@example.com']}}"
            self._fatal("/evaluators", "flag.targeting", "`evaluators` maps names to operations.", hint)
            return {}
        compiler = LogicCompiler(None, self.findings)
        made: dict[str, Node] = {}
        for name, logic in evaluators.items():
            at = f"/evaluators/{escape(name)}"
            made[name] = compiler.node(logic, at)
            for pointer, operation in _operations(logic, at):
                self._operation(pointer, operation)
        return made

    def _results(self, targeting: Json, variants: Mapping[str, Json]) -> None:
        """Variants that the targeting can choose and the flag does not have."""
        for pointer, value in results(targeting, "/targeting"):
            name = text(value)
            if value is not None and name not in variants:
                hint = did_you_mean(name, variants)
                if isinstance(value, bool):
                    hint = "What gives true or false chooses between variants named `true` and `false`; use `if`."
                self._wrong(pointer, "flag.unknown_variant", f"There is no variant {name!r}.", hint)

    def _operation(self, pointer: str, logic: Mapping[str, Json]) -> None:
        """What flagd evaluates to null, or tacitly corrects, and no author means."""
        operator, given = next(iter(logic.items()))
        arguments: list[Json] = given if isinstance(given, list) else [given]
        at = f"{pointer}/{escape(operator)}"
        wanted = FLAGD_ARGUMENTS.get(operator)
        if wanted is not None and len(arguments) != wanted:
            message = f"`{operator}` takes {wanted} arguments, and this has {len(arguments)}."
            self._wrong(at, "flag.logic", message, "As it stands it gives null, which is no match.")
        elif operator == "sem_ver":
            self._versions(at, arguments)
        elif wanted is not None:
            for index, argument in enumerate(arguments):
                if not isinstance(argument, str | dict):
                    self._wrong(f"{at}/{index}", "flag.logic", f"`{operator}` compares texts.", "Put it in quotes.")
        if operator == "fractional":
            self._shares(at, arguments)

    def _versions(self, at: str, arguments: list[Json]) -> None:
        for index in (0, 2):
            if not isinstance(arguments[index], dict) and parse(arguments[index]) is None:
                message = f"{_shown(arguments[index])} is no version."
                self._wrong(f"{at}/{index}", "flag.logic", message, "A version is such as 1.2.3 or 1.2.3-beta.1.")
        operator = arguments[1]
        if not isinstance(operator, dict) and text(operator) not in SEM_VER_OPERATORS:
            hint = f"It is one of {' '.join(SEM_VER_OPERATORS)}."
            self._wrong(f"{at}/1", "flag.logic", f"{_shown(operator)} compares no versions.", hint)

    def _shares(self, at: str, arguments: list[Json]) -> None:
        total = 0
        for index, item in enumerate(arguments):
            if not isinstance(item, list) or len(item) < 2 or isinstance(item[1], dict):
                total += isinstance(item, list)
                continue
            share = 1 if item[1] is None else whole(item[1])
            if share is None or share < 0:
                hint = "For half a percent write 1 beside 199."
                self._wrong(f"{at}/{index}/1", "flag.share", "A share is a whole number from 0.", hint)
            total += max(0, share or 0)
        if not 0 < total <= WEIGHT_SUM_MAX:
            message = f"The shares add up to {total}; they must add up to 1 to {WEIGHT_SUM_MAX}."
            self._wrong(at, "flag.share", message, "As it stands it gives null, which is no match.")

    def _wrong(self, pointer: str, code: str, message: str, hint: str) -> None:
        self.findings.append(Finding(pointer=pointer, code=code, message=message, hint=hint))

    def _fatal(self, pointer: str, code: str, message: str, hint: str) -> None:
        self.findings.append(Finding(pointer=pointer, code=code, message=message, hint=hint, fatal=True))


def _shown(value: Json) -> str:
    shown = repr(value) if isinstance(value, str) else text(value) if isinstance(value, bool | int | float) else ""
    return (shown if len(shown) <= 60 else shown[:60] + "…") or f"a {type(value).__name__}"


def _operations(logic: Json, pointer: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """(pointer, operation) of every operation within a rule."""
    stack: list[tuple[str, Json]] = [(pointer, logic)]
    while stack:
        at, value = stack.pop()
        if isinstance(value, list):
            stack += [(f"{at}/{index}", item) for index, item in enumerate(value)]
        elif isinstance(value, dict) and len(value) == 1:
            yield at, value
            stack += [(f"{at}/{escape(key)}", item) for key, item in value.items()]


def _decider(node: Node, variants: Mapping[str, Json]) -> Decide:
    def decide(frame: Frame) -> Choice | None:
        value = node(cast("Json", frame.attributes), frame)
        if isinstance(value, bool):
            value = "true" if value else "false"
        if value is None:
            return None
        if isinstance(value, str) and value in variants:
            return value, Reason.TARGETING_MATCH
        raise Refused(ErrorCode.GENERAL, f"The targeting chose {_shown(value)}, which is no variant.")

    return decide
