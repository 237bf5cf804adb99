"""What credentials look like: forms that are known by themselves, and keys beside which a literal value is one.

Forms are from their issuers' public documentation (prefix, alphabet, length), each anchored at the beginning of a word,
so that looking through a text takes time in proportion to its length. Where a form carries a checksum or a structure,
that is asked too: a secret scanner that cries wolf is switched off.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Form:
    """A credential that is known by its looks. Group `v` of the pattern is its value; `sound` judges that value."""

    what: str
    pattern: re.Pattern[str]
    sound: Callable[[str], bool]


def entropy(text: str) -> float:
    """Bits per character of a text by its own frequencies (Shannon): 4.0 at most for hex, 6.0 for base64."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _any(value: str) -> bool:
    return not is_stand_in(value)


def _no_example(value: str) -> bool:
    """A text of a form of its own that is not one of documentation (`AKIA…EXAMPLE`)."""
    return not any(part in value.lower() for part in ("example", "${", "{{", "...", "xxxx"))


def _mixed(value: str) -> bool:
    """Random rather than words: digits and letters, and not built of a few characters."""
    return (
        _no_example(value)
        and any(c.isdigit() for c in value)
        and any(c.isalpha() for c in value)
        and entropy(value) >= 3.0
    )


def _jwt(value: str) -> bool:
    head = _unbase64(value.partition(".")[0])
    try:
        claims: Any = json.loads(head)
    except ValueError:
        return False
    return isinstance(claims, dict) and "alg" in claims


def _basic(value: str) -> bool:
    name, colon, password = _unbase64(value).partition(":")
    return bool(colon) and name.isprintable() and password.isprintable() and not is_stand_in(password)


def _own_key(value: str) -> bool:
    head, _, crc = value.rpartition("_")
    return f"{zlib.crc32(head.encode()):08x}" == crc


def _unbase64(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return ""


def _word(what: str, pattern: str, sound: Callable[[str], bool] = _mixed) -> Form:
    return Form(what, re.compile(rf"(?<![A-Za-z0-9_-])(?P<v>{pattern})(?![A-Za-z0-9_])"), sound)


def _around(what: str, pattern: str, sound: Callable[[str], bool] = _any) -> Form:
    return Form(what, re.compile(pattern, re.IGNORECASE), sound)


FORMS: Final[tuple[Form, ...]] = (
    _word("a private key", r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----", lambda _: True),
    _word("a PuTTY private key", r"PuTTY-User-Key-File-[0-9]: \S{1,40}", lambda _: True),
    _word("an age secret key", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _word("an AWS access key", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}", _no_example),
    _word("a GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    _word("a GitHub token", r"github_pat_[A-Za-z0-9_]{50,255}"),
    _word("a GitLab token", r"gl(?:pat|dt|rt|ptt|soat|cbt|ft)-[A-Za-z0-9_-]{20,255}"),
    _word("a Slack token", r"xox[abeoprs]-[A-Za-z0-9-]{10,255}"),
    _word("a Slack token", r"xapp-[0-9]-[A-Za-z0-9-]{20,255}"),
    _around("a Slack webhook", r"(?P<v>hooks\.slack\.com/services/T[A-Z0-9]{6,20}/B[A-Z0-9]{6,20}/[A-Za-z0-9]{16,40})"),
    _word("a Stripe key", r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,255}"),
    _word("a webhook secret", r"whsec_[A-Za-z0-9+/=]{24,255}"),
    _word("a Google API key", r"AIza[0-9A-Za-z_-]{35}"),
    _word("a Google OAuth secret", r"GOCSPX-[0-9A-Za-z_-]{28}"),
    _word("a Google access token", r"ya29\.[0-9A-Za-z_-]{30,2048}"),
    _word("an Azure client secret", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"),
    _around("an Azure storage key", r"(?:Account|SharedAccess|Shared)Key=(?P<v>[A-Za-z0-9+/]{42,86}={1,2})"),
    _around("a shared access signature", r"[?&]sig=(?P<v>[A-Za-z0-9%+/=]{40,255})"),
    _word("an Anthropic key", r"sk-ant-[a-z0-9]{2,12}-[A-Za-z0-9_-]{20,255}"),
    _word("an OpenAI key", r"sk-(?:proj-|svcacct-|admin-|None-)?[A-Za-z0-9_-]{20,255}", lambda v: _mixed(v) and _cased(v)),
    _word("a Groq key", r"gsk_[A-Za-z0-9]{40,255}"),
    _word("a Hugging Face token", r"(?:hf|api_org)_[A-Za-z0-9]{30,255}", lambda v: _no_example(v) and _cased(v)),
    _word("an npm token", r"npm_[A-Za-z0-9]{36}"),
    _word("a PyPI token", r"pypi-AgE[A-Za-z0-9_-]{50,2048}"),
    _word("a SendGrid key", r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{32,64}"),
    _word("a Mailgun key", r"key-[0-9a-f]{32}"),
    _word("a Mailchimp key", r"[0-9a-f]{32}-us[0-9]{1,2}"),
    _word("a Twilio key", r"SK[0-9a-f]{32}"),
    _word("a DigitalOcean token", r"do[por]_v1_[0-9a-f]{64}"),
    _word("a Databricks token", r"dapi[0-9a-f]{32}(?:-[0-9])?"),
    _word("a Shopify token", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _word("a Vault token", r"hv[sbr]\.[A-Za-z0-9_-]{24,255}"),
    _word("a Doppler token", r"dp\.(?:pt|st|sa|ct)\.[A-Za-z0-9.]{40,64}"),
    _word("a Linear key", r"lin_api_[A-Za-z0-9]{32,64}"),
    _word("a Grafana token", r"gl(?:sa|c)_[A-Za-z0-9+/=_]{32,255}"),
    _word("a New Relic key", r"NRAK-[A-Z0-9]{27}"),
    _word("an Atlassian token", r"ATATT3[A-Za-z0-9_=-]{50,255}"),
    _word("a Terraform token", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,80}"),
    _word("a Telegram bot token", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    _word("a Stanchion API key", r"stn_[a-z][a-z0-9-]{0,62}_[0-9a-f]{32}_[0-9A-Za-z]{43}_[0-9a-f]{8}", _own_key),
    _word("a JSON Web Token", r"eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,2048}", _jwt),
    _word("a password hash", r"\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}", lambda _: True),
    _around(
        "a URL with a password",
        r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{1,20}://(?![^\s/@]{0,64}:(?:password|pass|pw|…|\.\.\.)@)"
        r"""[^\s/:@"'<>]{0,256}:(?P<v>[^\s/@"'`]{1,256})@(?=[^\s])""",
    ),
    _around("a bearer token", r"(?<![a-z0-9])bearer\s{1,4}(?P<v>[A-Za-z0-9._~+/-]{16,4096}=*)", _mixed),
    _around("a basic credential", r"(?<![a-z0-9])basic\s{1,4}(?P<v>[A-Za-z0-9+/_-]{6,512}={0,2})(?![A-Za-z0-9])", _basic),
    _around("a password of a command", r"(?<![\w-])--(?:[a-z]{1,20}-)?(?:password|passwd|token|api-key|secret)[ =](?P<v>[^\s\"'-]\S{2,255})"),
    _around("a password of a command", r"\bcurl\s[^\n]{0,256}?(?:-u|--user)[ =][\"']?[^\s:\"'$]{1,64}:(?P<v>[^\s\"']{1,255})"),
    _around("a password of a netrc", r"\blogin\s{1,4}\S{1,64}\s{1,4}password\s{1,4}(?P<v>\S{1,255})"),
)  # fmt: skip


class Beside(StrEnum):
    """How much a key says of the value beside it."""

    PASSWORD = "password"  # noqa: S105 - a class of keys
    KEY = "key"
    MAYBE = "maybe"


_PASSWORD: Final = re.compile(r"password|passwd|passphrase|passcode|pwd$|secrets?(?!ar|ion|e|iv)")
_KEY: Final = re.compile(
    r"(?:api|access|secret|private|auth|account|shared|sharedaccess|signing|encryption|master|subscription|storage)keys?$"
    r"|tokens?$|credentials?$|authorization$|apitoken$|bearer$"
)
_MAYBE: Final = re.compile(r"(?:key|auth|signature|salt|session|dsn|cookie|signing|hmac|pat)$")
# A key that ends so names, counts or describes a credential; it does not hold one.
_NOT: Final = re.compile(
    r"(?:file|path|ref|reference|name|id|ids|url|uri|field|column|header|type|kind|policy|hint|length|ttl|count|max|min|"
    r"age|expires|expiry|env|var|label|title|description|rotation|rule|strength|required|format|prompt|reset|digest|"
    r"provider|store|encryption|algorithm|method|engine|version|limit|budget|scheme|location|in|usage)$|(?:public|primary|foreign|idempotency|partition|"
    r"sort|cache|routing|natural|dedupe|object|group|unique|max|min|of|per|num|total|prompt|completion|input|output|next|"
    r"page|cursor)(?:key|tokens?)s?$"
)


def beside(key: str) -> Beside | None:
    """What a key says of its value: `db_password`, `clientSecret`, `X-Api-Key`; None if nothing."""
    compact = re.sub(r"[^a-z0-9]", "", key.lower())
    if _NOT.search(compact):
        return None
    if _KEY.search(compact):
        return Beside.KEY
    if _PASSWORD.search(compact):
        return Beside.PASSWORD
    return Beside.MAYBE if _MAYBE.search(compact) else None


_REFERENCE: Final = re.compile(
    r"secret://|(?:env|file|vault|op|ssm|kms|keyring|aws|azure|gcp|arn|sha256|sha512|api_key|session):|[$%{<*:?@&!/]|\.{1,2}/|~/|\[|\("
)
_DOTTED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+(?:\(.*)?")
_STAND_IN: Final = re.compile(
    r"(?:your|my|the|some|any|an?|insert|enter|replace|put|set|use)[-_ ].*|.*(?:-|_| )here|.*example.*|.*placeholder.*|"
    r".*redacted.*|.*dummy.*|(.)\1{2,}|none|null|nil|true|false|yes|no|required|optional|string|text|str|bytes|integer|"
    r"change[-_]?me.*|secret|password|passwd|token|hidden|unset|empty|unknown|env|file|prompt|ask|never|always|todo|n/a|-+|x+|basic|"
    r"bearer|digest|oauth2?|masked|encrypted|hashed|sensitive|write-only|object|invalid|missing|wrong|expired|revoked",
    re.IGNORECASE | re.DOTALL,
)


def is_stand_in(value: str) -> bool:
    """Whether a text stands for a credential or names where it is, rather than being one."""
    text = value.strip()
    return (
        not text
        or "${" in text
        or "{{" in text
        or "..." in text
        or "…" in text
        or "***" in text
        or _REFERENCE.match(text) is not None
        or _DOTTED.fullmatch(text) is not None
        or _STAND_IN.fullmatch(text) is not None
    )


# Words joined by hyphens and the like, each of letters with at most two digits after them: a name, not a key.
_SLUG: Final = re.compile(r"[A-Za-z]{2,}[0-9]{0,2}(?:[-_./ ][A-Za-z]{1,}[0-9]{0,2})*|[A-Za-z]+[0-9]?")
UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RANDOM: Final = re.compile(r"[A-Za-z0-9+/_=.~-]{20,512}")
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_PASSWORD_WORDS_MAX: Final = 8


def is_literal(value: str, key: Beside) -> bool:
    """Whether `value` beside a key of that class is a credential written out."""
    if is_stand_in(value):
        return False
    if key is Beside.PASSWORD:
        return len(value) >= 3 and len(value.split()) <= _PASSWORD_WORDS_MAX and not value.rstrip().endswith((".", "?"))
    if key is Beside.KEY:
        word = value.removeprefix("Token ").removeprefix("ApiKey ")
        return (
            len(word) >= 8 and not any(c.isspace() for c in word) and not _SLUG.fullmatch(word) and _random(word, 2.5)
        )
    return _RANDOM.fullmatch(value) is not None and not UUID.fullmatch(value) and _dense(value)


def _random(word: str, least: float) -> bool:
    return any(c.isdigit() for c in word) and any(c.isalpha() for c in word) and entropy(word) >= least


def _dense(value: str) -> bool:
    """High entropy for its alphabet: 3.0 bits a character of hex from 32 digits on, else 3.8 with both cases."""
    if _HEX.fullmatch(value):
        return len(value) >= 32 and _random(value, 3.0)
    return not _SLUG.fullmatch(value) and _cased(value) and _random(value, 3.8)


def _cased(value: str) -> bool:
    return any(c.isupper() for c in value) and any(c.islower() for c in value)
