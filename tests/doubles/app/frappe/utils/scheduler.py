"""App double: the scheduler's flags and its process."""
import datetime
import time

import frappe

from . import cint, get_sites, now_datetime
from .background_jobs import enqueue, is_queued

PERIODS = {"All": 240, "Cron": 300, "Hourly": 3600, "Hourly Long": 3600, "Daily": 86400, "Daily Long": 86400,
           "Weekly": 604800, "Weekly Long": 604800, "Monthly": 2592000, "Monthly Long": 2592000}


def is_scheduler_disabled(verbose=True):
    if frappe.conf.get("disable_scheduler"):
        return True
    return not cint(frappe.get_system_settings("enable_scheduler"))


def is_scheduler_inactive(verbose=True):
    return bool(cint(frappe.conf.get("maintenance_mode")) or cint(frappe.conf.get("pause_scheduler"))
                or is_scheduler_disabled())


def toggle_scheduler(enable):
    frappe.db.set_single_value("System Settings", "enable_scheduler", int(enable))


def enable_scheduler():
    toggle_scheduler(True)


def disable_scheduler():
    toggle_scheduler(False)


def start_scheduler():
    """`bench schedule`: each tick, what is due on each site goes to the queue."""
    while True:
        frappe.init("")
        tick = cint(frappe.conf.get("scheduler_tick_interval")) or 60
        for site in get_sites():
            try:
                enqueue_due(site)
            except Exception as e:  # a site that is down must not stop the others, as in Frappe
                print(f"scheduler: {site}: {e.__class__.__name__}", flush=True)
        time.sleep(tick)


def enqueue_due(site):
    frappe.init(site)
    if cint(frappe.conf.get("maintenance_mode")) or cint(frappe.conf.get("pause_scheduler")):
        return
    frappe.connect()
    try:
        if is_scheduler_inactive():
            return
        for job in frappe.get_all("Scheduled Job Type", filters={"stopped": 0},
                                  fields=["name", "method", "frequency", "last_execution"]):
            period = datetime.timedelta(seconds=PERIODS.get(job.frequency, 86400))
            due = not job.last_execution or job.last_execution + period <= now_datetime()
            job_id = f"{site}::{job.method}"
            if due and not is_queued(job_id):
                queue = "long" if "Long" in (job.frequency or "") else "default"
                enqueue("frappe.core.doctype.scheduled_job_type.run", queue, job_id=job_id, job_type=job.name)
    finally:
        frappe.destroy()
