//! A restore over a living tenant: undone, committed, refused, and killed at every step and in random moments.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

#[path = "undo/kills.rs"]
mod kills;
#[path = "undo/refusals.rs"]
mod refusals;
#[path = "undo/scene.rs"]
mod scene;
mod support;

use scene::Scene;

#[test]
fn undo_brings_back_exactly_what_was_there_and_a_second_restore_finds_it_so() {
    let scene = Scene::new("undone");
    let old = scene.picture();
    for round in 0..2 {
        let said = scene.restore(&[]).expect(0);
        assert!(said.out.contains("what was there before is snapshot"), "{}", said.out);
        scene.is_as_backed_up();
        let told = scene.host.run(&["status", "t"]);
        let text = told.out;
        assert!(text.contains("not committed") && text.contains(" MB"), "{text}");
        scene.host.run(&["restore", "t", "--undo"]).expect(0);
        old.compare(&scene.picture(), &format!("round {round}"));
        scene.nothing_is_left(&old);
        let text = scene.host.run(&["status", "t"]).out;
        assert!(!text.contains("not committed"), "{text}");
    }
}

#[test]
fn commit_drops_what_was_there_and_the_next_restore_begins_anew() {
    let scene = Scene::new("committed");
    for _ in 0..2 {
        scene.change("again");
        scene.restore(&[]).expect(0);
        let shown = scene.host.run(&["restore", "t", "--commit", "--dry-run", "--json"]).expect(0).json();
        assert_eq!(shown[0]["phase"], "done");
        let kept = shown[0]["keeps"].as_array().unwrap();
        assert!(kept.iter().any(|k| k["bytes"].as_u64().is_some_and(|n| n > 10_000)), "{shown:?}");
        scene.host.run(&["restore", "t", "--commit"]).expect(0);
        scene.is_as_backed_up();
        assert_eq!(scene.databases().len(), 1, "{:?}", scene.databases());
        assert_eq!(scene.leftovers(), Vec::<String>::new());
        let said = scene.host.run(&["restore", "t", "--undo"]).expect(1);
        assert!(said.err.contains("no restore waits"), "{}", said.err);
        // What is backed up next is the database that the site uses now.
        scene.backup();
    }
}

#[test]
fn a_database_alone_is_restored_committed_and_undone_with_the_sites_configuration() {
    let scene = Scene::new("alone");
    let old = scene.picture();
    let only = ["restore", "t", "--snapshot", &scene.snapshot, "--only", "database", "--yes-overwrite", "t"];
    scene.host.run_unlocked(&only).expect(0);
    scene.has_the_rows_backed_up();
    scene.host.run(&["restore", "t", "--undo"]).expect(0);
    old.compare(&scene.picture(), "undone");
    scene.host.run_unlocked(&only).expect(0);
    scene.host.run(&["restore", "t", "--commit"]).expect(0);
    scene.has_the_rows_backed_up();
    assert_eq!(scene.databases().len(), 1);
}
