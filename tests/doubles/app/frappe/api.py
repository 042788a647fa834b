"""App double: what is below /api: methods, and documents as resources."""
import json

import frappe
from frappe import DoesNotExistError, PermissionError, ValidationError

# Methods that need no module of their own: name -> (function, also for guests).
METHODS = {}


def method(name, guest=False):
    def add(function):
        METHODS[name] = (function, guest)
        return function
    return add


@method("ping", guest=True)
def ping(_form):
    return "pong"


@method("frappe.auth.get_logged_user")
def get_logged_user(_form):
    return frappe.session.user


@method("frappe.client.get_count")
def get_count(form):
    return frappe.db.count(form["doctype"], frappe.parse_json(form.get("filters") or "{}"))


@method("frappe.client.get_value")
def get_value(form):
    return frappe.db.get_value(form["doctype"], frappe.parse_json(form.get("filters") or "{}"),
                               frappe.parse_json(form["fieldname"]) if form["fieldname"].startswith("[")
                               else form["fieldname"], as_dict=True)


@method("frappe.utils.change_log.get_versions")
def get_versions(_form):
    return {app: {"title": app.capitalize(), "version": version, "branch": "version-15"} for app, version in
            frappe.db.sql("select app_name, app_version from `tabInstalled Application`")}


@method("upload_file")
def upload_file(form):
    if "file" not in form and not form.get("file_url"):
        raise ValidationError("No file attached")
    name, content = form.get("file", (form.get("file_name"), None))
    return frappe.get_doc({
        "doctype": "File", "file_name": form.get("file_name") or name, "content": content,
        "file_url": form.get("file_url"), "is_private": int(form.get("is_private") or 0),
        "attached_to_doctype": form.get("doctype"), "attached_to_name": form.get("docname"),
        "attached_to_field": form.get("fieldname"), "folder": form.get("folder") or "Home"}).insert().as_dict()


def call(name, form):
    """A whitelisted method by its name; guests may call few."""
    if name in METHODS:
        function, guest = METHODS[name]
        if frappe.session.user == "Guest" and not guest:
            raise PermissionError("Login to access")
        return function(form)
    try:
        function = frappe.get_attr(name)
    except (ModuleNotFoundError, AttributeError, ValueError):
        raise ValidationError(f"Failed to get method for command {name}") from None
    if not getattr(function, "whitelisted", False) or (
            frappe.session.user == "Guest" and not function.allow_guest):
        raise PermissionError(f"Function {name} is not whitelisted.")
    return function(**{k: v for k, v in form.items() if k not in ("cmd", "data")})


def must_be_desk_user(doctype):
    user = frappe.session.user
    if user != "Administrator" and frappe.db.get_value("User", user, "user_type") != "System User":
        raise PermissionError(f"User {user} does not have doctype access via role permission for document {doctype}")


def resource(verb, doctype, name, form, query):
    """(status, body) of /api/resource/<doctype>[/<name>]."""
    must_be_desk_user(doctype)
    meta = frappe.get_meta(doctype)
    if name is None and verb == "GET":
        options = {k: json.loads(query[k]) for k in ("filters", "fields") if query.get(k)}
        rows = frappe.get_all(doctype, **options, order_by=query.get("order_by"),
                              limit=int(query.get("limit_page_length") or query.get("limit") or 20),
                              limit_start=int(query.get("limit_start") or 0))
        return 200, {"data": rows}
    values = {k: v for k, v in body(form).items() if k not in ("doctype", "name", "flags")}
    if name is None and verb == "POST":
        doc = frappe.get_doc({"doctype": doctype, **body(form)}).insert()
        return 200, {"data": doc.as_dict()}
    if name is None:
        raise DoesNotExistError(f"{verb} needs a name")
    doc = frappe.get_doc(doctype, doctype if meta.issingle else name)
    if verb == "PUT":
        return 200, {"data": doc.update(values).save().as_dict()}
    if verb == "DELETE":
        doc.delete()
        return 202, {"message": "ok"}
    return 200, {"data": doc.as_dict()}


def body(form):
    return frappe.parse_json(form["data"]) if "data" in form else form
