"""What a call is held to before anything is sent, pure: that it says what its operation does, that its run and the effect
ledger stand as it says, and that the released Blueprint wants exactly this.

The worker has committed the intent, under its claim; the broker believes none of it and looks again. Each refusal has a code
of its own, and nothing was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from stanchion.base import Denied, Internal, Invalid, Json, digest
from stanchion.blueprints import Op, Program
from stanchion.runs import Pinned
from stanchion.tools.adapter import Target
from stanchion.tools.broker.store import Standing
from stanchion.tools.broker.types import BrokerCall
from stanchion.tools.connectors import resource_of
from stanchion.tools.effects import args_digest, bound_digest
from stanchion.tools.records import check_arguments, check_record
from stanchion.tools.types import Asker, Connector, Record

_VERBS: Final[Mapping[str, frozenset[str]]] = {
    "fetch": frozenset({"fetch"}),
    "lookup": frozenset({"lookup"}),
    "push": frozenset({"push"}),
    "execute": frozenset({"execute"}),
    "probe": frozenset({"push", "execute"}),
}
_NOTHING_SENT: Final = (
    "Nothing was sent. A worker that is up to date does not ask for this; look at its version and its log."
)


def target_of(call: BrokerCall, connector: Connector, *, timeout_s: float) -> Target:
    """Where the call goes. Raises Invalid `broker.bad_call`, Denied `broker.no_asker`, NotFound as `resource_of`."""
    asker = call.asker
    if asker is None:
        raise Denied(
            "broker.no_asker", f"A {call.op} is made for a step of a run, and this names none.", hint=_NOTHING_SENT
        )
    if asker.tenant != call.tenant:
        raise Denied("broker.bad_call", "The call and its run belong to different tenants.", hint=_NOTHING_SENT)
    if call.operation not in _VERBS[call.op]:
        raise Invalid("broker.bad_call", f"A {call.op} has no operation {call.operation!r}.")
    resource, operation = resource_of(connector, call.resource, call.operation)
    if call.op == "probe" and operation.idempotency != "probe":
        raise Invalid("broker.bad_call", f"{connector.name}.{resource.name} declares no probe.")
    return Target(
        connector=connector,
        resource=resource,
        operation=operation,
        timeout_s=timeout_s,
        traceparent=call.traceparent,
        asker=asker,
        raw=raw_of(call) if call.operation in {"push", "execute"} else None,
    )


def writes(target: Target) -> bool:
    """Whether the call belongs to an effect."""
    return target.operation.effect != "read"


def record_of(call: BrokerCall) -> Record:
    """The record or the arguments that are sent. Raises Invalid `broker.bad_call`."""
    record = call.arguments.get("record")
    if not isinstance(record, Mapping):
        raise Invalid("broker.bad_call", f"A {call.op} needs its `record` as an object.")
    return record


def raw_of(call: BrokerCall) -> Json:
    """The same as the step has it, which an approval was shown."""
    return call.arguments.get("raw", call.arguments.get("record"))


def asked_arguments(call: BrokerCall) -> Mapping[str, Json]:
    """The arguments as policy judges them."""
    if "record" in call.arguments:
        return record_of(call)
    if call.op == "fetch":
        where = call.arguments.get("where")
        return where if isinstance(where, Mapping) else {}
    return dict(call.arguments)


def check_record_is_raw(target: Target, record_digest: str, raw: Json) -> None:
    """Return if what is sent, whose digest is given, is what the step has, as the connector's fields read it: an approval was
    shown that.

    Raises Invalid `push.bad_record` or `execute.bad_arguments`, Denied `broker.record_differs`.
    """
    held = (
        check_arguments(target.name, target.operation.parameters, cast("Any", raw))
        if target.operation.verb == "execute"
        else check_record(target.name, target.resource.fields, raw)
    )
    if digest(held) != record_digest:  # `==` would take true for 1
        raise Denied(
            "broker.record_differs",
            f"What is to be sent to {target.name} is not what the step has.",
            hint=_NOTHING_SENT,
        )


def check_run(call: BrokerCall, found: Standing | None) -> Standing:
    """Return what was found if the run stands as the call says: whose it is, who started it, who has it, its pins.

    Raises Denied: `broker.no_such_run`, `broker.stale_claim` (another worker has the run), `broker.not_pinned` (the run is
    not pinned to this version).
    """
    asker = asker_of(call)
    if found is None or (found.root_id, found.requested_by) != (asker.root_id, asker.principal):
        raise Denied(
            "broker.no_such_run", f"There is no run {asker.run_id} as the call describes it.", hint=_NOTHING_SENT
        )
    if found.status != "RUNNING" or found.epoch != asker.epoch:
        raise Denied(
            "broker.stale_claim",
            f"Run {asker.run_id} does not belong to the worker that asks any more.",
            hint=_NOTHING_SENT,
        )
    if not found.pinned:
        raise Denied(
            "broker.not_pinned",
            f"Run {asker.run_id} is not pinned to this version of {call.connector!r}.",
            hint=_NOTHING_SENT,
        )
    return found


def check_standing(call: BrokerCall, target: Target, args: str, found: Standing | None) -> Standing:
    """Return what was found if the run and its effect stand as the call says. `args`: of what is sent, as `args_of`.

    Raises Denied: as `check_run`; `broker.no_intent`, `broker.stale_intent`, `broker.other_effect` (the ledger has another
    key, connector or operation for this step), `broker.other_arguments`.
    """
    asker, found = asker_of(call), check_run(call, found)
    if found.effect_state != "INTENT":
        state = "nothing" if found.effect_state is None else found.effect_state
        raise Denied(
            "broker.no_intent",
            f"The ledger has {state} for step {asker.path!r}, and a call needs its intent.",
            hint=_NOTHING_SENT,
        )
    if found.effect_epoch != asker.epoch:
        raise Denied(
            "broker.stale_intent", f"The intent of step {asker.path!r} is of an earlier claim.", hint=_NOTHING_SENT
        )
    wanted = (call.key, target.connector.digest, f"{target.resource.name}.{target.operation.verb}")
    if (found.effect_key, found.effect_connector, found.effect_operation) != wanted:
        raise Denied(
            "broker.other_effect",
            f"The intent of step {asker.path!r} is for another call than this one.",
            hint=_NOTHING_SENT,
        )
    if found.effect_args != args:
        raise Denied(
            "broker.other_arguments", f"The intent of step {asker.path!r} is for other arguments.", hint=_NOTHING_SENT
        )
    return found


def args_of(target: Target, record: Record) -> str:
    """The digest that the ledger must have of what is sent."""
    return args_digest(target.connector, target.resource.name, target.operation.verb, record)


def op_of(pinned: Pinned, block: str, path: str) -> Op:
    """The operation of the released Blueprint at that path; an item's has its number after it. Raises Denied
    `broker.no_such_step`."""
    program: Program = pinned.program
    wanted = path.partition("[")[0] if path.endswith("]") else path
    for op in program.blocks[block].ops if block in program.blocks else ():
        if op.path == wanted and op.step is not None:
            return op
    raise Denied(
        "broker.no_such_step", f"The Blueprint {program.name!r} has no step {path!r} here.", hint=_NOTHING_SENT
    )


def check_step(op: Op, target: Target, pinned: Pinned) -> None:
    """Return if the step makes this call: destinations and tools are fixed in the released Blueprint (I12), and the tool's
    version in the run's pins (I7). A step that only simulates writes nothing.

    Raises Denied `broker.other_step`.
    """
    step, asker = op.step, target.asker
    verb = target.operation.verb
    said: Mapping[str, Json] = {} if step is None else step.raw
    wanted = {
        "connector": target.connector.name,
        "operation" if verb == "execute" else "resource": target.resource.name,
        "tool": "" if asker is None else asker.tool,
    }
    tools = {pin.digest for pin in pinned.pins.pins if (pin.kind, pin.name) == ("tool", wanted["tool"])}
    unpinned = asker is not None and bool(asker.tool) and asker.tool_digest not in tools
    other = step is None or step.verb != verb or any(said.get(name, "") != value for name, value in wanted.items())
    if step is None or other or unpinned or said.get("simulate") is True:
        through = f" through the tool {wanted['tool']!r}" if wanted["tool"] else ""
        raise Denied(
            "broker.other_step", f"Step {op.path!r} does not {verb} to {target.name}{through}.", hint=_NOTHING_SENT
        )


def shown_digest(op: Op, raw: Json) -> str:
    """The digest that an approval of the step must have shown."""
    return bound_digest(raw, op.own_fields)


def uses_of(pinned: Pinned, op: Op, connector_digest: str) -> tuple[str, ...]:
    """The digests of what the write uses: the Blueprint, the connector, the policies of the approvals it stands under."""
    steps = {found.path: found.step for block in pinned.program.blocks.values() for found in block.ops}
    named = [reference for path in op.approvals if (step := steps.get(path)) for reference in step.references]
    digests = {(pin.kind, pin.name): pin.digest for pin in pinned.pins.pins}
    own = [digests[reference] for reference in named if reference in digests]
    return tuple(dict.fromkeys((connector_digest, pinned.pins.pins[0].digest, *own)))


def asker_of(call: BrokerCall) -> Asker:
    """The step on whose behalf; `target_of` has refused a call without one."""
    if call.asker is None:
        raise Internal("internal.invariant", "a call without an asker came this far")
    return call.asker
