//! What ran here and what became of it, kept through kills and power cuts.
//!
//! Owns one file of JSON lines, `runs.jsonl` in the state folder: a line is a whole run as it stands then, the last
//! line of a run counts, and each is on disk before its work begins. Knows nothing of how or when
//! work is done. A torn last line is the one write that a kill may cost, and is passed over.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::run::{JobKind, Outcome, Run};
use super::schedule::Past;
use crate::error::{Context, Error, Kind, Result};
use crate::id::TenantName;

/// How many runs of one kind of one tenant are kept; what was backed up is known from the receipts for longer.
const KEPT: usize = 120;

/// How many lines may be appended before the file is written anew.
const APPENDED: usize = 10_000;

/// How often a run is begun anew that ended with the service: it may be what ends it.
const TRIES: u32 = 3;

/// What lies further ahead than this was written by a clock that was wrong.
const WRONG_CLOCK: SignedDuration = SignedDuration::from_hours(48);

const JOURNAL: &str = "runs.jsonl";
const LOCK: &str = "service.lock";

type Line = (TenantName, JobKind);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
enum Entry {
    /// When a tenant's kind of work was first planned here: what lay before was not missed.
    Seen { tenant: TenantName, kind: JobKind, at: Timestamp },
    /// A run as it stands.
    Run(Box<Run>),
}

/// All runs that are known, newest last.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    seen: BTreeMap<Line, Timestamp>,
    runs: BTreeMap<Line, BTreeMap<(Timestamp, u32), Run>>,
}

impl Runs {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Seen { tenant, kind, at } => {
                self.seen.insert((tenant, kind), at);
            }
            Entry::Run(run) => {
                let line = self.runs.entry((run.tenant.clone(), run.kind)).or_default();
                line.insert((run.planned, run.attempt), *run);
                while line.len() > KEPT {
                    line.pop_first();
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn put(&mut self, run: Run) {
        self.take(Entry::Run(Box::new(run)));
    }

    /// Returns the runs of one kind of a tenant, oldest first.
    pub fn of(&self, tenant: &TenantName, kind: JobKind) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.get(&(tenant.clone(), kind)).into_iter().flat_map(BTreeMap::values)
    }

    /// Returns the last one that ended.
    pub fn last(&self, tenant: &TenantName, kind: JobKind) -> Option<&Run> {
        self.of(tenant, kind).rev().find(|run| run.outcome.is_some())
    }

    /// Returns the last one that ended well.
    pub fn last_good(&self, tenant: &TenantName, kind: JobKind) -> Option<&Run> {
        self.of(tenant, kind).rev().find(|run| run.outcome == Some(Outcome::Good))
    }

    /// Returns the last good backup, as far as a clock that may have been wrong is believed at `now`.
    pub fn newest_whole(&self, tenant: &TenantName, now: Timestamp) -> Option<&Run> {
        let believed = |run: &&Run| run.started.is_some_and(|t| is_believed(t, now));
        self.of(tenant, JobKind::Backup)
            .rev()
            .filter(|run| run.outcome.is_some_and(Outcome::is_whole))
            .find(believed)
    }

    /// Returns when this kind of work was first planned for a tenant.
    pub fn first_seen(&self, tenant: &TenantName, kind: JobKind) -> Option<Timestamp> {
        self.seen.get(&(tenant.clone(), kind)).copied()
    }

    /// Returns what the schedule must know of the past, at `now`.
    pub fn past(&self, tenant: &TenantName, kind: JobKind, now: Timestamp) -> Past {
        let handled = self.of(tenant, kind).filter(|run| dealt_with(run)).map(|run| run.planned);
        let handled = handled.filter(|planned| is_believed(*planned, now));
        let seen = self.first_seen(tenant, kind).map(|seen| seen.min(now));
        Past {
            // Of what was never seen nothing was missed.
            handled: handled.chain(seen).max().unwrap_or(now),
            whole: self.newest_whole(tenant, now).and_then(|run| run.started),
        }
    }

    /// Returns which try a run that is to begin now would be.
    pub fn next_attempt(&self, tenant: &TenantName, kind: JobKind, planned: Timestamp) -> u32 {
        self.of(tenant, kind).filter(|run| run.planned == planned).map(|run| run.attempt).max().unwrap_or(0)
            + 1
    }

    /// Returns the runs that have begun and not ended.
    pub(super) fn unfinished(&self) -> Vec<Run> {
        let all = self.runs.values().flat_map(BTreeMap::values);
        all.filter(|run| run.outcome.is_none()).cloned().collect()
    }
}

pub(super) fn is_believed(written: Timestamp, now: Timestamp) -> bool {
    written.duration_since(now) < WRONG_CLOCK
}

/// An interrupted run is due again, a few times; all others are dealt with, also while they run.
pub(super) fn dealt_with(run: &Run) -> bool {
    run.outcome != Some(Outcome::Interrupted) || run.attempt >= TRIES
}

/// The journal, open for one service.
#[derive(Debug)]
pub struct Journal {
    state_dir: PathBuf,
    file: File,
    runs: Runs,
    /// Lines since the file was last written anew.
    appended: usize,
    /// Held as long as the journal is open; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

impl Journal {
    /// Opens the journal in `state_dir` and closes what was running when the last service ended.
    ///
    /// Returns those runs too, now interrupted.
    ///
    /// # Errors
    /// [`Kind::Locked`] where another service has it open.
    pub fn open(state_dir: &Path) -> Result<(Self, Vec<Run>)> {
        std::fs::create_dir_all(state_dir)
            .context(Kind::Io, format!("state folder {}", state_dir.display()))?;
        let lock = lock(state_dir)?;
        let path = state_dir.join(JOURNAL);
        let mut runs = read(&path)?;
        let mut interrupted = runs.unfinished();
        for run in &mut interrupted {
            run.outcome = Some(Outcome::Interrupted);
            run.reason = Some("the service ended during the run".to_owned());
            runs.take(Entry::Run(Box::new(run.clone())));
        }
        // Written anew at each start, so that it never grows beyond what is kept, and holds no torn line.
        let file = rewrite(state_dir, &runs).context(Kind::Io, format!("journal {}", path.display()))?;
        Ok((Journal { state_dir: state_dir.to_owned(), file, runs, appended: 0, _lock: lock }, interrupted))
    }

    /// Reads the runs without opening the journal for writing.
    ///
    /// Runs that have not ended are shown as interrupted unless a service has the journal open.
    pub fn peek(state_dir: &Path) -> Result<Peek> {
        let mut runs = read(&state_dir.join(JOURNAL))?;
        let alive = File::open(state_dir.join(LOCK))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
        if !alive {
            for mut run in runs.unfinished() {
                run.outcome = Some(Outcome::Interrupted);
                run.reason = Some("the service ended during the run".to_owned());
                runs.take(Entry::Run(Box::new(run)));
            }
        }
        Ok(Peek { runs, alive })
    }

    /// Returns what is known.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Notes a run as it stands; returns when it is on disk.
    ///
    /// # Errors
    /// Where the disk refuses; the run is known in memory all the same.
    pub fn put(&mut self, run: Run) -> Result<()> {
        self.append(Entry::Run(Box::new(run)))
    }

    /// Notes that a kind of work is planned for a tenant from now on, if that is new.
    ///
    /// A time in the future was written by a clock that was wrong, and is replaced.
    pub fn see(&mut self, tenant: &TenantName, kind: JobKind, now: Timestamp) -> Result<()> {
        if self.runs.first_seen(tenant, kind).is_some_and(|seen| seen <= now) {
            return Ok(());
        }
        self.append(Entry::Seen { tenant: tenant.clone(), kind, at: now })
    }

    fn append(&mut self, entry: Entry) -> Result<()> {
        let line = line_of(&entry)?;
        self.runs.take(entry);
        self.write(&line).context(Kind::Io, format!("journal in {}", self.state_dir.display()))
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.appended >= APPENDED {
            // The new file has the entry already: it is written from what is in memory.
            self.file = rewrite(&self.state_dir, &self.runs)?;
            self.appended = 0;
            return Ok(());
        }
        self.appended += 1;
        self.file.write_all(line)?;
        self.file.sync_data()
    }
}

/// What a look at a journal showed.
#[derive(Debug, Clone)]
pub struct Peek {
    /// The runs.
    pub runs: Runs,
    /// Whether a service is there now.
    pub alive: bool,
}

fn line_of(entry: &Entry) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entry).context(Kind::Bug, "a journal line")?;
    line.push(b'\n');
    Ok(line)
}

fn lock(state_dir: &Path) -> Result<File> {
    let path = state_dir.join(LOCK);
    let what = format!("lock {}", path.display());
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).context(Kind::Io, &what)?;
    if crate::lock::exclusive(&file).context(Kind::Io, what)? {
        return Ok(file);
    }
    Err(Error::new(Kind::Locked, "another `lifeboat serve` runs on this host")
        .hint("`systemctl status lifeboat` shows it"))
}

fn read(path: &Path) -> Result<Runs> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Runs::default()),
        Err(e) => return Err(e).context(Kind::Io, format!("journal {}", path.display())),
    };
    let mut runs = Runs::default();
    for (number, line) in text.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(entry) => runs.take(entry),
            Err(_) => {
                tracing::warn!(line = number + 1, "a line of the journal cannot be read and is passed over")
            }
        }
    }
    Ok(runs)
}

/// Replaces the journal in one step; it is whole before and after, whatever happens in between.
fn rewrite(state_dir: &Path, runs: &Runs) -> std::io::Result<File> {
    let mut new = tempfile::Builder::new().prefix(".runs-").tempfile_in(state_dir)?;
    let seen = runs.seen.iter().map(|((tenant, kind), at)| Entry::Seen {
        tenant: tenant.clone(),
        kind: *kind,
        at: *at,
    });
    let all = runs.runs.values().flat_map(BTreeMap::values).map(|run| Entry::Run(Box::new(run.clone())));
    let mut text = Vec::new();
    for entry in seen.chain(all) {
        text.extend(line_of(&entry).map_err(std::io::Error::other)?);
    }
    new.write_all(&text)?;
    new.as_file().sync_all()?;
    let path = state_dir.join(JOURNAL);
    new.persist(&path)?;
    File::open(state_dir)?.sync_all()?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::super::run::Trigger;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run(planned: &str) -> Run {
        let mut run = Run::new("byrne".parse().unwrap(), JobKind::Backup, at(planned), Trigger::Scheduled);
        run.started = Some(at(planned));
        run
    }

    fn good(planned: &str) -> Run {
        run(planned).ended(at(planned), Outcome::Good, None)
    }

    #[test]
    fn runs_survive_the_service_and_a_started_one_is_closed_as_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, none) = Journal::open(dir.path()).unwrap();
        assert!(none.is_empty());
        journal.put(good("2026-05-01T02:00:00Z")).unwrap();
        journal.put(run("2026-05-02T02:00:00Z")).unwrap();
        drop(journal);
        let (journal, interrupted) = Journal::open(dir.path()).unwrap();
        assert_eq!(interrupted.len(), 1);
        assert_eq!(interrupted[0].outcome, Some(Outcome::Interrupted));
        let byrne = "byrne".parse().unwrap();
        let outcomes: Vec<_> = journal.runs().of(&byrne, JobKind::Backup).map(|r| r.outcome).collect();
        assert_eq!(outcomes, [Some(Outcome::Good), Some(Outcome::Interrupted)]);
        // It is due again: what was dealt with ends at the night before.
        let past = journal.runs().past(&byrne, JobKind::Backup, at("2026-05-02T03:00:00Z"));
        assert_eq!(past.handled, at("2026-05-01T02:00:00Z"));
        assert_eq!(past.whole, Some(at("2026-05-01T02:00:00Z")));
    }

    #[test]
    fn a_torn_or_foreign_line_costs_no_other_line() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.put(good("2026-05-01T02:00:00Z")).unwrap();
        drop(journal);
        let path = dir.path().join(JOURNAL);
        let mut text = b"{\"line\":\"from-the-future\"}\n".to_vec();
        text.extend(std::fs::read(&path).unwrap());
        text.extend(b"{\"line\":\"run\",\"tenant\":\"byr");
        std::fs::write(&path, text).unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.put(good("2026-05-02T02:00:00Z")).unwrap();
        let seen = Journal::peek(dir.path()).unwrap();
        assert_eq!(seen.runs.of(&"byrne".parse().unwrap(), JobKind::Backup).count(), 2);
    }

    #[test]
    fn only_one_service_has_the_journal_open_and_others_may_look() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        assert_eq!(Journal::open(dir.path()).unwrap_err().kind(), Kind::Locked);
        journal.put(run("2026-05-01T02:00:00Z")).unwrap();
        let byrne = "byrne".parse().unwrap();
        let while_alive = Journal::peek(dir.path()).unwrap();
        assert!(while_alive.alive);
        assert!(while_alive.runs.last(&byrne, JobKind::Backup).is_none());
        drop(journal);
        let after = Journal::peek(dir.path()).unwrap();
        assert!(!after.alive);
        assert_eq!(after.runs.last(&byrne, JobKind::Backup).unwrap().outcome, Some(Outcome::Interrupted));
    }

    #[test]
    fn a_run_that_ends_the_service_each_time_is_not_begun_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let byrne: TenantName = "byrne".parse().unwrap();
        let planned = at("2026-05-01T02:00:00Z");
        for attempt in 1..=TRIES {
            let (mut journal, _) = Journal::open(dir.path()).unwrap();
            assert_eq!(journal.runs().next_attempt(&byrne, JobKind::Backup, planned), attempt);
            journal.see(&byrne, JobKind::Backup, at("2026-04-30T00:00:00Z")).unwrap();
            assert!(journal.runs().past(&byrne, JobKind::Backup, planned).handled < planned);
            journal.put(Run { attempt, ..run("2026-05-01T02:00:00Z") }).unwrap();
        }
        let (journal, _) = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.runs().past(&byrne, JobKind::Backup, planned).handled, planned);
    }

    #[test]
    fn what_a_wrong_clock_wrote_years_ahead_stops_no_night() {
        let dir = tempfile::tempdir().unwrap();
        let byrne: TenantName = "byrne".parse().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.see(&byrne, JobKind::Backup, at("2036-01-01T00:00:00Z")).unwrap();
        journal.put(good("2026-05-01T02:00:00Z")).unwrap();
        journal.put(good("2036-05-01T02:00:00Z")).unwrap();
        let now = at("2026-05-01T12:00:00Z");
        let past = journal.runs().past(&byrne, JobKind::Backup, now);
        assert_eq!(past.handled, now);
        assert_eq!(past.whole, Some(at("2026-05-01T02:00:00Z")));
        journal.see(&byrne, JobKind::Backup, now).unwrap();
        let later = at("2026-05-02T12:00:00Z");
        assert_eq!(journal.runs().past(&byrne, JobKind::Backup, later).handled, now);
    }

    #[test]
    fn the_file_is_written_anew_before_it_grows_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.put(good("2026-05-01T02:00:00Z")).unwrap();
        journal.appended = APPENDED;
        journal.put(good("2026-05-02T02:00:00Z")).unwrap();
        journal.put(good("2026-05-03T02:00:00Z")).unwrap();
        let lines = std::fs::read_to_string(dir.path().join(JOURNAL)).unwrap().lines().count();
        assert_eq!((lines, journal.appended), (3, 1));
    }

    #[test]
    fn the_journal_never_grows_beyond_what_is_kept() {
        let mut runs = Runs::default();
        let first = at("2026-05-01T02:00:00Z");
        for night in 0..1000 {
            let mut run = good("2026-05-01T02:00:00Z");
            run.planned = first + SignedDuration::from_hours(24 * night);
            runs.take(Entry::Run(Box::new(run)));
        }
        assert_eq!(runs.of(&"byrne".parse().unwrap(), JobKind::Backup).count(), KEPT);
    }
}
