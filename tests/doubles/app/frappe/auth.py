"""App double: who asks: a session by cookie, an API key, or nobody."""
import base64
import hmac
import json

import frappe
from frappe import AuthenticationError, generate_hash
from frappe.utils import cint, now
from frappe.utils.password import check_password, get_decrypted_password


def authenticate(headers, cookies):
    """Sets the session's user. A wrong key is refused, also where a guest would be let in."""
    frappe.set_user("Guest")
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "token":
        by_key(*value.partition(":")[::2])
    elif scheme.lower() == "basic":
        by_key(*base64.b64decode(value).decode().partition(":")[::2])
    elif cookies.get("sid") not in (None, "", "Guest"):
        rows = frappe.db.sql("select user from `tabSessions` where sid=%s", cookies["sid"])
        if rows and enabled(rows[0][0]):
            frappe.set_user(rows[0][0])


def enabled(user):
    return user == "Administrator" or bool(cint(frappe.db.get_value("User", user, "enabled")))


def by_key(api_key, api_secret):
    user = frappe.db.get_value("User", {"api_key": api_key, "enabled": 1}) if api_key else None
    if not user:
        raise AuthenticationError("Invalid API key")
    try:
        secret = get_decrypted_password("User", user, "api_secret")
    except frappe.ValidationError as e:
        # The site's encryption_key does not open it: 401, with what Frappe says of the key.
        raise AuthenticationError(str(e)) from None
    if not hmac.compare_digest(secret, api_secret):
        raise AuthenticationError("Invalid API secret")
    frappe.set_user(user)


def login(form):
    """Checks the password against `__Auth` and stores a session. Returns (answer, sid)."""
    if cint(frappe.get_system_settings("disable_user_pass_login")):
        raise AuthenticationError("Login with username and password is not allowed.")
    user = check_password(form.get("usr") or "", form.get("pwd") or "")
    if not enabled(user):
        raise AuthenticationError("User disabled or missing")
    sid = generate_hash(length=56)
    frappe.db.insert("Sessions", {"user": user, "sid": sid, "sessiondata": json.dumps({"user": user}),
                                  "lastupdate": now(), "status": "Active", "ipaddress": "127.0.0.1"})
    kind, full_name = frappe.db.get_value("User", user, ["user_type", "full_name"]) or ("System User", user)
    frappe.db.sql("update `tabUser` set last_active=%s where name=%s", (now(), user))
    remember(user)
    frappe.set_user(user)
    desk = kind == "System User"
    return {"message": "Logged In" if desk else "No App", "home_page": "/app" if desk else "/",
            "full_name": full_name}, sid


def remember(user):
    """As Frappe does, keeps something of the session in the cache; a cache that is down is no error."""
    import redis

    from frappe.utils.background_jobs import get_cache
    cache = get_cache()
    try:
        if cache:
            cache.hset(f"{frappe.conf.db_name}|bootinfo", user, json.dumps({"user": user}))
    except redis.exceptions.RedisError:
        pass


def logout(sid):
    frappe.db.sql("delete from `tabSessions` where sid=%s", sid)
