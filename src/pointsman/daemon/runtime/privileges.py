# SPDX-License-Identifier: Apache-2.0
"""Privileges of a process: drop capabilities, change the user, end with the parent.

By ctypes, because the standard library has no functions for it (capabilities(7), prctl(2), capset(2)).
"""

from __future__ import annotations

import ctypes
import enum
import os
import pwd
import signal
from collections.abc import Collection

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522


class Capability(enum.IntEnum):
    """Capabilities that processes of the daemon may keep (linux/capability.h)."""

    DAC_OVERRIDE = 1
    KILL = 5
    SETGID = 6
    SETUID = 7
    NET_BIND_SERVICE = 10
    NET_ADMIN = 12
    NET_RAW = 13
    IPC_LOCK = 14
    SYS_ADMIN = 21
    SYS_NICE = 23
    SYS_RESOURCE = 24
    PERFMON = 38
    BPF = 39


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _present() -> ctypes.Array[_Data]:
    data = (_Data * 2)()
    _check(_libc.capget(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), data), "capget")
    return data


def effective_capabilities() -> set[Capability]:
    """Return the effective capabilities of this process. Raises OSError."""
    data = _present()
    mask = data[0].effective | data[1].effective << 32
    return {capability for capability in Capability if mask >> capability & 1}


def keep_only(capabilities: Collection[Capability]) -> None:
    """Drop all other capabilities for good, in this process and in every program it runs. Raises OSError.

    It is no error if the process lacks one of `capabilities`: a container may have dropped it.
    """
    _bound(capabilities)
    mask = sum(1 << capability for capability in capabilities)
    data = _present()
    for index in range(2):
        part = mask >> 32 * index & data[index].permitted
        data[index] = _Data(part, part, 0)
    _check(_libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), data), "capset")


def _bound(capabilities: Collection[Capability]) -> None:
    """Drop all other capabilities from the bounding set."""
    for number in range(64):
        if number not in capabilities and _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # EINVAL: after the last capability of this kernel


def become_nobody(keep: Collection[Capability] = ()) -> None:
    """Become user nobody for good, without groups and with no capability except `keep`.

    Raises OSError.
    """
    user = pwd.getpwnam("nobody")
    _bound(keep)
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    os.setgroups([])
    if keep:
        _check(_libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    if keep:
        keep_only(keep)


def die_with(parent: int, number: signal.Signals) -> None:
    """Receive this signal when the parent ends, or at once if it has ended. Raises OSError."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def set_name(name: str) -> None:
    """Set the name that ps and top show (at most 15 bytes)."""
    _libc.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def close_all_but(descriptors: Collection[int]) -> None:
    """Close every descriptor except 0, 1, 2 and these."""
    first = 3
    for number in sorted({each for each in descriptors if each >= first}):
        os.closerange(first, number)
        first = number + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
