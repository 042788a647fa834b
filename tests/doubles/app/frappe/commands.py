"""App double: bench's commands: their options, words and exit codes."""
import argparse
import ast
import code
import json
import os
import sys

import frappe
from frappe import installer
from frappe.utils import get_sites

COMMANDS = {}




def command(name, *options):
    """Registers a command with its options, each (names, settings)."""
    def add(function):
        parser = argparse.ArgumentParser(prog=f"bench {name}", description=(function.__doc__ or "").strip(),
                                         allow_abbrev=False)
        parser.add_argument("--site", dest="own_site", help="site name")
        for names, settings in options:
            parser.add_argument(*names, **settings)
        COMMANDS[name] = (function, parser)
        return function
    return add


def opt(*names, **settings):
    return names, settings


def flag(*names, **settings):
    return names, {"action": "store_true", **settings}


def version_at_least(*wanted):
    return tuple(int(n) for n in frappe.__version__.split(".")[:2]) >= wanted


ROOT = (opt("--db-root-username", "--mariadb-root-username"), opt("--db-root-password", "--mariadb-root-password"))
# Which option frees the account from this container's address is a matter of the version.
SCOPE = [flag("--no-mariadb-socket", help="[DEPRECATED] set the host of the account to %% and use TCP/IP")]
if version_at_least(15, 47):
    SCOPE.append(opt("--mariadb-user-host-login-scope", help="Set the mariadb host for the user login scope"))
if version_at_least(16, 0):
    SCOPE = [*SCOPE[1:], opt("--db-user")]


@command("new-site", opt("site"), opt("--db-name"), opt("--db-password"), opt("--db-type", default="mariadb"),
         opt("--db-host"), opt("--db-port", type=int), *ROOT, *SCOPE, opt("--admin-password"),
         opt("--install-app", action="append"), opt("--source-sql", "--source_sql"), flag("--force"), flag("--verbose"),
         flag("--set-default"), flag("--no-setup-db"))
def new_site(a):
    """Create a new site"""
    scope = getattr(a, "mariadb_user_host_login_scope", None)
    a.host_scope = scope or ("%" if getattr(a, "no_mariadb_socket", False) else None)
    installer.new_site(a.site, a)


@command("drop-site", opt("site"), *ROOT, opt("--archived-sites-path"), flag("--no-backup"), flag("--force"))
def drop_site(a):
    """Remove a site from the database and filesystem"""
    must_exist(a.site)
    installer.drop_site(a.site, a)


@command("use", opt("site"))
def use(a):
    """Set a default site"""
    if not os.path.exists(a.site):
        print(f"Site {a.site} does not exist")
        sys.exit(1)
    installer.use(a.site)


@command("install-app", opt("apps", nargs="+"), flag("--force"))
def install_app(a):
    """Install a new app to site"""
    for _site in connected(a):
        for app in a.apps:
            installer.install_app(app)


@command("list-apps", opt("--format", "-f", default="text"))
def list_apps(a):
    """List apps in site"""
    found = {}
    for site in connected(a):
        rows = frappe.db.sql("select app_name, app_version from `tabInstalled Application` order by idx")
        found[site] = [app for app, _ in rows]
        if a.format == "text":
            print("\n".join(f"{app} {version} UNVERSIONED" for app, version in rows))
    if a.format == "json":
        print(json.dumps(found))


@command("version", opt("--format", "-f", default="legacy"))
def version(a):
    """Show the versions of all the installed apps"""
    import erpnext
    rows = [("erpnext", erpnext.__version__), ("frappe", frappe.__version__)]
    if a.format == "json":
        print(json.dumps([{"app": app, "branch": "", "commit": "", "version": v} for app, v in rows], indent=4))
    else:
        print("\n".join(f"{app} {v}" for app, v in rows))


@command("show-config", opt("--format", "-f", default="text"))
def show_config(a):
    """Print configuration file to STDOUT in specified format"""
    found = {}
    for site in sites(a):
        frappe.init(site)
        found[site] = dict(frappe.conf)
    for site, conf in found.items() if a.format == "text" else ():
        print(site, *(f"{k}\t{v}" for k, v in sorted(conf.items())), sep="\n")
    if a.format == "json":
        print(json.dumps(found, indent=4, sort_keys=True))


@command("set-config", opt("key"), opt("value"), flag("-g", "--global", dest="common"), flag("-p", "--parse"),
         flag("--as-dict"))
def set_config(a):
    """Insert/Update a value in site_config.json"""
    # A bare word is no literal: the traceback and the exit code 1 are Frappe's too.
    value = ast.literal_eval(a.value) if a.parse or a.as_dict else a.value
    if a.common:
        frappe.init("")
        installer.update_site_config(a.key, value, site_config_path="common_site_config.json")
        return
    for site in sites(a):
        frappe.init(site)
        installer.update_site_config(a.key, value)


@command("migrate", flag("--skip-failing"), flag("--skip-search-index"))
def migrate(a):
    """Run patches, sync schema and rebuild files/translations"""
    import redis

    from frappe.utils.background_jobs import get_cache
    for site in connected(a):
        try:
            get_cache().ping()
        except redis.exceptions.RedisError:
            print("Service redis_cache is not running. Cannot run migrations")
            sys.exit(1)
        print("Migrating", site)
        with lock(site, "bench_migrate"):
            frappe.clear_cache()
            if not a.skip_search_index:
                frappe.enqueue("frappe.search.website_search.build_index_for_all_routes", "long")
        print(f"Queued rebuilding of search index for {site}")


class lock:
    """A lock file of the site, held while a command works."""

    def __init__(self, site, name):
        self.path = os.path.join(site, "locks", name + ".lock")

    def __enter__(self):
        with open(self.path, "w", encoding="utf-8"):
            pass

    def __exit__(self, *_):
        os.remove(self.path)


@command("ready-for-migration")
def ready_for_migration(a):
    """Exit with 1 when jobs are pending"""
    from frappe.utils.background_jobs import get_queue_list, get_redis_conn, jobs
    site = one_site(a)
    frappe.init(site)
    conn = get_redis_conn()
    if any(jobs(conn, queue, site) for queue in get_queue_list()):
        print(f"NOT READY for migration: site {site} has pending background jobs")
        sys.exit(1)
    print(f"READY for migration: site {site} does not have any background jobs")


@command("purge-jobs", opt("--queue"), opt("--event"))
def purge_jobs(a):
    """Purge any pending periodic tasks"""
    from frappe.utils.background_jobs import get_redis_conn, purge
    frappe.init(a.chosen or "")
    print(f"Purged {purge(get_redis_conn(), a.chosen, a.queue)} jobs")


@command("doctor")
def doctor(a):
    """Get diagnostic info about background workers"""
    from frappe.utils.doctor import doctor as look
    look(site=one_site(a, required=False))


@command("enable-scheduler")
def enable_scheduler(a):
    """Enable scheduler"""
    from frappe.utils import scheduler
    for site in connected(a):
        scheduler.enable_scheduler()
        print("Enabled for", site)


@command("disable-scheduler")
def disable_scheduler(a):
    """Disable scheduler"""
    from frappe.utils import scheduler
    for site in connected(a):
        scheduler.disable_scheduler()
        print("Disabled for", site)


@command("scheduler", opt("state", choices=("pause", "resume", "disable", "enable", "status")),
         opt("--format", "-f", default="text", choices=("json", "text")), flag("--verbose", "-v"))
def scheduler(a):
    """Control scheduler state"""
    from frappe.utils.scheduler import is_scheduler_inactive, toggle_scheduler
    site = one_site(a)
    frappe.init(site)
    status = f"{a.state}d"
    if a.state in ("pause", "resume"):
        installer.update_site_config("pause_scheduler", a.state == "pause")
    else:
        frappe.connect()
        if a.state == "status":
            status = "disabled" if is_scheduler_inactive() else "enabled"
        else:
            toggle_scheduler(a.state == "enable")
            frappe.db.commit()
    print(json.dumps({"status": status, "site": site}) if a.format == "json" else
          f"Scheduler is {status} for site {site}")


@command("set-maintenance-mode", opt("state", choices=("on", "off")))
def set_maintenance_mode(a):
    """Put the site in maintenance mode for upgrades"""
    frappe.init(one_site(a))
    installer.update_site_config("maintenance_mode", int(a.state == "on"))


def set_password(a, user):
    import getpass

    from frappe.utils.password import update_password
    site = one_site(a)
    frappe.init(site)
    while not a.password:
        a.password = getpass.getpass(f"{user}'s password for {site}: ")
    frappe.connect()
    if not frappe.db.exists("User", user):
        print(f"User {user} does not exist")
        sys.exit(1)
    update_password(user, a.password, logout_all_sessions=a.logout_all_sessions)
    frappe.db.commit()


@command("set-admin-password", opt("password", nargs="?"), flag("--logout-all-sessions"))
def set_admin_password(a):
    """Set Administrator password for a site"""
    set_password(a, "Administrator")


@command("set-password", opt("user"), opt("password", nargs="?"), flag("--logout-all-sessions"))
def set_user_password(a):
    """Set password for a user on a site"""
    set_password(a, a.user)


@command("destroy-all-sessions", opt("--reason"))
def destroy_all_sessions(a):
    """Clear sessions of all users (logs them out)"""
    for _site in connected(a):
        frappe.db.sql("delete from `tabSessions`")


def add(a, roles):
    for _site in connected(a):
        if frappe.db.exists("User", a.email):
            raise frappe.DuplicateEntryError(f"User {a.email} already exists")
        user = frappe.new_doc("User").update({
            "email": a.email, "first_name": a.first_name or a.email, "last_name": a.last_name, "enabled": 1,
            "new_password": a.password})
        for role in roles:
            user.append("roles", {"role": role})
        user.insert()


@command("add-system-manager", opt("email"), opt("--first-name"), opt("--last-name"), opt("--password"),
         flag("--send-welcome-email"))
def add_system_manager(a):
    """Add a new system manager to a site"""
    add(a, frappe_roles)


@command("add-user", opt("email"), opt("--first-name"), opt("--last-name"), opt("--password"),
         opt("--user-type"), opt("--add-role", action="append"), flag("--send-welcome-email"))
def add_user(a):
    """Add user to a site"""
    add(a, a.add_role or ())


frappe_roles = ("System Manager", "Desk User", "Website Manager")


@command("clear-cache")
def clear_cache(a):
    """Clear cache, doctype cache and defaults"""
    for _site in connected(a):
        frappe.clear_cache()


@command("clear-website-cache")
def clear_website_cache(a):
    """Clear website cache"""
    clear_cache(a)


@command("rebuild-global-search")
def rebuild_global_search(a):
    """Setup help table in the current site (called after migrate)"""
    for _site in connected(a):
        frappe.db.sql("delete from `__global_search`")
        frappe.db.sql("insert into `__global_search` (doctype, name, title, content) select 'Role', name, name, "
                      "concat('Role Name : ', name) from `tabRole`")


@command("execute", opt("method"), opt("--args"), opt("--kwargs"), flag("--profile"))
def execute(a):
    """Execute a function"""
    result = None
    for _site in connected(a):
        args = eval(a.args) if a.args else ()
        kwargs = eval(a.kwargs) if a.kwargs else {}
        try:
            result = frappe.get_attr(a.method)(*args, **kwargs)
        except Exception:
            # As in Frappe: whatever went wrong, the method is run again through eval.
            result = eval(a.method + "(*args, **kwargs)", {"frappe": frappe, "args": args, "kwargs": kwargs})
    if result:
        print(json.dumps(result, default=str))


@command("console")
def console(a):
    """Start a console for a site; what comes on standard input is run, and the exit code is 0 whatever it did"""
    for _site in connected(a, commit=False):
        code.InteractiveConsole({"frappe": frappe}).interact(banner="", exitmsg="")


@command("worker", opt("--queue"), flag("--burst"), flag("--quiet"), opt("--rq-username"), opt("--rq-password"),
         opt("--strategy"))
def worker(a):
    """Start a background worker"""
    from frappe.utils.background_jobs import get_queue_list, start_worker
    frappe.init("")
    start_worker(a.queue.split(",") if a.queue else get_queue_list(), a.burst)


@command("schedule")
def schedule(_a):
    """Start scheduler process which is responsible for enqueueing the scheduled job types"""
    import signal

    from frappe.utils.scheduler import start_scheduler
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: os._exit(0))
    start_scheduler()


def must_exist(site):
    if not os.path.isdir(site):
        print(f"Site {site} does not exist!")
        sys.exit(1)


def sites(a):
    """The sites that a command is for: the one that is named, all, or the bench's default."""
    if a.chosen == "all":
        return get_sites()
    return [one_site(a)]


def one_site(a, required=True):
    site = a.chosen
    if not site and os.path.isfile("currentsite.txt"):
        with open("currentsite.txt", encoding="utf-8") as f:
            site = f.read().strip()
    if not site:
        frappe.init("")
        site = frappe.conf.get("default_site")
    if not site and required:
        print("Please specify --site sitename")
        sys.exit(1)
    if site:
        must_exist(site)
    return site


def connected(a, commit=True):
    """Each site in turn, connected as Administrator; what a command did to it is committed after it."""
    for site in sites(a):
        frappe.init(site)
        frappe.connect()
        yield site
        if commit:
            frappe.db.commit()
        frappe.destroy()


def main(argv):
    """Global options, then a command with its own. Usage errors exit with 2, as click's do."""
    top = argparse.ArgumentParser(prog="bench", add_help=False, allow_abbrev=False)
    top.add_argument("--site")
    for name in ("--verbose", "--force", "--profile", "--help", "--version"):
        top.add_argument(name, action="store_true")
    split = next((i for i, word in enumerate(argv) if not word.startswith("-") and argv[i - 1:i] != ["--site"]), len(argv))
    given = top.parse_args(argv[:split])
    if given.version:
        print("5.22.6")
        return 0
    if given.help or split == len(argv):
        print("Usage: bench [OPTIONS] COMMAND [ARGS]...\n\nCommands:\n  " + "\n  ".join(sorted(COMMANDS)))
        return 0
    if argv[split] not in COMMANDS:
        print(f"Usage: bench [OPTIONS] COMMAND [ARGS]...\n\nError: No such command '{argv[split]}'.", file=sys.stderr)
        return 2
    function, parser = COMMANDS[argv[split]]
    a = parser.parse_args(argv[split + 1:])
    a.chosen = a.own_site or given.site
    a.force = getattr(a, "force", False) or given.force
    function(a)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
