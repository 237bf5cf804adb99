"""Secrets: where the few that Stanchion needs before it has providers are read from.

Today that is a file only its owner can read, holding the URL of a `sql` connector's database; references
(`secret://provider/path#field@version`), providers and rotation get their place here.
"""

from stanchion.secrets.files import SECRET_BYTES_MAX, read_private

__all__ = ["SECRET_BYTES_MAX", "read_private"]
