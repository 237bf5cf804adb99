"""The stand-ins of the labour-costs example do what the example says of them, and its documents fit together."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest

from stanchion.cli.demo.labour.scene import Systems, load_example, running
from stanchion.cli.demo.labour.systems import HOST, SEEN, Erp


@pytest.fixture(scope="module")
def systems() -> Iterator[Systems]:
    with running(load_example()) as found:
        yield found


def ask(origin: str, method: str, target: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
    """Status and body; 0 where the connection ended without an answer."""
    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=10)
    try:
        connection.request(method, target, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except http.client.RemoteDisconnected:
        return 0, None
    finally:
        connection.close()


def insist(origin: str, target: str, headers: dict[str, str]) -> Any:
    """The body of a GET that is repeated while the system is busy."""
    for _ in range(5):
        status, body = ask(origin, "GET", target, headers)
        if status != 503:
            assert status == 200
            return body
    raise AssertionError("busy five times in a row")


def test_the_field_system_gives_every_sheet_once_in_pages(systems: Systems) -> None:
    example, headers = load_example(), {"X-Api-Key": systems.field_system.key}
    found: list[str] = []
    after, pages = "", 0
    while True:
        target = f"/api/time-sheets?period=2026-10&after={after}"
        page = insist(systems.field_system.origin, target, headers)
        found += [sheet["sheet_id"] for sheet in page["items"]]
        pages += 1
        if page["next"] is None:
            break
        after = page["next"]
    assert found == [sheet["sheet_id"] for sheet in example.sheets]
    assert pages == 6
    assert systems.field_system.unavailable > 0
    assert insist(systems.field_system.origin, "/api/time-sheets?period=2026-11", headers) == {
        "items": [],
        "next": None,
    }
    assert insist(systems.field_system.origin, "/api/rates", headers)["items"] == example.rates


@pytest.mark.parametrize("headers", [{}, {"X-Api-Key": "guessed"}])
def test_the_field_system_wants_its_key(systems: Systems, headers: dict[str, str]) -> None:
    assert ask(systems.field_system.origin, "GET", "/api/rates", headers)[0] == 401


def posting(number: int) -> dict[str, Any]:
    return {"posting_id": f"2026-10/CC-{number}", "cost_centre": f"CC-{number}", "amount_eur": "1.00"}


def create(erp: Erp, record: dict[str, Any], key: str, token: str | None = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {erp.token if token is None else token}"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "account.posting.create", "params": [record, key]}
    return ask(erp.origin, "POST", "/jsonrpc", headers, call)


def test_the_erp_takes_a_key_once_whatever_it_answers() -> None:
    with Erp(token="t", port=0) as erp:
        assert create(erp, posting(1), "k1", token="guessed")[0] == 401
        assert erp.facts().received == 0
        answers = [create(erp, posting(n), f"k{n}") for n in (1, 2, 3, 1, 2, 3, 3)]
        statuses = [status for status, _ in answers]
        assert statuses == [200, 0, 200, 503, 200, 200, 200]
        assert answers[0][1]["result"] == {"number": "POST-00001"}
        assert answers[4][1]["error"]["code"] == SEEN
        facts = erp.facts()
        assert len(facts.postings) == 3
        assert facts.twice == 0
        assert facts.faults == {"answered 503": 1, "took it, and lost the connection": 1}


def test_the_erp_would_see_a_posting_made_twice() -> None:
    with Erp(token="t", port=0) as erp:
        create(erp, posting(1), "k1")
        create(erp, posting(1), "another key for the same posting")
        assert erp.facts().twice == 1


def test_a_port_in_use_is_no_obstacle() -> None:
    with Erp(token="t", port=0) as first:
        taken = urlsplit(first.origin).port
        assert taken is not None
        with Erp(token="t", port=taken) as second:
            assert urlsplit(second.origin).hostname == HOST
            assert urlsplit(second.origin).port != taken


def test_the_documents_name_todays_addresses_and_no_credential() -> None:
    addresses = {"field-system": "http://127.0.0.1:1111", "erp": "http://127.0.0.1:2222"}
    text = "\n".join(document["source"] for document in load_example().documents(addresses))
    assert "http://127.0.0.1:1111/api" in text
    assert "http://127.0.0.1:2222" in text
    assert ":8731" not in text
    assert ":8732" not in text
    assert text.count("secret://") == 2


def test_the_totals_are_exact_and_two_of_them_are_large() -> None:
    totals = load_example().totals()
    assert sum(totals.values()) == Decimal("56114.61")
    assert sorted(name for name, amount in totals.items() if amount > 12_000) == ["CC-110", "CC-120"]
