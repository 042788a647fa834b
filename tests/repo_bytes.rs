//! The byte pipeline from streams to packs and back, on a store in a folder and on one that breaks.
#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "a test may panic")]

#[path = "repo_bytes/bench.rs"]
mod bench;
#[path = "repo_bytes/damage.rs"]
mod damage;
#[path = "repo_bytes/nights.rs"]
mod nights;
#[path = "repo_bytes/resume.rs"]
mod resume;
mod support;
