//! `provision`: a tenant from a name and a domain, step by step.
//!
//! Each step is looked at, done where something lacks, and looked at again, so that a second call completes what a killed
//! one left and a third changes nothing. What is made stands in a journal first; a rollback removes that and no more.
//! Owns the order of the steps. What a step does lies in its own file.

pub mod job;
pub mod journal;
pub mod names;
pub mod run;
pub mod step;

pub use job::{Job, Order};
pub use journal::{Journal, Thing};
pub use run::{Chosen, Did, Report, StepReport};
pub use step::{Standing, Step, StepName};
