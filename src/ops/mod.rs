//! One verb a file: what a backup, a restore or a drill is, as a recipe of named steps.
//!
//! Here the repository and the components meet. Verbs return values and report progress to a monitor; they never print.

pub mod anomaly;
pub mod appliance;
pub mod backup;
pub mod benchmark;
pub mod capacity;
pub mod check;
pub mod copy;
pub mod damaged;
pub mod diff;
pub mod discover;
pub mod doctor;
pub mod drill;
pub mod erase;
pub mod files;
pub mod health;
pub mod hold;
pub mod init;
pub mod journal;
pub mod keys;
pub mod kit;
pub mod leftovers;
pub mod pin;
pub mod place;
pub mod probe;
pub mod provision;
pub mod prune;
pub mod recall;
pub mod record;
pub mod restore;
pub mod site;
pub mod snapshots;
pub mod state;
pub mod status;
pub mod tampered;
pub mod unlock;
