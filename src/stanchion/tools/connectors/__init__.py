"""Connectors: the artifact kind `connector`, what is checked of its document, and the Connector made of its body."""

from stanchion.tools.connectors.build import connector_of, resource_of

__all__ = ["connector_of", "resource_of"]
