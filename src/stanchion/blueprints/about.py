"""What every artifact's document may say about itself, whatever its kind."""

from __future__ import annotations

from typing import Final

from stanchion.base import Json

RISKS: Final = ("low", "medium", "high")
RISK_DEFAULT: Final = "low"
LABELS_MAX: Final = 8

# Properties of the schema of each kind: spread into its `properties`.
ABOUT_PROPERTIES: Final[dict[str, Json]] = {
    "labels": {
        "type": "object",
        "maxProperties": LABELS_MAX,
        "propertyNames": {"pattern": "^[a-z][a-z0-9_.-]{0,62}$"},
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 128},
        "description": f"at most {LABELS_MAX} texts to find it by",
    },
    "risk": {
        "type": "string",
        "enum": [*RISKS],
        "description": "what a mistake in it can do; policy says which releases a level permits",
    },
}
