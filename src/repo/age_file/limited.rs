//! Plugins within a time limit: a program that hangs is ended, with all that it has started.
//!
//! Owns the limit, and how such programs are found: the kernel tells which processes a thread has started (proc(5),
//! `/proc/PID/task/TID/children`). Knows nothing of what plugins do.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use age::{DecryptError, EncryptError};
use age_core::format::{FileKey, Stanza};
use rustix::process::{Pid, Signal, getpid, kill_process};
use rustix::thread::gettid;

/// How long a plugin may take to seal something, which it does by itself.
pub(super) const SEAL_LIMIT: Duration = Duration::from_secs(60);

/// How long a plugin may take to open something: a person may have to fetch a key, to type its PIN and to touch it.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(300);

/// How often programs are ended again whose end was not enough, because another one had just been started.
const AGAIN: Duration = Duration::from_millis(100);

/// What a plugin stands behind, with the time that it may take.
pub(super) struct Limited<T> {
    inner: T,
    plugin: String,
    limit: Duration,
}

impl<T> Limited<T> {
    /// Gives `inner`, which runs the program `age-plugin-<plugin>`, so long for each call.
    pub fn new(inner: T, plugin: &str, limit: Duration) -> Self {
        Limited { inner, plugin: plugin.to_owned(), limit }
    }

    fn too_long(&self) -> io::Error {
        let what = format!("age-plugin-{} took longer than {} s", self.plugin, self.limit.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, what)
    }
}

impl<T: age::Identity + Sync> age::Identity for Limited<T> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        within(self.limit, || self.inner.unwrap_stanzas(stanzas))
            .unwrap_or_else(|| Some(Err(DecryptError::Io(self.too_long()))))
    }
}

impl<T: age::Recipient + Sync> age::Recipient for Limited<T> {
    fn wrap_file_key(&self, key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        within(self.limit, || self.inner.wrap_file_key(key))
            .unwrap_or_else(|| Err(EncryptError::Io(self.too_long())))
    }
}

/// Does some work in a thread of its own; where it takes longer, ends the programs that it waits for and returns nothing.
fn within<T: Send>(limit: Duration, work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let (begun, thread) = sync_channel(1);
        let (done, outcome) = sync_channel(1);
        // Neither can fail: this end waits for both.
        scope.spawn(move || {
            begun.send(gettid()).ok();
            done.send(work()).ok();
        });
        let thread = thread.recv().ok()?;
        let mut ended = outcome.recv_timeout(limit);
        if let Err(RecvTimeoutError::Timeout) = ended {
            while let Err(RecvTimeoutError::Timeout) = ended {
                started_by(getpid(), Some(thread)).into_iter().for_each(end);
                ended = outcome.recv_timeout(AGAIN);
            }
            return None;
        }
        // A thread that panicked has its panic go on from here.
        ended.ok()
    })
}

/// Returns the processes that a process, or one of its threads, has started, those first that they have started.
fn started_by(process: Pid, thread: Option<Pid>) -> Vec<Pid> {
    let folder = format!("/proc/{process}/task");
    let threads = fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.file_name());
    let mut all = Vec::new();
    for id in threads.filter(|id| thread.is_none_or(|t| id.to_string_lossy() == t.to_string())) {
        let children = fs::read_to_string(format!("{folder}/{}/children", id.display())).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|c| Pid::from_raw(c.parse().ok()?)) {
            all.extend(started_by(child, None));
            all.push(child);
        }
    }
    all
}

fn end(process: Pid) {
    // It may have ended by itself meanwhile.
    kill_process(process, Signal::KILL).ok();
}

/// Tells whether a fault is that of a plugin that took too long; `what` then says so.
pub(super) fn is_timeout(fault: &io::Error) -> bool {
    fault.kind() == io::ErrorKind::TimedOut
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use age::Identity as _;

    use super::*;

    /// A plugin that never answers: a shell that waits for a program of its own, as wrappers do.
    struct Hangs;

    impl age::Identity for Hangs {
        fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<FileKey, DecryptError>> {
            // The output ends once every process that holds its other end has: the shell and what it waits for.
            let said = Command::new("sh").args(["-c", "sleep 86417 & echo begun; wait"]).output().unwrap();
            assert_eq!((said.stdout.as_slice(), said.status.code()), (&b"begun\n"[..], None));
            None
        }
    }

    fn stanza() -> Stanza {
        Stanza { tag: "x".into(), args: Vec::new(), body: Vec::new() }
    }

    #[test]
    fn a_plugin_that_hangs_is_ended_with_what_it_started() {
        let plugin = Limited::new(Hangs, "hangs", Duration::from_millis(300));
        let Some(Err(DecryptError::Io(fault))) = plugin.unwrap_stanza(&stanza()) else {
            panic!("it was not ended")
        };
        assert!(is_timeout(&fault) && fault.to_string().contains("age-plugin-hangs"), "{fault}");
    }

    #[test]
    fn one_that_answers_is_believed() {
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
    }
}
