"""Flags: values that differ by whom they are asked for, evaluated in memory (artifact kind `flag`).

Pure: documents in, values out. Who stores, releases and distributes them is the releases layer's business
(`releases.flags`), which keeps the live documents compiled and replaces them when a release changes one.

Targeting is written in flagd's JsonLogic (with `fractional` version 2, `sem_ver`, `starts_with`, `ends_with`, `$ref`,
`$flagd.flagKey`, `$flagd.timestamp`), or as rules with conditions in CEL. Reasons and error codes are OpenFeature's.
"""

from stanchion.controls.flags.bucketing import WEIGHT_SUM_MAX, bucket, distribute, murmur3
from stanchion.controls.flags.documents import FIELDS as FLAG_FIELDS
from stanchion.controls.flags.documents import check, compile_flag
from stanchion.controls.flags.evaluation import FlagSet, evaluate
from stanchion.controls.flags.logic import KNOWN as LOGIC_OPERATORS
from stanchion.controls.flags.plain import FIELDS as RULE_FIELDS
from stanchion.controls.flags.types import (
    TARGETING_KEY,
    Attributes,
    ErrorCode,
    Finding,
    Flag,
    FlagType,
    Reason,
    Resolution,
)

__all__ = [
    "FLAG_FIELDS",
    "LOGIC_OPERATORS",
    "RULE_FIELDS",
    "TARGETING_KEY",
    "WEIGHT_SUM_MAX",
    "Attributes",
    "ErrorCode",
    "Finding",
    "Flag",
    "FlagSet",
    "FlagType",
    "Reason",
    "Resolution",
    "bucket",
    "check",
    "compile_flag",
    "distribute",
    "evaluate",
    "murmur3",
]
