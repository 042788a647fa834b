//! Ctrl-C and SIGTERM at any moment, by a seed: the exit code of an interruption, and nothing left behind.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use crate::scene::{SOME_ROWS, Scene};
use crate::support::cli::{left_behind, shell};
use crate::support::host::{Said, TestHost};
use crate::support::running::Running;

/// When a run gets which signal, and the seed that it follows from.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "the seed is there to be shown")]
struct Moment {
    seed: u64,
    after: Duration,
    signal: Signal,
}

/// Random moments within a run that takes so long, and a signal for each.
fn moments(few: usize, whole: Duration, salt: u64) -> Vec<Moment> {
    let seed: u64 = std::env::var("LIFEBOAT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let count = if std::env::var_os("LIFEBOAT_FULL").is_some() { 40 } else { few };
    let mut random = StdRng::seed_from_u64(seed ^ salt);
    (0..count)
        .map(|_| {
            let signal = if random.random() { Signal::INT } else { Signal::TERM };
            Moment { seed, after: whole.mul_f64(random.random_range(0.0..1.0)), signal }
        })
        .collect()
}

/// Lets a run go on for a while, signals it, and returns what it said; tells whether it was interrupted.
#[track_caller]
fn interrupted(scene: &Scene, mut run: Running, moment: Moment) -> (Said, bool) {
    std::thread::sleep(moment.after);
    run.signal(moment.signal);
    let said = run.wait().clean(&scene.tenant);
    let (out, err) = (&said.out, &said.err);
    match said.code {
        0 => {}
        130 if !err.is_empty() => assert!(err.contains("interrupted"), "at {moment:?}: {err}\n{out}"),
        // So early that nobody listened yet, and nothing was done.
        130 | 143 => assert!(out.is_empty() && err.is_empty(), "at {moment:?}: {err}\n{out}"),
        code => panic!("exit code {code} at {moment:?}: {err}\n{out}"),
    }
    let interrupted = said.code != 0;
    (said, interrupted)
}

#[test]
fn a_backup_may_be_interrupted_at_any_moment() {
    let scene = Scene::start("intbackup");
    scene.grow(SOME_ROWS);
    let clock = Instant::now();
    scene.backup(0);
    let mut known = scene.snapshots();
    for moment in moments(6, clock.elapsed(), 1) {
        // Each has something new to store.
        scene.tenant.sql("UPDATE aa_bulk SET v = TO_BASE64(RANDOM_BYTES(1000)) WHERE id % 4 = 0");
        let (said, interrupted) = interrupted(&scene, scene.host.start(&["backup", "t"]), moment);
        if interrupted && !said.err.is_empty() {
            let begun = ["backup of t", "no snapshot was made, older ones are untouched"];
            let not_begun = ["nothing had been changed"];
            let words = if said.err.contains(begun[0]) { &begun[..] } else { &not_begun[..] };
            said.says(words);
        }
        let now = scene.snapshots();
        assert_eq!(now[..known.len()], known, "older snapshots stay");
        assert!(now.iter().all(|(_, whole)| *whole), "an interrupted run commits nothing");
        known = now;
        scene.dumps_end();
        scene.empty("store/~tmp");
        scene.empty("state/tenants/t/spool");
    }
    scene.backup(0);
    assert_eq!(scene.snapshots().len(), known.len() + 1);
    scene.verified();
}

#[test]
fn a_drill_may_be_interrupted_at_any_moment_and_leaves_nothing_in_docker() {
    // A name of its own, for others may drill a `t` now.
    let name = format!("tried-{}", std::process::id());
    let scene = Scene::prepare("intdrill", &name, TestHost::with_folder());
    scene.enter();
    let clock = Instant::now();
    scene.host.run(&["drill", &name]).expect(0);
    for moment in moments(4, clock.elapsed(), 2) {
        let (said, interrupted) = interrupted(&scene, scene.host.start(&["drill", &name]), moment);
        if interrupted && said.err.contains("drill of") && said.err.contains("hint") {
            said.says(&["all that it had made is removed"]);
        }
        assert_eq!(left_behind(&name), Vec::<String>::new(), "after {moment:?}");
        scene.empty("state/restore");
    }
    scene.host.run(&["drill", &name]).expect(0);
    scene.verified();
}

#[test]
fn a_restore_under_another_name_may_be_interrupted_at_any_moment_and_leaves_nothing_in_docker() {
    let scene = Scene::start("intcopy");
    let name = format!("twin-{}", std::process::id());
    let restore = ["restore", "t", "--into", &name];
    let run = |moment| interrupted(&scene, scene.host.start_unlocked(&restore), moment);
    // How long it takes, found by a run whose copy is removed again.
    let clock = Instant::now();
    scene.host.run_unlocked(&restore).expect(0);
    let whole = clock.elapsed();
    remove(&name);
    for moment in moments(5, whole, 3) {
        let (said, interrupted) = run(moment);
        if !interrupted {
            remove(&name);
            continue;
        }
        if said.err.contains("restore of t") {
            said.says(&["what it had made is removed again"]);
        }
        assert_eq!(left_behind(&name), Vec::<String>::new(), "after {moment:?}");
    }
    scene.host.run_unlocked(&restore).expect(0).clean(&scene.tenant);
    remove(&name);
}

#[test]
fn a_restore_in_place_may_be_interrupted_at_any_moment_and_can_be_run_again() {
    let scene = Scene::start("intplace");
    let dump = scene.tenant.dump();
    let files = kept(&scene);
    let restore = ["restore", "t", "--with-queue", "--yes-overwrite", "t"];
    let clock = Instant::now();
    scene.host.run_unlocked(&restore).expect(0);
    let whole = clock.elapsed();
    scene.host.run(&["restore", "t", "--undo"]).expect(0);
    for moment in moments(4, whole, 4) {
        let (said, interrupted) = interrupted(&scene, scene.host.start_unlocked(&restore), moment);
        if interrupted && said.err.contains("restore of t") {
            assert!(said.err.contains("what was there before is as it was"), "{}", said.err);
            assert!(!said.err.contains("to be done"), "{}", said.err);
        }
        if !interrupted {
            scene.host.run(&["restore", "t", "--undo"]).expect(0);
        }
        assert_eq!(staged(&scene), "", "after {moment:?}");
        assert!(!scene.host.path("state/tenants/t/restore.jsonl").exists(), "after {moment:?}");
        assert!(scene.tenant.dump() == dump, "the database is another after {moment:?}");
        assert_eq!(kept(&scene), files, "after {moment:?}");
        assert_eq!(scene.tenant.redis("redis-queue", &["PING"]), "PONG");
        scene.empty("state/restore");
    }
    scene.host.run_unlocked(&restore).expect(0).clean(&scene.tenant);
    scene.host.run(&["restore", "t", "--undo"]).expect(0).clean(&scene.tenant);
    assert!(scene.tenant.dump() == dump && kept(&scene) == files);
}

/// Returns what a restore builds before it takes its place: databases and folders.
fn staged(scene: &Scene) -> String {
    let databases = scene.tenant.sql("SHOW DATABASES LIKE '%\\_r2%'");
    let app = scene.tenant.container("app-double");
    let folders = format!("ls -A {} | grep staging || true", scene.tenant.sites_path());
    databases + &shell(&app, &folders)
}

/// Returns the site's files with their hashes, without the logs, which no backup keeps.
fn kept(scene: &Scene) -> std::collections::BTreeMap<String, String> {
    let mut files = scene.tenant.files();
    files.retain(|path, _| !path.starts_with("./logs/"));
    files
}

/// Removes a copy that a restore made.
fn remove(name: &str) {
    use crate::support::cli::try_docker;
    for kind in ["container", "volume", "network"] {
        let list = if kind == "container" { vec!["ls", "-a"] } else { vec!["ls"] };
        let format = if kind == "container" { "{{.Names}}" } else { "{{.Name}}" };
        let listed = try_docker(&[&[kind][..], &list, &["--format", format]].concat()).unwrap();
        for found in listed.lines().filter(|n| n.starts_with(&format!("{name}-"))) {
            try_docker(&[kind, "rm", "-f", found]).unwrap();
        }
    }
}
