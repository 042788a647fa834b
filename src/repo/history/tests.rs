use std::sync::atomic::Ordering;

use super::*;
use crate::repo::sign::SigningKey;
use crate::repo::testing::{House, tenant};
use crate::store::{Fault as Broken, FaultStore, Method, Store};

async fn load(house: &House, remembered: Option<&Head>) -> History {
    History::load(&house.repo, &house.trust().await, &tenant(), remembered).await.unwrap()
}

fn words(faults: &[Fault]) -> Vec<&'static str> {
    faults.iter().map(Fault::word).collect()
}

#[tokio::test]
async fn committed_snapshots_come_in_order_without_faults() {
    let house = House::build().await;
    let chain = house.commit_chain(&house.vault().await, 5).await;
    let history = load(&house, None).await;
    let hashes: Vec<Sha256> = history.snapshots.iter().map(|c| c.hash).collect();
    assert_eq!(hashes, chain.iter().map(|c| c.1).collect::<Vec<_>>());
    assert_eq!(history.faults, []);
    assert_eq!(history.head().unwrap().sequence, 5);
    assert_eq!(load(&house, history.head().as_ref()).await.faults, []);
}

#[tokio::test]
async fn one_bad_receipt_is_a_fault_and_the_rest_stays() {
    let house = House::build().await;
    let vault = house.vault().await;
    let chain = house.commit_chain(&vault, 2).await;
    let (stranger, _) = SigningKey::generate("x", None).unwrap();
    let third = house.receipt(&vault, Some((&chain[1].0, chain[1].1)));
    house.commit(&third, &stranger).await;
    let history = load(&house, None).await;
    assert_eq!(history.snapshots.len(), 2);
    assert_eq!(words(&history.faults), ["unverifiable"]);
    assert_eq!(history.faults[0].snapshot(), Some(&third.snapshot));
    assert!(history.faults[0].is_alarm());
}

#[tokio::test]
async fn a_later_format_is_told_from_a_bad_one() {
    let house = House::build().await;
    let vault = house.vault().await;
    let mut receipt = house.receipt(&vault, None);
    receipt.format = 2;
    house.commit(&receipt, &house.host).await;
    assert_eq!(words(&load(&house, None).await.faults), ["too-new"]);
}

#[tokio::test]
async fn an_overwritten_receipt_is_read_in_its_oldest_right_version() {
    let house = House::build().await;
    let chain = house.commit_chain(&house.vault().await, 2).await;
    let (first, hash) = &chain[0];
    let mut other = first.clone();
    other.added_bytes += 1;
    house.commit(&other, &house.host).await;
    house.store.delete(&keys::receipt(&tenant(), &chain[1].0.snapshot).json, None).await.unwrap();
    let history = load(&house, None).await;
    assert_eq!(history.snapshots.len(), 2, "what a delete marker hides is read");
    assert_eq!(history.snapshots[0].hash, *hash);
    let faults = ["overwritten", "overwritten", "deleted"];
    assert_eq!(words(&history.faults), faults, "the first's receipt and signature, the second's receipt");
}

#[tokio::test]
async fn a_put_that_was_repeated_is_no_fault() {
    let house = House::build().await;
    let (receipt, _) = house.commit_chain(&house.vault().await, 1).await.remove(0);
    let key = keys::receipt(&tenant(), &receipt.snapshot).json;
    let json = object::get(&*house.store, &key, None, 100_000).await.unwrap();
    house.overwrite(&key, json.to_vec()).await;
    assert_eq!(load(&house, None).await.faults, []);
}

#[tokio::test]
async fn a_manifest_without_receipt_is_a_run_that_died() {
    let house = House::build().await;
    let receipt = house.receipt(&house.vault().await, None);
    house.overwrite(&keys::snapshot(&tenant(), &receipt.snapshot, SnapshotPart::Manifest), "x").await;
    let history = load(&house, None).await;
    assert_eq!(history.faults, [Fault::Orphan { snapshot: receipt.snapshot }]);
    assert!(!history.faults[0].is_alarm());
}

#[tokio::test]
async fn missing_and_rolled_back_receipts_are_told() {
    let house = House::build().await;
    let chain = house.commit_chain(&house.vault().await, 4).await;
    let head = load(&house, None).await.head().unwrap();
    for n in [1, 3] {
        let keys = keys::receipt(&tenant(), &chain[n].0.snapshot);
        for key in [&keys.json, &keys.minisig] {
            house.store.delete(key, Some("v0")).await.unwrap();
        }
    }
    let history = load(&house, Some(&head)).await;
    assert_eq!(words(&history.faults), ["missing", "rolled-back"]);
}

#[tokio::test]
async fn a_night_reads_only_receipts_it_does_not_know() {
    let house = House::build().await;
    let vault = house.vault().await;
    let chain = house.commit_chain(&vault, 3).await;
    let trust = house.trust().await;
    let mut seen = Seen::default();
    assert_eq!(seen.advance(&house.repo, &trust, &tenant()).await.unwrap(), []);
    assert_eq!(seen.head.as_ref().unwrap().receipt, chain[2].1);
    let before = house.store.requests.load(Ordering::Relaxed);
    assert_eq!(seen.advance(&house.repo, &trust, &tenant()).await.unwrap(), []);
    assert_eq!(house.store.requests.load(Ordering::Relaxed) - before, 1, "one listing");
    let fourth = house.receipt(&vault, Some((&chain[2].0, chain[2].1)));
    house.commit(&fourth, &house.host).await;
    let mut fork = fourth.clone();
    fork.snapshot = SnapshotId::new(fork.started, [9; 4]);
    house.commit(&fork, &house.host).await;
    assert_eq!(words(&seen.advance(&house.repo, &trust, &tenant()).await.unwrap()), ["fork"]);
    assert_eq!(seen.head.as_ref().unwrap().sequence, 4);
}

#[tokio::test]
async fn a_store_that_shows_less_does_not_move_the_memory_back() {
    let house = House::build().await;
    let chain = house.commit_chain(&house.vault().await, 2).await;
    let trust = house.trust().await;
    let mut seen = Seen::default();
    seen.advance(&house.repo, &trust, &tenant()).await.unwrap();
    for entry in house.store.versions(&keys::snapshots(&tenant())).await.unwrap() {
        if entry.key.as_str().contains(chain[1].0.snapshot.as_str()) {
            house.store.delete(&entry.key, entry.version.as_deref()).await.unwrap();
        }
    }
    assert_eq!(words(&seen.advance(&house.repo, &trust, &tenant()).await.unwrap()), ["rolled-back"]);
    assert_eq!(seen.head.unwrap().receipt, chain[1].1);
}

#[tokio::test]
async fn a_new_receipt_that_cannot_be_fetched_ends_the_night_rather_than_to_have_its_number_taken() {
    let house = House::build().await;
    let vault = house.vault().await;
    let chain = house.commit_chain(&vault, 1).await;
    let trust = house.trust().await;
    let mut seen = Seen::default();
    seen.advance(&house.repo, &trust, &tenant()).await.unwrap();
    let second = house.receipt(&vault, Some((&chain[0].0, chain[0].1)));
    let hash = house.commit(&second, &house.host).await;
    for kind in [Kind::Denied, Kind::Store, Kind::Timeout] {
        let store = FaultStore::new(house.store.clone()).from(Method::Get, 2, Broken::Before(kind));
        let repo = Repository::open(std::sync::Arc::new(store), None).await.unwrap();
        let e = seen.clone().advance(&repo, &trust, &tenant()).await.unwrap_err();
        assert_eq!(e.kind(), kind);
    }
    assert_eq!(seen.advance(&house.repo, &trust, &tenant()).await.unwrap(), []);
    assert_eq!(seen.head.unwrap().receipt, hash);
}

#[tokio::test]
async fn a_receipt_that_does_not_verify_is_looked_at_again_before_its_number_is_taken() {
    let house = House::build().await;
    let old = house.trust().await;
    let (second, _) = SigningKey::generate("h2", None).unwrap();
    let mut grant = house.grant(second.public());
    grant.host = "h2".parse().unwrap();
    house.certify(grant).await;
    let mut receipt = house.receipt(&house.vault().await, None);
    receipt.host = "h2".parse().unwrap();
    let hash = house.commit(&receipt, &second).await;
    let mut seen = Seen::default();
    assert_eq!(seen.advance(&house.repo, &old, &tenant()).await.unwrap(), []);
    assert_eq!(seen.head.unwrap().receipt, hash, "its host was certified since");
}
