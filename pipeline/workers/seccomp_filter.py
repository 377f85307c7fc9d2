"""A filter of system calls for what Landlock does not cover.

Code that has taken over a decoder then starts no process and no program. It reaches no other process of this user,
neither its memory nor its socket files, of which Ray has some. The parts of the kernel that are attacked most are
closed to it. The filter lists the calls that are refused, so that it is the same for every version of the libraries.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from dataclasses import dataclass

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_KILL, _REFUSE, _UNKNOWN, _ALLOW = 0x8000_0000, 0x0005_0000 | errno.EPERM, 0x0005_0000 | errno.ENOSYS, 0x7FFF_0000
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # where a call has them
_FOREIGN_ABI = 0x4000_0000  # numbers of calls from here on are other names of the same calls
_THREAD = 0x0001_0000  # flag of clone: no new process
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class _Calls:
    """The numbers of calls of one architecture. clone3: refused as unknown, so that threads are made by clone."""

    architecture: int
    refused: tuple[int, ...]
    socket: int
    clone: int
    clone3: int = 435


# execve, execveat, fork, vfork, ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, unshare, setns, mount, bpf,
# perf_event_open, userfaultfd, io_uring_setup, add_key, request_key, keyctl
_CALLS = {
    "x86_64": _Calls(
        0xC000_003E,
        (59, 322, 57, 58, 101, 310, 311, 438, 272, 308, 165, 321, 298, 323, 425, 248, 249, 250),
        socket=41,
        clone=56,
    ),
    "aarch64": _Calls(
        0xC000_00B7,
        (221, 281, 117, 270, 271, 438, 97, 268, 40, 280, 241, 282, 425, 217, 218, 219),
        socket=198,
        clone=220,
    ),
}


def install() -> str:
    """Installs the filter; returns what is missing for that, "" if nothing. It binds this thread and those it starts.

    The process must have given up new privileges before.
    """
    machine = os.uname().machine
    calls = _CALLS.get(machine)
    if calls is None:
        return f"no list of system calls for {machine}"
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _program(calls))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0):
        return f"seccomp refuses ({errno.errorcode.get(ctypes.get_errno(), '?')})"
    return ""


def _program(calls: _Calls) -> list[tuple[int, int, int, int]]:
    """The BPF instructions: code, how many to skip if it is true and if it is false, and a number."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, calls.architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 0, 1, _FOREIGN_ABI),
        (_RETURN, 0, 0, _KILL),
        *(one for number in calls.refused for one in ((_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE))),
        (_IF_EQUAL, 0, 1, calls.clone3),
        (_RETURN, 0, 0, _UNKNOWN),
        (_IF_EQUAL, 0, 3, calls.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_ANY_BIT, 1, 0, _THREAD),
        (_RETURN, 0, 0, _REFUSE),
        # The number may have been replaced by the flags of clone, which are none of socket's number.
        (_IF_EQUAL, 0, len(_FAMILIES) + 2, calls.socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        *((_IF_EQUAL, len(_FAMILIES) - index, 0, family) for index, family in enumerate(_FAMILIES)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
