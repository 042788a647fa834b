//! A store that lost or altered something, and the nights after it, with the real binary: nothing new relies on what is
//! damaged, what can be put back is, and everything is said.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use support::host::{Said, TestHost};

/// A host with a tenant of files alone, and three nights of it in a folder.
struct House {
    host: TestHost,
    sites: tempfile::TempDir,
}

impl House {
    fn after_three_nights() -> House {
        let house = House { host: TestHost::with_folder(), sites: tempfile::tempdir().unwrap() };
        fs::create_dir_all(house.site().join("private/files")).unwrap();
        fs::write(house.site().join("site_config.json"), "{\"db_name\": \"_none\"}").unwrap();
        let text = format!("site = \"s.example\"\n[files]\npath = \"{}\"\n", house.sites.path().display());
        house.host.write_tenant_file("t", &text);
        house.host.init("elsewhere");
        for n in 0..3_u8 {
            // Compresses to nothing less, and is a segment of its own.
            let bytes: Vec<u8> = (0..1_200_000).map(|_| rand::random()).collect();
            fs::write(house.site().join(format!("private/files/{n}.bin")), bytes).unwrap();
            house.backup();
        }
        house
    }

    fn site(&self) -> PathBuf {
        self.sites.path().join("s.example")
    }

    #[track_caller]
    fn backup(&self) -> Said {
        self.host.run(&["backup", "t"]).expect(0)
    }

    /// The files below the tenant's prefix in the store, oldest first.
    fn objects(&self, below: &str) -> Vec<PathBuf> {
        let mut all = files_below(&self.host.path("store/tenants/t").join(below));
        all.sort_by_key(|p| fs::metadata(p).unwrap().modified().unwrap());
        all
    }

    fn newest_pack(&self) -> PathBuf {
        self.objects("packs").pop().unwrap()
    }

    /// The ids of the snapshots, oldest first.
    fn snapshots(&self) -> Vec<String> {
        let listed = self.host.run(&["snapshots", "t", "--json"]).expect(0).json();
        let all = listed[0]["snapshots"].as_array().unwrap();
        all.iter().map(|s| s["snapshot"].as_str().unwrap().to_owned()).collect()
    }

    fn extract(&self) -> (Said, PathBuf, tempfile::TempDir) {
        let out = tempfile::tempdir().unwrap();
        let to = out.path().join("out");
        let said = self.host.run_unlocked(&["files", "extract", "t", "latest", "--to", to.to_str().unwrap()]);
        (said, to, out)
    }

    /// Extracts the newest snapshot and fails unless it is the site as it is.
    #[track_caller]
    fn comes_back(&self) {
        let (said, to, _out) = self.extract();
        said.expect(0);
        assert!(contents(&to) == contents(&self.site()), "another content came back");
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => found.extend(files_below(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let inside = |p: PathBuf| (p.strip_prefix(folder).unwrap().to_owned(), fs::read(&p).unwrap());
    files_below(folder).into_iter().map(inside).collect()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes[middle + 1] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_pack_that_a_check_found_damaged_is_written_anew_by_the_next_backup() {
    let house = House::after_three_nights();
    let pack = house.newest_pack();
    flip(&pack);
    let said = house.host.run(&["check", "--read-data"]).expect(4);
    assert!(said.out.contains(name(&pack)), "{}", said.out);
    let said = house.host.run(&["status"]).expect(4);
    assert!(said.out.contains("needs 1 damaged pack,") && said.out.contains(name(&pack)), "{}", said.out);

    let said = house.backup();
    let lost = house.snapshots()[2].clone();
    for word in [name(&pack), "was found damaged", &lost] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
    house.comes_back();
    let said = house.host.run(&["status"]);
    assert!(!said.out.contains("newest whole backup needs"), "{}", said.out);
    assert!(said.out.contains("older snapshots have 1 damaged pack"), "{}", said.out);
    house.host.run(&["check", "--read-data", "--latest"]).expect(0);
    let said = house.backup();
    assert!(!said.out.contains("damaged"), "told once: {}", said.out);

    // Put back, as from a copy, it is as good as ever.
    flip(&pack);
    house.host.run(&["check", "--read-data"]).expect(0);
    assert!(!house.host.run(&["status"]).out.contains("damaged"));
}

#[test]
fn a_pack_that_an_extraction_found_damaged_is_written_anew_by_the_next_backup() {
    let house = House::after_three_nights();
    flip(&house.newest_pack());
    assert_ne!(house.extract().0.code, 0);
    assert!(house.backup().out.contains("was found damaged"));
    house.comes_back();
}

#[test]
fn a_pack_of_a_wrong_length_or_none_is_written_anew_and_the_snapshots_that_lost_it_are_named() {
    let house = House::after_three_nights();
    let pack = house.newest_pack();
    let length = fs::metadata(&pack).unwrap().len();
    fs::File::options().write(true).open(&pack).unwrap().set_len(length - 1).unwrap();
    let said = house.backup();
    let lost = house.snapshots()[2].clone();
    let what = format!("is {} bytes long instead of {length}", length - 1);
    for word in [name(&pack), &what, &lost] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
    house.comes_back();
    assert!(!house.backup().out.contains("bytes long instead"), "told once");

    let pack = house.newest_pack();
    fs::remove_file(&pack).unwrap();
    let said = house.backup();
    for word in [name(&pack), "is no longer in the store", &house.snapshots()[4], &house.snapshots()[3]] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
    house.comes_back();
}

#[test]
fn wraps_that_somebody_removed_are_put_back_by_the_next_backup() {
    let house = House::after_three_nights();
    let before = contents(&house.host.path("store/tenants/t/keys"));
    assert!(!before.is_empty());
    fs::remove_dir_all(house.host.path("store/tenants/t/keys")).unwrap();
    let said = house.backup();
    assert!(said.out.contains("was put back"), "{}", said.out);
    assert!(contents(&house.host.path("store/tenants/t/keys")) == before);
    house.host.run(&["check"]).expect(0);
    assert!(!house.backup().out.contains("put back"), "told once");
}

#[test]
fn a_backup_into_a_bucket_that_was_set_back_says_so() {
    let house = House::after_three_nights();
    let newest = house.snapshots()[2].clone();
    for ending in ["json", "minisig"] {
        fs::remove_file(house.host.path("store/tenants/t/snapshots").join(format!("{newest}.{ending}")))
            .unwrap();
    }
    let said = house.backup();
    assert!(said.out.contains("the store shows receipt 2 as the newest, this host saw 3"), "{}", said.out);
    let said = house.host.run(&["check"]).expect(4);
    assert!(said.out.contains("receipt 3 is missing"), "{}", said.out);
}

#[test]
fn what_stops_prune_is_named_by_check_and_status() {
    let house = House::after_three_nights();
    house.host.run(&["check"]).expect(0);
    for ending in ["json", "minisig"] {
        fs::write(house.host.path("store/hosts").join(format!("h9.1.{ending}")), "{}").unwrap();
    }
    let newest = house.snapshots()[2].clone();
    let receipt = house.host.path("store/tenants/t/snapshots").join(format!("{newest}.json"));
    let day_before = SystemTime::now() - Duration::from_secs(86_400);
    fs::File::options().write(true).open(&receipt).unwrap().set_modified(day_before).unwrap();
    let said = house.host.run(&["check"]).expect(4);
    for word in ["hosts/h9.1.", "[future-dated]", &newest] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
    let said = house.host.run(&["status"]).expect(4);
    for word in ["certificate 1 of host h9 does not verify", "after that at which the store took it", &newest]
    {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
}
