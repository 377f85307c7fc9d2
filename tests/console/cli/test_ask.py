"""`hermes ask`: a camera that is not live is warned of, all cameras are asked at once, and evidence is saved."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from console.cli import evidence_files
from console.client import answers as client_answers
from console.client.answers import Answer
from pipeline.answers import AnswerFailed, AnswerWarning, Evidence, NoFrames, PictureWarning, WarningCode
from pipeline.cameras import CameraSpec, CameraState
from pipeline.picture_note import PictureNote
from tests.actors.conftest import Serving
from tests.actors.scripted import DONE, STARTED, ScriptedShard
from tests.console.running import run

STALLED = {"camera_id": "c0ffee", "camera_state": CameraState.STALLED, "state_since_s": 1_010.0}
WARNING = AnswerWarning(WarningCode.NOT_LIVE, "camera 'gate' is not live: state stalled")
YARD = CameraSpec(name="yard", url="sim:yard")


async def test_a_camera_that_is_not_live_is_warned_of_and_its_state_is_in_the_json(serving: Serving) -> None:
    answer = [replace(STARTED, warnings=(WARNING,), **STALLED), replace(DONE, **STALLED)]
    async with serving(ScriptedShard(answer=answer)) as address:
        shown = await run("ask", "what", "-c", "gate", "--address", address)
        as_json = await run("ask", "what", "-c", "gate", "--json", "--address", address)

    assert (shown.code, shown.err.count("warning: camera 'gate' is not live: state stalled")) == (0, 1)
    described = json.loads(as_json.out)
    assert described["warnings"] == [WARNING.message]
    assert described["camera_id"] == "c0ffee"
    assert described["camera_state"] == "stalled"
    assert described["camera_state_since"] == "1970-01-01T00:16:50.000+00:00"


async def test_a_camera_whose_picture_is_black_is_warned_of(serving: Serving) -> None:
    picture = PictureWarning(PictureNote.PICTURE_BLACK, "camera 'gate': its picture is black")
    answer = [replace(STARTED, picture=picture), DONE]
    async with serving(ScriptedShard(answer=answer)) as address:
        shown = await run("ask", "what", "-c", "gate", "--address", address)
        as_json = await run("ask", "what", "-c", "gate", "--json", "--address", address)

    assert (shown.code, shown.err.count("warning: camera 'gate': its picture is black")) == (0, 1)
    assert json.loads(as_json.out)["warnings"] == [picture.message]


async def test_a_state_that_changed_during_the_answer_is_the_last_one(serving: Serving) -> None:
    answer = [replace(STARTED, camera_state=CameraState.LIVE), replace(DONE, warnings=(WARNING,), **STALLED)]
    async with serving(ScriptedShard(answer=answer)) as address:
        ended = await run("ask", "what", "-c", "gate", "--json", "--address", address)

    assert json.loads(ended.out)["camera_state"] == "stalled"
    assert json.loads(ended.out)["warnings"] == [WARNING.message]


async def test_a_camera_without_any_frame_refuses_and_says_why(serving: Serving) -> None:
    refusal = NoFrames("camera 'gate' has given no frame: state failed since 10:00 (401)")
    async with serving(ScriptedShard(answer=[refusal])) as address:
        ended = await run("ask", "what is in view", "-c", "gate", "--address", address)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: camera 'gate' has given no frame: state failed since 10:00 (401)")


async def test_all_cameras_are_asked_and_answer_in_one_table(serving: Serving) -> None:
    async with serving(ScriptedShard(), ScriptedShard(), cameras=[YARD]) as address:
        shown = await run("ask", "what", "--all", "--address", address)
        as_json = await run("ask", "what", "--all", "--json", "--address", address)

    rows = [line.split() for line in shown.out.splitlines()]
    assert [row[0] for row in rows] == ["camera", "gate", "yard"]
    assert all("red car" in line for line in shown.out.splitlines()[1:])
    assert (shown.code, as_json.code) == (0, 0)
    described = json.loads(as_json.out)
    assert [(one["camera"], one["answer"], one["error"]) for one in described] == [
        ("gate", "red car", None),
        ("yard", "red car", None),
    ]


async def test_a_camera_that_does_not_answer_makes_asking_all_a_failure(serving: Serving) -> None:
    failing = ScriptedShard(answer=[STARTED, AnswerFailed("the device failed")])
    async with serving(ScriptedShard(), failing, cameras=[YARD]) as address:
        shown = await run("ask", "what", "--all", "--address", address)
        as_json = await run("ask", "what", "--all", "--json", "--address", address)

    assert (shown.code, as_json.code) == (1, 1)
    assert "red car" in shown.out
    assert "the device failed" in shown.out
    assert "1 of 2 cameras did not answer" in shown.err
    errors = [one["error"] for one in json.loads(as_json.out) if one["error"]]
    assert errors == [{"reason": "ANSWER_FAILED", "message": "the device failed"}]


async def test_the_pictures_of_the_evidence_are_saved(serving: Serving, tmp_path: Path) -> None:
    lost = Evidence(time_s=998.0, weight=0.25)
    answer = [STARTED, Evidence(time_s=999.5, weight=0.75, thumbnail_jpeg=b"jpeg"), lost, DONE]
    folder = tmp_path / "new" / "folder"
    async with serving(ScriptedShard(answer=answer), cameras=[YARD]) as address:
        options = ("--save-evidence", str(folder), "--address", address)
        one = await run("ask", "what", "-c", "gate", "--json", *options)
        every = await run("ask", "what", "--all", *options)

    names = [f"{camera}-19700101T001639.500000Z.jpg" for camera in ("gate", "yard")]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert {path.read_bytes() for path in folder.iterdir()} == {b"jpeg"}
    moments = json.loads(one.out)["evidence"]
    assert [moment.get("file") for moment in moments] == [str(folder / names[0]), None]
    assert "saved 2 pictures" in every.err


async def test_an_answer_without_a_picture_says_that_none_was_saved(serving: Serving, tmp_path: Path) -> None:
    async with serving(ScriptedShard(answer=[STARTED, DONE])) as address:
        ended = await run("ask", "what", "-c", "gate", "--save-evidence", str(tmp_path), "--address", address)

    assert ended.code == 0
    assert "no picture saved: the answer has no evidence" in ended.err


async def test_a_folder_that_cannot_be_made_is_named_before_a_question_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file" / "folder")

    ended = await run("ask", "what", "-c", "gate", "--save-evidence", folder, "--address", "127.0.0.1:9")

    assert ended.code == 2
    assert ended.err.startswith(f"error: --save-evidence: '{folder}': Not a directory")


@pytest.mark.parametrize("arguments", [(), ("-c", "gate", "--all")])
async def test_either_a_camera_or_all_of_them_are_asked(arguments: tuple[str, ...]) -> None:
    ended = await run("ask", "what", *arguments, "--address", "127.0.0.1:9")

    assert (ended.code, ended.err) == (2, "error: name either a camera (--camera) or all of them (--all)\n")


async def test_without_any_camera_asking_all_says_how_to_add_one(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        await run("cameras", "remove", "gate", "--address", address)
        ended = await run("ask", "what", "--all", "--address", address)

    assert (ended.code, "hermes cameras add NAME URL" in ended.err) == (1, True)


def test_a_camera_of_a_hostile_name_writes_inside_the_folder(tmp_path: Path) -> None:
    answer = Answer(camera="../../etc/x", question="what")
    answer.evidence = [client_answers.Evidence(datetime.now(UTC), 1.0, b"jpeg")]

    assert [path.parent for path in evidence_files.save(answer, tmp_path) if path] == [tmp_path]
