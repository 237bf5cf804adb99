"""Whether a run that has begun may go on with another version of its Blueprint: pure.

A run keeps its place: the operations that it has passed must be the same in both versions, and so must the step it stands
at if that has already done something that lasts (written, asked somebody, fanned out). What comes after may differ: that is
what the other version is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stanchion.blueprints import ForEach, Op, OpKind, Program, Step
from stanchion.expressions import Expression
from stanchion.runs.revoking import OpenRun


def misplaced(run: OpenRun, old: Program, new: Program, *, lasts: Callable[[str], bool]) -> str:
    """Why a run (or item) cannot keep its place in the other version; empty if it can. `lasts`: whether a verb leaves
    something that a second attempt must find as it was."""
    if run.block not in new.blocks:
        return f"the other version has no block {run.block!r}"
    before, after = old.blocks[run.block].ops, new.blocks[run.block].ops
    passed = _first_difference(before[: run.cursor], after)
    if passed is not None:
        return f"step {passed!r}, which it has passed, is another one there"
    now = before[run.cursor]
    if run.cursor >= len(after) or not _same_place(now, after[run.cursor]):
        return f"step {now.path or 'output'!r}, at which it stands, is not there"
    bound = now.kind is OpKind.FAN_OUT or (now.step is not None and lasts(now.step.verb))
    if run.begun and bound and not _same(now, after[run.cursor]):
        return f"step {now.path!r}, which it has begun, is another one there"
    return ""


def _first_difference(passed: Sequence[Op], other: Sequence[Op]) -> str | None:
    for number, op in enumerate(passed):
        if number >= len(other) or not _same(op, other[number]):
            return op.path or f"operation {number + 1}"
    return None


def _same_place(one: Op, other: Op) -> bool:
    verbs = (one.step.verb if one.step else "", other.step.verb if other.step else "")
    return (one.kind, one.path) == (other.kind, other.path) and verbs[0] == verbs[1]


def _same(one: Op, other: Op) -> bool:
    return (
        _same_place(one, other)
        and _source(one.condition) == _source(other.condition)
        and (one.approvals, one.own_fields) == (other.approvals, other.own_fields)
        and _written(one.step) == _written(other.step)
    )


def _written(step: Step | None) -> object:
    """A step as it was written."""
    if step is None:
        return None
    return (step.id, step.verb, step.raw, _source(step.guard), _fan_out(step.for_each))


def _fan_out(each: ForEach | None) -> object:
    if each is None:
        return None
    return (_source(each.items), each.alias, each.concurrency, each.on_item_error, each.max_failures, each.block)


def _source(expression: Expression | None) -> str | None:
    return None if expression is None else expression.source


def deciding_steps(program: Program, key: tuple[str, str]) -> list[str]:
    """Paths of the steps that let an artifact decide about the run: those that ask by a policy."""
    ops = [op for block in program.blocks.values() for op in block.ops]
    return [op.path for op in ops if op.step is not None and op.step.verb == "govern" and key in op.step.references]
