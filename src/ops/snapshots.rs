//! `snapshots` and `show`: what there is, and what is in it.

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, HostName, Sha256, SnapshotId, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::recall::Kept;
use crate::ops::restore::{self, Pending};
use crate::repo::age_file::Identities;
use crate::repo::drill::{self, DrillOutcome};
use crate::repo::history::{Head, History};
use crate::repo::manifest::State;
use crate::repo::receipt::{Committed, Trigger};
use crate::repo::snapshot;

/// How many tenants are looked at together.
pub(super) const TENANTS_AT_ONCE: usize = 8;

/// A snapshot by its id, or the newest whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest whole snapshot.
    Latest,
    /// This one.
    Id(SnapshotId),
}

impl std::str::FromStr for Which {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        if s == "latest" { Ok(Which::Latest) } else { s.parse().map(Which::Id) }
    }
}

/// One committed snapshot, as its receipt tells it.
#[derive(Debug, Serialize)]
pub struct SnapshotLine {
    /// Its id.
    pub snapshot: SnapshotId,
    /// When it was begun.
    pub started: Timestamp,
    /// Its place in the chain.
    pub sequence: u64,
    /// The host that wrote it.
    pub host: HostName,
    /// What it was made for.
    pub trigger: Trigger,
    /// Whether all its components are whole.
    pub whole: bool,
    /// Whether something in it looked wrong beside the nights before.
    pub suspicious: bool,
    /// Components that are not whole, with their state.
    pub not_whole: Vec<(ComponentName, State)>,
    /// Bytes it newly stored.
    pub added_bytes: u64,
    /// Bytes of all packs it needs.
    pub needed_bytes: u64,
    /// How many packs it needs.
    pub packs: usize,
    /// Until when it is pinned.
    pub pinned_until: Option<Timestamp>,
    /// The highest level a drill of it reached.
    pub proof: Option<String>,
}

/// A tenant's snapshots.
#[derive(Debug, Serialize)]
pub struct TenantSnapshots {
    /// Whose.
    pub tenant: TenantName,
    /// By sequence.
    pub snapshots: Vec<SnapshotLine>,
    /// What is wrong with the chain of receipts.
    pub faults: Vec<String>,
}

/// Lists the snapshots of the named tenants, or of all that a certificate names.
pub async fn list(appliance: &Appliance, named: &[TenantName]) -> Result<Vec<TenantSnapshots>> {
    let tenants = known_tenants(appliance, named)?;
    let lists = futures::stream::iter(tenants).map(|tenant| of_tenant(appliance, tenant));
    lists.buffered(TENANTS_AT_ONCE).try_collect().await
}

async fn of_tenant(appliance: &Appliance, tenant: TenantName) -> Result<TenantSnapshots> {
    let (history, drills, _) = seen(appliance, &tenant).await?;
    Ok(TenantSnapshots {
        snapshots: history.snapshots.iter().map(|c| line(c, &drills)).collect(),
        faults: history.faults.iter().map(ToString::to_string).collect(),
        tenant,
    })
}

/// Loads a tenant's history and drills, those that do not count apart, and fetches only what this host has not read before.
///
/// Costs three listings, and two requests for each receipt, drill and void mark that is new to this host.
pub async fn seen(
    appliance: &Appliance,
    tenant: &TenantName,
) -> Result<(History, Vec<DrillOutcome>, Vec<Error>)> {
    let memory = Kept::of_tenant(&appliance.state, tenant);
    let repo = memory.through(&appliance.repo);
    let remembered = remembered_head(appliance, tenant)?;
    let history = History::load(&repo, &appliance.trust, tenant, remembered.as_ref()).await?;
    let (drills, wrong) = drill::load(&repo, &appliance.trust, tenant).await?;
    memory.keep();
    Ok((history, drills, wrong))
}

/// Returns the named tenants, or all that are configured here or stand in a certificate.
pub fn known_tenants(appliance: &Appliance, named: &[TenantName]) -> Result<Vec<TenantName>> {
    if !named.is_empty() {
        named.iter().try_for_each(|tenant| appliance.known(tenant))?;
        return Ok(named.to_vec());
    }
    let mut all: std::collections::BTreeSet<TenantName> =
        appliance.config.tenants().map(|t| t.name.clone()).collect();
    for host in appliance.trust.hosts() {
        if let Ok(certificate) = appliance.trust.in_force(host) {
            all.extend(certificate.tenants.iter().cloned());
        }
    }
    Ok(all.into_iter().collect())
}

/// Loads a tenant's history from the store alone, compared with the head that this host remembers.
pub async fn history(appliance: &Appliance, tenant: &TenantName) -> Result<History> {
    let remembered = remembered_head(appliance, tenant)?;
    History::load(&appliance.repo, &appliance.trust, tenant, remembered.as_ref()).await
}

/// Returns the newest receipt that this host has seen of a tenant.
pub fn remembered_head(appliance: &Appliance, tenant: &TenantName) -> Result<Option<Head>> {
    let seen: Option<crate::repo::history::Seen> =
        crate::ops::state::read_json(&appliance.state.tenant_if_there(tenant).join("seen.json"))?;
    Ok(seen.and_then(|s| s.head))
}

/// Finds a snapshot of a tenant.
pub async fn find(appliance: &Appliance, tenant: &TenantName, which: &Which) -> Result<Committed> {
    appliance.known(tenant)?;
    let history = history(appliance, tenant).await?;
    let found = match which {
        Which::Latest => history.latest_whole(),
        Which::Id(id) => history.find(id),
    };
    found.cloned().ok_or_else(|| nothing_found(tenant, which, &history))
}

fn nothing_found(tenant: &TenantName, which: &Which, history: &History) -> Error {
    if let Which::Id(id) = which {
        let fault = history.faults.iter().find(|f| f.snapshot() == Some(id));
        return match fault {
            Some(f) => {
                Error::new(Kind::Forged, format!("snapshot {id} of {tenant} is not to be trusted: {f}"))
            }
            None => Error::new(Kind::NotFound, format!("tenant {tenant} has no snapshot {id}"))
                .hint(format!("`lifeboat snapshots {tenant}` lists them")),
        };
    }
    let partial = history.snapshots.last();
    let what = format!("tenant {tenant} has no whole snapshot");
    match (partial, history.faults.first()) {
        (Some(p), _) => Error::new(Kind::NotFound, what)
            .hint(format!("name a partial one to take it: {}", p.receipt.snapshot)),
        (None, Some(fault)) => Error::new(Kind::Forged, format!("{what} that verifies: {fault}")),
        (None, None) => {
            Error::new(Kind::NotFound, what).hint(format!("`lifeboat backup {tenant}` makes one"))
        }
    }
}

fn line(c: &Committed, drills: &[DrillOutcome]) -> SnapshotLine {
    let r = &c.receipt;
    SnapshotLine {
        snapshot: r.snapshot.clone(),
        started: r.started,
        sequence: r.sequence,
        host: r.host.clone(),
        trigger: r.trigger,
        whole: r.is_whole(),
        suspicious: r.is_suspicious(),
        not_whole: r
            .components
            .iter()
            .filter(|s| s.state != State::Whole)
            .map(|s| (s.component, s.state))
            .collect(),
        added_bytes: r.added_bytes,
        needed_bytes: r.packs_bytes(),
        packs: r.pack_count(),
        pinned_until: r.pinned_until,
        proof: best_proof(&r.snapshot, drills).map(DrillOutcome::shown_level),
    }
}

/// Returns the passed drill of a snapshot that reached the highest level.
pub fn best_proof<'a>(snapshot: &SnapshotId, drills: &'a [DrillOutcome]) -> Option<&'a DrillOutcome> {
    drills
        .iter()
        .filter(|d| d.passed() && d.snapshot == *snapshot)
        .max_by(|a, b| (&a.level, a.double).cmp(&(&b.level, b.double)))
}

/// One component of a shown snapshot.
#[derive(Debug, Serialize)]
pub struct ShownComponent {
    /// Which.
    pub component: ComponentName,
    /// How far it was read.
    pub state: State,
    /// Why it failed.
    pub reason: Option<String>,
    /// What could not be read; known with an identity.
    pub lacks: Vec<String>,
    /// Its streams and their lengths in bytes; known with an identity.
    pub streams: Vec<(String, u64)>,
}

/// A snapshot in detail.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Whose.
    pub tenant: TenantName,
    /// What its receipt tells.
    pub line: SnapshotLine,
    /// The hash of its receipt.
    pub receipt: Sha256,
    /// What the operator called it; known with an identity.
    pub label: Option<String>,
    /// Its components.
    pub components: Vec<ShownComponent>,
    /// Whether the manifest was opened.
    pub opened: bool,
    /// A restore of the tenant that is neither committed nor taken back.
    pub restore: Option<Pending>,
}

/// Shows one snapshot; with an identity also what its manifest says.
pub async fn show(
    appliance: &Appliance,
    tenant: &TenantName,
    which: &Which,
    identities: Option<&Identities>,
) -> Result<Shown> {
    let committed = find(appliance, tenant, which).await?;
    let (drills, _) = drill::load(&appliance.repo, &appliance.trust, tenant).await?;
    let mut shown = Shown {
        tenant: tenant.clone(),
        line: line(&committed, &drills),
        receipt: committed.hash,
        label: None,
        components: Vec::new(),
        opened: false,
        restore: restore::pending(&appliance.state, tenant)?,
    };
    let Some(identities) = identities else {
        for c in &committed.receipt.components {
            shown.components.push(ShownComponent {
                component: c.component,
                state: c.state,
                reason: c.reason.clone(),
                lacks: Vec::new(),
                streams: Vec::new(),
            });
        }
        return Ok(shown);
    };
    let vault = snapshot::open_vault(&appliance.repo, &committed.receipt, identities).await?;
    let manifest = snapshot::read_manifest(&appliance.repo, &committed, &vault).await?;
    shown.label.clone_from(&manifest.header.label);
    shown.opened = true;
    for c in &manifest.components {
        let of_it = manifest.streams.iter().filter(|s| s.component == c.component);
        shown.components.push(ShownComponent {
            component: c.component,
            state: c.state,
            reason: c.detail.clone().or_else(|| c.reason.clone()),
            lacks: c.lacks.clone(),
            streams: of_it.map(|s| (s.stream.clone(), s.size_bytes)).collect(),
        });
    }
    Ok(shown)
}
