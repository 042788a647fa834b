//! What tests on real servers share: containers, whole tenants, stores, the real site's data. Each test file takes
//! what it needs.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "a test may panic, in the functions it calls too"
)]

pub mod app;
pub mod authentik;
pub mod cli;
pub mod clock;
pub mod counting;
pub mod dns;
pub mod docker;
pub mod forgetful;
pub mod gate;
pub mod host;
pub mod mariadb;
pub mod prometheus;
pub mod proxy;
pub mod pruner;
pub mod repository;
pub mod running;
pub mod seaweed;
pub mod second;
pub mod shared;
pub mod steps;
pub mod tenant;
pub mod wire;
