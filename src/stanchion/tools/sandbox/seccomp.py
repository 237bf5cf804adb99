"""The system calls that a boxed program may not make, as a seccomp filter put together by hand.

A namespace hides what a program may not see; the filter takes away the calls by which programs have left namespaces:
looking into other processes, loading code into the kernel, mounting, new user namespaces, the kernel's key store. It is
a list of what is denied and not of what is allowed, so that ordinary runtimes (Node, Python, Go) need no list of their
own. A denied call fails with EPERM, as it would for lack of a capability.

Numbers: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h. The form of an
instruction: `struct sock_filter` (code, jump if true, jump if false, constant), include/uapi/linux/filter.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

# Names and numbers, on x86-64 and on AArch64; None where the architecture has no such call.
DENIED: Mapping[str, tuple[int | None, int | None]] = {
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "perf_event_open": (298, 241),
    # The kernel itself.
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    # Keys.
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    # What is mounted where, and files without a path.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    # Namespaces.
    "unshare": (272, 97),
    "setns": (308, 268),
    # The machine's time.
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
}

_EPERM, _ENOSYS = 1, 38
_KILL, _ERRNO, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
# Loads of a word from `struct seccomp_data`: the number, the architecture, the low half of the first argument.
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16
_LOAD, _RETURN, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY = 0x20, 0x06, 0x15, 0x35, 0x45
# x86-64 also takes calls in the x32 form, which have numbers of their own and would pass by a list.
_X32 = 0x4000_0000
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NEW_NAMESPACE = 0x7E02_0000


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A machine as seccomp knows it. `column` in DENIED; `audit`: AUDIT_ARCH_*; numbers of clone and clone3."""

    column: int
    audit: int
    clone: int
    clone3: int
    x32: bool


ARCHITECTURES: Mapping[str, Architecture] = {
    "x86_64": Architecture(column=0, audit=0xC000_003E, clone=56, clone3=435, x32=True),
    "aarch64": Architecture(column=1, audit=0xC000_00B7, clone=220, clone3=435, x32=False),
}


def program(machine: str) -> bytes | None:
    """The filter for a machine as `os.uname().machine` names it; None for one whose numbers are not known here."""
    found = ARCHITECTURES.get(machine)
    if found is None:
        return None
    denied = [numbers[found.column] for numbers in DENIED.values()]
    parts = [
        # A program of another architecture (32 bits) has other numbers: it is ended.
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_IF_EQUAL, found.audit, then=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
    ]
    if found.x32:
        parts += [_instruction(_IF_AT_LEAST, _X32, otherwise=1), _instruction(_RETURN, _ERRNO | _ENOSYS)]
    for number in denied:
        if number is not None:
            parts += [_instruction(_IF_EQUAL, number, otherwise=1), _instruction(_RETURN, _ERRNO | _EPERM)]
    # clone3 has its flags in memory, where a filter cannot look; ENOSYS makes libraries take clone.
    parts += [_instruction(_IF_EQUAL, found.clone3, otherwise=1), _instruction(_RETURN, _ERRNO | _ENOSYS)]
    parts += [
        _instruction(_IF_EQUAL, found.clone, otherwise=3),
        _instruction(_LOAD, _ARGUMENT),
        _instruction(_IF_ANY, _NEW_NAMESPACE, otherwise=1),
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_RETURN, _ALLOW),
    ]
    return b"".join(parts)


def _instruction(code: int, constant: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, constant)
