//! Anomalies on a living tenant: what looks wrong overnight is marked the same night, stops prune, and is told until an
//! operator accepts it.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use support::cli::shell;
use support::host::TestHost;
use support::tenant::TestTenant;

struct Scene {
    host: TestHost,
    tenant: TestTenant,
}

impl Scene {
    /// A tenant with a table of 400 rows and 30 files of text, after one night.
    fn start(name: &str) -> Scene {
        let tenant = TestTenant::start(name);
        tenant.create_sample();
        tenant.sql(&format!(
            "CREATE TABLE `{0}`.`tabLedger` (name INT PRIMARY KEY, note TEXT);
             INSERT INTO `{0}`.`tabLedger` SELECT seq, REPEAT('paid ', 20) FROM seq_1_to_400;",
            tenant.db_name()
        ));
        let host = TestHost::with_folder();
        host.add_tenant("t", &tenant);
        let scene = Scene { host, tenant };
        scene.files("seq 1 20000 | sed 's/$/ invoice/' >$f; echo $n >>$f");
        scene.host.init("here");
        scene.host.run(&["backup", "t"]).expect(0);
        scene
    }

    /// Runs a script for each of the files `$f`, whose number is `$n`.
    fn files(&self, script: &str) {
        let folder = format!("{}/private/files", self.tenant.site_path());
        let all =
            format!("mkdir -p '{folder}'; for n in $(seq 1 30); do f='{folder}'/$n.txt; {script}; done");
        shell(&self.tenant.container("app-double"), &all);
    }

    fn sql(&self, statement: &str) {
        self.tenant.sql(&statement.replace("LEDGER", &format!("`{}`.`tabLedger`", self.tenant.db_name())));
    }

    /// Returns the newest receipt's anomalies, as `component: word`.
    fn marked(&self) -> Vec<String> {
        let shown = self.host.run(&["snapshots", "t", "--json"]).expect(0).json();
        let newest = shown[0]["snapshots"].as_array().unwrap().last().unwrap()["snapshot"].as_str().unwrap();
        let receipt = self.host.path(&format!("store/tenants/t/snapshots/{newest}.json"));
        let receipt: serde_json::Value = serde_json::from_slice(&std::fs::read(receipt).unwrap()).unwrap();
        let of = |c: &serde_json::Value| {
            let words = c["anomalies"].as_array().cloned().unwrap_or_default();
            words
                .iter()
                .map(|w| format!("{}: {}", c["component"].as_str().unwrap(), w.as_str().unwrap()))
                .collect::<Vec<_>>()
        };
        receipt["components"].as_array().unwrap().iter().flat_map(of).collect()
    }
}

#[test]
fn rows_that_halve_overnight_mark_the_snapshot_and_stop_prune_until_somebody_accepts_them() {
    let scene = Scene::start("halved");
    scene.sql("INSERT INTO LEDGER SELECT seq, 'new' FROM seq_401_to_410; DELETE FROM LEDGER WHERE name < 4");
    scene.host.run(&["backup", "t"]).expect(0);
    assert_eq!(scene.marked(), [""; 0]);

    scene.sql("DELETE FROM LEDGER WHERE name % 2 = 0");
    let night = scene.host.run(&["backup", "t"]).expect(4);
    night.says(&[
        "is whole",
        "SUSPICIOUS: tabLedger has 203 rows where it had 407",
        "lifeboat accept t --reason",
    ]);
    assert_eq!(scene.marked(), ["database: rows"]);
    let status = scene.host.run(&["status"]).expect(4);
    status.says(&["looks wrong", "tabLedger has 203 rows where it had 407"]);
    let prune = scene.host.run(&["prune", "t", "--dry-run"]);
    prune.says(&["suspicious", "nothing goes until this is cleared up", "which looks wrong"]);
    scene.host.run(&["snapshots", "t"]).expect(0).says(&["whole, SUSPICIOUS"]);

    let shown = scene.host.run(&["snapshots", "t", "--json"]).expect(0).json();
    let before = shown[0]["snapshots"][1]["snapshot"].as_str().unwrap().to_owned();
    let diff = scene.host.run_unlocked(&["diff", "t", &before]).expect(0);
    diff.says(&["1 table with other rows", "tabLedger  407  203  -204", "0 changed"]);

    // It is told again the next night, held against the last night that looked right.
    scene.host.run(&["backup", "t"]).expect(4).says(&["tabLedger has 203 rows where it had 407"]);

    scene.host.run(&["accept", "t", "--reason", " "]).expect(2).says(&["needs a reason"]);
    let accepted = scene.host.run(&["accept", "t", "--reason", "even ones were archived"]).expect(0);
    accepted.says(&["is accepted: even ones were archived", "tabLedger has 203 rows"]);
    assert!(!scene.host.run(&["status"]).out.contains("looks wrong"));
    let prune = scene.host.run(&["prune", "t", "--dry-run"]).expect(0);
    prune.says(&["last before", "which looks wrong"]);
    scene.host.run(&["accept", "t", "--reason", "again"]).expect(1).says(&["nothing of t looks wrong"]);
    scene.host.run(&["backup", "t"]).expect(0);
    assert_eq!(scene.marked(), [""; 0]);
}

#[test]
fn files_that_turn_to_noise_overnight_are_flagged_the_same_night_and_so_are_files_that_are_gone() {
    let scene = Scene::start("noise");
    scene.files("[ $n != 7 ] || echo more >>$f");
    scene.host.run(&["backup", "t"]).expect(0);

    scene.files("head -c $(stat -c %s $f) /dev/urandom >$f");
    let night = scene.host.run(&["backup", "t"]).expect(4);
    night.says(&["files hold something else than before", "are new and do not compress, as they did before"]);
    assert_eq!(scene.marked(), ["files: files-changed", "files: incompressible"]);

    // The disk is put right: the night after is held against the one before the harm.
    scene.files("seq 1 20000 | sed 's/$/ invoice/' >$f; echo $n >>$f");
    scene.host.run(&["backup", "t"]).expect(0);

    scene.files("rm $f");
    scene.host.run(&["backup", "t"]).expect(4).says(&["files are gone"]);
}
