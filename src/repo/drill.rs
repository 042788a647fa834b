//! The signed, clear outcome of a drill, and its sealed report.
//!
//! Owns their shape and verification. Knows nothing of how a drill is done.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{DrillId, HostName, RepositoryId, Sha256, SnapshotId, TenantName};

use super::age_file;
use super::certificate::{Role, Trust};
use super::receipt::ObjectRef;
use super::repository::Repository;
use super::sign::SigningKey;
use super::vault::VaultKey;
use super::{keys, object, recall};

/// The greatest length of an outcome, in bytes.
pub(super) const LIMIT_BYTES: u64 = 1024 * 1024;
/// The greatest length of a report, in bytes.
const REPORT_LIMIT: u64 = 64 * 1024 * 1024;

/// A check as everybody may know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckOutcome {
    /// Its name.
    pub check: String,
    /// `passed`, `failed` or `skipped`.
    pub outcome: String,
}

/// A phase with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Its name.
    pub phase: String,
    /// How long it took.
    pub seconds: f64,
}

/// What a drill found, as `drills/<drill>.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillOutcome {
    format: u64,
    kind: String,
    /// The repository.
    pub repository: RepositoryId,
    /// The tenant.
    pub tenant: TenantName,
    /// The drill.
    pub drill: DrillId,
    /// The snapshot that was restored.
    pub snapshot: SnapshotId,
    /// The hash of its receipt.
    pub receipt: Sha256,
    /// The host that ran it.
    pub host: HostName,
    /// The number of the certificate it was written under.
    pub certificate: u32,
    /// When it began, by the host's clock.
    pub started: Timestamp,
    /// When it ended, by the host's clock.
    pub finished: Timestamp,
    /// The highest proof level reached, `L0` to `L5`.
    pub level: String,
    /// `passed` or `failed`.
    pub outcome: String,
    /// Its checks.
    pub checks: Vec<CheckOutcome>,
    /// Its phases.
    pub phases: Vec<PhaseTime>,
    /// Whether it went on to L4 with a double of the application, which proves nothing above `level`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub double: bool,
    /// How long a restore takes by it: without the phases that only prove something. Absent in older outcomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_seconds: Option<f64>,
    /// Its report.
    pub report: ObjectRef,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(b: &bool) -> bool {
    !b
}

/// What a drill has to say, before it is signed.
#[derive(Debug)]
pub struct NewOutcome {
    /// The drill.
    pub drill: DrillId,
    /// The tenant.
    pub tenant: TenantName,
    /// The snapshot and the hash of its receipt.
    pub snapshot: (SnapshotId, Sha256),
    /// When it began and ended.
    pub times: (Timestamp, Timestamp),
    /// The highest proof level reached.
    pub level: String,
    /// Whether it went on to L4 with a double of the application.
    pub double: bool,
    /// How long a restore takes by it, in seconds.
    pub rto_seconds: f64,
    /// Whether it passed.
    pub passed: bool,
    /// Its checks.
    pub checks: Vec<CheckOutcome>,
    /// Its phases.
    pub phases: Vec<PhaseTime>,
    /// The whole report, JSON; it is sealed to the vault.
    pub report: Vec<u8>,
}

impl DrillOutcome {
    /// Tells whether it passed.
    pub fn passed(&self) -> bool {
        self.outcome == "passed"
    }

    /// Returns how long the restore took, in seconds; of older outcomes, all phases added up.
    pub fn seconds(&self) -> f64 {
        self.rto_seconds.unwrap_or_else(|| self.phases.iter().map(|p| p.seconds).sum())
    }

    /// Returns the level for people: `L4 (double)` where only a double of the application was booted.
    pub fn shown_level(&self) -> String {
        if self.double { "L4 (double)".to_owned() } else { self.level.clone() }
    }
}

/// Seals the report to the vault, signs the outcome and stores both; returns the outcome.
pub async fn record(
    repo: &Repository,
    trust: &Trust,
    host: &HostName,
    signer: &SigningKey,
    vault: &VaultKey,
    new: NewOutcome,
) -> Result<DrillOutcome> {
    let certificate = trust.may_write(host, Role::Drill, &new.tenant)?;
    let sealed = age_file::seal(std::slice::from_ref(vault.recipient()), &new.report)?;
    let report = ObjectRef { hash: Sha256::of(&sealed), size: sealed.len() as u64 };
    let outcome = DrillOutcome {
        format: object::FORMAT,
        kind: "drill".to_owned(),
        repository: repo.id().clone(),
        tenant: new.tenant,
        drill: new.drill,
        snapshot: new.snapshot.0,
        receipt: new.snapshot.1,
        host: host.clone(),
        certificate: certificate.number,
        started: new.times.0,
        finished: new.times.1,
        level: new.level,
        outcome: if new.passed { "passed" } else { "failed" }.to_owned(),
        checks: new.checks,
        phases: new.phases,
        double: new.double,
        rto_seconds: Some(new.rto_seconds),
        report,
    };
    let store = &**repo.store();
    let keys = keys::drill(&outcome.tenant, &outcome.drill);
    let json = object::encode(&outcome)?;
    let signature = signer.sign(&keys.json, &json)?;
    object::put_once(store, &keys::drill_report(&outcome.tenant, &outcome.drill), sealed.into()).await?;
    object::put_once(store, &keys.minisig, signature.into_bytes().into()).await?;
    object::put_once(store, &keys.json, json.into()).await?;
    Ok(outcome)
}

/// Loads the outcomes of a tenant's drills that verify, by time; those that do not are named beside.
pub async fn load(
    repo: &Repository,
    trust: &Trust,
    tenant: &TenantName,
) -> Result<(Vec<DrillOutcome>, Vec<Error>)> {
    let listed = recall::versions(repo, &keys::drills(tenant)).await?;
    let mut ids: Vec<DrillId> = listed.iter().filter_map(|e| keys::parse_drill(tenant, &e.key)).collect();
    ids.sort();
    ids.dedup();
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for id in ids {
        let keys = keys::drill(tenant, &id);
        let check = |json: &[u8], signature: &[u8]| verify(trust, tenant, &id, json, signature);
        match recall::get_signed(repo, &keys, &listed, LIMIT_BYTES, check).await {
            Ok(signed) => right.push(signed.value),
            Err(e) => wrong.push(e),
        }
    }
    Ok((right, wrong))
}

/// Opens the sealed report of a drill.
pub async fn open_report(repo: &Repository, outcome: &DrillOutcome, vault: &VaultKey) -> Result<Vec<u8>> {
    let key = keys::drill_report(&outcome.tenant, &outcome.drill);
    let sealed = object::get_hashed(&**repo.store(), &key, &outcome.report.hash, REPORT_LIMIT).await?;
    Ok(age_file::open(key.as_str(), &sealed, vault.identities(), REPORT_LIMIT)?.to_vec())
}

/// Signs a report for those who get it without the store.
pub fn sign_report(signer: &SigningKey, tenant: &TenantName, id: &DrillId, json: &[u8]) -> Result<String> {
    signer.sign(&keys::drill_paper(tenant, id), json)
}

/// Checks such a signature through the root: by a host whose certificate of that number let it drill the tenant.
pub fn verify_report(
    trust: &Trust,
    (host, certificate): (&HostName, u32),
    (tenant, id): (&TenantName, &DrillId),
    json: &[u8],
    signature: &[u8],
) -> Result<()> {
    let signer = trust.named(host, certificate, Role::Drill, tenant)?;
    signer.signing_key.verify(&keys::drill_paper(tenant, id), json, signature)
}

/// Checks a drill's outcome that lies under the key of `tenant` and `id`, with its signature.
pub(super) fn verify(
    trust: &Trust,
    tenant: &TenantName,
    id: &DrillId,
    json: &[u8],
    signature: &[u8],
) -> Result<DrillOutcome> {
    let key = keys::drill(tenant, id).json;
    let outcome: DrillOutcome = object::decode(&key, "drill", json)?;
    trust
        .named(&outcome.host, outcome.certificate, Role::Drill, tenant)
        .map_err(|e| e.in_context(&key))?
        .signing_key
        .verify(&key, json, signature)?;
    if outcome.repository != *trust.repository() || outcome.tenant != *tenant || outcome.drill != *id {
        return Err(Error::new(
            Kind::Forged,
            format!("{key} belongs to another repository, tenant or drill"),
        ));
    }
    Ok(outcome)
}
