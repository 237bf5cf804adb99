"""Loaded into every process of an `up` by PYTHONPATH: each span, all of them, goes to the collector of the test, as an exporter
would send it (OTLP/HTTP, JSON); and web and broker get a defect whose exception says what it should not."""

import os
import sys


def _exporter(collector):
    import http.client
    import json

    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    def attributes(found):
        return [{"key": name, "value": {"stringValue": str(value)}} for name, value in (found or {}).items()]

    def said(span):
        context, parent = span.get_span_context(), span.parent
        return {
            "traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}",
            "parentSpanId": "" if parent is None else f"{parent.span_id:016x}", "name": span.name,
            "startTimeUnixNano": str(span.start_time), "endTimeUnixNano": str(span.end_time),
            "attributes": attributes(span.attributes),
            "events": [{"name": event.name, "attributes": attributes(event.attributes)} for event in span.events],
            "links": [{"attributes": attributes(link.attributes)} for link in span.links],
            "status": {"message": span.status.description or ""},
        }  # fmt: skip

    class Exporter(SpanExporter):
        def export(self, spans):
            body = {
                "resourceSpans": [
                    {
                        "resource": {"attributes": attributes(spans[0].resource.attributes)},
                        "scopeSpans": [{"spans": [said(span) for span in spans]}],
                    }
                ]
            }
            connection = http.client.HTTPConnection(collector, timeout=10)
            try:
                connection.request("POST", "/v1/traces", json.dumps(body), {"Content-Type": "application/json"})
                connection.getresponse().read()
            except OSError:
                return SpanExportResult.FAILURE
            finally:
                connection.close()
            return SpanExportResult.SUCCESS

    return Exporter()


def _trace(collector):
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from stanchion.telemetry.telemetry import Telemetry

    made = Telemetry.__init__

    def traced(self, *, process, sample=1.0):
        made(self, process=process, sample=1.0)
        self.provider.add_span_processor(BatchSpanProcessor(_exporter(collector), schedule_delay_millis=200))
        {"web": _break_web, "broker": _break_broker}.get(process, lambda: None)()

    Telemetry.__init__ = traced


def _defect(text):
    """An exception that says the text in every encoding; that it does, its class says, which logs may name."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("planted_search", Path(__file__).parents[1] / "search.py")
    search = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(search)
    said = [needle.decode() for needle in search.encodings(text).values()]
    holds = len(said) if list(search.Search({"it": text}).within(" ".join(said).encode(), "")) else 0
    return type(f"Planted{holds}TimesDefect", (RuntimeError,), {})(" ".join(said))


def _break_web():
    """A route that answers with a defect, and one that answers with a problem, both in the words of the request."""
    from fastapi import FastAPI, Request

    from stanchion.base import Invalid

    made = FastAPI.__init__

    async def defect(request: Request):
        text = (await request.json())["said"]
        try:
            int(text)
        except ValueError as cause:
            raise _defect(text) from cause

    async def problem(request: Request):
        raise Invalid("planted.problem", (await request.json())["said"])

    def broken(self, *args, **options):
        made(self, *args, **options)
        for route in (defect, problem):
            self.add_api_route(f"/api/planted/{route.__name__}", route, methods=["POST"], include_in_schema=False)

    FastAPI.__init__ = broken


def _break_broker():
    """The HTTP client fails at `/defect` with the credential that it was to send, and so does the discovery of `faulty`."""
    from stanchion.tools.adapters.http import HttpAdapter
    from stanchion.tools.adapters.http_client import HttpClient

    once, discover = HttpClient._once, HttpAdapter.discover

    async def undiscovered(self, connector, timeout_s, credentials=None):
        if connector.name == "faulty":
            raise _defect(credentials.value("/auth/header/X-Api-Key"))
        return await discover(self, connector, timeout_s, credentials)

    async def broken(self, call, opened, egress, request, *args, **options):
        if "/defect" in request.url.path:
            raise _defect(request.headers["X-Api-Key"])
        return await once(self, call, opened, egress, request, *args, **options)

    HttpClient._once, HttpAdapter.discover = broken, undiscovered


if "stanchion" in " ".join(sys.orig_argv) and "PYTHON_PLANTED_COLLECTOR" in os.environ:
    _trace(os.environ["PYTHON_PLANTED_COLLECTOR"])
