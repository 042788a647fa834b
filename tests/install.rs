//! `deploy/install` sets up what the service needs, and takes nothing away that was not its own.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn install(root: &Path, options: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install");
    let output = Command::new(script).arg("--root").arg(root).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn installing_twice_and_uninstalling_keeps_configuration_and_state() {
    let root = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_lifeboat");
    let said = install(root.path(), &["--bin", program]);
    assert!(said.contains("systemd does not run here"), "{said}");
    let at = |path: &str| root.path().join(path);
    assert_eq!(mode(&at("usr/local/bin/lifeboat")), 0o755);
    assert_eq!((mode(&at("etc/lifeboat")), mode(&at("var/lib/lifeboat"))), (0o750, 0o700));
    assert_eq!(fs::read(at("usr/local/bin/lifeboat")).unwrap(), fs::read(program).unwrap());

    fs::write(at("etc/lifeboat/lifeboat.toml"), "mine").unwrap();
    install(root.path(), &["--bin", program]);
    install(root.path(), &["--uninstall"]);
    assert!(!at("usr/local/bin/lifeboat").exists() && !at("etc/systemd/system/lifeboat.service").exists());
    assert_eq!(fs::read_to_string(at("etc/lifeboat/lifeboat.toml")).unwrap(), "mine");

    install(root.path(), &["--uninstall", "--purge"]);
    assert!(!at("etc/lifeboat").exists() && !at("var/lib/lifeboat").exists());
}

#[test]
fn the_unit_gives_the_service_only_the_capabilities_that_restoring_files_needs() {
    let unit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/lifeboat.service")).unwrap();
    let value =
        |key: &str| unit.lines().filter_map(|l| l.strip_prefix(key)?.strip_prefix('=')).collect::<Vec<_>>();
    let needed = ["CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER"];
    assert_eq!(value("CapabilityBoundingSet"), needed);
    assert_eq!(value("AmbientCapabilities"), needed);
    assert_eq!((value("NoNewPrivileges"), value("User")), (vec!["yes"], vec!["lifeboat"]));
}
