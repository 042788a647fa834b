"""App double: configuration files, and the making and removing of sites."""
import getpass
import hashlib
import json
import os
import shutil
import sys

import pymysql

import frappe
from frappe import _dict
from frappe.database import address, quoted

FOLDERS = ("public/files", "private/files", "private/backups", "locks", "logs")
INSTALLABLE = ("frappe", "erpnext")


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def get_site_config(sites_path, site_path):
    """The bench's configuration, the site's over it, the environment over both."""
    conf = _dict()
    for path in (os.path.join(sites_path, "common_site_config.json"),
                 os.path.join(site_path, "site_config.json") if site_path else ""):
        if path and os.path.isfile(path):
            conf.update(read_json(path))
    for key, name in (("redis_queue", "FRAPPE_REDIS_QUEUE"), ("redis_cache", "FRAPPE_REDIS_CACHE"),
                      ("db_host", "FRAPPE_DB_HOST"), ("db_port", "FRAPPE_DB_PORT")):
        if os.environ.get(name):
            conf[key] = os.environ[name]
    return conf


def update_site_config(key, value, validate=True, site_config_path=None):
    """Rewrites the file in place, as Frappe does: "0" and "1" become numbers, "None" takes the key away."""
    path = site_config_path or os.path.join(frappe.local.site_path, "site_config.json")
    config = read_json(path)
    if value in ("0", "1"):
        value = int(value)
    elif value in ("false", "true"):
        value = value == "true"
    if value in ("None", None):
        config.pop(key, None)
    else:
        config[key] = value
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(config, indent=1, sort_keys=True))
    if getattr(frappe.local, "conf", None) is not None and not site_config_path:
        frappe.local.conf[key] = value


def make_site_dirs(site):
    for folder in FOLDERS:
        os.makedirs(os.path.join(site, folder), exist_ok=True)


def default_db_name(site):
    return "_" + hashlib.sha1(os.path.realpath(site).encode()).hexdigest()[:16]


def root_connection(username, password):
    password = password or frappe.conf.get("root_password") or getpass.getpass("MySQL root password: ")
    return pymysql.connect(**address(frappe.conf), user=username or frappe.conf.get("root_login") or "root",
                           password=password, charset="utf8mb4", connect_timeout=10, autocommit=True)


def new_site(site, options):
    """Makes folder, configuration, database, account and tables. What fails half-way leaves the half behind."""
    if os.path.exists(site) and not options.force:
        print(f"Site {site} already exists, use `--force` to proceed anyway")
        sys.exit(1)
    frappe.init(site)
    name = options.db_name or frappe.conf.get("db_name") or default_db_name(site)
    make_site_dirs(site)
    path = os.path.join(site, "site_config.json")
    config = read_json(path) if os.path.isfile(path) else {}
    config.update(db_name=name, db_type="mariadb",
                  db_password=options.db_password or config.get("db_password") or frappe.generate_hash(length=16))
    if frappe.__version__ >= "16":
        config["db_user"] = getattr(options, "db_user", None) or config.get("db_user") or name
    for key in ("db_host", "db_port"):
        if getattr(options, key):
            config[key] = getattr(options, key)
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(config, indent=1, sort_keys=True))
    frappe.init(site)
    if not options.no_setup_db:
        make_database(config, options)
    print("\nInstalling frappe...")
    frappe.connect()
    from . import schema
    schema.install_frappe()
    from .utils.password import update_password
    update_password("Administrator", admin_password(options.admin_password))
    for app in options.install_app or ():
        install_app(app)
    frappe.db.commit()
    print("*** Scheduler is disabled ***")
    if options.set_default:
        use(site)
    frappe.destroy()


def make_database(config, options):
    root = root_connection(options.db_root_username, options.db_root_password)
    name, user = config["db_name"], config.get("db_user") or config["db_name"]
    with root.cursor() as cursor:
        cursor.execute("select schema_name from information_schema.schemata where schema_name=%s", name)
        if cursor.fetchone():
            if not options.force:
                print(f"Database {name} already exists, please use `--force` to drop it")
                sys.exit(1)
            cursor.execute(f"drop database {quoted(name)}")
        host = options.host_scope
        if host is None:
            # Without a scope the account is bound to the address this container has just now.
            cursor.execute("select substring_index(user(), '@', -1)")
            host = cursor.fetchone()[0]
        if frappe.__version__ >= "16":
            # An account that is there keeps its password.
            cursor.execute("create user if not exists %s@%s identified by %s", (user, host, config["db_password"]))
        else:
            cursor.execute("drop user if exists %s@%s", (user, host))
            cursor.execute("create user %s@%s identified by %s", (user, host, config["db_password"]))
        cursor.execute(f"create database {quoted(name)} character set utf8mb4 collate utf8mb4_unicode_ci")
        cursor.execute(f"grant all privileges on {quoted(name)}.* to %s@%s", (user, host))
        cursor.execute("flush privileges")
    root.close()


def admin_password(given):
    given = frappe.conf.get("admin_password") or given
    while not given:
        first = getpass.getpass("Set Administrator password: ")
        if first == getpass.getpass("Re-enter Administrator password: "):
            given = first
        else:
            print("\nPasswords do not match")
    return given


def install_app(app):
    from . import schema
    if app not in INSTALLABLE:
        raise ModuleNotFoundError(f"No module named '{app}'")
    if app in frappe.get_installed_apps():
        print(f"App {app} already installed")
        return
    print(f"\nInstalling {app}...")
    schema.install_erpnext()
    frappe.db.commit()


def use(site):
    with open("currentsite.txt", "w", encoding="utf-8") as f:
        f.write(site)
    print(f"Current Site set to {site}")


def drop_site(site, options):
    """Drops database and account, and moves the folder to the archive."""
    frappe.init(site)
    if not options.no_backup and not options.force:
        print(f"Error: The operation has stopped because backup of {site}'s database failed.")
        print("Reason: the app double takes no backups; say --no-backup")
        sys.exit(1)
    root = root_connection(options.db_root_username, options.db_root_password)
    user = frappe.conf.get("db_user") or frappe.conf.db_name
    with root.cursor() as cursor:
        cursor.execute("select host from mysql.user where user=%s", user)
        for (host,) in cursor.fetchall():
            cursor.execute("drop user %s@%s", (user, host))
        cursor.execute(f"drop database if exists {quoted(frappe.conf.db_name)}")
    root.close()
    archive = options.archived_sites_path or os.path.join("..", "archived", "sites")
    os.makedirs(archive, exist_ok=True)
    target, n = os.path.join(archive, site), 0
    while os.path.exists(target + (str(n) if n else "")):
        n += 1
    shutil.move(site, target + (str(n) if n else ""))
