//! The component `files` on real folders: what is dumped comes back, whatever the tree and whatever happens meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

#[path = "files/tree.rs"]
mod tree;

use std::fs;
use std::os::unix::fs::symlink;

use lifeboat::component::files::{FileIndex, Options};

use tree::{Shelf, night, see};

fn small_site(root: &std::path::Path) {
    for folder in ["public/files", "private/files", "private/backups", "logs", "locks", "public/empty"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("site_config.json"), r#"{"db_name":"_1","encryption_key":"k"}"#).unwrap();
    fs::write(root.join("public/files/a.txt"), "public").unwrap();
    fs::write(root.join("private/files/big.pdf"), vec![7; 3 << 20]).unwrap();
    fs::write(root.join("private/backups/old.sql.gz"), "left out").unwrap();
    fs::write(root.join("logs/frappe.log"), "left out").unwrap();
    symlink("../private/files", root.join("public/link")).unwrap();
}

#[tokio::test]
async fn a_large_content_is_a_segment_of_its_own_and_so_is_what_lies_between() {
    let root = tempfile::tempdir().unwrap();
    small_site(root.path());
    let taken =
        Shelf::default().take(root.path(), Options::frappe_site(night(0)), &FileIndex::default()).await;
    assert_eq!(taken.segments.len(), 3);
    assert_eq!(taken.segments[1], 3 << 20);
    assert_eq!(taken.completion.lacks, Vec::<String>::new());
    assert!(!taken.list_text().contains("left out") && !taken.list_text().contains("frappe.log"));
    assert!(taken.list_text().contains(r#""path":"logs""#), "the folder itself is kept");
    assert_eq!(see(root.path()).len(), 1 + 2 + taken.list_text().lines().count());
}

#[tokio::test]
async fn stock_tar_unpacks_it() {
    let root = tempfile::tempdir().unwrap();
    small_site(root.path());
    fs::write(root.path().join("x".repeat(120)), "long name").unwrap();
    let taken = Shelf::default().take(root.path(), Options::plain(night(0)), &FileIndex::default()).await;
    let out = tempfile::tempdir().unwrap();
    let tar = out.path().join("t.tar");
    fs::write(&tar, &taken.tar).unwrap();
    let into = out.path().join("into");
    fs::create_dir(&into).unwrap();
    let status =
        std::process::Command::new("tar").arg("-xpf").arg(&tar).arg("-C").arg(&into).status().unwrap();
    assert!(status.success());
    let (mut a, mut b) = (see(root.path()), see(&into));
    a.remove(&b""[..]);
    b.remove(&b""[..]);
    assert_eq!(a, b);
}
