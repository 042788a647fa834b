//! How far a restore has come, written before each step: from it a restore that was killed is completed or taken back.
//!
//! Owns the events and what follows from them. Names, paths and inodes only: no secret, and nothing that opens a backup.
//! The order is `begin`, then `making` and `staging`/`staged` as often as needed, `stopping`, `switching`, `switched`, `done`; after that
//! `committing`, or at any time `undoing` and `undone`. Once `switching` stands there, the tenant is to be taken for half old
//! and half new, and its application does not run, until `switched` or `undone` does.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, SnapshotId, TenantName};
use crate::ops::journal::{self, Seen};
use crate::ops::state::State;

use super::part::Part;

/// The file below a tenant's state folder.
const FILE: &str = "restore.jsonl";

/// What was asked for, so that it can be asked for again, and what must be known without the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Whose snapshot.
    pub tenant: TenantName,
    /// Under which name.
    pub target: TenantName,
    /// Which.
    pub snapshot: SnapshotId,
    /// What its state is as of.
    pub as_of: Timestamp,
    /// Names what is staged and what is kept: `20261123t101500z`.
    pub stamp: String,
    /// Whether the second store was read.
    pub from_copy: bool,
    /// Only these components.
    pub only: Vec<ComponentName>,
    /// Under another name: live.
    pub live: bool,
    /// With the job queue.
    pub with_queue: bool,
    /// With the client in Authentik.
    pub with_sso: bool,
    /// With the scheduler paused.
    pub pause_scheduler: bool,
    /// The containers of the application.
    pub apps: Vec<String>,
    /// The container of the cache, whose keys of the site are flushed.
    pub cache: Option<String>,
    /// What the state before was saved as.
    pub safety: Safety,
}

/// What became of the snapshot that a restore takes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Safety {
    /// Nothing was there.
    NotNeeded,
    /// Taken and whole.
    Taken {
        /// Which.
        snapshot: SnapshotId,
    },
    /// Not taken, and gone on without.
    Lacks {
        /// What the operator said.
        reason: String,
        /// Why it could not be taken.
        problem: String,
    },
}

/// Something that an undo takes away again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// What kind of thing.
    pub kind: ThingKind,
    /// Its name; of an account `user@host`, with the server's container in `of`.
    pub name: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// Kinds of things that a restore makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThingKind {
    /// A container.
    Container,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// An account of a database server.
    Account,
}

/// Something old that is kept until the restore is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What and where.
    pub what: String,
    /// The space it takes, where that is known.
    pub bytes: Option<u64>,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A restore begins; nothing was changed yet.
    Begin(Box<Begun>),
    /// A thing that is not there is about to be made.
    Making(Thing),
    /// A part is about to be built beside what is there.
    Staging(Part),
    /// It is whole and compared.
    Staged(Part),
    /// Containers are about to be stopped; these ran.
    Stopping {
        /// Their names.
        running: Vec<String>,
    },
    /// Parts are about to take their places.
    Switching,
    /// All have.
    Switched,
    /// The tenant runs again.
    Done {
        /// What is kept.
        kept: Vec<Kept>,
    },
    /// All of it is about to be taken back.
    Undoing,
    /// What was there before is in its place again.
    Undone,
    /// What is kept is about to be dropped.
    Committing,
}

/// The journal of a restore that this process works on.
pub type Journal = journal::Journal<Event>;

/// How far a restore has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// All is built beside what is there, which is untouched.
    Staging,
    /// Parts take their places: neither the old nor the new tenant.
    Switching,
    /// The new tenant runs, the old one is kept.
    Done,
    /// Parts give their places back.
    Undoing,
    /// What is kept is dropped.
    Committing,
}

/// What a journal tells.
#[derive(Debug, Clone)]
pub struct Story {
    /// What was asked for.
    pub begun: Begun,
    /// What was made.
    pub made: Vec<Thing>,
    /// The parts in their order, and whether each is whole.
    pub parts: Vec<(Part, bool)>,
    /// What ran before.
    pub running: Option<Vec<String>>,
    /// How far it has come.
    pub phase: Phase,
    /// Whether any part may have taken its place.
    pub switching: bool,
    /// Whether all have.
    pub switched: bool,
    /// Whether all have given theirs back.
    pub undone: bool,
    /// What is kept.
    pub kept: Vec<Kept>,
}

impl Story {
    /// Reads the events; none before the first.
    pub fn of(events: &[Event]) -> Option<Story> {
        let Some(Event::Begin(begun)) = events.first() else { return None };
        let mut story = Story {
            begun: (**begun).clone(),
            made: Vec::new(),
            parts: Vec::new(),
            running: None,
            phase: Phase::Staging,
            switching: false,
            switched: false,
            undone: false,
            kept: Vec::new(),
        };
        events.iter().for_each(|event| story.take(event));
        Some(story)
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Begin(_) => {}
            Event::Making(thing) if self.made.contains(thing) => {}
            Event::Making(thing) => self.made.push(thing.clone()),
            Event::Staging(part) | Event::Staged(part) => {
                let whole = matches!(event, Event::Staged(_));
                match self.parts.iter_mut().find(|(p, _)| p.key() == part.key()) {
                    Some(known) => *known = (part.clone(), whole),
                    None => self.parts.push((part.clone(), whole)),
                }
            }
            // What a second call finds stopped was stopped by the first.
            Event::Stopping { running } if self.running.is_none() => self.running = Some(running.clone()),
            Event::Stopping { .. } => {}
            Event::Switching => (self.phase, self.switching) = (Phase::Switching, true),
            Event::Switched => self.switched = true,
            Event::Done { kept } => (self.phase, self.kept) = (Phase::Done, kept.clone()),
            Event::Undoing => self.phase = Phase::Undoing,
            Event::Undone => self.undone = true,
            Event::Committing => self.phase = Phase::Committing,
        }
    }

    /// Returns a part by its key, if it is whole.
    pub fn whole(&self, key: &str) -> Option<&Part> {
        self.parts.iter().find(|(part, whole)| *whole && part.key() == key).map(|(part, _)| part)
    }
}

/// A restore that was begun and is neither committed nor taken back.
#[derive(Debug, Clone, Serialize)]
pub struct Pending {
    /// Under which name.
    pub target: TenantName,
    /// Which snapshot is or was restored.
    pub snapshot: SnapshotId,
    /// What its state is as of.
    pub as_of: Timestamp,
    /// When it was begun.
    pub since: Timestamp,
    /// How far it has come.
    pub phase: Phase,
    /// Whether a process works on it now.
    pub running: bool,
    /// What is kept until it is committed.
    pub keeps: Vec<Kept>,
    /// What was asked for.
    #[serde(skip)]
    pub begun: Begun,
    /// Whether all was built.
    #[serde(skip)]
    pub built: bool,
}

impl Pending {
    /// Tells whether going on needs the snapshot, and so an identity.
    pub fn needs_snapshot(&self) -> bool {
        self.phase == Phase::Staging && !self.built
    }

    /// Returns the space that is kept, in bytes, as far as it is known.
    pub fn kept_bytes(&self) -> u64 {
        self.keeps.iter().filter_map(|k| k.bytes).sum()
    }

    /// Tells whether the tenant is whole: all of the old or all of the new.
    pub fn is_whole(&self) -> bool {
        matches!(self.phase, Phase::Staging | Phase::Done | Phase::Committing)
    }

    /// Says in a sentence how it stands.
    pub fn sentence(&self) -> String {
        let (snapshot, target) = (&self.snapshot, &self.target);
        let who = if self.running { "is under way" } else { "was cut off" };
        match self.phase {
            Phase::Staging => format!(
                "a restore of snapshot {snapshot} {who}; the tenant is as it was before (`lifeboat restore {target} --resume` or --undo)"
            ),
            Phase::Switching | Phase::Undoing => format!(
                "a restore of snapshot {snapshot} {who} while parts changed places: the tenant is half old and half new and stands still \
                 (`lifeboat restore {target} --resume` or --undo)"
            ),
            Phase::Done => format!(
                "restored from snapshot {snapshot}, not committed: `lifeboat restore {target} --undo` brings the state before back, \
                 --commit drops it and frees {:.1} MB",
                self.kept_bytes() as f64 / 1e6
            ),
            Phase::Committing => format!(
                "the commit of the restore of snapshot {snapshot} {who}: `lifeboat restore {target} --commit` ends it"
            ),
        }
    }
}

fn path(state: &State, target: &TenantName) -> PathBuf {
    state.root_of(target).join(FILE)
}

/// Opens the journal of a target's restore.
pub fn open(state: &State, target: &TenantName) -> Result<Journal> {
    Journal::open(path(state, target), || {
        Error::new(Kind::Locked, format!("tenant {target}: another lifeboat restores it"))
            .hint("wait for it to end: `ps -C lifeboat -o pid,lstart,args` shows what runs on this host")
    })
}

/// Looks for a restore that was begun and is neither committed nor taken back.
pub fn pending(state: &State, target: &TenantName) -> Result<Option<Pending>> {
    let Some(Seen { begun: since, events, held }) = Journal::peek(&path(state, target))? else {
        return Ok(None);
    };
    Ok(Story::of(&events).map(|story| Pending {
        target: story.begun.target.clone(),
        snapshot: story.begun.snapshot.clone(),
        as_of: story.begun.as_of,
        since,
        phase: story.phase,
        running: held,
        keeps: story.kept,
        built: story.running.is_some(),
        begun: story.begun,
    }))
}

/// Fails with [`Kind::Conflict`] where a tenant is half old and half new.
pub fn refuse_half(state: &State, tenant: &TenantName) -> Result<()> {
    match pending(state, tenant)? {
        Some(pending) if !pending.is_whole() => Err(Error::new(Kind::Conflict, pending.sentence())
            .hint(format!("`lifeboat restore {tenant} --resume` completes it, --undo takes it back"))),
        _ => Ok(()),
    }
}

/// Fails with [`Kind::Conflict`] where a restore is neither committed nor taken back.
pub fn refuse_pending(state: &State, target: &TenantName) -> Result<()> {
    let Some(pending) = pending(state, target)? else { return Ok(()) };
    let ways = match pending.phase {
        Phase::Done => format!(
            "`lifeboat restore {target} --commit` drops what was there before it, `lifeboat restore {target} --undo` brings that back"
        ),
        Phase::Committing => format!("`lifeboat restore {target} --commit` ends it"),
        _ => format!("`lifeboat restore {target} --resume` completes it, --undo takes it back"),
    };
    Err(Error::new(Kind::Conflict, format!("tenant {target}: {}", pending.sentence())).hint(ways))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Event {
        Event::Begin(Box::new(Begun {
            tenant: "byrne".parse().unwrap(),
            target: "byrne".parse().unwrap(),
            snapshot: SnapshotId::new(Timestamp::UNIX_EPOCH, [1, 2, 3, 4]),
            as_of: Timestamp::UNIX_EPOCH,
            stamp: "s".into(),
            from_copy: false,
            only: Vec::new(),
            live: false,
            with_queue: false,
            with_sso: false,
            pause_scheduler: false,
            apps: Vec::new(),
            cache: None,
            safety: Safety::NotNeeded,
        }))
    }

    fn queue() -> Part {
        Part::Queue { container: "q".into(), folder: "/q".into(), placed: None }
    }

    #[test]
    fn every_event_comes_back_from_the_file_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let target = "byrne".parse().unwrap();
        let thing = Thing { kind: ThingKind::Account, name: "u@%".into(), of: Some("db".into()) };
        let kept = vec![Kept { what: "x".into(), bytes: Some(7) }];
        let database = Part::Database(super::super::part::DatabasePart {
            container: "db".into(),
            old: Some("_1".into()),
            new: "_1_r".into(),
            renamed: None,
            own: true,
            lent: Vec::new(),
        });
        let folder = Part::Folder {
            place: "/s".into(),
            stamp: "s".into(),
            parked: Some(crate::component::files::Parked {
                place: "/s".into(),
                waiting: "/b/s".into(),
                wrapping: "/b".into(),
                inode: u64::MAX,
                replaces: true,
            }),
        };
        let all = vec![
            begun(),
            Event::Making(thing),
            Event::Staging(database),
            Event::Staged(folder),
            Event::Stopping { running: vec!["app".into()] },
            Event::Switching,
            Event::Switched,
            Event::Done { kept },
            Event::Undoing,
            Event::Undone,
            Event::Committing,
        ];
        let journal = open(&state, &target).unwrap();
        all.iter().for_each(|e| journal.write(Timestamp::UNIX_EPOCH, e.clone()).unwrap());
        drop(journal);
        let journal = open(&state, &target).unwrap();
        journal.read(|events| assert_eq!(events, all));
    }

    #[test]
    fn a_tenant_is_half_from_the_switch_to_its_end_and_nowhere_else() {
        let mut events = vec![begun()];
        let whole = |events: &[Event]| {
            let story = Story::of(events).unwrap();
            matches!(story.phase, Phase::Staging | Phase::Done | Phase::Committing)
        };
        for (event, is_whole) in [
            (Event::Staging(queue()), true),
            (Event::Stopping { running: vec!["q".into()] }, true),
            (Event::Switching, false),
            (Event::Switched, false),
            (Event::Done { kept: Vec::new() }, true),
            (Event::Undoing, false),
        ] {
            events.push(event);
            assert_eq!(whole(&events), is_whole, "{events:?}");
        }
        assert!(Story::of(&[]).is_none());
    }

    #[test]
    fn what_ran_before_is_what_the_first_stop_found_and_a_part_stands_once() {
        let events = [
            begun(),
            Event::Staging(queue()),
            Event::Staged(queue()),
            Event::Stopping { running: vec!["app".into()] },
            Event::Stopping { running: Vec::new() },
        ];
        let story = Story::of(&events).unwrap();
        assert_eq!(story.running, Some(vec!["app".to_owned()]));
        assert_eq!(story.parts, [(queue(), true)]);
    }
}
