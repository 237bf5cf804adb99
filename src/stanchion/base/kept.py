"""Which files are the broker's alone, and which the other processes need: what isolation goes by."""

from __future__ import annotations

from pathlib import Path

from stanchion.base.settings import Settings

# In the place where a tenant's name stands in variables, files and a Vault. No tenant's name begins with a digit, so no
# tenant's connector can name what is kept here: the deployment's own password of the database.
DEPLOYMENT = "0-deployment"


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
    return tuple(path for path in (settings.data, *files, *_passwords(settings)) if path is not None)


def _passwords(settings: Settings) -> tuple[Path, ...]:
    """Where passwords of the database are: folders, because a rotated file is another one, which nobody has granted yet."""
    found: list[Path] = []
    if settings.database.password_file is not None:
        found.append(settings.database.password_file.parent)
    if settings.secrets.files is not None and (settings.database.password or "").startswith("secret://file/"):
        found.append(settings.secrets.files / DEPLOYMENT)
    # Not a folder that has the broker's own below it: there, the password is not read, and `doctor` says so.
    return tuple(path for path in found if not any(held.is_relative_to(path) for held in held_by_broker(settings)))
