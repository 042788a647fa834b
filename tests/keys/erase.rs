//! Erasing a tenant: what goes, what is refused, what the signed statement says.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{backup, host_of, kit_verb, person, second_host, snapshots, text};

#[test]
fn an_erased_tenant_is_gone_and_the_root_signs_what_is_left() {
    let host = host_of(&["byrne", "dickinson"]);
    let second = person(&host, "second.txt");
    host.run_unlocked(&["keys", "add-operator", &second.recipient]).expect(0);
    backup(&host, "byrne");
    backup(&host, "dickinson");
    let kit = host.kit();
    let erase = |extra: &[&str]| host.run(&[&["erase", "byrne", "--kit", text(&kit)], extra].concat());

    let said = erase(&["--yes-erase", "byrne"]).expect(1);
    assert!(said.err.contains("configured here"), "{}", said.err);
    fs::remove_file(host.path("etc/tenants/byrne.toml")).unwrap();
    let said = erase(&["--dry-run"]).expect(0);
    assert!(said.out.contains("would remove") && said.out.contains(&second.recipient), "{}", said.out);
    let said = erase(&[]).expect(2);
    assert!(said.err.contains("--yes-erase byrne"), "{}", said.err);
    erase(&["--yes-erase", "dickinson"]).expect(2);
    let other = host_of(&["byrne"]);
    let wrong = ["erase", "byrne", "--kit", text(&other.kit()), "--yes-erase", "byrne"].map(str::to_owned);
    host.run(&wrong.each_ref().map(String::as_str)).expect(12);
    assert!(host.bytes_below("store/tenants/byrne") > 0);

    let copy = host.path("statement.json");
    let said = erase(&["--yes-erase", "byrne", "--statement", text(&copy)]).expect(0);
    assert!(
        said.out.contains("Nothing of it is left") && said.out.contains(&second.recipient),
        "{}",
        said.out
    );
    assert_eq!(host.bytes_below("store/tenants/byrne"), 0);
    assert!(!host.path("state/keys/dedup-byrne.key").exists() && !host.path("state/tenants/byrne").exists());
    let said: Value = serde_json::from_str(&fs::read_to_string(&copy).unwrap()).unwrap();
    assert_eq!((&said["tenant"], &said["remaining"]["objects"]), (&"byrne".into(), &0.into()));

    // Stock minisign verifies the statement with the root of the kit.
    let root = fs::read_to_string(&kit).unwrap();
    let root = root.lines().find_map(|l| l.strip_prefix("# root public key: ")).unwrap().to_owned();
    let stored = host.path("store/erased/byrne.1.json");
    let signature = stored.with_extension("minisig");
    let verified = Command::new("minisign")
        .args(["-V", "-P", &root, "-m", text(&stored), "-x", text(&signature)])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

    // The others are as they were; nobody writes the erased one; there is nothing to erase any more.
    backup(&host, "dickinson");
    assert_eq!(snapshots(&host, "dickinson").len(), 2);
    host.run(&["check", "dickinson"]).expect(0);
    assert!(!host.run(&["keys", "list"]).expect(0).out.contains("byrne"));
    erase(&["--yes-erase", "byrne"]).expect(1);
}

#[test]
fn a_pin_stops_an_erasure_and_another_host_forgets_when_told() {
    let h1 = host_of(&["byrne"]);
    h1.run(&["backup", "byrne", "--pin", "2099-01-01"]).expect(0);
    let h2 = second_host(&h1, &[]);
    kit_verb(&h2, &["certify"], &h1.kit()).expect(0);
    let kit = h1.kit();
    let erase = ["erase", "byrne", "--kit", text(&kit), "--yes-erase", "byrne"];
    let said = h2.run(&erase).expect(1);
    assert!(said.err.contains("pinned until 2099"), "{}", said.err);

    let h1 = host_of(&["byrne"]);
    backup(&h1, "byrne");
    let h2 = second_host(&h1, &[]);
    kit_verb(&h2, &["certify"], &h1.kit()).expect(0);
    let kit = h1.kit();
    let said = h2.run(&["erase", "byrne", "--kit", text(&kit), "--yes-erase", "byrne"]).expect(0);
    assert!(said.out.contains("On h1: `lifeboat erase byrne --only-here"), "{}", said.out);
    h1.run(&["backup", "byrne"]).expect(1);
    let here = ["erase", "byrne", "--only-here", "--yes-erase", "byrne"];
    h1.run(&here).expect(1);
    fs::remove_file(h1.path("etc/tenants/byrne.toml")).unwrap();
    h1.run(&here).expect(0);
    assert!(!h1.path("state/keys/dedup-byrne.key").exists());
}
