"""The effect ledger: every change of the outside world, its intent before the call and its receipt after (I5).

INTENT → DONE · FAILED (certainly not written) · UNKNOWN (sent, not seen) → DONE · FAILED by the target or a person.
"""

from stanchion.tools.effects.left import settle_left
from stanchion.tools.effects.listing import EffectFilter, EffectGauges, Versioned, count_unknown, list_effects
from stanchion.tools.effects.rules import args_digest, bound_digest, effect_key
from stanchion.tools.effects.service import EffectPort, resolve, show
from stanchion.tools.effects.types import TRANSITIONS, ApprovalCheck, Effect, EffectState

__all__ = [
    "TRANSITIONS",
    "ApprovalCheck",
    "Effect",
    "EffectFilter",
    "EffectGauges",
    "EffectPort",
    "EffectState",
    "Versioned",
    "args_digest",
    "bound_digest",
    "count_unknown",
    "effect_key",
    "list_effects",
    "resolve",
    "settle_left",
    "show",
]
