//! The daemon: what runs when, what became of it, and whom to tell.
pub mod schedule;
