//! How many requests of the store a night costs, and a look at a fleet. What each verb asked stands in a failure's message.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, in the functions it calls too, and shows its figures"
)]

#[path = "requests/fleet.rs"]
mod fleet;
mod support;

use std::sync::Arc;

use lifeboat::config::Config;
use lifeboat::monitor::Silent;
use lifeboat::ops::appliance::{Appliance, Surroundings};
use lifeboat::ops::backup::{self, Request};
use lifeboat::repo::receipt::Trigger;
use lifeboat::store::{LocalStore, Retry, RetryPolicy, Timeouts};
use support::counting::{Counting, Tally, kind};
use support::host::TestHost;
use support::proxy::{Proxy, Rule};
use support::seaweed::Seaweed;
use support::tenant::TestTenant;

/// What a night without change may ask, renewals of locks apart.
const MOST: usize = 12;

/// A real clock and nobody who listens.
fn around() -> Surroundings {
    Surroundings {
        clock: Arc::new(jiff::Timestamp::now),
        monitor: Arc::new(Silent),
        stop: Default::default(),
        lines: Default::default(),
    }
}

fn requests(tally: &Tally) -> usize {
    tally.values().sum()
}

#[track_caller]
fn within(tally: &Tally, most: usize) {
    println!("{}: {tally:#?}", requests(tally));
    assert!(requests(tally) <= most, "{} requests: {tally:#?}", requests(tally));
}

/// A host with one backup of a tenant `t`, whose files lie in the folder that comes with it.
fn with_files() -> (TestHost, tempfile::TempDir) {
    let host = TestHost::with_folder();
    let sites = tempfile::tempdir().unwrap();
    std::fs::create_dir(sites.path().join("s")).unwrap();
    std::fs::write(sites.path().join("s/site_config.json"), "{}").unwrap();
    let text = format!("site = \"s\"\n[files]\npath = \"{}\"\n", sites.path().display());
    host.write_tenant_file("t", &text);
    host.init("elsewhere");
    host.run(&["backup", "t"]).expect(0);
    (host, sites)
}

#[test]
fn what_no_listing_shows_is_found_by_a_check_though_a_look_recalls_it() {
    let (host, _sites) = with_files();
    let said = host.run(&["snapshots", "t", "--json"]).expect(0).json();
    let id = said[0]["snapshots"][0]["snapshot"].as_str().unwrap().to_owned();
    host.run(&["check", "t"]).expect(0);
    // As a disk does: other bytes, the same length and time.
    let file = host.path(&format!("store/tenants/t/snapshots/{id}.json"));
    let time = std::fs::metadata(&file).unwrap().modified().unwrap();
    support::repository::damage(&file);
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    host.run(&["check", "t"]).expect(4).says(&[&id]);
    // One that a listing shows is told at a look.
    support::repository::damage(&file);
    host.run(&["check", "t"]).expect(0);
    std::fs::write(&file, "{}").unwrap();
    let said = host.run(&["snapshots", "t", "--json"]).json();
    assert_eq!(said[0]["snapshots"], serde_json::json!([]));
    assert!(said[0]["faults"][0].as_str().unwrap().contains(&id), "{said:?}");
}

#[tokio::test]
async fn a_night_without_change_asks_a_folder_nine_times() {
    let (host, _sites) = with_files();
    let folder = LocalStore::open(&host.path("store"), Timeouts::default(), false).await.unwrap();
    let store = Counting::new(Arc::new(folder));
    let config = Config::load(&host.path("etc")).unwrap();
    let retry = Arc::new(Retry::new(store.clone(), RetryPolicy::default()));
    let appliance = Appliance::open_on(retry, config, around()).await.unwrap();
    let request = Request {
        tenant: "t".parse().unwrap(),
        trigger: Trigger::Scheduled,
        label: None,
        pinned_until: None,
    };
    let backed = backup::backup(&appliance, &request).await.unwrap();
    assert_eq!((backed.sequence, backed.warnings), (2, vec![]));
    within(&store.take(), 9);
}

#[test]
fn a_night_without_change_of_a_whole_tenant_asks_a_bucket_at_most_twelve_times_with_its_lease() {
    let tenant = TestTenant::start("requests");
    tenant.create_sample();
    for versioned in [false, true] {
        let seaweed = Seaweed::start();
        let (bucket, proxy) = (seaweed.new_bucket(versioned), Proxy::start(Rule::None));
        let host = TestHost::with_bucket(&proxy.endpoint, &bucket, &seaweed.access_key, &seaweed.secret_key);
        host.add_tenant("t", &tenant);
        host.init("elsewhere");
        for _ in 0..2 {
            host.run(&["backup", "t"]).expect(0);
            proxy.take_heard();
        }
        let said = host.run(&["backup", "t", "--json"]).expect(0);
        let mut tally = Tally::new();
        for line in proxy.take_heard() {
            let (method, key) = line.split_once(' ').unwrap();
            let below = key.strip_prefix(&format!("{bucket}/lifeboat/")).unwrap_or(key);
            *tally.entry(format!("{method} {}", kind(below))).or_default() += 1;
        }
        within(&tally, MOST);
        assert_eq!(tally.get("put T/lease.json"), Some(&2), "taken and given back: {tally:#?}");
        assert_eq!(tally.get("put T/snapshots/*.json"), Some(&1), "{}", said.out);
        for verb in ["snapshots", "status"] {
            host.run(&[verb]);
            proxy.take_heard();
            host.run(&[verb]);
            let heard = proxy.take_heard();
            assert_eq!(heard.len(), 2 + 3, "{verb}: {heard:#?}");
        }
    }
}
