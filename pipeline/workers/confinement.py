"""What an ingest worker takes away from itself before it opens a camera, by the kernel's own means (Linux).

Whoever takes over a decoder then finds no file but videos and programs, gets no further rights and sends no other
process a signal. Kernels before 5.13 know no Landlock: there files stay open to a worker, and the log says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import signal
import ssl
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_MEMORY_NBYTES = 4 << 30  # 16 cameras, each with a whole group of pictures in the memory and a decoder of 4K
MAX_OPEN_FILES = 1024
MAX_STDERR_NBYTES = 64 << 10  # of standard error, which is a file in the memory
NICENESS = 10  # answers go before ingest where both want a core
_OOM_SCORE = 500  # where memory runs out, the kernel ends a worker before its shard

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # of system calls, the same on every architecture
_GET_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
# How many rights over files each version knows; rights that a kernel knows and a rule does not name are refused.
_NUM_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_NUM_RIGHTS_NOW = 16
_SCOPES_FROM, _SCOPES = 6, 0b11  # abstract sockets and signals stay among workers
# Libraries, name resolution, TLS and time zones. What else is below /etc may be a secret of this or another service.
_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/sys/devices/system/cpu",
)
_HASHED = re.compile(r"[0-9a-f]{8}\.r?[0-9]+")  # a certificate or a revocation list in a folder of OpenSSL's
_libc = ctypes.CDLL(None, use_errno=True)


def limit(parent: int, memory_nbytes: int = MAX_MEMORY_NBYTES) -> None:
    """Bounds memory, open files and rights, and ends this process with its parent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold the cameras' passwords
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_STDERR_NBYTES, MAX_STDERR_NBYTES))
    for kind, most in ((resource.RLIMIT_DATA, memory_nbytes), (resource.RLIMIT_NOFILE, MAX_OPEN_FILES)):
        _, hard = resource.getrlimit(kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))
    os.nice(NICENESS)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # no frame takes the core from an answer that runs
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("its shard has ended")
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


def landlock_version() -> int:
    """Of this kernel's Landlock; less than 1 without it."""
    return int(_libc.syscall(_CREATE_RULESET, None, 0, _GET_VERSION))


def close_files(folders: Iterable[Path]) -> str:
    """Takes away every file but those below the folders, and of the system; what is missing for that, "" if nothing.

    Only threads that start later are bound by it.
    """
    version = landlock_version()
    if version < 1:
        return f"this kernel has no Landlock ({os.strerror(ctypes.get_errno())})"
    handled = (1 << _NUM_RIGHTS.get(version, _NUM_RIGHTS_NOW)) - 1
    attributes = struct.pack("=QQQ", handled, 0, _SCOPES)[: 24 if version >= _SCOPES_FROM else 8]
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return f"Landlock gives no rule set ({os.strerror(ctypes.get_errno())})"
    try:
        for path in (*_system(), *_programs(), *folders):
            _allow(ruleset, path)
        failed = _libc.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return f"Landlock refuses ({os.strerror(ctypes.get_errno())})" if failed else ""


def _programs() -> set[Path]:
    """The folders of Python's own modules, and the packages that are loaded.

    Not the folders of sys.path: Ray puts the one in which the server was started there, perhaps somebody's home.
    """
    files = [Path(file) for name, module in list(sys.modules.items()) if "." not in name and (file := _file(module))]
    loaded = {path.parent if path.stem == "__init__" else path for path in files}
    return loaded | {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


def _file(module: object) -> str | None:
    return getattr(module, "__file__", None)


def _system() -> Iterator[Path]:
    yield from map(Path, _SYSTEM)
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        yield Path(paths.cafile)
    # OpenSSL takes several folders there, which Python takes for one that does not exist.
    folders = os.environ.get(paths.openssl_capath_env, paths.openssl_capath).split(os.pathsep)
    for folder in map(Path, filter(None, folders)):
        yield from (folder, *_linked(folder))


def _linked(folder: Path) -> Iterator[Path]:
    """The files that links in a folder of certificates lead to: a rule for the folder does not allow to read them.

    Only those whose names OpenSSL looks for: another link may lead to a key.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_symlink() and _HASHED.fullmatch(entry.name))


def identities(folders: Iterable[Path]) -> frozenset[tuple[Path, int, int]]:
    """Those of the folders and of the system's files that exist, each with what tells it from a later one of its name.

    One that gets its name later stays closed to a worker: a new resolv.conf mostly is another file.
    """
    found = set()
    for path in (*_system(), *folders):
        with contextlib.suppress(OSError):
            info = path.stat()
            found.add((path, info.st_dev, info.st_ino))
    return frozenset(found)


def _allow(ruleset: int, path: Path) -> None:
    """Allows to read below a folder, or one file; one that does not exist stays closed."""
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _EXECUTE | _READ_FILE | (_READ_DIR if path.is_dir() else 0)
        _libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, opened), 0)
    finally:
        os.close(opened)
