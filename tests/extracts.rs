//! Files taken out of a snapshot by hand: on a full disk, and with names that are no text.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::host::TestHost;

/// A small disk; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Disk> {
        fs::create_dir_all(at).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1m", "lifeboat-test"];
        let mounted = Command::new("mount").args(options).arg(at).output();
        mounted.is_ok_and(|o| o.status.success()).then(|| Disk(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).output().ok();
    }
}

/// A host that backed up a site of these files.
fn scene(files: &[(&[u8], usize)]) -> (TestHost, tempfile::TempDir) {
    let sites = tempfile::tempdir().unwrap();
    let site = sites.path().join("s.example");
    fs::create_dir_all(site.join("private/files")).unwrap();
    fs::write(site.join("site_config.json"), "{}").unwrap();
    for (name, length) in files {
        let bytes: Vec<u8> = (0..*length).map(|_| rand::random()).collect();
        fs::write(site.join("private/files").join(OsStr::from_bytes(name)), bytes).unwrap();
    }
    let host = TestHost::with_folder();
    host.write_tenant_file(
        "t",
        &format!("site = \"s.example\"\n[files]\npath = \"{}\"\n", sites.path().display()),
    );
    host.init("elsewhere");
    host.run(&["backup", "t"]).expect(0);
    (host, sites)
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_full_disk_leaves_no_half_tree_and_what_was_there_is_said_to_be_left() {
    let (host, _sites) = scene(&[(b"1.bin", 600_000), (b"2.bin", 600_000), (b"3.bin", 10)]);
    let Some(disk) = Disk::mount(&host.path("small")) else {
        let name = "a_full_disk_leaves_no_half_tree_and_what_was_there_is_said_to_be_left";
        skip!(name, "a file system cannot be mounted here");
    };
    let to = disk.0.join("out");
    let extract = |to: &Path, path: &str| {
        host.run_unlocked(&["files", "extract", "t", "latest", path, "--to", to.to_str().unwrap()])
    };
    let said = extract(&to, "private").expect(1);
    assert!(said.err.contains("cannot write \"private/files/2.bin\""), "{}", said.err);
    assert!(said.err.contains("No space left") && said.err.contains("nothing of it is left"), "{}", said.err);
    assert_eq!(names(&disk.0), [] as [&str; 0]);

    // What fits comes whole, under its name.
    extract(&to, "private/files/3.bin").expect(0);
    assert_eq!(names(&disk.0), ["out"]);

    // A folder that was there is not taken away, nor is its filling passed over in silence.
    let said = extract(&to, "private/files/1.bin").expect(0);
    assert!(said.out.contains("1 entry"), "{}", said.out);
    let said = extract(&to, "private/files/2.bin").expect(1);
    assert!(said.err.contains("was there: what was written into it until now is left"), "{}", said.err);
}

#[test]
fn names_that_are_no_text_are_listed_asked_for_and_extracted_by_one_spelling() {
    let odd: [(&[u8], &str); 5] = [
        (b"caf\xe9.pdf", "caf%E9.pdf"),
        (b"50%.pdf", "50%25.pdf"),
        (b"a%41", "a%2541"),
        (b"line\nfeed", "line%0Afeed"),
        ("\u{fc}ber".as_bytes(), "\u{fc}ber"),
    ];
    let files: Vec<(&[u8], usize)> = odd.iter().map(|(name, _)| (*name, 100)).collect();
    let (host, sites) = scene(&files);
    let text = host.run_unlocked(&["files", "ls", "t", "latest"]).expect(0).out;
    let json = host.run_unlocked(&["files", "ls", "t", "latest", "--json"]).expect(0).json();
    for (n, (name, spelled)) in odd.iter().enumerate() {
        let path = format!("private/files/{spelled}");
        assert!(text.lines().any(|l| l.ends_with(&path)), "{path}: {text}");
        assert!(json.iter().any(|l| l["path"] == path.as_str()), "{path}");
        let real = sites.path().join("s.example/private/files").join(OsStr::from_bytes(name));
        let cat = host
            .command(&["files", "cat", "t", "latest", &path, "--identity"])
            .arg(host.kit())
            .output()
            .unwrap();
        assert!(cat.status.success() && cat.stdout == fs::read(&real).unwrap(), "{path}");
        let to = host.path(&format!("out{n}"));
        host.run_unlocked(&["files", "extract", "t", "latest", &path, "--to", to.to_str().unwrap()])
            .expect(0);
        let out = to.join("private/files").join(OsStr::from_bytes(name));
        assert_eq!(fs::read(out).unwrap(), fs::read(&real).unwrap());
    }
    let said = host.run_unlocked(&["files", "cat", "t", "latest", "private/files/%E9"]).expect(1);
    assert!(said.err.contains("%XX stands for a byte"), "{}", said.err);
}

#[test]
fn two_nights_are_compared_by_the_content_of_their_files() {
    let (host, sites) =
        scene(&[(b"same.pdf", 900), (b"other.pdf", 900), (b"gone.pdf", 900), (b"mode.pdf", 9)]);
    let shown = host.run(&["snapshots", "t", "--json"]).expect(0).json();
    let first = shown[0]["snapshots"][0]["snapshot"].as_str().unwrap().to_owned();
    let at = |name: &str| sites.path().join("s.example/private/files").join(name);
    fs::write(at("other.pdf"), "otherwise").unwrap();
    fs::remove_file(at("gone.pdf")).unwrap();
    fs::write(at("new.pdf"), "new").unwrap();
    fs::set_permissions(at("mode.pdf"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    host.run(&["backup", "t"]).expect(0);

    let lines =
        host.run_unlocked(&["files", "diff", "t", &first, "latest", "private", "--json"]).expect(0).json();
    let told: Vec<String> = lines
        .iter()
        .filter_map(|l| Some(format!("{} {}", l["how"].as_str()?, l["path"].as_str()?)))
        .filter(|l| l.ends_with(".pdf"))
        .collect();
    let wanted = ["removed gone.pdf", "attributes mode.pdf", "added new.pdf", "changed other.pdf"];
    assert_eq!(told, wanted.map(|l| l.replace(' ', " private/files/")));
    let counts = &lines.last().unwrap()["files"];
    assert_eq!((&counts["added"], &counts["removed"], &counts["changed"]), (&1.into(), &1.into(), &1.into()));

    let said = host.run_unlocked(&["diff", "t", &first]).expect(0);
    assert!(said.out.contains("database: not in both"), "{}", said.out);
    assert!(said.out.contains("files: 1 added, 1 removed, 1 changed, "), "{}", said.out);
    let said = host.run(&["diff", "t", &first]).expect(12);
    assert!(said.err.contains("needs an identity"), "{}", said.err);
}
