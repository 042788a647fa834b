use std::os::unix::fs::symlink;

use super::*;

async fn store() -> (tempfile::TempDir, LocalStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path(), Timeouts::default(), false).await.unwrap();
    (folder, store)
}

fn key(s: &str) -> Key {
    s.parse().unwrap()
}

async fn put(store: &LocalStore, name: &str, content: &[u8]) -> Result<Entry> {
    store.put(&key(name), content.to_vec().into(), PutMode::Create).await
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .map(|items| items.map(|i| i.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[tokio::test]
async fn a_missing_folder_is_no_repository_until_init_makes_it() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("a/b");
    let error = LocalStore::open(&folder, Timeouts::default(), false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NoRepository);
    assert!(!folder.exists());
    LocalStore::open(&folder, Timeouts::default(), true).await.unwrap();
    assert!(folder.is_dir());
}

#[tokio::test]
async fn a_folder_that_is_exchanged_beneath_the_store_is_not_written_to() {
    let (folder, store) = store().await;
    let moved = folder.path().with_extension("moved");
    std::fs::rename(folder.path(), &moved).unwrap();
    let gone = put(&store, "a", b"1").await.unwrap_err();
    std::fs::create_dir(folder.path()).unwrap();
    let other = put(&store, "a", b"1").await.unwrap_err();
    assert_eq!((gone.kind(), other.kind()), (Kind::NoRepository, Kind::NoRepository));
    assert!(names(folder.path()).is_empty());
    std::fs::remove_dir_all(moved).unwrap();
}

#[tokio::test]
async fn links_lead_nowhere() {
    let (folder, store) = store().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"x").unwrap();
    symlink(outside.path(), folder.path().join("out")).unwrap();
    symlink(outside.path().join("secret"), folder.path().join("file")).unwrap();

    assert_eq!(put(&store, "out/new", b"1").await.unwrap_err().kind(), Kind::Denied);
    assert_eq!(store.get(&key("out/secret"), None).await.unwrap_err().kind(), Kind::Denied);
    assert_eq!(store.get(&key("file"), None).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.delete(&key("out/secret"), None).await.unwrap_err().kind(), Kind::Denied);
    assert!(store.list("").await.unwrap().is_empty());
    assert_eq!(store.list("out/").await.unwrap_err().kind(), Kind::Denied);
    assert_eq!(names(outside.path()), ["secret"]);
}

#[tokio::test]
async fn a_prefix_never_leaves_the_root() {
    let (folder, store) = store().await;
    put(&store, "a/b", b"1").await.unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    for prefix in ["../", "a/../", "/", "//", &format!("../{name}/"), "a/./", "~tmp/"] {
        assert!(store.list(prefix).await.unwrap().is_empty(), "{prefix}");
    }
}

#[tokio::test]
async fn a_put_that_fails_leaves_nothing_not_even_a_temporary_file() {
    let (folder, store) = store().await;
    let source = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(source.path(), b"abc").unwrap();
    for size_bytes in [2, 4] {
        let body = Body::File { path: source.path().to_owned(), size_bytes, sha256: None };
        assert_eq!(store.put(&key("t/x"), body, PutMode::Create).await.unwrap_err().kind(), Kind::Io);
    }
    let lost = Body::File { path: "/nonexistent/file".into(), size_bytes: 1, sha256: None };
    assert_eq!(store.put(&key("t/x"), lost, PutMode::Create).await.unwrap_err().kind(), Kind::Io);
    assert!(store.list("").await.unwrap().is_empty());
    assert!(names(&folder.path().join(TEMP_FOLDER)).is_empty());
}

#[tokio::test]
async fn leftovers_are_not_listed_and_are_swept_once_old() {
    let (folder, store) = store().await;
    put(&store, "t/x", b"1").await.unwrap();
    let temp = folder.path().join(TEMP_FOLDER);
    for (name, hours) in [("young", 23), ("old", 25)] {
        let file = std::fs::File::create(temp.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
    assert_eq!(store.list("").await.unwrap().len(), 1);
    LocalStore::open(folder.path(), Timeouts::default(), false).await.unwrap();
    assert_eq!(names(&temp), ["young"]);
    assert_eq!(store.sweep(Duration::from_secs(3600)).await.unwrap(), 1);
    assert!(names(&temp).is_empty());
}

#[tokio::test]
async fn a_key_cannot_be_file_and_folder_at_once() {
    let (_folder, store) = store().await;
    put(&store, "a", b"1").await.unwrap();
    put(&store, "b/c", b"1").await.unwrap();
    assert_eq!(put(&store, "a/b", b"2").await.unwrap_err().kind(), Kind::Conflict);
    for mode in [PutMode::Create, PutMode::Replace] {
        let error = store.put(&key("b"), vec![1].into(), mode).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
    }
    assert_eq!(store.head(&key("b")).await.unwrap(), None);
    assert_eq!(store.head(&key("a/b")).await.unwrap(), None);
    store.delete(&key("b"), None).await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_last_object_of_a_folder_takes_the_folder_with_it() {
    let (folder, store) = store().await;
    put(&store, "tenants/t/packs/1", b"1").await.unwrap();
    put(&store, "tenants/u", b"1").await.unwrap();
    store.delete(&key("tenants/t/packs/1"), None).await.unwrap();
    assert_eq!(names(&folder.path().join("tenants")), ["u"]);
}

#[tokio::test]
async fn puts_win_against_deletes_that_remove_their_folder() {
    let (_folder, store) = store().await;
    for round in 0..50 {
        let (one, other) = (format!("f/{round}a"), format!("f/{round}b"));
        put(&store, &one, b"1").await.unwrap();
        let gone = key(&one);
        let (deleted, stored) = tokio::join!(store.delete(&gone, None), put(&store, &other, b"2"));
        deleted.unwrap();
        stored.unwrap();
        store.delete(&key(&other), None).await.unwrap();
    }
}

#[tokio::test]
async fn an_object_cut_short_on_disk_while_it_is_read_is_an_error() {
    let (folder, store) = store().await;
    put(&store, "x", &vec![7; 3 * READ_BYTES]).await.unwrap();
    let mut download = store.get(&key("x"), None).await.unwrap();
    download.body.next().await.unwrap().unwrap();
    std::fs::File::options().write(true).open(folder.path().join("x")).unwrap().set_len(10).unwrap();
    let mut outcome = Ok(());
    while let Some(piece) = download.body.next().await {
        outcome = outcome.and(piece.map(drop));
    }
    assert_eq!(outcome.unwrap_err().kind(), Kind::Store);
}

#[test]
fn disk_errors_get_the_kind_that_callers_act_on() {
    use rustix::io::Errno;
    let table = [
        (Errno::NOSPC, Kind::Full),
        (Errno::DQUOT, Kind::Full),
        (Errno::FBIG, Kind::Full),
        (Errno::ACCESS, Kind::Denied),
        (Errno::ROFS, Kind::Denied),
        (Errno::IO, Kind::Store),
    ];
    for (errno, kind) in table {
        assert_eq!(io_error(errno.into(), "x").kind(), kind, "{errno}");
    }
}
