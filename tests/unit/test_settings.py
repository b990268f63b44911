"""Settings: where a value comes from, and what is refused by which name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.aliases import ALIASES, KEY_ALIASES
from gateway.settings import NAMES, Settings, SettingsError, load


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*ALIASES, *KEY_ALIASES, *KEY_ALIASES.values()]:
        monkeypatch.delenv(name, raising=False)


def test_defaults_need_no_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = load()
    assert (settings.host, settings.port, settings.auth) == ("127.0.0.1", 4566, "enforce")
    assert settings.data_dir == tmp_path / "nephele"
    assert settings.database == f"sqlite:///{tmp_path}/nephele/nephele.db"
    assert settings.has_open_root


def test_command_line_beats_environment_beats_file_beats_alias(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "nephele.toml"
    monkeypatch.setenv("EDGE_PORT", "1001")
    assert load().port == 1001
    file.write_text("port = 1002\n")
    assert load(config=file).port == 1002
    monkeypatch.setenv("NEPHELE_CONFIG", str(file))
    assert load().port == 1002
    monkeypatch.setenv("NEPHELE_PORT", "1003")
    assert load().port == 1003
    assert load({"port": 1004}).port == 1004


@pytest.mark.parametrize(
    ("name", "near"), [("NEPHELE_ATUH", "NEPHELE_AUTH"), ("NEPHELE_EPHEMERL", "NEPHELE_EPHEMERAL")]
)
def test_an_unknown_variable_is_refused_by_name(name: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "enforce")
    with pytest.raises(SettingsError, match=rf"{name}; did you mean {near}\?"):
        load()


def test_an_unknown_key_of_the_file_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "nephele.toml"
    file.write_text('auth = "soft"\ndata-dir = "/x"\nzebra = 1\n')
    with pytest.raises(SettingsError) as caught:
        load(config=file)
    lines = str(caught.value).splitlines()
    assert [line.endswith("data-dir; did you mean data_dir?") for line in lines] == [True, False]
    assert lines[1].endswith("zebra")


@pytest.mark.parametrize("text", ["port = ", "\xff"])
def test_a_file_that_is_no_toml_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "nephele.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match="not TOML"):
        load(config=file)
    with pytest.raises(SettingsError, match="cannot read"):
        load(config=tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("NEPHELE_AUTH", "sof", "auth: .*'enforce', 'soft' or 'off', not 'sof'"),
        ("NEPHELE_PORT", "66000", "port: .*not '66000'"),
        ("NEPHELE_COMPUTE", "esx", "compute: there is no driver 'esx'"),
        ("EC2_VM_MANAGER", "esx", "compute: there is no driver 'esx'"),
        ("ENFORCE_IAM", "maybe", "ENFORCE_IAM: must be 1 or 0"),
        ("GATEWAY_LISTEN", "0.0.0.0", "GATEWAY_LISTEN: must be ADDRESS:PORT"),
        ("USE_SSL", "perhaps", "USE_SSL: must be 1 or 0"),
        ("NEPHELE_DEFAULT_ACCOUNT", "12", "default_account"),
        ("NEPHELE_DATABASE_URL", "sqlite:///:memory:", "database_url"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=words):
        load()


@pytest.mark.parametrize("name", ["NEPHELE_ROOT_KEYS", "NEPHELE_DATABASE_URL"])
def test_a_refusal_never_repeats_a_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "mysql://user:pa55word@host")
    with pytest.raises(SettingsError) as caught:
        load()
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "setting", "meaning"),
    [
        ("PERSISTENCE", "0", "ephemeral", True),
        ("PERSISTENCE", "1", "ephemeral", False),
        ("ENFORCE_IAM", "0", "auth", "off"),
        ("ENFORCE_IAM", "1", "auth", "enforce"),
        ("IAM_SOFT_MODE", "1", "auth", "soft"),
        ("DEBUG", "1", "log_level", "debug"),
        ("LS_LOG", "warn", "log_level", "warning"),
        ("EC2_VM_MANAGER", "mock", "compute", "simulated"),
        ("S3_BUCKET", "one, two", "buckets", ("one", "two")),
        ("AWS_DEFAULT_REGION", "eu-central-1", "default_region", "eu-central-1"),
        ("GATEWAY_LISTEN", "0.0.0.0:4567", "host", "0.0.0.0"),
        ("GATEWAY_LISTEN", ":4567", "port", 4567),
    ],
)
def test_variables_of_other_clouds(
    name: str, value: str, setting: str, meaning: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(load(), setting) == meaning
    monkeypatch.setenv("NEPHELE_AUTH", "enforce")
    assert load().auth == "enforce"


def test_keys_of_the_environment_become_a_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    assert load().root_keys == ()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "long/secret+")
    (key,) = load().root_keys
    assert (key.access_key, key.secret_key, key.account) == ("AKIAEXAMPLE", "long/secret+", None)
    assert "long/secret+" not in repr(load())


def test_minio_s_root_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("MINIO_ROOT_USER", "minioadmin")
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", "minio-secret")
    assert [(key.access_key, key.secret_key) for key in load().root_keys] == [("minioadmin", "minio-secret")]


def test_variables_may_have_localstack_s_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALSTACK_PERSISTENCE", "0")
    monkeypatch.setenv("LOCALSTACK_GATEWAY_LISTEN", "127.0.0.1:4700")
    settings = load()
    assert (settings.ephemeral, settings.port) == (True, 4700)
    monkeypatch.setenv("GATEWAY_LISTEN", "127.0.0.1:4701")
    assert load().port == 4701


def test_extra_origins_are_the_operator_s(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().cors_origins == ()
    monkeypatch.setenv("EXTRA_CORS_ALLOWED_ORIGINS", "http://a.example, https://*.b.example")
    assert load().cors_origins == ("http://a.example", "https://*.b.example")


def test_root_keys_name_their_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEPHELE_ROOT_KEYS", "ALPHA:one/1, BETA:two+2:123456789012")
    assert [(key.access_key, key.secret_key, key.account) for key in load().root_keys] == [
        ("ALPHA", "one/1", None),
        ("BETA", "two+2", "123456789012"),
    ]


@pytest.mark.parametrize(
    ("host", "open_root"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("127.0.0.1.example", False), ("192.0.2.1", False)],
)  # fmt: skip
def test_open_roots_stay_on_loopback(host: str, open_root: bool) -> None:
    assert load({"host": host}).has_open_root is open_root
    assert load({"host": host, "open_root": not open_root}).has_open_root is not open_root


@pytest.mark.parametrize("setting", ["compute", "volume", "network"])
def test_every_driver_there_is_can_be_named_and_no_other(setting: str) -> None:
    for name in get_args(Settings.model_fields[setting].annotation):
        assert getattr(load({setting: name}), setting) == name
    with pytest.raises(SettingsError, match=f"{setting}: there is no driver 'nimbus'"):
        load({setting: "nimbus"})


def test_a_given_database_is_not_thrown_away() -> None:
    with pytest.raises(SettingsError, match="exclude each other"):
        load({"ephemeral": True, "database_url": "sqlite:////tmp/x.db"})


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz_", min_size=1).filter(lambda name: name not in NAMES))
def test_any_other_key_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load({name: 1})
