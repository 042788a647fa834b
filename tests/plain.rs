//! Everyday mishaps with a tenant of files alone: what is refused, what is said, and what is left behind.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;
use std::path::PathBuf;

use support::host::TestHost;

/// A host with a tenant `t` whose files lie in a folder of the host.
struct Scene {
    host: TestHost,
    sites: tempfile::TempDir,
}

impl Scene {
    fn prepare() -> Scene {
        let scene = Scene { host: TestHost::with_folder(), sites: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.site()).unwrap();
        fs::write(scene.site().join("site_config.json"), "{}").unwrap();
        let text = format!("site = \"site\"\n[files]\npath = \"{}\"\n", scene.sites.path().display());
        scene.host.write_tenant_file("t", &text);
        scene
    }

    fn start() -> Scene {
        let scene = Scene::prepare();
        scene.host.init("here");
        scene
    }

    fn site(&self) -> PathBuf {
        self.sites.path().join("site")
    }
}

#[test]
fn a_recovery_kit_may_be_named_without_a_folder_and_a_sheet_that_cannot_be_written_leaves_no_repository() {
    let scene = Scene::prepare();
    let mut full =
        scene.host.command(&["init", "--non-interactive", "--drills", "elsewhere", "--kit", "/dev/full"]);
    let refused = support::host::said(full.output().unwrap());
    refused.expect(1);
    assert!(!scene.host.path("store/lifeboat.json").exists());

    let mut bare =
        scene.host.command(&["init", "--non-interactive", "--drills", "elsewhere", "--kit", "k.txt"]);
    support::host::said(bare.current_dir(scene.sites.path()).output().unwrap()).expect(0);
    assert!(scene.sites.path().join("k.txt").exists());
}

#[test]
fn a_site_folder_without_any_file_is_not_whole() {
    let scene = Scene::start();
    scene.host.run(&["backup", "t"]).expect(0);
    fs::remove_file(scene.site().join("site_config.json")).unwrap();
    let said = scene.host.run(&["backup", "t"]);
    assert_ne!(said.code, 0);
    assert!(
        format!("{}{}", said.out, said.err).contains("is its volume mounted?"),
        "{}{}",
        said.out,
        said.err
    );
    scene.host.run(&["status"]).expect(4);
}

#[test]
fn a_run_over_all_tenants_passes_by_those_on_hold() {
    let scene = Scene::start();
    scene.host.run(&["backup"]).expect(0);
    scene.host.run(&["hold", "t", "--until", "2099-01-01", "--reason", "moving"]).expect(0);
    let said = scene.host.run(&["backup"]).expect(0);
    assert!(
        said.out.contains("t: not backed up, on hold until") && said.out.contains("moving"),
        "{}",
        said.out
    );
    scene.host.run(&["backup", "t"]).expect(1);
    let status = scene.host.run(&["status"]);
    assert!(!status.out.contains("BAD"), "{}", status.out);
}

#[test]
fn a_kit_of_another_repository_is_refused_and_a_host_without_a_pin_says_so() {
    let (one, other) = (Scene::start(), Scene::start());
    one.host.run(&["backup"]).expect(0);
    let kit = other.host.kit();
    let said = one.host.run(&["files", "ls", "t", "latest", "--identity", kit.to_str().unwrap()]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("is of repository"), "{}", said.err);

    fs::remove_file(one.host.path("state/repository.json")).unwrap();
    let said = one.host.run(&["snapshots", "t"]).expect(0);
    assert!(said.err.contains("no pin"), "{}", said.err);
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_name_cannot_forge_a_line() {
    let scene = Scene::start();
    fs::write(scene.site().join("evil\n\u{1b}[31mline"), "x").unwrap();
    scene.host.run(&["backup"]).expect(0);
    let listed = scene.host.run_unlocked(&["files", "ls", "t", "latest"]).expect(0);
    assert!(!listed.out.contains('\u{1b}') && listed.out.contains("evil%0A%1B[31mline"), "{}", listed.out);
    let mut command = scene.host.command(&["snapshots", "t"]);
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let said = support::host::said(command.output().unwrap());
    assert_ne!(said.code, 0);
    assert!(said.err.contains("standard output"), "{}", said.err);
}

#[test]
fn a_fifo_among_the_configuration_is_refused_not_waited_for() {
    let scene = Scene::start();
    let fifo = scene.host.path("etc/tenants/two.toml");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let said = scene.host.run(&["config", "check"]).expect(2);
    assert!(said.err.contains("two.toml") || said.out.contains("two.toml"), "{}{}", said.out, said.err);
}
