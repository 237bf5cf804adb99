"""Which files are the broker's alone, and which the other processes need: what isolation goes by."""

from __future__ import annotations

from pathlib import Path

from stanchion.base.settings import Settings


def held_by_broker(settings: Settings) -> tuple[Path, ...]:
    """What the broker alone reads: the keys of local secrets, and what opens the other providers."""
    own = settings.secrets
    # The folder of the keys is ours as a whole; of one that somebody else chose, the file.
    keys = settings.secrets_key_file.parent if own.key_file is None else own.key_file
    return tuple(path for path in (keys, own.files, own.vault_secret_id_file) if path is not None)


def needed_by_others(settings: Settings) -> tuple[Path, ...]:
    """What the others read, wherever it lies: also in a folder of which the broker has the rest."""
    database, broker = settings.database, settings.broker
    files = (
        database.sslrootcert, database.sslcert, database.sslkey, broker.certificate, broker.key, broker.authority,
    )  # fmt: skip
    return tuple(path for path in (settings.data, *files) if path is not None)
