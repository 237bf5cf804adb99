"""The web process's application: mounts the domains' routes behind authentication, limits and honest health.

`create_app` puts it together, `uvicorn_options` says how to run it. Open without a credential: /health/* and
/sign-in. Layers from outside: request id, span, metrics and security headers · rate limit by address, authentication,
rate limit by principal · body bounds · routes.
"""

from stanchion.web.app import create_app
from stanchion.web.health import Dependency
from stanchion.web.openapi import build_openapi, without_example
from stanchion.web.operations import Exposition, Gauge
from stanchion.web.pages import Counter, Waiting
from stanchion.web.server import uvicorn_options
from stanchion.web.settings import WebSettings

__all__ = [
    "Counter",
    "Dependency",
    "Exposition",
    "Gauge",
    "Waiting",
    "WebSettings",
    "build_openapi",
    "create_app",
    "uvicorn_options",
    "without_example",
]
