"""The labour-costs example set up: the systems' data, the documents with the addresses of today, the credentials."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from importlib import resources
from pathlib import Path
from typing import Any, Final, LiteralString, cast

import psycopg

from stanchion.base.errors import NotFound
from stanchion.cli.demo.casebook import leave_address
from stanchion.cli.demo.labour.systems import Erp, FieldSystem
from stanchion.db.embedded import guest_database

BLUEPRINT: Final = "labour-costs"
PERIOD: Final = "2026-10"
_PORTS: Final = {"field-system": 8731, "erp": 8732}
_CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The files of the example."""

    folder: Path
    sheets: list[dict[str, Any]]
    rates: list[dict[str, Any]]

    def documents(self, addresses: Mapping[str, str]) -> list[dict[str, str]]:
        """The documents to apply, with the systems' addresses as they are today: origin by connector."""
        made: list[dict[str, str]] = []
        for file in sorted(self.folder.glob("*.yaml")):
            source = file.read_text(encoding="utf-8")
            for connector, port in _PORTS.items():
                source = source.replace(f"http://127.0.0.1:{port}", addresses[connector])
            made.append({"path": file.name, "source": source})
        return made

    def totals(self) -> dict[str, Decimal]:
        """What is to be posted per cost centre, computed a second time, without Stanchion."""
        rates = {rate["grade"]: Decimal(rate["rate_eur"]) for rate in self.rates}
        found: dict[str, Decimal] = {}
        for sheet in self.sheets:
            cost = (Decimal(sheet["hours"]) * rates[sheet["grade"]]).quantize(_CENT, ROUND_HALF_UP)
            found[sheet["cost_centre"]] = found.get(sheet["cost_centre"], Decimal(0)) + cost
        return found


def load_example() -> Example:
    """Read the example from the installed package, or from the repository it is developed in."""
    inside = Path(str(resources.files("stanchion"))) / "examples" / BLUEPRINT
    beside = Path(str(resources.files("stanchion"))).parents[1] / "examples" / BLUEPRINT
    folder = next((found for found in (inside, beside) if (found / "blueprint.yaml").is_file()), None)
    if folder is None:
        raise NotFound(
            "demo.no_example", "This installation has no examples/labour-costs.", hint="Reinstall stanchion."
        )
    return Example(
        folder=folder, sheets=_lines(folder / "data/time-sheets.jsonl"), rates=_lines(folder / "data/rates.jsonl")
    )


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


class Ledger:
    """The labour ledger as its owner sees it."""

    def __init__(self, url: str) -> None:
        self._url = url

    @classmethod
    def make(cls, example: Example, data: Path, root: Path) -> Ledger:
        """Make it anew and empty, and leave its address where the connector looks for it (0600)."""
        url = guest_database(data, "labour")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("drop schema if exists labour cascade")
            script = (example.folder / "seed" / "labour-ledger.postgresql.sql").read_text(encoding="utf-8")
            connection.execute(cast("LiteralString", script))  # the text of a shipped file, never input
        leave_address(root / "labour-ledger.url", url)
        return cls(url)

    def postings(self) -> dict[str, Decimal]:
        """Amount by cost centre."""
        with psycopg.connect(self._url) as connection:
            return dict(connection.execute("select cost_centre, amount_eur from labour.postings").fetchall())

    def twice(self) -> int:
        """How many postings were written more than once, by the ledger's own log; a second try under a used key is none."""
        with psycopg.connect(self._url) as connection:
            rows = connection.execute("select posting_id, idempotency_key from labour.received").fetchall()
        keys: dict[str, set[str]] = {}
        for posting, key in rows:
            keys.setdefault(str(posting), set()).add(str(key))
        return sum(len(found) > 1 for found in keys.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Systems:
    """The two HTTP systems, running. `credentials`: what they want, by the name of the secret and the connector."""

    field_system: FieldSystem
    erp: Erp

    @property
    def addresses(self) -> dict[str, str]:
        """Origin by connector."""
        return {"field-system": self.field_system.origin, "erp": self.erp.origin}

    @property
    def credentials(self) -> dict[str, tuple[str, str]]:
        """Name of the secret → (connector, value)."""
        return {
            "field-system/key": ("field-system", self.field_system.key),
            "erp/token": ("erp", self.erp.token),
        }

    def amounts(self) -> Counter[str]:
        """How many postings the ERP has per cost centre."""
        return Counter(str(record["cost_centre"]) for record in self.erp.facts().postings.values())


@contextmanager
def running(example: Example) -> Generator[Systems]:
    """Serve both systems for the block, with credentials made for it."""
    key, token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    with (
        FieldSystem(example.sheets, example.rates, key=key, port=_PORTS["field-system"]) as field_system,
        Erp(token=token, port=_PORTS["erp"]) as erp,
    ):
        yield Systems(field_system=field_system, erp=erp)
