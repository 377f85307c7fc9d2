"""The command line against a real router: its output, its errors and its exit codes."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.answers import AnswerFailed, AnswerWarning, Started, Token, WarningCode
from pipeline.cameras import CameraState, SourceReason
from pipeline.sources.probe import ProbeResult, VideoInfo
from tests.actors.conftest import Serving
from tests.actors.scripted import DONE, STARTED, ScriptedShard
from tests.console.running import Ended, run, run_here
from tests.pipeline import footage
from tests.pipeline.footage import H264

ROOT = Path(__file__).parents[2]


async def test_an_answer_goes_to_standard_output_and_its_notes_elsewhere(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        ended = await run("ask", "what is in view", "--camera", "gate", "--address", address)

    assert (ended.code, ended.out) == (0, "red car\n")
    assert "first word after" in ended.err
    assert "evidence at" in ended.err


async def test_an_answer_as_json_is_one_object(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        ended = await run("ask", "what is in view", "-c", "gate", "--json", "--address", address)

    described = json.loads(ended.out)
    assert described["answer"] == "red car"
    assert described["memory_as_of"] == "1970-01-01T00:16:40.250+00:00"
    assert described["evidence"] == [{"time": "1970-01-01T00:16:39.500+00:00", "weight": 0.75}]
    assert described["ttft_ms"] > 0


async def test_unknown_words_are_warned_of(serving: Serving) -> None:
    warning = AnswerWarning(WarningCode.UNKNOWN_WORDS, "the model does not know 'zebra'", ("zebra",))
    started = Started(answer_id="1", camera="gate", memory_as_of_s=9.0, warnings=(warning,))
    async with serving(ScriptedShard(answer=[started, DONE])) as address:
        ended = await run("ask", "is there a zebra", "-c", "gate", "--address", address)

    assert "warning: the model does not know 'zebra'" in ended.err


async def test_control_characters_of_a_model_never_reach_the_terminal(serving: Serving) -> None:
    token = Token("\x1b[2Jred [bold]car[/]", 0)
    async with serving(ScriptedShard(answer=[STARTED, token, DONE])) as address:
        ended = await run("ask", "what", "-c", "gate", "--address", address)

    assert ended.out == "\N{REPLACEMENT CHARACTER}[2Jred [bold]car[/]\n"


async def test_an_answer_may_have_lines(serving: Serving) -> None:
    async with serving(ScriptedShard(answer=[STARTED, Token("a car\na dog", 0), DONE])) as address:
        ended = await run("ask", "what", "-c", "gate", "--address", address)

    assert ended.out == "a car\na dog\n"


async def test_cameras_are_added_listed_shown_and_removed(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        added = await run("cameras", "add", "yard", "sim:yard?seed=3", "--json", "--address", address)
        listed = await run("cameras", "list", "--address", address)
        shown = await run("cameras", "show", "yard", "--address", address)
        as_json = await run("cameras", "list", "--json", "--address", address)
        removed = await run("cameras", "remove", "yard", "--address", address)

    assert json.loads(added.out)["url"] == "sim:yard?seed=3"
    assert "gate" in listed.out
    assert "yard" in listed.out
    for fact in ("8 seen, 0 dropped", "prefix", "recent window", "4,096 bytes", "next position", "saved"):
        assert fact in shown.out
    assert [camera["name"] for camera in json.loads(as_json.out)] == ["gate", "yard"]
    assert (removed.code, removed.out) == (0, "")


async def test_a_url_is_tested_without_being_added(serving: Serving) -> None:
    shard = ScriptedShard()
    video = VideoInfo(codec="h264", width=1920, height=1080, declared_fps=25.0, measured_fps=24.9)
    shard.probe_results = {
        "rtsp://10.0.0.18/good": ProbeResult(url="rtsp://10.0.0.18/good", video=video, detail="it sends over UDP"),
        "rtsp://u:canary@10.0.0.18/bad": ProbeResult(
            url="rtsp://10.0.0.18/bad", reason=SourceReason.UNAUTHORIZED, detail="rtsp://10.0.0.18/bad: 401"
        ),
    }
    async with serving(shard) as address:
        good = await run("cameras", "test", "rtsp://10.0.0.18/good", "--address", address)
        bad = await run("cameras", "test", "rtsp://u:canary@10.0.0.18/bad", "--json", "--address", address)
        listed = await run("cameras", "list", "--json", "--address", address)

    assert good.code == 0
    for fact in (
        "good · it sends over UDP",
        "h264, 1920x1080",
        "25.0 fps declared, 24.9 measured",
        "fewer than two seen; it works, but every frame is decoded",
    ):
        assert fact in good.out
    assert bad.code == 1
    assert json.loads(bad.out) == {
        "url": "rtsp://10.0.0.18/bad",
        "ok": False,
        "reason": "unauthorized",
        "detail": "rtsp://10.0.0.18/bad: 401",
        "video": None,
    }
    assert [camera["name"] for camera in json.loads(listed.out)] == ["gate"]


async def test_a_url_is_tested_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless an address is given, by the option or by the variable."""
    monkeypatch.delenv("HERMES_ADDRESS", raising=False)
    film = footage.write(tmp_path / "film.mp4", H264)

    good = await run("cameras", "test", str(film))
    missing = await run("cameras", "test", str(tmp_path / "none.mp4"), "--json")
    refused = await run("cameras", "test", "rtsp://u:c4n4ry@127.0.0.1:9/1", "--json")
    invalid = await run("cameras", "test", "gopher://host")
    (tmp_path / "hermes.yaml").write_text(
        'ingest: {allowed_networks: ["127.0.0.1/32"]}\n'
        'cameras: [{name: gate, url: "rtsp://10.0.0.17/1", user: viewer, password: "${TEST_IS_NOT_SET}"}]'
    )
    allowed = await run("cameras", "test", "rtsp://127.0.0.1:9/1", "--config", str(tmp_path / "hermes.yaml"))
    monkeypatch.setenv("HERMES_ADDRESS", "127.0.0.1:9")
    by_server = await run("cameras", "test", str(film))

    assert (good.code, "h264" in good.out) == (0, True)
    assert (missing.code, json.loads(missing.out)["reason"]) == (1, "no_file")
    assert (refused.code, json.loads(refused.out)["reason"]) == (1, "address_refused")
    assert "c4n4ry" not in refused.out + refused.err
    assert ("no configuration was read" in refused.err, missing.err) == (True, "")
    assert ("connection_refused" in allowed.out, allowed.err) == (True, "")
    assert (invalid.code, "gopher" in invalid.err) == (2, True)
    assert "no hermes answers at 127.0.0.1:9" in by_server.err


async def test_a_cameras_password_comes_from_a_file_and_is_printed_nowhere(serving: Serving, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("c4n4ry/1\n")
    url, credentials = "rtsp://camera.example/1", ("--user", "viewer", "--password-file", str(secret))
    shard = ScriptedShard()
    shard.probe_results = {"rtsp://viewer:c4n4ry%2F1@camera.example/1": ProbeResult(url=url)}
    async with serving(shard) as address:
        tested = await run("cameras", "test", url, *credentials, "--json", "--address", address)
        added = await run("cameras", "add", "door", url, *credentials, "--json", "--address", address)

    assert (tested.code, added.code) == (0, 0)
    assert shard.assignments["door"].spec.url == "rtsp://viewer:c4n4ry%2F1@camera.example/1"
    assert "c4n4ry" not in tested.out + tested.err + added.out + added.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("rtsp://c/1", "--password-file", "/none"), "error: --password-file: it needs --user beside it"),
        (("rtsp://c/1", "--user", "u", "--password-file", "/none"), "error: --password-file: '/none': No such file"),
        (("rtsp://c4n4ry@c/1", "--user", "u"), "error: --user: the URL already holds a user"),
        (("sim:yard", "--user", "u"), "error: --user: only a camera on the network takes a user"),
    ],
)
async def test_an_invalid_user_is_refused_before_anything_is_sent(arguments: tuple[str, ...], complaint: str) -> None:
    ended = await run("cameras", "add", "door", *arguments, "--address", "127.0.0.1:9")

    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(complaint)
    assert "c4n4ry" not in ended.err


async def test_a_camera_is_added_with_masks_and_a_bad_one_is_refused(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        add_yard = ("cameras", "add", "yard", "sim:yard", "--json", "--address", address)
        added = await run(*add_yard, "--mask", "0,0 0.5,0 0.5,0.25", "--mask", "0.9,0.9 1,0.9 1,1")
        outside = await run("cameras", "add", "a", "sim:a", "--mask", "0,0 1,0 1,2", "--address", address)
        garbled = await run("cameras", "add", "a", "sim:a", "--mask", "0;0 1;0", "--address", address)

    assert json.loads(added.out)["masks"] == [[[0, 0], [0.5, 0], [0.5, 0.25]], [[0.9, 0.9], [1, 0.9], [1, 1]]]
    assert (outside.code, "corner [1.0, 2.0] lies outside of the image" in outside.err) == (2, True)
    assert (garbled.code, "'0;0' is no corner" in garbled.err) == (2, True)


async def test_shards_are_listed_and_cameras_moved_and_drained(serving: Serving) -> None:
    async with serving(ScriptedShard(pid=100), ScriptedShard(pid=200)) as address:
        listed = await run("shards", "list", "--json", "--address", address)
        moved = await run("cameras", "migrate", "gate", "--to", "1", "--json", "--address", address)
        drained = await run("shards", "drain", "1", "--address", address)
        node = json.loads(listed.out)["shards"][0]["node"]
        emptied = await run("shards", "drain", "--node", node, "--force", "--address", address)
        astray = await run("shards", "drain", "--node", "elsewhere", "--address", address)
        both = await run("shards", "drain", "1", "--node", node, "--address", address)
        shown = await run("shards", "list", "--address", address)
        nowhere = await run("cameras", "migrate", "gate", "--to", "7", "--address", address)

    assert [shard["cameras"] for shard in json.loads(listed.out)["shards"]] == [["gate"], []]
    assert json.loads(listed.out)["headroom"] == 15
    assert json.loads(moved.out)["shard"] == 1
    assert (drained.code, "drained" in drained.out) == (0, True)
    # With every shard drained the camera has nowhere to go.
    assert (emptied.code, astray.code, both.code) == (1, 1, 2)
    assert "no shard runs there" in astray.err
    rows = [line.split()[:2] for line in shown.out.splitlines() if line.split()[0].isdigit()]
    assert rows == [["0", "draining"], ["1", "drained"]]
    assert "hermes shards undrain 1" in " ".join(shown.out.split())
    assert (nowhere.code, "there are 0 to 1" in nowhere.err) == (2, True)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("film.mp4", "work/film.mp4"),
        ("../film.mp4", "film.mp4"),
        ("link/film.mp4", "work/link/film.mp4"),
        ("link/../film.mp4", "films/film.mp4"),
    ],
)
async def test_a_file_is_sent_with_its_absolute_path(
    serving: Serving, tmp_path: Path, monkeypatch, url: str, sent: str
) -> None:
    """The path has no `..`; a link stays in it, except where a `..` needs the folder that it leads to."""
    (tmp_path / "films" / "monday").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "link").symlink_to(tmp_path / "films" / "monday")
    monkeypatch.chdir(tmp_path / "work")
    async with serving(ScriptedShard()) as address:
        added = await run("cameras", "add", "film", url, "--json", "--address", address)

    assert json.loads(added.out)["url"] == str(tmp_path / sent)


@pytest.mark.parametrize(
    "url",
    [
        " rtsp://u:c4n4ry@camera/1",
        '"rtsp://u:c4n4ry@camera/1"',
        "rtsp//u:c4n4ry@camera/1",
        "10.0.0.1",
        "10.0.0.1:554/c4n4ry",
        "10.0.0.1/c4n4ry",
        "[fd00::1%lo]/c4n4ry",
    ],
)
async def test_a_mistyped_network_url_is_no_file_whose_path_is_shown(serving: Serving, url: str) -> None:
    async with serving(ScriptedShard()) as address:
        added = await run("cameras", "add", "film", url, "--address", address)

    assert (added.code, "neither a local path nor a network URL" in added.err) == (2, True)
    assert "c4n4ry" not in added.out + added.err


async def test_a_variable_without_a_value_is_not_the_present_folder(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        added = await run("cameras", "add", "film", "", "--address", address)

    assert (added.code, "camera URL of 0 characters" in added.err) == (2, True)


async def test_a_file_in_a_folder_that_is_called_like_a_camera_is_a_file(
    serving: Serving, tmp_path: Path, monkeypatch
) -> None:
    film = tmp_path / "10.0.0.1" / "film.mp4"
    film.parent.mkdir()
    film.touch()
    monkeypatch.chdir(tmp_path)
    async with serving(ScriptedShard()) as address:
        added = await run("cameras", "add", "film", "10.0.0.1/film.mp4", "--json", "--address", address)

    assert json.loads(added.out)["url"] == str(film)


async def test_the_change_gate_is_on_unless_it_is_switched_off(serving: Serving) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address:
        await run("cameras", "add", "yard", "sim:yard", "--address", address)
        await run("cameras", "add", "pond", "sim:pond", "--no-gate", "--address", address)

    assert {name: assignment.spec.gate for name, assignment in shard.assignments.items()} == {
        "gate": True,
        "yard": True,
        "pond": False,
    }


async def test_credentials_in_a_url_are_never_printed(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        ends = [
            await run("cameras", "list", "--address", address),
            await run("cameras", "list", "--json", "--address", address),
            await run("cameras", "show", "gate", "--address", address),
            await run("cameras", "add", "a", "rtsp://user:canary@ho st/1", "--address", address),
        ]

    assert "camera.example" in ends[1].out
    assert all("canary" not in ended.out + ended.err for ended in ends)


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("ask", "what", "-c", "gaet"), 2, "error: camera 'gaet': not watched here (nearest name among 1: gate)"),
        (("cameras", "show", "gaet"), 2, "error: camera 'gaet'"),
        (("cameras", "add", "gate", "sim:other"), 2, "error: camera 'gate' exists"),
        (("cameras", "add", "a", "gopher://host"), 2, "error: camera URL 'gopher://host'"),
        (("cameras", "add", "full", "sim:a"), 1, "error: camera 'full': all slots are taken"),
    ],
)
async def test_a_mistake_ends_with_one_line(
    serving: Serving, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    async with serving(ScriptedShard(max_cameras=1)) as address:
        ended = await run(*arguments, "--address", address)

    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(complaint)
    assert ended.err.count("\n") == 1


async def test_a_failed_source_is_the_users_mistake(serving: Serving) -> None:
    shard = ScriptedShard()
    shard.states["film"] = (CameraState.FAILED, "'/tmp/x': no video in it")
    async with serving(shard) as address:
        ended = await run("cameras", "add", "film", "/tmp/x", "--address", address)

    assert (ended.code, ended.err) == (2, "error: '/tmp/x': no video in it; the camera was not added\n")


async def test_an_answer_that_breaks_off_is_a_failure(serving: Serving) -> None:
    shard = ScriptedShard(answer=[STARTED, Token("red", 0), AnswerFailed("camera 'gate' was removed")])
    async with serving(shard) as address:
        ended = await run("ask", "what", "-c", "gate", "--address", address)

    assert ended.code == 1
    assert "error: camera 'gate' was removed" in ended.err


async def test_an_unreachable_server_is_a_failure_that_says_what_to_do() -> None:
    ended = await run("ask", "what", "-c", "gate", "--address", "127.0.0.1:9")

    assert ended.code == 1
    assert ended.err.startswith("error: no hermes answers at 127.0.0.1:9; start one with: hermes demo")
    assert ended.err.count("\n") == 1


async def test_the_token_is_sent_from_its_file(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right\n")
    async with serving(ScriptedShard(), token="right") as address:
        without = await run("cameras", "list", "--address", address)
        ended = await run("cameras", "list", "--token-file", str(tmp_path / "token"), "--address", address)
        missing = await run("cameras", "list", "--token-file", str(tmp_path / "none"), "--address", address)

    assert (without.code, ended.code, missing.code) == (2, 0, 2)
    assert "error: token file" in missing.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("ask",),
        ("ask", "what"),
        ("cameras", "fly"),
        ("cameras", "add", "a", "sim:a", "--pace", "slow"),
        ("node", "drain", "--address", ""),
    ],
)
async def test_wrong_usage_is_a_mistake(arguments: tuple[str, ...]) -> None:
    assert (await run(*arguments)).code == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("memory: {tokens_per_layr: 1}", "memory.tokens_per_layr: unknown key"),
        ("store: redis://user:canary@127.0.0.1:9/0", "127.0.0.1:9"),
    ],
)
def test_a_system_that_cannot_start_says_why_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "hermes.yaml"
    path.write_text(f"{text}\nrouter: {{port: 0}}\n")

    ended = run_here("serve", "--config", str(path))

    assert ended.code in (1, 2)
    assert complaint in ended.err
    assert ended.err.count("error: ") == 1
    assert "canary" not in ended.err


def test_the_version_is_that_of_the_package() -> None:
    ended = run_here("--version")

    assert ended.code == 0
    assert ended.out == f"hermes {importlib.metadata.version('hermes-cameras')}\n"


@pytest.mark.parametrize("arguments", [("plan", "--cameras", "5"), ("plan", "--cameras", "5", "--json"), ("--help",)])
def test_output_that_cannot_be_written_ends_with_one_line(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "console.cli.main", *arguments]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)

    assert ended.returncode == 1
    assert ended.stderr == "error: standard output: No space left on device\n"


def test_the_shared_store_of_before_is_named_with_the_way_to_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "hermes" / "store").mkdir(parents=True)
    path = tmp_path / "hermes.yaml"
    path.write_text("auth: {token_file: /none/token}\n")  # which ends the start before anything runs

    ended = run_here("serve", "--config", str(path))

    assert f"To go on with the old one, set store: embedded:{tmp_path}/hermes/store" in ended.err
    assert ended.code == 2


@pytest.mark.parametrize(
    "arguments", [("ask", "what", "-c", "gate"), ("cameras", "list"), ("cameras", "add", "yard", "sim:yard")]
)
async def test_a_client_command_loads_only_the_client(serving: Serving, arguments: tuple[str, ...]) -> None:
    async with serving(ScriptedShard()) as address:
        ended = await run_and_forbid(_ROOMS | _HEAVY, *arguments, "--address", address)

    assert ended.code == 0, ended.err


async def test_adding_a_camera_with_a_password_loads_nothing_heavy(serving: Serving, tmp_path: Path) -> None:
    """The schema of credentials is the server's, so its room is imported, but neither torch nor Ray."""
    (tmp_path / "secret").write_text("pass")
    credentials = ("--user", "viewer", "--password-file", str(tmp_path / "secret"))
    async with serving(ScriptedShard()) as address:
        ended = await run_and_forbid(
            _HEAVY, "cameras", "add", "door", "rtsp://camera.example/1", *credentials, "--address", address
        )

    assert ended.code == 0, ended.err


_HEAVY = {"torch", "ray", "transformers", "redis", "av", "numpy"}
_ROOMS = {"actors", "pipeline", "models", "cache_store", "ops"}


async def run_and_forbid(modules: set[str], *arguments: str) -> Ended:
    """The command line in a process of its own, which fails if it loaded one of these modules."""
    script = (
        "import sys\n"
        "from console.cli import commands\n"
        "commands.app(sys.argv[1:], standalone_mode=False)\n"
        f"loaded = {modules!r} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    command = [sys.executable, "-c", script, *arguments]
    ended = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return Ended(ended.returncode, ended.stdout, ended.stderr)
