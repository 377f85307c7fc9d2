"""What a command tells before it imports torch and Ray, which takes many seconds; and which commands never do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "transformers")
SCRIPT = f"""
import sys
from console.cli import main
try:
    main.main()
finally:
    assert not set(sys.modules) & set({HEAVY}), set(sys.modules) & set({HEAVY})
"""

# Ends the program where it would begin to import what is heavy.
STOPPED_SCRIPT = f"""
import sys
class Stop:
    def find_spec(self, name, *_):
        if name in ("console.cli.serving", "actors.doctor", "actors.fleet_stop", "actors.node_drain"):
            sys.exit(7)
sys.meta_path.insert(0, Stop())
{SCRIPT}"""


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def run_light(*arguments: str, script: str = SCRIPT) -> tuple[int, str]:
    """Exit code and errors of a command in a process of its own, which fails if it imports what is heavy."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_")}
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["serve", "--help"],
        ["demo", "--help"],
        ["doctor", "--help"],
        ["cameras", "list", "--help"],
        ["plan", "--cameras", "5"],
    ],
)
def test_help_version_and_plans_import_nothing_heavy(arguments: list[str]) -> None:
    code, errors = run_light(*arguments)

    assert (code, "error" in errors) == (0, False)


@pytest.mark.parametrize("arguments", [["cameras", "list"], ["shards", "list"], ["ask", "what", "--camera", "gate"]])
def test_a_client_imports_nothing_heavy(arguments: list[str]) -> None:
    code, errors = run_light(*arguments, "--address", "127.0.0.1:9")

    assert code == 1
    assert "no hermes answers at 127.0.0.1:9" in errors


@pytest.mark.parametrize("command", [["serve"], ["doctor"], ["fleet", "stop"]])
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("modle: tiny", "modle: unknown key (did you mean 'model'?)"),
        ("router: {port: many}", "router.port: Input should be a valid integer"),
        ("cameras: [{name: gate, url: '${HERMES_NO_SUCH}'}]", "the environment has no variable 'HERMES_NO_SUCH'"),
        ("memory: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_a_configuration_is_told_before_anything_heavy_is_imported(
    command: list[str], text: str, complaint: str, tmp_path: Path
) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text(text)

    code, errors = run_light(*command, "--config", str(config))

    assert code == 2
    assert errors.startswith(f"error: {config}:")
    assert complaint in errors


@pytest.mark.parametrize("key", ["router.port", "router.health_port", "metrics.port"])
def test_a_server_tells_at_once_that_a_port_is_in_use(key: str, taken_port: int, tmp_path: Path) -> None:
    section, name = key.split(".")
    ports = {"router": {"port": 0}, "metrics": {"port": 0}}
    ports[section][name] = taken_port
    config = tmp_path / "hermes.yaml"
    config.write_text(f"router: {ports['router']}\nmetrics: {ports['metrics']}\nstore: embedded:{tmp_path / 'store'}\n")

    code, errors = run_light("serve", "--config", str(config))

    assert code == 1
    assert f"127.0.0.1:{taken_port}: cannot listen there: process {os.getpid()} (" in errors
    assert errors.endswith(f"stop it, or choose another {key}\n")


def test_the_demo_tells_at_once_that_its_port_is_in_use(taken_port: int) -> None:
    code, errors = run_light("demo", "--port", str(taken_port))

    assert code == 1
    assert errors.startswith(
        f"error: router address 127.0.0.1:{taken_port}: cannot listen there: process {os.getpid()}"
    )
    assert errors.endswith("stop it, or choose another --port\n")


def test_an_unknown_model_is_told_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text("model: tyni\nrouter: {port: 0}\n")

    code, errors = run_light("serve", "--config", str(config))

    assert code == 1
    assert errors.startswith("error: model 'tyni': no folder, and none of tiny, ")


@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        ("auto", "loading PyTorch and Ray …"),
        ("json", '{"event": "output", "text": "loading PyTorch and Ray \\u2026"}'),
    ],
)
def test_a_server_says_what_it_loads_before_the_seconds_that_it_takes(
    log_format: str, line: str, tmp_path: Path
) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text(f"router: {{port: 0}}\nstore: embedded:{tmp_path / 'store'}\nlogs: {{format: {log_format}}}\n")

    assert run_light("serve", "--config", str(config), script=STOPPED_SCRIPT) == (7, f"{line}\n")


@pytest.mark.parametrize("command", [["doctor"], ["fleet", "stop", "--config", "CONFIG"], ["node", "drain"]])
def test_a_command_says_what_it_loads_before_the_seconds_that_it_takes(command: list[str], tmp_path: Path) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text("shards: {ray: auto}\nstore: redis://127.0.0.1:9\n")

    code, errors = run_light(*(str(config) if word == "CONFIG" else word for word in command), script=STOPPED_SCRIPT)

    assert code == 7
    assert errors.startswith("loading ")


def test_a_cluster_is_not_joined_for_a_wrong_address() -> None:
    code, errors = run_light("node", "drain", "--address", "nowhere")

    assert code == 2
    assert "neither auto nor HOST:PORT" in errors
