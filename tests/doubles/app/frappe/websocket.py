"""App double: the websocket role: its port is open and socket.io's first request is answered, no more."""
import json

import frappe
from frappe.server import Answer, serve


def respond(request):
    if not request.path.startswith("/socket.io"):
        return Answer(404, {}, b"")
    if "transport=polling" not in request.query:
        return Answer(400, {"Content-Type": "application/json"}, json.dumps({"code": 0, "message": "Transport unknown"}).encode())
    return Answer(200, {"Content-Type": "text/plain"}, b'0{"sid":"double","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')


if __name__ == "__main__":
    frappe.init("")
    serve(int(frappe.conf.get("socketio_port") or 9000), respond, "websocket")
