"""JsonLogic, compiled once to nested functions: what flagd's targeting is written in.

An operation is an object with one member: its operator and its arguments (`{"==": [{"var": "plan"}, "gold"]}`).
Everything else is literal. The operators are those of flagd's published schema (flagd-schemas, targeting.json); their
meaning is json-logic-js's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from stanchion.base import Json, did_you_mean
from stanchion.controls.flags.fractional import deal, fractional, implicit_key, read_buckets
from stanchion.controls.flags.operators import FLAGD, OPERATORS, Operator
from stanchion.controls.flags.types import Finding, Frame
from stanchion.controls.flags.values import look_up, text, truthy

# (what `var` reads, the evaluation) -> value. The data is the attributes, or an element within `map` and its kin.
Node = Callable[[Json, Frame], Json]

DEPTH_MAX: Final = 50
_OWN: Final = "$flagd"
_REFERENCE: Final = "$ref"


def _constant(value: Json) -> Node:
    return lambda _data, _frame: value


_NULL: Final = _constant(None)


@dataclass(slots=True)
class LogicCompiler:
    """Compiles the logic of one flag and gathers what is wrong with it. All its findings here are fatal."""

    evaluators: Mapping[str, Node] | None = None
    findings: list[Finding] = field(default_factory=list[Finding])

    def node(self, logic: Json, pointer: str, depth: int = 0) -> Node:
        """Compile a rule or literal at a JSON pointer."""
        if depth > DEPTH_MAX:
            return self._wrong(pointer, f"Operations are nested deeper than {DEPTH_MAX}.", "Split it into evaluators.")
        if isinstance(logic, list):
            nodes = [self.node(item, f"{pointer}/{index}", depth + 1) for index, item in enumerate(logic)]
            return lambda data, frame: [node(data, frame) for node in nodes]
        if not isinstance(logic, dict) or not logic:
            return _constant(logic)
        if len(logic) > 1:
            names = ", ".join(logic)
            hint = 'Combine them: {"and": [{...}, {...}]}.'
            return self._wrong(pointer, f"An operation has one operator, and this has {len(logic)}: {names}.", hint)
        operator, given = next(iter(logic.items()))
        at = f"{pointer}/{escape(operator)}"
        if operator == _REFERENCE:
            return self._reference(given, at)
        return self._call(operator, given if isinstance(given, list) else [given], at, depth)

    def _call(self, operator: str, arguments: list[Json], at: str, depth: int) -> Node:
        if operator in OPERATORS:
            return self._operation(operator, OPERATORS[operator], arguments, at, depth)
        if operator in FLAGD:
            return _applied(FLAGD[operator][1], self._all(arguments, at, depth))
        if operator in _SPECIAL:
            least, most, make = _SPECIAL[operator]
            if self._counted(operator, arguments, least, most, at):
                return make(self, arguments, at, depth)
            return _NULL
        return self._wrong(at, f"There is no operator `{operator}`.", did_you_mean(operator, KNOWN))

    def _all(self, arguments: list[Json], at: str, depth: int) -> list[Node]:
        return [self.node(item, f"{at}/{index}", depth + 1) for index, item in enumerate(arguments)]

    def _operation(self, name: str, operator: Operator, arguments: list[Json], at: str, depth: int) -> Node:
        if not self._counted(name, arguments, operator.least, operator.most, at):
            return _NULL
        nodes = self._all(arguments, at, depth)
        pair = operator.pair
        if pair is None or len(nodes) != 2:
            return _applied(operator.apply, nodes)
        first, second = nodes
        return lambda data, frame: pair(first(data, frame), second(data, frame))

    def _counted(self, name: str, arguments: list[Json], least: int, most: int | None, at: str) -> bool:
        if least <= len(arguments) and (most is None or len(arguments) <= most):
            return True
        wanted = f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"
        self._wrong(at, f"`{name}` takes {wanted} arguments, and this has {len(arguments)}.", "")
        return False

    def _reference(self, name: Json, at: str) -> Node:
        if self.evaluators is None:
            return self._wrong(at, "An evaluator cannot refer to another one.", "Write out what it refers to.")
        found = self.evaluators.get(name) if isinstance(name, str) else None
        if found is None:
            hint = did_you_mean(text(name), self.evaluators) or "Define it under `evaluators`."
            return self._wrong(at, f"There is no evaluator {text(name)!r}.", hint)
        return found

    def _wrong(self, pointer: str, message: str, hint: str) -> Node:
        self.findings.append(Finding(pointer=pointer, code="flag.logic", message=message, hint=hint, fatal=True))
        return _NULL


def escape(key: str) -> str:
    """A member's name within a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _applied(apply: Callable[[list[Json], Frame], Json], nodes: list[Node]) -> Node:
    return lambda data, frame: apply([node(data, frame) for node in nodes], frame)


_Make = Callable[[LogicCompiler, list[Json], str, int], Node]


def _arguments(compiler: LogicCompiler, arguments: list[Json], at: str, depth: int) -> list[Node]:
    return [compiler.node(item, f"{at}/{index}", depth + 1) for index, item in enumerate(arguments)]


def _if(compiler: LogicCompiler, arguments: list[Json], at: str, depth: int) -> Node:
    nodes = _arguments(compiler, arguments, at, depth)
    otherwise = nodes[-1] if len(nodes) % 2 else _NULL
    cases = list(zip(nodes[0:-1:2], nodes[1::2], strict=False))

    def choose(data: Json, frame: Frame) -> Json:
        for condition, then in cases:
            if truthy(condition(data, frame)):
                return then(data, frame)
        return otherwise(data, frame)

    return choose


def _and_or(*, stops_at: bool) -> _Make:
    def make(compiler: LogicCompiler, arguments: list[Json], at: str, depth: int) -> Node:
        nodes = _arguments(compiler, arguments, at, depth)

        def combine(data: Json, frame: Frame) -> Json:
            value: Json = None
            for node in nodes:
                value = node(data, frame)
                if truthy(value) is stops_at:
                    break
            return value

        return combine

    return make


def _var(compiler: LogicCompiler, arguments: list[Json], at: str, depth: int) -> Node:
    path: Json = arguments[0] if arguments else ""
    default = compiler.node(arguments[1], f"{at}/1", depth + 1) if len(arguments) > 1 else _NULL
    if isinstance(path, dict | list):
        computed = compiler.node(path, f"{at}/0", depth + 1)
        return lambda data, frame: _read(data, frame, text(computed(data, frame)), default)
    fixed = text(path)
    if fixed == "" or fixed.startswith(_OWN):
        return lambda data, frame: _read(data, frame, fixed, default)

    def read(data: Json, frame: Frame) -> Json:
        there, value = look_up(data, fixed)
        return value if there else default(data, frame)

    return read


def _read(data: Json, frame: Frame, path: str, default: Node) -> Json:
    if path == "":
        return data
    if path == _OWN or path.startswith(_OWN + "."):
        data = {_OWN: {"flagKey": frame.flag, "timestamp": frame.timestamp}}
    there, value = look_up(data, path)
    return value if there else default(data, frame)


def _absent(data: Json, frame: Frame, names: list[Json]) -> list[Json]:
    frame.spend(len(names))
    return [name for name in names if _read(data, frame, text(name), _NULL) in (None, "")]


def _missing(compiler: LogicCompiler, arguments: list[Json], at: str, depth: int) -> Node:
    nodes = _arguments(compiler, arguments, at, depth)

    def missing(data: Json, frame: Frame) -> Json:
        names = [node(data, frame) for node in nodes]
        return _absent(data, frame, names[0] if names and isinstance(names[0], list) else names)

    return missing


def _missing_some(compiler: LogicCompiler, arguments: list[Json], at: str, depth: int) -> Node:
    least, names = _arguments(compiler, arguments, at, depth)

    def missing_some(data: Json, frame: Frame) -> Json:
        listed = names(data, frame)
        if not isinstance(listed, list):
            return []
        absent = _absent(data, frame, listed)
        wanted = least(data, frame)
        enough = isinstance(wanted, int | float) and len(listed) - len(absent) >= wanted
        return [] if enough else cast("Json", absent)

    return missing_some


def _listed(node: Node, data: Json, frame: Frame) -> list[Json]:
    value = node(data, frame)
    if not isinstance(value, list):
        return []
    frame.spend(len(value))
    return value


def _each(collect: Callable[[list[Json], Callable[[Json], Json]], Json]) -> _Make:
    """An operator of a list and a rule that reads each element as its data."""

    def make(compiler: LogicCompiler, arguments: list[Json], at: str, depth: int) -> Node:
        subject, rule = _arguments(compiler, arguments, at, depth)
        return lambda data, frame: collect(_listed(subject, data, frame), lambda item: rule(item, frame))

    return make


def _reduce(compiler: LogicCompiler, arguments: list[Json], at: str, depth: int) -> Node:
    subject, rule, initial = _arguments(compiler, arguments, at, depth)

    def reduce(data: Json, frame: Frame) -> Json:
        accumulator = initial(data, frame)
        for item in _listed(subject, data, frame):
            accumulator = rule({"current": item, "accumulator": accumulator}, frame)
        return accumulator

    return reduce


def _fractional(compiler: LogicCompiler, arguments: list[Json], at: str, depth: int) -> Node:
    nodes = _arguments(compiler, arguments, at, depth)
    keyed = not isinstance(arguments[0], list)
    literal = arguments[1:] if keyed else arguments
    if any(isinstance(part, dict) for item in literal if isinstance(item, list) for part in item):
        return _applied(fractional, nodes)
    if any(isinstance(item, dict) for item in literal):
        return _applied(fractional, nodes)
    buckets = read_buckets(literal)
    if not keyed:
        return lambda _, frame: deal(implicit_key(frame), buckets)
    key = nodes[0]

    def by_key(data: Json, frame: Frame) -> Json:
        value = key(data, frame)
        if isinstance(value, str):
            return deal(value, buckets)
        if value is None:
            return deal(implicit_key(frame), buckets)
        return fractional([value, *literal], frame)

    return by_key


# operator -> (fewest arguments, most, maker): those that decide themselves which arguments to evaluate, and over what.
_SPECIAL: Final[Mapping[str, tuple[int, int | None, _Make]]] = {
    "if": (1, None, _if),
    "?:": (1, None, _if),
    "and": (1, None, _and_or(stops_at=False)),
    "or": (1, None, _and_or(stops_at=True)),
    "var": (0, 2, _var),
    "missing": (0, None, _missing),
    "missing_some": (2, 2, _missing_some),
    "map": (2, 2, _each(lambda items, rule: [rule(item) for item in items])),
    "filter": (2, 2, _each(lambda items, rule: [item for item in items if truthy(rule(item))])),
    "all": (2, 2, _each(lambda items, rule: bool(items) and all(truthy(rule(item)) for item in items))),
    "none": (2, 2, _each(lambda items, rule: not any(truthy(rule(item)) for item in items))),
    "some": (2, 2, _each(lambda items, rule: any(truthy(rule(item)) for item in items))),
    "reduce": (3, 3, _reduce),
    "fractional": (1, None, _fractional),
}
KNOWN: Final = frozenset(_SPECIAL) | frozenset(OPERATORS) | frozenset(FLAGD) | {_REFERENCE}
FLAGD_ARGUMENTS: Final[Mapping[str, int]] = {name: count for name, (count, _) in FLAGD.items()}
_BOOLEAN: Final = {name for name, operator in OPERATORS.items() if operator.boolean} | {*FLAGD, "all", "none", "some"}


def results(logic: Json, pointer: str) -> Iterator[tuple[str, Json]]:
    """(pointer, value) of what a rule can give, as far as its text tells: literals, and true and false of tests."""
    if not isinstance(logic, dict):
        yield pointer, logic
        return
    if len(logic) != 1:
        return
    operator, given = next(iter(logic.items()))
    arguments = given if isinstance(given, list) else [given]
    at = f"{pointer}/{escape(operator)}"
    if operator in ("if", "?:"):
        for index in range(len(arguments)):
            if index % 2 or index == len(arguments) - 1:
                yield from results(arguments[index], f"{at}/{index}")
    elif operator == "fractional":
        for index, item in enumerate(arguments):
            if isinstance(item, list) and item:
                yield from results(item[0], f"{at}/{index}/0")
    elif operator in _BOOLEAN:
        yield at, True
        yield at, False
