"""Opening the store that a connector names: a bucket at S3, Azure or Google, a folder, or this process's memory.

obstore is the extra `objects` of the package; it is imported here, at the first call.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from stanchion.base import Json, dumps
from stanchion.tools.adapter import Target
from stanchion.tools.adapters.objects_gate import Gate
from stanchion.tools.adapters.paths import inside
from stanchion.tools.egress import Egress, Network

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_GOOGLE: Final = "https://storage.googleapis.com"
_GOOGLE_TOKENS: Final = "https://oauth2.googleapis.com"
# Open stores that are kept: each has its connections, and the credentials it was opened with.
_OPEN_MAX: Final = 16
_CONNECT: Final = timedelta(seconds=10)
# The adapter never repeats a call, so neither does the client in it.
_NO_RETRY: Final[dict[str, Any]] = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}


class Stores:
    """The open stores of a process. `root`: the connectors' folder; `network`: the deployment's way out."""

    def __init__(self, root: Path, network: Network) -> None:
        self._root = root
        self._network = network
        self._gate = Gate()
        self._opening = asyncio.Lock()
        self._open: OrderedDict[bytes, ObjectStore] = OrderedDict()

    async def store(self, target: Target) -> ObjectStore:
        """The store of a call's connector, with the call's credentials.

        Raises AdapterProblem `adapter.missing_extra`, Denied `connector.path_escapes`, EgressProblem.
        """
        _imported(target)
        settings = cast("Mapping[str, Json]", target.connector.settings["store"])
        egress = self._egress(target, settings)
        if egress is not None:
            # Said here in words, before the client, whose own words are not passed on, is refused by the gate.
            url = urlsplit(str(endpoint_of(settings)))
            await egress.addresses(url.hostname or "", url.port or (80 if url.scheme == "http" else 443))
        key = _digest(target, settings)
        if (folder := self.folder(target)) is not None and not folder.is_dir():
            raise target.problem(
                "adapter.missing_file",
                f"has no folder {str(settings['url']).partition('://')[2]!r} to look into.",
                hint="It is relative to the connectors' folder: make it there, or correct `store.url`.",
            )
        async with self._opening:
            found = self._open.get(key)
            if found is None:
                found = self._open[key] = await self._opened(target, settings, egress)
                if len(self._open) > _OPEN_MAX:
                    self._open.popitem(last=False)
            self._open.move_to_end(key)
        return found

    def folder(self, target: Target) -> Path | None:
        """The folder that the store is, or None. Raises Denied `connector.path_escapes`."""
        settings = cast("Mapping[str, Json]", target.connector.settings["store"])
        scheme, _, rest = str(settings["url"]).partition("://")
        return inside(self._root, rest) if scheme == "folder" else None

    async def close(self) -> None:
        """Forget all of them."""
        self._open.clear()
        await self._gate.close()

    def _egress(self, target: Target, settings: Mapping[str, Json]) -> Egress | None:
        url = endpoint_of(settings)
        if url is None:
            return None
        # Google's client trades its key for a token there.
        further = (_GOOGLE_TOKENS,) if url == _GOOGLE else ()
        return Egress.of(target.connector, self._network, url, *further)

    async def _opened(self, target: Target, settings: Mapping[str, Json], egress: Egress | None) -> ObjectStore:
        from obstore import store as stores  # noqa: PLC0415 - an extra

        scheme, _, rest = str(settings["url"]).partition("://")
        if scheme == "memory":
            return stores.MemoryStore()
        if (folder := self.folder(target)) is not None:
            return stores.LocalStore(folder)
        client = await self._client(settings, cast("Egress", egress))
        name, _, prefix = rest.strip("/").partition("/")
        common: dict[str, Any] = {"client_options": client, "retry_config": _NO_RETRY}
        if scheme == "az":
            container, _, prefix = prefix.partition("/")
            common["config"] = _azure(target, name, endpoint_of(settings))
            return stores.AzureStore(container, prefix=prefix or None, **common)
        common["config"] = _s3(target, settings) if scheme == "s3" else _gcs(target)
        store = stores.S3Store if scheme == "s3" else stores.GCSStore
        return store(name, prefix=prefix or None, **common)

    async def _client(self, settings: Mapping[str, Json], egress: Egress) -> dict[str, Any]:
        """Options of the client: through the gate, but for an address without TLS, which it has to connect to itself and
        where there is no name that could be answered for. A redirect to another host meets the gate."""
        url = urlsplit(str(endpoint_of(settings)))
        options: dict[str, Any] = {"connect_timeout": _CONNECT, "timeout": timedelta(minutes=10)}
        options["proxy_url"] = await self._gate.url(egress)
        if url.scheme == "http":
            options["allow_http"] = True
            options["proxy_excludes"] = url.hostname or ""
        if egress.ca_file is not None:
            options["root_certificate"] = inside(self._root, egress.ca_file).read_bytes()
        return options


def endpoint_of(settings: Mapping[str, Json]) -> str | None:
    """The URL of the host that a store's calls go to, or None for those on this machine. Said here and given to the client,
    so that no variable of the environment says otherwise."""
    scheme, _, rest = str(settings["url"]).partition("://")
    if scheme == "s3":
        return str(settings.get("endpoint") or f"https://s3.{settings['region']}.amazonaws.com")
    if scheme == "az":
        return f"https://{rest.split('/')[0]}.blob.core.windows.net"
    return _GOOGLE if scheme == "gs" else None


def _s3(target: Target, settings: Mapping[str, Json]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "region": str(settings["region"]),
        "endpoint": endpoint_of(settings),
        "virtual_hosted_style_request": False,
        "conditional_put": "etag",
    }
    auth = cast("Mapping[str, Mapping[str, Json]]", target.connector.settings.get("auth") or {}).get("s3")
    if auth is None:
        return {**config, "skip_signature": True}
    config["access_key_id"] = _said(target, "/auth/s3/access_key_id", str(auth["access_key_id"]))
    config["secret_access_key"] = _secret(target, "/auth/s3/secret_access_key")
    if "session_token" in auth:
        config["session_token"] = _secret(target, "/auth/s3/session_token")
    return config


def _azure(target: Target, account: str, endpoint: str | None) -> dict[str, Any]:
    config: dict[str, Any] = {"account_name": account, "endpoint": endpoint}
    if "auth" not in target.connector.settings:
        return {**config, "skip_signature": True}
    return {**config, "account_key": _secret(target, "/auth/azure/account_key")}


def _gcs(target: Target) -> dict[str, Any]:
    if "auth" not in target.connector.settings:
        return {"skip_signature": True}
    return {"service_account_key": _secret(target, "/auth/gcs/service_account_key")}


def _said(target: Target, site: str, text: str) -> str:
    """A text that the document may give itself or by reference: an access key's id is a name, not a secret."""
    return _secret(target, site) if text.startswith("secret://") else text


def _secret(target: Target, site: str) -> str:
    if target.credentials is None:
        raise target.problem(
            "adapter.no_credentials",
            "was called without its credentials, which the broker resolves.",
            hint="Run a broker (`stanchion serve broker`), or `stanchion up`, which has one.",
        )
    return target.credentials.value(site)


def _digest(target: Target, settings: Mapping[str, Json]) -> bytes:
    """What a store was opened with: another value of a secret means another store."""
    auth = target.connector.settings.get("auth") or {}
    egress = target.connector.settings.get("egress") or {}
    found = hashlib.sha256(dumps([dict(settings), auth, egress]))
    if str(settings["url"]).startswith("memory"):
        # Stores in memory are of a tenant's connector: another one does not see into them.
        tenant = target.asker.tenant if target.asker is not None else ""
        found.update(dumps([tenant, target.connector.name]))
    for value in sorted(target.credentials.plain_values() if target.credentials is not None else ()):
        found.update(b"\x00" + value.encode())
    return found.digest()


def _imported(target: Target) -> None:
    try:
        import obstore  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport] - an extra
    except ImportError:
        raise target.problem(
            "adapter.missing_extra",
            "needs the package obstore, which is not installed where adapters run.",
            hint="Install the extra: pip install 'stanchion[objects]'.",
        ) from None
