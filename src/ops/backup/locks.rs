//! Whether and how a night locks what it stores: the policy's wish, and what the store was found to do.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::config;
use crate::error::Result;
use crate::id::TenantName;
use crate::ops::appliance::Appliance;
use crate::ops::probe::{self, Trial};
use crate::ops::state::State;
use crate::ops::{place, state};
use crate::repo::repository::Repository;
use crate::store::{Book, LockMode, LockedStore, Terms};

/// The file of what is locked until when, in the tenant's folder; without it every lock is renewed once.
const BOOK: &str = "locks.json";

/// Returns the repository as this night writes to it: within the policy's limit, and locking. What hinders locking is added to
/// `warnings`.
pub(super) fn repository(
    appliance: &Appliance,
    policy: &config::Policy,
    folder: &Path,
    warnings: &mut Vec<String>,
) -> Result<Repository> {
    let store = place::within_policy(appliance.repo.store(), policy, &appliance.around.lines);
    let repo = appliance.repo.through(store);
    let wish = policy.lock;
    let Some(mode) = mode_of(wish.mode) else { return Ok(repo) };
    let trial = match mode {
        LockMode::Compliance => Trial::Compliance,
        LockMode::Governance => Trial::Governance,
    };
    match probe::last(&appliance.state, &appliance.store().address()) {
        Some(probed) if !probed.holds(trial) => {
            warnings.push(format!(
                "nothing is locked, although the policy says {mode}: the probe of {} found that it does not hold here",
                probed.at
            ));
            return Ok(repo);
        }
        Some(_) => {}
        None => warnings.push("nobody has tried whether locks hold here: run `lifeboat probe`".to_owned()),
    }
    let book: Book = state::read_json(&folder.join(BOOK)).ok().flatten().unwrap_or_default();
    let terms = Terms { mode, horizon: wish.horizon };
    let clock = Arc::clone(&appliance.around.clock);
    let locks = LockedStore::new(Arc::clone(repo.store()), terms, book, clock);
    Ok(repo.locking(Arc::new(locks)))
}

fn mode_of(mode: config::LockMode) -> Option<LockMode> {
    match mode {
        config::LockMode::Off => None,
        config::LockMode::Governance => Some(LockMode::Governance),
        config::LockMode::Compliance => Some(LockMode::Compliance),
    }
}

/// Returns when the first lock ends of all that the newest snapshot of this host needs; none where nothing is known to be locked.
pub fn locked_until(state: &State, tenant: &TenantName) -> Result<Option<Timestamp>> {
    let book: Option<Book> = state::read_json(&state.tenant_if_there(tenant).join(BOOK))?;
    Ok(book.and_then(|book| book.values().map(|held| held.until).min()))
}

/// Keeps the book for the next night.
pub(super) fn remember(locks: Option<&Arc<LockedStore>>, folder: &Path) -> Result<()> {
    match locks {
        Some(locks) => state::write_json(&folder.join(BOOK), &locks.book()),
        None => Ok(()),
    }
}
