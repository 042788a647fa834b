//! `lifeboat probe` on real stores and on worse ones: what a store only claims is found out.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::sync::Arc;

use jiff::Timestamp;
use lifeboat::monitor::Silent;
use lifeboat::ops::appliance::Surroundings;
use lifeboat::ops::probe::{Outcome, Probed, Protection, Trial, try_all};
use lifeboat::store::{
    Credentials, Fault, FaultStore, Method, SharedStore, StoreAddress, StoreOptions, open,
};
use support::host::TestHost;
use support::proxy::{Proxy, Rule};
use support::seaweed::Seaweed;

async fn store(endpoint: &str, bucket: &str) -> SharedStore {
    let seaweed = Seaweed::start();
    let options = StoreOptions {
        endpoint: Some(endpoint.to_owned()),
        region: Some(seaweed.region.clone()),
        credentials: Some(Credentials {
            access_key: seaweed.access_key.clone().into(),
            secret_key: seaweed.secret_key.clone().into(),
            session_token: None,
        }),
        ..StoreOptions::default()
    };
    open(&format!("s3://{bucket}/some/prefix").parse().unwrap(), &options).await.unwrap()
}

fn around() -> Surroundings {
    Surroundings {
        clock: Arc::new(Timestamp::now),
        monitor: Arc::new(Silent),
        stop: Default::default(),
        lines: Default::default(),
    }
}

async fn probe(store: &SharedStore) -> Probed {
    let probed = try_all(Arc::clone(store), &around()).await.unwrap();
    let tried: Vec<Trial> = probed.findings.iter().map(|f| f.trial).collect();
    assert_eq!(tried, Trial::ALL, "each trial has its finding, once and in order");
    assert!(probed.findings.iter().all(|f| !f.said.is_empty()));
    probed
}

/// Fails unless exactly these trials did not hold, with these outcomes.
#[track_caller]
fn expect(probed: &Probed, others: &[(Trial, Outcome)]) {
    let not_holding = probed.findings.iter().filter(|f| f.outcome != Outcome::Holds);
    let seen: Vec<(Trial, Outcome)> = not_holding.map(|f| (f.trial, f.outcome)).collect();
    assert_eq!(seen, others, "{:#?}", probed.findings);
}

#[track_caller]
fn said(probed: &Probed, trial: Trial) -> &str {
    &probed.findings.iter().find(|f| f.trial == trial).unwrap().said
}

#[tokio::test]
async fn in_a_locking_bucket_locks_hold_against_a_credential_that_may_do_everything() {
    let store = store(&Seaweed::start().endpoint, &Seaweed::start().new_locking_bucket()).await;
    let probed = probe(&store).await;
    expect(
        &probed,
        &[
            (Trial::Delete, Outcome::Lacks),
            (Trial::DeleteVersions, Outcome::Lacks),
            // The tests' key may bypass governance.
            (Trial::Governance, Outcome::Lacks),
            (Trial::SetVersioning, Outcome::Lacks),
            (Trial::SetLifecycle, Outcome::Lacks),
            // What is locked for two minutes stays for the next probe.
            (Trial::CleanUp, Outcome::Lacks),
        ],
    );
    assert_eq!(probed.protection(), Protection::Locks);
    assert!(probed.creates_only());
    let left = store.kept("").await.unwrap();
    assert_eq!(left.versions.len(), 1, "only the locked version stays: {left:?}");
    assert!(left.versions[0].key.as_str().starts_with("probe/"));
}

#[tokio::test]
async fn a_bucket_with_versions_protects_only_from_a_credential_that_cannot_remove_them() {
    let bucket = Seaweed::start().new_bucket(true);
    let mighty = store(&Seaweed::start().endpoint, &bucket).await;
    let probed = probe(&mighty).await;
    expect(
        &probed,
        &[
            (Trial::Delete, Outcome::Lacks),
            (Trial::DeleteVersions, Outcome::Lacks),
            (Trial::Compliance, Outcome::Lacks),
            (Trial::Governance, Outcome::Lacks),
            (Trial::SetVersioning, Outcome::Lacks),
            (Trial::SetLifecycle, Outcome::Lacks),
        ],
    );
    assert_eq!(probed.protection(), Protection::None);
    assert_eq!(mighty.kept("").await.unwrap(), Default::default(), "nothing is left, no marker either");

    let proxy = Proxy::start(Rule::GuardVersions);
    let lesser = store(&proxy.endpoint, &bucket).await;
    let probed = probe(&lesser).await;
    for trial in [Trial::DeleteVersions, Trial::SetVersioning, Trial::SetLifecycle] {
        assert_eq!(probed.outcome(trial), Outcome::Holds, "{}", said(&probed, trial));
    }
    assert_eq!(probed.protection(), Protection::Versions);
    assert!(said(&probed, Trial::CleanUp).contains("left below probe/"), "{}", said(&probed, Trial::CleanUp));
    assert!(proxy.struck() > 3);
}

#[tokio::test]
async fn a_plain_bucket_is_not_protected_and_nothing_is_left_in_it() {
    let bucket = Seaweed::start().new_bucket(false);
    let store = store(&Seaweed::start().endpoint, &bucket).await;
    let probed = probe(&store).await;
    let others = [
        (Trial::Versions, Outcome::Lacks),
        (Trial::Markers, Outcome::Lacks),
        (Trial::Delete, Outcome::Lacks),
        (Trial::DeleteVersions, Outcome::NotTried),
        (Trial::Compliance, Outcome::Lacks),
        (Trial::Governance, Outcome::Lacks),
        (Trial::SetVersioning, Outcome::NotTried),
        (Trial::SetLifecycle, Outcome::NotTried),
    ];
    expect(&probed, &others);
    assert_eq!(probed.protection(), Protection::None);
    assert_eq!(probed.clock_skew_seconds.map(|s| s.abs() < 120), Some(true));
    assert_eq!(store.list("").await.unwrap(), []);
    Seaweed::start().remove_bucket(&bucket);
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out_by_racing() {
    // Not with versions: there SeaweedFS takes half a minute over a race that nobody loses.
    let bucket = Seaweed::start().new_bucket(false);
    let proxy = Proxy::start(Rule::IgnoreConditions);
    let probed = probe(&store(&proxy.endpoint, &bucket).await).await;
    for trial in [Trial::CreateOnly, Trial::Race, Trial::Swap] {
        assert_eq!(probed.outcome(trial), Outcome::Lacks, "{trial}: {}", said(&probed, trial));
    }
    assert!(said(&probed, Trial::Race).contains("16 were told"), "{}", said(&probed, Trial::Race));
    assert!(!probed.creates_only() && !probed.harms());
    assert!(proxy.struck() > 16);
}

#[tokio::test]
async fn a_store_that_takes_locks_and_does_not_keep_them_is_found_out_by_deleting() {
    let bucket = Seaweed::start().new_locking_bucket();
    let proxy = Proxy::start(Rule::IgnoreLocks);
    let probed = probe(&store(&proxy.endpoint, &bucket).await).await;
    assert_eq!(probed.outcome(Trial::Compliance), Outcome::Lacks);
    assert!(
        said(&probed, Trial::Compliance).contains("not enforced"),
        "{}",
        said(&probed, Trial::Compliance)
    );
    assert_eq!(probed.protection(), Protection::None);
}

#[tokio::test]
async fn a_credential_that_may_not_delete_is_good_and_leaves_what_it_made() {
    let bucket = Seaweed::start().new_bucket(false);
    let proxy = Proxy::start(Rule::NoDelete);
    let store = store(&proxy.endpoint, &bucket).await;
    let probed = probe(&store).await;
    assert_eq!(probed.outcome(Trial::Delete), Outcome::Holds, "{}", said(&probed, Trial::Delete));
    assert_eq!(probed.outcome(Trial::CleanUp), Outcome::Lacks);
    assert_eq!(probed.protection(), Protection::None, "a put still overwrites");
    assert!(!store.list("probe/").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_folder_takes_all_that_backups_need_and_protects_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let address = StoreAddress::File { folder: folder.path().to_owned() };
    let store = open(&address, &StoreOptions::default()).await.unwrap();
    let probed = probe(&store).await;
    assert!(probed.creates_only() && !probed.harms());
    assert_eq!(probed.protection(), Protection::None);
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_loses_or_turns_bytes_harms() {
    let cases = [
        (Method::Get, 1, Fault::Flip(1000), Trial::Bytes),
        (Method::Get, 1, Fault::Short(1000), Trial::Bytes),
        (Method::Put, 1, Fault::Lie, Trial::Bytes),
        (Method::List, 1, Fault::Lie, Trial::Listing),
    ];
    for (method, call, fault, trial) in cases {
        let folder = tempfile::tempdir().unwrap();
        let address = StoreAddress::File { folder: folder.path().to_owned() };
        let inner = open(&address, &StoreOptions::default()).await.unwrap();
        let store: SharedStore = Arc::new(FaultStore::new(inner).on(method, call, fault));
        let probed = probe(&store).await;
        assert_eq!(probed.outcome(trial), Outcome::Harms, "{method:?} {fault:?}: {}", said(&probed, trial));
        assert!(probed.harms());
    }
}

#[test]
fn the_verb_prints_its_findings_and_keeps_them() {
    let seaweed = Seaweed::start();
    let bucket = seaweed.new_bucket(false);
    let host = TestHost::with_bucket(&seaweed.endpoint, &bucket, &seaweed.access_key, &seaweed.secret_key);
    let planned = host.run(&["probe", "--dry-run"]).expect(0);
    assert!(planned.out.contains("race") && !host.path("state/probe.json").exists());
    let told = host.run(&["--json", "--quiet", "probe"]).expect(0).json();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["findings"].as_array().unwrap().len(), Trial::ALL.len());
    assert_eq!(told[0]["protection"], "none");
    let kept: Probed =
        serde_json::from_slice(&std::fs::read(host.path("state/probe.json")).unwrap()).unwrap();
    assert_eq!(kept.store, format!("s3://{bucket}/lifeboat"));
    assert!(kept.creates_only());
    let text = host.run(&["probe"]).expect(0).out;
    assert!(text.contains("exactly one won") && text.contains("Not protected"), "{text}");
}
