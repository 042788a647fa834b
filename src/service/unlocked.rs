//! Keys that an operator lent to the service: in memory, for named tenants, for minutes.
//!
//! Owns how long each stays, the socket through which they come, and the record of who lent what. A key is wiped when its
//! time is over, when it is taken back, and with the process; nothing of it is ever on a disk. Refuses to know what a
//! vault's key opens.

mod socket;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::id::TenantName;
use crate::repo::age_file::Identities;

pub use socket::{Asked, Door, Reply, ask};

/// No key stays longer than this.
pub const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The keys that are lent now.
#[derive(Default)]
pub struct Unlocked {
    lent: Mutex<BTreeMap<TenantName, Lent>>,
}

struct Lent {
    identities: Identities,
    until: Timestamp,
    /// The same by a clock that nobody sets: what is lent ends at the earlier of both.
    ends: Instant,
}

impl Unlocked {
    /// Keeps a tenant's key for a time, at most [`LONGEST`], in place of one lent before; returns until when.
    pub fn lend(
        &self,
        tenant: TenantName,
        identities: Identities,
        now: Timestamp,
        time: Duration,
    ) -> Timestamp {
        let time = time.min(LONGEST);
        let until = SignedDuration::try_from(time).ok().and_then(|t| now.checked_add(t).ok()).unwrap_or(now);
        let lent = Lent { identities, until, ends: Instant::now() + time };
        self.open().insert(tenant, lent);
        until
    }

    /// Wipes a tenant's key; false where none was lent.
    pub fn take_back(&self, tenant: &TenantName) -> bool {
        self.open().remove(tenant).is_some()
    }

    /// Returns a tenant's key while it is lent.
    pub fn get(&self, tenant: &TenantName, now: Timestamp) -> Option<Identities> {
        self.sweep(now);
        self.open().get(tenant).map(|l| l.identities.clone())
    }

    /// Wipes what is over.
    pub fn sweep(&self, now: Timestamp) {
        self.open().retain(|_, l| l.until > now && l.ends > Instant::now());
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<TenantName, Lent>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unlocked({} tenants)", self.open().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::vault::VaultKey;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_is_there_for_its_time_and_never_longer_than_a_quarter_of_an_hour() {
        let unlocked = Unlocked::default();
        let byrne: TenantName = "byrne".parse().unwrap();
        let key = VaultKey::generate().identities().clone();
        let now = at("2026-05-04T02:00:00Z");
        let until = unlocked.lend(byrne.clone(), key.clone(), now, Duration::from_secs(86_400));
        assert_eq!(until, at("2026-05-04T02:15:00Z"));
        assert!(unlocked.get(&byrne, at("2026-05-04T02:14:59Z")).is_some());
        assert!(unlocked.get(&"dickinson".parse().unwrap(), now).is_none());
        assert!(unlocked.get(&byrne, until).is_none());
        // It is gone, and a clock that is set back does not bring it back.
        assert!(unlocked.get(&byrne, now).is_none());

        unlocked.lend(byrne.clone(), key, now, Duration::from_secs(60));
        assert!(unlocked.take_back(&byrne) && !unlocked.take_back(&byrne));
        assert!(unlocked.get(&byrne, now).is_none());
    }
}
