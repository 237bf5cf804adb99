"""The fields of a flag and of its rules, the operators of its targeting, and how old it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from docs.generator.tables import REQUIRED, Field, code, table

from stanchion.controls.flags import FLAG_FIELDS, LOGIC_OPERATORS, RULE_FIELDS, FlagType, Reason
from stanchion.releases.flags import AGE_S_MAX, LOOK_S, LOST_S

_FLAG = {
    "flag": Field("new-review-flow", "The name by which it is asked for.", REQUIRED),
    "description": Field("The review page of next year.", "What it is for.", "empty"),
    "owner": Field("casework", "The team that answers for it.", REQUIRED),
    "labels": Field("{team: casework}", "Texts by which it is found; part of the version.", "none"),
    "risk": Field("high", "What a mistake in it can do; policy says which releases a level permits.", "`low`"),
    "type": Field("boolean", f"What its values are: {', '.join(code(kind) for kind in FlagType)}.", REQUIRED),
    "variants": Field("{on: true, off: false}", "1 to 100 names and their values, all of `type`.", REQUIRED),
    "default": Field("off", "The variant where nothing else is chosen.", "the caller's own value"),
    "enabled": Field("false", "False: the caller's own value, for everybody.", "`true`"),
    "rules": Field("[{serve: on}]", "Who gets what, in order; the table below.", "none"),
    "targeting": Field('{if: [{in: ["@example.com", {var: email}]}, "on"]}', "The same in flagd's form.", "none"),
    "evaluators": Field("{staff: {ends_with: [{var: email}, '@example.com']}}", "Parts that `targeting` names by `$ref`.", "none"),
    "metadata": Field("{team: casework}", "Texts, numbers, true and false that every answer carries.", "none"),
}  # fmt: skip
_RULE = {
    "when": Field('${context.plan == "gold"}', "One `${ }` that gives true or false.", "for everybody"),
    "serve": Field("on", "The variant of whoever it holds for. A rule has this or `split`.", "–"),
    "split": Field("{on: 10, off: 90}", "Variants and their shares, whole numbers.", "–"),
    "by": Field("${context.account}", "What shares are dealt by.", "`context.targetingKey`"),
    "seed": Field("spring", "Flags with one seed deal alike.", "the flag's name"),
    "description": Field("They asked for it.", "For readers.", "empty"),
}
_REASONS = {
    Reason.STATIC: "The flag has neither rules nor targeting: its default variant.",
    Reason.DEFAULT: "No rule chose: the default variant, or without one the caller's own value.",
    Reason.TARGETING_MATCH: "A rule served it, or the targeting chose it.",
    Reason.SPLIT: "Dealt by the shares of a rule.",
    Reason.DISABLED: "`enabled: false`: the caller's own value.",
    Reason.STALE: "Decided on what was known a while ago, see below.",
    Reason.ERROR: "The caller's own value; `error_code` and `message` say why.",
}


def _table(known: Sequence[str], said: Mapping[str, Field], where: str) -> str:
    if set(known) != set(said):
        raise SystemExit(f"{where}: the code has {sorted(known)}, the page says something of {sorted(said)}")
    rows = [(code(n), said[n].default or "–", code(said[n].example), said[n].meaning) for n in known]
    return table(("field", "default", "example", "meaning"), rows)


def _reasons() -> str:
    return table(("reason", "meaning"), [(code(reason.value), _REASONS[reason]) for reason in Reason])


def _ages() -> str:
    rows = [
        (f"up to {AGE_S_MAX:g} s", f"What is live. A process looks every {LOOK_S:g} s, and at once when it is told."),
        (f"over {AGE_S_MAX:g} s", "What was live then; the reason is `STALE`. `/health/dependencies` says `flags` is down."),
        (f"over {LOST_S:g} s", "The default variant of what was live then, for everybody; the reason is `STALE`."),
        ("never read", "503 `flag.unread`; the caller's own value."),
    ]  # fmt: skip
    return table(("age of what the process knows", "answers"), rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "flags.fields": lambda: _table(FLAG_FIELDS, _FLAG, "flag"),
    "flags.rules": lambda: _table(RULE_FIELDS, _RULE, "rule of a flag"),
    "flags.operators": lambda: " ".join(code(name) for name in sorted(LOGIC_OPERATORS)),
    "flags.reasons": _reasons,
    "flags.ages": _ages,
}
