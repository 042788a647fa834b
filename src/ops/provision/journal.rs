//! What provisioning made, written down before it is made: the ground on which a second call completes and a rollback removes.
//!
//! Events: `begin` with the run's id, `intent` before a thing is made, `made` after, `undone`, `end`. Holds names only, never a
//! secret. Locked while it is open, so that a tenant is provisioned by one process at a time.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::step::StepName;
use crate::error::{Error, Kind, Result};
use crate::id::TenantName;
use crate::ops::journal;

/// Something that a step makes: a container, a file, a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// What kind of thing, in the step's own words: `container`, `file`, `zone`.
    pub kind: String,
    /// Which one: a name, a path, an id.
    pub name: String,
    /// What stood there before, where a rollback must bring that back; never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
}

impl Thing {
    /// Names a thing that was not there before.
    pub fn new(kind: &str, name: impl Into<String>) -> Thing {
        Thing { kind: kind.to_owned(), name: name.into(), was: None }
    }

    /// Says what stood there before.
    #[must_use]
    pub fn instead_of(mut self, was: impl Into<String>) -> Thing {
        self.was = Some(was.into());
        self
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event {
    Begin { run: String },
    Intent { step: StepName, thing: Thing },
    Made { step: StepName, thing: Thing },
    Undone { step: StepName, thing: Thing },
    End,
}

/// A tenant's journal, open and locked.
#[derive(Debug)]
pub struct Journal {
    lines: journal::Journal<Event>,
}

impl Journal {
    /// Returns where a tenant's journal lies.
    pub fn path(state_dir: &Path, tenant: &TenantName) -> PathBuf {
        state_dir.join("provision").join(format!("{tenant}.jsonl"))
    }

    /// Opens a tenant's journal, making an empty one where there is none.
    ///
    /// [`Kind::Locked`] while another process has it, [`Kind::Damaged`] where a line other than the last is none.
    pub fn open(state_dir: &Path, tenant: &TenantName) -> Result<Journal> {
        let taken = || {
            Error::new(Kind::Locked, format!("tenant {tenant} is being provisioned right now"))
                .hint("wait for it to end: `ps -C lifeboat -o pid,lstart,args` shows what runs on this host")
        };
        Ok(Journal { lines: journal::Journal::open(Journal::path(state_dir, tenant), taken)? })
    }

    fn write(&self, at: Timestamp, event: Event) -> Result<()> {
        self.lines.write(at, event)
    }

    fn read<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        self.lines.read(look)
    }

    /// Returns the id of the run whose things these are; none before the first, and after one was taken back.
    pub fn run(&self) -> Option<String> {
        self.read(|events| {
            events.iter().rev().find_map(|e| match e {
                Event::Begin { run } => Some(run.clone()),
                _ => None,
            })
        })
    }

    /// Begins a run, unless one is begun: a later call goes on with it. Returns its id.
    pub fn begin(&self, at: Timestamp) -> Result<String> {
        if let Some(run) = self.run() {
            return Ok(run);
        }
        let run = hex::encode(rand::random::<[u8; 8]>());
        self.write(at, Event::Begin { run: run.clone() })?;
        Ok(run)
    }

    /// Says that a thing that is not there is about to be made; does nothing where that was said.
    pub fn intend(&self, at: Timestamp, step: StepName, thing: &Thing) -> Result<()> {
        let said = self.live(step).iter().any(|t| t.kind == thing.kind && t.name == thing.name);
        if said { Ok(()) } else { self.write(at, Event::Intent { step, thing: thing.clone() }) }
    }

    /// Says that it is made.
    pub fn made(&self, at: Timestamp, step: StepName, thing: &Thing) -> Result<()> {
        self.write(at, Event::Made { step, thing: thing.clone() })
    }

    /// Says that it is removed again.
    pub fn undone(&self, at: Timestamp, step: StepName, thing: &Thing) -> Result<()> {
        self.write(at, Event::Undone { step, thing: thing.clone() })
    }

    /// Returns what a step made or was about to make, the last first.
    pub fn things(&self, step: StepName) -> Vec<Thing> {
        let mut all = self.live(step);
        all.reverse();
        all
    }

    /// Tells whether a step made this thing, or was about to.
    pub fn has(&self, step: StepName, kind: &str, name: &str) -> bool {
        self.live(step).iter().any(|t| t.kind == kind && t.name == name)
    }

    /// Tells whether a step made this thing to its end.
    pub fn is_made(&self, step: StepName, kind: &str, name: &str) -> bool {
        let about = |s: &StepName, t: &Thing| *s == step && t.kind == kind && t.name == name;
        let last = |e: &Event| match e {
            Event::Made { step, thing } if about(step, thing) => Some(true),
            Event::Intent { step, thing } | Event::Undone { step, thing } if about(step, thing) => {
                Some(false)
            }
            _ => None,
        };
        self.read(|events| events.iter().rev().find_map(last)) == Some(true)
    }

    /// Says that the tenant is whole: from here on it is not taken back, only removed by `deprovision`.
    pub fn end(&self, at: Timestamp) -> Result<()> {
        if self.is_ended() { Ok(()) } else { self.write(at, Event::End) }
    }

    /// Tells whether the tenant was whole at some time.
    pub fn is_ended(&self) -> bool {
        self.read(|events| events.contains(&Event::End))
    }

    /// Forgets all, once everything is removed.
    pub fn remove(self) -> Result<()> {
        self.lines.remove()
    }

    fn live(&self, step: StepName) -> Vec<Thing> {
        self.read(|events| {
            let mut all: Vec<Thing> = Vec::new();
            for event in events {
                match event {
                    Event::Intent { step: s, thing } if *s == step => all.push(thing.clone()),
                    Event::Undone { step: s, thing } if *s == step => {
                        all.retain(|t| (&t.kind, &t.name) != (&thing.kind, &thing.name));
                    }
                    _ => {}
                }
            }
            all
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn open(dir: &Path) -> Journal {
        Journal::open(dir, &"acme".parse().unwrap()).unwrap()
    }

    #[test]
    fn what_was_intended_is_known_after_a_kill_and_goes_last_first() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let run = journal.begin(AT).unwrap();
        let (network, volume) = (Thing::new("network", "acme"), Thing::new("volume", "acme_sites"));
        for thing in [&network, &volume] {
            journal.intend(AT, StepName::Services, thing).unwrap();
        }
        journal.made(AT, StepName::Services, &network).unwrap();
        drop(journal);
        let journal = open(dir.path());
        assert_eq!(journal.begin(AT).unwrap(), run, "a second call goes on with the same run");
        assert_eq!(journal.things(StepName::Services), [volume.clone(), network.clone()]);
        assert!(journal.things(StepName::Site).is_empty());
        journal.undone(AT, StepName::Services, &volume).unwrap();
        assert_eq!(journal.things(StepName::Services), [network]);
    }

    #[test]
    fn a_thing_is_intended_once_however_often_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let zone = Thing::new("zone", "x").instead_of("old");
        journal.intend(AT, StepName::Dns, &zone).unwrap();
        journal.intend(AT, StepName::Dns, &Thing::new("zone", "x").instead_of("new")).unwrap();
        assert_eq!(
            journal.things(StepName::Dns),
            [zone],
            "what stood there first is what a rollback brings back"
        );
    }

    #[test]
    fn a_line_that_was_cut_off_is_dropped_and_any_other_damage_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).begin(AT).unwrap();
        let path = Journal::path(dir.path(), &"acme".parse().unwrap());
        let mut text = std::fs::read(&path).unwrap();
        text.extend(b"{\"at\":\"1970-");
        std::fs::write(&path, &text).unwrap();
        let journal = open(dir.path());
        journal.intend(AT, StepName::Site, &Thing::new("site", "s")).unwrap();
        drop(journal);
        assert_eq!(open(dir.path()).things(StepName::Site).len(), 1);
        std::fs::write(&path, "{\"at\":\n{}\n").unwrap();
        let damaged = Journal::open(dir.path(), &"acme".parse().unwrap()).unwrap_err();
        assert_eq!(damaged.kind(), Kind::Damaged);
    }

    #[test]
    fn a_tenant_is_provisioned_by_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path());
        let second = Journal::open(dir.path(), &"acme".parse().unwrap());
        assert_eq!(second.unwrap_err().kind(), Kind::Locked);
        drop(first);
        assert!(!open(dir.path()).is_ended());
    }
}
