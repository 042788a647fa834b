//! What a prune would do: a pure value made of what the store holds and what the rules decided.
//!
//! Owns every bound: what stops it, how much goes at a time, and what has to have been seen before anything goes.

mod facts;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use self::facts::Facts;
use super::retention::{Candidate, Decision, LEAST_INTACT, Reason};
use crate::error::Kind;
use crate::id::{HostName, PackId, ProofLevel, SnapshotId, TenantName};
use crate::repo::history::Fault;
use crate::repo::survey::{HeldPack, Survey};
use crate::repo::void::Forgotten;
use crate::store::Entry;

/// A run forgets at most one in so many of a tenant's snapshots, and at least one.
pub const FORGET_SHARE: usize = 4;

/// A run removes at most one in so many of a tenant's bytes in packs, and at least one pack.
pub const REMOVE_SHARE: u64 = 2;

/// What an operator orders besides the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Snapshots to forget by name, whatever the rules say.
    pub forget: Vec<SnapshotId>,
    /// Receipts that lack are known to be lost: sign for them, and go on.
    pub accept_missing: bool,
}

/// One snapshot and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When it was begun.
    pub started: Timestamp,
    /// Whether all its components are whole.
    pub whole: bool,
    /// Whether all that it names is in the store.
    pub intact: bool,
    /// The highest level that a drill of it passed.
    pub proof: Option<ProofLevel>,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// It is not kept, but goes in a later run, since each forgets a bounded share only.
    pub postponed: bool,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// A stable word: `missing`, `fork`, `rolled-back`, `future-dated`, `unverifiable`, ….
    pub fault: &'static str,
    /// What is wrong.
    pub what: String,
}

/// A host that has to write before packs can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// Which.
    pub host: HostName,
    /// The void mark that it has to see.
    pub mark: u32,
    /// The highest that it says it saw; none where it never wrote.
    pub seen: Option<u32>,
}

/// A number of packs and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many packs.
    pub packs: usize,
    /// Their bytes in the store.
    pub bytes: u64,
}

/// What a prune of one tenant would do.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Whose.
    pub tenant: TenantName,
    /// What ages are measured against: the earlier of this machine's time and the store's of the newest receipt.
    pub now: Timestamp,
    /// The snapshots, by sequence.
    pub snapshots: Vec<Line>,
    /// Why nothing is done; empty where it is.
    pub stops: Vec<Stop>,
    /// The tenant's hold, under which nothing is done either.
    pub on_hold: Option<String>,
    /// Who has to write before what is void can go.
    pub waits: Vec<Wait>,
    /// Snapshots that are forgotten.
    pub forget: Vec<SnapshotId>,
    /// Snapshots that are not kept and go in later runs.
    pub postponed: usize,
    /// Packs that go now: void before, seen by all who write, needed by none.
    pub now_go: Amount,
    /// Packs that become void and go in a later run.
    pub become_void: Amount,
    /// Packs that are void already and go in a later run.
    pub void_before: Amount,
    /// Snapshots that were forgotten or never committed, of which objects are still there.
    pub leftovers: Vec<SnapshotId>,
    /// All packs there are.
    pub stored: Amount,
    /// Of these, the packs that some kept snapshot needs.
    pub needed: Amount,
    /// What is carried out.
    #[serde(skip)]
    pub(super) work: Work,
}

/// The objects and marks behind a plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    /// Packs that become void.
    pub void: Vec<PackId>,
    /// Receipts to sign for.
    pub forgotten: Vec<Forgotten>,
    /// Void packs that are gone.
    pub gone: BTreeSet<PackId>,
    /// The objects of snapshots to remove.
    pub snapshots: Vec<Vec<Entry>>,
    /// The versions of packs to remove.
    pub packs: Vec<Entry>,
    /// Void marks that a later one repeats and everybody has seen.
    pub marks: BTreeSet<u32>,
}

impl Plan {
    /// Makes the plan of a tenant that is neither stopped nor on hold, and then stops it where something is wrong.
    ///
    /// `certificates` names those that do not verify: who may write cannot be told then.
    pub fn new(
        survey: &Survey,
        certificates: &[String],
        candidates: &[Candidate],
        mut decisions: Vec<Decision>,
        orders: &Orders,
        now: Timestamp,
    ) -> Plan {
        let mut stops = stops(survey, certificates, orders);
        stops.extend(carry_out_orders(&mut decisions, candidates, orders));
        stops.extend(odd_times(&decisions));
        let chosen = bounded(&decisions, orders);
        let facts = Facts { survey, chosen: &chosen };
        let needed = facts.needed();
        let removable = facts.removable();
        let (packs, now_go) = bounded_bytes(survey, &removable);
        let void = facts.becomes_void(&needed);
        let leftovers = facts.leftovers();
        let waiting = survey.void.keys().filter(|id| survey.packs.contains_key(*id) && !packs.contains(*id));
        let work = Work {
            forgotten: facts.forgotten(orders),
            gone: survey.void.keys().filter(|id| !survey.packs.contains_key(*id)).copied().collect(),
            snapshots: chosen
                .iter()
                .chain(&leftovers)
                .filter_map(|s| survey.objects.get(s).cloned())
                .collect(),
            packs: packs
                .iter()
                .filter_map(|id| survey.packs.get(id))
                .flat_map(|h| h.versions.clone())
                .collect(),
            marks: facts.old_marks(),
            void: void.clone(),
        };
        let mut plan = Plan {
            tenant: survey.history.tenant.clone(),
            now,
            snapshots: lines(candidates, decisions, &chosen),
            waits: facts.waits(),
            postponed: 0,
            now_go,
            become_void: amount(survey, &void),
            void_before: amount(survey, waiting),
            leftovers,
            stored: amount(survey, survey.packs.keys()),
            needed: amount(survey, &needed),
            forget: chosen.iter().cloned().collect(),
            stops,
            on_hold: None,
            work,
        };
        plan.postponed = plan.snapshots.iter().filter(|l| l.postponed).count();
        if !plan.stops.is_empty() {
            plan.rest();
        }
        plan
    }

    /// Does nothing because of what `fault` names.
    pub(super) fn stop(&mut self, fault: &'static str, what: String) {
        self.stops.push(Stop { fault, what });
        self.rest();
    }

    /// Does nothing because the tenant is on hold.
    pub(super) fn hold(&mut self, why: String) {
        self.on_hold = Some(why);
        self.rest();
    }

    fn rest(&mut self) {
        self.work = Work::default();
        self.forget.clear();
        self.leftovers.clear();
        (self.now_go, self.become_void) = (Amount::default(), Amount::default());
    }

    /// Tells whether anything would change.
    pub fn is_idle(&self) -> bool {
        let w = &self.work;
        w.forgotten.is_empty()
            && w.void.is_empty()
            && w.snapshots.is_empty()
            && w.packs.is_empty()
            && w.marks.is_empty()
    }

    /// Tells whether nothing but the operator's own orders stops it.
    pub fn is_stopped_by_orders_alone(&self) -> bool {
        self.is_stopped() && self.stops.iter().all(|s| matches!(s.fault, "order" | "minimum"))
    }

    /// Tells whether it stops because something is wrong.
    pub fn is_stopped(&self) -> bool {
        !self.stops.is_empty()
    }
}

/// Finds what is wrong with the tenant as a whole.
fn stops(survey: &Survey, certificates: &[String], orders: &Orders) -> Vec<Stop> {
    let accepted = |f: &Fault| orders.accept_missing && matches!(f, Fault::Missing { .. });
    let faults = survey.history.faults.iter().filter(|f| f.is_alarm() && !accepted(f));
    let mut stops: Vec<Stop> = faults.map(|f| Stop { fault: f.word(), what: f.to_string() }).collect();
    stops.extend(
        certificates.iter().map(|what| Stop { fault: "unverifiable", what: format!("certificate {what}") }),
    );
    let unreadable = survey.unreadable.iter().filter(|(s, ..)| !orders.forget.contains(s));
    stops.extend(unreadable.map(|(snapshot, kind, what)| Stop {
        fault: if *kind == Kind::NotFound { "missing-object" } else { kind.word() },
        what: format!("what snapshot {snapshot} needs is not known: {what}"),
    }));
    stops
}

/// Takes up what the operator orders; refuses what would leave too little.
fn carry_out_orders(decisions: &mut [Decision], candidates: &[Candidate], orders: &Orders) -> Vec<Stop> {
    let mut stops = Vec::new();
    for name in &orders.forget {
        let refused = match decisions.iter_mut().find(|d| d.snapshot == *name) {
            None => format!("there is no snapshot {name} to forget"),
            Some(d) if d.reasons.contains(&Reason::Newest) => {
                format!("{name} is the newest: make another backup before it is forgotten")
            }
            Some(d) => {
                d.keep = false;
                d.reasons = vec![Reason::Ordered];
                continue;
            }
        };
        stops.push(Stop { fault: "order", what: refused });
    }
    let good: Vec<&SnapshotId> =
        candidates.iter().filter(|c| c.whole && c.intact).map(|c| &c.snapshot).collect();
    let left = decisions.iter().filter(|d| d.keep && good.contains(&&d.snapshot)).count();
    if left < good.len().min(LEAST_INTACT) {
        let what =
            format!("only {left} whole and intact snapshots would be left, {LEAST_INTACT} are the least");
        stops.push(Stop { fault: "minimum", what });
    }
    stops
}

pub(super) fn odd_times(decisions: &[Decision]) -> Vec<Stop> {
    let odd = |d: &Decision| {
        let fault = d.reasons.iter().find_map(|r| match r {
            Reason::FutureDated => Some("future-dated"),
            Reason::BackDated => Some("back-dated"),
            _ => None,
        })?;
        let what = match fault {
            "future-dated" => "gives a time after that at which the store took it",
            _ => "gives a time before that of the receipt before it",
        };
        Some(Stop { fault, what: format!("receipt {} ({}) {what}", d.sequence, d.snapshot) })
    };
    decisions.iter().filter_map(odd).collect()
}

/// Chooses what this run forgets: what is ordered by name, then the oldest up to a bounded share.
fn bounded(decisions: &[Decision], orders: &Orders) -> BTreeSet<SnapshotId> {
    let most = decisions.len().div_ceil(FORGET_SHARE).max(1);
    let goes = || decisions.iter().filter(|d| !d.keep);
    let ordered = goes().filter(|d| orders.forget.contains(&d.snapshot));
    let by_rule = goes().filter(|d| !orders.forget.contains(&d.snapshot)).take(most);
    ordered.chain(by_rule).map(|d| d.snapshot.clone()).collect()
}

/// Takes packs up to a bounded share of the bytes, and one at least.
fn bounded_bytes(survey: &Survey, removable: &[PackId]) -> (BTreeSet<PackId>, Amount) {
    let all: u64 = survey.packs.values().map(|h| h.stored_bytes).sum();
    let mut taken = Amount::default();
    let mut packs = BTreeSet::new();
    for id in removable {
        let bytes = survey.packs.get(id).map_or(0, |h| h.stored_bytes);
        if taken.packs > 0 && taken.bytes + bytes > all / REMOVE_SHARE {
            continue;
        }
        taken.packs += 1;
        taken.bytes += bytes;
        packs.insert(*id);
    }
    (packs, taken)
}

fn amount<'a>(survey: &Survey, packs: impl IntoIterator<Item = &'a PackId>) -> Amount {
    let held: Vec<&HeldPack> = packs.into_iter().filter_map(|id| survey.packs.get(id)).collect();
    Amount { packs: held.len(), bytes: held.iter().map(|h| h.stored_bytes).sum() }
}

fn lines(candidates: &[Candidate], decisions: Vec<Decision>, chosen: &BTreeSet<SnapshotId>) -> Vec<Line> {
    let by_name: BTreeMap<&SnapshotId, &Candidate> = candidates.iter().map(|c| (&c.snapshot, c)).collect();
    let line = |decision: Decision| {
        let c = by_name.get(&decision.snapshot)?;
        let postponed = !decision.keep && !chosen.contains(&decision.snapshot);
        Some(Line {
            started: c.started,
            whole: c.whole,
            intact: c.intact,
            proof: c.proof,
            decision,
            postponed,
        })
    };
    decisions.into_iter().filter_map(line).collect()
}
