"""What a seed does: which orders are started, with which inputs, and what people will do about them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from stanchion.base import Json
from stanchion.context import Actor
from tests.simulation.blueprints import LIMIT

TENANTS: Final = ("acme", "beta")
# What a person will do about an approval.
Habit = Literal["approve", "reject", "ignore", "self", "twice", "other"]


def person(tenant: str, name: str, *roles: str) -> Actor:
    """Somebody of a tenant."""
    return Actor(
        tenant=tenant, principal=name, principal_id=name, kind="user", roles=frozenset(roles), credential="api_key:1"
    )


def people(tenant: str) -> Mapping[str, Actor]:
    """Who starts runs (both may also approve), who approves, and who looks after failures."""
    names = {
        "ann": ("analyst", "approver"),
        "bob": ("analyst", "approver"),
        "cara": ("approver",),
        "dan": ("approver",),
    }
    found = {name: person(tenant, f"{name}-{tenant}", *roles) for name, roles in names.items()}
    found["olga"] = person(tenant, f"olga-{tenant}", "operator")
    return found


@dataclass(slots=True)
class Order:
    """One request to start a run, and what its people intend."""

    name: str
    tenant: str
    blueprint: str
    input: dict[str, Json]
    by: Actor
    at: float
    # Started twice at once, or again later, with the same key.
    twice: bool
    # Leaves it at that when the first answer does not come.
    gives_up: bool
    cancel_after: float | None
    cancel_item: bool
    habits: Mapping[str, Habit]
    # The amounts in play, by the order or line they belong to.
    amounts: Mapping[str, int]
    # How often the step of that name kills its process.
    deadly: int = 0
    # What came of it, by the client's own notes: run ids that were answered.
    answers: list[str] = field(default_factory=list[str])
    settled: bool = False


_HABITS: Final[tuple[Habit, ...]] = (
    "approve", "approve", "approve", "approve", "approve", "reject", "ignore", "self", "twice", "other",
)  # fmt: skip


class Workload:
    """The orders of one seed, drawn from its generator."""

    def __init__(self, rng: random.Random, chaos_s: float, deadly: int) -> None:
        self._rng = rng
        self._chaos_s = chaos_s
        self._numbers = 0
        self.people = {tenant: people(tenant) for tenant in TENANTS}
        kinds = ("errand", "payment", "parcel", "batch", "letter")
        makes = (self._errand, self._payment, self._parcel, self._batch, self._letter)
        self.orders: list[Order] = []
        for (kind, make), many in zip(zip(kinds, makes, strict=True), (5, 3, 3, 2, 3), strict=True):
            for _ in range(max(1, many + rng.randint(-1, 1))):
                self.orders.append(self._order(kind, *make()))
        for order in rng.sample([o for o in self.orders if o.blueprint == "errand"], deadly):
            order.deadly = rng.choice((1, 2, 3, 3))
        self.orders.sort(key=lambda order: order.at)

    def _order(self, blueprint: str, value: dict[str, Json], amounts: Mapping[str, int]) -> Order:
        rng = self._rng
        tenant = rng.choice(TENANTS)
        # A letter's effect of unknown outcome is the one thing that waits long for a person: cancel it then, too.
        cancelled = rng.random() < (0.3 if blueprint == "letter" else 0.12)
        return Order(
            name=str(value["order"]),
            tenant=tenant,
            blueprint=blueprint,
            input=value,
            by=self.people[tenant][rng.choice(("ann", "bob"))],
            at=rng.uniform(0.0, self._chaos_s * 0.9),
            twice=rng.random() < 0.25,
            gives_up=rng.random() < 0.1,
            cancel_after=rng.choice((0.05, 0.4, 2.0, 6.0)) * rng.random() if cancelled else None,
            cancel_item=rng.random() < 0.5,
            habits={name: rng.choice(_HABITS) for name in amounts},
            amounts=amounts,
        )

    def _name(self) -> str:
        self._numbers += 1
        return f"o{self._numbers}"

    def _fails(self) -> int:
        return self._rng.choice((0, 0, 0, 0, 1, 2, 3, 5))

    def _amount(self) -> int:
        return self._rng.randint(1, LIMIT * 2)

    def _errand(self) -> tuple[dict[str, Json], dict[str, int]]:
        rng = self._rng
        n = rng.randint(1, 60)
        value: dict[str, Json] = {"order": self._name(), "n": n, "fails": self._fails(), "fatal": rng.random() < 0.06}
        return value, {}

    def _payment(self) -> tuple[dict[str, Json], dict[str, int]]:
        name = self._name()
        return {"order": name}, {name: self._amount()}

    def _parcel(self) -> tuple[dict[str, Json], dict[str, int]]:
        rng = self._rng
        parts: list[Any] = [
            {"n": 10 * i + rng.randint(0, 9), "fails": self._fails(), "fatal": rng.random() < 0.06}
            for i in range(rng.randint(6, 19))
        ]
        return {"order": self._name(), "parts": parts}, {}

    def _batch(self) -> tuple[dict[str, Json], dict[str, int]]:
        rng = self._rng
        name = self._name()
        amounts = {f"{name}.{i}": self._amount() for i in range(rng.randint(2, 8))}
        lines: list[Any] = [
            {"line": line, "amount": amount, "fatal": rng.random() < 0.06} for line, amount in amounts.items()
        ]
        return {"order": name, "lines": lines}, amounts

    def _letter(self) -> tuple[dict[str, Json], dict[str, int]]:
        return {"order": self._name(), "pages": self._rng.randint(1, 99)}, {}
