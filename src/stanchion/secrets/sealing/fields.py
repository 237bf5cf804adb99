"""What may be a secret's fields: names and texts, within bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

from stanchion.base import Invalid

FIELDS_MAX: Final = 32
# A private key of RSA-4096 with its certificate chain has about 12 kB.
VALUE_BYTES_MAX: Final = 16_384
TOTAL_BYTES_MAX: Final = 65_536
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")


def check_fields(fields: object) -> dict[str, str]:
    """The fields, if they are ones: 1 to 32 names, each with a text of 1 to 16,384 bytes without NUL.

    Raises Invalid `secret.bad_value`, saying which field, never what is in it.
    """
    if not isinstance(fields, Mapping) or not fields:
        raise _bad("A secret is a text, or an object of names and texts with at least one of them.")
    found = cast("Mapping[object, object]", fields)
    if len(found) > FIELDS_MAX:
        raise _bad(f"A secret has at most {FIELDS_MAX} fields; this has {len(found)}.")
    checked: dict[str, str] = {}
    for position, (name, value) in enumerate(found.items(), 1):
        if not isinstance(name, str) or not _FIELD.fullmatch(name):
            # The name is not repeated: value and name may have been exchanged.
            raise _bad(f"The name of field {position} is none: 1 to 63 letters, digits and . _ -, a letter or _ first.")
        checked[name] = _checked(name, value)
    if (total := sum(len(value.encode()) for value in checked.values())) > TOTAL_BYTES_MAX:
        raise _bad(f"The fields have {total} bytes together; {TOTAL_BYTES_MAX} are possible.")
    return checked


def _checked(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _bad(f"Field {name!r} is not a text.")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        # Without the cause, which would quote the value.
        raise _bad(f"Field {name!r} is not text that can be written as UTF-8.") from None
    if not 1 <= size <= VALUE_BYTES_MAX:
        raise _bad(f"Field {name!r} has {size} bytes; 1 to {VALUE_BYTES_MAX} are possible.")
    if "\0" in value:
        raise _bad(f"Field {name!r} holds a NUL character.")
    return value


def _bad(message: str) -> Invalid:
    return Invalid("secret.bad_value", message, hint="Nothing was stored.")
