"""Authorization policies: artifact kind `policy` with `type: authorization`, Cedar text that is read, checked and released.

```yaml
policy: erp-postings
type: authorization
owner: finance
cedar: |
  @id("small-postings")
  permit (principal in Stanchion::Role::"service", action, resource in Stanchion::Connector::"erp")
  when { context.decimals.hasTag("amount") && context.decimals.getTag("amount").lessThan(decimal("1000.0")) };
```
"""

from __future__ import annotations

from typing import Final

from stanchion.artifacts import Document, Parsed
from stanchion.base import Json
from stanchion.blueprints import ABOUT_PROPERTIES, Fault, Lookup, check_document, in_order, to_issue
from stanchion.identity import BUILT_IN, call_schema, faults_in

TYPE: Final = "authorization"
# Far above any policy that a person reviews.
CEDAR_CHARS_MAX: Final = 100_000

SCHEMA: Final[dict[str, Json]] = {
    "type": "object",
    "additionalProperties": False,
    "x-label": "field of an authorization policy",
    "required": ["policy", "type", "owner", "cedar"],
    "properties": {
        "policy": {
            "type": "string",
            "pattern": "^[a-z][a-z0-9-]{0,62}$",
            "description": "small letters, digits, dashes",
        },
        "type": {"type": "string", "enum": [TYPE], "description": f"`{TYPE}`."},
        "description": {"type": "string", "maxLength": 4000},
        "owner": {"type": "string", "minLength": 1, "maxLength": 200, "description": "the team that answers for it"},
        **ABOUT_PROPERTIES,
        "cedar": {
            "type": "string",
            "minLength": 1,
            "maxLength": CEDAR_CHARS_MAX,
            "description": "permit and forbid statements, each with an @id",
        },
    },
}


class AuthorizationType:
    """Fills `approvals.PolicyType`: how a policy of type `authorization` is read."""

    type = TYPE
    names = frozenset[str]()

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """Read and check an authorization policy: its fields, and every statement against the schema of calls."""
        del lookup  # a policy refers to no other artifact
        value, issues, positions = check_document(document, SCHEMA)
        body = value if isinstance(value, dict) else {}
        name, owner, cedar = body.get("policy"), body.get("owner"), body.get("cedar")
        faults: list[Fault] = []
        if isinstance(cedar, str) and cedar:
            faults = [
                Fault(pointer="/cedar", code=f.code, message=f.message, hint=f.hint, text=cedar, offset=f.offset)
                for f in faults_in(cedar, call_schema())
            ]
        if name == BUILT_IN:
            hint = "Give it another name."
            message = f"{BUILT_IN!r} names the policy that Stanchion ships."
            faults.append(Fault(pointer="/policy", code="policy.name", message=message, hint=hint))
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=body,
            owner=owner if isinstance(owner, str) else "",
            references=(),
            issues=in_order([*issues, *(to_issue(fault, positions) for fault in faults)]),
        )
