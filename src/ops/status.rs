//! `status`: who is recoverable, as of when, and how well that is proven.

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, Result, counted};
use crate::id::{Sha256, SnapshotId, TenantName};
use crate::ops::anomaly;
use crate::ops::appliance::Appliance;
use crate::ops::backup::{Attempt, last_attempt};
use crate::ops::check::verified::{Memory, Verified};
use crate::ops::copy::{self, Copies};
use crate::ops::damaged::{self, Meaning};
use crate::ops::drill;
use crate::ops::prune;
use crate::ops::restore::{self, Pending, Phase};
use crate::ops::snapshots::{self, TENANTS_AT_ONCE};
use crate::ops::state::Hold;
use crate::ops::tampered;
use crate::repo::drill::DrillOutcome;
use crate::repo::history::History;
use crate::repo::repository::whole_seconds;

/// How a tenant stands, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Light {
    /// No whole snapshot, the last one is too old, the last attempt was not whole, or the chain of receipts is wrong.
    Red,
    /// Something is to be looked at: a hold, no proof.
    Yellow,
    /// Backed up within its target, and proven.
    Green,
}

/// What a reason is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The age of the newest whole snapshot.
    Age,
    /// The last attempt at a backup.
    Attempt,
    /// A hold.
    Hold,
    /// Drills.
    Proof,
    /// Receipts, certificates and packs in the store.
    Stored,
    /// What the newest snapshot holds beside the nights before.
    Content,
    /// The second store.
    Copy,
    /// The last prune.
    Prune,
    /// A restore that is neither committed nor taken back.
    Restore,
}

/// A reason not to be green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// How bad it is.
    pub light: Light,
    /// What it is about.
    pub about: About,
    /// The sentence.
    pub said: String,
}

/// One tenant.
#[derive(Debug, Serialize)]
pub struct TenantStatus {
    /// Whose.
    pub tenant: TenantName,
    /// How it stands.
    pub light: Light,
    /// Why it is not green, each a sentence.
    pub reasons: Vec<String>,
    /// The same with what each is about and how bad it is.
    #[serde(skip)]
    pub blames: Vec<Blame>,
    /// The newest whole snapshot.
    pub snapshot: Option<SnapshotId>,
    /// When it was begun: what a restore brings back.
    pub as_of: Option<Timestamp>,
    /// The head: sequence and hash of the newest receipt. Compare it when only a bucket is left.
    pub head: Option<(u64, Sha256)>,
    /// The highest level that a drill of any snapshot reached.
    pub proof: Option<Proof>,
    /// The last attempt at a backup on this host.
    pub last_attempt: Option<Attempt>,
    /// The hold in force.
    pub hold: Option<Hold>,
    /// Bytes of the packs that the newest whole snapshot needs.
    pub needed_bytes: u64,
    /// How many snapshots there are.
    pub snapshots: usize,
    /// Since when a first drill is asked for that was not made yet.
    pub drill_asked: Option<Timestamp>,
    /// How the last copy to the second store ended, where there is one.
    pub copied: Option<copy::Last>,
    /// When its packs were last read and right.
    pub verified: Verified,
    /// A restore that is neither committed nor taken back.
    pub restore: Option<Pending>,
}

/// The best proof of a tenant.
#[derive(Debug, Serialize)]
pub struct Proof {
    /// Its level.
    pub level: String,
    /// When the drill ended.
    pub at: Timestamp,
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// How long the restore took.
    pub seconds: f64,
}

/// All tenants.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The time of the answer.
    pub now: Timestamp,
    /// When the recovery kit was shown to open what is sealed; until then no backup counts as protected.
    pub kit_confirmed: Option<Timestamp>,
    /// How many copies there are, and where.
    pub copies: Copies,
    /// The tenants.
    pub tenants: Vec<TenantStatus>,
}

impl Status {
    /// Returns the sentence of truth: who is recoverable, and how well that is proven.
    pub fn sentence(&self) -> String {
        let all = self.tenants.len();
        let recoverable = self.tenants.iter().filter(|t| t.snapshot.is_some()).count();
        let proven = self.tenants.iter().filter(|t| t.proof.is_some()).count();
        let red = self.tenants.iter().filter(|t| t.light == Light::Red).count();
        let mut s = format!(
            "{recoverable} of {} {} a whole backup; {proven} {} proven by a drill.",
            counted(all, "tenant"),
            if all == 1 || recoverable == 1 { "has" } else { "have" },
            if proven == 1 { "is" } else { "are" }
        );
        if self.kit_confirmed.is_none() {
            s.push_str(
                " Not protected: the recovery kit was never confirmed (`lifeboat keys confirm --kit FILE`).",
            );
        }
        if red > 0 {
            s.push_str(&format!(" {red} {} attention now.", if red == 1 { "needs" } else { "need" }));
        }
        s
    }

    /// Tells whether any tenant is red.
    pub fn is_red(&self) -> bool {
        self.tenants.iter().any(|t| t.light == Light::Red)
    }
}

/// Looks at the store and at what this host remembers.
pub async fn status(appliance: &Appliance, named: &[TenantName]) -> Result<Status> {
    let now = appliance.around.now();
    let kit_confirmed = appliance.state.membership()?.and_then(|m| m.kit_confirmed);
    let looks = futures::stream::iter(appliance.tenants(named)?).map(|t| of_tenant(appliance, t, now));
    let mut tenants: Vec<TenantStatus> = looks.buffered(TENANTS_AT_ONCE).try_collect().await?;
    if kit_confirmed.is_none() {
        tenants
            .iter_mut()
            .for_each(|t| t.blame(Light::Red, About::Stored, "not protected: kit never confirmed"));
    }
    let copies = Copies::of(&appliance.config.machine);
    Ok(Status { now, kit_confirmed, copies, tenants })
}

/// Looks at one tenant; costs three listings and what is new to this host.
pub async fn of_tenant(appliance: &Appliance, tenant: TenantName, now: Timestamp) -> Result<TenantStatus> {
    let (history, drills, forged) = snapshots::seen(appliance, &tenant).await?;
    let newest = history.latest_whole();
    let last_passed = drills.iter().rev().find(|d| d.passed());
    let mut status = TenantStatus {
        light: Light::Green,
        reasons: Vec::new(),
        blames: Vec::new(),
        snapshot: newest.map(|c| c.receipt.snapshot.clone()),
        as_of: newest.map(|c| c.receipt.started),
        head: history.head().map(|h| (h.sequence, h.receipt)),
        proof: last_passed.map(|d| Proof {
            level: d.shown_level(),
            at: d.finished,
            snapshot: d.snapshot.clone(),
            seconds: d.seconds(),
        }),
        last_attempt: last_attempt(appliance, &tenant)?,
        hold: appliance.state.hold(&tenant, now)?,
        needed_bytes: newest.map_or(0, |c| c.receipt.packs_bytes()),
        snapshots: history.snapshots.len(),
        drill_asked: drill::asked(&appliance.state, &tenant)?.filter(|a| a.is_due_yet(now)).map(|a| a.since),
        copied: copy::last(&appliance.state, &tenant)?,
        verified: Memory::load(&appliance.state, &tenant)?.told(),
        restore: restore::pending(&appliance.state, &tenant)?,
        tenant,
    };
    let rpo = appliance.config.tenant(&status.tenant)?.policy.rpo;
    judge(&mut status, now, rpo);
    judge_restore(&mut status);
    judge_store(&mut status, appliance, &history).await;
    for fault in &history.faults {
        let light = if fault.is_alarm() { Light::Red } else { Light::Yellow };
        status.blame(light, About::Stored, fault.to_string());
    }
    let harmed = tampered::remembered(&appliance.state, &status.tenant)?;
    if let Some(first) = harmed.first() {
        let what = format!(
            "overwritten or deleted: {}, as {first}; `lifeboat check` names all",
            counted(harmed.len(), "pack")
        );
        status.blame(Light::Red, About::Stored, what);
    }
    let newest = history.snapshots.last().map(|c| &c.receipt);
    if let Some(what) = anomaly::of_newest(&appliance.state, &status.tenant, newest)? {
        status.blame(Light::Red, About::Content, what);
    }
    if appliance.config.machine.copy.is_some() {
        judge_copy(&mut status, now, rpo);
    }
    judge_work(&mut status, appliance, &drills, forged)?;
    Ok(status)
}

/// Judges drills, and the last prune.
fn judge_work(
    status: &mut TenantStatus,
    appliance: &Appliance,
    drills: &[DrillOutcome],
    forged: Vec<Error>,
) -> Result<()> {
    for error in forged {
        status.blame(Light::Yellow, About::Proof, format!("a drill's outcome does not count: {error}"));
    }
    if let Some(last) = prune::last(&appliance.state, &status.tenant)?
        && let Some(problem) = last.problem
    {
        let what = format!("the last prune ({}) did not do its work: {problem}", whole_seconds(last.at));
        status.blame(Light::Yellow, About::Prune, what);
    }
    match drills.last() {
        Some(d) if !d.passed() => status.blame(Light::Red, About::Proof, of_failed(d)),
        Some(_) => {}
        None => {
            let mut what = "never drilled: nothing but hashes says that it can be restored".to_owned();
            if status.drill_asked.is_some() {
                what.push_str("; the first is due with the next planned backup");
            }
            status.blame(Light::Yellow, About::Proof, what);
        }
    }
    Ok(())
}

/// Says of a failed drill what failed, as far as its clear outcome does: what was seen is sealed with its report.
fn of_failed(d: &DrillOutcome) -> String {
    let failed = d.checks.iter().filter(|c| c.outcome == "failed");
    let words: Vec<&str> = failed.map(|c| c.check.as_str()).collect();
    let what = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
    format!("the last drill ({}, of snapshot {}) failed{what}", d.drill, d.snapshot)
}

/// Judges age, last attempt and hold.
fn judge(status: &mut TenantStatus, now: Timestamp, rpo: std::time::Duration) {
    match status.as_of {
        None => status.blame(Light::Red, About::Age, "no whole backup"),
        Some(t) => {
            let age = now.duration_since(t);
            if age > jiff::SignedDuration::try_from(rpo).unwrap_or(jiff::SignedDuration::MAX) {
                let text = format!(
                    "the newest whole backup is {} h old, {} h are allowed",
                    age.as_hours(),
                    rpo.as_secs() / 3600
                );
                status.blame(Light::Red, About::Age, text);
            }
        }
    }
    if let Some(attempt) = status.last_attempt.clone()
        && attempt.outcome != "whole"
    {
        let what = attempt.message.unwrap_or_default();
        let word = if attempt.outcome == "partial" { "is partial" } else { "failed" };
        status.blame(
            Light::Red,
            About::Attempt,
            format!("the last backup ({}) {word}: {what}", whole_seconds(attempt.started)),
        );
    }
    if let Some(hold) = status.hold.clone() {
        status.blame(Light::Yellow, About::Hold, format!("on hold until {}: {}", hold.until, hold.reason));
    }
}

/// Judges a restore that is neither committed nor taken back.
fn judge_restore(status: &mut TenantStatus) {
    let Some(pending) = &status.restore else { return };
    let light = match pending.phase {
        // One that goes on is nothing to be mended; one that was cut off holds a tenant up or fills a disk.
        _ if pending.running => Light::Yellow,
        Phase::Done => Light::Yellow,
        _ => Light::Red,
    };
    let said = pending.sentence();
    status.blame(light, About::Restore, said);
}

/// Judges what stops prune and nothing else tells, and whether the newest whole snapshot needs a damaged pack.
async fn judge_store(status: &mut TenantStatus, appliance: &Appliance, history: &History) {
    for (host, number, _, what) in appliance.trust.faults() {
        status.blame(
            Light::Red,
            About::Stored,
            format!("certificate {number} of host {host} does not verify: {what}"),
        );
    }
    for (_, stop) in prune::odd_times(history) {
        status.blame(Light::Red, About::Stored, stop.what);
    }
    let tenant = status.tenant.clone();
    match damaged::meaning(appliance, &tenant, history.latest_whole()).await {
        Ok(Meaning::None) => {}
        Ok(Meaning::Newest(n, first)) => {
            let what = format!(
                "the newest whole backup needs {}, as {first}: the next backup writes anew what is lost",
                counted(n, "damaged pack")
            );
            status.blame(Light::Red, About::Stored, what);
        }
        Ok(Meaning::Older(n)) => {
            let what =
                format!("older snapshots have {}: `lifeboat check` names them", counted(n, "damaged pack"));
            status.blame(Light::Yellow, About::Stored, what);
        }
        Err(e) => status.blame(
            Light::Red,
            About::Stored,
            format!("what the newest whole backup needs is not known: {e}"),
        ),
    }
}

/// Judges the copy in the second store: whether it ever was, was whole, and is not too old.
fn judge_copy(status: &mut TenantStatus, now: Timestamp, rpo: std::time::Duration) {
    let Some(last) = status.copied.clone() else {
        return status.blame(Light::Yellow, About::Copy, "never copied to the second store: `lifeboat copy`");
    };
    if let Some(problem) = &last.problem {
        status.blame(
            Light::Yellow,
            About::Copy,
            format!("the last copy ({}) is not whole: {problem}", last.at),
        );
    }
    let copied = last.head.map(|h| (h.sequence, h.receipt));
    let too_old = now.duration_since(last.at)
        > jiff::SignedDuration::try_from(rpo).unwrap_or(jiff::SignedDuration::MAX);
    if copied != status.head && too_old {
        let at = copied.map_or(0, |(sequence, _)| sequence);
        status.blame(
            Light::Yellow,
            About::Copy,
            format!("the second store has snapshots up to receipt {at} only"),
        );
    }
}

impl TenantStatus {
    fn blame(&mut self, light: Light, about: About, reason: impl Into<String>) {
        self.light = self.light.min(light);
        let said = reason.into();
        self.reasons.push(said.clone());
        self.blames.push(Blame { light, about, said });
    }
}
