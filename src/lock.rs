//! Locks on files, each held by one process at a time.
//!
//! Owns how long a lock that is taken is asked for again. Refuses to know what a lock is for and what its refusal means.

use std::fs::{File, TryLockError};
use std::io;
use std::thread;
use std::time::Duration;

/// How often a lock is asked for before it counts as taken, and how long is waited in between: a fifth of a second.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Locks a file for this process alone; false when another holds it. Blocks for a fifth of a second at most.
///
/// Asks more than once, since a lock may be held for a moment by whoever does not mean to keep it: a child of this
/// process has its open files between its fork and its exec, and a reader that only asks whether anybody holds the lock
/// shares it meanwhile.
pub fn exclusive(file: &File) -> io::Result<bool> {
    for attempt in 1..=ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_descriptors() -> (tempfile::NamedTempFile, File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let other = File::open(file.path()).unwrap();
        (file, other)
    }

    #[test]
    fn a_lock_that_is_held_is_refused_and_one_let_go_is_taken() {
        let (held, other) = two_descriptors();
        assert!(exclusive(held.as_file()).unwrap());
        assert!(!exclusive(&other).unwrap());
        drop(held);
        assert!(exclusive(&other).unwrap());
    }

    #[test]
    fn a_lock_that_somebody_shares_for_a_moment_is_taken_all_the_same() {
        let (held, other) = two_descriptors();
        held.as_file().lock_shared().unwrap();
        let looking = thread::spawn(move || {
            thread::sleep(PAUSE * 2);
            drop(held);
        });
        assert!(exclusive(&other).unwrap());
        looking.join().unwrap();
    }
}
