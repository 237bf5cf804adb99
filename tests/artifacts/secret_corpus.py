"""Planted credentials and what only looks like one. None was ever in use: the random parts are made here, by a seed.

A `¤` is taken out before a text is used, so that no scanner of this repository takes it for what it imitates.
"""

from __future__ import annotations

import base64
import json
import random
import string
import zlib

_RNG = random.Random(20261122)
_LETTERS = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def made(length: int, alphabet: str = _LETTERS) -> str:
    """`length` random characters, with a digit and both cases among them where the alphabet has them."""
    while True:
        text = "".join(_RNG.choice(alphabet) for _ in range(length))
        wanted = [
            any(c in alphabet for c in kind) for kind in (string.digits, string.ascii_uppercase, string.ascii_lowercase)
        ]
        has = [any(c in kind for c in text) for kind in (string.digits, string.ascii_uppercase, string.ascii_lowercase)]
        if wanted == has:
            return text


def _b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def jwt() -> str:
    return f"{_b64(json.dumps({'alg': 'HS256', 'typ': 'JWT'}))}.{_b64(json.dumps({'sub': 'ada', 'iat': 1}))}.{made(43)}"


def own_key() -> str:
    head = f"stn_production_{made(32, _HEX)}_{made(43)}"
    return f"{head}_{zlib.crc32(head.encode()):08x}"


_UPPER = string.ascii_uppercase + "234567"
_PEM = "-----BEGIN ¤{}PRIVATE KEY-----"

# name -> (text of the document, the value that must not be told)
_VALUES: dict[str, tuple[str, str]] = {
    "aws access key": ("note: {v}", "AK¤IA" + made(16, _UPPER)),
    "aws temporary key": ("# was {v}", "AS¤IA" + made(16, _UPPER)),
    "aws secret key": ("aws_secret_access_key: {v}", made(40, _LETTERS + "+/")),
    "github token": ("note: use {v} for now", "gh¤p_" + made(36)),
    "github app token": ("note: '{v}'", "gh¤s_" + made(36)),
    "github fine-grained token": ("headers: {{authorization: token {v}}}", "github¤_pat_" + made(22) + "_" + made(59)),
    "gitlab token": ("note: {v}", "gl¤pat-" + made(20)),
    "slack bot token": ("note: {v}", "xo¤xb-" + made(12, "123456789") + "-" + made(24)),
    "slack webhook": ("url: https://{v}", "hooks.slack.com/serv¤ices/T" + made(9, _UPPER) + "/B" + made(9, _UPPER) + "/" + made(24)),
    "stripe live key": ("note: {v}", "sk¤_live_" + made(24)),
    "stripe restricted key": ("note: {v}", "rk¤_test_" + made(24)),
    "google api key": ("url: https://maps.example/?key={v}", "AI¤za" + made(35)),
    "google oauth secret": ("note: {v}", "GOC¤SPX-" + made(28)),
    "google access token": ("note: {v}", "ya¤29." + made(60)),
    "azure client secret": ("note: {v}", made(3) + "8¤Q~" + made(34)),
    "azure storage": ("store: DefaultEndpointsProtocol=https;AccountName=a;AccountKey={v};EndpointSuffix=x", made(86, _LETTERS + "+/") + "=="),
    "azure service bus": ("bus: Endpoint=sb://b.example/;SharedAccessKeyName=all;SharedAccessKey={v}", made(43, _LETTERS + "+/") + "="),
    "azure sas": ("url: https://a.example/c?sv=2024&sig={v}", made(43) + "%3D"),
    "anthropic key": ("note: {v}", "sk¤-ant-api03-" + made(40)),
    "openai key": ("note: {v}", "sk¤-" + made(48)),
    "openai project key": ("note: {v}", "sk¤-proj-" + made(60)),
    "groq key": ("note: {v}", "gs¤k_" + made(52)),
    "hugging face token": ("note: {v}", "hf¤_" + made(34)),
    "npm token": ("note: //registry.example/:_authToken={v}", "np¤m_" + made(36)),
    "pypi token": ("note: {v}", "py¤pi-AgEIcHlwaS5vcmc" + made(60)),
    "sendgrid key": ("note: {v}", "S¤G." + made(22) + "." + made(43)),
    "mailgun key": ("note: {v}", "ke¤y-" + made(32, _HEX)),
    "mailchimp key": ("note: {v}", made(32, _HEX) + "-¤us14"),
    "twilio key": ("note: {v}", "S¤K" + made(32, _HEX)),
    "digitalocean token": ("note: {v}", "do¤p_v1_" + made(64, _HEX)),
    "databricks token": ("note: {v}", "da¤pi" + made(32, _HEX)),
    "shopify token": ("note: {v}", "sh¤pat_" + made(32, _HEX)),
    "vault token": ("note: {v}", "hv¤s." + made(90)),
    "grafana token": ("note: {v}", "gl¤sa_" + made(41)),
    "new relic key": ("note: {v}", "NR¤AK-" + made(27, string.ascii_uppercase + string.digits)),
    "atlassian token": ("note: {v}", "ATA¤TT3" + made(180)),
    "terraform token": ("note: {v}", made(14) + ".atla¤sv1." + made(67)),
    "telegram token": ("note: {v}", made(9, "123456789") + ":A¤A" + made(33)),
    "age key": ("note: {v}", "AGE-SEC¤RET-KEY-1" + made(58, string.ascii_uppercase + string.digits)),
    "own api key": ("note: {v}", own_key()),
    "jwt": ("note: {v}", jwt()),
    "password hash": ("note: {v}", "$2¤b$12$" + made(53)),
    "rsa key": ("key: |\n  {v}\n  MIIEow" + made(50), _PEM.format("RSA ")),
    "pkcs8 key in a comment": ("# {v}", _PEM.format("")),
    "openssh key escaped": ('note: "{v}\\nb3Bl"', _PEM.format("OPENSSH ")),
    "pgp key": ("note: '{v}'", "-----BEGIN ¤PGP PRIVATE KEY BLOCK-----"),
    "postgres url": ("url: postgresql://casework:{v}@db.example:5432/cases", "s3¤cret-Pa55"),
    "redis url without user": ("url: redis://:{v}@cache.example/0", "fo¤obarbaz"),
    "amqp url in a comment": ("# amqp://worker:{v}@mq.example", "qw¤erty12"),
    "url with an encoded password": ("base_url: https://u:{v}@api.example", "p%40¤ss"),
    "bearer header": ("headers: {{authorization: Bearer {v}}}", made(40)),
    "bearer in a comment": ("# curl -H 'Authorization: Bearer {v}'", made(32)),
    "basic header": ("headers: {{authorization: Basic {v}}}", base64.b64encode(b"ada:Sw0rdfish!").decode()),
    "password": ("password: {v}", "sword¤fish"),
    "password with words": ("passphrase: {v}", "correct horse ¤battery staple"),
    "db_password quoted": ('db_password: "{v}"', "Tr0ub4¤dor&3"),
    "camel case": ("clientSecret: {v}", "0a1¤b2c3d4e5f"),
    "pin as a number": ("password: {v}", "48¤1516"),
    "password in a comment": ("# old password: {v}", "hun¤ter2"),
    "json": ('{{"note": 1, "pass¤word": "{v}"}}', "open¤sesame1"),
    "api key header": ("headers: {{X-Api-Key: {v}}}", made(24)),
    "access token": ("access_token: {v}", made(32, _HEX)),
    "list of secrets": ("secrets: [{v}]", "al¤pha-beta-7"),
    "environment by name and value": ("env:\n  - {{name: DB_PASSWORD, value: {v}}}", "ki¤ttens99"),
    "environment in a block": ("script: |\n  export PGPASSWORD={v}\n  psql", "pg¤pass77"),
    "ado connection string": ("dsn: Server=db;User Id=sa;Password={v};Encrypt=true", "Yu¤kon900"),
    "high entropy beside key": ("key: {v}", made(44, _LETTERS + "+/")),
    "hex beside signature": ("signature: {v}", made(64, _HEX)),
    "command line": ("run: tool --password {v} --verbose", "le¤tmein42"),
    "curl user": ("run: curl -u ada:{v} https://x.example", "le¤tmein42"),
    "netrc": ("note: machine h login ada password {v}", "le¤tmein42"),
    "escaped in yaml": ('note: "\\x67h¤p_{v}"', made(36)),
    "folded": ("password: >-\n  {v}", "zebra¤crossing9"),
    "unreadable document": ("a: [\npassword: {v}", "hun¤ter2"),
}  # fmt: skip
PLANTED = {
    name: (text.replace("¤", "").format(v=value.replace("¤", "")), value.replace("¤", ""))
    for name, (text, value) in _VALUES.items()
}

LOOK_ALIKES: dict[str, str] = {
    "reference": "password: secret://vault/casebook#password@3",
    "file": "password_file: /run/secrets/casebook",
    "0600 file": "url_file: casebook.url",
    "expression": 'password: "${input.password}"',
    "bearer of an expression": 'headers: {authorization: "Bearer ${steps.login.record.token}"}',
    "shell variable": "password: $DB_PASSWORD",
    "braces": "api_key: '{{ api_key }}'",
    "angle brackets": "api_key: <your key>",
    "your key here": "api_key: your-api-key-here-2026",
    "stars": "password: '********'",
    "xs": "token: xxxxxxxxxxxxxxxx",
    "empty": 'password: ""',
    "null": "password: null",
    "boolean": "password: true",
    "schema": "properties: {password: {type: string, minLength: 12}, token: {type: string}}",
    "schema of strings": "fields: {password: string, api_key: text}",
    "column of the same name": "columns: {password: password, secret: secret}",
    "required list": "required: [password, token, api_key]",
    "sql parameter": "query: select id from users where password = :password and token = $1",
    "sql question mark": "query: update users set password = ? where id = ?",
    "cel": "when: input.token == steps.login.token && has(input.password)",
    "lookup key": 'lookup: {connector: casebook, resource: cases, key: "${input.case_id}"}',
    "key of a resource": "key: case_id",
    "primary key": "primary_key: 0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "idempotency key": "idempotency_key: 7f3b0c9e2d184f6fa1c5e8b7d2093a46",
    "public key": "public_key: MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
    "public key block": "note: '-----BEGIN PUBLIC KEY-----'",
    "certificate": "note: '-----BEGIN CERTIFICATE-----'",
    "digest": "digest: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "git commit": "commit: 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "uuid key": "key: 01a20133-bb93-7061-a222-41b34a2bc8b2",
    "max tokens": "max_tokens: 4096",
    "token budget": "token_budget: 100000",
    "next page token": "next_page_token: eyJvZmZzZXQiOjUwMDAwMH0x",
    "url without a password": "url: postgresql://casework@db.example:5432/cases",
    "url with a stand-in": "# postgresql://user:password@host/database",
    "url with a variable": "url: postgresql://app:${config.password}@db.example/x",
    "url with a port": "base_url: https://api.example:8443/v1@2",
    "e-mail": "contact: mailto:ada@example.org",
    "prose bearer": "description: Send the bearer token in the header; a bearer credential expires.",
    "prose basic": "description: Basic authentication is not taken; basic settings are.",
    "prose password": "description: 'Ask for the password: it is needed to go on.'",
    "comment on a token": "# token: what the login step gives, never written here",
    "comment on a secret": "# secret: none",
    "policy on passwords": "password_policy: at-least-12-characters",
    "name of a secret": "secret_name: casebook-production-2",
    "id of a key": "key_id: 7c2e1a90b4d84f57",
    "slug": "token: oauth2-client-credentials",
    "header name": "token_header: X-Session-Token-V2",
    "hyphenated sk": "note: task-sk-learning-curve-of-the-new-analysts and sk-learn-based-scoring",
    "documented aws example": "note: AKIA¤IOSFODNN7EXAMPLE",
    "short hf": "note: hf_hub_download",
    "not a jwt": "note: eyJub3QiOiJhIGp3dCJ9.eyJhIjoxfQ.c2lnbmF0dXJl",
    "own key with a wrong checksum": "note: stn_local_" + "a1" * 16 + "_" + "Ab1" * 14 + "Z_00000000",
    "time of day": "note: 'Password resets run at 02:30, tokens expire: daily.'",
    "type of secret": "secret_type: oauth2",
    "dotted": "token: steps.login.record.access_token",
    "author of an audit record": "credential: api_key:01a20190-f418-702e-bcf2-9575ab379aea",
}  # fmt: skip
LOOK_ALIKES = {name: text.replace("¤", "") for name, text in LOOK_ALIKES.items()}
