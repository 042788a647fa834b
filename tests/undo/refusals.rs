//! What is refused around a restore over a living tenant, and what it says.

use std::fs;

use crate::scene::Scene;
use crate::support::cli::{docker, shell};

#[test]
fn a_second_restore_waits_until_the_first_is_committed_or_undone() {
    let scene = Scene::new("second");
    scene.restore(&[]).expect(0);
    let said = scene.restore(&[]).expect(1);
    assert!(said.err.contains("not committed") && said.err.contains("--commit"), "{}", said.err);
    let said = scene.host.run(&["restore", "t", "--resume"]).expect(0);
    assert!(said.out.contains("runs as restored"), "{}", said.out);
    // The restored tenant is backed up like any other.
    scene.backup();
    scene.host.run(&["restore", "t", "--commit"]).expect(0);
    let planned = scene.restore(&["--dry-run"]).expect(0);
    assert!(planned.out.contains("as the last restore of this tenant here took"), "{}", planned.out);
    let said = scene.host.run(&["restore", "t", "--commit"]).expect(1);
    assert!(said.err.contains("no restore waits"), "{}", said.err);
}

#[test]
fn without_a_safety_snapshot_nothing_is_touched_unless_the_operator_says_why() {
    let scene = Scene::new("safety");
    let old = scene.picture();
    let cache = scene.tenant.container("redis-cache");
    docker(&["stop", "-t", "1", &cache]);
    let said = scene.restore(&[]).expect(1);
    assert!(
        said.err.contains("no safety snapshot") && said.err.contains("--no-safety-snapshot"),
        "{}",
        said.err
    );
    old.compare(&scene.picture(), "refused");
    assert!(!scene.journal().exists());
    let said = scene.restore(&["--no-safety-snapshot", "the cache is dead"]).expect(0);
    assert!(said.out.contains("NO SAFETY SNAPSHOT (the cache is dead)"), "{}", said.out);
    scene.is_as_backed_up();
    scene.host.run(&["restore", "t", "--undo"]).expect(0);
    old.compare(&scene.picture(), "undone");
}

#[test]
fn a_tenant_that_is_half_old_and_half_new_is_red_and_not_backed_up_until_it_is_whole() {
    for way in ["--resume", "--undo"] {
        let scene = Scene::new("half");
        let old = scene.picture();
        scene.restore(&[]).expect(0);
        // As if it had been killed right before it wrote that all had changed places.
        let lines = scene.lines();
        let at = lines.iter().position(|l| l.contains("\"switched\"")).unwrap();
        fs::write(scene.journal(), lines[..at].join("\n") + "\n").unwrap();
        docker(&["stop", "-t", "1", &scene.tenant.container("app-double")]);

        let said = scene.host.run(&["status", "t"]).expect(4);
        assert!(said.out.contains("BAD") && said.out.contains("half old and half new"), "{}", said.out);
        let said = scene.host.run(&["backup", "t"]).expect(1);
        assert!(said.err.contains("half old and half new") && said.err.contains("--resume"), "{}", said.err);
        let said = scene.restore(&[]).expect(1);
        assert!(said.err.contains("half old and half new"), "{}", said.err);
        scene.host.run(&["restore", "t", "--commit"]).expect(1);

        scene.host.run(&["restore", "t", way]).expect(0);
        if way == "--undo" {
            old.compare(&scene.picture(), way);
            scene.nothing_is_left(&old);
        } else {
            scene.is_as_backed_up();
        }
        scene.backup();
    }
}

#[test]
fn a_key_that_does_not_open_the_stored_secrets_stops_a_restore_before_the_switch() {
    let scene = Scene::new("fernet");
    let app = scene.tenant.container("app-double");
    let path = format!("{}/site_config.json", scene.tenant.site_path());
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    shell(
        &app,
        &format!("sed -i 's#\"encryption_key\": *\"[^\"]*\"#\"encryption_key\": \"{other}\"#' '{path}'"),
    );
    let old = scene.picture();
    let only = ["restore", "t", "--snapshot", &scene.snapshot, "--only", "database", "--yes-overwrite", "t"];
    let said = scene.host.run_unlocked(&only).expect(4);
    assert!(said.err.contains("the encryption_key does not open"), "{}", said.err);
    assert!(said.err.contains("what was there before is as it was"), "{}", said.err);
    old.compare(&scene.picture(), "refused");
    scene.nothing_is_left(&old);
    // Together with the key of the snapshot it comes back.
    scene.restore(&[]).expect(0);
    scene.is_as_backed_up();
}

#[test]
fn what_names_the_old_database_is_told_before_the_switch() {
    let scene = Scene::new("names");
    let planned = scene.restore(&["--dry-run"]).expect(0);
    assert!(planned.out.contains("trigger t_named would read and write database"), "{}", planned.out);
    for part in [
        "version of database: 10.",
        "space for files: about",
        "time: unknown",
        "first, a snapshot of what is there",
    ] {
        assert!(planned.out.contains(part), "{part}: {}", planned.out);
    }
    let value = scene.restore(&["--dry-run", "--json"]).expect(0).json().remove(0);
    assert_eq!(value["versions"][0]["then"], value["versions"][0]["now"], "{value}");
    assert!(value["space"].as_array().unwrap().iter().all(|room| room["free_bytes"].is_u64()), "{value}");
    assert!(value["expected"].is_null() && value["safety_snapshot"] == true, "{value}");
    let said = scene.restore(&[]).expect(0);
    assert!(said.out.contains("trigger t_named read and write database"), "{}", said.out);
}
