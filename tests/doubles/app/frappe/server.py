"""App double: a small HTTP/1.1 server of threads, for backend, frontend and websocket alike."""
import http.server
import os
import signal
import urllib.parse


class Request:
    def __init__(self, handler, body):
        url = urllib.parse.urlsplit(handler.path)
        self.verb, self.path, self.query = handler.command, url.path, url.query
        self.target, self.headers, self.body = handler.path, handler.headers, body


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


def serve(port, respond, role):
    """Answers on all addresses until a signal says stop."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "app-double", ""

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = respond(Request(self, body))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, format, *args):
            # Without the query: it may hold what is secret.
            print(f"{role}: {self.command} {self.path.split('?')[0]} {args[1] if len(args) > 1 else ''}", flush=True)

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads, request_queue_size = True, 128

    # Process 1 of a container has no default action for these.
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(s, lambda *_: os._exit(0))
    print(f"{role}: listening on {port}", flush=True)
    Server(("0.0.0.0", port), Handler).serve_forever()
