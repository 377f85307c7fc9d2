"""Configurations are read with their defaults; mistakes are named with line, key and value, without secrets."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import structlog

from actors.config import loading
from actors.config.router_config import AuthConfig
from actors.config.schema import HermesConfig
from actors.errors import ConfigError
from cache_store.row_format import RowFormat
from pipeline.cameras import CameraSpec, PlaybackSpeed
from pipeline.network.redaction import REDACTOR


def parse(text: str, **environment: str) -> HermesConfig:
    return loading.parse_config(text, origin="hermes.yaml", environment=environment)


def error_of(text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, **environment)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_file_gives_the_defaults() -> None:
    settings = parse("")

    assert settings == HermesConfig()
    assert settings.model == "tiny"
    assert settings.router.is_loopback


def test_every_section_is_read() -> None:
    settings = parse(
        """
        model: llava-onevision-0.5b
        memory: {tokens_per_layer: 4000, policy: hermes}
        ingest: {sample_fps: 1, device: cpu}
        shards: {count: 2, checkpoint_every_s: 5, checkpoint_rows: int8, device: {max_cameras: 8}}
        store: redis://localhost:6379/0
        router: {host: "::1", port: 0}
        cameras:
          - {name: gate, url: "sim:gate?seed=7"}
          - {name: film, url: /tmp/film.mp4, pace: fast, gate: false, masks: [[[0, 0], [0.5, 0], [0.5, 0.25]]]}
        """
    )

    assert settings.memory.tokens_per_layer == 4000
    assert settings.shards.device.max_cameras == 8
    assert (settings.shards.fewest, settings.shards.most) == (2, 2)
    assert settings.shards.checkpoint_rows is RowFormat.INT8
    assert loading.embedded_store_folder(settings) is None
    assert settings.router.is_loopback
    assert [camera.pace for camera in settings.cameras] == [PlaybackSpeed.LIVE, PlaybackSpeed.FAST]
    assert [camera.gate for camera in settings.cameras] == [True, False]
    assert settings.cameras[1].masks == (((0, 0), (0.5, 0), (0.5, 0.25)),)


def test_a_camera_has_a_rate_labels_and_a_loop() -> None:
    camera = parse(
        "cameras: [{name: film, url: /f.mp4, loop: true, frames_per_second: 0.5, labels: {site: north, floor: '2'}}]"
    ).cameras[0]

    assert (camera.loop, camera.frames_per_second) == (True, 0.5)
    assert camera.labels == {"site": "north", "floor": "2"}


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("url: /f, frames_per_second: 61", "frames_per_second is 61.0: it must be 0.01 to 60"),
        ("url: /f, frames_per_second: 0", "frames_per_second is 0.0: it must be 0.01 to 60"),
        ("url: /f, frames_per_second: .nan", "frames_per_second is nan: it must be 0.01 to 60"),
        ("url: /f, labels: {a b: x}", "label 'a b': a key has 1 to 63 letters"),
        (f"url: /f, labels: {{a: {257 * 'x'}}}", "label 'a': a value of 257 characters (at most 256, all printable)"),
        ('url: /f, labels: {a: "x\\n"}', "label 'a': a value of 2 characters (at most 256, all printable)"),
        (f"url: /f, labels: {{{', '.join(f'k{n}: v' for n in range(17))}}}", "17 labels (limit 16)"),
        ("url: 'sim:a', loop: true", "loop is for recordings (a file, http, https), not for a live source"),
        ("url: 'rtsp://h/a', loop: true", "loop is for recordings (a file, http, https), not for a live source"),
    ],
)
def test_an_invalid_rate_label_or_loop_is_named(keys: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"camera 'gate': {problem}")):
        parse(f"cameras: [{{name: gate, {keys}}}]")


def test_the_files_of_configured_cameras_are_allowed_and_no_others_beside_them() -> None:
    settings = parse(
        """
        ingest: {video_folders: [/archive], allowed_networks: [127.0.0.0/8], refused_networks: ["10.1.0.0/16"]}
        cameras: [{name: film, url: /films/film.mp4}, {name: gate, url: "sim:gate"}]
        """
    )

    assert settings.ingest.video_folders == (Path("/archive"),)
    assert settings.for_shards().ingest.video_folders == (Path("/archive"), Path("/films/film.mp4"))
    assert parse("").for_shards().ingest.video_folders == ()


def test_a_password_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p@ss/word\n")
    settings = parse(
        f"""
        cameras:
          - {{name: gate, url: "rtsp://10.0.0.17:554/live?a=1", user: viewer, password_file: {tmp_path / "secret"}}}
          - {{name: yard, url: "http://10.0.0.18/", user: viewer, password: "${{WORD}}"}}
          - {{name: shop, url: "http://10.0.0.19/", user: token}}
        """,
        WORD="x:y",
    )

    assert [camera.url for camera in settings.cameras] == [
        "rtsp://viewer:p%40ss%2Fword@10.0.0.17:554/live?a=1",
        "http://viewer:x%3Ay@10.0.0.18/",
        "http://token@10.0.0.19/",
    ]


def test_the_authorities_of_a_camera_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("CERTIFICATE\n")

    settings = parse(f"cameras: [{{name: gate, url: 'rtsps://c/1', tls_name: nvr, tls_ca_file: {tmp_path}/ca.pem}}]")

    assert (settings.cameras[0].tls_ca, settings.cameras[0].tls_name) == ("CERTIFICATE", "nvr")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("url: 'rtsp://c/1', user: u, password_file: /none", "cameras[gate].password_file: '/none': No such file"),
        ("url: 'rtsp://c/1', password: c4n4ry", "cameras[gate].password: it needs the key user beside it"),
        (
            "url: 'rtsp://c/1', user: u, password: c4n4ry, password_file: /x",
            "cameras[gate].password_file: the key password",
        ),
        ("url: 'rtsp://c4n4ry@c/1', user: u, password: c4n4ry", "cameras[gate].user: the URL already holds a user"),
        ("url: 'rtsp://c/1', user: ''", "cameras[gate].user: it is empty"),
        ("url: 'sim:gate', user: u", "cameras[gate].user: only a camera on the network"),
        ("url: 'rtsp://u:c4n4ry@', user: u", "cameras[gate].url: camera URL 'rtsp://'"),
        ("url: 'rtsps://c/1', tls_ca_file: /none", "cameras[gate].tls_ca_file: '/none': No such file"),
        (
            "url: 'rtsps://c/1', tls_ca: x, tls_ca_file: /none",
            "cameras[gate].tls_ca_file: the key tls_ca stands there too",
        ),
        ("url: 'rtsp://c/1', pasword_file: /x", "unknown key (did you mean 'password_file'?)"),
    ],
)
def test_an_invalid_password_is_named_by_its_key_without_the_secret(entry: str, expected: str) -> None:
    message = error_of(f"cameras: [{{name: gate, {entry}}}]")

    assert expected in message
    assert "c4n4ry" not in message


def test_a_password_in_a_url_is_logged_as_a_warning() -> None:
    with structlog.testing.capture_logs() as events:
        parse(
            """
            cameras:
              - {name: gate, url: "rtsp://u:c4n4ry@10.0.0.17/live"}
              - {name: yard, url: "rtsp://u:${WORD}@10.0.0.17/live"}
              - {name: shop, url: "rtsp://10.0.0.17/live", user: u, password: "${WORD}"}
            """,
            WORD="c4n4ry",
        )

    assert [(event["event"], event["camera"]) for event in events] == [("password_in_url", "gate")]
    assert "c4n4ry" not in repr(events)


def test_an_unknown_key_is_named_with_its_line_and_a_suggestion() -> None:
    assert error_of("model: tiny\nmemory:\n  tokens_per_layr: 256\n") == (
        "hermes.yaml:3: memory.tokens_per_layr: unknown key (did you mean 'tokens_per_layer'?)"
    )


def test_an_unknown_key_without_a_similar_one_lists_the_known_keys() -> None:
    assert "sotre: unknown key (did you mean 'store'?)" in error_of("sotre: embedded\n")
    assert "router.zebra: unknown key (expected one of: host, port" in error_of("router: {zebra: on}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory: {tokens_per_layer: many}", "memory.tokens_per_layer: "),
        ("memory: {tokens_per_layer: many}", "'many'"),
        ("memory: {tokens_per_layer: 1}", "memory.tokens_per_layer is 1 (2 to 10,000,000)"),
        ("router: {port: 65536}", "router.port is 65536 (at most 65535)"),
        ("ingest: {refused_networks: [10.0.0.1/8]}", "ingest: ingest.refused_networks: 10.0.0.1/8 has host bits set"),
        ("ingest: {video_folders: [films]}", "ingest.video_folders: 'films' is not absolute"),
        ("shards: {count: 0}", "shards.count is 0 (at least 1)"),
        ("shards: {count: 2, spares: 2}", "shards.spares is 2 (less than shards.count, which is 2)"),
        ("shards: {max: 2, spares: 2}", "shards.spares is 2 (less than shards.max, which is 2)"),
        ("shards: {placement: near}", "placement"),
        ("shards: {accelerator_type: A100 80G}", "shards.accelerator_type is 'A100 80G' (1 to 63 letters"),
        ("shards: {node_labels: {zone: -a}}", "shards.node_labels.zone is '-a' (1 to 63 letters"),
        ("shards: {node_labels: {a b: c}}", "shards.node_labels has the label 'a b' (1 to 63 letters"),
        (
            "shards: {accelerator_type: A100, node_labels: {ray.io/accelerator-type: H100}}",
            "shards.node_labels.ray.io/accelerator-type is 'H100' (the same as shards.accelerator_type",
        ),
        ("shards: {min: 3, max: 2}", "shards.max is 2 (at least shards.min, which is 3)"),
        ("shards: {count: 2, max: 3}", "shards.max is 3, and shards.count 2: count is short for min and max with one"),
        (
            "shards: {scaling: {busy_below: 0.9}}",
            "shards.scaling.busy_below is 0.9 (less than busy_above, which is 0.85)",
        ),
        ("shards: {lease: {length_s: 2, margin_s: 1}}", "shards.lease.length_s is 2.0 (at least 3.0, three margins)"),
        ("shards: {lease: {length_s: .nan}}", "shards.lease.length_s is nan (at least 3.0, three margins)"),
        ("shards: {ray: auto}", "the shards of a cluster need a store that all of them reach, not 'embedded'"),
        ("ingest: {sample_fps: 0}", "ingest.sample_fps is 0"),
        ("store: mysql://localhost", "store is neither 'embedded'"),
        ("store: redis+sentinel://one,two", "store URL names no service"),
        ("model: [a, b]", "model: "),
        ("- a list", "hermes.yaml"),
        ("model: tiny\nmodel: other", "hermes.yaml:2: model: the key stands there twice"),
        ("model: 'tiny", "not valid YAML"),
        ("cameras: [{name: gate}]", "cameras[gate].url: missing"),
        ("cameras: [{name: 'a b', url: 'sim:a'}]", "camera name 'a b'"),
        ("cameras: [{name: a, url: 'ftp://host/x'}]", "hermes.yaml:1: cameras[a].url: camera URL 'ftp://host/x'"),
        ("cameras: [{name: a, url: 'sim:a'}, {name: a, url: 'sim:b'}]", "the name 'a' is used 2 times"),
        ("cameras: [{name: a, url: 'sim:a', masks: [[[0, 0], [1, 1]]]}]", "camera 'a': mask 0: 2 corners"),
        ("cameras: [{name: a, url: 'sim:a', masks: [[[0, 0], [1, 0], [1, 2]]]}]", "corner [1.0, 2.0] lies outside"),
        ("router: {host: 0.0.0.0}", "router.host is '0.0.0.0', which other machines can reach"),
        ("router: {host: example.org}", "router.host is 'example.org', which other machines can reach"),
    ],
)
def test_a_mistake_is_named_with_its_value(text: str, expected: str) -> None:
    assert expected in error_of(text)


def test_variables_come_from_the_environment() -> None:
    settings = parse("cameras: [{name: gate, url: 'rtsp://user:${PASSWORD}@host/1'}]", PASSWORD="canary")

    assert settings.cameras[0].url == "rtsp://user:canary@host/1"


def test_a_missing_variable_is_named() -> None:
    assert error_of("model: ${MODEL}") == "hermes.yaml:1: model: the environment has no variable 'MODEL'"


@pytest.mark.parametrize(
    "text",
    [
        "store: mysql://user:canary@host",
        "store: ['redis://user:canary@host']",
        "store: redis+sentinel://user:canary@one,two",
        "store: redis://user:canary@host:port",
        "cameras: [{name: gate, url: ['rtsp://user:canary@host']}]",
        "cameras: [{name: gate, url: 'rtsp://user:canary@ho st/1'}]",
        "cameras: [{name: gate, url: 'ftp://user:canary@host/1'}]",
        "cameras: [{name: gate, url: 'rtsp://user:canary@host/1', pce: live}]",
        "cameras: ['rtsp://user:canary@host/1']",
        "cameras: rtsp://user:canary@host/1",
        "auth: canary",
        "cameras: [{name: gate, url: 'rtsp://host/1', user: u, password: !!int canary}]",
        "cameras: [{name: gate, url: 'rtsp://host/1', user: u, password: [canary]}]",
    ],
)
def test_credentials_are_never_shown(text: str) -> None:
    assert "canary" not in error_of(text)


@pytest.mark.parametrize("text", ["store: 4711", "cameras: [{name: gate, url: 4711}]"])
def test_a_value_of_a_key_that_may_hold_secrets_is_not_shown(text: str) -> None:
    assert "4711" not in error_of(text)


TLS = "tls: {certificate: /server.pem, key: /server-key.pem}"
TOKEN = "auth: {token_file: /token}"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("router: {host: 0.0.0.0}", "router.tls and auth.token_file"),
        (f"router: {{host: 0.0.0.0}}\n{TOKEN}", "router.tls"),
        (f"router: {{host: 0.0.0.0, {TLS}}}", "auth.token_file"),
    ],
)
def test_beyond_this_machine_neither_clear_text_nor_calls_without_a_token_are_accepted(text: str, missing: str) -> None:
    message = error_of(text)

    assert f"set {missing}, or use 127.0.0.1" in message
    assert "router.insecure: true" in message


@pytest.mark.parametrize(
    "text",
    [
        f"router: {{host: 0.0.0.0, {TLS}}}\n{TOKEN}",
        "router: {host: 0.0.0.0, insecure: true}",
        "router: {host: '::1'}",
    ],
)
def test_a_secure_server_one_of_this_machine_and_one_that_is_insecure_by_choice_are_accepted(text: str) -> None:
    assert parse(text)


def test_a_token_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    settings = parse(f"router: {{host: 0.0.0.0, insecure: true}}\nauth: {{token_file: {tmp_path / 'token'}}}")

    assert settings.auth.token() == "secret"


@pytest.mark.parametrize("content", [None, "  \n", "one\ntwo", "schlüssel"])
def test_a_token_file_without_a_token_is_a_mistake(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, encoding="utf-8")

    with pytest.raises(ConfigError, match=str(path)):
        AuthConfig(token_file=path).token()


def test_a_store_may_be_named_by_its_sentinels() -> None:
    url = "redis+sentinel://user:secret@one:26379,two/cameras"
    settings = parse(f"store: {url}")

    assert settings.store == url
    assert loading.embedded_store_folder(settings) is None


def test_the_embedded_store_keeps_its_data_in_the_configured_folder() -> None:
    assert loading.embedded_store_folder(parse("store: embedded:/var/lib/hermes")) == Path("/var/lib/hermes")
    assert loading.embedded_store_folder(HermesConfig()) is not None


def test_each_configuration_file_has_a_store_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file's cameras, passwords included, would come up from a store that two files share."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    paths = [tmp_path / "one" / "hermes.yaml", tmp_path / "two" / "hermes.yaml"]
    for path in paths:
        path.parent.mkdir()
        path.write_text("shards: {count: 1}\n")
    (tmp_path / "link.yaml").symlink_to(paths[0])

    one, two, again, linked = map(folder_of, (*paths, paths[0], tmp_path / "link.yaml"))

    assert one != two
    assert one == again == linked
    assert one.name.startswith("hermes-")
    assert one.parent == tmp_path / "state" / "hermes" / "stores"


def test_a_store_of_before_is_named_until_the_configuration_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "hermes.yaml").write_text("")
    settings = loading.load_config(tmp_path / "hermes.yaml")
    shared = tmp_path / "hermes" / "store"

    assert loading.unused_shared_store(settings) is None
    shared.mkdir(parents=True)
    assert loading.unused_shared_store(settings) == shared
    assert loading.unused_shared_store(HermesConfig(store=f"embedded:{shared}")) is None
    folder_of(tmp_path / "hermes.yaml").mkdir(parents=True)
    assert loading.unused_shared_store(settings) is None


def folder_of(path: Path) -> Path:
    folder = loading.embedded_store_folder(loading.load_config(path))
    assert folder is not None
    return folder


def test_the_example_of_the_readme_is_a_configuration() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    example = readme.split("```yaml\n")[1].split("```")[0]

    settings = parse(example, GATE_PASSWORD="canary")

    assert len(settings.cameras) > 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        loading.load_config(tmp_path / "none.yaml")


def test_the_variables_of_secrets_are_taken_out_of_the_environment_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"PASSWORD": "canary-one", "STORE": "canary-two", "CAMERA": "viewer:canary-3@host", "FILMS": "/films"}
    for name, value in variables.items():
        monkeypatch.setenv(f"TEST_{name}", value)
    (tmp_path / "hermes.yaml").write_text(
        'store: "redis://:${TEST_STORE}@host/0"\n'
        'ingest: {video_folders: ["${TEST_FILMS}"]}\n'
        "cameras:\n"
        '- {name: a, url: "rtsp://host/1", user: viewer, password: "${TEST_PASSWORD}"}\n'
        '- {name: b, url: "rtsp://${TEST_CAMERA}/1"}\n'
        '- {name: c, url: "${TEST_FILMS}/film.mp4"}\n'
    )

    settings = loading.load_config(tmp_path / "hermes.yaml")

    assert [name for name in variables if f"TEST_{name}" in os.environ] == ["FILMS"]
    assert settings.store == "redis://:canary-two@host/0"
    assert REDACTOR.redact("canary-one canary-two canary-3") == "*** *** ***"


def test_the_test_of_a_url_needs_the_variables_of_what_it_uses_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hermes.yaml"
    text = (
        'store: "redis://:${NOT_SET_STORE}@host/0"\n'
        'router: {host: 0.0.0.0, tls: {cert: "${NOT_SET_CERT}", key: "${NOT_SET_KEY}"}}\n'
        'ingest: {allowed_networks: ["${TEST_NETWORK}"]}\n'
        'cameras:\n- {name: a, url: "rtsp://host/1", user: viewer, password: "${NOT_SET_PASSWORD}"}\n'
    )
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"hermes.yaml:3: ingest.allowed_networks.0: .*no variable 'TEST_NETWORK'"):
        loading.load_ingest(path)
    monkeypatch.setenv("TEST_NETWORK", "10.1.0.0/16")

    ingest = loading.load_ingest(path)

    assert ingest.allowed_networks == ("10.1.0.0/16",)
    assert ingest.test_private_networks is False  # by router.host
    path.write_text("ingets: {}\n")
    with pytest.raises(ConfigError, match=r"hermes.yaml:1: ingets: unknown key \(did you mean 'ingest'\?\)"):
        loading.load_ingest(path)
    path.write_text("")
    assert loading.load_ingest(path) == HermesConfig().for_shards().ingest


def test_what_a_shard_is_started_with_holds_no_secret() -> None:
    settings = parse(
        'store: "redis://:canary-1@host/0"\n'
        "cameras:\n- {name: a, url: 'rtsp://viewer:canary-2@host/1'}\n- {name: b, url: /films/b.mp4}\n"
    ).for_shards()

    assert "canary" not in repr(settings)
    assert settings.ingest.video_folders == (Path("/films/b.mp4"),)


@pytest.mark.parametrize(
    ("text", "is_reached"),
    [
        ("", True),
        ("router: {host: 0.0.0.0, insecure: true}", False),
        (
            "router: {host: 0.0.0.0, insecure: true}\ningest: {test_private_networks: true}",
            True,
        ),
        ("ingest: {test_private_networks: false}", False),
    ],
)
def test_a_test_reaches_private_networks_while_only_this_machine_can_ask_for_one(text: str, is_reached: bool) -> None:
    assert parse(text).for_shards().ingest.test_private_networks is is_reached


class CountedName(str):
    """A name that counts how often names are compared."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        CountedName.comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_names_are_compared_at_most_a_few_times_each_however_many_cameras_there_are() -> None:
    """Each was compared with all others: ten thousand cameras took a minute."""
    names = [CountedName(f"camera{number}") for number in range(200)]

    HermesConfig(cameras=tuple(CameraSpec(name=name, url="sim:street") for name in names))

    assert CountedName.comparisons <= 4 * len(names)
