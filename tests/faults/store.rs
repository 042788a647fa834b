//! The store: its disk full, or gone in the middle of an upload.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scene::{GROWN_ROWS, Scene};
use crate::skip;
use crate::support::host::TestHost;
use crate::support::seaweed::Seaweed;
use crate::support::wire::Wire;

/// A small disk; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, megabytes: u32) -> Option<Disk> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "lifeboat-test"]).arg(at).output();
        mounted.is_ok_and(|o| o.status.success()).then(|| Disk(at.to_owned()))
    }

    fn resize(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).output().ok();
    }
}

#[test]
fn a_full_store_fails_the_backup_and_loses_nothing_of_what_was_there() {
    let name = "a_full_store_fails_the_backup_and_loses_nothing_of_what_was_there";
    let scene = Scene::prepare("fullstore", "t", TestHost::with_folder());
    let Some(disk) = Disk::mount(&scene.host.path("store"), 24) else {
        skip!(name, "a file system cannot be mounted here");
    };
    scene.enter();
    scene.grow(GROWN_ROWS);
    for _ in 0..2 {
        let said = scene.backup(1);
        let store = scene.host.path("store");
        said.says(&["backup of t", "packs/", store.to_str().unwrap(), "No space left", "hint:", "make room"]);
        scene.empty("store/~tmp");
        scene.empty("state/tenants/t/spool");
        assert_eq!(scene.snapshots().len(), 1);
        scene.verified();
    }
    let status = scene.host.run(&["status"]).expect(4).clean(&scene.tenant);
    status.says(&["t: the last backup", "failed", "No space left"]);

    let full = scene.host.bytes_below("store");
    disk.resize(96);
    let said = scene.host.run(&["backup", "t", "--json"]).expect(0).clean(&scene.tenant).json();
    let needed = said[0]["needed_bytes"].as_u64().unwrap();
    let added = said[0]["added_bytes"].as_u64().unwrap();
    assert!(added < needed - (16 << 20), "{added} of {needed} bytes were added, though {full} were there");
    scene.verified();
}

#[test]
fn a_store_that_goes_away_in_the_middle_of_an_upload_fails_the_backup_and_the_next_one_goes_on() {
    let seaweed = Seaweed::start();
    if !seaweed.endpoint.starts_with("http://127.0.0.1:") {
        skip!("a_store_that_goes_away", "the store under test is not on this machine");
    }
    let wire = Wire::to(&seaweed.endpoint);
    let bucket = seaweed.new_bucket(false);
    let host = TestHost::with_bucket(&wire.endpoint(), &bucket, &seaweed.access_key, &seaweed.secret_key);
    let scene = Scene::prepare("gone", "t", host);
    scene.enter();
    scene.grow(GROWN_ROWS);

    // The first pack passes, the next one is cut.
    wire.cut_after(20_000_000);
    let said = scene.backup(1);
    assert!(wire.is_cut());
    assert!(!said.err.contains(&seaweed.secret_key), "the store's secret is shown");
    said.says(&[
        "backup of t",
        "packs/",
        &format!("s3://{bucket}/lifeboat"),
        "no answer",
        "hint:",
        "endpoint",
    ]);
    scene.dumps_end();
    scene.empty("state/tenants/t/spool");
    assert_eq!(half_uploaded(seaweed, &bucket), 0);

    wire.heal();
    assert_eq!(scene.snapshots().len(), 1);
    scene.verified();
    let said = scene.host.run(&["backup", "t", "--json"]).expect(0).clean(&scene.tenant).json();
    let needed = said[0]["needed_bytes"].as_u64().unwrap();
    let added = said[0]["added_bytes"].as_u64().unwrap();
    assert!(added < needed - (16 << 20), "{added} of {needed} bytes were added, though a pack was there");
    scene.verified();
}

/// Returns how many uploads in parts are neither completed nor aborted.
fn half_uploaded(seaweed: &Seaweed, bucket: &str) -> usize {
    let (client, bucket) = (seaweed.client(), bucket.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listed = runtime.block_on(client.list_multipart_uploads().bucket(bucket).send()).unwrap();
    listed.uploads().len()
}
