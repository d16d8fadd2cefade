"""Configuration files: which one is read, and what is said when it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flask_celeriac.config import Settings, load_file, resolve
from flask_celeriac.errors import ConfigError, ConfigWarning

YAML = """\
port: 8080
secret_key: s3cret
database_url: postgresql://h/app
timezone: Europe/Berlin
celery:
  broker_url: redis://a/0
  result_backend: redis://a/1
  broker_transport_options: {visibility_timeout: 7200}
"""
JSON = """{"port": 8080, "celery": {"broker_url": "redis://a/0", "result_backend": "redis://a/1",
"broker_transport_options": {"visibility_timeout": 7200}}}"""
TOML = """\
port = 8080
[celery]
broker_url = "redis://a/0"
result_backend = "redis://a/1"
[celery.broker_transport_options]
visibility_timeout = 7200
"""
WANTED = {
    "broker_url": "redis://a/0",
    "result_backend": "redis://a/1",
    "broker_transport_options": {"visibility_timeout": 7200},
}


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def from_file(path: str, **config: Any) -> Settings:
    return resolve({"CELERIAC_CONFIG_FILE": path, **config}, environ={})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", YAML),
        ("c.YML", YAML),
        ("c.json", JSON),
        ("c.toml", TOML),
        ("c", YAML),
        ("json.yaml", JSON),
        ("tabs.yaml", json.dumps({"celery": WANTED}, indent="\t")),
        ("flow.yaml", "{celery: " + json.dumps(WANTED) + "}"),
        ("bom.yaml", "\ufeff" + YAML),
        ("bom.json", "\ufeff" + JSON),
        ("crlf.toml", TOML.replace("\n", "\r\n")),
        ("upper.yaml", YAML.replace("celery:", "CELERY:")),
        ("text.yaml", f"CELERY: '{json.dumps(WANTED)}'"),
    ],
)
def test_formats(tmp_path: Path, name: str, text: str) -> None:
    assert from_file(write(tmp_path / name, text)).celery == WANTED


def test_flat_keys_of_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.yaml",
        "broker_url: redis://a/0\nCELERY_TIMEZONE: utc\nCELERYD_CONCURRENCY: '2'\n"
        "timezone: Europe/Berlin\nredis_host: h\nCELERIAC_DURABILITY: full\n1: one\n",
    )
    found = from_file(path)
    assert found.celery == {
        "broker_url": "redis://a/0",
        "timezone": "UTC",
        "worker_concurrency": 2,
    }
    assert found.options.durability == "full"


def test_origins_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "config.yaml", YAML + "CELERY_TASK_ACKS_LATE: true\n")
    monkeypatch.chdir(tmp_path)
    found = from_file("config.yaml")
    assert str(found.origins["broker_url"]) == "file config.yaml: celery.broker_url"
    assert str(found.origins["task_acks_late"]) == "file config.yaml: CELERY_TASK_ACKS_LATE"
    monkeypatch.chdir("/")
    found = from_file(str(tmp_path / "config.yaml"))
    assert str(tmp_path / "config.yaml")[1:] in str(found.origins["broker_url"])


def test_a_section_wins_over_the_flat_key_of_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", "broker_url: a\ncelery: {broker_url: b}\n")
    with pytest.warns(ConfigWarning, match="the first wins"):
        assert from_file(path).celery == {"broker_url": "b"}


def test_the_rest_of_the_file_is_the_applications(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", YAML)
    assert load_file(path)["port"] == 8080
    assert load_file(Path(path))["secret_key"] == "s3cret"
    assert load_file(write(tmp_path / "empty.yaml", "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "a: 1\nb: [1\nc: 2\n", "line 3: this is not valid YAML"),
        ("c.yaml", "a: 1\n\tb: 2\n", "line 2: this is not valid YAML"),
        ("c.yaml", "a: 1\nb: \x01\n", "line 2: this is not valid YAML"),
        ("c.yaml", "a: !!python/object/apply:os.getcwd []\n", "line 1: this is not valid YAML"),
        ("c.json", '{"a": 1,\n"b": }', "line 2: this is not valid JSON"),
        ("c.json", "", "line 1: this is not valid JSON"),
        ("c.json", "[" * 100_000, "this is not valid JSON"),
        ("c.toml", "a = 1\nb = = 2\n", "line 2: this is not valid TOML"),
        ("c.toml", "a = 1\nb =", "line 2: this is not valid TOML"),
        ("c.yaml", b"a: 1\nb: \xff\n", "line 2: this is not UTF-8"),
        ("c.yaml", "- a\n- b\n", "a mapping of keys to values, not a list"),
        ("c.yaml", "just text\n", "a mapping of keys to values, not a str"),
        ("c.json", "null", "a mapping of keys to values, not a NoneType"),
        ("c.yaml", "celery: [a]\n", "give a mapping"),
        ("c.yaml", "celery: {1: 2}\n", "the key 1 is no text"),
        ("c.yaml", "celeriac: {config_file: d.yaml}\n", "cannot name another one"),
        ("c.yaml", "CELERIAC_DURABLITY: full\n", "did you mean CELERIAC_DURABILITY?"),
        ("c.yaml", "celery: {worker_prefetch_multiplier: lots}\n", "takes a whole number"),
    ],
)
def test_what_is_said_of_a_broken_file(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(ConfigError) as error:
        from_file(path)
    assert message in str(error.value)
    assert name in str(error.value)


def test_a_missing_file_is_named_with_its_whole_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        resolve({"CELERIAC_CONFIG_FILE": "no.yaml"}, environ={}, base_dir=str(tmp_path))
    assert str(tmp_path / "no.yaml") in str(error.value)
    with pytest.raises(ConfigError, match="cannot read"):
        from_file(str(tmp_path))


def test_a_relative_path_counts_from_the_base_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    path = write(tmp_path / "secrets" / "c.yaml", YAML)
    monkeypatch.chdir("/")
    config = {"CELERIAC_CONFIG_FILE": "secrets/c.yaml"}
    found = resolve(config, environ={}, base_dir=str(tmp_path))
    assert found.celery == WANTED
    assert found.options.config_file == path


def test_an_argument_of_init_app_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", YAML)
    environ = {"CELERIAC_CONFIG_FILE": "another.yaml"}
    found = resolve({}, options={"config_file": "c.yaml"}, environ=environ, base_dir=str(tmp_path))
    assert found.celery == WANTED
    assert found.options.config_file == path


class TestFlaskConfig:
    @pytest.mark.parametrize(
        "value", ["", "development", "production", "config.ProductionConfig", "no/such/thing"]
    )
    def test_a_name_is_no_file(self, value: str) -> None:
        assert resolve({}, environ={"FLASK_CONFIG": value}).celery == {}

    def test_code_is_no_file_of_ours(self, tmp_path: Path) -> None:
        path = write(tmp_path / "config.py", "BROKER_URL = 'redis://a/0'\n")
        assert resolve({}, environ={"FLASK_CONFIG": path}).celery == {}

    def test_a_directory_is_no_file(self, tmp_path: Path) -> None:
        assert resolve({}, environ={"FLASK_CONFIG": str(tmp_path)}).celery == {}

    @pytest.mark.parametrize("name", ["api-config.yaml", "api-config"])
    def test_a_file_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        write(tmp_path / name, YAML)
        monkeypatch.chdir(tmp_path)
        found = resolve({}, environ={"FLASK_CONFIG": f"./{name}"})
        assert found.celery == WANTED
        assert found.options.config_file == str(tmp_path / name)

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="there is no configuration file"):
            resolve({}, environ={"FLASK_CONFIG": str(tmp_path / "no.yaml")})

    def test_it_wins_over_the_file_that_the_application_names(self, tmp_path: Path) -> None:
        weak = write(tmp_path / "weak.yaml", "celery: {broker_url: weak}\n")
        strong = write(tmp_path / "strong.yaml", "celery: {broker_url: strong}\n")
        strongest = write(tmp_path / "strongest.yaml", "celery: {broker_url: strongest}\n")
        config = {"CELERIAC_CONFIG_FILE": weak}
        environ = {"FLASK_CONFIG": strong}
        assert resolve(config, environ=environ).celery == {"broker_url": "strong"}
        environ["FLASK_CELERIAC_CONFIG_FILE"] = strongest
        assert resolve(config, environ=environ).celery == {"broker_url": "strongest"}
