"""A frozen worker must not keep a target's locks: its successor waits for the key's."""

from __future__ import annotations

from pathlib import Path

from stanchion.base import SystemClock
from stanchion.tools.adapters.call import Call
from stanchion.tools.adapters.postgresql import PostgresDriver
from stanchion.tools.adapters.registry import Adapters
from tests.conformance import worlds
from tests.conformance.test_adapters import make_target_database


async def test_the_target_ends_a_transaction_in_which_nothing_moves(tmp_path: Path, fresh_database_urls) -> None:
    adapters = Adapters(tmp_path, SystemClock())
    postgres = worlds.make_postgres(tmp_path, adapters, make_target_database(fresh_database_urls.owner))
    driver = PostgresDriver(tmp_path)
    call = Call(target=postgres.target("cases", "fetch"), clock=SystemClock())
    wanted = "select setting::int as ms from pg_settings where name = 'idle_in_transaction_session_timeout'"
    [said] = await driver.read(call, wanted, {}, 0, 1)
    assert 1 <= int(str(said["ms"])) <= 5000
    await driver.close()
    await adapters.close()
