"""A program made ready to execute: handlers looked up, constant config folded, positions known. Built once per pin set."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from stanchion.base import Internal, Invalid, Json
from stanchion.blueprints import Block, Op, OpKind, VerbSpec, config_scope
from stanchion.expressions import Scope
from stanchion.runs.types import Pinned, StepHandler

Render = Callable[[Scope], Json]
# Plans kept per process: a plan is a few kilobytes and rebuilt in under a millisecond.
_PLANS_MAX: Final = 512


@dataclass(slots=True, kw_only=True)
class OpPlan:
    """One op with everything about it that does not depend on a run. `uses` are the digests of the versions that it uses."""

    op: Op
    position: int
    path: str
    step_id: str
    verb: str
    handler: StepHandler | None
    writes: bool
    instant: bool
    constant: Mapping[str, Json]
    renders: tuple[tuple[str, Render], ...]
    uses: tuple[str, ...] = ()

    def config(self, scope: Scope) -> Mapping[str, Json]:
        """The step's config with every template and expression replaced by its value. Raises Invalid."""
        if not self.renders:
            return self.constant
        config = dict(self.constant)
        for key, render in self.renders:
            config[key] = render(scope)
        return config


@dataclass(slots=True, kw_only=True)
class Plan:
    """A program's blocks, by path, and what the steps of any run of it share."""

    pinned: Pinned
    blocks: Mapping[str, tuple[OpPlan, ...]]
    digests: Mapping[tuple[str, str], str]
    configs: Mapping[str, Mapping[str, Json]]
    _configs_in: dict[str, dict[str, Json]] = field(default_factory=dict[str, dict[str, Json]])

    def configs_in(self, environment: str) -> dict[str, Json]:
        """The pinned configs as expressions read them in an environment, by their spelling; resolved once."""
        found = self._configs_in.get(environment)
        if found is None:
            found = self._configs_in[environment] = config_scope(self.configs, environment)
        return found

    def block(self, path: str) -> Block:
        """The block as compiled."""
        return self.pinned.program.blocks[path]


class Plans:
    """Plans by pin set, the most recently used ones."""

    def __init__(self, handlers: Mapping[str, StepHandler], specs: Iterable[VerbSpec] = ()) -> None:
        self._handlers = handlers
        self._writing = frozenset(spec.verb for spec in specs if spec.effect == "write")
        self._plans: OrderedDict[tuple[str, str], Plan] = OrderedDict()

    def of(self, tenant: str, pinned: Pinned) -> Plan:
        """The plan of a pinned program."""
        key = (tenant, pinned.pins.digest)
        plan = self._plans.get(key)
        if plan is not None and plan.pinned is pinned:
            self._plans.move_to_end(key)
            return plan
        uses = _Uses(pinned)
        plan = self._plans[key] = Plan(
            pinned=pinned,
            blocks={
                path: tuple(self._op(op, position, uses) for position, op in enumerate(block.ops))
                for path, block in pinned.program.blocks.items()
            },
            digests={(pin.kind, pin.name): pin.digest for pin in pinned.pins.pins},
            configs={name: body for (kind, name), body in pinned.bodies.items() if kind == "config"},
        )
        self._plans.move_to_end(key)
        while len(self._plans) > _PLANS_MAX:
            self._plans.popitem(last=False)
        return plan

    def _op(self, op: Op, position: int, uses: _Uses) -> OpPlan:
        step = op.step
        verb = step.verb if step is not None else ""
        handler = self._handlers.get(verb)
        constant: dict[str, Json] = {}
        renders: list[tuple[str, Render]] = []
        config: Mapping[str, object] = step.config if step is not None else {}
        for key, value in config.items():
            render = _render(value)
            if render is None:
                constant[key] = cast("Json", value)
            else:
                renders.append((key, render))
        writes = verb in self._writing or getattr(handler, "effect", "none") == "write"
        return OpPlan(
            op=op,
            position=position,
            path=op.path,
            step_id=step.id if step is not None else "",
            verb=verb,
            handler=handler,
            writes=writes,
            instant=getattr(handler, "instant", False) is True,
            constant=constant,
            renders=tuple(renders),
            uses=uses.of(op, writes=writes),
        )


class _Uses:
    """Which versions each op of a pinned program uses: what its step names; if it writes, the policies of the approvals
    that it stands under (which are looked at again there, I8); and everything that no step names (the Blueprint itself,
    the configs that expressions read, what the named ones refer to), which every op uses."""

    def __init__(self, pinned: Pinned) -> None:
        self._digests = {(pin.kind, pin.name): pin.digest for pin in pinned.pins.pins}
        ops = [op for block in pinned.program.blocks.values() for op in block.ops]
        self._named = {op.path: op.step.references for op in ops if op.step is not None}
        named = {reference for references in self._named.values() for reference in references}
        self._common = tuple(digest for reference, digest in self._digests.items() if reference not in named)

    def of(self, op: Op, *, writes: bool) -> tuple[str, ...]:
        """The digests that an op uses, each once."""
        paths = (op.path, *op.approvals) if writes else (op.path,)
        named = [reference for path in paths for reference in self._named.get(path, ())]
        own = (self._digests[reference] for reference in named if reference in self._digests)
        return tuple(dict.fromkeys((*own, *self._common)))


def _render(value: object) -> Render | None:
    """How `value` is evaluated, or None if it is plain JSON all the way down."""
    for name in ("render", "evaluate"):
        method = getattr(value, name, None)
        if method is not None:
            return cast("Render", method)
    if isinstance(value, Mapping):
        members = {str(k): (_render(v), v) for k, v in cast("Mapping[Any, Any]", value).items()}
        if any(render is not None for render, _ in members.values()):
            return lambda scope: {k: v if r is None else r(scope) for k, (r, v) in members.items()}
    elif isinstance(value, list):
        elements = [(_render(v), v) for v in cast("list[Any]", value)]
        if any(render is not None for render, _ in elements):
            return lambda scope: [v if r is None else r(scope) for r, v in elements]
    return None


def unknown_verb(op: OpPlan) -> Internal:
    """The problem of a step whose verb this worker has no handler for."""
    return Internal(
        "step.unknown_verb",
        f"This worker has no handler for verb {op.verb!r} of step {op.path!r}.",
        hint="The worker runs another version of Stanchion than the one that published the Blueprint.",
    )


def runs_something(op: OpPlan) -> bool:
    """Whether the op is executed (a step, a fan-out), rather than decided on the way (a gate, a jump, the end)."""
    return op.op.kind in (OpKind.STEP, OpKind.FAN_OUT)


def truth(value: Json, path: str, field: str) -> bool:
    """What an `if` gave. Raises Invalid `expression.not_boolean` if that is neither true nor false."""
    if not isinstance(value, bool):
        raise Invalid(
            "expression.not_boolean",
            f"`{field}` of step {path!r} gave {type(value).__name__}, not true or false.",
            hint="Compare explicitly, such as `size(x) > 0`.",
        )
    return value
