"""What is no setting because it changes behaviour: which words of a key say so, and which artifact owns it instead.

Settings say where a process runs; what an application does is versioned, reviewed and rolled back, so it is an artifact
(DESIGN §1). A key such as `STANCHION_RISK_FINE_EUR` is refused like any that is unknown, and told where it belongs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# The way out by the kind that owns a value. `{name}` and `{key}` are made from the refused key; `{spelled}` is the name as
# expressions spell it.
_WAYS: Final[dict[str, str]] = {
    "config": (
        "Write it into a config: `config: {name}`, `values: {{{key}: …}}`. Expressions read it as config.{spelled}.{key},"
        " and it is released and rolled back like a Blueprint."
    ),
    "policy": "Write it into a policy (`policy: {name}`, `type: approval`): `when`, `ask.roles`, `ask.expires`.",
    "flag": "Write it into a flag: `flag: {name}`; `stanchion flag` lists, enables and disables them.",
    "blueprint": "Write it into the Blueprint: at the step as retry, timeout or for_each, or as the step itself.",
    "connector": "Write it into the connector: `connector: {name}`, with its address, resources and limits.",
    "prompt": "It belongs into a prompt. Where no kind prompt is registered, keep the text in a config: `config: {name}`.",
    "route": "It belongs into a model route. Where no kind route is registered, keep the value in a config: `config: {name}`.",
    "index": "It belongs into an index. Where no kind index is registered, keep the value in a config: `config: {name}`.",
    "eval_suite": (
        "It belongs into an eval suite. Where no kind eval_suite is registered, keep the value in a config: `config: {name}`."
    ),
    "release": (
        "It is said of each rollout: `stanchion release canary --steps 10:1h,50:1h,100`; what a rollout needs is said by a"
        " policy of type gate."
    ),
    "kill": "It is a switch of the running system: `stanchion kill KIND/NAME --reason …`, for every process within a second.",
}

# Words of a key by the kind that owns what they are about. Those of `_ANYWHERE` say it wherever they stand; the others only
# as the first word, because settings have them too (`tools.connectors_root`, `web.header_timeout_s`).
_ANYWHERE: Final[dict[str, str]] = {
    **dict.fromkeys(("risk", "risks", "threshold", "thresholds", "tolerance", "behaviour", "behavior"), "config"),
    **dict.fromkeys(("approval", "approvals", "approver", "approvers", "supervisor", "policy", "policies"), "policy"),
    **dict.fromkeys(("flag", "flags", "feature", "features"), "flag"),
    **dict.fromkeys(("blueprint", "blueprints", "retry", "retries", "backoff"), "blueprint"),
    **dict.fromkeys(("prompt", "prompts"), "prompt"),
    **dict.fromkeys(("model", "models", "llm", "temperature", "route", "routes"), "route"),
    **dict.fromkeys(("embedding", "embeddings", "chunk", "chunks"), "index"),
    **dict.fromkeys(("eval", "evals"), "eval_suite"),
    **dict.fromkeys(("canary", "rollout", "rollouts"), "release"),
}
_FIRST: Final[dict[str, str]] = {
    **dict.fromkeys(("config", "configs", "limit", "limits", "text", "texts", "value", "values"), "config"),
    **dict.fromkeys(("connector", "connectors"), "connector"),
    **dict.fromkeys(("index", "indexes", "retrieval"), "index"),
    **dict.fromkeys(("gate", "gates"), "release"),
    **dict.fromkeys(("kill", "kills"), "kill"),
}
_KIND_WORDS: Final[dict[str, str]] = {"eval_suite": "eval suite", "route": "model route"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """Which kind of artifact owns what a key is about: its name, a sentence that says so, and the way out."""

    kind: str
    message: str
    hint: str


def owner_of(key: str) -> Owned | None:
    """The owner of a key (`risk.fine_eur`, `RISK_FINE_EUR`), or None if it says nothing about behaviour."""
    words = [word for word in re.split(r"[^a-z0-9]+", key.lower()) if word]
    kind = _FIRST.get(words[0]) if words else None
    kind = kind or next((_ANYWHERE[word] for word in words if word in _ANYWHERE), None)
    if kind is None:
        return None
    name, rest = _named(words, kind)
    said = _KIND_WORDS.get(kind, kind)
    message = {
        "release": "It is about a release, which is no setting.",
        "kill": "It is about a kill switch, which is no setting.",
    }.get(kind, f"It changes behaviour, and what changes behaviour is an artifact: {_article(said)} {said}.")
    hint = _WAYS[kind].format(name=name, key=rest, spelled=name.replace("-", "_"))
    return Owned(kind=kind, message=message, hint=hint)


def _named(words: list[str], kind: str) -> tuple[str, str]:
    """An artifact's name and a key in it, made from the words of a refused key: the kind's own word names nothing."""
    rest = words[1:] if len(words) > 1 and words[0].removesuffix("s") == kind else words
    name = rest[0] if rest[0][0].isalpha() else f"{kind}-{rest[0]}"
    key = "_".join(rest[1:]) or "value"
    return name, key if key[0].isalpha() else f"value_{key}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
