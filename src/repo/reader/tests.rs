use super::*;
use crate::repo::frame::{Press, RawFrame};
use crate::repo::testing::Versioned;
use crate::repo::{chunk, seal};
use crate::store::{Body, PutMode};

const PREFIX: &str = "tenants/t/packs/";

fn pack() -> (PackRef, Vec<u8>) {
    let namer = chunk::Namer::new(&chunk::DedupKey::new([1; 32]));
    let mut raw = RawFrame::default();
    raw.push(namer.id(b"row"), b"row");
    let frames = [Press::new(namer).unwrap().press(raw).unwrap()];
    let recipient: seal::VaultRecipient = Arc::new(age::x25519::Identity::generate().to_public());
    let mut object = Vec::new();
    (seal::seal([0; 8], &frames, &recipient, &mut object).unwrap(), object)
}

/// A store where these were put under the pack's key, one after the other; nothing stands for a deletion.
async fn store(pack: PackRef, versions: &[Option<Vec<u8>>]) -> Versioned {
    let store = Versioned::default();
    let key = crate::repo::spool::key_of(PREFIX, pack).unwrap();
    for version in versions {
        match version {
            Some(bytes) => drop(store.put(&key, Body::from(bytes.clone()), PutMode::Replace).await.unwrap()),
            None => store.delete(&key, None).await.unwrap(),
        }
    }
    store
}

#[tokio::test]
async fn a_pack_that_was_overwritten_or_deleted_is_read_from_an_older_version() {
    let (pack, good) = pack();
    let mut same_size = good.clone();
    same_size[50] ^= 1;
    let histories = [
        vec![Some(good.clone())],
        vec![Some(good.clone()), Some(same_size.clone())],
        vec![Some(good.clone()), Some(b"short".to_vec())],
        vec![Some(good.clone()), None],
        vec![Some(same_size.clone()), Some(good.clone()), Some(same_size.clone()), None],
    ];
    for (number, history) in histories.iter().enumerate() {
        let store = store(pack, history).await;
        assert!(check_pack(&store, PREFIX, pack).await.is_ok(), "history {number}");
    }
}

#[tokio::test]
async fn a_pack_without_any_right_version_is_damaged_and_named() {
    let (pack, good) = pack();
    let mut wrong = good;
    wrong[50] ^= 1;
    for history in [vec![], vec![Some(wrong.clone())], vec![Some(wrong.clone()), None]] {
        let store = store(pack, &history).await;
        let error = check_pack(&store, PREFIX, pack).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
        assert!(error.to_string().contains(&pack.id.to_string()), "{error}");
    }
}

#[test]
fn folders_of_dead_readers_are_removed_and_those_of_living_ones_stay() {
    let below = tempfile::tempdir().unwrap();
    let dead = below.path().join("packs-dead");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join(LOCK), b"").unwrap();
    std::fs::write(dead.join("0.pack"), b"ciphertext").unwrap();
    let other = below.path().join("something else");
    std::fs::create_dir(&other).unwrap();
    let first = Folder::make(below.path()).unwrap();
    let second = Folder::make(below.path()).unwrap();
    assert!(!dead.exists() && other.exists());
    assert!(first.folder.path().exists() && second.folder.path().exists());
    drop(first);
    assert_eq!(std::fs::read_dir(below.path()).unwrap().count(), 3, "second, the other folder, the lock");
}
