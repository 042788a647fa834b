//! A Redis: whether it answers, what it would do when it is full, and whether it can save.
//!
//! A cache that throws keys away does its work; a queue that does loses jobs. Both are judged by the same figures, each by
//! its own measure.

use crate::component::redis::{self, Vitals};
use crate::config::Redis;
use crate::error::counted;
use crate::ops::backup;

use super::pace::within;
use super::subject::Subject;
use super::{Area, Check, Round, State};

/// From this share of the allowed memory on, in percent.
const MUCH: u64 = 80;
const TOO_MUCH: u64 = 95;

/// Looks at one of a tenant's two Redis.
pub(super) async fn look(round: &Round<'_>, subject: &Subject<'_>, area: Area) -> Vec<Check> {
    let part = match area {
        Area::RedisCache => subject.tenant.redis_cache.on(),
        _ => subject.tenant.redis_queue.on(),
    };
    match part {
        Some(part) => of_part(round, area, part).await,
        None => Vec::new(),
    }
}

async fn of_part(round: &Round<'_>, area: Area, part: &Redis) -> Vec<Check> {
    let docker = match round.running(area, "reachable", &part.container).await {
        Ok(docker) => docker,
        Err(check) => return vec![check],
    };
    let credentials = match backup::redis_credentials(&part.login) {
        Ok(credentials) => credentials,
        Err(e) => return vec![Check::of_error(area, "reachable", State::Failed, &e)],
    };
    let limit = round.limits.probe;
    let asked = redis::vitals(docker, &part.container, &credentials, limit);
    match within(limit, format!("redis in container {}", part.container), asked).await {
        Ok(vitals) => judge(area, &part.container, &vitals),
        Err(e) => vec![Check::of_error(area, "reachable", State::Failed, &e)],
    }
}

/// Judges what the server says of itself.
fn judge(area: Area, container: &str, vitals: &Vitals) -> Vec<Check> {
    let version = vitals.text("redis_version").unwrap_or("of unknown version");
    let mut reachable =
        Check::new(area, "reachable", State::Ok, format!("redis {version} in container {container} answers"));
    if vitals.is("loading") {
        reachable.state = State::Warning;
        reachable.reason = format!("redis in container {container} is still loading its data");
    }
    vec![
        reachable,
        memory(area, container, vitals),
        policy(area, container, vitals),
        evictions(area, container, vitals),
        persistence(area, container, vitals),
    ]
}

fn evicts(vitals: &Vitals) -> bool {
    vitals.text("maxmemory_policy").is_some_and(|p| p != "noeviction")
}

fn memory(area: Area, container: &str, vitals: &Vitals) -> Check {
    let name = "memory";
    let (Some(used), Some(most)) = (vitals.number("used_memory"), vitals.number("maxmemory")) else {
        let reason = format!("redis in container {container} does not say how much memory it uses");
        return Check::new(area, name, State::Unknown, reason);
    };
    if most == 0 {
        let reason = format!("redis in container {container} uses {} MB and has no limit", used / 1_000_000);
        return Check::new(area, name, State::Ok, reason);
    }
    let percent = used.saturating_mul(100) / most;
    let mega = |n: u64| n / 1_000_000;
    let reason =
        format!("redis in container {container} uses {} of {} MB ({percent} %)", mega(used), mega(most));
    // What throws keys away is full in its everyday life.
    let state = match percent {
        _ if evicts(vitals) => State::Ok,
        TOO_MUCH.. => State::Failed,
        MUCH.. => State::Warning,
        _ => State::Ok,
    };
    match state {
        State::Failed => Check::new(area, name, state, format!("{reason}: it is full, and refuses writes"))
            .advise("raise maxmemory and the container's limit, or find out why jobs are not worked off"),
        State::Warning => Check::new(area, name, state, reason)
            .advise("raise maxmemory and the container's limit before it refuses writes"),
        _ => Check::new(area, name, state, reason),
    }
}

fn policy(area: Area, container: &str, vitals: &Vitals) -> Check {
    let name = "policy";
    let Some(policy) = vitals.text("maxmemory_policy") else {
        let reason = format!("redis in container {container} does not say its eviction policy");
        return Check::new(area, name, State::Unknown, reason);
    };
    let limited = vitals.number("maxmemory").is_some_and(|n| n > 0);
    let reason = format!("redis in container {container} has maxmemory-policy {policy}");
    match (area, evicts(vitals), limited) {
        (Area::RedisQueue, true, _) => {
            let state = if limited { State::Failed } else { State::Warning };
            Check::new(area, name, state, format!("{reason}: a queue that throws keys away loses jobs"))
                .advise("maxmemory-policy noeviction, in its configuration and by CONFIG SET")
        }
        (Area::RedisCache, false, true) => {
            Check::new(area, name, State::Warning, format!("{reason}: a full cache then refuses writes"))
                .advise("maxmemory-policy allkeys-lru, in its configuration and by CONFIG SET")
        }
        _ => Check::new(area, name, State::Ok, reason),
    }
}

fn evictions(area: Area, container: &str, vitals: &Vitals) -> Check {
    let gone = vitals.number("evicted_keys").unwrap_or(0);
    let reason =
        format!("redis in container {container} threw {} away since its start", counted(gone, "key"));
    if area == Area::RedisQueue && gone > 0 {
        return Check::new(area, "evictions", State::Failed, format!("{reason}: jobs may be lost"))
            .advise("maxmemory-policy noeviction; CONFIG RESETSTAT once it is mended");
    }
    Check::new(area, "evictions", State::Ok, reason)
}

fn persistence(area: Area, container: &str, vitals: &Vitals) -> Check {
    let name = "persistence";
    let of = |field: &str| vitals.text(field).is_some_and(|said| said != "ok");
    let bad = |state: State, what: &str| {
        let reason = format!("redis in container {container} {what}");
        // A cache may be lost.
        let state = if area == Area::RedisCache { State::Warning } else { state };
        Check::new(area, name, state, reason).advise(
            "`docker logs` of the container says why: mostly a full disk or a folder that it may not write",
        )
    };
    if vitals.is("aof_enabled") && of("aof_last_write_status") {
        return bad(State::Failed, "cannot write its append-only file (AOF): what it holds is lost with it");
    }
    if of("rdb_last_bgsave_status") {
        return bad(State::Failed, "cannot save its RDB file, and may refuse writes until it can");
    }
    if vitals.is("aof_enabled") && of("aof_last_bgrewrite_status") {
        return bad(State::Failed, "cannot rewrite its append-only file (AOF), which grows without bound");
    }
    let how = match (vitals.is("aof_enabled"), vitals.number("rdb_last_save_time")) {
        (true, _) => "appends to its AOF",
        (false, Some(_)) => "has no AOF, and saves RDB files where it is told to",
        (false, None) => "saves nothing",
    };
    Check::new(area, name, State::Ok, format!("redis in container {container} {how}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const WELL: &[(&str, &str)] = &[
        ("redis_version", "7.0.15"),
        ("used_memory", "100000000"),
        ("maxmemory", "512000000"),
        ("maxmemory_policy", "noeviction"),
        ("evicted_keys", "0"),
        ("aof_enabled", "1"),
        ("aof_last_write_status", "ok"),
        ("aof_last_bgrewrite_status", "ok"),
        ("rdb_last_bgsave_status", "ok"),
    ];

    fn checks(area: Area, changed: &[(&str, &str)]) -> Vec<Check> {
        let all: BTreeMap<String, String> =
            WELL.iter().chain(changed).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        judge(area, "byrne-q", &all.into())
    }

    fn troubles(area: Area, changed: &[(&str, &str)]) -> Vec<(&'static str, State)> {
        checks(area, changed).iter().filter(|c| c.state != State::Ok).map(|c| (c.name, c.state)).collect()
    }

    #[test]
    fn a_queue_that_keeps_what_it_gets_is_well() {
        assert_eq!(troubles(Area::RedisQueue, &[]), []);
        assert!(checks(Area::RedisQueue, &[]).iter().all(|c| c.reason.contains("byrne-q")));
    }

    #[test]
    fn a_full_queue_has_failed_and_a_full_cache_that_evicts_does_its_work() {
        let full = ("used_memory", "511000000");
        assert_eq!(troubles(Area::RedisQueue, &[full]), [("memory", State::Failed)]);
        assert_eq!(troubles(Area::RedisQueue, &[("used_memory", "420000000")]), [("memory", State::Warning)]);
        let cache = [full, ("maxmemory_policy", "allkeys-lru"), ("evicted_keys", "99")];
        assert_eq!(troubles(Area::RedisCache, &cache), []);
        assert_eq!(troubles(Area::RedisQueue, &[full, ("maxmemory", "0")]), []);
    }

    #[test]
    fn a_queue_may_not_evict_and_a_cache_should() {
        let evicts = ("maxmemory_policy", "allkeys-lru");
        assert_eq!(troubles(Area::RedisQueue, &[evicts]), [("policy", State::Failed)]);
        assert_eq!(troubles(Area::RedisQueue, &[evicts, ("maxmemory", "0")]), [("policy", State::Warning)]);
        assert_eq!(troubles(Area::RedisQueue, &[("evicted_keys", "3")]), [("evictions", State::Failed)]);
        assert_eq!(troubles(Area::RedisCache, &[]), [("policy", State::Warning)]);
    }

    #[test]
    fn what_cannot_be_saved_is_said_of_the_file_that_it_is() {
        for (field, word) in [
            ("aof_last_write_status", "append-only"),
            ("aof_last_bgrewrite_status", "rewrite"),
            ("rdb_last_bgsave_status", "RDB"),
        ] {
            let found = checks(Area::RedisQueue, &[(field, "err")]);
            let bad = found.iter().find(|c| c.name == "persistence").unwrap();
            assert!(bad.state == State::Failed && bad.reason.contains(word), "{bad:?}");
        }
        let off = [("aof_enabled", "0"), ("aof_last_write_status", "err")];
        assert_eq!(troubles(Area::RedisQueue, &off), []);
    }
}
