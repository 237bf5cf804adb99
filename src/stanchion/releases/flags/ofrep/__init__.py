"""The OpenFeature Remote Evaluation Protocol (OFREP 0.3.0, open-feature/protocol, service/openapi.yaml): any OpenFeature
SDK evaluates Stanchion's flags by its OFREP provider.

    POST /ofrep/v1/evaluate/flags/{key}    one flag, for servers that ask each time
    POST /ofrep/v1/evaluate/flags          all flags for one context, with an ETag, for clients that keep them

The answers have the protocol's shapes: a flag that chooses no value is sent without `value`, so that the SDK uses the
code's own default. The protocol knows the reasons STATIC, TARGETING_MATCH, SPLIT, DISABLED and UNKNOWN; others go as UNKNOWN,
and `metadata` has each as OpenFeature names it (`stanchion.reason`), with version, digest and rollout.
"""

from stanchion.releases.flags.ofrep.routes import build_ofrep_router

__all__ = ["build_ofrep_router"]
