from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from stanchion.base import Invalid
from stanchion.base.behaviour import owner_of
from stanchion.base.config import entries, load_settings, mask, settings_reference, shown, with_tls


def write(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "stanchion.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_variable_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    path = write(tmp_path, '[web]\nport = 8000\nhost = "10.1.2.3"\n')
    loaded = load_settings({"STANCHION_WEB_PORT": "9000"}, file=path)
    assert (loaded.settings.web.port, loaded.settings.web.host) == (9000, "10.1.2.3")
    assert loaded.sources["web.port"] == "STANCHION_WEB_PORT"
    assert loaded.sources["web.host"] == f"{path}:3"
    assert loaded.sources["web.body_bytes_max"] == "default"
    with pytest.raises(FrozenInstanceError):
        loaded.settings.web.port = 1  # type: ignore[misc]


def test_the_command_line_wins_over_all(tmp_path):
    loaded = load_settings({"STANCHION_DATA": "/a"}, overrides={"data": str(tmp_path), "web.port": None})
    assert loaded.settings.data == tmp_path
    assert loaded.sources["data"] == "command line"
    assert loaded.sources["web.port"] == "default"


def test_everything_wrong_is_said_at_once_with_its_place(tmp_path):
    path = write(
        tmp_path,
        """
        # a comment
        colour = "blue"
        [web]
        port = 99999
        hots = "10.1.2.3"
        [worker]
        capacity = "many"
        queues = ["default", "Bad Name"]
        """,
    )
    environment = {"STANCHION_WEB_GRACE": "1", "STANCHION_TELEMETRY_SAMPLE": "2", "UNRELATED": "x"}
    with pytest.raises(Invalid) as caught:
        load_settings(environment, file=path)
    assert caught.value.code == "config.invalid"
    errors = {(e["place"], e["key"]): e for e in caught.value.fields["errors"]}
    assert set(errors) == {
        (f"{path}:3", "colour"),
        (f"{path}:5", "web.port"),
        (f"{path}:6", "web.hots"),
        (f"{path}:8", "worker.capacity"),
        (f"{path}:9", "worker.queues"),
        ("STANCHION_WEB_GRACE", ""),
        ("STANCHION_TELEMETRY_SAMPLE", "telemetry.sample"),
    }
    assert errors[f"{path}:6", "web.hots"]["hint"] == "Did you mean web.host?"
    assert errors["STANCHION_WEB_GRACE", ""]["hint"] == "Did you mean STANCHION_WEB_GRACE_S?"
    assert str(caught.value).count("\n") == 7


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("[web]\nport = \n", ":2", "This is not TOML"),
        ("web = 3\n", ":1", "table of settings"),
        ("web = {prot = 80}\n", ":1", "no setting web.prot"),
        ("web.prot = 80\n", ":1", "no setting web.prot"),
        ("[web]\n\nport = true\n", ":3", "whole number"),
        ('[database]\nurl = "mysql://x/y"\n', ":2", "postgresql://"),
        ('[database]\nurl = "postgresql://x"\n', ":2", "name a database"),
        ("[telemetry]\nsample = nan\n", ":2", "from 0 to 1"),
    ],
)
def test_a_fault_names_file_and_line(tmp_path, text, place, said):
    path = write(tmp_path, text)
    with pytest.raises(Invalid) as caught:
        load_settings({}, file=path)
    assert f"{path}{place}: " in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(Invalid, match="cannot be read"):
        load_settings({}, file=tmp_path / "none.toml")
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match="not UTF-8"):
        load_settings({"STANCHION_CONFIG": str(tmp_path / "bin.toml")})


def test_settings_that_belong_together():
    url = "postgresql://stanchion_app:x@h/db"
    with pytest.raises(Invalid, match="engine_url is not"):
        load_settings({"STANCHION_DATABASE_URL": url})
    with pytest.raises(Invalid, match=r"owner_url is set and database\.url is not"):
        load_settings({"STANCHION_DATABASE_OWNER_URL": url})
    with pytest.raises(Invalid, match="belong together"):
        load_settings({"STANCHION_DATABASE_SSLKEY": "/k"})
    with pytest.raises(Invalid, match="no production"):
        load_settings({"STANCHION_ENVIRONMENT_NAME": "production", "STANCHION_ENVIRONMENT_PRODUCTION": "off"})
    assert load_settings({"STANCHION_ENVIRONMENT_NAME": "production"}).settings.production
    assert not load_settings({}).settings.production
    assert load_settings(
        {"STANCHION_ENVIRONMENT_NAME": "eu", "STANCHION_ENVIRONMENT_PRODUCTION": "1"}
    ).settings.production


def test_no_secret_is_ever_shown(tmp_path):
    secret = "s3cr3t-Pa55"
    environment = {
        "STANCHION_DATABASE_URL": f"postgresql://stanchion_app:{secret}@db.example:5433/st?sslmode=require",
        "STANCHION_DATABASE_ENGINE_URL": f"postgresql:///st?host=/run/x&user=e&password={secret}",
    }
    loaded = load_settings(environment)
    rows = {row["key"]: row for row in shown(loaded)}
    assert rows["database.url"]["value"] == "postgresql://stanchion_app:***@db.example:5433/st?sslmode=require"
    assert rows["database.url"]["source"] == "STANCHION_DATABASE_URL"
    assert secret not in str(rows)
    with pytest.raises(Invalid) as caught:
        load_settings({**environment, "STANCHION_DATABASE_OWNER_URL": f"postgres:{secret}", "STANCHION_WEB_PORT": "x"})
    assert secret not in str(caught.value)
    assert mask(f"postgresql://u:{secret}@[bad/x") == "***"


def test_a_password_in_a_readable_file_is_refused(tmp_path):
    text = '[database]\nurl = "postgresql://a:pw@h/d"\nengine_url = "postgresql://e@h/d"\n'
    assert load_settings({}, file=write(tmp_path, text)).settings.database.url
    path = write(tmp_path, text, mode=0o644)
    with pytest.raises(Invalid) as caught:
        load_settings({}, file=path)
    assert [e["key"] for e in caught.value.fields["errors"]] == ["database.url"]
    assert f"chmod 600 {path}" in str(caught.value)


def test_paths_are_relative_to_where_they_are_written(tmp_path, monkeypatch):
    folder = tmp_path / "etc"
    folder.mkdir()
    path = write(folder, 'data = "state"\n[identity]\npepper_file = "/abs/pepper"\n')
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"STANCHION_TOOLS_CONNECTORS_ROOT": "c"}, file=path).settings
    assert settings.data == folder / "state"
    assert settings.connectors_root == tmp_path / "c"
    assert settings.pepper_file == Path("/abs/pepper")
    assert settings.run_folder == folder / "state" / "run"


def test_the_file_in_the_working_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).settings.data == tmp_path / ".stanchion"
    write(tmp_path, "[web]\nport = 1234\n")
    assert load_settings({}).settings.web.port == 1234


def test_tls_parameters_join_the_url():
    settings = load_settings(
        {
            "STANCHION_DATABASE_URL": "postgresql://a@h/d",
            "STANCHION_DATABASE_ENGINE_URL": "postgresql://e@h/d?sslmode=require",
            "STANCHION_DATABASE_SSLMODE": "verify-full",
            "STANCHION_DATABASE_SSLROOTCERT": "/etc/my ca.pem",
        }
    ).settings.database
    assert with_tls(settings.url, settings) == "postgresql://a@h/d?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem"
    assert with_tls(settings.engine_url, settings).count("sslmode") == 1


def test_every_setting_is_in_the_reference_and_every_default_passes_its_own_parser():
    rows = settings_reference()
    assert len(rows) == len(entries()) == len({row["variable"] for row in rows})
    for entry in entries():
        assert entry.option.help
        assert entry.variable == "STANCHION_" + entry.key.upper().replace(".", "_")
        if isinstance(entry.default, int | float | str):
            said = str(entry.default).lower() if isinstance(entry.default, bool) else entry.default
            assert entry.option.parse(said) == entry.default


@pytest.mark.parametrize(
    ("variable", "kind", "said"),
    [
        (
            "STANCHION_RISK_FINE_EUR",
            "config",
            "`config: risk`, `values: {fine_eur: …}`. Expressions read it as config.risk.fine_eur",
        ),
        ("STANCHION_CASEWORK_THRESHOLD_EUR", "config", "config.casework.threshold_eur"),
        ("STANCHION_CONFIG_MAIL_GREETING", "config", "config.mail.greeting"),
        ("STANCHION_LIMITS_2026", "config", "config.limits.value_2026"),
        ("STANCHION_APPROVAL_EXPIRES", "policy", "`policy: approval`"),
        ("STANCHION_APPROVERS", "policy", "policy"),
        ("STANCHION_MODEL_NAME", "model route", "Where no kind route is registered"),
        ("STANCHION_LLM_TEMPERATURE", "model route", "`config: llm`"),
        ("STANCHION_PROMPT_SYSTEM", "prompt", "`config: system`"),
        ("STANCHION_FEATURE_NEW_REVIEW", "flag", "`flag: feature`"),
        ("STANCHION_RETRY_ATTEMPTS", "blueprint", "at the step as retry"),
        ("STANCHION_CONNECTOR_CASEBOOK_URL", "connector", "`connector: casebook`"),
        ("STANCHION_CANARY_STEPS", "release", "stanchion release canary"),
        ("STANCHION_KILL_ALL", "kill switch", "stanchion kill"),
        ("STANCHION_INDEX_TOP_K", "index", "`config: top`"),
        ("STANCHION_EVAL_MIN_SCORE", "eval suite", "kind eval_suite"),
    ],
)
def test_a_variable_that_would_change_behaviour_is_refused_with_the_artifact_that_owns_it(variable, kind, said):
    with pytest.raises(Invalid) as caught:
        load_settings({variable: "5"})
    (error,) = caught.value.fields["errors"]
    assert error["place"] == variable
    assert error["message"].startswith(f"There is no setting for the variable {variable}. It ")
    assert error["message"].endswith((f" {kind}.", f" {kind}, which is no setting."))
    assert said in error["hint"]


def test_a_table_or_key_of_the_file_that_would_change_behaviour_is_refused_at_its_line(tmp_path):
    path = write(tmp_path, '[web]\nport = 80\nrisk_limit = 5\n\n[risk]\nfine_eur = 100\n\n[approval]\nroles = ["a"]\n')
    with pytest.raises(Invalid) as caught:
        load_settings({}, file=path)
    errors = {error["place"]: error for error in caught.value.fields["errors"]}
    assert list(errors) == [f"{path}:3", f"{path}:5", f"{path}:8"]
    assert "config.risk.fine_eur" in errors[f"{path}:5"]["hint"]
    assert "policy" in errors[f"{path}:8"]["hint"]


def test_no_setting_is_taken_for_behaviour_and_a_misspelt_one_is_told_its_name():
    assert [entry.key for entry in entries() if owner_of(entry.key) is not None] == []
    for entry in entries():
        if len(entry.variable) < 24:
            continue  # of a short name, a letter is a lot
        misspelt = entry.variable[:-3] + "X" + entry.variable[-2:]
        with pytest.raises(Invalid) as caught:
            load_settings({misspelt: "1"})
        assert caught.value.fields["errors"][0]["hint"].startswith("Did you mean STANCHION_"), misspelt
