//! Tars and lists that a good writer never makes: each is refused, and nothing is written outside.

use std::fs;

use lifeboat::component::files::Target;
use lifeboat::error::Kind;

use crate::tree::{entry, file, folder, link, list_of, load, record_of, see, tar_of};

/// A raw header, for what the writer refuses to write.
fn raw(name: &[u8], kind: u8, linkname: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..linkname.len()].copy_from_slice(linkname);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

/// Loads beside a folder with a file outside of it, and tells how that was refused.
async fn refused(what: &str, entries: &[(lifeboat::component::archive::Entry, &'static [u8])], tar: &[u8]) {
    let around = tempfile::tempdir().unwrap();
    fs::create_dir(around.path().join("outside")).unwrap();
    fs::write(around.path().join("outside/victim"), "untouched").unwrap();
    fs::create_dir(around.path().join("site")).unwrap();
    let before = see(around.path());
    let target = Target::Folder(around.path().join("site"));
    let error = load(target, record_of(entries), &list_of(entries), tar).await.expect_err(what);
    assert_eq!(error.kind(), Kind::Damaged, "{what}: {error}");
    let mut after = see(around.path());
    // Making and removing the staging folder changed the time of the folder around it.
    after.get_mut(&b""[..]).unwrap().mtime = before[&b""[..]].mtime;
    assert_eq!(before, after, "{what}");
}

#[tokio::test]
async fn names_that_lead_outside_are_refused() {
    for name in
        [&b"../outside/victim"[..], b"/outside/victim", b"a/../../outside/victim", b"..", b".", b"a//b", b""]
    {
        let what = String::from_utf8_lossy(name).into_owned();
        refused(&what, &[file(b"x", b"evil")], &raw(name, b'0', b"", b"evil")).await;
    }
}

#[tokio::test]
async fn a_path_through_a_link_is_refused_though_the_link_itself_is_kept() {
    for target in [&b"../../outside"[..], b"../outside", b"..", b"/tmp", b"real"] {
        let entries = [link(b"a", target), file(b"a/victim", b"evil"), folder(b"real")];
        refused("write through a link", &entries, &tar_of(&entries)).await;
        let entries = [link(b"a", target), folder(b"a/b")];
        refused("folder through a link", &entries, &tar_of(&entries)).await;
    }
}

#[tokio::test]
async fn devices_fifos_and_hard_links_are_refused() {
    for kind in *b"1346" {
        refused("kind", &[file(b"x", b"")], &raw(b"x", kind, b"../../outside/victim", b"")).await;
    }
}

#[tokio::test]
async fn a_name_twice_or_out_of_order_is_refused() {
    let entries = [file(b"a", b"1"), file(b"a", b"2")];
    refused("twice", &entries, &tar_of(&entries)).await;
    let entries = [file(b"b", b"1"), file(b"a", b"2")];
    refused("order", &entries, &tar_of(&entries)).await;
    let entries = [link(b"a", b"../outside/victim"), file(b"a", b"evil")];
    refused("link then file", &entries, &tar_of(&entries)).await;
}

#[tokio::test]
async fn an_entry_without_its_folder_is_refused() {
    let entries = [file(b"a/b", b"1")];
    refused("no folder", &entries, &tar_of(&entries)).await;
    let entries = [file(b"a", b"1"), file(b"a/b", b"1")];
    refused("below a file", &entries, &tar_of(&entries)).await;
}

#[tokio::test]
async fn a_tar_that_is_cut_is_refused_wherever_it_is_cut() {
    let entries = [folder(b"a"), file(b"a/b", &[7; 700]), link(b"c", b"a/b")];
    let tar = tar_of(&entries);
    for cut in [0, 1, 511, 512, 1024, 1100, 2048, 2560, tar.len() - 1024, tar.len() - 512, tar.len() - 1] {
        refused("cut", &entries, &tar[..cut]).await;
    }
    refused("bytes behind the end", &entries, &[tar.as_slice(), b"x"].concat()).await;
}

#[tokio::test]
async fn a_tar_that_differs_from_its_list_is_refused() {
    let entries = [folder(b"a"), file(b"a/b", b"right"), file(b"c", b"")];
    let other = |at: usize, with| {
        let mut other = entries.to_vec();
        other[at] = with;
        tar_of(&other)
    };
    refused("content", &entries, &other(1, file(b"a/b", b"wrong"))).await;
    refused("kind", &entries, &other(2, folder(b"c"))).await;
    refused("name", &entries, &other(2, file(b"d", b""))).await;
    refused(
        "mode",
        &entries,
        &other(2, (lifeboat::component::archive::Entry { mode: 0o4755, ..entries[2].0.clone() }, b"")),
    )
    .await;
    refused("more than listed", &entries[..2], &tar_of(&entries)).await;
    refused("fewer than listed", &entries, &tar_of(&entries[..2])).await;
    let kind = lifeboat::component::archive::EntryKind::File { size_bytes: u64::MAX };
    let huge = entry(b"c", kind).head().unwrap();
    refused("endless", &entries[..2], &[&tar_of(&entries[..2])[..2048], &huge[..], &[0; 4096]].concat())
        .await;
}

#[tokio::test]
async fn a_record_that_counted_otherwise_is_refused() {
    let entries = [folder(b"a"), file(b"b", b"x")];
    let around = tempfile::tempdir().unwrap();
    let target = Target::Folder(around.path().join("site"));
    let record = record_of(&entries[..1]);
    let error = load(target, record, &list_of(&entries), &tar_of(&entries)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert_eq!(fs::read_dir(around.path()).unwrap().count(), 0);
}
