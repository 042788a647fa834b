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

#[test]
fn an_empty_secret_is_a_fault_wherever_it_is_kept_and_all_are_told_at_once() {
    let host = TestHost::with_folder();
    let url = format!("url = \"file://{}\"", host.path("store").display());
    host.write_host_file(
        &url,
        "[notify]\nwebhook_file = \"empty\"\nping = \"env:EMPTY_PING\"\nping_start = \"env:UNSET_PING\"",
    );
    host.write_tenant_file("byrne", &format!("{TENANT}password_file = \"empty\"\n"));
    fs::write(host.path("etc/empty"), "\n").unwrap();
    let output = host.command(&["config", "check"]).env("EMPTY_PING", "").output().unwrap();
    let said = support::host::said(output).expect(2);
    for begins in [
        "lifeboat.toml:8: notify.webhook_file: secret file ",
        "lifeboat.toml:9: notify.ping: environment variable EMPTY_PING is empty",
        "tenants/byrne.toml:5: database.password_file: secret file ",
    ] {
        assert!(said.err.contains(begins), "{begins}: {}", said.err);
    }
    assert!(!said.err.contains("UNSET_PING"), "the service may have it: {}", said.err);
}

/// Runs `init` with a recovery kit, as an operator does who types the same line again.
fn init_again(host: &TestHost) -> support::host::Said {
    let kit = host.kit();
    host.run(&["init", "--non-interactive", "--drills", "elsewhere", "--kit", kit.to_str().unwrap()])
}

#[test]
fn an_init_that_was_cut_off_is_completed_as_the_next_one_says() {
    let sites = tempfile::tempdir().unwrap();
    fs::create_dir(sites.path().join("s.example")).unwrap();
    fs::write(sites.path().join("s.example/site_config.json"), "{}").unwrap();
    let host = TestHost::with_folder();
    host.write_tenant_file(
        "t",
        &format!("site = \"s.example\"\n[files]\npath = \"{}\"\n", sites.path().display()),
    );

    // Cut off with the sheet's place taken and nothing in it.
    fs::write(host.kit(), "").unwrap();
    init_again(&host).expect(0);

    // Cut off with the repository made, and nothing known of it on the host.
    fs::remove_dir_all(host.path("state")).unwrap();
    fs::remove_dir_all(host.path("store/hosts")).unwrap();
    let said = init_again(&host).expect(1);
    let next = format!("keys certify --kit {}", host.kit().display());
    assert!(said.err.contains(&next), "{}", said.err);
    let elsewhere = host.path("other.txt");
    let other = ["init", "--non-interactive", "--drills", "elsewhere", "--kit", elsewhere.to_str().unwrap()];
    let said = host.run(&other).expect(1);
    assert!(said.err.contains("`lifeboat keys certify --kit KIT`"), "{}", said.err);
    assert!(!elsewhere.exists(), "a sheet without its repository is left");
    host.run(&["keys", "certify", "--kit", host.kit().to_str().unwrap()]).expect(0);
    host.run(&["keys", "confirm", "--kit", host.kit().to_str().unwrap()]).expect(0);
    host.run(&["backup", "t"]).expect(0);
    host.run_unlocked(&["files", "cat", "t", "latest", "site_config.json"]).expect(0);

    // Cut off with the sheet written and no repository made.
    fs::remove_dir_all(host.path("state")).unwrap();
    fs::remove_dir_all(host.path("store")).unwrap();
    let said = init_again(&host).expect(1);
    assert!(said.err.contains("remove the file and run init again"), "{}", said.err);
    fs::remove_file(host.kit()).unwrap();
    init_again(&host).expect(0);
}
