"""What an ingest worker is: a small process without the shard's secrets, and without rights that it does not need."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from pipeline.cameras import CameraState, SourceReason
from pipeline.workers import confinement
from pipeline.workers.liveness import Activity
from pipeline.workers.messages import Alive
from pipeline.workers.worker_cameras import WorkerLimits
from pipeline.workers.worker_process import WorkerProcess
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264
from tests.pipeline.playing import QUICK
from tests.pipeline.servers import Reply
from tests.pipeline.workers import pools
from tests.pipeline.workers.pools import Cameras

CANARY = "c4n4ry"


def test_a_worker_loads_neither_torch_nor_ray_and_has_nothing_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HERMES_STORE", f"redis://:{CANARY}@host")
    monkeypatch.setenv("RAY_AUTH_TOKEN", CANARY)
    with pools.workers() as pool:
        cameras = Cameras(pool.open)
        cameras.open("lobby", "sim:street")
        cameras.wait_for_next_clips("lobby")
        (pid,) = pool.pids()
        process = Path(f"/proc/{pid}")
        libraries = process.joinpath("maps").read_text()
        variables = {entry.partition("=")[0] for entry in process.joinpath("environ").read_text().split("\0")}
        command = process.joinpath("cmdline").read_text()

    assert "/av/" in libraries
    assert not any(name in libraries for name in ("libtorch", "_raylet", "cygrpc", "libdali"))
    assert not any(name.startswith(("HERMES", "RAY", "PYTEST")) for name in variables)
    assert CANARY not in command


def test_a_worker_is_limited() -> None:
    with pools.workers() as pool:
        cameras = Cameras(pool.open)
        cameras.open("lobby", "sim:street")
        cameras.wait_for_next_clips("lobby")
        process = Path(f"/proc/{pool.pids()[0]}")
        limits = {line[:26].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()}
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        opened = len(list((process / "fd").iterdir()))
        scheduling = os.sched_getscheduler(pool.pids()[0]), os.getpriority(os.PRIO_PROCESS, pool.pids()[0])
        own_niceness = os.getpriority(os.PRIO_PROCESS, 0)

    assert limits["Max data size"] == str(confinement.MAX_MEMORY_NBYTES)
    assert int(limits["Max open files"]) <= confinement.MAX_OPEN_FILES
    assert limits["Max core file size"] == "0"
    assert status["NoNewPrivs"] == "1"
    assert scheduling == (os.SCHED_BATCH, own_niceness + confinement.NICENESS)
    assert opened <= 6  # standard streams, its channel and its crash report


def test_a_worker_ends_with_its_shard() -> None:
    with pools.workers() as pool:
        cameras = Cameras(pool.open)
        cameras.open("lobby", "sim:street")
        cameras.wait_for_next_clips("lobby")
        pids = pool.pids()
        assert pools.children() >= set(pids)

    assert pools.children().isdisjoint(pids)


def test_a_worker_reads_no_file_outside_of_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the configuration that it is given would allow it, and where Python would look for modules."""
    if confinement.landlock_version() < 1:
        pytest.skip("this kernel has no Landlock")
    monkeypatch.syspath_prepend(tmp_path / "outside")
    for folder in ("inside", "outside"):
        (tmp_path / folder).mkdir()
        footage.write(tmp_path / folder / "video", H264)

    with pools.workers(folders=(tmp_path / "inside",)) as pool:
        cameras = Cameras(pool.open)
        cameras.open("inside", str(tmp_path / "inside" / "video"))
        cameras.open("outside", str(tmp_path / "outside" / "video"))
        cameras.wait_for_state("inside", CameraState.LIVE)
        detail = cameras.wait_for_state("outside", CameraState.FAILED)

    assert "Permission denied" in detail


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (signal.SIGKILL, "SIGKILL"),
        (signal.SIGSEGV, "SIGSEGV"),
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGRTMIN + 6, "40"),
    ],
)
def test_how_a_worker_ended_is_said(sent: int, name: str) -> None:
    """Also where it ended itself by a signal without a name; its cameras go on then, too."""
    with pools.workers() as pool:
        cameras = Cameras(pool.open)
        cameras.open("lobby", "sim:street")
        cameras.wait_for_next_clips("lobby")
        os.kill(pool.pids()[0], sent)
        detail = cameras.wait_for_state("lobby", CameraState.STALLED)
        cameras.wait_for_next_clips("lobby")

    assert detail == f"its ingest worker ended (signal {name}) and is started again"
    assert {reason for _, _, reason in cameras.states["lobby"]} <= {None, *SourceReason} - {
        SourceReason.DECODER_CRASHED
    }


_TRY_TO_READ = """
import os, socket, ssl, sys
from pathlib import Path
from pipeline.workers import confinement
assert not confinement.close_files([])
import http.client, sqlite3, zoneinfo
zoneinfo.ZoneInfo("Europe/Berlin"), ssl.create_default_context(), socket.getaddrinfo("localhost", 80)
for path in sys.argv[1:]:
    try:
        os.listdir(path) if Path(path).is_dir() else open(path, "rb").close()
        print(path)
    except PermissionError:
        pass
"""


def test_a_worker_reads_nothing_of_the_system_but_libraries_names_and_certificates() -> None:
    if confinement.landlock_version() < 1:
        pytest.skip("this kernel has no Landlock")
    closed = ["/", "/opt", "/etc", "/etc/passwd", "/etc/ssl", "/home", "/root", "/var", "/tmp", "/proc", "/bin", "/usr"]
    closed += ["/usr/local", "/usr/share", str(Path.cwd())]
    command = [sys.executable, "-c", _TRY_TO_READ, *filter(os.path.exists, closed), "/usr/lib"]

    read = subprocess.run(command, env={"PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True, check=False)

    assert (read.stdout.split(), read.stderr) == (["/usr/lib"], "")


_TRY_CALLS = """
import ctypes, os, socket, subprocess, threading
from pipeline.workers import confinement, seccomp_filter
confinement.limit(os.getppid())
assert not seccomp_filter.install()
threading.Thread(target=print, args=("thread",)).start()
for family in (socket.AF_INET, socket.AF_INET6):
    socket.socket(family).close()
socket.getaddrinfo("localhost", 80)

def unshare(flags):
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise PermissionError(ctypes.get_errno())

for name, call in {
    "fork": os.fork,
    "run": lambda: subprocess.run(["/bin/true"]),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "socket file": lambda: socket.socket(socket.AF_UNIX),
    "unshare": lambda: unshare(0x10000000),
}.items():
    try:
        call()
        print(name)
    except PermissionError:
        pass
"""


def test_a_worker_starts_no_process_and_speaks_to_none_of_this_machine() -> None:
    """Ray's socket files belong to the same user."""
    ran = subprocess.run([sys.executable, "-c", _TRY_CALLS], capture_output=True, text=True, check=False)

    assert (ran.stdout.split(), ran.stderr) == (["thread"], "")


def test_a_worker_is_confined_before_it_opens_a_camera() -> None:
    with pools.workers() as pool, structlog.testing.capture_logs() as lines:
        cameras = Cameras(pool.open)
        cameras.open("lobby", "sim:street")
        cameras.wait_for_next_clips("lobby")
        process = Path(f"/proc/{pool.pids()[0]}/status")
        status = dict(line.split(":\t", 1) for line in process.read_text().splitlines() if ":\t" in line)

    assert status["Seccomp"] == "2"
    reasons = [line["reason"] for line in lines if line["event"] == "ingest_worker_not_confined"]
    assert all("Landlock" in reason for reason in reasons)  # which not every kernel has


def test_a_file_in_a_folder_that_is_newer_than_the_workers_is_played(tmp_path: Path) -> None:
    """It is closed to them; one that is started for it reads it."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    footage.write(old / "video", H264)
    config = replace(QUICK, video_folders=(old, new))
    with pools.workers(folders=(old, new)) as pool:
        cameras = Cameras(pool.open)
        cameras.open("before", str(old / "video"), config=config)
        cameras.wait_for_state("before", CameraState.LIVE)
        new.mkdir()
        footage.write(new / "video", H264)

        cameras.open("after", str(new / "video"), config=config)
        cameras.wait_for_state("after", CameraState.LIVE)
        assert len(pool.pids()) == 2


def test_a_camera_is_reached_after_its_authorities_were_replaced(tmp_path: Path) -> None:
    """As an editor, a renewal or a network manager does it: by a new file with the old one's name."""
    (tmp_path / "new").mkdir()
    _, ca_file = servers.make_certificate(tmp_path, "DNS:other")
    context, certificate = servers.make_certificate(tmp_path / "new", "IP:127.0.0.1")
    config = replace(QUICK, ca_file=ca_file)
    with (
        servers.scripted_server({"/live": Reply(401)}, tls=context) as camera,
        pools.workers(folders=(ca_file,)) as pool,
    ):
        cameras = Cameras(pool.open)
        cameras.open("lobby", f"{camera.url}/live", config=config)
        cameras.wait_until(lambda: any(reason is SourceReason.TLS for *_, reason in cameras.states["lobby"]))

        certificate.rename(ca_file)

        cameras.wait_until(lambda: any(reason is SourceReason.UNAUTHORIZED for *_, reason in cameras.states["lobby"]))
        assert len(pool.pids()) == 1


def test_a_worker_without_memory_ends_and_its_cameras_go_on() -> None:
    """They would get errors at random as long as the one stays that took the memory."""
    with pools.workers() as pool:
        cameras = Cameras(pool.open)
        for name in ("lobby", "yard"):
            cameras.open(name, f"sim:{name}?width=64&height=64")
        cameras.wait_for_next_clips("lobby", "yard")
        pools.take_memory(pool.pids()[0])
        details = [cameras.wait_for_state(name, CameraState.STALLED) for name in ("lobby", "yard")]
        cameras.wait_for_next_clips("lobby", "yard")

    assert all("emory" in detail for detail in details), details


def test_a_camera_that_needs_more_memory_than_there_is_says_so_and_is_tried_again() -> None:
    with pools.workers(limits=WorkerLimits(memory_nbytes=300 << 20)) as pool:
        cameras = Cameras(pool.open)
        cameras.open("small", "sim:small?width=64&height=64")
        cameras.wait_for_next_clips("small")
        cameras.open("huge", "sim:huge?width=4096&height=4096")
        detail = cameras.wait_for_state("huge", CameraState.BACKING_OFF)
        cameras.wait_for_next_clips("small")

    assert "memory" in detail


def test_a_stopped_worker_wants_no_processor_and_one_that_starts_has_had_some() -> None:
    process = WorkerProcess(())
    try:
        select.select([process.fileno()], [], [], 60)
        assert [report for report, _ in process.receive()] == [Alive()]
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        stopped = process.activity()
    finally:
        process.end()

    assert not stopped.wants_cpu
    assert stopped.cpu_s > 0
    assert process.activity() == Activity(0.0, wants_cpu=False)


def test_a_process_that_runs_on_wants_the_processor() -> None:
    """As one in an endless loop, whatever share of a core it gets."""
    process = WorkerProcess(())
    try:
        process.pid = os.getpid()  # a process that runs at this moment
        began = process.activity()
        while (now := process.activity()).cpu_s <= began.cpu_s:
            pass
    finally:
        process.end()

    assert began.wants_cpu
    assert now.wants_cpu
