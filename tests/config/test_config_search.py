"""Where the configuration is looked for, and what there is without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from livekit_plugins_voicegateway.config import Config, Fallback, load_config
from livekit_plugins_voicegateway.errors import ConfigError
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.ledger.outbox import open_outboxes
from livekit_plugins_voicegateway.ledger.postgres import PostgresLedger


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A working directory and a user's directories of the test's own, all empty."""
    places = {name: tmp_path / name for name in ("here", "config", "data")}
    for folder in places.values():
        folder.mkdir()
    monkeypatch.chdir(places["here"])
    monkeypatch.setenv("XDG_CONFIG_HOME", str(places["config"]))
    monkeypatch.setenv("XDG_DATA_HOME", str(places["data"]))
    monkeypatch.setenv("HOME", str(tmp_path))
    return places


def write(folder: Path, project: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "voicegw.yaml"
    path.write_text(f"projects: {{{project}: {{}}}}\n")
    return path


def test_without_a_file_there_is_one_project_with_no_budget(places: dict[str, Path]) -> None:
    config = load_config(env={})
    assert config.path is None
    assert list(config.projects) == ["default"]
    assert config.projects["default"].daily_budget is None
    assert config.projects["default"].fallback == Fallback(
        "local/whisper-large-v3", "ollama/qwen2.5:3b", "local/kokoro"
    )
    assert config.default_project is None
    assert config.timezone.key == "UTC"
    assert config.cost_tracking.enabled
    assert config.cost_tracking.unpriced == "allow"
    assert config.cost_tracking.on_ledger_failure == "throttle"
    assert config.cost_tracking.retention_days == 400
    assert (config.server.host, config.server.port, config.server.token) == (
        "127.0.0.1",
        8080,
        None,
    )
    database = places["data"] / "voicegateway" / "voicegw.db"
    assert config.database_url == f"sqlite:///{database}"


def test_an_empty_file_is_the_same_as_none(places: dict[str, Path]) -> None:
    path = places["here"] / "voicegw.yaml"
    path.write_text("# nothing yet\n")
    config, without = load_config(env={}), Config(env={})
    assert config.path == path
    assert config.projects == without.projects
    assert config.cost_tracking == without.cost_tracking
    assert config.database_url == without.database_url


def test_the_working_directory_goes_before_the_user_directory(places: dict[str, Path]) -> None:
    write(places["config"] / "voicegateway", "mine")
    assert list(load_config(env={}).projects) == ["mine"]
    here = write(places["here"], "here")
    config = load_config(env={})
    assert list(config.projects) == ["here"]
    assert config.path == here


def test_the_variable_goes_before_the_working_directory(places: dict[str, Path]) -> None:
    write(places["here"], "here")
    other = write(places["data"], "other")
    assert list(load_config(env={"VOICEGW_CONFIG": str(other)}).projects) == ["other"]


def test_a_path_goes_before_the_variable(places: dict[str, Path]) -> None:
    here, other = write(places["here"], "here"), write(places["data"], "other")
    assert list(load_config(other, env={"VOICEGW_CONFIG": str(here)}).projects) == ["other"]


def test_the_variable_may_begin_with_the_home_directory(
    places: dict[str, Path], tmp_path: Path
) -> None:
    write(tmp_path, "home")
    assert list(load_config(env={"VOICEGW_CONFIG": "~/voicegw.yaml"}).projects) == ["home"]


def test_the_home_directory_of_nobody_is_no_such_file() -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(env={"VOICEGW_CONFIG": "~nobody-of-this-name/voicegw.yaml"})


def test_empty_variables_count_as_unset(places: dict[str, Path]) -> None:
    write(places["here"], "here")
    env = {"VOICEGW_CONFIG": "", "VOICEGW_DATABASE_URL": "", "VOICEGW_TOKEN": ""}
    config = load_config(env=env)
    assert list(config.projects) == ["here"]
    assert config.database_url.endswith("/data/voicegateway/voicegw.db")
    assert config.server.token is None


def test_a_file_that_the_variable_names_must_exist(places: dict[str, Path]) -> None:
    write(places["here"], "here")
    missing = places["data"] / "missing.yaml"
    with pytest.raises(ConfigError, match="no such file; expected the file that VOICEGW_CONFIG"):
        load_config(env={"VOICEGW_CONFIG": str(missing)})


def test_a_path_must_exist(places: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(places["here"] / "missing.yaml", env={})


def test_a_directory_is_no_configuration(places: dict[str, Path]) -> None:
    (places["here"] / "voicegw.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"voicegw\.yaml has 1 problem:\n.*Is a directory"):
        load_config(env={})


def test_a_path_that_no_system_can_open_is_an_error_of_ours() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(Path("a\0b"), env={})


def test_a_device_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="found a larger file; expected one of at most 1048576"):
        load_config(Path("/dev/zero"), env={})


class TestDatabase:
    def test_a_relative_file_is_beside_the_configuration(self, places: dict[str, Path]) -> None:
        path = write(places["data"], "p")
        path.write_text("database: {url: sqlite:///ledger/my.db}\n")
        assert load_config(path, env={}).database_url == (
            f"sqlite:///{places['data']}/ledger/my.db"
        )

    def test_it_stays_there_when_the_working_directory_changes(
        self, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(places["here"], "p").write_text("database: {url: sqlite:///my.db}\n")
        config = load_config(env={})
        monkeypatch.chdir(places["data"])
        assert config.database_url == f"sqlite:///{places['here']}/my.db"

    def test_an_absolute_file_stays_as_it_is(self, places: dict[str, Path]) -> None:
        write(places["here"], "p").write_text("database: {url: sqlite:////var/lib/my.db}\n")
        assert load_config(env={}).database_url == "sqlite:////var/lib/my.db"

    def test_a_file_may_be_in_the_home_directory(
        self, places: dict[str, Path], tmp_path: Path
    ) -> None:
        env = {"VOICEGW_DATABASE_URL": "sqlite:///~/my.db"}
        assert load_config(env=env).database_url == f"sqlite:///{tmp_path}/my.db"

    def test_the_variable_goes_before_the_file(self, places: dict[str, Path]) -> None:
        write(places["here"], "p").write_text("database: {url: sqlite:///my.db}\n")
        env = {"VOICEGW_DATABASE_URL": "postgresql://vg:pw@db/ledger"}
        assert load_config(env=env).database_url == "postgresql://vg:pw@db/ledger"

    @pytest.mark.parametrize("where", ["environment", "file"])
    def test_both_names_of_postgresql_mean_the_same_ledger_and_the_same_outbox(
        self, places: dict[str, Path], where: str
    ) -> None:
        ledgers, outboxes = [], []
        for url in ("postgres://vg:pw@db/ledger?x=y", "postgresql://vg:pw@db/ledger?x=y"):
            if where == "file":
                write(places["here"], "p").write_text(f"database: {{url: '{url}'}}\n")
            config = load_config(env={} if where == "file" else {"VOICEGW_DATABASE_URL": url})
            assert config.has_remote_ledger
            assert isinstance(make_ledger(config.database_url), PostgresLedger)
            ledgers.append(config.database_url)
            outboxes.append([outbox.path for outbox in open_outboxes(config)])
        assert ledgers == ["postgresql://vg:pw@db/ledger?x=y"] * 2
        assert outboxes[0] == outboxes[1]

    def test_without_a_file_a_relative_one_is_in_the_working_directory(
        self, places: dict[str, Path]
    ) -> None:
        env = {"VOICEGW_DATABASE_URL": "sqlite:///my.db"}
        assert load_config(env=env).database_url == f"sqlite:///{places['here']}/my.db"

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("ftp://ledger.example.com", "a URL that begins with ftp://"),
            ("https://", "a URL without a host"),
            ("https://[ledger", "a URL without a host"),
            ("https://ledger:99999", "a URL without a host"),
            ("https://me:pass-word@ledger.example.com", "a URL with a user or a token"),
            ("https://ledger.example.com?token=pass-word", "a URL with a query"),
            (
                "http://ledger.example.com",
                "http:// to another machine, where the token can be read on its way",
            ),
            ("mysql://me:pass-word@db/x", "a URL that begins with mysql://"),
            ("postgres:///", "a URL that begins with postgres://"),
            ("postgresql://", "a URL that begins with postgresql://"),
            ("sqlite://voicegw.db", "two slashes"),
            ("sqlite:///", "a SQLite URL without a file"),
            ("sqlite:///:memory:", "a SQLite URL without a file"),
            ("sqlite:///x.db?mode=ro", "a SQLite URL with options"),
            ("voicegw.db", "a text that is no URL"),
            ("me:pass-word@db://x", "a text that is no URL"),
        ],
    )
    @pytest.mark.parametrize("where", ["environment", "file"])
    def test_a_url_of_another_kind_is_refused_without_showing_it(
        self, places: dict[str, Path], url: str, found: str, where: str
    ) -> None:
        env = {"VOICEGW_DATABASE_URL": url} if where == "environment" else {}
        if where == "file":
            write(places["here"], "p").write_text(f"database:\n  url: '{url}'\n")
        with pytest.raises(ConfigError) as caught:
            load_config(env=env)
        (problem,) = caught.value.problems
        assert problem.found == found
        assert problem.key_path == (
            "VOICEGW_DATABASE_URL" if where == "environment" else "database.url"
        )
        assert problem.line == (0 if where == "environment" else 2)
        assert "pass-word" not in str(caught.value)
