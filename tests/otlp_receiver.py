"""A collector for traces: takes in OTLP over HTTP on a free port, and decodes it."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class OtlpReceiver:
    """A context; what has come is in `spans`, `resources`, `headers` and `content`."""

    def __init__(self):
        self.spans, self.resources, self.headers, self.content = [], [], [], b""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                content = self.rfile.read(int(self.headers["content-length"]))
                receiver._take_in(self.path, self.headers, content)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _take_in(self, path, headers, content):
        assert path == "/v1/traces"
        if headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        self.headers.append(dict(headers))
        self.content += content
        for each in ExportTraceServiceRequest.FromString(content).resource_spans:
            self.resources.append(attributes_of(each.resource))
            self.spans += [span for scope in each.scope_spans for span in scope.spans]

    @property
    def requests(self):
        """The spans of whole requests, in the order in which they ended."""
        return [span for span in self.spans if span.kind == span.SPAN_KIND_SERVER]

    def children(self, parent):
        """The spans below one."""
        return [span for span in self.spans if span.parent_span_id == parent.span_id]


def attributes_of(span):
    """The attributes of a span or a resource, as Python values."""
    return {each.key: _value(each.value) for each in span.attributes}


def _value(value):
    if value.WhichOneof("value") == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, value.WhichOneof("value"))
