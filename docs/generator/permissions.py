"""Which role permits which action, as the shipped policy decides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generator.tables import code, table

from stanchion.identity import ROLES, role_matrix

_ROLES = {
    "viewer": "reads runs and what is live",
    "analyst": "submits tasks and starts runs, and follows them",
    "author": "writes and applies Blueprints, connectors and policies",
    "approver": "decides approvals, and what models are told of tools",
    "operator": "keeps runs going: cancel, retry, dead letters, effects, metrics",
    "admin": "manages principals, keys and tenants",
    "auditor": "reads everything, the audit log included, and changes nothing",
    "service": "a program that starts runs and reads their results",
}


def _matrix() -> str:
    matrix = role_matrix()
    rows = [
        (code(action), *("yes" if permitted[role] else "" for role in ROLES)) for action, permitted in matrix.items()
    ]
    return table(("action", *ROLES), rows)


def _roles() -> str:
    if missing := set(ROLES) ^ _ROLES.keys():
        raise SystemExit(f"permissions: the roles differ: {missing}")
    return table(("role", "for somebody who"), [(code(role), said) for role, said in _ROLES.items()])


PARTS: Mapping[str, Callable[[], str]] = {
    "permissions.matrix": _matrix,
    "permissions.roles": _roles,
}
