"""Hub ids: what the cache has is taken without an answer of the hub, and what is missing is said at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from models import catalogue, hub, registry
from models.errors import ModelInvalid, ModelNotFound

SHIPPED = Path(catalogue.CHECKPOINTS["tiny"])
COMMIT, OTHER = "0" * 40, "1" * 40
NUM_PIECES = 100
CLOSED = "http://127.0.0.1:9"  # nothing listens there


class Dripping(BaseHTTPRequestHandler):
    """A hub whose answer comes piece by piece; at its end it says that it has no model."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nX-Error-Code: RepoNotFound\r\nX-Piece: ")
            for _ in range(NUM_PIECES):
                self.wfile.write(b"a")
                time.sleep(0.05)
            self.wfile.write(b"\r\nContent-Length: 0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Refusing(BaseHTTPRequestHandler):
    """A hub that has no model, and says so as the real one does."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(404)
        self.send_header("X-Error-Code", "RevisionNotFound" if "/revision/" in self.path else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a hub without any model was asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), getattr(request, "param", Refusing))
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server.asked  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the hub, which holds the shipped model as someone/tiny."""
    folder = tmp_path / "models--someone--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    shutil.copytree(SHIPPED, folder / "snapshots" / COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", CLOSED)
    return folder / "snapshots" / COMMIT


@pytest.mark.parametrize("name", ["someone/tiny", f"someone/tiny@{COMMIT}"])
def test_without_internet_the_cache_is_enough(name: str, caplog: pytest.LogCaptureFixture) -> None:
    found = registry.load_model(name, "cpu").spec.fingerprint

    assert found == registry.load_model("tiny", "cpu").spec.fingerprint
    assert caplog.records == []


@pytest.mark.parametrize(
    ("name", "missing", "command"),
    [
        ("qwen3-vl-2b", "Qwen/Qwen3-VL-2B-Instruct", "hf download Qwen/Qwen3-VL-2B-Instruct`"),
        ("someone/tiny@v2", "someone/tiny@v2", "hf download someone/tiny --revision v2`"),
        (f"someone/tiny@{OTHER}", f"someone/tiny@{OTHER}", f"hf download someone/tiny --revision {OTHER}`"),
    ],
)
@pytest.mark.parametrize("is_offline", [False, True])
def test_what_is_missing_is_said_in_two_lines_without_a_retry(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    missing: str,
    command: str,
    is_offline: bool,
) -> None:
    """It took 38 seconds and 22 lines of retries."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)

    with pytest.raises(ModelNotFound) as refused:
        registry.load_model(name, "cpu")

    first, second = str(refused.value).splitlines()
    assert f"model {name!r}: {missing} is not on this machine" in first
    assert command in second
    assert caplog.records == []


def test_a_revision_that_the_hub_has_not_is_refused(asked: list[str]) -> None:
    with pytest.raises(ModelNotFound, match="model 'someone/tiny@v2': someone/tiny has no revision 'v2'"):
        registry.load_model("someone/tiny@v2", "cpu")

    assert len(asked) == 1


def test_what_the_cache_has_at_a_commit_is_not_asked_for(asked: list[str], cached: Path) -> None:
    assert hub.folder_of("name", "someone/tiny", COMMIT) == cached
    assert asked == []


def test_what_the_cache_has_of_a_branch_may_be_old_and_is_asked_for(asked: list[str], cached: Path) -> None:
    (cached.parents[1] / "refs" / "v2").write_text(COMMIT)

    with pytest.raises(ModelNotFound, match="has no revision 'v2'"):
        hub.folder_of("name", "someone/tiny", "v2")

    assert len(asked) == 1


def test_a_download_at_a_commit_that_ended_early_is_asked_for_again(asked: list[str], cached: Path) -> None:
    (cached / "model.safetensors").unlink()

    with pytest.raises(ModelNotFound, match="has no revision"):
        hub.folder_of("name", "someone/tiny", COMMIT)

    assert len(asked) == 1


@pytest.mark.parametrize("asked", [Dripping], indirect=True)
def test_a_hub_that_answers_without_end_is_one_that_does_not_answer(
    asked: list[str], cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else is asked first: huggingface_hub looked up which program calls it, for three seconds more."""
    monkeypatch.setattr(hub, "_LOOK_UP_S", 0.5)

    assert hub.folder_of("name", "someone/tiny", None) == cached
    with pytest.raises(ModelNotFound, match=r"does not answer \(no answer in 0\.5 s\)"):
        hub.folder_of("name", "nobody/nothing", None)

    assert "/api/agent-harnesses" not in asked


@pytest.mark.parametrize("name", ["tiny@v2", "tiny-qwen3-vl@v2", f"{SHIPPED}@v2", f"{os.path.relpath(SHIPPED)}@v2"])
def test_a_folder_has_no_revision(asked: list[str], name: str) -> None:
    with pytest.raises(ModelInvalid, match="is a folder, which has no revision 'v2'"):
        registry.load_model(name, "cpu")

    assert asked == []


def test_a_model_that_nobody_has_is_refused(asked: list[str]) -> None:
    with pytest.raises(ModelNotFound, match="model 'nobody/nothing': no folder, and no model of http://127"):
        registry.load_model("nobody/nothing", "cpu")

    assert len(asked) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/nothing/here", "no such folder"),
        ("./nothing", "no such folder"),
        ("a model", "no folder, and none of"),
        ("a/b/c", "no folder, and no model of"),
    ],
)
def test_a_name_that_can_be_no_hub_id_is_refused_without_asking(asked: list[str], name: str, reason: str) -> None:
    with pytest.raises(ModelNotFound, match=reason):
        registry.load_model(name, "cpu")

    assert asked == []
