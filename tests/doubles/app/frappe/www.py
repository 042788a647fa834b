"""App double: pages: login with the buttons of single sign-on, the desk, files behind a login."""
import html
import os
import urllib.parse

import frappe
from frappe import PermissionError


def providers():
    """Login buttons. Each enabled provider's secret is opened, so that a wrong encryption_key breaks the page."""
    found = []
    for key in frappe.get_all("Social Login Key", filters={"enable_social_login": 1}, order_by="name",
                              fields=["name", "provider_name", "client_id", "base_url", "authorize_url", "redirect_url"]):
        frappe.get_doc("Social Login Key", key.name).get_password("client_secret")
        url = key.authorize_url or ""
        url = url if url.startswith("http") else (key.base_url or "") + url
        query = urllib.parse.urlencode({"client_id": key.client_id, "response_type": "code",
                                        "redirect_uri": frappe.utils.get_url() + (key.redirect_url or "")})
        found.append(f'<a class="btn btn-login-option btn-{html.escape(key.name)}" '
                     f'href="{html.escape(url + "?" + query)}">Login with {html.escape(key.provider_name)}</a>')
    return "\n".join(found)


def login_page():
    s = frappe.db.get_singles_dict("Website Settings")
    password = "" if frappe.get_system_settings("disable_user_pass_login") else '<input type="password" id="login_password">'
    icon = f'<link rel="shortcut icon" href="{html.escape(s.favicon)}">' if s.favicon else ""
    logo = f'<img class="app-logo" src="{html.escape(s.app_logo)}">' if s.app_logo else ""
    return (f"<!DOCTYPE html><html><head><title>Login</title>{icon}\n{s.head_html or ''}</head>"
            f"<body class=\"for-login\">{logo}<h4>Login to {html.escape(s.app_name or 'Frappe')}</h4>"
            f"{password}\n{providers()}</body></html>")


def desk():
    return f"<!DOCTYPE html><html><body data-user=\"{html.escape(frappe.session.user)}\">desk</body></html>"


def page(path):
    """(status, headers, text) of a path outside /api and the files."""
    guest = frappe.session.user == "Guest"
    if path in ("/login", "/") and (guest or path == "/login"):
        return 200, {}, login_page()
    if path == "/app" or path.startswith("/app/") or path == "/":
        if guest:
            return 302, {"Location": "/login?redirect-to=" + urllib.parse.quote(path, safe="")}, ""
        return 200, {}, desk()
    if path == "/robots.txt":
        return 200, {}, frappe.db.get_singles_dict("Website Settings").robots_txt or ""
    return 404, {}, "<!DOCTYPE html><html><body>Not Found</body></html>"


def private_file(path, accelerated):
    """(status, headers, body) of /private/files/…: behind nginx only a header that names the file."""
    if not frappe.get_all("File", filters={"file_url": path}, limit=1):
        return 404, {}, b""
    if frappe.session.user == "Guest":
        raise PermissionError("You don't have permission to access this file")
    if accelerated:
        return 200, {"X-Accel-Redirect": urllib.parse.quote("/protected" + path)}, b""
    full = frappe.local.site_path + path
    if not os.path.isfile(full):
        return 404, {}, b""
    with open(full, "rb") as f:
        return 200, {"Content-Type": "application/octet-stream"}, f.read()
