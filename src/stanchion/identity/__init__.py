"""Identity: tenants, principals, API keys, sign-in links, sessions, and the one decision point (Cedar).

Nothing is open without a credential: an API key (`Authorization: Bearer stn_…`) or a session, begun by a one-time
link. Both are stored as HMACs under a pepper that lives outside the database. Revoking or disabling counts on every
process within a second. What each role permits is `policy.cedar`; `role_matrix()` shows it as a table.
"""

from stanchion.identity.authenticate import Authenticator
from stanchion.identity.calling import (
    AuthorizationPolicy,
    CallAuthorizer,
    CallQuestion,
    CallVerdict,
    PolicySource,
    Principals,
)
from stanchion.identity.cedar import CedarAuthorizer, role_matrix
from stanchion.identity.cedar_calls import BUILT_IN, CedarCalls, call_schema, denied
from stanchion.identity.cedar_text import CedarFault, faults_in
from stanchion.identity.pepper import Pepper
from stanchion.identity.principals import PrincipalsNow, trigger_actor
from stanchion.identity.service import (
    create_key,
    create_principal,
    disable_principal,
    get_principal,
    grant_role,
    list_keys,
    list_principals,
    list_tenants,
    revoke_key,
    revoke_role,
    whoami,
)
from stanchion.identity.sessions import bootstrap_admin, create_sign_in_link, create_tenant, end_session, redeem
from stanchion.identity.types import (
    ACTIONS,
    ROLES,
    SESSION_TTL,
    ApiKey,
    Bootstrapped,
    NewKey,
    NewSession,
    NewSignIn,
    NewTenant,
    Principal,
    Tenant,
)

__all__ = [
    "ACTIONS",
    "BUILT_IN",
    "ROLES",
    "SESSION_TTL",
    "ApiKey",
    "Authenticator",
    "AuthorizationPolicy",
    "Bootstrapped",
    "CallAuthorizer",
    "CallQuestion",
    "CallVerdict",
    "CedarAuthorizer",
    "CedarCalls",
    "CedarFault",
    "NewKey",
    "NewSession",
    "NewSignIn",
    "NewTenant",
    "Pepper",
    "PolicySource",
    "Principal",
    "Principals",
    "PrincipalsNow",
    "Tenant",
    "bootstrap_admin",
    "call_schema",
    "create_key",
    "create_principal",
    "create_sign_in_link",
    "create_tenant",
    "denied",
    "disable_principal",
    "end_session",
    "faults_in",
    "get_principal",
    "grant_role",
    "list_keys",
    "list_principals",
    "list_tenants",
    "redeem",
    "revoke_key",
    "revoke_role",
    "role_matrix",
    "trigger_actor",
    "whoami",
]
