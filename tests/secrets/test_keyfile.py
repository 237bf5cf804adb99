"""The key file: where it may lie, whose it must be, and how its keys are changed without losing one."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from stanchion.base import Problem, SystemClock, SystemIds
from stanchion.secrets import SecretRef
from stanchion.secrets.holding import KeyFile, Keyring
from tests.secrets.conftest import holder_of
from tests.support.root import needs_root

IDS = SystemIds(SystemClock())
LINE = "0f" * 32


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    data, folder = tmp_path / "data", tmp_path / "keys"
    data.mkdir()
    folder.mkdir(mode=0o700)
    return data, folder / "secrets.key"


def refused(file: KeyFile) -> Problem:
    with pytest.raises(Problem) as caught:
        file.read()
    assert LINE not in str(caught.value)
    assert LINE[:8] not in repr(caught.value.__cause__)
    return caught.value


def written(path: Path, text: str = LINE + "\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_that_is_made_is_its_owners_alone(place):
    data, path = place
    file = KeyFile(path.parent / "new" / "secrets.key", data=data)
    assert refused(file).code == "secret.missing"
    file.make(IDS)
    (kek,) = file.read()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert kek.key.hex() not in repr(kek)
    file.make(IDS)  # who comes second keeps what the first wrote
    assert file.read()[0].id == kek.id
    assert [one.name for one in file.path.parent.iterdir()] == ["secrets.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o700, 0o666])
def test_a_file_that_others_may_read_is_refused(place, mode):
    data, path = place
    assert refused(KeyFile(written(path, mode=mode), data=data)).code == "secret.too_open"


@needs_root("only root can give a file to somebody else")
def test_a_file_of_somebody_else_is_refused(place):
    data, path = place
    os.chown(written(path), 12345, 12345)
    assert refused(KeyFile(path, data=data)).code == "secret.foreign_owner"


@needs_root("only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_refused(place):
    data, path = place
    os.chown(written(path).parent, 12345, 12345)
    assert refused(KeyFile(path, data=data)).code == "secret.open_folder"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_in_which_others_may_exchange_it_is_refused(place, mode):
    data, path = place
    written(path).parent.chmod(mode)
    assert refused(KeyFile(path, data=data)).code == "secret.open_folder"


def test_a_link_is_refused(place, tmp_path):
    data, path = place
    path.symlink_to(written(tmp_path / "other"))
    assert refused(KeyFile(path, data=data)).code == "secret.symlink"


@pytest.mark.parametrize("where", ["secrets.key", "keys/secrets.key", "../data/secrets.key"])
def test_a_file_inside_the_data_folder_is_refused_by_whatever_way(place, where):
    data, _ = place
    (data / "keys").mkdir(mode=0o700)
    assert refused(KeyFile(written(data / where), data=data)).code == "secret.key_inside_data"


def test_a_folder_that_links_into_the_data_folder_is_refused(place, tmp_path):
    data, _ = place
    (tmp_path / "linked").symlink_to(data)
    written(data / "secrets.key")
    assert refused(KeyFile(tmp_path / "linked" / "secrets.key", data=data)).code == "secret.key_inside_data"
    with pytest.raises(Problem) as caught:
        KeyFile(tmp_path / "linked" / "new.key", data=data).make(IDS)
    assert caught.value.code == "secret.key_inside_data"


@pytest.mark.parametrize(
    "text", ["xyz\n", LINE[:-1] + "\n", LINE + ",\n", LINE + " " + LINE[:-2], " ".join([LINE] * 65)]
)
def test_what_holds_no_keys_is_refused(place, text):
    data, path = place
    assert refused(KeyFile(written(path, text), data=data)).code == "secret.bad_key_file"


def test_a_file_that_changes_is_read_again(place):
    data, path = place
    file = KeyFile(written(path), data=data)
    first = file.read()
    assert file.read() is first
    written(path, f"{'1e' * 32} {LINE}\n")
    assert [kek.id for kek in file.read()][1:] == [kek.id for kek in first]
    path.chmod(0o644)
    assert refused(file).code == "secret.too_open"
    path.unlink()
    assert refused(file).code == "secret.missing"


async def value(safe, path: str = "erp/api-key", tenant: str = "") -> str:
    safe.resolver.forget()
    safe.holder.keyring._open.clear()
    return (await safe.get(f"secret://local/{path}", tenant=tenant)).reveal()


async def test_a_new_key_encrypts_every_data_key_anew_and_the_old_one_goes(safe):
    await safe.set("erp/api-key", "pl4nted-1")
    (old,) = safe.file.read()
    sealed_before = await safe.seal("erp/second", "pl4nted-2")
    done = await safe.holder.rekey(fresh=True)
    (new,) = safe.file.read()
    assert new.id != old.id
    assert (done.key_id, done.data_keys, done.dropped) == (new.id, 1, 1)
    assert await value(safe) == "pl4nted-1"
    # What was sealed before does not open any more, and says what to do.
    from stanchion.secrets.keeping import set_secret

    with pytest.raises(Problem) as caught:
        await set_secret(safe.ctx, safe.holder, "erp/second", sealed_before)
    assert caught.value.code == "secret.other_sealing_key"
    await safe.set("erp/second", "pl4nted-2")
    assert await value(safe, "erp/second") == "pl4nted-2"


async def test_who_distributes_the_file_puts_the_new_key_first_and_keeps_the_old(safe):
    """Several hosts: the new key is there everywhere before one of them encrypts anew; nothing is ever unreadable."""
    await safe.set("erp/api-key", "pl4nted-1")
    (old,) = safe.file.read()
    other_host = holder_of(safe.ctx.env, KeyFile(safe.file.path, data=Path("/nowhere")))
    written(safe.file.path, f"{'1e' * 32} {old.key.hex()}\n")
    assert await value(safe) == "pl4nted-1"
    done = await safe.holder.rekey(fresh=False)
    assert (done.data_keys, done.dropped, len(safe.file.read())) == (1, 0, 2)
    ref = SecretRef.parse("secret://local/erp/api-key")
    found = await other_host.resolver.resolve("default", ref, environment="local", connector="erp")
    assert found.reveal() == "pl4nted-1"
    assert (await safe.holder.rekey(fresh=False)).data_keys == 0
    written(safe.file.path, f"{'1e' * 32}\n")
    assert await value(safe) == "pl4nted-1"


async def test_a_change_that_was_interrupted_is_taken_up(safe):
    """Killed after the file was written, or in the middle of the data keys: old and new key are in the file."""
    from stanchion.identity import create_tenant

    for tenant in ("acme", "zeta"):
        await create_tenant(
            safe.stage.system(), safe.stage.authenticator.pepper, name=tenant, display_name="", admin="ann"
        )
        await safe.holder.keyring.writing(tenant)
    await safe.set("erp/api-key", "pl4nted-1")
    (old,) = safe.file.read()
    written(safe.file.path, f"{'1e' * 32} {old.key.hex()}\n")
    newest = safe.file.read()[0]
    async with safe.ctx.env.db.engine_tx() as tx:  # one of three is done already
        from stanchion.secrets.holding import store
        from stanchion.secrets.holding.envelope import data_key_context, decrypted, encrypted
        from stanchion.secrets.holding.store import DataKey

        (stored, *_) = await store.data_keys_under_others(tx, newest.id, 1)
        key = decrypted(old.key, stored.wrapped, data_key_context(stored.tenant, stored.id, old.id), what="it")
        wrapped = encrypted(newest.key, key, data_key_context(stored.tenant, stored.id, newest.id), IDS)
        await store.rewrap(tx, DataKey(tenant=stored.tenant, id=stored.id, kek_id=newest.id, wrapped=wrapped))
    assert await value(safe) == "pl4nted-1"
    done = await safe.holder.rekey(fresh=True)
    assert (done.data_keys, done.dropped, len(safe.file.read())) == (3, 2, 1)
    assert await value(safe) == "pl4nted-1"


async def test_changes_at_the_same_time_lose_no_key_that_is_in_use(safe):
    """Two people at once, or one whose first request took too long: each makes a key, and none drops the other's."""
    await safe.set("erp/api-key", "pl4nted-1")
    other = holder_of(safe.ctx.env, KeyFile(safe.file.path, data=Path("/nowhere")))
    done = await asyncio.wait_for(asyncio.gather(*(one.rekey(fresh=True) for one in (safe.holder, other) * 3)), 60)
    assert len({one.key_id for one in done}) == 1
    assert [kek.id for kek in safe.file.read()] == [done[0].key_id]
    assert await value(safe) == "pl4nted-1"


async def test_a_key_file_that_is_gone_is_not_made_anew_over_what_it_encrypted(safe):
    await safe.set("erp/api-key", "pl4nted-1")
    kept = safe.file.path.read_text()
    safe.file.path.unlink()
    with pytest.raises(Problem) as caught:
        await value(safe)
    assert (caught.value.code, caught.value.retryable) == ("secret.key_missing", False)
    assert not safe.file.path.exists()
    written(safe.file.path, "1e" * 32)
    with pytest.raises(Problem) as caught:
        await value(safe)
    assert caught.value.code == "secret.key_unknown"
    written(safe.file.path, kept)
    assert await value(safe) == "pl4nted-1"


async def test_two_who_make_a_tenants_first_data_key_make_one(safe):
    other = Keyring(safe.ctx.env, safe.file)
    made = await asyncio.gather(*(ring.writing("default") for ring in (safe.holder.keyring, other) for _ in range(5)))
    assert len(set(made)) == 1


def test_a_folder_that_cannot_be_made_is_told(place):
    data, path = place
    written(path)
    with pytest.raises(Problem) as caught:
        KeyFile(path / "inside-a-file" / "x.key", data=data).make(IDS)
    assert caught.value.code == "secret.key_file_unwritable"


async def test_whoever_runs_the_broker_finds_what_values_are_sealed_to_in_its_log(safe, monkeypatch):
    told: list[str] = []

    def emit(self, event, value=1.0, *labels, **facts):
        if event == "secret.sealing_key":
            told.append(facts["fingerprint"])

    monkeypatch.setattr(type(safe.ctx.env.telemetry), "emit", emit)
    first = (await safe.holder.sealing_key()).id
    await safe.holder.sealing_key()
    assert told == [first]
    await safe.holder.rekey(fresh=True)
    assert told == [first, (await safe.holder.sealing_key()).id]
    assert len(set(told)) == 2
