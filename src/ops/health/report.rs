//! What a look at the tenants found, as everybody gets it: people, JSON, metrics, `provision`.
//!
//! Owns the shape. Names of areas and checks are fixed words, so that their number is bounded.

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, counted};
use crate::id::TenantName;

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It could not be found out.
    Unknown,
    /// It works, and will not for long, or not as it should.
    Warning,
    /// It does not work.
    Failed,
}

impl State {
    /// All states, best first.
    pub const ALL: [State; 4] = [State::Ok, State::Unknown, State::Warning, State::Failed];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Unknown => "unknown",
            State::Warning => "warning",
            State::Failed => "failed",
        }
    }
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Docker, the store, disks and clocks that all tenants share.
    Host,
    /// The MariaDB server and the site's database.
    Database,
    /// The Redis that caches.
    RedisCache,
    /// The Redis that holds jobs.
    RedisQueue,
    /// The site as its users and its jobs see it.
    Application,
    /// Containers and the disks below them.
    Containers,
    /// Backups and their proof.
    Backups,
    /// What others see of it: names and certificates.
    Outside,
}

impl Area {
    /// All areas, in the order of a report.
    pub const ALL: [Area; 8] = [
        Area::Host,
        Area::Containers,
        Area::Database,
        Area::RedisCache,
        Area::RedisQueue,
        Area::Application,
        Area::Outside,
        Area::Backups,
    ];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Area::Host => "host",
            Area::Database => "database",
            Area::RedisCache => "redis-cache",
            Area::RedisQueue => "redis-queue",
            Area::Application => "application",
            Area::Containers => "containers",
            Area::Backups => "backups",
            Area::Outside => "outside",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about.
    pub area: Area,
    /// Which one: a fixed word such as `reachable`.
    pub name: &'static str,
    /// What it says.
    pub state: State,
    /// What was seen, with the object that it concerns: a fragment without a full stop.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Check {
    /// Makes a check.
    pub fn new(area: Area, name: &'static str, state: State, reason: impl Into<String>) -> Check {
        Check { area, name, state, reason: reason.into(), advice: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Check {
        self.advice = Some(advice.into());
        self
    }

    /// Makes a check of what went wrong when it was looked at.
    pub fn of_error(area: Area, name: &'static str, state: State, error: &Error) -> Check {
        let mut check = Check::new(area, name, state, error.to_string());
        check.advice = error.hint_text().map(str::to_owned);
        check
    }
}

/// How one tenant is.
#[derive(Debug, Clone, Serialize)]
pub struct TenantHealth {
    /// Whose.
    pub tenant: TenantName,
    /// The worst of its checks.
    pub state: State,
    /// All checks, by area.
    pub checks: Vec<Check>,
}

impl TenantHealth {
    /// Gathers a tenant's checks, by area.
    pub fn of(tenant: TenantName, mut checks: Vec<Check>) -> TenantHealth {
        let place = |area: Area| Area::ALL.iter().position(|a| *a == area);
        checks.sort_by_key(|c| place(c.area));
        TenantHealth { tenant, state: worst(&checks), checks }
    }

    /// Returns the checks that are not ok, worst first.
    pub fn troubles(&self) -> Vec<&Check> {
        troubles(&self.checks)
    }

    /// Returns the sentence that sums it up.
    pub fn sentence(&self) -> String {
        let troubles = self.troubles();
        let Some(first) = troubles.first() else {
            return format!("{} is well ({})", self.tenant, counted(self.checks.len(), "check"));
        };
        let more = match troubles.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        format!("{} {}: {}{more}", self.tenant, verb(self.state), first.reason)
    }
}

fn verb(state: State) -> &'static str {
    match state {
        State::Ok => "is well",
        State::Unknown => "is not known well enough",
        State::Warning => "needs a look",
        State::Failed => "is NOT WELL",
    }
}

/// How the host and its tenants are.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of this shape, 1.
    pub format: u32,
    /// When it was looked at.
    pub now: Timestamp,
    /// How long the look took, in seconds.
    pub seconds: f64,
    /// The worst of all checks.
    pub state: State,
    /// What all tenants share.
    pub host: Vec<Check>,
    /// The tenants, by name.
    pub tenants: Vec<TenantHealth>,
}

impl Report {
    /// Tells whether a check failed.
    pub fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Returns how one of the tenants is.
    pub fn tenant(&self, name: &TenantName) -> Option<&TenantHealth> {
        self.tenants.iter().find(|t| t.tenant == *name)
    }

    /// Returns the sentence that sums all up.
    pub fn sentence(&self) -> String {
        let all = self.tenants.len();
        let well = self.tenants.iter().filter(|t| t.state == State::Ok).count();
        let failed = self.tenants.iter().filter(|t| t.state == State::Failed).count();
        let mut text = match (well == all, all) {
            (true, 1) => "The tenant is well".to_owned(),
            (true, _) => format!("All {all} tenants are well"),
            (false, _) => format!("{well} of {} well", counted(all, "tenant")),
        };
        if failed > 0 {
            text.push_str(&format!(", {failed} not"));
        }
        match worst(&self.host) {
            State::Ok => {}
            state => text.push_str(&format!("; the host {}", verb(state))),
        }
        text + "."
    }
}

/// Returns the checks that are not ok, worst first.
pub fn troubles(checks: &[Check]) -> Vec<&Check> {
    let mut bad: Vec<&Check> = checks.iter().filter(|c| c.state != State::Ok).collect();
    bad.sort_by_key(|c| std::cmp::Reverse(c.state));
    bad
}

/// Returns the worst state of some checks.
pub fn worst(checks: &[Check]) -> State {
    checks.iter().map(|c| c.state).max().unwrap_or(State::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(area: Area, state: State, reason: &str) -> Check {
        Check::new(area, "reachable", state, reason)
    }

    #[test]
    fn the_worst_check_names_the_cause_and_the_rest_is_counted() {
        let tenant: TenantName = "byrne".parse().unwrap();
        let well = TenantHealth::of(tenant.clone(), vec![check(Area::Database, State::Ok, "answers")]);
        assert_eq!(well.sentence(), "byrne is well (1 check)");
        let bad = TenantHealth::of(
            tenant,
            vec![
                check(Area::Backups, State::Warning, "never drilled"),
                check(Area::Database, State::Failed, "container byrne-db is stopped"),
                check(Area::Containers, State::Ok, "x"),
            ],
        );
        assert_eq!(bad.state, State::Failed);
        assert_eq!(bad.sentence(), "byrne is NOT WELL: container byrne-db is stopped (and 1 more)");
        assert_eq!(bad.checks[0].area, Area::Containers);
    }

    #[test]
    fn every_area_has_its_place_in_a_report() {
        let mut all: Vec<&str> = Area::ALL.iter().map(|a| a.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8);
        assert!(State::ALL.is_sorted());
    }
}
