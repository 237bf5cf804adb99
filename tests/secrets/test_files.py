"""A private file is read only when nobody else could have read or written it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stanchion.base import Problem
from stanchion.secrets import SECRET_BYTES_MAX, read_private
from tests.support.root import needs_root

SECRET = "postgresql://casebook:pl4nted-pass@db.example/casebook"


def write(path: Path, data: bytes = SECRET.encode(), mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refused(path: Path) -> Problem:
    with pytest.raises(Problem) as caught:
        read_private(path)
    assert "pl4nted" not in str(caught.value)
    assert "pl4nted" not in repr(caught.value.__cause__)
    return caught.value


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_reads_what_its_owner_alone_may_read(tmp_path: Path, mode: int) -> None:
    assert read_private(write(tmp_path / "url", f"  {SECRET}\n".encode(), mode)) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o700, 0o610])
def test_refuses_a_mode_that_lets_others_in(tmp_path: Path, mode: int) -> None:
    problem = refused(write(tmp_path / "url", mode=mode))
    assert problem.code == "secret.too_open"
    assert f"{mode:04o}" in problem.message
    assert "chmod 600" in problem.hint


def test_refuses_a_link_and_names_why(tmp_path: Path) -> None:
    target = write(tmp_path / "url")
    link = tmp_path / "link"
    link.symlink_to(target)
    assert refused(link).code == "secret.symlink"


def test_a_missing_file_a_folder_and_a_pipe(tmp_path: Path) -> None:
    assert refused(tmp_path / "none").code == "secret.missing"
    assert refused(tmp_path).code == "secret.not_a_file"
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert refused(tmp_path / "pipe").code == "secret.not_a_file"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "secret.empty"),
        (b" \n\n", "secret.empty"),
        (b"pl4nted\nsecond line", "secret.not_text"),
        (b"pl4nted\x00", "secret.not_text"),
        (b"pl4nted \xff\xfe", "secret.not_text"),
        (b"x" * (SECRET_BYTES_MAX + 1), "secret.too_large"),
    ],
)
def test_refuses_what_is_no_secret(tmp_path: Path, data: bytes, code: str) -> None:
    assert refused(write(tmp_path / "url", data)).code == code


def test_the_largest_allowed_is_read(tmp_path: Path) -> None:
    assert len(read_private(write(tmp_path / "url", b"x" * SECRET_BYTES_MAX))) == SECRET_BYTES_MAX


@needs_root("only root can give a file away")
def test_refuses_a_file_of_somebody_else(tmp_path: Path) -> None:
    path = write(tmp_path / "url")
    os.chown(path, 65534, 65534)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert refused(path).code == "secret.foreign_owner"
