//! A tenant's backups: how old, how well proven, for how long locked; drawn from what `status` knows.

use jiff::{SignedDuration, Timestamp};

use crate::config::{DrillPolicy, LockMode, Policy};
use crate::error::{Error, Kind, Result};
use crate::ops::appliance::Appliance;
use crate::ops::probe::{self, Trial};
use crate::ops::state;
use crate::ops::status::{self, About, Light, TenantStatus};
use crate::store::Book;

use super::pace::within;
use super::subject::Subject;
use super::{Area, Check, Round, State};

const AREA: Area = Area::Backups;

/// A proof that is older is to be renewed: three times the longest pause between drills that a policy can ask for.
const OLD_PROOF: SignedDuration = SignedDuration::from_hours(21 * 24);

/// Looks at a tenant's snapshots and drills.
pub(super) async fn look(round: &Round<'_>, subject: &Subject<'_>) -> Vec<Check> {
    let Ok(appliance) = round.opened.clone().await else {
        // Why not is one check of the host's.
        return vec![Check::new(
            AREA,
            "age",
            State::Unknown,
            "the store cannot be read, so nothing is known of its backups",
        )];
    };
    let (tenant, now) = (&subject.tenant.name, round.now());
    let asked = status::of_tenant(&appliance, tenant.clone(), now);
    match within(round.limits.store, format!("the store, asked for tenant {tenant},"), asked).await {
        Ok(status) => judge(&appliance, &subject.tenant.policy, &status, now),
        Err(e) => vec![Check::of_error(AREA, "age", State::Unknown, &e)],
    }
}

fn judge(appliance: &Appliance, policy: &Policy, status: &TenantStatus, now: Timestamp) -> Vec<Check> {
    let mut checks = vec![
        of_status(
            status,
            "age",
            About::Age,
            age(status, now),
            "`lifeboat backup` makes one; `lifeboat status` says why there was none",
        ),
        of_status(
            status,
            "attempt",
            About::Attempt,
            attempt(status, now),
            "`lifeboat backup` it again once the cause is mended",
        ),
        of_status(
            status,
            "stored",
            About::Stored,
            "receipts and packs are as they were written".to_owned(),
            "`lifeboat check` names every object",
        ),
        proof(policy, status, now),
    ];
    if appliance.config.machine.copy.is_some() {
        let fine = "the second store has the newest snapshot".to_owned();
        checks.push(of_status(status, "copy", About::Copy, fine, "`lifeboat copy`"));
    }
    for (name, about, advice) in [
        ("content", About::Content, "`lifeboat accept TENANT --reason TEXT` once it is known to be right"),
        ("hold", About::Hold, "`lifeboat hold TENANT --release` ends it"),
        ("prune", About::Prune, "`lifeboat prune --dry-run` says what stops it"),
    ] {
        if status.blames.iter().any(|b| b.about == about) {
            checks.push(of_status(status, name, about, String::new(), advice));
        }
    }
    checks.extend(lock(appliance, policy, status, now));
    checks
}

/// Makes one check of all that `status` has to say about a thing.
fn of_status(status: &TenantStatus, name: &'static str, about: About, ok: String, advice: &str) -> Check {
    let said: Vec<_> = status.blames.iter().filter(|b| b.about == about).collect();
    let Some(worst) = said.iter().map(|b| b.light).min() else {
        return Check::new(AREA, name, State::Ok, ok);
    };
    let state = if worst == Light::Red { State::Failed } else { State::Warning };
    let reasons: Vec<&str> = said.iter().map(|b| b.said.as_str()).collect();
    Check::new(AREA, name, state, reasons.join("; ")).advise(advice)
}

fn age(status: &TenantStatus, now: Timestamp) -> String {
    match status.as_of {
        Some(at) => format!("the newest whole backup is {} old", span(now.duration_since(at))),
        None => String::new(),
    }
}

fn attempt(status: &TenantStatus, now: Timestamp) -> String {
    match &status.last_attempt {
        Some(a) => format!("the last backup was whole, {} ago", span(now.duration_since(a.finished))),
        None => "this host has not tried a backup yet".to_owned(),
    }
}

/// Writes a span for people: hours up to two days, then days.
pub(super) fn span(d: SignedDuration) -> String {
    match (d.as_hours(), d.as_mins()) {
        (0, minutes) => format!("{minutes} min"),
        (hours @ ..48, _) => format!("{hours} h"),
        (hours, _) => format!("{} days", hours / 24),
    }
}

fn proof(policy: &Policy, status: &TenantStatus, now: Timestamp) -> Check {
    let name = "proof";
    let blamed = status.blames.iter().any(|b| b.about == About::Proof);
    let failed = status.blames.iter().any(|b| b.about == About::Proof && b.light == Light::Red);
    let drill = "`lifeboat drill TENANT --identity KIT` proves it; `lifeboat doctor` says where drills run";
    match (&policy.drill, &status.proof) {
        (DrillPolicy::Skipped { reason }, None) if !failed => {
            Check::new(AREA, name, State::Ok, format!("not drilled: {reason}"))
        }
        // What is to be done about it is done.
        (_, None) if status.drill_asked.is_some() && !failed => {
            let said = "not drilled yet: the first drill is due with the next planned backup";
            Check::new(AREA, name, State::Ok, said)
        }
        (_, Some(p)) if !blamed => {
            let age = now.duration_since(p.at);
            let said = format!("{} was proven {} ago", p.level, span(age));
            if age > OLD_PROOF && !matches!(policy.drill, DrillPolicy::Skipped { .. }) {
                return Check::new(
                    AREA,
                    name,
                    State::Warning,
                    format!("{said}, and drills are due each week"),
                )
                .advise(drill);
            }
            Check::new(AREA, name, State::Ok, said)
        }
        _ => of_status(status, name, About::Proof, String::new(), drill),
    }
}

/// Says for how long what the newest snapshot needs stays locked, where the policy locks.
fn lock(appliance: &Appliance, policy: &Policy, status: &TenantStatus, now: Timestamp) -> Option<Check> {
    let name = "lock";
    let trial = match policy.lock.mode {
        LockMode::Off => return None,
        LockMode::Governance => Trial::Governance,
        LockMode::Compliance => Trial::Compliance,
    };
    status.snapshot.as_ref()?;
    let probed = probe::last(&appliance.state, &appliance.store().address());
    if probed.is_some_and(|p| !p.holds(trial)) {
        let reason = "the policy asks for locks, and the store was found not to keep them".to_owned();
        return Some(
            Check::new(AREA, name, State::Warning, reason)
                .advise("`lifeboat probe` says what the store does"),
        );
    }
    let horizon = SignedDuration::try_from(policy.lock.horizon).unwrap_or(SignedDuration::MAX);
    Some(match soonest(appliance, status) {
        Ok(Some(until)) => judge_lock(until.duration_since(now), horizon),
        Ok(None) => Check::new(
            AREA,
            name,
            State::Warning,
            "nothing is known to be locked, although the policy asks for it",
        )
        .advise("`lifeboat backup` locks what the newest snapshot needs, and says what hinders it"),
        Err(e) => Check::of_error(AREA, name, State::Unknown, &e),
    })
}

/// Returns when the first lock ends of what the last backup on this host stored or needed.
fn soonest(appliance: &Appliance, status: &TenantStatus) -> Result<Option<Timestamp>> {
    let book = appliance.state.tenant_if_there(&status.tenant).join("locks.json");
    let book: Book = state::read_json(&book)
        .map_err(|e| Error::new(Kind::Io, "what is locked until when is not known").caused_by(e))?
        .unwrap_or_default();
    Ok(book.values().map(|held| held.until).min())
}

fn judge_lock(left: SignedDuration, horizon: SignedDuration) -> Check {
    let name = "lock";
    let again = "a backup renews what has less than half of its horizon left: see why none ran";
    // A backup leaves at least half of the horizon; a quarter means that several were missed.
    if left <= SignedDuration::ZERO {
        let reason = format!("locks of what the newest snapshot needs ran out {} ago", span(left.abs()));
        return Check::new(AREA, name, State::Failed, reason).advise(again);
    }
    let reason = format!("what the newest snapshot needs is locked for {}", span(left));
    if left < horizon / 4 {
        return Check::new(AREA, name, State::Warning, format!("{reason} more only, and is not renewed"))
            .advise(again);
    }
    Check::new(AREA, name, State::Ok, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_named_before_it_runs_out() {
        let days = |n: i64| SignedDuration::from_hours(n * 24);
        assert_eq!(judge_lock(days(15), days(30)).state, State::Ok);
        assert_eq!(judge_lock(days(7), days(30)).state, State::Warning);
        let gone = judge_lock(days(-1), days(30));
        assert_eq!((gone.state, gone.reason.contains("ran out 24 h ago")), (State::Failed, true));
    }

    #[test]
    fn spans_are_written_for_people() {
        let span = |m| span(SignedDuration::from_mins(m));
        assert_eq!([span(5), span(125), span(3000)], ["5 min", "2 h", "2 days"]);
    }
}
