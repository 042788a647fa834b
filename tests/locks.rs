//! Backups beyond the host's reach, with the real binary on real buckets: what is locked until when, and what an
//! intruder with the host's credential destroys, which is nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aws_sdk_s3::types::ObjectLockRetentionMode;
use support::host::TestHost;
use support::proxy::{Proxy, Rule};
use support::seaweed::Seaweed;

const DAY: u64 = 86_400;

/// A host with a tenant of files alone, which lie in a folder of the host.
struct House {
    host: TestHost,
    bucket: String,
    sites: tempfile::TempDir,
}

impl House {
    /// Makes the host with its tenant `t` and initialises it; `lock` is the policy's section.
    fn build(endpoint: &str, bucket: String, lock: &str) -> House {
        let seaweed = Seaweed::start();
        let host = TestHost::with_bucket(endpoint, &bucket, &seaweed.access_key, &seaweed.secret_key);
        let house = House { host, bucket, sites: tempfile::tempdir().unwrap() };
        house.write_policy(lock);
        let files = house.site().join("private/files");
        fs::create_dir_all(&files).unwrap();
        fs::write(house.site().join("site_config.json"), "{\"db_name\": \"_none\"}").unwrap();
        for n in 0..3_u8 {
            house.grow(n);
        }
        let skipped = ["database", "redis_cache", "redis_queue", "config", "certs"];
        let skipped: String = skipped.map(|c| format!("[{c}]\nskip = \"none here\"\n")).concat();
        let sites = house.sites.path().display();
        let text = format!("site = \"s.example\"\n[files]\npath = \"{sites}\"\n{skipped}");
        house.host.write_tenant_file("t", &text);
        house.host.init("elsewhere");
        house
    }

    fn write_policy(&self, lock: &str) {
        let folder = self.host.path("etc/policies");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("nightly.toml"), format!("[lock]\n{lock}\n")).unwrap();
    }

    fn site(&self) -> PathBuf {
        self.sites.path().join("s.example")
    }

    /// Adds a file that compresses to nothing less, so that it makes a pack of its own night.
    fn grow(&self, n: u8) {
        let bytes: Vec<u8> = (0..600_000).map(|_| rand::random()).collect();
        fs::write(self.site().join(format!("private/files/{n}.bin")), bytes).unwrap();
    }

    fn backup(&self) -> serde_json::Value {
        let said = self.host.run(&["--json", "--quiet", "backup", "t"]).expect(0);
        said.json().pop().unwrap()
    }

    /// Extracts the newest snapshot and fails unless it is the site as it is.
    #[track_caller]
    fn comes_back(&self) {
        let out = tempfile::tempdir().unwrap();
        let to = out.path().join("out");
        let args = ["files", "extract", "t", "latest", "--to", to.to_str().unwrap()];
        self.host.run_unlocked(&args).expect(0);
        let (back, there) = (contents(&to), contents(&self.site()));
        assert!(back.len() > 3, "{:?}", back.keys());
        assert!(back == there, "{:?} {:?}", back.keys(), there.keys());
    }

    fn keys(&self, below: &str) -> Vec<String> {
        let (client, bucket) = (Seaweed::start().client(), self.bucket.clone());
        let prefix = format!("lifeboat/{below}");
        wait(async move {
            let listed = client.list_objects_v2().bucket(bucket).prefix(prefix).send().await.unwrap();
            listed.contents().iter().map(|o| o.key().unwrap().to_owned()).collect()
        })
    }

    /// Writes zeros of the same length over objects, as whoever has the host's credential can.
    fn overwrite(&self, below: &str) -> Vec<String> {
        let keys = self.keys(below);
        for key in keys.clone() {
            let (client, bucket) = (Seaweed::start().client(), self.bucket.clone());
            wait(async move {
                let head = client.head_object().bucket(&bucket).key(&key).send().await.unwrap();
                let zeros = vec![0; usize::try_from(head.content_length().unwrap()).unwrap()];
                client.put_object().bucket(&bucket).key(&key).body(zeros.into()).send().await.unwrap();
            });
        }
        keys
    }

    /// Deletes objects without naming a version.
    fn delete(&self, below: &str) -> Vec<String> {
        let keys = self.keys(below);
        for key in keys.clone() {
            let (client, bucket) = (Seaweed::start().client(), self.bucket.clone());
            wait(async move {
                client.delete_object().bucket(&bucket).key(&key).send().await.unwrap();
            });
        }
        assert!(self.keys(below).is_empty());
        keys
    }

    /// Returns until when each version is locked in compliance mode, in seconds from now; 0 for not at all.
    fn locks(&self, below: &str) -> BTreeMap<String, u64> {
        let (client, bucket) = (Seaweed::start().client(), self.bucket.clone());
        let prefix = format!("lifeboat/{below}");
        wait(async move {
            let page = client.list_object_versions().bucket(&bucket).prefix(prefix).send().await.unwrap();
            let mut locks = BTreeMap::new();
            for version in page.versions() {
                let (key, id) = (version.key().unwrap(), version.version_id().unwrap());
                let request = client.get_object_retention().bucket(&bucket).key(key).version_id(id);
                let retention = request.send().await.ok().and_then(|r| r.retention);
                let until = retention.filter(|r| r.mode() == Some(&ObjectLockRetentionMode::Compliance));
                let until = until.and_then(|r| r.retain_until_date).map_or(0, |d| d.secs());
                let left = until - jiff::Timestamp::now().as_second();
                locks.insert(key.to_owned(), u64::try_from(left).unwrap_or(0));
            }
            locks
        })
    }
}

fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::spawn(run).join().unwrap()
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

fn about(seconds: u64, days: u64) -> bool {
    (days * DAY - 3600..=days * DAY).contains(&seconds)
}

const OFF: &str = "mode = \"off\"";

#[test]
fn all_that_a_snapshot_needs_is_locked_and_renewed_only_when_half_is_gone() {
    let seaweed = Seaweed::start();
    let ten_days = "mode = \"compliance\"\nhorizon = \"10d\"";
    let house = House::build(&seaweed.endpoint, seaweed.new_locking_bucket(), ten_days);
    let first = house.backup();
    assert_eq!(first["warnings"], serde_json::json!([]));
    // Those that were there before: the repository, this host's certificate and its signature.
    assert_eq!(first["renewed_locks"], 3);
    let locks = house.locks("");
    let lease = "lifeboat/tenants/t/lease.json";
    assert_eq!(locks.get(lease), Some(&0), "a lease is rewritten, and locks nobody out");
    for (key, seconds) in locks.iter().filter(|(key, _)| !key.contains("/probe/") && *key != lease) {
        assert!(about(*seconds, 10), "{key} is locked for {seconds} s");
    }
    for part in ["lifeboat.json", "hosts/", "/keys/", "/packs/", ".manifest.age", ".packs", ".minisig"] {
        assert!(locks.keys().any(|key| key.contains(part)), "{part}: {locks:?}");
    }

    // Nothing changed: only what is new is locked.
    let second = house.backup();
    assert_eq!((&second["renewed_locks"], &second["warnings"]), (&0.into(), &serde_json::json!([])));

    // A wider horizon: of ten days less than half of forty are left, so all that is reused is renewed, once.
    house.write_policy("mode = \"compliance\"\nhorizon = \"40d\"");
    let packs = house.keys("tenants/t/packs/").len();
    assert_eq!(house.backup()["renewed_locks"], packs + 3 + 1, "packs, those three, and the wrap");
    assert_eq!(house.backup()["renewed_locks"], 0);
    for prefix in ["tenants/t/packs/", "tenants/t/keys/", "hosts/", "lifeboat.json"] {
        assert!(house.locks(prefix).values().all(|s| about(*s, 40)), "{prefix}: {:?}", house.locks(prefix));
    }
    house.comes_back();
    house.host.run(&["check", "t", "--read-data"]).expect(0);

    // A host that has forgotten asks for the versions, and locks nothing for less than it is.
    fs::remove_file(house.host.path("state/tenants/t/locks.json")).unwrap();
    house.write_policy(ten_days);
    let forgetful = house.backup();
    assert_eq!((&forgetful["renewed_locks"], &forgetful["warnings"]), (&0.into(), &serde_json::json!([])));
    assert!(house.locks("tenants/t/packs/").values().all(|s| about(*s, 40)));
}

#[test]
fn a_bucket_without_locks_is_backed_up_without_and_every_night_says_so() {
    let seaweed = Seaweed::start();
    let lock = "mode = \"compliance\"\nhorizon = \"10d\"";
    let house = House::build(&seaweed.endpoint, seaweed.new_bucket(false), lock);
    let told = house.backup()["warnings"].to_string();
    assert!(told.contains("nothing is locked") && told.contains("probe"), "{told}");
    // Without a probe it is tried, and found out.
    fs::remove_file(house.host.path("state/probe.json")).unwrap();
    let told = house.backup()["warnings"].to_string();
    assert!(told.contains("not everything is locked") && told.contains("lifeboat probe"), "{told}");
    house.comes_back();
}

/// Overwrites every pack with zeros, then deletes every object; all restores, and both are named.
fn withstands(bucket: String, lock: &str) {
    let house = House::build(&Seaweed::start().endpoint, bucket, lock);
    house.backup();
    house.grow(7);
    house.backup();
    let packs = house.overwrite("tenants/t/packs/");
    assert!(packs.len() >= 2, "{packs:?}");

    house.comes_back();
    let checked =
        house.host.run_unlocked(&["--json", "--quiet", "check", "t"]).expect(4).json().pop().unwrap();
    let faults = checked["faults"].as_array().unwrap();
    let named: Vec<&str> = faults.iter().map(|f| f["object"].as_str().unwrap()).collect();
    let expected: Vec<&str> = packs.iter().map(|k| k.strip_prefix("lifeboat/").unwrap()).collect();
    assert_eq!(named, expected, "each pack is named, and every stream of every snapshot is read");
    assert!(faults.iter().all(|f| f["kind"] == "overwritten"), "{faults:?}");
    let status = house.host.run(&["status"]).expect(4).out;
    assert!(status.contains("overwritten") && status.contains(expected[0]), "{status}");

    // The next night relies on none of them.
    let night = house.backup();
    assert!(night["warnings"].to_string().contains(expected[0]), "{night}");
    assert!(house.keys("tenants/t/packs/").len() > packs.len());
    house.comes_back();

    let all = house.delete("");
    assert!(all.iter().any(|k| k.ends_with("lifeboat.json")));
    house.comes_back();
    let checked = house.host.run(&["--json", "--quiet", "check", "t"]).expect(4).out;
    assert!(checked.contains("\"deleted\""), "{checked}");
    let kit = house.host.kit();
    let kit = kit.to_str().unwrap();
    let before = contents(&house.site());
    house.host.lose();
    fs::remove_dir_all(house.site()).unwrap();
    house.host.run(&["restore", "t", "--kit", kit, "--identity", kit]).expect(0);
    let (mut back, mut before) = (contents(&house.site()), before);
    // A restore spells the site's configuration anew.
    let config = |all: &mut BTreeMap<String, Vec<u8>>| -> serde_json::Value {
        serde_json::from_slice(&all.remove("site_config.json").unwrap()).unwrap()
    };
    assert_eq!(config(&mut back)["db_name"], config(&mut before)["db_name"]);
    assert!(back == before, "from the kit and the bucket alone: {:?} of {:?}", back.keys(), before.keys());
}

#[test]
fn on_a_bucket_with_versions_zeros_over_every_pack_and_deleting_all_lose_nothing() {
    withstands(Seaweed::start().new_bucket(true), OFF);
}

#[test]
fn on_a_locking_bucket_zeros_over_every_pack_and_deleting_all_lose_nothing() {
    let bucket = Seaweed::start().new_locking_bucket();
    withstands(bucket, "mode = \"compliance\"\nhorizon = \"1d\"");
}

#[test]
fn all_of_it_works_where_the_host_may_not_delete() {
    let proxy = Proxy::start(Rule::NoDelete);
    let lock = "mode = \"compliance\"\nhorizon = \"1d\"";
    let house = House::build(&proxy.endpoint, Seaweed::start().new_locking_bucket(), lock);
    for _ in 0..2 {
        assert_eq!(house.backup()["warnings"], serde_json::json!([]));
    }
    house.comes_back();
    house.host.run(&["check", "t", "--read-data"]).expect(0);
}

#[test]
fn two_writers_on_a_store_that_ignores_conditions_harm_nothing() {
    let proxy = Proxy::start(Rule::IgnoreConditions);
    let house = House::build(&proxy.endpoint, Seaweed::start().new_bucket(true), OFF);
    house.backup();
    // The same host twice, as after a clone of its disk.
    let twin = house.host.path("twin");
    copy(&house.host.path("etc"), &twin.join("etc"));
    copy(&house.host.path("state"), &twin.join("state"));
    let file = twin.join("etc/lifeboat.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (mine, its) = (house.host.path("state"), twin.join("state"));
    fs::write(&file, text.replace(mine.to_str().unwrap(), its.to_str().unwrap())).unwrap();
    house.grow(9);
    let mut twins: Vec<_> = (0..2)
        .map(|n| {
            let folder = if n == 1 { twin.join("etc") } else { house.host.path("etc") };
            let mut command = house.host.command(&["--quiet", "backup", "t"]);
            command.args(["--config".as_ref(), folder.as_os_str()]);
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for one in &mut twins {
        assert_eq!(one.wait().unwrap().code(), Some(0));
    }
    let listed = house.host.run(&["--json", "snapshots", "t"]).expect(0).json().pop().unwrap();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 3, "{listed}");
    for snapshot in listed["snapshots"].as_array().unwrap() {
        let out = tempfile::tempdir().unwrap();
        let to = out.path().join("out");
        let id = snapshot["snapshot"].as_str().unwrap();
        let args = ["files", "extract", "t", id, "--to", to.to_str().unwrap()];
        house.host.run_unlocked(&args).expect(0);
        let (back, there) = (contents(&to), contents(&house.site()));
        assert!(back.iter().all(|(name, bytes)| there[name] == *bytes), "{id}");
    }
    house.comes_back();
    // Both followed the same receipt: that is told, and nothing is lost by it.
    let checked = house.host.run_unlocked(&["--json", "--quiet", "check", "t"]).expect(4).out;
    assert!(checked.contains("\"fork\"") && !checked.contains("damaged"), "{checked}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    assert!(std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}
