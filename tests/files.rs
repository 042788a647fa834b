//! The component `files` on real folders: what is dumped comes back, whatever the tree and whatever happens meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]
#![allow(clippy::print_stderr, reason = "a skipped test says so by name")]

#[path = "files/hostile.rs"]
mod hostile;
#[path = "files/real.rs"]
mod real;
#[path = "files/sequence.rs"]
mod sequence;
#[path = "files/tree.rs"]
mod tree;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use lifeboat::component::files::{self, FileIndex, Options, Target};
use lifeboat::error::Kind;
use lifeboat::monitor::Recorder;
use proptest::collection::vec;
use proptest::prelude::*;

use sequence::{apply, change};
use tree::{Shelf, Taken, load, night, see};

fn small_site(root: &Path) {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn each_night_comes_back_equal_after_any_changes(nights in vec(vec(change(), 0..25), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (root, back) = (folder.path().join("site"), folder.path().join("back"));
        fs::create_dir(&root).unwrap();
        let (shelf, mut index) = (Shelf::default(), FileIndex::default());
        for (n, changes) in nights.iter().enumerate() {
            changes.iter().for_each(|c| apply(&root, c));
            let options = Options::plain(night(n as i64));
            let taken = runtime.block_on(shelf.take(&root, options.clone(), &index));
            prop_assert!(taken.completion.lacks.is_empty(), "{:?}", taken.problems);
            let again = runtime.block_on(Shelf::default().take(&root, options, &FileIndex::default()));
            prop_assert!(taken.tar == again.tar, "two dumps differ");
            prop_assert_eq!(&taken.list, &again.list);
            prop_assert_eq!(&taken.segments, &again.segments);
            let target = Target::Folder(back.clone());
            let loaded = runtime.block_on(load(target, taken.record(), &taken.list, &taken.tar)).unwrap();
            let aside = loaded.swap(&format!("night-{n}")).unwrap();
            prop_assert_eq!(aside.is_some(), n > 0);
            prop_assert_eq!(see(&root), see(&back));
            index = taken.next;
        }
    }
}

#[tokio::test]
async fn an_unchanged_large_file_is_known_and_is_not_even_opened() {
    let root = tempfile::tempdir().unwrap();
    small_site(root.path());
    let (shelf, options) = (Shelf::default(), |n| Options::frappe_site(night(n)));
    let first = shelf.take(root.path(), options(0), &FileIndex::default()).await;
    assert!(first.known.is_empty());
    assert_eq!(first.next.len(), 1);

    let watch = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::NONBLOCK).unwrap();
    let opened = rustix::fs::inotify::WatchFlags::OPEN;
    rustix::fs::inotify::add_watch(&watch, root.path().join("private/files/big.pdf"), opened).unwrap();
    let was_opened = || rustix::io::read(&watch, &mut [0; 256][..]).is_ok();

    let second = shelf.take(root.path(), options(1), &first.next).await;
    assert!(!was_opened());
    assert_eq!(second.known.len(), 1);
    assert_eq!(second.record().totals.unread_bytes, 3 << 20);
    assert_eq!((&second.tar, &second.list, &second.next), (&first.tar, &first.list, &first.next));

    // The repository forgot it, or a month has passed: it is read.
    let third = Shelf::default().take(root.path(), options(2), &second.next).await;
    assert!(was_opened() && third.known.is_empty());
    let fourth = shelf.take(root.path(), options(31), &second.next).await;
    assert!(was_opened() && fourth.known.is_empty());
}

#[tokio::test]
async fn a_file_with_an_equal_size_and_time_but_other_content_is_read() {
    let root = tempfile::tempdir().unwrap();
    small_site(root.path());
    let shelf = Shelf::default();
    let first = shelf.take(root.path(), Options::plain(night(0)), &FileIndex::default()).await;
    let big = root.path().join("private/files/big.pdf");
    let time = fs::metadata(&big).unwrap().modified().unwrap();
    fs::write(&big, vec![8; 3 << 20]).unwrap();
    fs::File::open(&big).unwrap().set_modified(time).unwrap();
    let second = shelf.take(root.path(), Options::plain(night(1)), &first.next).await;
    assert!(second.known.is_empty());
    assert_ne!(first.tar, second.tar);
}

/// Dumps a folder whose first file is so large that the queue is full long before its end; `meanwhile` runs then.
async fn taken_while(root: &Path, meanwhile: impl FnOnce()) -> (Taken, Vec<String>) {
    let monitor = Arc::new(Recorder::default());
    let options = Options::frappe_site(night(0));
    let (mut dump, next) =
        files::dump(root.to_owned(), options, FileIndex::default(), |_| false, monitor.clone());
    let mut first = Vec::new();
    while first.len() < 4 {
        first.push(dump.pieces.recv().await.unwrap());
    }
    meanwhile();
    let taken = Shelf::default().assemble(first, dump).await;
    assert!(next.get().unwrap().is_empty(), "a torn file is not believed next time");
    (taken, monitor.problems())
}

#[tokio::test]
async fn a_file_that_grows_or_shrinks_lacks_one_that_vanishes_is_noted_and_the_tar_stays_whole() {
    const SIZE: u64 = 32 << 20;
    for (length, problem) in [(SIZE + 5, "length"), (6 << 20, "length")] {
        let root = tempfile::tempdir().unwrap();
        let big = root.path().join("a");
        fs::write(&big, vec![1; SIZE as usize]).unwrap();
        fs::write(root.path().join("b"), "vanishes").unwrap();
        fs::write(root.path().join("c"), "stays").unwrap();
        let (taken, problems) = taken_while(root.path(), || {
            fs::OpenOptions::new().write(true).open(&big).unwrap().set_len(length).unwrap();
            fs::remove_file(root.path().join("b")).unwrap();
        })
        .await;
        assert_eq!(taken.completion.lacks, ["a"]);
        assert_eq!(taken.completion.warnings, ["b was removed while its folder was read"]);
        assert!(problems[0].contains(problem), "{problems:?}");
        assert_eq!(taken.segments, [512, SIZE as usize, 512 + 512 + 1024]);
        // What was torn is loaded as it was taken; it is the receipt that says what lacks.
        let back = root.path().join("back");
        let target = Target::Folder(back.clone());
        load(target, taken.record(), &taken.list, &taken.tar).await.unwrap().swap("x").unwrap();
        assert_eq!(fs::metadata(back.join("a")).unwrap().len(), SIZE);
        assert_eq!(fs::read(back.join("c")).unwrap(), b"stays");
    }
}

#[tokio::test]
async fn a_large_file_that_is_rewritten_while_it_is_read_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), vec![1; 32 << 20]).unwrap();
    let (taken, _) =
        taken_while(root.path(), || fs::write(root.path().join("a"), vec![2; 32 << 20]).unwrap()).await;
    assert_eq!(taken.completion.lacks, ["a"]);
}

#[tokio::test]
async fn a_half_written_site_config_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("site_config.json"), r#"{"db_name": "_1", "encr"#).unwrap();
    let taken =
        Shelf::default().take(root.path(), Options::frappe_site(night(0)), &FileIndex::default()).await;
    assert_eq!(taken.completion.lacks, ["site_config.json"]);
    assert!(taken.problems[0].contains("JSON"));
}

#[tokio::test]
async fn sockets_and_fifos_are_left_out_with_a_warning_and_block_nothing() {
    let root = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("s")).unwrap();
    let mkfifo = std::process::Command::new("mkfifo").arg(root.path().join("f")).status().unwrap();
    assert!(mkfifo.success());
    let taken = Shelf::default().take(root.path(), Options::plain(night(0)), &FileIndex::default()).await;
    assert_eq!(taken.completion.warnings.len(), 2);
    assert!(taken.completion.lacks.is_empty() && taken.list.is_empty());
}

#[tokio::test]
async fn a_root_that_is_a_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    symlink("/etc", folder.path().join("site")).unwrap();
    let (dump, _) = files::dump(
        folder.path().join("site"),
        Options::plain(night(0)),
        FileIndex::default(),
        |_| false,
        Arc::new(Recorder::default()),
    );
    assert_eq!(dump.completion.await.unwrap_err().kind(), Kind::Source);
}

#[tokio::test]
async fn a_dump_that_nobody_takes_ends() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), vec![1; 32 << 20]).unwrap();
    let monitor = Arc::new(Recorder::default());
    let options = Options::plain(night(0));
    let (dump, next) = files::dump(root.path().to_owned(), options, FileIndex::default(), |_| false, monitor);
    drop(dump.pieces);
    assert_eq!(dump.completion.await.unwrap_err().kind(), Kind::Interrupted);
    assert!(next.get().is_none());
}
