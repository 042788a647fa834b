//! What breaks while the real binary works, on real tenants: each fault has its exit code and a message that names the
//! object and what to do; no component appears that is not whole; older snapshots stay; nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

#[path = "faults/database.rs"]
mod database;
#[path = "faults/hostile.rs"]
mod hostile;
#[path = "faults/scene.rs"]
mod scene;
#[path = "faults/signals.rs"]
mod signals;
#[path = "faults/store.rs"]
mod store;
#[path = "faults/throttled.rs"]
mod throttled;
