"""The filter: its numbers are the kernel's, and what it answers is worked out here instruction by instruction."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from stanchion.tools.sandbox.seccomp import ARCHITECTURES, DENIED, program

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
HEADERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


def answer(code: bytes, *, audit: int, number: int, argument: int = 0) -> int:
    """What a classic BPF machine returns for one system call (the five instructions that the filter uses)."""
    instructions = list(struct.iter_unpack("=HBBI", code))
    words = {0: number, 4: audit, 16: argument}
    at, accumulator = 0, 0
    while True:
        code_, then, otherwise, constant = instructions[at]
        at += 1
        if code_ == 0x20:
            accumulator = words[constant]
        elif code_ == 0x06:
            return constant
        else:
            held = {0x15: accumulator == constant, 0x35: accumulator >= constant, 0x45: bool(accumulator & constant)}
            at += then if held[code_] else otherwise


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
def test_every_denied_call_is_denied_and_ordinary_ones_are_not(machine: str) -> None:
    found = ARCHITECTURES[machine]
    code = program(machine)
    assert code is not None
    for name, numbers in DENIED.items():
        number = numbers[found.column]
        if number is not None:
            assert answer(code, audit=found.audit, number=number) == EPERM, name
    # read, write, openat, execve, futex, exit_group: x86-64 and AArch64.
    for number in ((0, 1, 257, 59, 202, 231), (63, 64, 56, 221, 98, 94))[found.column]:
        assert answer(code, audit=found.audit, number=number) == ALLOW
    threads = 0x003D0F00  # what pthread_create asks of clone (glibc)
    assert answer(code, audit=found.audit, number=found.clone, argument=threads) == ALLOW
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer(code, audit=found.audit, number=found.clone, argument=threads | flag) == EPERM
    assert answer(code, audit=found.audit, number=found.clone3) == ENOSYS
    assert answer(code, audit=0x40000003, number=0) == KILL
    if found.x32:
        assert answer(code, audit=found.audit, number=0x40000000 | 101) == ENOSYS


def test_an_unknown_machine_has_no_filter() -> None:
    assert program("riscv64") is None


def test_the_numbers_are_the_kernels() -> None:
    if not HEADERS.is_file():
        pytest.skip("the kernel's headers (Debian package linux-libc-dev) are not installed")
    kernels = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADERS.read_text()))
    known = {name: numbers[0] for name, numbers in DENIED.items() if name in kernels and numbers[0] is not None}
    assert len(known) > 40
    assert {name: int(kernels[name]) for name in known} == known
