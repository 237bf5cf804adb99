"""Documents of two real kinds, applied the way the HTTP route does it."""

from __future__ import annotations

import dataclasses

from stanchion.approvals import GovernVerb, PolicyKind
from stanchion.artifacts import Document
from stanchion.blueprints import BlueprintKind, program_from_body
from stanchion.context import Env
from stanchion.releases import Applied, Resolver, apply

VERBS = {"govern": GovernVerb()}
KINDS = {"blueprint": BlueprintKind(VERBS), "policy": PolicyKind()}

POLICY = """\
policy: supervisor-approval
type: approval
owner: casework
facts:
  type: object
  required: [fine_eur]
  properties:
    fine_eur: {type: number}
when: facts.fine_eur > 100000.0
"""
BLUEPRINT = """\
# How a case is triaged.
blueprint: case-triage
owner: casework
description: Ask a supervisor about high fines.
input:
  type: object
  required: [fine_eur]
  properties:
    fine_eur: {type: number}
steps:
  - id: approval
    govern:
      policy: supervisor-approval
      facts: {fine_eur: "${input.fine_eur}"}
      show: ["${input}"]
output: ${steps.approval.decision}
"""


def policy(name: str = "supervisor-approval", *changes: tuple[str, str]) -> Document:
    return Document(path=f"policies/{name}.yaml", source=_changed(POLICY.replace("supervisor-approval", name), changes))


def blueprint(name: str = "case-triage", *changes: tuple[str, str], of: str = "supervisor-approval") -> Document:
    source = BLUEPRINT.replace("case-triage", name).replace("supervisor-approval", of)
    return Document(path=f"blueprints/{name}.yaml", source=_changed(source, changes))


def _changed(source: str, changes: tuple[tuple[str, str], ...]) -> str:
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return source


async def apply_all(ctx, *documents: Document, dry_run: bool = False, changelog: str = "") -> Applied:
    return await apply(ctx, documents, kinds=KINDS, dry_run=dry_run, changelog=changelog)


def said(applied: Applied) -> list[tuple[str, str, int, str]]:
    return [(c.kind, c.name, c.version, c.change.value) for c in applied.changes]


def resolver_of(env: Env, clock=None) -> Resolver:
    env = dataclasses.replace(env, clock=clock) if clock else env
    return Resolver(env, lambda body, lookup: program_from_body(body, VERBS, lookup))
