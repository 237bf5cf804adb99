"""Provider `env`: variables that a container is started with, those alone whose names begin with the prefix of the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from stanchion.base import Invalid
from stanchion.secrets.providers.plain import refuse_version, unknown, values_of
from stanchion.secrets.providers.types import Values

# So that two secrets never have the same variable: `__` joins, a single `_` is a hyphen.
_PLAIN: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class EnvProvider:
    """Reads `<prefix><TENANT>__<PATH>`: of `secret://env/erp/api-key` in tenant `default`, `<prefix>DEFAULT__ERP__API_KEY`.

    Args:
        environ: the process's variables, as they were when it started.
        prefix: of the variables it may read.
    """

    name = "env"

    def __init__(self, environ: Mapping[str, str], prefix: str) -> None:
        # Others are not even kept: a variable without the prefix cannot be reached by any path.
        self._environ = {name: value for name, value in environ.items() if name.startswith(prefix)}
        self._prefix = prefix

    async def read(self, tenant: str, path: str, version: int | None) -> Values:
        """The text of the variable."""
        refuse_version(self.name, path, version)
        variable = self.variable(tenant, path)
        text = self._environ.get(variable, "")
        if not text:
            raise unknown(
                f"env/{path}",
                f"the variable {variable} is not set in the broker's process",
                "Set it where it is started.",
            )
        return values_of(text)

    async def previous(self, tenant: str, path: str) -> None:
        """Variables have no versions."""
        del tenant, path

    async def close(self) -> None:
        """There is nothing to give back."""

    def variable(self, tenant: str, path: str) -> str:
        """The name of the variable. Raises Invalid `secret.bad_path` for what would not be one name alone."""
        parts = (tenant, *path.split("/"))
        if not all(_PLAIN.fullmatch(part) for part in parts):
            raise Invalid(
                "secret.bad_path",
                f"secret://env/{path} of tenant {tenant} has no variable of its own.",
                hint="For env, tenant and path have small letters, digits and single hyphens: erp/api-key.",
            )
        return self._prefix + "__".join(part.upper().replace("-", "_") for part in parts)
