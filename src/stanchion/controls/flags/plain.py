"""Stanchion's own form of targeting: rules in order, each with a condition in CEL, serving a variant or dealing shares.

    rules:
      - when: ${context.plan == "gold"}
        serve: on
      - split: {on: 10, off: 90}      # everyone else; by `targetingKey` unless it says `by: ${context.account}`

The first rule whose condition holds decides; if none does, the default variant. Shares are dealt by flagd's
`fractional` over the text `<flag><key>` (`seed:` takes the flag's place, so that flags can share a division), in the
order of the variants' names: the order of a mapping does not survive storage and must not move anyone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from stanchion.base import Invalid, Json, did_you_mean
from stanchion.controls.flags.bucketing import WEIGHT_SUM_MAX, distribute
from stanchion.controls.flags.fractional import whole
from stanchion.controls.flags.logic import escape
from stanchion.controls.flags.types import (
    TARGETING_KEY,
    Choice,
    Decide,
    ErrorCode,
    Finding,
    Frame,
    Reason,
    Refused,
)
from stanchion.controls.flags.values import text
from stanchion.expressions import FaultyTemplate, Template, compile_template

RULES_MAX: Final = 100
FIELDS: Final = ("when", "serve", "split", "by", "seed", "description")
# What a condition reads: the attributes it is evaluated with, and the time as RFC 3339 in UTC.
SCOPE: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {
        "context": {"type": "object", "additionalProperties": True},
        "now": {"type": "string", "format": "date-time"},
    },
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. Either `serve` is a variant, or `shares` deals among `variants` by `by` (None: the targeting key)."""

    when: Template | None
    serve: str | None
    variants: tuple[str, ...] = ()
    shares: tuple[int, ...] = ()
    by: Template | None = None
    seed: str = ""


@dataclass(slots=True)
class RuleReader:
    """Reads the rules of one flag and gathers what is wrong with them."""

    flag: str
    variants: Mapping[str, Json]
    findings: list[Finding] = field(default_factory=list[Finding])

    def read(self, rules: Json) -> Decide | None:
        """Compile `rules`; None if they cannot be evaluated (a finding says why)."""
        if not isinstance(rules, list) or not 0 < len(rules) <= RULES_MAX:
            hint = "Leave `rules` out for a flag that is the same for everyone."
            self._wrong("/rules", f"`rules` is a list of 1 to {RULES_MAX} rules.", hint)
            return None
        made = [self._rule(rule, f"/rules/{index}") for index, rule in enumerate(rules)]
        for index, rule in enumerate(made[:-1]):
            if rule is not None and rule.when is None:
                hint = "Give it a `when`, or move it to the end."
                self._wrong(f"/rules/{index}", "This rule is for everyone, so those after it never apply.", hint, False)
        whole_rules = [rule for rule in made if rule is not None]
        return _decider(whole_rules) if len(whole_rules) == len(made) else None

    def _rule(self, rule: Json, at: str) -> Rule | None:
        if not isinstance(rule, dict):
            return self._wrong(at, "A rule is a mapping with `serve` or `split`.", "")
        for name in rule:
            if name not in FIELDS:
                self._wrong(f"{at}/{escape(name)}", f"A rule has no `{name}`.", did_you_mean(name, FIELDS))
        before = len(self.findings)
        when = self._when(rule["when"], f"{at}/when") if "when" in rule else None
        if ("serve" in rule) == ("split" in rule):
            self._wrong(at, "A rule has either `serve` or `split`.", "serve: on, or split: {on: 10, off: 90}.")
            return None
        if "serve" in rule:
            self._alone(rule, at)
            serve = self._variant(rule["serve"], f"{at}/serve")
            made = Rule(when=when, serve=serve)
        else:
            made = self._split(rule, when, at)
        return None if any(finding.fatal for finding in self.findings[before:]) else made

    def _alone(self, rule: Mapping[str, Json], at: str) -> None:
        for name in ("by", "seed"):
            if name in rule:
                self._wrong(f"{at}/{name}", f"`{name}` belongs to `split`; this rule serves one variant.", "Remove it.")

    def _split(self, rule: Mapping[str, Json], when: Template | None, at: str) -> Rule:
        split = rule["split"]
        shares: dict[str, int] = {}
        if not isinstance(split, dict) or not split:
            self._wrong(f"{at}/split", "`split` maps variants to shares.", "split: {on: 10, off: 90}")
            split = {}
        for name in sorted(split):
            self._variant(name, f"{at}/split/{escape(name)}")
            shares[name] = self._share(split[name], f"{at}/split/{escape(name)}")
        total = sum(shares.values())
        if split and not 0 < total <= WEIGHT_SUM_MAX:
            message = f"The shares add up to {total}; they must add up to 1 to {WEIGHT_SUM_MAX}."
            self._wrong(f"{at}/split", message, "Give at least one variant a share above 0.")
        by = self._template(rule["by"], f"{at}/by") if "by" in rule else None
        seed = rule.get("seed", self.flag)
        if not isinstance(seed, str):
            self._wrong(f"{at}/seed", "`seed` is a text.", "Put it in quotes.")
            seed = ""
        return Rule(when=when, serve=None, variants=tuple(shares), shares=tuple(shares.values()), by=by, seed=seed)

    def _share(self, value: Json, at: str) -> int:
        share = whole(value)
        if share is None or share < 0:
            self._wrong(at, "A share is a whole number from 0.", "For half a percent write 1 beside 199.")
            return 0
        return share

    def _variant(self, name: Json, at: str) -> str:
        if not isinstance(name, str) or name not in self.variants:
            self._wrong(at, f"There is no variant {text(name)!r}.", did_you_mean(text(name), self.variants))
            return ""
        return name

    def _when(self, value: Json, at: str) -> Template | None:
        made = self._template(value, at)
        if made is None:
            return None
        if made.value != value or not made.expressions or made.schema.get("type", "boolean") != "boolean":
            message = "`when` is one `${ }` that gives true or false."
            self._wrong(at, message, 'when: ${context.plan == "gold"}. A rule without `when` is for everyone.')
        return made

    def _template(self, value: Json, at: str) -> Template | None:
        try:
            return compile_template(value, SCOPE, where=f"flag {self.flag}, {at}")
        except FaultyTemplate as error:
            for string in error.strings:
                for fault in string.faults:
                    self.findings.append(
                        Finding(
                            pointer=at + string.pointer,
                            code=fault.code,
                            message=fault.message,
                            hint=fault.hint,
                            fatal=True,
                            text=string.source,
                            offset=fault.offset,
                        )
                    )
            return None

    def _wrong(self, pointer: str, message: str, hint: str, fatal: bool = True) -> None:
        self.findings.append(Finding(pointer=pointer, code="flag.rule", message=message, hint=hint, fatal=fatal))


def _decider(rules: Sequence[Rule]) -> Decide:
    reads_now = any("now" in t.paths for rule in rules for t in (rule.when, rule.by) if t is not None)

    def decide(frame: Frame) -> Choice | None:
        scope: dict[str, Json] = {"context": dict(frame.attributes)}
        if reads_now:
            scope["now"] = datetime.fromtimestamp(frame.timestamp, UTC).isoformat().replace("+00:00", "Z")
        for rule in rules:
            if rule.when is None or _holds(rule.when, scope):
                if rule.serve is not None:
                    return rule.serve, Reason.TARGETING_MATCH
                return _dealt(rule, scope, frame)
        return None

    return decide


def _holds(when: Template, scope: Mapping[str, Json]) -> bool:
    """Whether a condition holds. One that gives no answer ends the evaluation: to skip it could serve what it keeps
    from someone."""
    value = _rendered(when, scope)
    if not isinstance(value, bool):
        raise Refused(ErrorCode.GENERAL, f"`{when.value}` gave {text(value)!r}, and must give true or false.")
    return value


def _dealt(rule: Rule, scope: Mapping[str, Json], frame: Frame) -> Choice:
    key = frame.attributes.get(TARGETING_KEY) if rule.by is None else _rendered(rule.by, scope)
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        what = f"`{TARGETING_KEY}`" if rule.by is None else f"`{text(rule.by.value)}`"
        raise Refused(ErrorCode.TARGETING_KEY_MISSING, f"Shares are dealt by {what}, which is no text here.")
    index = distribute(rule.seed + text(key), rule.shares)
    if index is None:
        raise Refused(ErrorCode.GENERAL, "The shares of the split add up to nothing.")
    return rule.variants[index], Reason.SPLIT


def _rendered(template: Template, scope: Mapping[str, Json]) -> Json:
    try:
        return template.render(scope)
    except Invalid as error:
        # The hint of expressions speaks of steps and connectors; here there is one way to lack a value.
        hint = "Ask has(context.<name>) first where an attribute may be missing."
        raise Refused(ErrorCode.GENERAL, f"{error.message} {hint}") from error
