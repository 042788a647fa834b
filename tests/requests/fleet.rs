//! A thousand tenants with sixty snapshots each, in a store in memory: receipts of our own making, signed, and nothing
//! that they name but its listing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use lifeboat::config::{Config, SourceFile, Surroundings as Place};
use lifeboat::id::{HostName, Sha256, SnapshotId, TenantName};
use lifeboat::monitor::Silent;
use lifeboat::ops::appliance::{Appliance, Surroundings};
use lifeboat::ops::{snapshots, status};
use lifeboat::repo::age_file::{Recipient, generate_identity};
use lifeboat::repo::certificate::{Grant, Role, Trust, issue};
use lifeboat::repo::drill::{self, NewOutcome};
use lifeboat::repo::keys::{self, SnapshotPart};
use lifeboat::repo::repository::Repository;
use lifeboat::repo::sign::SigningKey;
use lifeboat::repo::vault::{Vault, VaultKey};
use lifeboat::repo::{object, void};
use lifeboat::store::SharedStore;
use serde_json::json;

use super::support::counting::{Counting, InMemory, Tally};
use super::{requests, within};

const SNAPSHOTS: usize = 60;
/// Packs of a snapshot.
const PACKS: usize = 20;

fn first_night() -> Timestamp {
    "2026-09-01T02:00:00Z".parse().unwrap()
}

fn host() -> HostName {
    "h1".parse().unwrap()
}

/// The fleet and a machine that looks at it.
struct Fleet {
    tenants: Vec<TenantName>,
    memory: Arc<InMemory>,
    store: Arc<Counting>,
    repo: Repository,
    signer: SigningKey,
    trust: Trust,
    state: tempfile::TempDir,
    heads: BTreeMap<TenantName, (Vault, Sha256)>,
}

impl Fleet {
    async fn of(count: usize) -> Fleet {
        let tenants: Vec<TenantName> =
            (0..count).map(|n| format!("tenant-{n:04}").parse().unwrap()).collect();
        let memory = InMemory::new(first_night() + SignedDuration::from_hours(24 * 61));
        let (root, _) = SigningKey::generate("root", None).unwrap();
        let (signer, _) = SigningKey::generate("h1", None).unwrap();
        let inner: SharedStore = memory.clone();
        let repo = Repository::create(inner.clone(), root.public(), first_night(), [7; 16]).await.unwrap();
        let grant = Grant {
            host: host(),
            signing_key: signer.public().clone(),
            roles: Role::ALL.to_vec(),
            tenants: tenants.clone(),
            ended: None,
            handed_over: BTreeMap::new(),
        };
        issue(&repo, &root, grant, first_night()).await.unwrap();
        let trust = Trust::load(&repo).await.unwrap();
        let store = Counting::new(inner);
        let state = tempfile::tempdir().unwrap();
        let heads = BTreeMap::new();
        let mut fleet = Fleet { tenants: tenants.clone(), memory, store, repo, signer, trust, state, heads };
        let operator = generate_identity().1;
        for tenant in &tenants {
            fleet.fill(tenant, &operator).await;
        }
        fleet
    }

    /// Gives a tenant its snapshots, a drill and a void mark.
    async fn fill(&mut self, tenant: &TenantName, operator: &Recipient) {
        let vault = Vault::create(&self.repo, tenant, std::slice::from_ref(operator)).await.unwrap();
        let mut before = None;
        for n in 1..=SNAPSHOTS {
            before = Some(self.commit(tenant, &vault, n, before));
        }
        let at = first_night();
        let new = NewOutcome {
            drill: lifeboat::id::DrillId::new(at, [1; 4]),
            tenant: tenant.clone(),
            snapshot: (snapshot(1), before.unwrap()),
            times: (at, at),
            level: "L3".to_owned(),
            double: false,
            rto_seconds: 1.0,
            passed: true,
            checks: Vec::new(),
            phases: Vec::new(),
            report: b"{}".to_vec(),
        };
        drill::record(&self.repo, &self.trust, &host(), &self.signer, &VaultKey::generate(), new)
            .await
            .unwrap();
        let mark = void::NewMark {
            tenant: tenant.clone(),
            time: at,
            packs: vec![Sha256::of(b"void")],
            forgotten: Vec::new(),
            gone: HashSet::new(),
            reason: "prune",
        };
        void::write(&self.repo, &self.trust, &host(), &self.signer, mark).await.unwrap();
        self.heads.insert(tenant.clone(), (vault, before.unwrap()));
    }

    /// Writes the `n`-th receipt of a tenant, from 1, and returns its hash.
    fn commit(&self, tenant: &TenantName, vault: &Vault, n: usize, before: Option<Sha256>) -> Sha256 {
        let id = snapshot(n);
        let started = first_night() + SignedDuration::from_hours(24 * n as i64);
        let whole = |component| json!({"component": component, "state": "whole"});
        let components = ["database", "redis-cache", "redis-queue", "files", "config", "certs"].map(whole);
        let receipt = json!({
            "format": 1, "kind": "receipt", "repository": self.repo.id(), "tenant": tenant, "snapshot": id,
            "host": host(), "certificate": 1, "sequence": n, "previous": before, "started": started,
            "finished": started, "trigger": "scheduled", "pinned_until": null, "vault": vault.id(),
            "recipient": vault.recipient(), "wraps": vault.wraps(),
            "manifest": {"hash": Sha256::of(b"m"), "size": 1},
            "packs": {"hash": Sha256::of(b"p"), "size": 32 * PACKS, "sizes": vec![16_777_216; PACKS]},
            "void_seen": 0, "added_bytes": 500_000,
            "components": components,
        });
        let keys = keys::receipt(tenant, &id);
        let bytes = object::encode(&receipt).unwrap();
        let signature = self.signer.sign(&keys.json, &bytes).unwrap();
        let hash = Sha256::of(&bytes);
        self.memory.insert(&keys.minisig, signature);
        self.memory.insert(&keys.json, bytes);
        for part in [SnapshotPart::Manifest, SnapshotPart::PackList] {
            self.memory.insert(&keys::snapshot(tenant, &id, part), "m");
        }
        hash
    }

    /// Begins a process on the machine that looks.
    async fn appliance(&self) -> Appliance {
        let state = self.state.path();
        let machine = format!(
            "host = \"h1\"\nstate_dir = {state:?}\n[store]\nurl = \"file:///nowhere\"\n[repository]\npin = \"{}\"\n",
            self.repo.hash()
        );
        let mut files = vec![SourceFile::new("lifeboat.toml", machine)];
        for tenant in &self.tenants {
            let text = format!("site = \"{tenant}\"\n[files]\npath = \"/srv\"\n");
            files.push(SourceFile::new(format!("tenants/{tenant}.toml"), text));
        }
        let place = Place { hostname: "h1".into(), zone: jiff::tz::TimeZone::UTC };
        let config = Config::from_files(state, &files, &place).unwrap();
        let now = self.memory.now;
        let clock = Arc::new(move || now);
        let around = Surroundings {
            clock,
            monitor: Arc::new(Silent),
            stop: Default::default(),
            lines: Default::default(),
        };
        Appliance::open_on(self.store.clone(), config, around).await.unwrap()
    }

    /// Runs `snapshots` in a process of its own; returns how many there are, and what was asked.
    async fn snapshots(&self) -> (usize, Tally) {
        let appliance = self.appliance().await;
        let began = Instant::now();
        let all = snapshots::list(&appliance, &[]).await.unwrap();
        println!("snapshots: {:.1} s", began.elapsed().as_secs_f64());
        assert!(all.iter().all(|t| t.faults.is_empty()), "{:?}", all[0].faults);
        assert_eq!(all.len(), self.tenants.len());
        (all.iter().map(|t| t.snapshots.len()).sum(), self.store.take())
    }

    /// The same of `status`.
    async fn status(&self) -> (usize, Tally) {
        let appliance = self.appliance().await;
        let began = Instant::now();
        let status = status::status(&appliance, &[]).await.unwrap();
        println!("status: {:.1} s", began.elapsed().as_secs_f64());
        assert!(status.tenants.iter().all(|t| t.proof.is_some()));
        (status.tenants.iter().map(|t| t.snapshots).sum(), self.store.take())
    }
}

fn snapshot(n: usize) -> SnapshotId {
    let started = first_night() + SignedDuration::from_hours(24 * n as i64);
    SnapshotId::new(started, u32::try_from(n).unwrap().to_be_bytes())
}

/// Once a command, whatever the fleet's size: the repository, and the listing of certificates.
const ONCE: usize = 2;

#[tokio::test]
async fn a_look_at_a_fleet_costs_three_requests_a_tenant_and_two_for_each_snapshot_that_is_new() {
    let full = std::env::var_os("LIFEBOAT_FULL").is_some();
    let count = if full { 1000 } else { 24 };
    let fleet = Fleet::of(count).await;

    let (there, cold) = fleet.snapshots().await;
    assert_eq!(there, count * SNAPSHOTS);
    // Three listings, sixty receipts, a void mark and a drill; and a certificate for all.
    let of_tenant = 3 + 2 * SNAPSHOTS + 2 + 2;
    within(&cold, ONCE + 2 + count * of_tenant);
    assert_eq!(requests(&cold), ONCE + 2 + count * of_tenant, "{cold:#?}");

    for _ in 0..2 {
        let (there, warm) = fleet.snapshots().await;
        assert_eq!(there, count * SNAPSHOTS);
        within(&warm, ONCE + 3 * count);
        let (there, warm) = fleet.status().await;
        assert_eq!(there, count * SNAPSHOTS);
        within(&warm, ONCE + 3 * count);
    }

    // A night later: one snapshot more a tenant.
    for (tenant, (vault, head)) in &fleet.heads {
        fleet.commit(tenant, vault, SNAPSHOTS + 1, Some(*head));
    }
    let (there, next) = fleet.status().await;
    assert_eq!(there, count * (SNAPSHOTS + 1));
    within(&next, ONCE + (3 + 2) * count);

    // Without a memory, status costs what snapshots did, and the store shows what is there, not what was.
    std::fs::remove_dir_all(fleet.state.path().join("tenants")).unwrap();
    let (there, cold) = fleet.status().await;
    assert_eq!(there, count * (SNAPSHOTS + 1));
    within(&cold, ONCE + count * (of_tenant + 2));
}
