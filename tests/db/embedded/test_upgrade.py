"""A data folder that an older version made has no role per process type: the next start makes them."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from stanchion.db import PROCESS_TYPES, Database, DatabaseUrls, login, migrate
from stanchion.db.embedded import EmbeddedPostgres
from stanchion.db.roles import FACES, face


def as_before(data: Path, owner_url: str) -> dict[str, str]:
    """Take from a running cluster what came with the roles; the passwords that the older version knew."""
    file = next(data.rglob("*credentials*.json"))
    kept = json.loads(file.read_text())
    url = owner_url.replace("stanchion_owner:" + kept["passwords"]["stanchion_owner"], "stanchion_super:" + kept["passwords"]["stanchion_super"])  # fmt: skip
    with psycopg.connect(url, autocommit=True) as connection:
        for role in ("stanchion_walled", "stanchion_across", *(face(p, f) for p in PROCESS_TYPES for f in FACES), *map(login, PROCESS_TYPES)):  # fmt: skip
            connection.execute(f"drop owned by {role}".encode())
            connection.execute(f"drop role {role}".encode())
        connection.execute("comment on database stanchion is 'Stanchion, set-up 1'")
    kept["passwords"] = {role: kept["passwords"][role] for role in kept["passwords"] if role not in map(login, PROCESS_TYPES)}  # fmt: skip
    file.write_text(json.dumps(kept))
    return dict(kept["passwords"])


@pytest.mark.parametrize("interrupted", [False, True])
async def test_an_older_folder_gets_the_roles_and_keeps_what_it_has(
    tmp_path: Path, interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres(tmp_path / "data", durable=False) as server:
        migrate(server.urls.owner)
        shared = DatabaseUrls(app=server.urls.app, engine=server.urls.engine)
        async with Database(shared) as database, database.tenant_tx("alpha") as tx:
            await tx.execute("insert into tenants (name, display_name) values ('alpha', '')")
        passwords = as_before(tmp_path / "data", server.urls.owner)
    if interrupted:  # after the roles were made, and before the start was whole

        def die(*_: object) -> None:
            raise psycopg.OperationalError("cut short")

        with monkeypatch.context() as patch:
            patch.setattr("stanchion.db.embedded.roles.set_up_database", die)
            with pytest.raises(Exception, match="cut short"):
                EmbeddedPostgres(tmp_path / "data", durable=False).start()
    with EmbeddedPostgres(tmp_path / "data", durable=False) as server:
        kept = json.loads(next((tmp_path / "data").rglob("*credentials*.json")).read_text())["passwords"]
        assert {role: kept[role] for role in passwords} == passwords
        migrate(server.urls.owner, exactly=True)
        url = server.urls.processes["web"]
        own = DatabaseUrls(app=url, engine=url, process="web")
        async with Database(own) as database, database.tenant_tx("alpha") as tx:
            assert await (await tx.execute("select name from tenants")).fetchall() == [("alpha",)]
