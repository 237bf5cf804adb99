"""What the doctor says of the broker's key file, its user and the box."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stanchion.base import Denied
from stanchion.base.settings import BrokerSettings, SecretsSettings, Settings
from stanchion.processes import diagnosis
from stanchion.processes.diagnosis import box_findings, broker_findings
from stanchion.tools import Sandbox
from tests.support.root import needs_root


def said(settings: Settings, about: str) -> tuple[str, str, str]:
    (found,) = (finding for finding in broker_findings(settings) if about in finding[1])
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    return Settings(data=tmp_path / "data")


def a_key(settings: Settings, mode: int = 0o600) -> Path:
    path = settings.secrets_key_file
    path.parent.mkdir(mode=0o700)
    path.write_text("ab" * 32)
    path.chmod(mode)
    return path


def test_a_key_file_that_is_not_there_yet_and_one_that_is_right(settings: Settings) -> None:
    assert said(settings, "key file")[0] == "ok"
    path = a_key(settings)
    result, detail, _ = said(settings, "key file")
    assert (result, str(path) in detail, "mode 0600" in detail) == ("ok", True, True)


def test_a_key_file_that_others_may_read_or_exchange(settings: Settings) -> None:
    path = a_key(settings, 0o640)
    result, detail, hint = said(settings, "key file")
    assert (result, "0640" in detail, f"chmod 600 {path}" in hint) == ("failed", True, True)
    path.chmod(0o600)
    path.parent.chmod(0o770)
    result, detail, hint = said(settings, "exchange files")
    assert (result, f"chmod 700 {path.parent}" in hint) == ("failed", True)


def test_a_key_file_in_the_data_folder_and_one_that_is_a_link(settings: Settings, tmp_path: Path) -> None:
    inside = Settings(data=settings.data, secrets=SecretsSettings(key_file=settings.data / "secrets.key"))
    result, _, hint = said(inside, "lies in the data folder")
    assert (result, "secrets.key_file" in hint) == ("failed", True)
    path = a_key(settings)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert said(settings, "no regular file")[0] == "failed"


@needs_root("only root gives files away")
def test_a_key_file_of_somebody_else(settings: Settings) -> None:
    path = a_key(settings)
    os.chown(path, 61_234, 61_234)
    result, detail, hint = said(settings, "key file")
    assert (result, "user 61234" in detail, f"chown 0 {path}" in hint) == ("failed", True, True)
    os.chown(path.parent, 61_234, 61_234)
    own = Settings(data=settings.data, broker=BrokerSettings(user="61234"))
    assert said(own, "key file")[0] == "ok"
    assert said(own, "a user of its own, user 61234")[0] == "ok"


def test_a_user_that_cannot_be_had(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(settings, "the user of the other processes")[0] == "ok"
    nobody = Settings(data=settings.data, broker=BrokerSettings(user="no-such-user"))
    findings = [finding for finding in broker_findings(nobody) if finding[0] == "failed"]
    assert all("no user no-such-user" in detail for _, detail, _ in findings)
    assert findings
    monkeypatch.setattr("stanchion.processes.ownuser._effective", lambda: 0)
    own = Settings(data=settings.data, broker=BrokerSettings(user="61234"))
    assert said(own, "has not the capabilities")[0] == "failed"


def test_a_machine_without_boxes_is_a_fault_where_a_connector_needs_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Without(Sandbox):
        async def admit(self, environment: str, *, network: bool = False) -> bool:
            raise Denied("sandbox.unavailable", "There is no bubblewrap.", hint="Install it.")

    monkeypatch.setattr(diagnosis, "Sandbox", Without)
    assert list(box_findings(settings, [])) == [("warning", "There is no bubblewrap.", "Install it.")]
    ((result, detail, _),) = box_findings(settings, ["files-of-ours"])
    assert (result, "files-of-ours" in detail) == ("failed", True)
