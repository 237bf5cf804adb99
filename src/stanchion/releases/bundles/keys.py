"""The key that a deployment signs its bundles with, and the public half by which others know it.

The secret key is a file outside the database (I9): one line, the base64 of its PKCS#8 form (RFC 8410), as
`openssl genpkey -algorithm ed25519 -outform DER | base64` writes it. It is made at its first use.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stanchion.base import Ids, Invalid, NotFound, Unavailable
from stanchion.releases.bundles import ed25519
from stanchion.secrets import read_private

# RFC 8410 §7 and §4: what stands before the 32 bytes of a secret and of a public key in DER.
_PKCS8: Final = bytes.fromhex("302e020100300506032b657004220420")
_SPKI: Final = bytes.fromhex("302a300506032b6570032100")
_PEM: Final = re.compile(r"\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """32 bytes that anybody may know."""

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read `ed25519:BASE64` or the PEM of a SubjectPublicKeyInfo. Raises Invalid `bundle.bad_key`."""
        pem = _PEM.fullmatch(text)
        said = "".join(pem[1].split()) if pem else text.strip().removeprefix("ed25519:")
        try:
            data = base64.b64decode(said.encode("ascii"), validate=True)
        except (ValueError, binascii.Error):
            data = b""
        raw = data.removeprefix(_SPKI) if pem else data
        if not ed25519.is_key(raw):
            raise Invalid(
                "bundle.bad_key",
                "This is no public key of Ed25519.",
                hint="`stanchion release keys show -o id` on the deployment that signs prints it.",
            )
        return cls(raw)

    @property
    def text(self) -> str:
        """`ed25519:` and the base64 of the 32 bytes."""
        return "ed25519:" + base64.b64encode(self.raw).decode()

    @property
    def fingerprint(self) -> str:
        """`sha256:` over the SubjectPublicKeyInfo: `openssl pkey -pubin -in key.pem -outform DER | sha256sum`."""
        return "sha256:" + hashlib.sha256(_SPKI + self.raw).hexdigest()

    @property
    def pem(self) -> str:
        """The form that OpenSSL reads."""
        return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(_SPKI + self.raw).decode()}\n-----END PUBLIC KEY-----\n"

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature is the one of this message under this key."""
        return ed25519.verify(self.raw, message, signature)


class SigningKey:
    """A deployment's secret key. Says nothing of itself when printed."""

    __slots__ = ("_seed", "public")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.public = PublicKey(ed25519.public_of(seed))

    @classmethod
    def from_file(cls, path: Path, ids: Ids) -> SigningKey:
        """Read it from `path`, or make the file (0600) if there is none.

        Raises as `secrets.read_private`; Invalid `bundle.bad_signing_key`; Unavailable `bundle.no_signing_key` if the file
        can't be made.
        """
        try:
            text = read_private(path)
        except NotFound:
            _make(path, ids)
            text = read_private(path)
        try:
            data = base64.b64decode(text.encode("ascii"), validate=True)
        except (ValueError, binascii.Error):
            data = b""
        if len(data) != len(_PKCS8) + ed25519.KEY_BYTES or not data.startswith(_PKCS8):
            # Without the cause, which would quote the secret.
            raise Invalid(
                "bundle.bad_signing_key",
                f"The file {path} holds no Ed25519 key as one line of base64 (PKCS#8).",
                hint=f"openssl genpkey -algorithm ed25519 -outform DER | base64 > {path}",
            ) from None
        return cls(data[len(_PKCS8) :])

    def sign(self, message: bytes) -> bytes:
        """The signature of a message."""
        return ed25519.sign(self._seed, message)

    def __repr__(self) -> str:
        return "SigningKey(<hidden>)"


def _make(path: Path, ids: Ids) -> None:
    """Write a whole file beside it and link it into place: of two processes that need it at once, one makes it."""
    text = base64.b64encode(_PKCS8 + ids.secret(ed25519.KEY_BYTES)).decode()
    draft = path.with_name(f".{path.name}.{ids.new().hex}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
    except OSError as error:
        raise Unavailable(
            "bundle.no_signing_key",
            f"The signing key {path} cannot be made: {error.strerror}.",
            hint="Give the folder to this user, or name another file by releases.signing_key_file.",
        ) from error
