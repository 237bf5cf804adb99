"""The fields of the adapters `objects`, `smtp` and `webhook` in a connector's document."""

from __future__ import annotations

from collections.abc import Mapping

from docs.generator.tables import Field

_EFFECT = Field("destructive", "What a write is: `write`, or `destructive` if it takes something away.", "`write`")

FURTHER: Mapping[str, Mapping[str, Mapping[str, Field]]] = {
    "objects": {
        "": {
            "store": Field("{url: s3://exports, region: eu-central-1}", "Which store."),
            "store.url": Field(
                "s3://exports/2026",
                "`s3://BUCKET/PREFIX`, `az://ACCOUNT/CONTAINER/PREFIX`, `gs://BUCKET/PREFIX`, `folder://PATH` below the connectors' folder, or `memory://`, which the broker forgets when it ends.",
            ),
            "store.region": Field("eu-central-1", "The bucket's region.", "needed for `s3`"),
            "store.endpoint": Field(
                "https://minio.example:9000",
                "Another server that speaks S3. Without TLS it is written as an address, not as a name.",
                "Amazon's for the region",
            ),
            "auth": Field("{s3: {…}}", "Credentials for the URL's scheme.", "unsigned requests"),
            "auth.s3": Field("{access_key_id: AKIA…, secret_access_key: secret://local/exports}", "For `s3`.", "–"),
            "auth.s3.access_key_id": Field("AKIDEXAMPLE", "The key's name, or a reference to it."),
            "auth.s3.secret_access_key": Field("secret://local/exports#key", "A reference."),
            "auth.s3.session_token": Field("secret://local/exports#token", "A reference, for temporary keys.", "none"),
            "auth.azure": Field("{account_key: secret://local/exports}", "For `az`.", "–"),
            "auth.azure.account_key": Field("secret://local/exports#key", "A reference to the account's key."),
            "auth.gcs": Field("{service_account_key: secret://local/exports}", "For `gs`.", "–"),
            "auth.gcs.service_account_key": Field(
                "secret://local/exports#json", "A reference to the JSON of the service account's key."
            ),
        },
        "resource": {
            "prefix": Field("cases/2026", "The folder of its objects; whole path segments.", "all objects"),
            "suffix": Field(".json", "Only objects whose path ends so.", "all of the prefix"),
            "format": Field(
                "json",
                "`json`: an object, or a list of objects. `jsonl`, `csv`: many records. `text`: one record with the field `text`. `metadata`: one record of what the store says.",
            ),
            "delimiter": Field('";"', 'What separates the columns of CSV: `,` `;` `|` or a tab (`"\\t"`).', "`,`"),
        },
        "fetch": {},
        "lookup": {
            "object": Field("cases/{key}.json", "The path of the one object that holds the record; it uses `{key}`.")
        },
        "push": {
            "object": Field(
                "outcomes/{case_id}/{idempotency_key}.json",
                "The path of the object that is written. `{field}` is a field of the record, one piece of a path.",
            ),
            "idempotency": Field(
                "key",
                "`key`: the path holds `{idempotency_key}`, and a second object there is refused by the store. `natural`: the same record is the same object.",
            ),
            "existing": Field(
                "keep",
                "With `natural`, what happens to an object that is there: `replace`; `keep`, where another content is a conflict; `match`: replaced if it is the version of the field `object_etag`.",
                "`replace`",
            ),
            "effect": _EFFECT,
        },
    },
    "smtp": {
        "": {
            "host": Field("mail.example", "The mail server."),
            "port": Field("587", "Its port.", "`587`, with `tls: tls` `465`"),
            "tls": Field(
                "tls",
                "`starttls`: TLS is asked for first, and without it nothing is sent. `tls`: TLS from the first byte. The certificate is verified always.",
                "`starttls`",
            ),
            "from": Field("Casework <noreply@casework.example>", "The sender."),
            "recipients": Field(
                '["*@example.org", ada@partner.example]', "Who may be written to: addresses, or all of a domain."
            ),
            "auth": Field("{username: casework, password: secret://local/mail}", "How to sign in.", "not at all"),
            "auth.username": Field("casework", "The user, or a reference."),
            "auth.password": Field("secret://local/mail#password", "A reference."),
        },
        "push": {
            "idempotency": Field(
                "none",
                "A mail server takes the same mail twice and cannot be asked, so a lost answer is a person's to settle.",
            ),
            "effect": _EFFECT,
        },
    },
    "webhook": {
        "": {
            "base_url": Field(
                "https://receiver.example/hooks",
                "Where messages go. Without TLS only to private hosts that `egress.private` lists.",
            ),
            "signing": Field("{secrets: [secret://local/hooks]}", "What messages are signed with."),
            "signing.secrets": Field(
                "[secret://local/hooks#new, secret://local/hooks#old]",
                "References to `whsec_…` values. Each signs, so that a receiver may know the old one or the new one while it is changed.",
            ),
        },
        "resource": {
            "type": Field("case.closed", "The `type` of the message."),
            "path": Field("/cases", "After `base_url`.", "`base_url` itself"),
        },
        "push": {
            "idempotency": Field(
                "key", "`key` if the receiver applies each `webhook-id` once, as the standard asks; else `none`."
            ),
            "effect": _EFFECT,
        },
    },
}
