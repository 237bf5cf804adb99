"""Blueprints: the document, its validation with all errors at once, and the program it compiles to.

`compile_document` for what an author wrote, `program_from_body` for what was published; `check_document` reads other
kinds' documents with the same quality of errors, and `validate_value` checks a run's input.
"""

from stanchion.blueprints.about import ABOUT_PROPERTIES, LABELS_MAX, RISK_DEFAULT, RISKS
from stanchion.blueprints.check import Fault, check_document, faults_of, in_order, to_issue, type_name
from stanchion.blueprints.compiler import compile_document, program_from_body
from stanchion.blueprints.durations import duration_s
from stanchion.blueprints.json_schema import FORMATS, SCHEMA_OF_SCHEMAS, closed, dangling, validate_value, with_defaults
from stanchion.blueprints.kind import BlueprintKind
from stanchion.blueprints.reader import Place, Positions, Read, read_document
from stanchion.blueprints.types import (
    Block,
    ConfigIssue,
    Document,
    ForEach,
    Issue,
    Lookup,
    Op,
    OpKind,
    Parsed,
    Program,
    Retry,
    Schema,
    Specimen,
    Step,
    VerbSpec,
)
from stanchion.blueprints.values import (
    CONFIG_SCHEMA,
    ConfigKind,
    Configs,
    config_schema,
    config_scope,
    config_set_here,
    config_values,
    configs_read,
)
from stanchion.blueprints.verbs import LOGIC_GATE, TRANSFORM, document_schema

__all__ = [
    "ABOUT_PROPERTIES",
    "CONFIG_SCHEMA",
    "FORMATS",
    "LABELS_MAX",
    "LOGIC_GATE",
    "RISKS",
    "RISK_DEFAULT",
    "SCHEMA_OF_SCHEMAS",
    "TRANSFORM",
    "Block",
    "BlueprintKind",
    "ConfigIssue",
    "ConfigKind",
    "Configs",
    "Document",
    "Fault",
    "ForEach",
    "Issue",
    "Lookup",
    "Op",
    "OpKind",
    "Parsed",
    "Place",
    "Positions",
    "Program",
    "Read",
    "Retry",
    "Schema",
    "Specimen",
    "Step",
    "VerbSpec",
    "check_document",
    "closed",
    "compile_document",
    "config_schema",
    "config_scope",
    "config_set_here",
    "config_values",
    "configs_read",
    "dangling",
    "document_schema",
    "duration_s",
    "faults_of",
    "in_order",
    "program_from_body",
    "read_document",
    "to_issue",
    "type_name",
    "validate_value",
    "with_defaults",
]
