"""A client's certificate for mutual TLS, loaded from memory: neither it nor its key ever lies in a file."""

from __future__ import annotations

import os
import ssl

from stanchion.base import Invalid


def load_client_certificate(context: ssl.SSLContext, certificate: str, private_key: str) -> None:
    """Load a PEM certificate (with its chain) and its PEM key into a context, which keeps verifying the server.

    Python's `ssl` takes file names alone, so the text stands for a moment in an anonymous file of this process's memory.

    Raises Invalid `connector.bad_certificate`, without a word of the texts.
    """
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(private_key.strip().encode() + b"\n" + certificate.strip().encode() + b"\n")
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    except (OSError, ValueError):
        raise Invalid(
            "connector.bad_certificate",
            "The client certificate and its key cannot be used: they are not PEM, or do not belong together.",
            hint="`certificate` is the certificate and its chain, `private_key` its key without a password, both in PEM.",
        ) from None
    finally:
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def _no_password() -> str:
    raise ValueError("the key has a password")
