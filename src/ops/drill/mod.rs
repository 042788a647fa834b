//! `drill`: a tenant restored into a fresh isolated one, proven equal, timed and torn down.

pub mod report;
