"""App double: `bench doctor`: workers and flags, in Frappe's words; a state however bad is no error."""
import collections

import frappe

from . import get_sites
from .background_jobs import get_queue_list, get_redis_conn, jobs, workers
from .scheduler import is_scheduler_disabled, is_scheduler_inactive


def doctor(site=None):
    with frappe.init_site(site):
        conn = get_redis_conn()
        online = len(workers(conn))
        waiting = {queue: jobs(conn, queue, site) for queue in get_queue_list()}
    print("-----Checking scheduler status-----")
    for s in [site] if site else get_sites():
        frappe.init(s)
        frappe.connect()
        if is_scheduler_disabled():
            print("Scheduler disabled for", s)
        if frappe.conf.get("maintenance_mode"):
            print("Maintenance mode on for", s)
        if frappe.conf.get("pause_scheduler"):
            print("Scheduler paused for", s)
        if is_scheduler_inactive():
            print("Scheduler inactive for", s)
        frappe.destroy()
    print("Workers online:", online)
    print(f"-----{site} Jobs-----")
    for queue, found in waiting.items():
        if found:
            print("Queue:", queue)
            print("Number of Jobs: ", len(found))
            print("Methods:")
            methods = collections.Counter(call.get("method") or "unknown" for _, call in found)
            for method, count in methods.items():
                print(f"{method} : {count}")
            print("------------")
