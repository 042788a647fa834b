//! What a backup needs before its first component, and what it leaves after its last.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::component::files::{self, NextIndex};
use crate::config::{Part, Tenant};
use crate::error::{Error, Kind, Result};
use crate::host::Docker;
use crate::id::{ComponentName, SnapshotId};
use crate::monitor::{Counter, SharedMonitor, Tally};
use crate::ops::anomaly::measure::{Measured, Share};
use crate::ops::anomaly::{Anomaly, Nights, Tonight};
use crate::ops::appliance::Appliance;
use crate::ops::keys::vaults;
use crate::ops::recall::Kept;
use crate::ops::{damaged, state, tampered};
use crate::repo;
use crate::repo::extent::StreamRecord;
use crate::repo::history::Seen;
use crate::repo::snapshot::{SnapshotOptions, SnapshotWriter};
use crate::repo::writer::SpoolOptions;
use crate::store::LockedStore;

use super::carry::{Failure, Patience, Sizes, carry};
use super::outcome::{ComponentOutcome, ComponentState, Ended};
use super::{Request, locks, sources};

/// How many packs are uploaded at a time.
const UPLOADS: usize = 3;

/// One backup under way.
pub(super) struct Night<'a> {
    pub appliance: &'a Appliance,
    pub tenant: &'a Tenant,
    pub docker: Result<Docker>,
    pub started: Timestamp,
    /// The index of files that counts once the snapshot is committed.
    pub next_index: Option<NextIndex>,
    writer: Option<SnapshotWriter>,
    locks: Option<Arc<LockedStore>>,
    memory: Kept,
    folder: PathBuf,
    seen: Seen,
    sizes: Sizes,
    new_sizes: Sizes,
    warnings: Vec<String>,
    sums: Sums,
    nights: Nights,
    tonight: Tonight,
}

/// Bytes that are new in this snapshot, whichever component they are of: components come one after the other.
struct Sums {
    new: Arc<Tally>,
    compressed: Arc<Tally>,
}

impl Sums {
    /// Stands between the writer and who listens.
    fn before(monitor: &SharedMonitor) -> Sums {
        let compressed = Arc::new(Tally::new(Arc::clone(monitor), Counter::CompressedBytes));
        let new = Arc::new(Tally::new(Arc::clone(&compressed) as SharedMonitor, Counter::NewBytes));
        Sums { new, compressed }
    }

    fn monitor(&self) -> SharedMonitor {
        Arc::clone(&self.new) as SharedMonitor
    }

    /// Returns new bytes, and the same compressed.
    fn both(&self) -> (u64, u64) {
        (self.new.sum(), self.compressed.sum())
    }
}

impl<'a> Night<'a> {
    /// Finds predecessor and vault, and opens the writer.
    pub async fn begin(
        appliance: &'a Appliance,
        tenant: &'a Tenant,
        request: &Request,
        started: Timestamp,
    ) -> Result<Night<'a>> {
        let folder = appliance.state.tenant(&tenant.name)?;
        let mut seen: Seen = state::read_json(&folder.join("seen.json"))?.unwrap_or_default();
        let head_before = seen.head.clone();
        let memory = Kept::of_tenant(&appliance.state, &tenant.name);
        let faults = seen.advance(&memory.through(&appliance.repo), &appliance.trust, &tenant.name).await?;
        let mut warnings: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let repo = locks::repository(appliance, &tenant.policy, &folder, &mut warnings)?;
        let vault = vaults::in_force(appliance, &repo, &tenant.name, seen.head != head_before).await?;
        let sums = Sums::before(&appliance.around.monitor);
        let options = SnapshotOptions {
            repo: memory.through(&repo),
            trust: Arc::new(appliance.trust.clone()),
            tenant: tenant.name.clone(),
            vault,
            host: appliance.config.machine.host.clone(),
            signer: Arc::new(appliance.host_key()?),
            dedup_key: appliance.dedup_key(&tenant.name)?,
            snapshot: SnapshotId::new(started, rand::random()),
            started,
            trigger: request.trigger,
            label: request.label.clone(),
            pinned_until: request.pinned_until,
            predecessor: seen.head.clone(),
            damaged: damaged::remembered(&appliance.state, &tenant.name)?.into_keys().collect(),
            cache_folder: folder.join("cache"),
            spool: SpoolOptions {
                folder: folder.join("spool"),
                limit_bytes: appliance.config.machine.spool_size.0,
                patience: appliance.config.machine.spool_wait,
                uploads: UPLOADS,
            },
            fresh: false,
            monitor: sums.monitor(),
        };
        let (writer, docker) = tokio::join!(SnapshotWriter::begin(options), appliance.docker());
        let writer = writer?;
        tampered::remember(&appliance.state, &tenant.name, writer.tampered())?;
        warnings.extend(repo::tampered::told(writer.tampered()));
        warnings.extend_from_slice(writer.warnings());
        Ok(Night {
            appliance,
            tenant,
            locks: repo.locks().cloned(),
            memory,
            docker,
            started,
            next_index: None,
            writer: Some(writer),
            sizes: state::read_json(&folder.join("sizes.json"))?.unwrap_or_default(),
            new_sizes: Sizes::new(),
            folder,
            seen,
            warnings,
            sums,
            nights: Nights::load(&appliance.state, &tenant.name)?,
            tonight: Tonight::default(),
        })
    }

    /// Returns the tenant's folder of state.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Returns the writer, which is there until commit or abandon.
    pub fn writer(&self) -> Result<&SnapshotWriter> {
        self.writer.as_ref().ok_or_else(|| Error::new(Kind::Bug, "the snapshot has ended"))
    }

    /// Takes one component; whatever happens to it stands in the outcome.
    pub async fn component(&mut self, name: ComponentName, part: &Part<()>) -> ComponentOutcome {
        let (clock, new_before) = (Instant::now(), self.sums.new.sum());
        let mut outcome = ComponentOutcome {
            component: name,
            state: ComponentState::Failed,
            read_bytes: 0,
            new_bytes: 0,
            anomalies: Vec::new(),
            seconds: 0.0,
            lacks: Vec::new(),
            reason: None,
            warnings: Vec::new(),
            store_failure: None,
        };
        match part {
            Part::On(()) => self.take(name, &mut outcome).await,
            Part::Skipped { reason } => {
                outcome.state = ComponentState::Skipped;
                outcome.reason = Some(reason.clone());
            }
            Part::NotConfigured => outcome.state = ComponentState::NotConfigured,
        }
        outcome.seconds = clock.elapsed().as_secs_f64();
        outcome.new_bytes = self.sums.new.sum() - new_before;
        outcome
    }

    async fn take(&mut self, name: ComponentName, outcome: &mut ComponentOutcome) {
        let writer = match self.writer() {
            Ok(w) => w.component(name),
            Err(e) => return fail(outcome, e),
        };
        let policy = &self.tenant.policy;
        let patience = Patience { stage: policy.stage_timeout, no_progress: policy.no_progress_timeout };
        let monitor = Arc::clone(&self.appliance.around.monitor);
        let mut attempts = sources::Attempts::default();
        let mut before;
        let arrived = loop {
            before = self.sums.both();
            let taken = async {
                let dumping = sources::dump(self, name, &attempts).await?;
                let (streams, completion) = carry(dumping.dump, &writer, &self.sizes, patience).await?;
                Ok::<_, Failure>((streams, completion, dumping.envelope))
            };
            match taken.await {
                Err(Failure::Source(e)) if attempts.again(&e) => {
                    monitor.problem(&e.in_context(format!("{name}, trying again")));
                }
                Ok((_, completion, _)) if name == ComponentName::Files && files::is_empty(&completion) => {
                    break Err(Failure::Source(no_file_at_all()));
                }
                other => break other,
            }
        };
        match arrived {
            Ok((streams, completion, envelope)) => {
                self.remember_sizes(&streams);
                outcome.read_bytes = streams.iter().map(|s| s.size_bytes).sum();
                outcome.warnings = completion.warnings;
                let mut writer = writer;
                streams.into_iter().for_each(|s| writer.add(s));
                if completion.lacks.is_empty() {
                    outcome.anomalies = self.judge(name, outcome, before, &completion.record);
                }
                let record = envelope.with(completion.record);
                if completion.lacks.is_empty() {
                    outcome.state = ComponentState::Whole;
                    writer.mark(outcome.anomalies.iter().map(|a| a.check.word().to_owned()).collect());
                    writer.whole(record);
                } else {
                    outcome.state = ComponentState::Lacking;
                    outcome.lacks.clone_from(&completion.lacks);
                    writer.lacking(completion.lacks, record);
                }
            }
            Err(Failure::Source(e)) => {
                monitor.problem(&error_copy(&e).in_context(name));
                writer.failed(&e);
                fail(outcome, e);
            }
            Err(Failure::Store(e)) => {
                writer.failed(&e);
                outcome.store_failure = Some(e);
            }
        }
    }

    /// Holds a component that is whole against the nights before; `before` are the sums when it began.
    fn judge(
        &mut self,
        name: ComponentName,
        outcome: &mut ComponentOutcome,
        before: (u64, u64),
        record: &serde_json::Value,
    ) -> Vec<Anomaly> {
        let (new, compressed) = self.sums.both();
        let share = Share {
            bytes: outcome.read_bytes,
            new_bytes: new - before.0,
            compressed_bytes: compressed - before.1,
        };
        let Some(measured) = Measured::of(name, share, record) else { return Vec::new() };
        let census = self.next_index.as_ref().filter(|_| name == ComponentName::Files);
        let census = census.and_then(NextIndex::census);
        match self.nights.judge(name, measured, census, &self.folder, &mut self.tonight) {
            Ok(anomalies) => anomalies,
            Err(e) => {
                outcome.warnings.push(format!("not held against the nights before: {e}"));
                Vec::new()
            }
        }
    }

    fn remember_sizes(&mut self, streams: &[StreamRecord]) {
        for s in streams {
            self.new_sizes.insert(format!("{}/{}", s.component, s.stream), s.size_bytes);
        }
    }

    /// Commits and then remembers what the next night relies on; what cannot be remembered is a warning.
    pub async fn commit(mut self) -> Result<Ended> {
        let writer = self.writer.take().ok_or_else(|| Error::new(Kind::Bug, "the snapshot has ended"))?;
        let committed = writer.commit(self.appliance.around.now()).await?;
        self.seen.committed(&committed);
        self.memory.keep();
        let mut sizes = std::mem::take(&mut self.sizes);
        sizes.append(&mut self.new_sizes);
        let (tonight, snapshot) = (std::mem::take(&mut self.tonight), &committed.receipt.snapshot);
        let kept = [
            self.nights.committed(tonight, snapshot, self.started, &self.folder),
            state::write_json(&self.folder.join("seen.json"), &self.seen),
            state::write_json(&self.folder.join("sizes.json"), &sizes),
            match self.next_index.as_ref().and_then(NextIndex::get) {
                Some(index) => index.save(&self.folder.join("files.index")),
                None => Ok(()),
            },
            locks::remember(self.locks.as_ref(), &self.folder),
        ];
        let lost = kept.into_iter().filter_map(Result::err);
        self.warnings.extend(lost.map(|e| format!("committed, but the next backup will know less: {e}")));
        self.warnings.extend(self.locks.as_ref().and_then(|l| l.trouble()));
        let renewed_locks = self.locks.as_ref().map_or(0, |l| l.renewed());
        Ok(Ended { committed, renewed_locks, warnings: self.warnings })
    }

    /// Gives the snapshot up.
    pub async fn abandon(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abandon().await;
        }
    }
}

fn no_file_at_all() -> Error {
    Error::new(Kind::Source, "the site's folder holds no file at all: is its volume mounted?")
        .hint("a site's folder always holds its configuration; see [files] path in the tenant's file")
}

fn fail(outcome: &mut ComponentOutcome, e: Error) {
    outcome.state = ComponentState::Failed;
    outcome.reason = Some(match e.hint_text() {
        Some(hint) => format!("{e} ({hint})"),
        None => e.to_string(),
    });
}

fn error_copy(e: &Error) -> Error {
    Error::new(e.kind(), e.to_string())
}
