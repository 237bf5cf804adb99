"""From a document to a Program: steps in order become operations with jump targets, block by block.

Layout of a block: its operations, then the blocks of its GOVERN steps' exits, then (in the root block and in a
for_each block) END. A LOGIC_GATE is `GATE then… JUMP else…`; an exit block is reached by its exit only and leads to the
end of the block it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from stanchion.base import Internal, Json
from stanchion.blueprints.approval import check_push, shown_by
from stanchion.blueprints.check import Fault, faults_of, in_order, to_issue
from stanchion.blueprints.configs import ANY, Findings, artifacts_named, check_config, compile_config, is_block_field
from stanchion.blueprints.durations import duration_s
from stanchion.blueprints.json_schema import closed, dangling, misfits
from stanchion.blueprints.reader import Read, read_document
from stanchion.blueprints.scopes import Approval, Place, steps_in
from stanchion.blueprints.types import (
    Block,
    Document,
    ForEach,
    Issue,
    Lookup,
    Op,
    OpKind,
    Program,
    Retry,
    Schema,
    Step,
    VerbSpec,
    Writing,
)
from stanchion.blueprints.values import Configs
from stanchion.blueprints.verbs import RESERVED, checking_schema, items_output, with_own
from stanchion.expressions import ROOTS, Expression

CONCURRENCY = 10
_FIELDS = frozenset({"id", "if", "retry", "timeout", "for_each"})


def compile_document(
    document: Document, *, verbs: Mapping[str, VerbSpec], lookup: Lookup
) -> tuple[Program | None, tuple[Issue, ...]]:
    """Read, check and compile a document.

    Returns the program, None if any issue is an error, and all issues in document order. Never raises for what the
    author wrote.
    """
    return compile_read(read_document(document), verbs=verbs, lookup=lookup)


def compile_read(
    read: Read, *, verbs: Mapping[str, VerbSpec], lookup: Lookup
) -> tuple[Program | None, tuple[Issue, ...]]:
    """The same for a document that is read already."""
    if read.body is None and read.issues:
        return None, read.issues
    program, faults = _compile(read.body, verbs, lookup)
    ids = [(k.pointer, name) for name, k in steps_in(read.body)]
    issues = [*read.issues, *(to_issue(f, read.positions, step=_step_of(f.pointer, ids)) for f in faults)]
    refused = any(i.severity == "error" for i in issues)
    return None if refused else program, in_order(issues)


def program_from_body(body: Mapping[str, Json], verbs: Mapping[str, VerbSpec], lookup: Lookup) -> Program:
    """The program of a published body; the same body always gives the same program.

    Raises Internal `blueprint.unreadable` if this version of Stanchion no longer accepts what was published.
    """
    program, faults = _compile(dict(body), verbs, lookup)
    if program is None or faults:
        reasons = "; ".join(f"{f.pointer}: {f.message}" for f in faults[:5])
        raise Internal(
            "blueprint.unreadable",
            f"The published Blueprint {body.get('blueprint')!r} does not compile any more: {reasons}",
            hint="Publish a corrected version of it.",
        )
    return program


def _step_of(pointer: str, ids: list[tuple[str, str]]) -> str | None:
    inside = [(p, name) for p, name in ids if pointer == p or pointer.startswith(p + "/")]
    return max(inside)[1] if inside else None


def _compile(body: Json, verbs: Mapping[str, VerbSpec], lookup: Lookup) -> tuple[Program | None, list[Fault]]:
    verbs = with_own(verbs)
    schema = checking_schema(verbs)
    faults = list(faults_of(body, schema))
    if not isinstance(body, dict):
        return None, faults
    findings = Findings(dict(reversed(list(steps_in(body)))), Configs(lookup), faults)
    return _Compiler(body, verbs, lookup, findings).program(), findings.faults


@dataclass(eq=False, slots=True)
class _Label:
    """A place in a block's operations that is not known yet when something jumps to it."""

    index: int = -1


@dataclass(slots=True)
class _Draft:
    """An operation before its labels are placed."""

    kind: OpKind
    path: str = ""
    step: Step | None = None
    condition: Expression | None = None
    target: _Label | None = None
    exits: dict[str, _Label] = field(default_factory=dict[str, _Label])
    approvals: tuple[str, ...] = ()
    own_fields: frozenset[str] = frozenset()

    def op(self) -> Op:
        return Op(
            kind=self.kind,
            path=self.path,
            step=self.step,
            condition=self.condition,
            target=self.target.index if self.target is not None else -1,
            exits={name: label.index for name, label in self.exits.items()},
            approvals=self.approvals,
            own_fields=self.own_fields,
        )


@dataclass(slots=True)
class _Exit:
    """A block to be laid out after the block that it replaces the rest of."""

    label: _Label
    steps: list[Json]
    pointer: str
    prefix: str
    place: Place


@dataclass(slots=True)
class _Layout:
    """Where a list of steps is laid out: the operations so far, the end to leave to, exits still to be laid out."""

    drafts: list[_Draft]
    pointer: str
    prefix: str
    end: _Label
    exits: list[_Exit] = field(default_factory=list[_Exit])


@dataclass(slots=True)
class _Compiler:
    body: dict[str, Json]
    verbs: Mapping[str, VerbSpec]
    lookup: Lookup
    findings: Findings
    blocks: dict[str, Block] = field(default_factory=dict[str, Block])
    ids: set[str] = field(default_factory=set[str])

    def program(self) -> Program:
        """The whole document."""
        input_schema = self._input(self.body.get("input"))
        steps = self.body.get("steps")
        drafts: list[_Draft] = []
        place = Place(input=input_schema)
        after = self._steps(steps if isinstance(steps, list) else [], "/steps", "", place, drafts)
        drafts.append(_Draft(OpKind.END))
        output = self.findings.template(self.body.get("output"), after, "/output", "")
        self.blocks[""] = Block(path="", ops=tuple(d.op() for d in drafts), output=output, outer=frozenset())
        return Program(
            name=str(self.body.get("blueprint", "")),
            description=str(self.body.get("description", "")),
            owner=str(self.body.get("owner", "")),
            input_schema=input_schema,
            output_schema=output.schema if output is not None else ANY,
            blocks=self.blocks,
            references=tuple(sorted(self.findings.references)),
        )

    def _input(self, declared: Json) -> Schema:
        """The schema of the input, closed; anything if what is written is no schema, so that its faults come alone."""
        if self.findings.broken("/input"):
            return ANY
        schema: Schema = {"type": "object", "properties": {}, **(declared if isinstance(declared, dict) else {})}
        if schema["type"] != "object":
            self._fault("/input/type", "document.schema", "A run's input is an object.", "Write type: object.")
            return ANY
        wrong = dangling(declared, "/input")
        for pointer, message, hint in wrong or misfits(declared, "/input"):
            self._fault(pointer, "document.schema", message, hint)
        return closed(schema)

    def _fault(self, pointer: str, code: str, message: str, hint: str = "", *, at_key: bool = False) -> None:
        self.findings.faults.append(Fault(pointer=pointer, code=code, message=message, hint=hint, at_key=at_key))

    def _steps(self, steps: list[Json], pointer: str, prefix: str, place: Place, drafts: list[_Draft]) -> Place:
        """Lay out a list of steps and the exit blocks of its GOVERN steps; the end label is the next operation."""
        layout = _Layout(drafts, pointer, prefix, _Label())
        for index, step in enumerate(steps):
            if isinstance(step, dict):
                place = self._step(step, f"{pointer}/{index}", place, layout)
        for way_out in layout.exits:
            drafts.append(_Draft(OpKind.JUMP, target=layout.end))
            way_out.label.index = len(drafts)
            self._steps(way_out.steps, way_out.pointer, way_out.prefix, way_out.place, drafts)
        layout.end.index = len(drafts)
        return place

    def _step(self, raw: dict[str, Json], pointer: str, place: Place, layout: _Layout) -> Place:
        ident = self._id(raw, pointer)
        verb = self._verb(raw, pointer)
        step = Step(
            id=ident,
            verb=verb or "",
            config={},
            raw={},
            guard=self._guard(raw, place, pointer, ident),
            retry=_retry(raw.get("retry")),
            timeout_s=_seconds(raw.get("timeout")),
        )
        if verb is None:
            return place.after(ident, ANY) if ident else place
        draft = _Draft(OpKind.STEP, path=f"{layout.prefix}{ident}")
        layout.drafts.append(draft)
        if verb == "for_each":
            output = self._block_of_items(raw, step, draft, pointer, place)
        elif verb == "logic_gate":
            output = self._gate(raw, step, draft, pointer, place, layout)
        else:
            return self._plain(raw, step, draft, pointer, place, layout)
        return place.after(ident, output) if ident else place

    def _id(self, raw: dict[str, Json], pointer: str) -> str:
        ident = raw.get("id")
        if not isinstance(ident, str):
            return ""
        if ident in self.ids:
            message = f"Another step is called {ident}; ids are unique in a Blueprint."
            self._fault(f"{pointer}/id", "blueprint.duplicate_id", message, "Give one of them another id.")
        if ident in RESERVED:
            message = f"{ident} is a word of the expression language."
            self._fault(f"{pointer}/id", "blueprint.reserved", message, f"Call it {ident}_step.")
        self.ids.add(ident)
        return ident

    def _verb(self, raw: dict[str, Json], pointer: str) -> str | None:
        """The step's one verb, or None with the fault said."""
        found = [name for name in raw if name in self.verbs]
        fan_out = raw.get("for_each")
        if isinstance(fan_out, dict) and "steps" in fan_out:
            found.insert(0, "for_each")
        for extra in found[1:]:
            message = f"A step has one verb, and this one has {found[0]} already."
            hint = "Put it under for_each.steps." if found[0] == "for_each" else "Make it a step of its own."
            self._fault(f"{pointer}/{extra}", "blueprint.two_verbs", message, hint, at_key=True)
        if not found and not any(name not in _FIELDS for name in raw):
            hint = f"Add one of: {', '.join(sorted(self.verbs))}."
            self._fault(pointer, "blueprint.no_verb", "The step has no verb.", hint)
        for name in ("retry", "timeout"):
            if found and found[0] in ("for_each", "logic_gate") and name in raw:
                message = f"{found[0]} with blocks takes no {name}."
                hint = "Give it to the steps inside."
                self._fault(f"{pointer}/{name}", "blueprint.misplaced", message, hint, at_key=True)
        return found[0] if found else None

    def _guard(self, raw: dict[str, Json], place: Place, pointer: str, ident: str) -> Expression | None:
        if "if" not in raw:
            return None
        return self.findings.expression(raw["if"], place, f"{pointer}/if", ident, wanted="boolean")

    def _config(
        self, step: Step, raw: dict[str, Json], pointer: str, place: Place
    ) -> tuple[Step, Mapping[str, Json], Schema]:
        """The step with its config compiled; the config as written; the schema of the verb's output."""
        spec = self.verbs[step.verb]
        written = raw.get(step.verb)
        if not isinstance(written, dict):
            return step, {}, ANY
        at = f"{pointer}/{step.verb}"
        broken = self._broken_outside_blocks(spec, written, at)
        config = compile_config(spec, written, place, at, step.id, self.findings)
        output = ANY if broken else check_config(spec, written, config, self.lookup, at, self.findings)
        references = artifacts_named(spec, written)
        return replace(step, config=config.values, raw=written, references=references), written, output

    def _broken_outside_blocks(self, spec: VerbSpec, written: Mapping[str, Json], pointer: str) -> bool:
        fields = [n for n, v in written.items() if not is_block_field(spec.config_schema, n, v)]
        return any(f.pointer == pointer for f in self.findings.faults) or any(
            self.findings.broken(f"{pointer}/{name}") for name in fields
        )

    def _plain(
        self, raw: dict[str, Json], step: Step, draft: _Draft, pointer: str, place: Place, layout: _Layout
    ) -> Place:
        inner = place
        if isinstance(raw.get("for_each"), dict):
            step, inner = self._decorated(raw, step, pointer, place)
            draft.kind = OpKind.FAN_OUT
        step, written, output = self._config(step, raw, pointer, inner)
        if step.for_each is not None or draft.kind is OpKind.FAN_OUT:
            output = items_output(output)
        draft.step = step
        draft.approvals = tuple(a.path for a in place.approvals)
        field = self._writes(step.verb, written) if place.approvals else None
        if field is not None:
            draft.own_fields, fault = check_push(written, place.approvals, f"{pointer}/{step.verb}", field)
            self.findings.faults += [fault] if fault is not None else []
        after = place.after(step.id, output) if step.id else place
        if step.verb == "govern":
            self._exits(written, step, draft, pointer, after, layout)
            if step.guard is None:
                shown = Approval(step.id, draft.path, shown_by(written))
                return replace(after, approvals=(*place.approvals, shown))
        return after

    def _writes(self, verb: str, written: Mapping[str, Json]) -> str | None:
        """The field of the config that says what is written, or None if the step writes nothing."""
        spec = self.verbs[verb]
        if isinstance(spec, Writing):
            return spec.written(written, self.lookup)
        return "record" if verb == "push" else None

    def _exits(
        self, written: Mapping[str, Json], step: Step, draft: _Draft, pointer: str, after: Place, layout: _Layout
    ) -> None:
        """The ways on of a GOVERN that is rejected or expires: out of the enclosing block, or to a block of its own."""
        for key, name in (("on_reject", "rejected"), ("on_expire", "expired")):
            way = written.get(key)
            if way == "skip":
                draft.exits[name] = layout.end
            elif isinstance(way, list):
                label = _Label()
                draft.exits[name] = label
                prefix = f"{layout.prefix}{step.id}/{key}/"
                layout.exits.append(_Exit(label, way, f"{pointer}/govern/{key}", prefix, after))

    def _gate(
        self, raw: dict[str, Json], step: Step, draft: _Draft, pointer: str, place: Place, layout: _Layout
    ) -> Schema:
        if "for_each" in raw:
            hint = "Put the gate under for_each.steps."
            self._fault(f"{pointer}/for_each", "blueprint.needs_block", "logic_gate has blocks.", hint, at_key=True)
        step, written, output = self._config(step, raw, pointer, place)
        condition = step.config.get("if")
        draft.kind, draft.step = OpKind.GATE, step
        draft.condition = condition if isinstance(condition, Expression) else None
        draft.approvals = tuple(a.path for a in place.approvals)
        otherwise, end = _Label(), _Label()
        draft.target, draft.exits["skipped"] = otherwise, end
        for branch in ("then", "else"):
            steps = written.get(branch)
            if branch == "else":
                if isinstance(steps, list):
                    layout.drafts.append(_Draft(OpKind.JUMP, target=end))
                otherwise.index = len(layout.drafts)
            at, prefix = f"{pointer}/logic_gate/{branch}", f"{draft.path}/{branch}/"
            self._steps(steps if isinstance(steps, list) else [], at, prefix, place, layout.drafts)
        end.index = len(layout.drafts)
        return output

    def _decorated(self, raw: dict[str, Json], step: Step, pointer: str, place: Place) -> tuple[Step, Place]:
        """A step-level for_each: the step with it, and the scope of its config."""
        at = f"{pointer}/for_each"
        written = cast("dict[str, Json]", raw["for_each"])
        if self.verbs[step.verb].suspends:
            message = f"{step.verb} may wait for long, so each item needs a run of its own."
            hint = f"Put the step under for_each.steps: for_each: {{in: …, steps: [{{id: …, {step.verb}: …}}]}}."
            self._fault(at, "blueprint.needs_block", message, hint, at_key=True)
        if "output" in written:
            message = "Without steps, an item gives the output of its verb."
            self._fault(f"{at}/output", "blueprint.misplaced", message, "Remove output, or use steps.", at_key=True)
        fan_out, inner = self._for_each(written, at, place, step.id, block=None)
        return replace(step, for_each=fan_out), inner

    def _for_each(
        self, written: dict[str, Json], at: str, place: Place, ident: str, *, block: str | None
    ) -> tuple[ForEach | None, Place]:
        items = self.findings.expression(written.get("in"), place, f"{at}/in", ident, wanted="array")
        alias = self._alias(written, at)
        most = written.get("max_failures")
        if most is not None and written.get("on_item_error") != "continue":
            message = "max_failures counts failures that do not stop the others."
            self._fault(
                f"{at}/max_failures", "blueprint.misplaced", message, "Add on_item_error: continue.", at_key=True
            )
        inner = place.of_item(_element(items), alias)
        if items is None:
            return None, inner
        concurrency = written.get("concurrency")
        how: Literal["stop", "continue"] = "continue" if written.get("on_item_error") == "continue" else "stop"
        made = ForEach(
            items=items,
            alias=alias,
            concurrency=concurrency if isinstance(concurrency, int) else CONCURRENCY,
            on_item_error=how,
            max_failures=most if isinstance(most, int) else None,
            block=block,
        )
        return made, inner

    def _alias(self, written: dict[str, Json], at: str) -> str | None:
        alias = written.get("as")
        if not isinstance(alias, str):
            return None
        if alias in RESERVED or alias in ROOTS:
            message = f"{alias} has a meaning of its own in expressions."
            self._fault(f"{at}/as", "blueprint.reserved", message, f"Call it {alias}_1, or leave `as` out.")
            return None
        return alias

    def _block_of_items(self, raw: dict[str, Json], step: Step, draft: _Draft, pointer: str, place: Place) -> Schema:
        """A for_each over a block: a Block of its own, run as a child per item."""
        at = f"{pointer}/for_each"
        written = cast("dict[str, Json]", raw["for_each"])
        fan_out, inner = self._for_each(written, at, place, step.id, block=draft.path)
        draft.kind, draft.step = OpKind.FAN_OUT, replace(step, for_each=fan_out)
        draft.approvals = tuple(a.path for a in place.approvals)
        reads: set[str] = set()
        self.findings.reading.append(reads)
        steps = written.get("steps")
        drafts: list[_Draft] = []
        after = self._steps(steps if isinstance(steps, list) else [], f"{at}/steps", f"{draft.path}/", inner, drafts)
        drafts.append(_Draft(OpKind.END))
        output = self.findings.template(written.get("output"), after, f"{at}/output", step.id)
        self.findings.reading.pop()
        outer = frozenset(self.findings.known[i].path for i in reads & set(place.steps) if i in self.findings.known)
        ops = tuple(d.op() for d in drafts)
        self.blocks[draft.path] = Block(path=draft.path, ops=ops, output=output, outer=outer)
        return items_output(output.schema if output is not None else ANY)


def _element(items: Expression | None) -> Schema:
    found = items.schema.get("items") if items is not None else None
    return found if isinstance(found, dict) else ANY


def _retry(written: Json) -> Retry:
    if not isinstance(written, dict):
        return Retry()
    attempts = written.get("attempts")
    how: Literal["exponential", "constant"] = "constant" if written.get("backoff") == "constant" else "exponential"
    return Retry(
        attempts=attempts if isinstance(attempts, int) else 1,
        backoff=how,
        initial_s=_seconds(written.get("initial")) or Retry().initial_s,
        max_s=_seconds(written.get("max")) or Retry().max_s,
    )


def _seconds(written: Json) -> float | None:
    return duration_s(written) if isinstance(written, str) else None
