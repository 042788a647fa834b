//! Void marks: the packs that must not be reused any more, and the receipts that prune has forgotten.
//!
//! Owns their shape, their verification and how the next one is written. Knows nothing of why a pack is void or a
//! receipt forgotten. Each mark repeats what the older ones say, so that one is enough for a reader.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{HostName, PackId, RepositoryId, Sha256, TenantName};
use crate::store::{Entry, Key};

use super::certificate::{Role, Trust};
use super::repository::{Repository, whole_seconds};
use super::sign::SigningKey;
use super::{keys, object, recall};

pub(super) const LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// Receipts that prune has forgotten, one after the other without a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// The sequence number of the first.
    pub from: u64,
    /// The sequence number of the last.
    pub to: u64,
    /// The hash of the last, which the receipt after it names.
    pub last: Sha256,
}

impl Forgotten {
    /// Tells whether the receipt with this number is one of them.
    pub fn holds(&self, sequence: u64) -> bool {
        (self.from..=self.to).contains(&sequence)
    }
}

/// Sorts runs of forgotten receipts and joins those that touch.
pub fn joined(mut all: Vec<Forgotten>) -> Vec<Forgotten> {
    all.sort_by_key(|f| (f.from, f.to));
    let mut joined: Vec<Forgotten> = Vec::with_capacity(all.len());
    for next in all {
        match joined.last_mut() {
            Some(run) if next.from <= run.to.saturating_add(1) => {
                if next.to > run.to {
                    (run.to, run.last) = (next.to, next.last);
                }
            }
            _ => joined.push(next),
        }
    }
    joined
}

/// A void mark, as `void/<n>.json` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidMark {
    pub(super) format: u64,
    pub(super) kind: String,
    /// The repository.
    pub repository: RepositoryId,
    /// The tenant.
    pub tenant: TenantName,
    /// The host that wrote it.
    pub host: HostName,
    /// The number of the certificate it was written under.
    pub certificate: u32,
    /// Its number, from 1.
    pub number: u32,
    /// Marks up to this number need not be read: this one repeats them. 0 for none.
    #[serde(default)]
    pub supersedes: u32,
    /// When it was written, by the host's clock.
    pub time: Timestamp,
    /// The packs that no writer may reuse, those of superseded marks too while they are in the store.
    pub packs: Vec<PackId>,
    /// The receipts that are forgotten, by number; those of superseded marks too, for ever.
    #[serde(default)]
    pub forgotten: Vec<Forgotten>,
    /// Why it was written: `prune` or `damaged`.
    pub reason: String,
}

/// What the next void mark is to say besides what is in force already.
#[derive(Debug, Clone)]
pub struct NewMark {
    /// Whose packs.
    pub tenant: TenantName,
    /// The time, by this host's clock.
    pub time: Timestamp,
    /// The packs that become void.
    pub packs: Vec<PackId>,
    /// The receipts that are forgotten.
    pub forgotten: Vec<Forgotten>,
    /// Packs of older marks that are no longer in the store, and need not be named again.
    pub gone: HashSet<PackId>,
    /// Why: `prune` or `damaged`.
    pub reason: &'static str,
}

/// What all right void marks of a tenant say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoidMarks {
    /// The highest number seen; 0 for none.
    pub highest: u32,
    /// The packs they name.
    pub packs: HashSet<PackId>,
    /// The receipts that are forgotten, by number.
    pub forgotten: Vec<Forgotten>,
}

impl VoidMarks {
    /// Loads the void marks of a tenant: with one listing, and the newest mark.
    ///
    /// A mark that does not verify counts for nothing, and is not seen: only who may prune can void a pack.
    /// What cannot be fetched fails the call, since a writer must know them all.
    pub async fn load(repo: &Repository, trust: &Trust, tenant: &TenantName) -> Result<VoidMarks> {
        VoidMarks::default().newer(repo, trust, tenant).await
    }

    /// Loads the marks that came after these; returns all together. Costs one listing where none came.
    pub async fn newer(&self, repo: &Repository, trust: &Trust, tenant: &TenantName) -> Result<VoidMarks> {
        let listed = recall::versions(repo, &keys::void_marks(tenant)).await?;
        self.newer_of(repo, trust, tenant, &listed).await
    }

    /// The same, out of a listing that shows all void marks of the tenant.
    pub(super) async fn newer_of(
        &self,
        repo: &Repository,
        trust: &Trust,
        tenant: &TenantName,
        listed: &[Entry],
    ) -> Result<VoidMarks> {
        let mut marks = self.clone();
        let mut superseded = self.highest;
        let mut reader = MarkReader { repo, trust, tenant, listed, fresh: None };
        for number in numbers(tenant, listed).into_iter().rev() {
            if number <= superseded {
                break;
            }
            if let Some(mark) = reader.read(number).await? {
                superseded = superseded.max(mark.supersedes);
                marks.take(mark);
            }
        }
        Ok(marks)
    }

    /// Tells whether the receipt with this number is forgotten.
    pub fn forgot(&self, sequence: u64) -> bool {
        self.forgotten.iter().any(|f| f.holds(sequence))
    }

    fn take(&mut self, mark: VoidMark) {
        self.highest = self.highest.max(mark.number);
        self.packs.extend(mark.packs);
        self.forgotten.extend(mark.forgotten);
        self.forgotten = joined(std::mem::take(&mut self.forgotten));
    }
}

/// Loads every right mark that is in the store, superseded ones too, by number.
pub async fn load_all(repo: &Repository, trust: &Trust, tenant: &TenantName) -> Result<Vec<VoidMark>> {
    let listed = object::versions(&**repo.store(), &keys::void_marks(tenant)).await?;
    let mut reader = MarkReader { repo, trust, tenant, listed: &listed, fresh: None };
    let mut all = Vec::new();
    for number in numbers(tenant, &listed) {
        all.extend(reader.read(number).await?);
    }
    Ok(all)
}

/// Signs and stores the next void mark, which repeats those before it; returns it as it lies in the store.
///
/// [`Kind::Denied`] where this host may not prune; [`Kind::Conflict`] where another writes a mark now.
pub async fn write(
    repo: &Repository,
    trust: &Trust,
    host: &HostName,
    signer: &SigningKey,
    new: NewMark,
) -> Result<VoidMark> {
    let certificate = trust.may_write(host, Role::Prune, &new.tenant)?;
    if certificate.signing_key != *signer.public() {
        let what = format!("certificate {} of host {host} is for another key", certificate.number);
        return Err(Error::new(Kind::Denied, what)
            .hint("certify this host's key with the recovery kit: `lifeboat keys certify --kit FILE`"));
    }
    let before = VoidMarks::load(repo, trust, &new.tenant).await?;
    let listed = object::versions(&**repo.store(), &keys::void_marks(&new.tenant)).await?;
    // A signature alone is what a run that died left; its number is taken too.
    let taken = listed.iter().filter_map(|e| {
        keys::parse_void_mark(&new.tenant, &e.key)
            .or_else(|| keys::parse_void_mark_signature(&new.tenant, &e.key))
    });
    let number = taken.max().unwrap_or(0).max(before.highest) + 1;
    let packs: BTreeSet<PackId> =
        before.packs.iter().filter(|p| !new.gone.contains(*p)).chain(&new.packs).copied().collect();
    let mark = VoidMark {
        format: object::FORMAT,
        kind: "void".to_owned(),
        repository: repo.id().clone(),
        host: host.clone(),
        certificate: certificate.number,
        number,
        supersedes: before.highest,
        time: whole_seconds(new.time),
        packs: packs.into_iter().collect(),
        forgotten: joined(before.forgotten.into_iter().chain(new.forgotten).collect()),
        reason: new.reason.to_owned(),
        tenant: new.tenant,
    };
    let keys = keys::void_mark(&mark.tenant, number);
    let json = object::encode(&mark)?;
    if json.len() as u64 > LIMIT_BYTES {
        return Err(Error::new(Kind::Full, format!("{} is above the format's limit", keys.json)));
    }
    let signature = signer.sign(&keys.json, &json)?;
    object::put_once(&**repo.store(), &keys.minisig, signature.into_bytes().into()).await?;
    object::put_once(&**repo.store(), &keys.json, json.into()).await?;
    Ok(mark)
}

/// Returns the numbers of the marks that are there, sorted.
pub(super) fn numbers(tenant: &TenantName, listed: &[Entry]) -> Vec<u32> {
    let found: BTreeSet<u32> = listed.iter().filter_map(|e| keys::parse_void_mark(tenant, &e.key)).collect();
    found.into_iter().collect()
}

struct MarkReader<'a> {
    repo: &'a Repository,
    trust: &'a Trust,
    tenant: &'a TenantName,
    listed: &'a [Entry],
    /// The certificates as they are now, once they were needed.
    fresh: Option<Trust>,
}

impl MarkReader<'_> {
    /// Reads a mark; none where it does not count.
    async fn read(&mut self, number: u32) -> Result<Option<VoidMark>> {
        let first = self.read_with(self.trust, number).await;
        // Whoever may prune since these certificates were loaded was certified before it wrote its mark. To say that
        // a later mark was seen, and not to know this one, would have its packs removed under the writer's hands.
        let read = match (first, &self.fresh) {
            (Err(e), None) if e.kind() == Kind::Forged => {
                let fresh = Trust::load(self.repo).await?;
                let second = self.read_with(&fresh, number).await;
                self.fresh = Some(fresh);
                second
            }
            (Err(e), Some(fresh)) if e.kind() == Kind::Forged => self.read_with(fresh, number).await,
            (read, _) => read,
        };
        match read {
            Ok(mark) => Ok(Some(mark)),
            Err(e) if matches!(e.kind(), Kind::Forged | Kind::Damaged) => {
                let key = keys::void_mark(self.tenant, number).json;
                tracing::warn!(%key, error = %e, "void mark does not count");
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    async fn read_with(&self, trust: &Trust, number: u32) -> Result<VoidMark> {
        let keys = keys::void_mark(self.tenant, number);
        let check = |json: &[u8], signature: &[u8]| verify(trust, self.tenant, number, json, signature);
        Ok(recall::get_signed(self.repo, &keys, self.listed, LIMIT_BYTES, check).await?.value)
    }
}

/// Checks a void mark that lies under the key of `tenant` and `number`, with its signature.
pub(super) fn verify(
    trust: &Trust,
    tenant: &TenantName,
    number: u32,
    json: &[u8],
    signature: &[u8],
) -> Result<VoidMark> {
    let key = keys::void_mark(tenant, number).json;
    let mark = parse(&key, json)?;
    trust
        .named(&mark.host, mark.certificate, Role::Prune, tenant)
        .map_err(|e| e.in_context(&key))?
        .signing_key
        .verify(&key, json, signature)?;
    if mark.repository != *trust.repository() || mark.tenant != *tenant || mark.number != number {
        return Err(Error::new(
            Kind::Forged,
            format!("{key} belongs to another repository, tenant or number"),
        ));
    }
    Ok(mark)
}

/// Reads a void mark that lies under `key`, and checks that it does not contradict itself; not who wrote it.
pub fn parse(key: &Key, json: &[u8]) -> Result<VoidMark> {
    let mark: VoidMark = object::decode(key, "void", json)?;
    let is_run = |f: &Forgotten| f.from > 0 && f.from <= f.to && f.to <= object::MOST_RECEIPTS;
    if mark.supersedes >= mark.number || !mark.forgotten.iter().all(is_run) {
        return Err(Error::new(Kind::Damaged, format!("{key} contradicts itself")));
    }
    Ok(mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::testing::{House, host, now, tenant};
    use crate::store::Store;

    async fn put(house: &House, number: u32, certificate: u32, pack: &[u8]) {
        let mark = VoidMark {
            format: 1,
            kind: "void".into(),
            repository: house.repo.id().clone(),
            tenant: tenant(),
            host: host(),
            certificate,
            number,
            supersedes: 0,
            time: now(),
            packs: vec![Sha256::of(pack)],
            forgotten: Vec::new(),
            reason: "prune".into(),
        };
        let keys = keys::void_mark(&tenant(), number);
        let json = object::encode(&mark).unwrap();
        house.overwrite(&keys.minisig, house.host.sign(&keys.json, &json).unwrap()).await;
        house.overwrite(&keys.json, json).await;
    }

    /// A house whose host may prune under its certificate 2.
    async fn house() -> House {
        let house = House::build().await;
        let mut grant = house.grant(house.host.public());
        grant.roles = vec![Role::Prune];
        house.certify(grant).await;
        house
    }

    fn new(packs: &[&[u8]], forgotten: Vec<Forgotten>) -> NewMark {
        let packs = packs.iter().map(|p| Sha256::of(p)).collect();
        NewMark { tenant: tenant(), time: now(), packs, forgotten, gone: HashSet::new(), reason: "prune" }
    }

    fn run(from: u64, to: u64) -> Forgotten {
        Forgotten { from, to, last: Sha256::of(&to.to_le_bytes()) }
    }

    #[tokio::test]
    async fn only_marks_of_a_host_that_may_prune_count() {
        let house = house().await;
        let trust = house.trust().await;
        put(&house, 1, 2, b"a").await;
        let first = VoidMarks::load(&house.repo, &trust, &tenant()).await.unwrap();
        let packs = HashSet::from([Sha256::of(b"a")]);
        assert_eq!(first, VoidMarks { highest: 1, packs, forgotten: vec![] });
        put(&house, 2, 1, b"not allowed to prune").await;
        put(&house, 3, 2, b"c").await;
        let all = first.newer(&house.repo, &trust, &tenant()).await.unwrap();
        assert_eq!(all.highest, 3);
        assert_eq!(all.packs, HashSet::from([Sha256::of(b"a"), Sha256::of(b"c")]));
        put(&house, 4, 1, b"not allowed to prune").await;
        assert_eq!(all.newer(&house.repo, &trust, &tenant()).await.unwrap(), all);
    }

    #[tokio::test]
    async fn each_mark_repeats_the_ones_before_it_so_that_the_newest_is_enough() {
        let house = house().await;
        let trust = house.trust().await;
        let mark = async |what| write(&house.repo, &trust, &host(), &house.host, what).await.unwrap();
        mark(new(&[b"a", b"b"], vec![run(1, 3)])).await;
        mark(new(&[b"c"], vec![run(6, 7)])).await;
        let mut third = new(&[], vec![run(4, 4), run(9, 9)]);
        third.gone = HashSet::from([Sha256::of(b"a")]);
        let third = mark(third).await;
        assert_eq!((third.number, third.supersedes), (3, 2));
        assert_eq!(third.forgotten, [run(1, 4), run(6, 7), run(9, 9)]);
        for n in [1, 2] {
            for key in [keys::void_mark(&tenant(), n).json, keys::void_mark(&tenant(), n).minisig] {
                house.store.delete(&key, Some("v0")).await.unwrap();
            }
        }
        let before = house.store.requests.load(std::sync::atomic::Ordering::Relaxed);
        let read = VoidMarks::load(&house.repo, &trust, &tenant()).await.unwrap();
        assert_eq!(house.store.requests.load(std::sync::atomic::Ordering::Relaxed) - before, 3);
        assert_eq!(read.packs, HashSet::from([Sha256::of(b"b"), Sha256::of(b"c")]));
        assert!(read.forgot(2) && !read.forgot(5) && read.forgot(9) && !read.forgot(10));
    }

    #[tokio::test]
    async fn a_mark_that_did_not_know_of_another_leaves_that_one_to_be_read() {
        let house = house().await;
        let trust = house.trust().await;
        // Number 1 and 2 are written at the same time by two machines: 2 repeats nothing.
        put(&house, 2, 2, b"b").await;
        put(&house, 1, 2, b"a").await;
        let both = HashSet::from([Sha256::of(b"a"), Sha256::of(b"b")]);
        assert_eq!(VoidMarks::load(&house.repo, &trust, &tenant()).await.unwrap().packs, both);
        let third = write(&house.repo, &trust, &host(), &house.host, new(&[b"c"], vec![])).await.unwrap();
        assert_eq!((third.supersedes, third.packs.len()), (2, 3));
    }

    #[tokio::test]
    async fn a_writer_that_knows_older_certificates_sees_a_mark_of_a_newer_one() {
        let house = House::build().await;
        let old = house.trust().await;
        let mut grant = house.grant(house.host.public());
        grant.roles = vec![Role::Prune];
        house.certify(grant).await;
        put(&house, 1, 2, b"a").await;
        let seen = VoidMarks::load(&house.repo, &old, &tenant()).await.unwrap();
        assert_eq!((seen.highest, seen.packs.len()), (1, 1));
    }

    #[tokio::test]
    async fn a_host_without_the_role_writes_no_mark_and_a_dead_runs_number_stays_taken() {
        let house = House::build().await;
        let refused =
            write(&house.repo, &house.trust().await, &host(), &house.host, new(&[b"a"], vec![])).await;
        assert_eq!(refused.unwrap_err().kind(), Kind::Denied);
        let mut grant = house.grant(house.host.public());
        grant.roles = vec![Role::Prune];
        house.certify(grant).await;
        house.overwrite(&keys::void_mark(&tenant(), 1).minisig, "half").await;
        let made = write(&house.repo, &house.trust().await, &host(), &house.host, new(&[b"a"], vec![])).await;
        assert_eq!(made.unwrap().number, 2);
    }

    #[test]
    fn runs_that_touch_are_joined() {
        let all = joined(vec![run(8, 9), run(1, 2), run(3, 5), run(4, 4), run(11, 11)]);
        assert_eq!(all, [run(1, 5), run(8, 9), run(11, 11)]);
    }
}
