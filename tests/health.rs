//! `health` and `doctor` on a real tenant: nothing is alarmed about while all is well, and each fault that is injected is
//! named with its cause.
//!
//! One healthy tenant is started once; each fault is injected, looked at and taken back.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

#[path = "health/app.rs"]
mod app;
#[path = "health/cli.rs"]
mod cli;
#[path = "health/crowd.rs"]
mod crowd;
#[path = "health/data.rs"]
mod data;
#[path = "health/doctor.rs"]
mod doctor;
#[path = "health/scene.rs"]
mod scene;

use lifeboat::ops::health::{Area, Check, Report, State};

use scene::Scene;

/// What a look at a fault must say.
struct Named {
    area: Area,
    check: &'static str,
    state: State,
    /// Words of the reason.
    says: Vec<String>,
}

/// Names the check that a fault is expected in.
fn named(area: Area, check: &'static str, state: State, says: &[&str]) -> Named {
    Named { area, check, state, says: says.iter().map(|s| (*s).to_owned()).collect() }
}

impl Named {
    /// Finds the check in a report, which must say all that is expected, and what to do.
    #[track_caller]
    fn in_report(&self, fault: &str, report: &Report) {
        let all = report.host.iter().chain(report.tenants.iter().flat_map(|t| &t.checks));
        self.in_checks(fault, &all.cloned().collect::<Vec<_>>());
    }

    /// The same in the checks of one tenant.
    #[track_caller]
    fn in_checks(&self, fault: &str, all: &[Check]) {
        let found: Vec<&Check> = all.iter().filter(|c| c.area == self.area && c.name == self.check).collect();
        let right = found.iter().any(|c| {
            c.state == self.state
                && self.says.iter().all(|word| c.reason.contains(word))
                && c.advice.is_some()
        });
        let troubles: Vec<&Check> = all.iter().filter(|c| c.state != State::Ok).collect();
        assert!(
            right,
            "{fault}: {:?} {} {:?}\nfound {found:#?}\nall troubles: {troubles:#?}",
            self.area, self.check, self.says
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_named_with_its_cause_and_a_healthy_tenant_raises_no_alarm() {
    let scene = Scene::start("health").await;
    scene.expect_well("at first").await;
    cli::all(&scene);
    doctor::all(&scene).await;
    data::all(&scene).await;
    scene.expect_well("at last").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_tenants_of_which_five_are_dead_do_not_wait_for_one_another() {
    crowd::look().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_users_and_jobs_see_is_named_too() {
    app::all().await;
}
