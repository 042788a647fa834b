//! What the command line says to whoever is new to it: one error for one mistake, and hints that can be followed.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;

use support::host::TestHost;

const TENANT: &str =
    "site = \"erp.example.com\"\n[database]\ncontainer = \"none-such-db\"\nname = \"_0123456789abcdef\"\n";

fn host_of(tenants: &[&str]) -> TestHost {
    let host = TestHost::with_folder();
    for tenant in tenants {
        host.write_tenant_file(tenant, &TENANT.replace("none-such", &format!("none-such-{tenant}")));
    }
    host.init("here");
    host
}

#[test]
fn an_unknown_tenant_is_the_same_mistake_for_every_verb_and_leaves_no_trace() {
    let host = host_of(&["byrne"]);
    let kit = host.kit();
    let identity = ["--identity", kit.to_str().unwrap()];
    let verbs: [&[&str]; 12] = [
        &["backup"],
        &["status"],
        &["snapshots"],
        &["show"],
        &["check"],
        &["drill"],
        &["hold", "--release"],
        &["hold", "--until", "2099-01-01", "--reason", "moving"],
        &["prune", "--yes"],
        &["restore"],
        &["files", "ls"],
        &["pin"],
    ];
    for verb in verbs {
        for (name, said) in [("nosuch", "there is byrne"), ("byrn", "did you mean byrne?")] {
            let mut args = verb.to_vec();
            args.push(name);
            match verb[0] {
                "pin" => args.extend(["latest", "--release"]),
                "files" => args.push("latest"),
                _ => {}
            }
            if matches!(verb[0], "restore" | "files" | "drill") {
                args.extend(identity);
            }
            let answer = host.run(&args).expect(2);
            assert!(answer.err.contains(&format!("error: no tenant {name} is configured")), "{}", answer.err);
            assert!(answer.err.contains(said) && !answer.err.contains("certify"), "{}", answer.err);
            assert!(!host.path("state/tenants").join(name).exists(), "{args:?} made a folder");
        }
    }
}

#[test]
fn a_copy_takes_neither_its_own_name_nor_that_of_another_tenant() {
    let host = host_of(&["ada", "bob"]);
    for name in ["ada", "bob"] {
        let said = host.run_unlocked(&["restore", "ada", "--into", name]).expect(2);
        assert!(said.err.contains(&format!("--into {name} is")), "{}", said.err);
        host.run_unlocked(&["restore", "ada", "--into", name, "--dry-run"]).expect(2);
    }
}

#[test]
fn a_release_says_whether_a_hold_was_ended() {
    let host = host_of(&["byrne"]);
    host.run(&["hold", "byrne", "--until", "2099-01-01", "--reason", "moving"]).expect(0);
    let said = host.run(&["hold", "byrne", "--release"]).expect(0);
    assert!(said.out.contains("is ended: moving"), "{}", said.out);
    let said = host.run(&["hold", "byrne", "--release"]).expect(0);
    assert!(said.out.contains("was not on hold"), "{}", said.out);
}

#[test]
fn a_host_that_was_never_certified_is_told_how_to_become_so() {
    let host = host_of(&["byrne"]);
    let text = fs::read_to_string(host.path("etc/lifeboat.toml")).unwrap();
    fs::write(
        host.path("etc/lifeboat.toml"),
        text.replace("\"h1\"", "\"h2\"").replace("/state\"", "/state2\""),
    )
    .unwrap();
    let said = host.run(&["keys", "list"]).expect(0);
    assert!(said.out.contains("never certified: `lifeboat keys certify --kit FILE`"), "{}", said.out);
    let said = host.run(&["backup", "byrne"]).expect(1);
    assert!(said.err.contains("host h2 has no certificate"), "{}", said.err);
    assert!(said.err.contains("`lifeboat keys certify --kit FILE`"), "{}", said.err);
}

#[test]
fn a_missing_configuration_is_named_with_its_folder_and_no_tenants_are_no_silence() {
    let host = host_of(&[]);
    for verb in ["check", "snapshots"] {
        let said = host.run(&[verb]).expect(0);
        assert!(said.out.contains("There is no tenant"), "{verb}: {}", said.out);
    }
    fs::remove_file(host.path("etc/lifeboat.toml")).unwrap();
    let said = host.run(&["status"]).expect(2);
    assert!(said.err.contains(host.path("etc").to_str().unwrap()), "{}", said.err);
}
