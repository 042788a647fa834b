//! `lifeboat benchmark`: every stage has its figure, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::host::TestHost;
use support::seaweed::Seaweed;

const LOCAL: [&str; 8] =
    ["chunk-rows", "chunk-files", "keyed-hash", "zstd-first", "zstd-later", "zstd-noise", "age", "spool"];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    let mut all: Vec<PathBuf> = entries.flat_map(|e| below(e.path())).collect();
    all.sort();
    all
}

/// Fails unless exactly these stages have positive figures, and one that takes part in a backup is the bottleneck.
#[track_caller]
fn complete(measured: &Value, stages: &[&str]) {
    let figures = measured["stages"].as_array().unwrap();
    let words: Vec<&str> = figures.iter().map(|f| f["stage"].as_str().unwrap()).collect();
    assert_eq!(words, stages);
    for f in figures {
        let positive = |key: &str| f[key].as_f64().unwrap() > 0.0;
        assert!(positive("one_mb_s") && positive("all_mb_s"), "{f}");
    }
    let slowest = &measured["bottleneck"];
    let named = figures.iter().find(|f| f["stage"] == slowest["stage"]).unwrap();
    let (its_own, alone) = (slowest["mb_s"].as_f64().unwrap(), named["first_backup_mb_s"].as_f64().unwrap());
    assert!(its_own > 0.0 && its_own <= alone, "{measured}");
    assert!(measured["sql_ratio"].as_f64().is_some_and(|r| r > 0.01 && r < 0.6), "{measured}");
}

#[test]
fn every_stage_is_measured_without_any_configuration() {
    let host = TestHost::with_folder();
    std::fs::remove_dir_all(host.path("etc")).unwrap();
    let said = host.run(&["benchmark", "--seconds", "1", "--json", "--quiet"]).expect(0).json();
    complete(&said[0], &LOCAL);
    assert_eq!(said[0]["store"], Value::Null);
    // A store cannot be measured that nobody has configured.
    host.run(&["benchmark", "--seconds", "1", "--store"]).expect(2);
}

#[test]
fn a_folder_is_as_before_and_the_table_names_the_bottleneck() {
    let host = TestHost::with_folder();
    host.init("elsewhere");
    let before = (files(&host.path("store")), files(&host.path("state")));
    let stages: Vec<&str> = LOCAL.into_iter().chain(["store-put", "store-get"]).collect();
    let said = host.run(&["benchmark", "--seconds", "1", "--store", "--json", "--quiet"]).expect(0).json();
    complete(&said[0], &stages);
    assert_eq!(said[0]["warnings"], serde_json::json!([]));
    let table = host.run(&["benchmark", "--seconds", "1", "--store"]).expect(0).out;
    for line in
        ["chunking, SQL", "keyed hash", "zstd, later", "age encryption", "store, get", "Bottleneck of"]
    {
        assert!(table.contains(line), "{line} is not in\n{table}");
    }
    assert_eq!(before, (files(&host.path("store")), files(&host.path("state"))));
}

#[test]
fn a_bucket_that_keeps_versions_is_as_before() {
    let seaweed = Seaweed::start();
    let bucket = seaweed.new_bucket(true);
    let host = TestHost::with_bucket(&seaweed.endpoint, &bucket, &seaweed.access_key, &seaweed.secret_key);
    let said = host.run(&["benchmark", "--seconds", "1", "--store", "--json", "--quiet"]).expect(0).json();
    assert_eq!(said[0]["warnings"], serde_json::json!([]));
    let client = seaweed.client();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let left = runtime.block_on(client.list_object_versions().bucket(&bucket).send()).unwrap();
    assert!(left.versions().is_empty() && left.delete_markers().is_empty(), "{left:?}");
}
