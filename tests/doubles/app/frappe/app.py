"""App double: the backend's HTTP: a site by header or Host, then one connection and one transaction a request."""
import email.parser
import email.policy
import http.cookies
import json
import os
import re
import sys
import traceback
import urllib.parse

import frappe
from frappe import SessionStopped, api, auth, www
from frappe.server import Answer, serve
from frappe.utils import cint


def respond(request):
    """The answer to one request, whatever happens in it."""
    try:
        answer = handle(request)
        if frappe.local.db:
            frappe.local.db.commit()
        return answer
    except Exception as e:
        status = getattr(e, "http_status_code", 500)
        if status == 500:
            traceback.print_exc(limit=4)
        kind = type(e).__name__
        body = {"exc_type": kind, "exception": f"{type(e).__module__}.{kind}: {e}"}
        if status == 401:
            body["message"] = str(e)
        return as_json(status, body)
    finally:
        # What was not committed is rolled back with the connection.
        frappe.destroy()


def as_json(status, body, headers=None):
    return Answer(status, {"Content-Type": "application/json", **(headers or {})},
                  json.dumps(body, default=str).encode())


def handle(request):
    site = request.headers.get("X-Frappe-Site-Name") or request.headers.get("Host", "").rsplit(":", 1)[0]
    known = re.fullmatch(r"[\w.-]+", site) and site not in (".", "..")
    frappe.init(site if known else "")
    if not known or not frappe.conf.get("db_name"):
        return Answer(404, {"Content-Type": "text/html"}, b"<h1>Not Found</h1>")
    reads = request.verb in ("GET", "HEAD") and cint(frappe.conf.get("allow_reads_during_maintenance"))
    if cint(frappe.conf.get("maintenance_mode")) and not reads:
        raise SessionStopped("Session Stopped")
    frappe.connect(set_admin_as_user=False)
    cookies = {k: m.value for k, m in http.cookies.SimpleCookie(request.headers.get("Cookie", "")).items()}
    auth.authenticate(request.headers, cookies)
    path, query = urllib.parse.unquote(request.path), dict(urllib.parse.parse_qsl(request.query))
    if path.startswith("/private/files/"):
        accelerated = bool(request.headers.get("X-Use-X-Accel-Redirect"))
        return Answer(*www.private_file(path, accelerated))
    if not path.startswith("/api/"):
        status, headers, text = www.page(path)
        return Answer(status, {"Content-Type": "text/html; charset=utf-8", **headers}, text.encode())
    return below_api(request, path, query, cookies)


def below_api(request, path, query, cookies):
    form = {**query, **read_form(request)}
    parts = path.strip("/").split("/")[1:]
    data = "message"
    if parts and parts[0] in ("v1", "v2"):
        data = "data" if parts.pop(0) == "v2" else data
    if parts[:1] == ["method"] and len(parts) >= 2:
        if parts[1] == "login":
            answer, sid = auth.login(form)
            return as_json(200, answer, {"Set-Cookie": f"sid={sid}; HttpOnly; Path=/; SameSite=Lax"})
        if parts[1] == "logout":
            auth.logout(cookies.get("sid"))
            return as_json(200, {})
        result = api.call(parts[1], form)
        return as_json(200, {} if result is None else {data: result})
    if parts[:1] == ["resource"] and len(parts) >= 2:
        name = "/".join(parts[2:]) or None
        return as_json(*api.resource(request.verb, parts[1], name, form, query))
    return as_json(404, {"exc_type": "DoesNotExistError"})


def read_form(request):
    """Fields of a form, a JSON object or a multipart body; a file is (name, bytes)."""
    kind = request.headers.get("Content-Type", "")
    if kind.startswith("application/json") and request.body:
        value = json.loads(request.body)
        return value if isinstance(value, dict) else {"data": value}
    if kind.startswith("multipart/form-data"):
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
        return dict(map(part_of_form, message.iter_parts()))
    return dict(urllib.parse.parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def part_of_form(part):
    name = part.get_param("name", header="content-disposition")
    content = part.get_payload(decode=True) or b""
    return (name, (part.get_filename(), content)) if part.get_filename() else (name, content.decode())


if __name__ == "__main__":
    # What is made here is group-writable, as the entrypoint's umask has it.
    os.umask(0o002)
    serve(int(sys.argv[1]), respond, "backend")
