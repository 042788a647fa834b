//! What tests on real containers share. Each test file takes what it needs.
#![allow(dead_code, clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

pub mod docker;
