"""App double: small things that every module needs."""
import datetime
import os
import zoneinfo

from .. import local


def now_datetime():
    """The site's own time, without a zone, as its rows hold it."""
    zone = None
    if getattr(local, "db", None):
        try:
            zone = zoneinfo.ZoneInfo(local.db.get_default("time_zone") or "UTC")
        except Exception:
            zone = None
    return datetime.datetime.now(zone or datetime.timezone.utc).replace(tzinfo=None)


def now():
    return now_datetime().strftime("%Y-%m-%d %H:%M:%S.%f")


def cint(value):
    try:
        return int(float(value))
    except (TypeError, ValueError):
        return 0


def cstr(value):
    return "" if value is None else value.decode() if isinstance(value, bytes) else str(value)


def get_bench_path():
    return os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", "..", ".."))


def get_sites(sites_path="."):
    """A site is a real folder, no link, with a site_config.json."""
    return sorted(name for name in os.listdir(sites_path)
                  if not os.path.islink(os.path.join(sites_path, name))
                  and os.path.isfile(os.path.join(sites_path, name, "site_config.json")))


def get_url():
    """The site's address as mails and SSO send it: `host_name`, or http and the site's name."""
    host = local.conf.get("host_name") or local.site
    url = host if host.startswith(("http://", "https://")) else "http://" + host
    port = local.conf.get("http_port") or local.conf.get("webserver_port")
    if port and not local.conf.get("restart_supervisor_on_update") and not local.conf.get("host_name"):
        url += f":{port}"
    return url
