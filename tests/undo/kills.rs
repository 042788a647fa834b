//! SIGKILL at every line of the journal and in random moments; what --resume and --undo make of it.

use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use crate::scene::{Picture, Scene};
use crate::support::running::Running;

/// Starts a command and kills it once the journal has `lines` lines and `after` has passed since; tells whether it was killed.
fn killed_at(scene: &Scene, mut run: Running, lines: usize, after: Duration) -> bool {
    let end = Instant::now() + Duration::from_secs(300);
    while scene.lines().len() < lines && !run.has_ended() {
        assert!(Instant::now() < end, "it hangs before line {lines} of the journal");
        thread::sleep(Duration::from_millis(1));
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

/// Ends what a kill left, one way or the other, and leaves the tenant as it was before.
#[track_caller]
fn ended(scene: &Scene, old: &Picture, resume: bool, when: &str) {
    if scene.lines().is_empty() {
        // Nothing had been begun.
        old.compare(&scene.picture(), when);
        return;
    }
    if resume {
        scene.host.run_unlocked(&["restore", "t", "--resume"]).expect(0);
        scene.is_as_backed_up();
    }
    scene.host.run(&["restore", "t", "--undo"]).expect(0);
    old.compare(&scene.picture(), when);
    scene.nothing_is_left(old);
}

#[test]
fn killed_at_each_line_of_the_journal_it_is_completed_and_taken_back() {
    let scene = Scene::new("lines");
    let old = scene.picture();
    let full = std::env::var_os("LIFEBOAT_FULL").is_some();
    let mut lines = 1;
    while killed_at(&scene, scene.host.start_unlocked(&scene.arguments()), lines, Duration::ZERO) {
        let reached = scene.lines().len();
        // In a plain run each second line is completed first, and all are taken back.
        let resume = full || lines % 2 == 0;
        ended(&scene, &old, resume, &format!("at line {lines}, resume {resume}"));
        if full && killed_at(&scene, scene.host.start_unlocked(&scene.arguments()), lines, Duration::ZERO) {
            ended(&scene, &old, false, &format!("at line {lines}"));
        }
        lines = lines.max(reached) + 1;
    }
    assert!(lines > 8, "it was killed at {lines} lines only");
    // An undo that is killed is ended by another.
    let whole = scene.lines().len();
    for lines in whole + 1..whole + 9 {
        let undo = scene.host.start(&["restore", "t", "--undo"]);
        let killed = killed_at(&scene, undo, lines, Duration::ZERO);
        if !killed || scene.lines().is_empty() {
            break;
        }
        println!("undo killed at line {lines}: {:?}", scene.lines().last());
    }
    if !scene.lines().is_empty() {
        scene.host.run(&["restore", "t", "--undo"]).expect(0);
    }
    old.compare(&scene.picture(), "after undos that were killed");
    scene.nothing_is_left(&old);
}

#[test]
fn killed_in_random_moments_it_is_completed_or_taken_back() {
    let given = std::env::var("LIFEBOAT_SEED").ok().and_then(|s| s.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("LIFEBOAT_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let moments = if std::env::var_os("LIFEBOAT_FULL").is_some() { 50 } else { 4 };
    let scene = Scene::new("moments");
    let old = scene.picture();
    let clock = Instant::now();
    scene.restore(&[]).expect(0);
    let whole = clock.elapsed();
    scene.host.run(&["restore", "t", "--undo"]).expect(0);
    for n in 0..moments {
        let after = whole.mul_f64(random.random_range(0.0..1.0));
        let resume = random.random();
        let mut run = scene.host.start_unlocked(&scene.arguments());
        thread::sleep(after);
        run.signal(Signal::KILL);
        run.wait();
        ended(&scene, &old, resume, &format!("moment {n}, after {after:?}, resume {resume}, seed {seed}"));
    }
}
