"""How a shard knows on which camera's thread a worker ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.workers import crash_report

_WORKER = """
import ctypes, os, sys, threading
from pipeline.workers.crash_report import CrashReport

report = CrashReport(int(sys.argv[1]))
report.report_faults()
end = {end!r}

def decode():
    report.note_thread(7, threading.get_ident())
    exec(end)

other = threading.Thread(target=threading.Event().wait, daemon=True)
other.start()
report.note_thread(3, other.ident)
threading.Thread(target=decode).start()
other.join()
"""


@pytest.fixture
def file() -> Iterator[int]:
    descriptor = os.memfd_create("crashes")
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    "end", ["ctypes.CDLL(None).abort()", "ctypes.string_at(8)", "report.blame(7); os._exit(1)"], ids=str
)
def test_the_camera_is_known_on_whose_thread_a_worker_ended(file: int, end: str) -> None:
    ended = subprocess.run([sys.executable, "-c", _WORKER.format(end=end), str(file)], pass_fds=(file,), timeout=60)

    assert ended.returncode != 0
    assert crash_report.read(file) == 7


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 11)", "os._exit(1)"], ids=str)
def test_nobody_is_suspected_where_the_thread_is_not_known(file: int, end: str) -> None:
    subprocess.run([sys.executable, "-c", _WORKER.format(end=end), str(file)], pass_fds=(file,), timeout=60)

    assert crash_report.read(file) is None


@given(
    st.binary(max_size=300)
    | st.lists(
        st.sampled_from(
            [
                b"camera 9 has thread 0x",
                b"0000000000000009",
                b"\n",
                b"Current thread 0x",
                b" (most recent",
                b"camera ",
                b"9" * 30,
                b" does not come back",
            ]
        ),
        max_size=12,
    ).map(b"".join)
)
def test_whatever_stands_there_is_a_camera_or_nothing(written: bytes) -> None:
    descriptor = os.memfd_create("crashes")
    os.write(descriptor, written)

    found = crash_report.read(descriptor)

    os.close(descriptor)
    assert found is None or found >= 0
