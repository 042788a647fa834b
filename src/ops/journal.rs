//! A file of events, each written before what it announces is done: from it, work that was killed is completed or taken back.
//!
//! Owns the lines (one JSON object each, fsynced), the lock that lets one process write, and what a kill leaves: a last
//! line that was cut off counts as never written, for nothing followed it. Refuses to know what the events mean; what is
//! secret has no place in them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::ops::state;

#[derive(Debug, Serialize, Deserialize)]
struct Line<E> {
    at: Timestamp,
    #[serde(flatten)]
    event: E,
}

/// A journal that this process alone may write to.
#[derive(Debug)]
pub struct Journal<E> {
    path: PathBuf,
    inner: Mutex<Inner<E>>,
}

#[derive(Debug)]
struct Inner<E> {
    file: File,
    events: Vec<E>,
}

/// A journal as somebody sees it who does not write to it.
#[derive(Debug)]
pub struct Seen<E> {
    /// When its first event was written, and the events.
    pub begun: Timestamp,
    /// The events, in order.
    pub events: Vec<E>,
    /// Whether a process works with it now.
    pub held: bool,
}

impl<E: Serialize + DeserializeOwned> Journal<E> {
    /// Opens a journal, making an empty one and its private folder where there is none.
    ///
    /// `taken` says what it means that another process has it. [`Kind::Damaged`] where a line other than the last is none.
    pub fn open(path: PathBuf, taken: impl FnOnce() -> Error) -> Result<Journal<E>> {
        use std::os::unix::fs::OpenOptionsExt;
        let about = || format!("journal {}", path.display());
        let dir = path.parent().unwrap_or(Path::new("."));
        state::make_private_dir(dir)?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .context(Kind::Io, about())?;
        if !crate::lock::exclusive(&file).context(Kind::Io, about())? {
            return Err(taken());
        }
        File::open(dir).and_then(|d| d.sync_all()).context(Kind::Io, about())?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).context(Kind::Io, about())?;
        let whole = whole_lines(&text);
        let lines = parse(whole).map_err(|e| e.in_context(about()))?;
        // What a kill cut off goes, so that the next line stands on its own.
        file.set_len(whole.len() as u64).context(Kind::Io, about())?;
        file.seek(SeekFrom::End(0)).context(Kind::Io, about())?;
        let events = lines.into_iter().map(|line| line.event).collect();
        Ok(Journal { path, inner: Mutex::new(Inner { file, events }) })
    }

    /// Looks at a journal without waiting for anybody; none where there is none, or nothing in it.
    pub fn peek(path: &Path) -> Result<Option<Seen<E>>> {
        let about = || format!("journal {}", path.display());
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).context(Kind::Io, about()),
        };
        let held = file.try_lock_shared().is_err();
        let mut text = Vec::new();
        file.read_to_end(&mut text).context(Kind::Io, about())?;
        let lines: Vec<Line<E>> = parse(whole_lines(&text)).map_err(|e| e.in_context(about()))?;
        let Some(begun) = lines.first().map(|line| line.at) else { return Ok(None) };
        Ok(Some(Seen { begun, events: lines.into_iter().map(|line| line.event).collect(), held }))
    }

    /// Writes an event down; it is on the disk when this returns.
    pub fn write(&self, at: Timestamp, event: E) -> Result<()> {
        let about = || format!("journal {}", self.path.display());
        let line = Line { at, event };
        let mut bytes = serde_json::to_vec(&line).context(Kind::Bug, about())?;
        bytes.push(b'\n');
        let mut inner = self.inner();
        inner.file.write_all(&bytes).context(Kind::Io, about())?;
        inner.file.sync_data().context(Kind::Io, about())?;
        inner.events.push(line.event);
        Ok(())
    }

    /// Forgets all of it.
    pub fn remove(self) -> Result<()> {
        state::remove(&self.path)?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        File::open(dir).and_then(|d| d.sync_all()).context(Kind::Io, dir.display())
    }
}

impl<E> Journal<E> {
    fn inner(&self) -> MutexGuard<'_, Inner<E>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `look` see the events so far.
    pub fn read<T>(&self, look: impl FnOnce(&[E]) -> T) -> T {
        look(&self.inner().events)
    }
}

/// Returns what ends with a line's end.
fn whole_lines(text: &[u8]) -> &[u8] {
    &text[..text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)]
}

fn parse<E: DeserializeOwned>(text: &[u8]) -> Result<Vec<Line<E>>> {
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let parsed = lines
        .enumerate()
        .map(|(n, line)| serde_json::from_slice(line).context(Kind::Damaged, format_args!("line {}", n + 1)));
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case", tag = "event")]
    enum Event {
        Begin { what: String },
        End,
    }

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn taken() -> Error {
        Error::new(Kind::Locked, "taken")
    }

    #[test]
    fn whoever_looks_sees_the_events_and_whether_somebody_works_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/x.jsonl");
        assert!(Journal::<Event>::peek(&path).unwrap().is_none());
        let journal = Journal::open(path.clone(), taken).unwrap();
        assert!(Journal::<Event>::peek(&path).unwrap().is_none(), "nothing was begun yet");
        journal.write(AT, Event::Begin { what: "x".into() }).unwrap();
        assert!(Journal::<Event>::peek(&path).unwrap().unwrap().held);
        drop(journal);
        let seen = Journal::<Event>::peek(&path).unwrap().unwrap();
        assert!(!seen.held && seen.begun == AT);
        assert_eq!(seen.events, [Event::Begin { what: "x".into() }]);
        Journal::<Event>::open(path.clone(), taken).unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_line_that_was_cut_off_counts_as_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        Journal::open(path.clone(), taken).unwrap().write(AT, Event::End).unwrap();
        let mut text = std::fs::read(&path).unwrap();
        text.extend(b"{\"at\":\"19");
        std::fs::write(&path, text).unwrap();
        assert_eq!(Journal::<Event>::peek(&path).unwrap().unwrap().events, [Event::End]);
        let journal = Journal::open(path, taken).unwrap();
        journal.write(AT, Event::End).unwrap();
        assert_eq!(journal.read(<[Event]>::len), 2);
    }
}
