//! Drills that were asked for besides the planned ones: due with the next backup, of which they are the proof.
//!
//! Owns when such a drill is due, and that it is made once.

use jiff::Timestamp;

use super::clock::Clock;
use super::jobs::Jobs;
use super::plan::rule_of;
use super::run::{JobKind, Run, Trigger};
use super::schedule::next_run;
use super::{Service, journal};
use crate::config::{Config, Tenant};
use crate::ops::drill;
use crate::ops::state::State;

/// Returns when a drill that was asked for is due: with the first backup that is planned afterwards.
fn due(config: &Config, tenant: &Tenant, since: Timestamp) -> Option<Timestamp> {
    rule_of(config, tenant, JobKind::Drill)?;
    next_run(&rule_of(config, tenant, JobKind::Backup)?, since)
}

impl<C: Clock, J: Jobs> Service<C, J> {
    /// Queues a drill that was asked for once it is due; a note whose drill was made goes.
    pub(super) fn take_asked_drill(&mut self, config: &Config, tenant: &Tenant, now: Timestamp) {
        let state = State::peek(&config.machine.state_dir);
        let asked = match drill::asked(&state, &tenant.name) {
            Ok(Some(asked)) => asked,
            Ok(None) => return,
            Err(e) => {
                return tracing::warn!(tenant.name = %tenant.name, error = %e, "an asked drill is not known");
            }
        };
        let Some(planned) = due(config, tenant, asked.since).filter(|at| *at <= now) else { return };
        if self.queue.newest(&tenant.name, JobKind::Drill).is_some() {
            return;
        }
        match self.desk.run_planned_for(&tenant.name, JobKind::Drill, planned) {
            Some(run) if run.outcome.is_none() => {}
            Some(run) if journal::dealt_with(&run) => {
                if let Err(e) = drill::forget(&state, &tenant.name) {
                    tracing::warn!(tenant.name = %tenant.name, error = %e, "a drill that was made is still asked for");
                }
            }
            // Never begun, or ended with the service.
            _ => {
                let run = Run::new(tenant.name.clone(), JobKind::Drill, planned, Trigger::Scheduled);
                self.queue.put(run);
            }
        }
    }
}
