//! `prune`: forgets what the policy does not keep, and removes what nothing needs any more.

pub mod retention;
mod slots;
