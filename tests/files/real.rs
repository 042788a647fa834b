//! The real site's three days, and targets as hosts have them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat::component::files::{Content, Extraction, FileIndex, Listing, Options, Target, locate};
use lifeboat::component::{Grain, Piece, files};
use lifeboat::error::Kind;

use crate::tree::{Shelf, file, folder, link, list_of, load, night, record_of, see, source, tar_of};

/// Unpacks one day of the real site, if its data lies beside the repository.
fn day(n: usize, into: &Path) -> Option<PathBuf> {
    let tar =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../shared/data/erpnext/day{n}.files.tar.zst"));
    if !tar.exists() {
        eprintln!("skipped: {} is not there", tar.display());
        return None;
    }
    let plain = into.join("plain.tar");
    let mut out = fs::File::create(&plain).unwrap();
    zstd::stream::copy_decode(fs::File::open(tar).unwrap(), &mut out).unwrap();
    let root = into.join(format!("day{n}"));
    fs::create_dir(&root).unwrap();
    let status = Command::new("tar").arg("-xpf").arg(&plain).arg("-C").arg(&root).status().unwrap();
    assert!(status.success());
    Some(root)
}

#[tokio::test]
async fn the_real_site_comes_back_equal_on_each_of_three_days() {
    let around = tempfile::tempdir().unwrap();
    let back = around.path().join("back");
    let (shelf, mut index) = (Shelf::default(), FileIndex::default());
    for n in 1..=3 {
        let Some(root) = day(n, around.path()) else { return };
        let taken = shelf.take(&root, Options::plain(night(n as i64)), &index).await;
        assert_eq!(taken.completion.lacks, Vec::<String>::new());
        assert!(taken.record().totals.files > 80);
        let target = Target::Folder(back.clone());
        let loaded = load(target, taken.record(), &taken.list, &taken.tar).await.unwrap();
        loaded.swap(&format!("day{n}")).unwrap();
        assert_eq!(see(&root), see(&back));
        index = taken.next;
    }
}

#[tokio::test]
async fn one_file_is_found_through_the_list_and_extracted_alone() {
    let around = tempfile::tempdir().unwrap();
    let site = around.path().join("site");
    fs::create_dir_all(site.join("private/files")).unwrap();
    fs::write(site.join("private/files/a"), vec![1; 2_000_000]).unwrap();
    fs::write(site.join("private/files/b"), "wanted").unwrap();
    fs::write(site.join("private/files/c"), "other").unwrap();
    let taken = Shelf::default().take(&site, Options::plain(night(0)), &FileIndex::default()).await;

    let found = locate(source(&taken.list), b"private/files/b").await.unwrap().unwrap();
    let start = usize::try_from(found.offset).unwrap();
    let content = &taken.tar[start..start + usize::try_from(found.line.entry.size_bytes()).unwrap()];
    assert_eq!(content, b"wanted");
    assert!(locate(source(&taken.list), b"private/files").await.unwrap().unwrap().line.sha256.is_none());

    let out = around.path().join("out");
    let mut extraction = Extraction::into(&out).unwrap();
    extraction.entry(&found.line, Some(Content::Unproven(&mut source(content)))).await.unwrap();
    let twice =
        extraction.entry(&found.line, Some(Content::Unproven(&mut source(content)))).await.unwrap_err();
    assert_eq!(twice.kind(), Kind::Conflict, "what is there is not written over");
    extraction.finish().unwrap();
    let file = "private/files/b";
    assert_eq!(see(&out)[file.as_bytes()], see(&site)[file.as_bytes()]);
    assert_eq!(see(&out).len(), 4);

    let mut wrong = Extraction::into(&around.path().join("wrong")).unwrap();
    let error = wrong.entry(&found.line, Some(Content::Unproven(&mut source(b"tanwed")))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
}

#[tokio::test]
async fn a_dump_among_the_files_is_said_to_consist_of_rows() {
    let around = tempfile::tempdir().unwrap();
    for name in ["a.sql", "b.SQL", "c.bin"] {
        fs::write(around.path().join(name), vec![b'x'; 1 << 20]).unwrap();
    }
    fs::write(around.path().join("small.sql"), "x").unwrap();
    let monitor = std::sync::Arc::new(lifeboat::monitor::Recorder::default());
    let (mut dump, _) = files::dump(
        around.path().to_owned(),
        Options::plain(night(0)),
        FileIndex::default(),
        |_| false,
        monitor,
    );
    let mut grains = Vec::new();
    while let Some(piece) = dump.pieces.recv().await {
        match piece {
            Piece::Open { grain, size_bytes } => {
                assert_eq!(size_bytes, 1 << 20);
                grains.push(grain);
            }
            Piece::Close { hashed, .. } => hashed.send(lifeboat::id::Sha256([0; 32])).unwrap(),
            _ => {}
        }
    }
    dump.completion.await.unwrap();
    assert_eq!(grains, [Grain::Rows, Grain::Rows, Grain::Files]);
}

#[tokio::test]
async fn extraction_follows_no_link_that_it_made_or_found() {
    let around = tempfile::tempdir().unwrap();
    fs::create_dir(around.path().join("outside")).unwrap();
    let mut extraction = Extraction::into(&around.path().join("out")).unwrap();
    let entries = [link(b"a", b"../outside"), file(b"a/x", b"evil")];
    let mut listing = Listing::new(source(&list_of(&entries)));
    let link = listing.next().await.unwrap().unwrap().line;
    let inside = listing.next().await.unwrap().unwrap().line;
    extraction.entry(&link, None).await.unwrap();
    assert!(extraction.entry(&inside, Some(Content::Unproven(&mut source(b"evil")))).await.is_err());
    assert_eq!(fs::read_dir(around.path().join("outside")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_volume_root_keeps_its_folder_and_gets_the_restored_content_and_owner() {
    let around = tempfile::tempdir().unwrap();
    let volume = around.path().join("_data");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("a"), "old").unwrap();
    let held = fs::File::open(&volume).unwrap();
    let entries = [file(b"a", b"new"), folder(b"b")];
    let target = Target::Contents(volume.clone());
    let loaded = load(target, record_of(&entries), &list_of(&entries), &tar_of(&entries)).await.unwrap();
    assert_eq!(fs::read(volume.join("a")).unwrap(), b"old", "nothing changes before the swap");
    let aside = loaded.swap("x").unwrap().unwrap();
    assert_eq!(fs::read(aside.join("a")).unwrap(), b"old");
    assert_eq!(fs::read(volume.join("a")).unwrap(), b"new");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(held.metadata().unwrap().ino(), fs::metadata(&volume).unwrap().ino());
    assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o750);
}

/// A mount that ends with the test.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}

#[tokio::test]
async fn a_mount_point_is_restored_within_itself() {
    let around = tempfile::tempdir().unwrap();
    let root = around.path().join("mounted");
    fs::create_dir(&root).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&root).status();
    if !mounted.is_ok_and(|s| s.success()) {
        eprintln!("skipped: a_mount_point_is_restored_within_itself needs the right to mount");
        return;
    }
    let _mount = Mount(root.clone());
    fs::write(root.join("a"), "old").unwrap();
    let entries = [file(b"a", b"new")];
    for n in 0..2 {
        let target = Target::Contents(root.clone());
        let loaded = load(target, record_of(&entries), &list_of(&entries), &tar_of(&entries)).await.unwrap();
        let aside = loaded.swap(&n.to_string()).unwrap().unwrap();
        assert_eq!(aside, root.join(format!(".lifeboat-mounted.before-{n}/mounted")));
        assert_eq!(fs::read(root.join("a")).unwrap(), b"new");
    }
    // What was moved aside is not part of the next backup.
    let taken = Shelf::default().take(&root, Options::plain(night(0)), &FileIndex::default()).await;
    assert_eq!(taken.record().totals.files, 1);
}
