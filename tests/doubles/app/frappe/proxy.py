"""App double: the frontend: public files from the volume, private ones when the backend says so, the rest passed on."""
import http.client
import mimetypes
import os
import sys
import urllib.parse

from frappe.server import Answer, serve

BACKEND = os.environ.get("BACKEND") or "0.0.0.0:8000"
SOCKETIO = os.environ.get("SOCKETIO") or "0.0.0.0:9000"
SITE_HEADER = os.environ.get("FRAPPE_SITE_NAME_HEADER") or "$host"
TIMEOUT = int(os.environ.get("PROXY_READ_TIMEOUT") or 120)
LIMIT = os.environ.get("CLIENT_MAX_BODY_SIZE") or "50m"
HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host", "content-length"}


def size(text):
    unit = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}.get(text[-1:].lower())
    return int(text[:-1]) * unit if unit else int(text)


def host_of(request):
    return request.headers.get("Host", "").rsplit(":", 1)[0].lower()


def respond(request):
    site = host_of(request) if SITE_HEADER == "$host" else SITE_HEADER
    if len(request.body) > size(LIMIT):
        return page(413)
    path = urllib.parse.unquote(request.path)
    if path.startswith("/socket.io"):
        return passed_on(request, site, SOCKETIO)
    if path != "/" and path.endswith("/") and not path.startswith("/assets"):
        query = "?" + request.query if request.query else ""
        return Answer(301, {"Location": request.path.rstrip("/") + query}, b"")
    if path.startswith("/protected/"):
        return page(404)
    found = static("assets", path.removeprefix("/assets")) if path.startswith("/assets/") else \
        static(f"{site}/public", path)
    return found or passed_on(request, site, BACKEND)


def static(folder, path):
    """A file below the folder; none where there is none, or where the path leads out of it."""
    root = os.path.realpath(folder)
    full = os.path.realpath(root + "/" + path.lstrip("/"))
    if not full.startswith(root + "/") or not os.path.isfile(full):
        return None
    with open(full, "rb") as f:
        body = f.read()
    headers = {"Content-Type": mimetypes.guess_type(full)[0] or "application/octet-stream"}
    if full.endswith((".htm", ".html", ".svg", ".xml")) and path.startswith("/files/"):
        headers["Content-Disposition"] = "attachment"
    return Answer(200, headers, body)


def passed_on(request, site, upstream):
    host, _, port = upstream.rpartition(":")
    headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP}
    headers.update({"Host": host_of(request), "X-Frappe-Site-Name": site, "X-Use-X-Accel-Redirect": "True",
                    "X-Forwarded-Proto": "https" if request.headers.get("X-Forwarded-Proto") == "https" else "http"})
    upstream = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
    try:
        upstream.request(request.verb, request.target, body=request.body or None, headers=headers)
        answer = upstream.getresponse()
        body = answer.read()
    except TimeoutError:
        return page(504)
    except (OSError, http.client.HTTPException):
        return page(502)
    finally:
        upstream.close()
    inner = answer.getheader("X-Accel-Redirect")
    if inner:
        file = urllib.parse.unquote(inner).removeprefix("/protected/")
        return static(site, file) or page(404)
    kept = {k: v for k, v in answer.getheaders() if k.lower() not in HOP and k.lower() not in ("server", "date")}
    return Answer(answer.status, kept, body)


def page(status):
    return Answer(status, {"Content-Type": "text/html"}, f"<h1>{status}</h1>".encode())


if __name__ == "__main__":
    serve(int(sys.argv[1]), respond, "frontend")
