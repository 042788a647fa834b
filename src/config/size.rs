//! `[size]` of a tenant: what its containers may use, and how many of them there are.
//!
//! Owns the defaults, which carry a small company, and the bounds. `provision --apply` brings a running tenant to it.

use std::fmt;

use serde_spanned::Spanned;

use super::check::Checker;
use super::raw;
use super::units::{Size, size};
use crate::error::{Error, Kind, Result};

/// A number of processors, in billionths of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus(pub i64);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Billionths of up to thousands are exact in a double.
        #[expect(clippy::cast_precision_loss, reason = "bounded below 2^53")]
        let whole = self.0 as f64 / 1e9;
        write!(f, "{whole}")
    }
}

/// What a tenant may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSize {
    /// Web workers: pairs of a frontend and a backend behind the proxy's load balancer, 1 to 16.
    pub workers: u32,
    /// Workers of each of the two kinds of queue, 1 to 16.
    pub queue_workers: u32,
    /// Memory of each container of the app.
    pub app_memory: Size,
    /// Memory that each container of the app is left when the host is short of it.
    pub app_memory_reserved: Option<Size>,
    /// Processors of each container of the app.
    pub app_cpus: Cpus,
    /// Memory of the database; half of it is its buffer pool.
    pub db_memory: Size,
    /// Memory that the database is left when the host is short of it.
    pub db_memory_reserved: Option<Size>,
    /// Processors of the database.
    pub db_cpus: Cpus,
    /// What the Redis that caches may hold; its container may use half as much again.
    pub redis_cache_memory: Size,
    /// What the Redis that holds jobs may hold; its container may use twice that, since it rewrites its log.
    pub redis_queue_memory: Size,
    /// Whether the database has a replica.
    pub replica: bool,
}

impl Default for TenantSize {
    fn default() -> Self {
        TenantSize {
            workers: 1,
            queue_workers: 1,
            app_memory: Size(1 << 30),
            app_memory_reserved: None,
            app_cpus: Cpus(1_000_000_000),
            db_memory: Size(2 << 30),
            db_memory_reserved: None,
            db_cpus: Cpus(2_000_000_000),
            redis_cache_memory: Size(512 << 20),
            redis_queue_memory: Size(512 << 20),
            replica: false,
        }
    }
}

/// The least a container of each kind starts with.
const APP_LEAST: u64 = 256 << 20;
const DB_LEAST: u64 = 256 << 20;
const REDIS_LEAST: u64 = 16 << 20;

/// Checks `[size]`; faulty values become the default.
pub(super) fn check(raw: &raw::TenantSize, c: &mut Checker<'_>) -> TenantSize {
    let d = TenantSize::default();
    let mut memory = |key: &str, text: &raw::Text, least: u64| {
        c.parse(&format!("size.{key}"), text, |t| at_least(t, least))
    };
    let app_memory = memory("app_memory", &raw.app_memory, APP_LEAST).unwrap_or(d.app_memory);
    let app_memory_reserved = memory("app_memory_reserved", &raw.app_memory_reserved, 0);
    let db_memory = memory("db_memory", &raw.db_memory, DB_LEAST).unwrap_or(d.db_memory);
    let db_memory_reserved = memory("db_memory_reserved", &raw.db_memory_reserved, 0);
    let redis_cache_memory =
        memory("redis_cache_memory", &raw.redis_cache_memory, REDIS_LEAST).unwrap_or(d.redis_cache_memory);
    let redis_queue_memory =
        memory("redis_queue_memory", &raw.redis_queue_memory, REDIS_LEAST).unwrap_or(d.redis_queue_memory);
    within("size.app_memory_reserved", &raw.app_memory_reserved, app_memory_reserved, app_memory, c);
    within("size.db_memory_reserved", &raw.db_memory_reserved, db_memory_reserved, db_memory, c);
    TenantSize {
        workers: c.number("size.workers", &raw.workers, 1..17, d.workers),
        queue_workers: c.number("size.queue_workers", &raw.queue_workers, 1..17, d.queue_workers),
        app_memory,
        app_memory_reserved,
        app_cpus: cpus("size.app_cpus", &raw.app_cpus, c).unwrap_or(d.app_cpus),
        db_memory,
        db_memory_reserved,
        db_cpus: cpus("size.db_cpus", &raw.db_cpus, c).unwrap_or(d.db_cpus),
        redis_cache_memory,
        redis_queue_memory,
        replica: raw.replica.as_ref().is_some_and(|r| *r.get_ref()),
    }
}

fn at_least(text: &str, least: u64) -> Result<Size> {
    let size = size(text)?;
    if size.0 < least || size.0 > 1 << 50 {
        return Err(Error::new(Kind::Config, format!("{size} is out of bounds"))
            .hint(format!("give it at least {}", Size(least))));
    }
    Ok(size)
}

/// Notes a reservation above the limit, which Docker would refuse.
fn within(key: &str, text: &raw::Text, reserved: Option<Size>, limit: Size, c: &mut Checker<'_>) {
    if reserved.is_some_and(|r| r > limit) {
        let error = Error::new(Kind::Config, format!("more than the limit of {limit}"));
        c.fault(text.as_ref().map(Spanned::span).as_ref(), key, &error);
    }
}

fn cpus(key: &str, number: &Option<Spanned<f64>>, c: &mut Checker<'_>) -> Option<Cpus> {
    let given = number.as_ref()?;
    let value = *given.get_ref();
    if !(0.01..=1024.0).contains(&value) {
        let error = Error::new(Kind::Config, format!("{value} is out of bounds"));
        c.fault(Some(&given.span()), key, &error.hint("it goes from 0.01 to 1024"));
        return None;
    }
    // Docker counts hundredths; what is below would be an invisible difference forever.
    #[expect(clippy::cast_possible_truncation, reason = "at most 102,400")]
    let hundredths = (value * 100.0).round() as i64;
    Some(Cpus(hundredths * 10_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_shown_as_they_are_written() {
        assert_eq!(Cpus(1_500_000_000).to_string(), "1.5");
        assert_eq!(Cpus(2_000_000_000).to_string(), "2");
    }
}
