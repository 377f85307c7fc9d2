"""Answers and cameras as tables, lines and JSON."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from console.cli import answer_output, camera_output, output, terminal
from console.cli import commands as cli_commands
from console.cli.shards import headroom_note, shard_json, shard_reasons, shard_table
from console.client import answers
from console.client.client import HermesClient
from protos import hermes_v1_pb2 as pb
from tests.console.running import run


def stamp(at_s: float) -> Timestamp:
    return Timestamp(seconds=int(at_s))


def camera() -> pb.Camera:
    memory = pb.MemoryStatus(
        frames_seen=1_200,
        frames_dropped=3,
        compressions=40,
        oldest=stamp(1_000),
        gaps=[pb.Gap(start=stamp(10), end=stamp(20), reason="no frames")],
    )
    return pb.Camera(
        name="gate",
        url="sim:gate",
        state=pb.CAMERA_STATE_STALLED,
        detail="no \x1bframe",
        reason=pb.SOURCE_REASON_NO_ANSWER,
        memory=memory,
    )


def shown(renderable: object, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(renderable)
    return out.getvalue()


def test_the_json_of_a_camera_has_every_number_of_its_memory() -> None:
    described = camera_output.camera_json(camera())

    assert described["state"] == "stalled"
    assert described["reason"] == "no_answer"
    assert set(described["memory"]) == {field.name for field in pb.MemoryStatus.DESCRIPTOR.fields}
    assert described["memory"]["oldest"] == "1970-01-01T00:16:40.000+00:00"
    assert described["memory"]["newest"] is None


def test_the_details_of_a_camera_name_its_trouble_and_its_gaps() -> None:
    text = shown(camera_output.camera_details(camera()))

    assert "stalled · no_answer · no \N{REPLACEMENT CHARACTER}frame" in text
    assert "1200 seen, 3 dropped" in text
    assert "no frames" in text
    assert "not yet" in text


def test_a_table_has_a_row_for_each_camera() -> None:
    text = shown(camera_output.camera_table([camera(), camera()]))

    assert text.count("gate") == 4
    assert text.count("stalled") == 2


def test_a_note_on_the_picture_stands_beside_the_state() -> None:
    noted = pb.Camera(name="gate", state=pb.CAMERA_STATE_LIVE, picture_note=pb.PICTURE_NOTE_PICTURE_BLACK)

    assert camera_output.camera_json(noted)["picture_note"] == "picture_black"
    assert camera_output.camera_json(camera())["picture_note"] is None
    assert "live · picture_black" in shown(camera_output.camera_details(noted))
    assert "picture black" in " ".join(shown(camera_output.camera_table([noted])).split())


def test_an_answer_is_collected_from_its_events() -> None:
    moments = iter([10.0, 10.25])
    events = [
        pb.AskResponse(started=pb.Started(memory_as_of=stamp(1_000))),
        pb.AskResponse(token=pb.Token(text="red", index=0)),
        pb.AskResponse(token=pb.Token(text=" car", index=1)),
        pb.AskResponse(evidence=pb.Evidence(time=stamp(999), weight=0.5)),
        pb.AskResponse(done=pb.Done(answer="red car")),
    ]
    pieces: list[str] = []

    answer = answers.collect("gate", "what", events, pieces.append, clock=lambda: next(moments))

    assert (answer.text, answer.is_done, answer.ttft_ms) == ("red car", True, 250.0)
    assert pieces == ["red", " car"]
    assert answer_output.answer_notes(answer).startswith("first word after 250 ms · as of ")


def test_an_answer_without_done_is_not_done() -> None:
    assert not answers.collect("gate", "what", [pb.AskResponse(token=pb.Token(text="red"))]).is_done


def test_a_camera_that_was_just_added_is_not_said_to_have_seen_nothing() -> None:
    added = pb.Camera(name="gate", state=pb.CAMERA_STATE_LIVE)
    text = shown(camera_output.camera_details(added))

    assert "the first ones are being read" in text
    assert "nothing yet" in text
    assert "0 seen" not in text
    assert "never" not in text


def test_the_json_of_a_camera_has_every_field_of_it() -> None:
    assert set(camera_output.camera_json(camera())) == {field.name for field in pb.Camera.DESCRIPTOR.fields}


def test_an_error_is_one_line_whatever_it_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    code = terminal.report("/videos/a\nb.mp4: no such file", terminal.MISTAKE)

    assert code == terminal.MISTAKE
    assert capsys.readouterr().err == "error: /videos/a; b.mp4: no such file\n"


def test_a_list_of_cameras_fits_a_terminal_of_80_columns() -> None:
    """Whatever is in it: a long name, a reason, and a long URL, of which both ends are shown."""
    odd = pb.Camera(
        name="n" * 63,
        url="rtsp://camera-17.site-4.example/streams/main/stream2",
        state=pb.CAMERA_STATE_BACKING_OFF,
        reason=pb.SOURCE_REASON_CONNECTION_REFUSED,
        memory=pb.MemoryStatus(newest=stamp(1_800_000_000)),
    )
    text = shown(camera_output.camera_table([camera(), odd]), width=80)
    alone = shown(camera_output.camera_table([camera()]), width=80)

    assert max(map(len, text.splitlines())) <= 80
    assert "rtsp:" in text
    assert "eam2" in text
    assert text.replace("\n", "").count("n") >= 63
    assert "no answer" in text
    assert "connection" in text
    assert "sim:gate" in alone


def test_a_list_of_cameras_says_where_a_rate_is_lowered() -> None:
    slow = pb.Camera(name="gate", state=pb.CAMERA_STATE_LIVE, lowered_frames_per_second=1 / 3)
    usual = pb.Camera(name="yard", state=pb.CAMERA_STATE_LIVE)

    text = shown(camera_output.camera_table([slow, usual]), width=80)

    assert "live 0.33/s" in text
    assert text.count("/s") == 1
    assert camera_output.camera_json(slow)["lowered_frames_per_second"] == 1 / 3
    assert camera_output.camera_json(usual)["lowered_frames_per_second"] is None


def test_times_of_lists_have_a_date_and_a_zone() -> None:
    at = datetime(2019, 5, 6, 7, 8, 9, tzinfo=UTC)
    this_year = datetime.now(UTC).replace(month=3, day=4, hour=12)

    assert output.dated(at) == at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    assert output.dated(this_year) == this_year.astimezone().strftime("%m-%d %H:%M:%S %Z")


def test_evidence_of_another_day_than_the_answer_has_its_date() -> None:
    as_of = datetime(2026, 5, 6, 12, 0, 9, tzinfo=UTC)
    days = [as_of, as_of.replace(day=3)]
    answer = answers.Answer(camera="gate", question="what", memory_as_of=as_of)
    answer.evidence = [answers.Evidence(time=at, weight=0.5) for at in days]

    notes = answer_output.answer_notes(answer)
    table = shown(answer_output.answer_table([("gate", answer, "")]))

    same, other = days[0].astimezone().strftime("%H:%M:%S"), output.dated(days[1])
    assert notes == f"as of {output.dated(as_of)} · evidence at {same}, {other}"
    assert output.dated(as_of) in table
    assert f"{same}, {other}" in table


def test_what_an_update_can_change_is_in_the_details() -> None:
    details = shown(camera_output.camera_details(pb.Camera(name="gate", loop=True, frames_per_second=0.5, gate=False)))

    assert "loop, 0.5 frames a second, gate off, 0 masks" in details


def test_a_shard_that_is_away_has_no_process() -> None:
    """Nor is it said to have ended: it may hang, and the reason says which."""
    away = pb.Shard(index=3, state=pb.SHARD_STATE_AWAY, pid=4321, node="m" * 60, cameras=["gate"] * 9, detail="d" * 99)
    up = pb.Shard(index=4, state=pb.SHARD_STATE_UP, pid=1234567, node="here", slots=16, resident_bytes=1_234_567_890)
    text = shown(shard_table([away, up]), width=80)

    assert max(map(len, text.splitlines())) <= 80
    assert "4321" not in text
    assert "ended" not in text
    assert "1234" in text
    assert shard_reasons([away, up]) == [f"shard 3: {'d' * 99}"]


def test_the_reason_of_a_shard_names_the_shard_once() -> None:
    away = pb.Shard(index=0, state=pb.SHARD_STATE_AWAY, detail="shard 0: its process ended and is being restarted")

    assert shard_reasons([away]) == ["shard 0: its process ended and is being restarted"]


async def test_why_a_shard_is_away_is_one_line_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "its process ended; Ray starts it again"
    away = pb.Shard(index=3, state=pb.SHARD_STATE_AWAY, detail=reason)
    response = pb.ListShardsResponse(shards=[away, pb.Shard(index=4, state=pb.SHARD_STATE_UP)])
    monkeypatch.setattr(HermesClient, "list_shards", lambda _: response)

    ended = await run("shards", "list")

    assert ended.out.splitlines()[-1] == f"shard 3: {reason}"


async def test_the_help_says_what_the_columns_of_the_shards_mean() -> None:
    ended = await run("shards", "list", "--help")

    assert [word for word in ("memory:", "busy:", "frames:", "slots:") if word not in ended.out] == []


def test_a_spare_is_shown_as_one_with_what_its_process_costs() -> None:
    costs = {"resident_bytes": 2_340_000_000, "device_bytes": 61_200_000_000}
    spare = pb.Shard(index=12, state=pb.SHARD_STATE_UP, pid=1234567, node="node-4", slots=16, is_spare=True, **costs)
    text = shown(shard_table([spare]), width=80)

    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[1].split()[:5] == ["12", "spare", "node-4", "1234567", "2.3+61.2"]
    assert shard_json(spare).items() >= {"state": "up", "is_spare": True, **costs}.items()


def test_the_json_of_a_shard_has_every_field_of_it() -> None:
    names = {field.name for field in pb.Shard.DESCRIPTOR.fields} - {"index"} | {"shard"}

    assert set(shard_json(pb.Shard())) == names


def test_the_note_on_headroom_with_one_shard_speaks_of_no_others() -> None:
    assert headroom_note(-1, 1).startswith("one shard: ")
    assert "2 cameras would not fit" in headroom_note(-2, 2)


def commands(group: click.Command, name: str = "hermes") -> Iterator[tuple[str, click.Parameter]]:
    """Every parameter of every command, with the command's name."""
    for parameter in group.params:
        yield name, parameter
    for child, command in getattr(group, "commands", {}).items():
        yield from commands(command, f"{name} {child}")


def test_every_argument_and_option_of_every_command_has_a_help_text() -> None:
    parameters = list(commands(typer.main.get_command(cli_commands.app)))

    assert len(parameters) > 20
    assert [f"{name}: {one.name}" for name, one in parameters if not getattr(one, "help", None)] == []


@pytest.mark.parametrize(
    ("state", "cameras", "text"),
    [
        (pb.SHARD_STATE_DRAINING, ["gate"], "draining"),
        (pb.SHARD_STATE_DRAINING, [], "drained"),
        (pb.SHARD_STATE_UP, [], "up"),
    ],
)
def test_a_shard_is_drained_once_it_has_no_camera_any_more(state: pb.ShardState, cameras: list[str], text: str) -> None:
    shard = pb.Shard(index=1, state=state, cameras=cameras)

    assert shown(shard_table([shard])).splitlines()[1].split()[:2] == ["1", text]
    assert shard_json(shard)["state"] == text


@pytest.mark.parametrize(
    ("has_enough", "text"),
    [
        (True, "every 1.00 s; often enough that only they are decoded"),
        (False, "every 1.00 s; it works, but every frame is decoded: a shorter key frame interval (GOP) in the camera"),
    ],
)
def test_a_tested_url_says_what_to_do_about_its_key_frames(has_enough: bool, text: str) -> None:
    video = pb.Video(key_frame_interval_s=1, has_key_frames_enough=has_enough)

    assert text in shown(camera_output.probe_details(pb.TestCameraResponse(video=video)))
