//! Progress and counters of any long work.
//!
//! Owns what can be counted. Work reports here and never prints; a terminal, JSON lines, the web or
//! a test listens. Every fact is counted in one place only, where it happens.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// What is counted; the last word of each name is its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counter {
    /// Bytes of sources, before deduplication, those known not to have changed included.
    SourceBytes,
    /// Bytes of chunks that were not known.
    NewBytes,
    /// Bytes of such chunks, compressed.
    CompressedBytes,
    /// Bytes of objects sent to the store.
    StoredBytes,
    /// Packs sent to the store.
    StoredPacks,
    /// Bytes of packs fetched from the store.
    FetchedBytes,
    /// Bytes handed to targets of a restore.
    RestoredBytes,
    /// Files of `files` components seen.
    Files,
    /// Locks of stored objects made longer.
    RenewedLocks,
}

/// A listener to one piece of work; all methods have an empty default.
pub trait Monitor: Send + Sync {
    /// Adds `n` to a counter.
    fn count(&self, _counter: Counter, _n: u64) {}
    /// A named step began; it ends when the next begins or the work does.
    fn step(&self, _name: &str) {}
    /// The step's expected total, in bytes of [`Counter::SourceBytes`] or [`Counter::RestoredBytes`].
    fn expect_bytes(&self, _n: u64) {}
    /// Something is wrong, but the work goes on.
    fn problem(&self, _error: &Error) {}
    /// A fact worth a line.
    fn note(&self, _text: &str) {}
}

/// A shared listener.
pub type SharedMonitor = Arc<dyn Monitor>;

/// Listens to nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// Passes on all it hears, and adds up one counter of it.
pub struct Tally {
    to: SharedMonitor,
    counter: Counter,
    sum: AtomicU64,
}

impl Tally {
    /// Adds up `counter` of what it passes on to `to`.
    pub fn new(to: SharedMonitor, counter: Counter) -> Self {
        Tally { to, counter, sum: AtomicU64::new(0) }
    }

    /// Returns the sum until now.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

impl Monitor for Tally {
    fn count(&self, counter: Counter, n: u64) {
        if counter == self.counter {
            self.sum.fetch_add(n, Ordering::Relaxed);
        }
        self.to.count(counter, n);
    }

    fn step(&self, name: &str) {
        self.to.step(name);
    }

    fn expect_bytes(&self, n: u64) {
        self.to.expect_bytes(n);
    }

    fn problem(&self, error: &Error) {
        self.to.problem(error);
    }

    fn note(&self, text: &str) {
        self.to.note(text);
    }
}

/// Remembers all it hears, for tests and for results.
#[derive(Debug, Default)]
pub struct Recorder {
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    counters: std::collections::BTreeMap<Counter, u64>,
    steps: Vec<String>,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Recorder {
    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns a counter's value.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.heard().counters.get(&counter).copied().unwrap_or(0)
    }

    /// Returns the steps in their order.
    pub fn steps(&self) -> Vec<String> {
        self.heard().steps.clone()
    }

    /// Returns the problems in their order.
    pub fn problems(&self) -> Vec<String> {
        self.heard().problems.clone()
    }

    /// Returns the notes in their order.
    pub fn notes(&self) -> Vec<String> {
        self.heard().notes.clone()
    }
}

impl Monitor for Recorder {
    fn count(&self, counter: Counter, n: u64) {
        *self.heard().counters.entry(counter).or_default() += n;
    }

    fn step(&self, name: &str) {
        self.heard().steps.push(name.to_owned());
    }

    fn problem(&self, error: &Error) {
        self.heard().problems.push(error.to_string());
    }

    fn note(&self, text: &str) {
        self.heard().notes.push(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_adds_up_its_own_counter_and_swallows_nothing() {
        let heard = Arc::new(Recorder::default());
        let tally = Tally::new(heard.clone(), Counter::NewBytes);
        tally.count(Counter::NewBytes, 3);
        tally.count(Counter::SourceBytes, 5);
        tally.count(Counter::NewBytes, 4);
        tally.step("files");
        tally.note("a note");
        assert_eq!((tally.sum(), heard.counter(Counter::NewBytes)), (7, 7));
        assert_eq!(heard.counter(Counter::SourceBytes), 5);
        assert_eq!((heard.steps(), heard.notes()), (vec!["files".to_owned()], vec!["a note".to_owned()]));
    }
}
