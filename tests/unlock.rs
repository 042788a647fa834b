//! `unlock`: a lost cache made again, and drills that wait for an operator.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;
use std::sync::Arc;

use lifeboat::config::Config;
use lifeboat::service::unlocked::{Door, Unlocked};
use lifeboat::service::verbs::Verbs;
use lifeboat::service::{Clock, JobKind, Journal, Outcome, Patience, Service};
use support::clock::{HandClock, soon};
use support::host::TestHost;
use tokio::sync::oneshot;

/// A host with a tenant `t` of files alone, drilled on Sundays, whose drills wait for an operator.
struct Scene {
    host: TestHost,
    sites: tempfile::TempDir,
}

impl Scene {
    fn start(drills: &str) -> Scene {
        let scene = Scene { host: TestHost::with_folder(), sites: tempfile::tempdir().unwrap() };
        let site = scene.sites.path().join("site");
        fs::create_dir(&site).unwrap();
        fs::write(site.join("site_config.json"), "{}").unwrap();
        fs::write(site.join("noise"), support::repository::noise(7, 3_000_000)).unwrap();
        let text = format!(
            "site = \"site\"\npolicy = \"weekly-drill\"\n[files]\npath = \"{}\"\n",
            scene.sites.path().display()
        );
        scene.host.write_tenant_file("t", &text);
        fs::create_dir_all(scene.host.path("etc/policies")).unwrap();
        let policy =
            "[schedule]\nat = \"02:00\"\ntimezone = \"UTC\"\n[drill]\nat = \"04:00\"\ndays = [\"sun\"]\n";
        fs::write(scene.host.path("etc/policies/weekly-drill.toml"), policy).unwrap();
        scene.host.init(drills);
        scene
    }

    fn drills(&self) -> Vec<Outcome> {
        let peek = Journal::peek(&self.host.path("state")).unwrap();
        peek.runs.of(&"t".parse().unwrap(), JobKind::Drill).filter_map(|r| r.outcome).collect()
    }
}

#[test]
fn a_lost_cache_is_made_again_so_that_the_next_night_uploads_only_what_is_new() {
    let scene = Scene::start("unlocked");
    let host = &scene.host;
    host.run(&["backup", "t"]).expect(0);
    let packs = host.bytes_below("store/tenants/t/packs");
    let said = host.run_unlocked(&["unlock", "t"]).expect(0);
    assert!(!said.out.contains("cache"), "{}", said.out);

    fs::remove_dir_all(host.path("state/tenants/t/cache")).unwrap();
    let said = host.run_unlocked(&["unlock", "t"]).expect(0);
    assert!(said.out.contains("its cache was lost and is made again"), "{}", said.out);
    assert!(said.out.contains("no service on this host was given its key"), "{}", said.out);
    // What was not read again is not uploaded again: the index of files goes too.
    fs::remove_file(host.path("state/tenants/t/files.index")).unwrap();
    host.run(&["backup", "t"]).expect(0);
    let added = host.bytes_below("store/tenants/t/packs") - packs;
    assert!(added < 10_000, "{added} bytes were added");
    host.run_unlocked(&["check", "--read-data"]).expect(0);

    // A journal that cannot be believed costs the same.
    let journal = fs::read_dir(host.path("state/tenants/t/cache")).unwrap();
    for file in journal.map(|e| e.unwrap().path()).filter(|p| !p.ends_with("lock")) {
        fs::write(file, b"not a journal").unwrap();
    }
    let said = host.run_unlocked(&["unlock", "t", "--json"]).expect(0).json();
    assert_eq!(said[0]["cache"], "made-again", "{said:?}");

    // A pack that is not what was written is not believed, and the cache stays as it was: lost.
    fs::remove_dir_all(host.path("state/tenants/t/cache")).unwrap();
    let pack = fs::read_dir(host.path("store/tenants/t/packs")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&pack).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&pack, flipped).unwrap();
    host.run_unlocked(&["unlock", "t"]).expect(4);
    fs::write(&pack, whole).unwrap();
    let said = host.run_unlocked(&["unlock", "t"]).expect(0);
    assert!(said.out.contains("is made again"), "{}", said.out);
}

#[test]
fn what_is_asked_wrongly_lends_nothing() {
    let scene = Scene::start("unlocked");
    let host = &scene.host;
    host.run(&["backup", "t"]).expect(0);
    assert!(host.run(&["unlock", "t"]).expect(12).err.contains("--identity FILE"));
    assert!(host.run_unlocked(&["unlock", "t", "--for", "16m"]).expect(2).err.contains("15m"));
    host.run_unlocked(&["unlock", "t", "nobody"]).expect(2);
    let said = host.run(&["unlock", "t", "--end"]).expect(0);
    assert!(said.out.contains("no service runs on this host"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_drills_run_elsewhere_no_key_is_lent() {
    let scene = Scene::start("elsewhere");
    let host = &scene.host;
    host.run(&["backup", "t"]).expect(0);
    let clock = HandClock::new("2026-05-09T12:00:00Z");
    let unlocked = Arc::new(Unlocked::default());
    let door = Door::open(&host.path("state"), unlocked.clone()).unwrap();
    let door = tokio::spawn(door.serve(clock.clone(), std::future::pending()));
    let said = tokio::task::block_in_place(|| host.run_unlocked(&["unlock", "t"]).expect(0));
    assert!(said.out.contains("no service on this host was given its key"), "{}", said.out);
    assert!(unlocked.get(&"t".parse().unwrap(), clock.now()).is_none());
    assert!(!host.path("state/unlocks.jsonl").exists());
    door.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_that_waits_for_an_operator_runs_once_one_has_unlocked_the_tenant() {
    let scene = Scene::start("unlocked");
    let host = &scene.host;
    host.run(&["backup", "t"]).expect(0);

    let clock = HandClock::new("2026-05-09T12:00:00Z");
    let config = Arc::new(Config::load(&host.path("etc")).unwrap());
    let verbs = Arc::new(Verbs::new(config.clone(), clock.clone()));
    let service = Service::open(config, clock.clone(), verbs.clone(), Patience::default()).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let door = Door::open(&host.path("state"), verbs.unlocked()).unwrap();
    let door = tokio::spawn(door.serve(clock.clone(), std::future::pending()));
    let task = tokio::spawn(service.run(async move {
        stopped.await.ok();
    }));
    let until = |wanted: Vec<Outcome>| {
        let scene = &scene;
        soon(async move {
            while scene.drills() != wanted {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
    };
    clock.set("2026-05-10T04:00:00Z");
    until(vec![Outcome::NotRun]).await;

    let said = tokio::task::block_in_place(|| host.run_unlocked(&["unlock", "t", "--for", "10m"]).expect(0));
    assert!(said.out.contains("the service has its key until 04:10:00 UTC"), "{}", said.out);
    let audit = fs::read_to_string(host.path("state/unlocks.jsonl")).unwrap();
    assert!(audit.contains("\"tenant\":\"t\"") && !audit.contains("AGE-SECRET"), "{audit}");
    clock.set("2026-05-10T04:01:00Z");
    until(vec![Outcome::NotRun, Outcome::Good]).await;

    // Taken back, the next one waits again.
    let said = tokio::task::block_in_place(|| host.run(&["unlock", "t", "--end"]).expect(0));
    assert!(said.out.contains("the service has no key of it any more"), "{}", said.out);
    clock.set("2026-05-17T04:00:00Z");
    until(vec![Outcome::NotRun, Outcome::Good, Outcome::NotRun]).await;
    stop.send(()).unwrap();
    soon(task).await.unwrap().unwrap();
    door.abort();
    verbs.finish().await;
}
