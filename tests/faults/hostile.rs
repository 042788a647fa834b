//! A snapshot that leads out of its folder, written by somebody who has the host's keys: the real binary refuses it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat::config::Config;
use lifeboat::id::{ComponentName, SnapshotId};
use lifeboat::monitor::Silent;
use lifeboat::ops::appliance::{Appliance, Surroundings, read_identities};
use lifeboat::ops::restore::{self, Opened};
use lifeboat::ops::snapshots::{Which, history};
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::receipt::Trigger;
use lifeboat::repo::snapshot::{SnapshotOptions, SnapshotWriter};
use lifeboat::repo::writer::SpoolOptions;
use tokio::io::AsyncReadExt;

use crate::scene::Scene;
use crate::support::cli::{left_behind, shell};
use crate::support::host::TestHost;

/// A path of the sample, and one of the same length that leads out of the site's folder.
const PATHS: [&str; 2] = ["public/files/logo.svg", "public/../../../evil1"];

#[test]
fn a_tar_entry_that_leads_outside_is_refused_and_nothing_is_written() {
    let name = format!("hostile-{}", std::process::id());
    let scene = Scene::prepare("hostile", &name, TestHost::with_folder());
    scene.enter();
    let bench = scene.tenant.get("bench").to_owned();
    let before = everything(&scene, &bench);
    for list_too in [false, true] {
        let snapshot = forge(&scene, list_too);
        let restore =
            ["restore", &name, "--snapshot", &snapshot, "--only", "files", "--yes-overwrite", &name];
        let said = scene.host.run_unlocked(&restore).expect(4).clean(&scene.tenant);
        said.says(&[&format!("restore of {name}"), PATHS[1], "what was there before is as it was"]);
        let said = scene.host.run(&["drill", &name, "--snapshot", &snapshot]).expect(4).clean(&scene.tenant);
        said.says(&["is NOT proven", "files", PATHS[1]]);
        assert_eq!(everything(&scene, &bench), before, "nothing is written, inside or outside");
        assert_eq!(left_behind(&format!("drill-{name}")), Vec::<String>::new());
    }
}

/// Returns all names below the bench's folder, outside of the site too.
fn everything(scene: &Scene, bench: &str) -> String {
    shell(&scene.tenant.container("app-double"), &format!("find {bench} /home | sort"))
}

/// Writes a snapshot whose site folder has an entry under another path, in the tar or in the list too.
fn forge(scene: &Scene, list_too: bool) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock: lifeboat::ops::appliance::Clock = Arc::new(Timestamp::now);
        let around = Surroundings {
            clock,
            monitor: Arc::new(Silent),
            stop: Default::default(),
            lines: Default::default(),
        };
        let config = Config::load(&scene.host.path("etc")).unwrap_or_else(|e| panic!("{e:?}"));
        let appliance = Appliance::open(config, around).await.unwrap();
        let tenant = scene.name.parse().unwrap();
        let good: Which = scene.snapshots()[0].0.parse().unwrap();
        let identities = read_identities(&scene.host.kit()).unwrap();
        let opened = restore::open(&appliance, &tenant, &good, &identities).await.unwrap();
        let tar = renamed_in_tar(read(&opened, "tar").await);
        let mut list = String::from_utf8(read(&opened, "list").await).unwrap();
        if list_too {
            assert!(list.contains(PATHS[0]));
            list = list.replace(PATHS[0], PATHS[1]);
        }
        let record = opened.reader.component(ComponentName::Files).unwrap().record.clone();

        let folder = tempfile::tempdir().unwrap();
        let snapshot = SnapshotId::new(Timestamp::now(), rand::random());
        let writer = SnapshotWriter::begin(SnapshotOptions {
            repo: appliance.repo.clone(),
            trust: Arc::new(appliance.trust.clone()),
            tenant: tenant.clone(),
            vault: appliance.vault(&tenant).unwrap().unwrap(),
            host: appliance.config.machine.host.clone(),
            signer: Arc::new(appliance.host_key().unwrap()),
            dedup_key: appliance.dedup_key(&tenant).unwrap(),
            snapshot: snapshot.clone(),
            started: Timestamp::now(),
            trigger: Trigger::Manual,
            label: None,
            pinned_until: None,
            predecessor: history(&appliance, &tenant).await.unwrap().head(),
            damaged: Default::default(),
            cache_folder: folder.path().join("cache"),
            spool: SpoolOptions {
                folder: folder.path().join("spool"),
                limit_bytes: 256 << 20,
                patience: Duration::from_secs(60),
                uploads: 2,
            },
            fresh: false,
            monitor: Arc::new(Silent),
        });
        let writer = writer.await.unwrap();
        let mut component = writer.component(ComponentName::Files);
        for (stream, grain, bytes) in [("tar", Grain::Files, tar), ("list", Grain::Rows, list.into_bytes())] {
            let mut stream = component.stream(stream, grain, None).unwrap();
            stream.write(bytes.into()).await.unwrap();
            component.add(stream.finish().await.unwrap());
        }
        component.whole(record);
        writer.commit(Timestamp::now()).await.unwrap();
        snapshot.to_string()
    })
}

async fn read(opened: &Opened, stream: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    opened.reader.stream(ComponentName::Files, stream).unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Gives an entry another name, and its header the checksum that goes with it.
fn renamed_in_tar(mut tar: Vec<u8>) -> Vec<u8> {
    let named = |header: &[u8]| header.starts_with(PATHS[0].as_bytes()) && header[PATHS[0].len()] == 0;
    let at = (0..tar.len()).step_by(512).find(|&at| named(&tar[at..])).unwrap();
    tar[at..at + PATHS[1].len()].copy_from_slice(PATHS[1].as_bytes());
    let mut header = tar::Header::from_byte_slice(&tar[at..at + 512]).clone();
    header.set_cksum();
    tar[at..at + 512].copy_from_slice(header.as_bytes());
    tar
}
