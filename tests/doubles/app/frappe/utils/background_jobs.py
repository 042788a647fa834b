"""App double: jobs in Redis, by RQ's keys and in RQ's encoding, and the worker that takes them."""
import io
import os
import pickle
import signal
import socket
import uuid
import zlib

import redis

import frappe

from . import get_bench_path, now

WORKER_TTL = 480
QUEUES = ("short", "default", "long")


class PlainOnly(pickle.Unpickler):
    """Reads what is plain data: a job from a foreign queue must not run code here."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"{module}.{name} is no plain data")


def bench_id():
    return frappe.get_conf().get("bench_id") or get_bench_path().strip("/").replace("/", "-")


def queue_key(queue):
    return f"rq:queue:{bench_id()}:{queue}"


def get_queue_list():
    return [*QUEUES, *(frappe.get_conf().get("workers") or {})]


def get_redis_conn():
    """The queue's Redis. The complaint names its address, password and all, as Frappe's does."""
    url = frappe.get_conf().get("redis_queue")
    if not url:
        raise Exception("`redis_queue` missing in common_site_config.json")
    conn = redis.from_url(url, socket_connect_timeout=10, health_check_interval=30)
    try:
        conn.ping()
    except redis.exceptions.ConnectionError as e:
        print(f"Please make sure that Redis Queue runs @ {url}. Redis reported error: {e}")
        raise
    return conn


def get_cache():
    url = frappe.get_conf().get("redis_cache")
    return redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) if url else None


def clear_site_cache():
    """Forgets this site's keys; a cache that is down is no error."""
    cache, name = get_cache(), frappe.get_conf().get("db_name")
    if not cache or not name:
        return
    try:
        for key in cache.scan_iter(match=f"{name}|*", count=500):
            cache.delete(key)
    except redis.exceptions.RedisError:
        pass


def workers(conn):
    """Names of workers whose key is still there: one that was killed stays for eight minutes."""
    return [w for w in conn.smembers("rq:workers") if conn.exists(w)]


def call_of(data):
    """The keyword arguments of a job; empty where they are no plain data."""
    try:
        call = PlainOnly(io.BytesIO(zlib.decompress(data))).load()
        return call[3] if isinstance(call, tuple) and len(call) == 4 and isinstance(call[3], dict) else {}
    except Exception:
        return {}


def jobs(conn, queue, site=None):
    """(job id, arguments) of what waits in a queue, of one site or all."""
    found = []
    for job_id in conn.lrange(queue_key(queue), 0, -1):
        call = call_of(conn.hget(b"rq:job:" + job_id, "data") or b"")
        if site is None or (call.get("site") or job_id.decode().split("::")[0]) == site:
            found.append((job_id.decode(), call))
    return found


def is_queued(job_id):
    return bool(get_redis_conn().exists(f"rq:job:{job_id}"))


def enqueue(method, queue="default", job_id=None, **kwargs):
    """Puts a job where a worker looks for it."""
    conn, site = get_redis_conn(), frappe.site
    job_id = job_id or f"{site}::{uuid.uuid4()}"
    call = ("frappe.utils.background_jobs.execute_job", None, (),
            {"site": site, "user": frappe.session.user, "method": method, "kwargs": kwargs, "event": None,
             "job_name": method, "is_async": True})
    conn.sadd("rq:queues", queue_key(queue))
    conn.hset(f"rq:job:{job_id}", mapping={
        "status": "queued", "origin": f"{bench_id()}:{queue}", "created_at": now(), "enqueued_at": now(),
        "description": "frappe.utils.background_jobs.execute_job", "timeout": 300,
        "data": zlib.compress(pickle.dumps(call))})
    conn.rpush(queue_key(queue), job_id)
    return job_id


def start_worker(queues, burst=False):
    """`bench worker`: registers, takes jobs until it is told to stop, and takes its name away."""
    frappe.init("")
    conn = get_redis_conn()
    key = f"rq:worker:{uuid.uuid4().hex}.{socket.gethostname()}.{os.getpid()}.{queues[0]}"
    keys = [queue_key(q) for q in queues]

    def stop(*_):
        conn.srem("rq:workers", key)
        for q in keys:
            conn.srem(f"rq:workers:{q.removeprefix('rq:queue:')}", key)
        conn.delete(key)
        print("worker: stopped", flush=True)
        # Not sys.exit: the signal may come within a call of the client.
        os._exit(0)

    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, stop)
    conn.hset(key, mapping={"birth": now(), "queues": ",".join(keys), "state": "idle", "pid": os.getpid(),
                            "hostname": socket.gethostname(), "version": "1.15.1"})
    print(f"worker: {key} takes from {', '.join(queues)}", flush=True)
    while True:
        # Registered anew each time, as RQ does: a queue that was flushed shows its workers again.
        conn.sadd("rq:workers", key)
        for q in keys:
            conn.sadd(f"rq:workers:{q.removeprefix('rq:queue:')}", key)
        conn.hset(key, mapping={"last_heartbeat": now(), "state": "idle"})
        conn.expire(key, WORKER_TTL)
        if burst:
            taken = next(((q, j) for q in keys if (j := conn.lpop(q))), None)
        else:
            taken = conn.blpop(keys, timeout=5)
        if taken:
            perform(conn, taken[1])
        elif burst:
            stop()


def perform(conn, job_id):
    """Runs what the double knows and forgets the rest."""
    key = b"rq:job:" + job_id
    call = call_of(conn.hget(key, "data") or b"")
    kwargs = call.get("kwargs") or {}
    site = call.get("site") or job_id.decode().split("::")[0]
    try:
        if call.get("method") == "frappe.core.doctype.scheduled_job_type.run":
            frappe.init(site)
            frappe.connect()
            frappe.db.set_value("Scheduled Job Type", kwargs["job_type"], "last_execution", now())
            frappe.db.commit()
    except Exception as e:
        print(f"worker: {job_id.decode()}: {e.__class__.__name__}", flush=True)
    finally:
        frappe.destroy()
        frappe.init("")
    conn.delete(key)
    print(f"worker: {job_id.decode()} done", flush=True)


def purge(conn, site=None, queue=None):
    """Removes waiting jobs; returns how many."""
    count = 0
    for name in [queue] if queue else get_queue_list():
        for job_id, _call in jobs(conn, name, site):
            conn.lrem(queue_key(name), 0, job_id)
            conn.delete(f"rq:job:{job_id}")
            count += 1
    return count


