//! SIGKILL at every boundary of the journal and in random moments; what a second call and a rollback make of it.

use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use super::{Scene, assert_whole};

/// Starts provisioning and kills it once the journal has `lines` lines and `after` has passed since.
///
/// Returns whether it was killed; a run that ended first must have succeeded.
fn killed_at(scene: &Scene, lines: usize, after: Duration) -> bool {
    let mut run = scene.host.start(&scene.provision(&[]));
    let end = Instant::now() + Duration::from_secs(300);
    while scene.journal_lines() < lines && !run.has_ended() {
        assert!(Instant::now() < end, "it hangs before line {lines} of the journal");
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(after);
    run.signal(Signal::KILL);
    let said = run.wait();
    if said.code != 137 {
        said.expect(0);
        return false;
    }
    true
}

fn seed() -> u64 {
    let given = std::env::var("LIFEBOAT_SEED").ok().and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("LIFEBOAT_SEED={seed}");
    seed
}

/// Returns all, or in a plain run a share of it.
fn share(all: usize, plain: usize) -> usize {
    if std::env::var_os("LIFEBOAT_FULL").is_some() { all } else { plain }
}

#[test]
fn killed_at_each_line_of_the_journal_the_next_call_goes_on_and_the_last_completes_it() {
    let scene = Scene::new("lines");
    let mut lines = 1;
    while killed_at(&scene, lines, Duration::ZERO) {
        lines = lines.max(scene.journal_lines()) + 1;
    }
    assert!(lines > 10, "it was killed at {lines} lines only");
    scene.run(&[]).expect(0);
    assert_whole(&scene);
}

#[test]
fn killed_in_random_moments_it_is_completed_by_one_more_call() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut left = share(20, 5);
    while left > 0 {
        // Several kills hit one tenant, each further on; then another begins.
        let scene = Scene::new("moments");
        for _ in 0..left.min(5) {
            left -= 1;
            let lines = scene.journal_lines() + random.random_range(0..8);
            if !killed_at(&scene, lines, Duration::from_millis(random.random_range(0..800))) {
                break;
            }
        }
        scene.run(&[]).expect(0);
        assert_whole(&scene);
    }
}

#[test]
fn killed_anywhere_it_is_taken_back_without_a_trace() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..share(10, 3) {
        let scene = Scene::new("back");
        // Something of the operator's own lies beside it and stays.
        scene.dns.write_zone("other.example", 7, "erp", "192.0.2.7");
        scene.dns.wait_for("erp.other.example", "192.0.2.7");
        let lines = random.random_range(1..40);
        if killed_at(&scene, lines, Duration::from_millis(random.random_range(0..500))) {
            scene.run(&["--rollback"]).expect(0);
            scene.assert_nothing_left();
            assert_eq!(scene.dns.serial("other.example"), Some(7));
            // Twice does no harm.
            scene.run(&["--rollback"]);
            scene.assert_nothing_left();
        }
    }
}
