//! Identities that a passphrase protects, and those of plugins.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::host::{Said, TestHost, said};
use super::{backup, host_of, person, snapshots, text};

const PLUGIN_RECIPIENT: &str = "age1lbtest1ddjhjrww3d7";
const PLUGIN_IDENTITY: &str = "AGE-PLUGIN-LBTEST-1DDJHJ9NH4DU";

/// Puts the test plugin into a folder and returns a `PATH` that begins with it.
fn plugin_path(host: &TestHost) -> String {
    let folder = host.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/age-plugin-lbtest");
    let program = folder.join("age-plugin-lbtest");
    fs::copy(source, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

fn with(host: &TestHost, args: &[&str], environment: &[(&str, &str)]) -> Said {
    said(host.command(args).envs(environment.iter().copied()).output().unwrap())
}

fn written(host: &TestHost, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = host.path(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn an_identity_protected_by_a_passphrase_opens_backups() {
    let host = host_of(&["byrne"]);
    let own = person(&host, "own.txt");
    host.run_unlocked(&["keys", "add-operator", &own.recipient]).expect(0);
    backup(&host, "byrne");
    let mut passphrase = age::scrypt::Recipient::new("correct horse".into());
    passphrase.set_work_factor(4);
    let sealed = age::encrypt(&passphrase, &fs::read(&own.file).unwrap()).unwrap();
    let file = written(&host, "own.age", sealed);
    let show = ["show", "byrne", "latest", "--identity", text(&file)];
    for (words, code) in [("correct horse\n", 0), ("battery\n", 12)] {
        let answer = written(&host, "passphrase", words);
        let said = with(&host, &show, &[("LIFEBOAT_PASSPHRASE_FILE", text(&answer))]).expect(code);
        assert!(!said.err.contains(words.trim()), "a secret in an error: {}", said.err);
        assert_eq!(said.err.contains("passphrase"), code != 0, "{}", said.err);
    }
}

#[test]
fn an_operator_whose_key_is_a_plugins_opens_backups_and_stock_age_does_too() {
    let host = host_of(&["byrne"]);
    backup(&host, "byrne");
    let path = plugin_path(&host);
    let add = ["keys", "add-operator", PLUGIN_RECIPIENT, "--identity"];
    let kit = host.kit();
    let add = [&add[..], &[text(&kit)]].concat();
    let said = host.run(&add).expect(2);
    assert!(said.err.contains("install age-plugin-lbtest"), "{}", said.err);
    with(&host, &add, &[("PATH", &path)]).expect(0);

    let identity = written(&host, "hardware.txt", format!("# a key\n{PLUGIN_IDENTITY}\n"));
    let show = ["show", "byrne", "latest", "--identity", text(&identity)];
    with(&host, &show, &[("PATH", &path)]).expect(0);
    let said = host.run(&show).expect(12);
    assert!(said.err.contains("install age-plugin-lbtest"), "{}", said.err);

    // It asks for a PIN, as a hardware key does.
    for (pin, code) in [("1234", 0), ("9999", 12)] {
        let answer = written(&host, "pin", pin);
        let given =
            [("PATH", path.as_str()), ("LBTEST_PIN", "1234"), ("LIFEBOAT_PASSPHRASE_FILE", text(&answer))];
        let said = with(&host, &show, &given).expect(code);
        assert_eq!(said.err.contains("the PIN is wrong"), code != 0, "{}", said.err);
    }

    // The wrap is an age file like any other.
    let vault = fs::read_dir(host.path("store/tenants/byrne/keys")).unwrap().next().unwrap().unwrap().path();
    let opens = |wrap: PathBuf| {
        let mut age = Command::new("age");
        let output = age.args(["-d", "-i", text(&identity)]).arg(wrap).env("PATH", &path).output().unwrap();
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("AGE-SECRET-KEY-1")
    };
    assert_eq!(fs::read_dir(&vault).unwrap().filter(|w| opens(w.as_ref().unwrap().path())).count(), 1);

    // He alone is left: a new vault is sealed to the plugin, and the next snapshot opens for him only.
    let members = fs::read_to_string(host.path("state/repository.json")).unwrap();
    let members: serde_json::Value = serde_json::from_str(&members).unwrap();
    let founder = members["operators"][0].as_str().unwrap();
    let leaving = ["keys", "remove-operator", founder, "--identity", text(&identity)];
    with(&host, &leaving, &[("PATH", &path)]).expect(0);
    backup(&host, "byrne");
    let newest = snapshots(&host, "byrne")[1]["snapshot"].as_str().unwrap().to_owned();
    let show = ["show", "byrne", &newest, "--identity"];
    host.run(&[&show[..], &[text(&kit)]].concat()).expect(12);
    with(&host, &[&show[..], &[text(&identity)]].concat(), &[("PATH", &path)]).expect(0);
}
