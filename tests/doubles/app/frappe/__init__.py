"""The app double: what of Frappe a host's tools meet, answered from MariaDB, the site folder and Redis alone.

Not Frappe. This package has the names, the tables, the exit codes and the faults of the real one where Lifeboat
looks, and nothing where it does not. It keeps no state: stop it, restore another database under it, and it answers
from that.

Per thread there is one `local`: the site, its configuration, the database connection, the user.
"""
import json
import os
import re
import secrets
import threading
import traceback
import types

from .exceptions import *  # noqa: F403
from .exceptions import AuthenticationError, DoesNotExistError, IncorrectSitePath, PermissionError, ValidationError

__version__ = os.environ.get("FRAPPE_VERSION", "15.101.1")
local = threading.local()
# Errors of the client libraries, so that a caller need not import them.
LOCAL_NAMES = ("db", "conf", "session", "flags", "form_dict", "response", "request", "site")


class _dict(dict):
    """A dict whose keys are attributes; None for what is not there."""

    __getattr__ = dict.get
    __setattr__ = dict.__setitem__

    def update(self, *args, **kwargs):
        super().update(*args, **kwargs)
        return self

    def copy(self):
        return _dict(self)


def __getattr__(name):
    if name in LOCAL_NAMES:
        return getattr(local, name, None)
    raise AttributeError(f"the app double has no frappe.{name}")


def _(text, *_args, **_kwargs):
    return text


def init(site, sites_path=".", force=False):
    """Reads the site's configuration; connects to nothing."""
    from .installer import get_site_config
    local.site, local.sites_path = site, sites_path
    local.site_path = os.path.join(sites_path, site) if site else sites_path
    local.db = None
    local.flags, local.form_dict, local.response = _dict(), _dict(), _dict()
    local.request = None
    local.conf = get_site_config(sites_path, local.site_path if site else None)
    local.session = _dict(user="Guest", sid="Guest")
    local.meta = {}


def connect(site=None, set_admin_as_user=True):
    """Connects to the site's database as its own account."""
    from .database import Database
    if site:
        init(site)
    if not local.conf.get("db_name"):
        raise IncorrectSitePath(f"{local.site} does not exist")
    local.db = Database(local.conf)
    if set_admin_as_user:
        set_user("Administrator")


def destroy():
    if getattr(local, "db", None):
        local.db.close()
    local.db = None


class init_site:
    """`with init_site(site)`: for commands that look at configuration only."""

    def __init__(self, site=None):
        init(site or "")

    def __enter__(self):
        return local

    def __exit__(self, *_):
        destroy()


def set_user(user):
    local.session = _dict(user=user, sid=user)


def get_conf():
    return local.conf


def get_site_path(*parts):
    return os.path.join(local.site_path, *parts)


def throw(message, exc=ValidationError, title=None):
    raise exc(message)


def scrub(text):
    return text.replace(" ", "_").replace("-", "_").lower()


def generate_hash(txt=None, length=56):
    return secrets.token_hex((length + 1) // 2)[:length]


def parse_json(value):
    return json.loads(value) if isinstance(value, str) else value


def as_json(value, indent=1):
    return json.dumps(value, indent=indent, sort_keys=True, default=str)


def get_traceback():
    return traceback.format_exc()


def get_doc(*args, **kwargs):
    from .model.document import get_doc
    return get_doc(*args, **kwargs)


def new_doc(doctype, **values):
    return get_doc({"doctype": doctype, **values})


def get_single(doctype):
    return get_doc(doctype, doctype)


get_cached_doc = get_doc


def get_last_doc(doctype):
    names = get_all(doctype, order_by="creation desc", limit=1, pluck="name")
    return get_doc(doctype, names[0]) if names else throw(f"no {doctype}", DoesNotExistError)


def get_all(doctype, **options):
    from .model.query import get_all
    return get_all(doctype, **options)


get_list = get_all


def delete_doc(doctype, name, **_options):
    get_doc(doctype, name).delete()


def get_meta(doctype):
    from .model.meta import get_meta
    return get_meta(doctype)


def get_value(*args, **kwargs):
    return local.db.get_value(*args, **kwargs)


def get_cached_value(*args, **kwargs):
    return local.db.get_value(*args, **kwargs)


def get_system_settings(field):
    return local.db.get_single_value("System Settings", field)


def get_roles(user=None):
    user = user or local.session.user
    if user == "Guest":
        return ["Guest"]
    roles = [r[0] for r in local.db.sql("select role from `tabHas Role` where parent=%s and parenttype='User'", user)]
    roles += ["All", "Guest"]
    return roles + (["Administrator", "System Manager"] if user == "Administrator" else [])


def only_for(roles):
    roles = (roles,) if isinstance(roles, str) else roles
    if not set(roles) & set(get_roles()):
        raise PermissionError("Not permitted")


def get_installed_apps():
    return json.loads(local.db.get_default("installed_apps", "__global") or "[]")


def is_setup_complete():
    """Every installed app's wizard has been run."""
    return not local.db.sql("select name from `tabInstalled Application` where app_name in ('frappe', 'erpnext') "
                            "and is_setup_complete = 0 limit 1")


def clear_cache(user=None, doctype=None):
    """Forgets what this process and the cache hold; a cache that is down is no error, as in Frappe."""
    from .utils.background_jobs import clear_site_cache
    local.meta = {}
    clear_site_cache()


def enqueue(method, queue="default", **kwargs):
    from .utils.background_jobs import enqueue
    return enqueue(method, queue, **kwargs)


def get_attr(path):
    """The object that a dotted path names; it must be one of the double's own modules."""
    import importlib
    module, name = path.rsplit(".", 1)
    if not re.fullmatch(r"(frappe|erpnext)(\.\w+)*", module):
        raise ModuleNotFoundError(f"No module named '{module}'")
    return getattr(importlib.import_module(module), name)


def whitelist(allow_guest=False, methods=None):
    """Marks a function as callable over HTTP."""
    def mark(function):
        function.whitelisted, function.allow_guest = True, allow_guest
        return function
    return mark


defaults = types.SimpleNamespace(
    get_global_default=lambda key: local.db.get_default(key),
    set_global_default=lambda key, value: local.db.set_default(key, value))
