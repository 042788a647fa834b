//! Keys with the real binary: operators who come and go, the recovery kit's challenge, host keys, hand-over, epochs.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

#[path = "keys/erase.rs"]
mod erase;
#[path = "keys/identities.rs"]
mod identities;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::host::{Said, TestHost};

/// Somebody with an identity made by `age-keygen`.
struct Person {
    file: PathBuf,
    recipient: String,
}

fn person(host: &TestHost, name: &str) -> Person {
    let file = host.path(name);
    assert!(Command::new("age-keygen").arg("-o").arg(&file).output().unwrap().status.success());
    let said = Command::new("age-keygen").arg("-y").arg(&file).output().unwrap();
    Person { recipient: String::from_utf8(said.stdout).unwrap().trim().to_owned(), file }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A host of some tenants that are files on it, initialised; its kit is not confirmed.
fn host_of(tenants: &[&str]) -> TestHost {
    let host = TestHost::with_folder();
    for tenant in tenants {
        write_tenant(&host, tenant);
    }
    let kit = host.kit();
    host.run(&["init", "--non-interactive", "--kit", text(&kit), "--drills", "elsewhere"]).expect(0);
    host
}

fn write_tenant(host: &TestHost, tenant: &str) {
    let compose = host.path(&format!("{tenant}.yaml"));
    if !compose.exists() {
        fs::write(&compose, format!("# of {tenant}\n")).unwrap();
    }
    let text = format!("site = \"{tenant}.example.com\"\n[config]\ncompose = [{compose:?}]\n");
    host.write_tenant_file(tenant, &text);
}

/// A second host on the same store, with configuration and state of its own.
fn second_host(first: &TestHost, tenants: &[&str]) -> TestHost {
    host_named("h2", first, tenants)
}

fn host_named(name: &str, first: &TestHost, tenants: &[&str]) -> TestHost {
    let host = TestHost::with_folder();
    let url = format!("file://{}", first.path("store").display());
    let state = host.path("state");
    let toml = format!("host = \"{name}\"\nstate_dir = {state:?}\n\n[store]\nurl = {url:?}\n");
    fs::write(host.path("etc/lifeboat.toml"), toml).unwrap();
    tenants.iter().for_each(|t| write_tenant(&host, t));
    host
}

fn backup(host: &TestHost, tenant: &str) {
    host.run(&["backup", tenant]).expect(0);
}

fn snapshots(host: &TestHost, tenant: &str) -> Vec<Value> {
    let listed = host.run(&["snapshots", tenant, "--json"]).expect(0).json();
    listed[0]["snapshots"].as_array().unwrap().clone()
}

/// Whether an identity opens a snapshot, `n` counted from the oldest.
fn opens(host: &TestHost, tenant: &str, n: usize, identity: &Path) -> bool {
    let snapshot = snapshots(host, tenant)[n]["snapshot"].as_str().unwrap().to_owned();
    let said = host.run(&["show", tenant, &snapshot, "--identity", text(identity)]);
    match said.code {
        0 => true,
        12 => false,
        _ => panic!("{}\n{}", said.out, said.err),
    }
}

fn kit_verb(host: &TestHost, args: &[&str], kit: &Path) -> Said {
    let mut all = vec!["keys"];
    all.extend(args);
    all.extend(["--kit", text(kit)]);
    host.run(&all)
}

#[test]
fn no_backup_counts_as_protected_until_the_kit_was_read_again() {
    let host = host_of(&["byrne"]);
    backup(&host, "byrne");
    let said = host.run(&["status"]).expect(4);
    assert!(said.out.contains("not protected: kit never confirmed"), "{}", said.out);
    assert!(host.run(&["doctor"]).expect(4).out.contains("kit never confirmed"));

    // A kit of another repository, one with a key that was mistyped, and one that opens nothing of this one.
    let other = host_of(&["byrne"]);
    let said = kit_verb(&host, &["confirm"], &other.kit()).expect(12);
    assert!(said.err.contains("is that of repository"), "{}", said.err);
    let right = fs::read_to_string(host.kit()).unwrap();
    let forged = host.path("forged.txt");
    let secret = right.lines().find(|l| l.starts_with("AGE-SECRET-KEY-1")).unwrap();
    let stranger = fs::read_to_string(person(&host, "stranger.txt").file).unwrap();
    let strangers = stranger.lines().find(|l| l.starts_with("AGE-SECRET-KEY-1")).unwrap();
    fs::write(&forged, right.replace(secret, strangers)).unwrap();
    let said = kit_verb(&host, &["confirm"], &forged).expect(12);
    assert!(!said.err.contains(strangers), "a secret in an error");
    fs::write(&forged, right.replace(secret, &secret.replacen('Q', "P", 1))).unwrap();
    if right != fs::read_to_string(&forged).unwrap() {
        kit_verb(&host, &["confirm"], &forged).expect(12);
    }
    let root = right.lines().find(|l| l.starts_with("# root secret key: ")).unwrap();
    let others = fs::read_to_string(other.kit()).unwrap();
    let others = others.lines().find(|l| l.starts_with("# root secret key: ")).unwrap();
    fs::write(&forged, right.replace(root, others)).unwrap();
    kit_verb(&host, &["confirm"], &forged).expect(12);
    host.run(&["status"]).expect(4);

    let said = kit_verb(&host, &["confirm"], &host.kit()).expect(0);
    assert!(said.out.contains("1 vault among it") && said.out.contains("can certify hosts"), "{}", said.out);
    let said = host.run(&["status"]).expect(0);
    assert!(!said.out.contains("not protected"), "{}", said.out);
    assert!(!host.run(&["doctor"]).out.contains("kit never confirmed"));
}

#[test]
fn a_kit_without_an_identity_is_confirmed_with_that_of_an_operator() {
    let host = TestHost::with_folder();
    write_tenant(&host, "byrne");
    let own = person(&host, "own.txt");
    let kit = host.kit();
    let init = ["init", "--non-interactive", "--kit", text(&kit), "--drills", "elsewhere", "--operator"];
    host.run(&[&init[..], &[&own.recipient]].concat()).expect(0);
    let said = kit_verb(&host, &["confirm"], &kit).expect(12);
    assert!(said.err.contains("--identity"), "{}", said.err);
    let stranger = person(&host, "stranger.txt");
    host.run(&["keys", "confirm", "--kit", text(&kit), "--identity", text(&stranger.file)]).expect(12);
    host.run(&["keys", "confirm", "--kit", text(&kit), "--identity", text(&own.file)]).expect(0);
}

#[test]
fn a_new_operator_opens_old_snapshots_and_new_ones() {
    let host = host_of(&["byrne", "dickinson"]);
    backup(&host, "byrne");
    let second = person(&host, "second.txt");
    let add =
        |extra: &[&str]| host.run_unlocked(&[&["keys", "add-operator", &second.recipient], extra].concat());

    let plan = add(&["--dry-run", "--json"]).expect(0).json();
    assert_eq!(plan[0]["planned"], true);
    assert!(!opens(&host, "byrne", 0, &second.file), "a plan changes nothing");

    add(&[]).expect(0);
    backup(&host, "byrne");
    backup(&host, "dickinson");
    for (tenant, n) in [("byrne", 0), ("byrne", 1), ("dickinson", 0)] {
        assert!(opens(&host, tenant, n, &second.file) && opens(&host, tenant, n, &host.kit()));
    }
    let again = add(&["--json"]).expect(0).json();
    assert!(again[0]["tenants"].as_array().unwrap().iter().all(|t| t["wrapped"] == serde_json::json!([])));
    let listed = host.run(&["keys", "list"]).expect(0).out;
    assert!(listed.contains(&second.recipient), "{listed}");
}

#[test]
fn an_operator_who_was_removed_opens_what_was_before_and_nothing_that_comes_after() {
    let host = host_of(&["byrne"]);
    let second = person(&host, "second.txt");
    host.run_unlocked(&["keys", "add-operator", &second.recipient]).expect(0);
    backup(&host, "byrne");

    let leaving = ["keys", "remove-operator", &second.recipient];
    let said = host.run(&[&leaving[..], &["--identity", text(&second.file)]].concat()).expect(12);
    assert!(
        said.err.contains("not that of an operator"),
        "the leaver's own identity proves nothing: {}",
        said.err
    );
    let said = host.run_unlocked(&leaving).expect(0);
    assert!(said.out.contains("stay open to whoever could read them"), "{}", said.out);
    backup(&host, "byrne");
    assert!(opens(&host, "byrne", 0, &second.file) && opens(&host, "byrne", 0, &host.kit()));
    assert!(!opens(&host, "byrne", 1, &second.file) && opens(&host, "byrne", 1, &host.kit()));
    let doctor = host.run(&["doctor"]).out;
    assert!(doctor.contains("still opens 1 older snapshot,"), "{doctor}");

    // A night after a removal that died half-way: the vault in force still opens for somebody who was removed.
    let third = person(&host, "third.txt");
    host.run_unlocked(&["keys", "add-operator", &third.recipient]).expect(0);
    let file = host.path("state/repository.json");
    let mut members: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    members["operators"].as_array_mut().unwrap().retain(|o| *o != third.recipient.as_str());
    members["removed"].as_array_mut().unwrap().push(third.recipient.clone().into());
    fs::write(&file, members.to_string()).unwrap();
    backup(&host, "byrne");
    assert!(!opens(&host, "byrne", 2, &third.file) && opens(&host, "byrne", 2, &host.kit()));
}

#[test]
fn what_cannot_be_is_refused_with_the_way_out() {
    let host = host_of(&["byrne"]);
    backup(&host, "byrne");
    let (second, stranger) = (person(&host, "second.txt"), person(&host, "stranger.txt"));
    let founder = fs::read_to_string(host.path("state/repository.json")).unwrap();
    let founder: Value = serde_json::from_str(&founder).unwrap();
    let founder = founder["operators"][0].as_str().unwrap();

    let said = host.run_unlocked(&["keys", "remove-operator", founder]).expect(1);
    assert!(said.err.contains("add-operator"), "the last one stays: {}", said.err);
    let said = host.run_unlocked(&["keys", "remove-operator", &stranger.recipient]).expect(1);
    assert!(said.err.contains("not an operator"), "{}", said.err);
    host.run(&["keys", "add-operator", &second.recipient]).expect(12);
    host.run_unlocked(&["keys", "add-operator", "age1nonsense"]).expect(2);
    let secret = fs::read_to_string(&second.file).unwrap();
    let secret = secret.lines().last().unwrap();
    let said = host.run_unlocked(&["keys", "add-operator", secret]).expect(2);
    assert!(!said.err.contains(secret), "a secret in an error");

    // An identity that opens nothing: nothing stored changes, the vault is named, exit 3; the next run mends it.
    let add = ["keys", "add-operator", &second.recipient];
    let said = host.run(&[&add[..], &["--identity", text(&stranger.file)]].concat()).expect(3);
    assert!(said.out.contains("do not open"), "{}", said.out);
    assert!(!opens(&host, "byrne", 0, &second.file));
    host.run_unlocked(&add).expect(0);
    assert!(opens(&host, "byrne", 0, &second.file));
}

#[test]
fn an_intruders_wrap_opens_nothing_and_passes_for_nobodys() {
    let host = host_of(&["byrne"]);
    backup(&host, "byrne");
    let second = person(&host, "second.txt");
    let keys = host.path("store/tenants/byrne/keys");
    let vault = fs::read_dir(&keys).unwrap().next().unwrap().unwrap().path();

    // Sealed to the operators, with a key of the intruder's own, claiming to be sealed to the newcomer as well.
    let list = host.run(&["keys", "list", "--json"]).expect(0).json();
    let founder = list[0]["operators"][0].as_str().unwrap().to_owned();
    let intruder = fs::read_to_string(person(&host, "intruder.txt").file).unwrap();
    let claim = format!("{intruder}# sealed to: {founder}\n# sealed to: {}\n", second.recipient);
    let plain = host.path("claim.txt");
    fs::write(&plain, claim).unwrap();
    let sealed = Command::new("age").args(["-r", &founder]).arg(&plain).output().unwrap().stdout;
    let name = lifeboat::id::Sha256::of(&sealed);
    fs::write(vault.join(format!("{name}.age")), &sealed).unwrap();

    host.run_unlocked(&["keys", "add-operator", &second.recipient]).expect(0);
    assert!(opens(&host, "byrne", 0, &second.file), "the intruder's wrap was taken for a real one");
    assert!(opens(&host, "byrne", 0, &host.kit()));
    let doctor = host.run(&["doctor"]).out;
    assert!(doctor.contains("has 1 wrap not made here"), "{doctor}");
}

#[test]
fn a_new_host_key_signs_and_the_old_one_signs_no_more() {
    let host = host_of(&["byrne"]);
    backup(&host, "byrne");
    let stolen = fs::read(host.path("state/keys/host.key")).unwrap();

    let other = host_of(&["byrne"]);
    kit_verb(&host, &["rotate-host"], &other.kit()).expect(12);
    let said = kit_verb(&host, &["rotate-host", "--dry-run"], &host.kit()).expect(0);
    assert!(said.out.contains("Nothing is changed"), "{}", said.out);
    assert_eq!(fs::read(host.path("state/keys/host.key")).unwrap(), stolen);

    let said = kit_verb(&host, &["rotate-host"], &host.kit()).expect(0);
    assert!(said.out.contains("byrne: receipts up to 1"), "{}", said.out);
    assert_ne!(fs::read(host.path("state/keys/host.key")).unwrap(), stolen);
    backup(&host, "byrne");
    assert_eq!(snapshots(&host, "byrne").len(), 2, "what was signed before still counts");
    host.run(&["check", "byrne"]).expect(0);

    // Whoever has the old key cannot write with it.
    fs::write(host.path("state/keys/host.key"), stolen).unwrap();
    host.run(&["backup", "byrne"]).expect(1);
    assert_eq!(snapshots(&host, "byrne").len(), 2);
}

#[test]
fn a_tenant_is_written_by_one_host_until_it_is_handed_over() {
    let h1 = host_of(&["byrne", "dickinson"]);
    backup(&h1, "byrne");
    let h2 = second_host(&h1, &["byrne"]);
    let said = kit_verb(&h2, &["certify"], &h1.kit()).expect(0);
    assert!(said.out.contains("left out: host h1 writes for tenant byrne"), "{}", said.out);
    let said = h2.run(&["backup", "byrne"]).expect(1);
    assert!(
        said.err.contains("does not allow") || said.out.contains("does not allow"),
        "{} {}",
        said.out,
        said.err
    );

    let said = kit_verb(&h1, &["hand-over", "byrne", "--to", "h3"], &h1.kit()).expect(1);
    assert!(said.err.contains("certify"), "{}", said.err);
    let said = kit_verb(&h1, &["hand-over", "byrne", "--to", "h2", "--dry-run"], &h1.kit()).expect(0);
    assert!(said.out.contains("Nothing is changed"), "{}", said.out);
    backup(&h1, "byrne");

    // A machine that only prunes takes no tenant over, and keeps the ones it prunes.
    let p1 = host_named("p1", &h1, &["byrne"]);
    kit_verb(&p1, &["certify", "--role", "prune"], &h1.kit()).expect(0);
    let said = kit_verb(&h1, &["hand-over", "byrne", "--to", "p1"], &h1.kit()).expect(1);
    assert!(said.err.contains("not certified to back up"), "{}", said.err);

    kit_verb(&h1, &["hand-over", "byrne", "--to", "h2"], &h1.kit()).expect(0);
    backup(&h2, "byrne");
    p1.run(&["prune", "byrne", "--yes"]).expect(0);
    h1.run(&["backup", "byrne"]).expect(1);
    backup(&h1, "dickinson");
    let hosts: Vec<Value> = snapshots(&h2, "byrne").iter().map(|s| s["host"].clone()).collect();
    assert_eq!(hosts, ["h1", "h1", "h2"], "one chain");
    h2.run(&["check", "byrne"]).expect(0);
    assert!(opens(&h2, "byrne", 2, &h1.kit()));

    // Back again: under the key it had its receipts end; a new one may.
    let back = ["hand-over", "byrne", "--to", "h1"];
    let said = kit_verb(&h2, &back, &h1.kit()).expect(1);
    assert!(said.err.contains("rotate-host"), "{}", said.err);
    kit_verb(&h1, &["rotate-host"], &h1.kit()).expect(0);
    kit_verb(&h2, &back, &h1.kit()).expect(0);
    backup(&h1, "byrne");
    h2.run(&["backup", "byrne"]).expect(1);
    h1.run(&["check"]).expect(0);
}

#[test]
fn a_host_that_was_ended_from_elsewhere_writes_no_more() {
    let h1 = host_of(&["byrne"]);
    backup(&h1, "byrne");
    let h2 = second_host(&h1, &["byrne"]);
    kit_verb(&h2, &["certify"], &h1.kit()).expect(0);
    kit_verb(&h2, &["end-host", "h9"], &h1.kit()).expect(1);
    let said = kit_verb(&h2, &["end-host", "h1"], &h1.kit()).expect(0);
    assert!(said.out.contains("nobody backs byrne up now"), "{}", said.out);
    h1.run(&["backup", "byrne"]).expect(1);
    kit_verb(&h2, &["hand-over", "byrne", "--to", "h2"], &h1.kit()).expect(0);
    backup(&h2, "byrne");
    assert_eq!(snapshots(&h2, "byrne").len(), 2);
    kit_verb(&h2, &["end-host", "h1"], &h1.kit()).expect(1);
}

#[test]
fn after_a_new_epoch_what_a_stolen_key_signed_counts_no_more_and_nothing_old_is_used() {
    let host = host_of(&["byrne"]);
    kit_verb(&host, &["confirm"], &host.kit()).expect(0);
    backup(&host, "byrne");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let point = jiff::Timestamp::now().to_string();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    backup(&host, "byrne");
    let before = |name: &str| fs::read(host.path("state/keys").join(name)).unwrap();
    let (key, dedup) = (before("host.key"), before("dedup-byrne.key"));
    let packs = |host: &TestHost| fs::read_dir(host.path("store/tenants/byrne/packs")).unwrap().count();
    let stored = packs(&host);

    let epoch = ["new-epoch", "--distrust-since", &point];
    let said = kit_verb(&host, &[&epoch[..], &["--dry-run"]].concat(), &host.kit()).expect(0);
    assert!(said.out.contains("byrne: receipts up to 1"), "{}", said.out);
    assert_eq!(snapshots(&host, "byrne").len(), 2);

    kit_verb(&host, &epoch, &host.kit()).expect(0);
    assert_eq!(snapshots(&host, "byrne").len(), 1, "what came after the point does not count");
    backup(&host, "byrne");
    let listed = snapshots(&host, "byrne");
    assert_eq!(listed.last().unwrap()["sequence"], 2);
    assert!(packs(&host) > stored, "no older pack is reused");
    assert!(before("host.key") != key && before("dedup-byrne.key") != dedup);
    assert!(opens(&host, "byrne", 0, &host.kit()) && opens(&host, "byrne", 1, &host.kit()));
    // The operators signed that the distrusted receipt counts for nothing: it is told and alarms nobody.
    let said = host.run(&["status"]).expect(0);
    assert!(said.out.contains("comes after the end of host h1's key"), "{}", said.out);
    host.run(&["check", "byrne"]).expect(0);
}

#[test]
fn an_epoch_that_died_half_way_is_finished_by_the_next_run() {
    let host = host_of(&["byrne", "dickinson"]);
    backup(&host, "byrne");
    backup(&host, "dickinson");
    let dedup = fs::read(host.path("state/keys/dedup-dickinson.key")).unwrap();
    // As a run leaves it that died behind the host's key and the first tenant.
    kit_verb(&host, &["rotate-host"], &host.kit()).expect(0);
    let pending =
        r#"{"distrust_since":null,"drill_identity":false,"host_key":false,"tenants":["dickinson"]}"#;
    fs::write(host.path("state/epoch.json"), pending).unwrap();
    let key = fs::read(host.path("state/keys/host.key")).unwrap();
    kit_verb(&host, &["new-epoch"], &host.kit()).expect(0);
    assert_eq!(fs::read(host.path("state/keys/host.key")).unwrap(), key);
    assert_ne!(fs::read(host.path("state/keys/dedup-dickinson.key")).unwrap(), dedup);
    assert!(!host.path("state/epoch.json").exists());
    backup(&host, "dickinson");
}
