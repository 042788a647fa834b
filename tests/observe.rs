//! What an operator's monitoring gets: the real service asked by a real Prometheus, and every file of `deploy/` that goes
//! with it. Prometheus, promtool and the exporters are those of the distribution.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

#[path = "observe/exporters.rs"]
mod exporters;
#[path = "observe/files.rs"]
mod files;
#[path = "observe/image.rs"]
mod image;
#[path = "observe/live.rs"]
mod live;
#[path = "observe/platform.rs"]
mod platform;
