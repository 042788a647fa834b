//! Lifeboat: encrypted backup and disaster recovery for hosts that run many ERPNext tenants in Docker.
//!
//! # Words
//! *Tenant*: one site with its database, two Redis, files, configuration and certificates.
//! *Component*: one recoverable part of a tenant. *Snapshot*: a tenant at one time. *Manifest*: what
//! a snapshot holds, encrypted. *Receipt*: its signed, clear header; writing it commits the snapshot.
//! *Stream*: one sequence of bytes of a component; *segment*: a part of it that is cut on its own;
//! *extent*: where a run of it lies in a pack. *Chunk*: the unit of deduplication; *frame*: chunks
//! compressed together; *pack*: frames encrypted together. *Store*: bytes by key. *Vault key*: a
//! tenant's age key pair. *Wrap*: that key encrypted to the operators. *Root*: the operators'
//! signing key.
//!
//! # Layers
//! Modules are listed from the bottom up; each uses only those above it in this list, and `store`,
//! `repo`, `component` and `host` keep the order `repo > store`, `component > host`, with `repo` and
//! `component` unknown to each other. `tests/layers.rs` enforces it.

pub mod error;
pub mod id;
pub mod lock;
pub mod monitor;
pub mod spare;

pub mod config;

pub mod store;

pub mod repo;

pub mod host;

pub mod component;

pub mod ops;

pub mod service;

pub mod web;

pub mod cli;
