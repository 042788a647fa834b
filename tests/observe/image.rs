//! Lifeboat's own image: built from Debian packages and the program under test, and run as the compose file runs it.

use std::fs;
use std::time::Duration;

use super::support::cli::{Container, docker, shell, unique, wait_until};
use super::support::host::TestHost;
use super::support::prometheus::{get_with, names, repository};

#[test]
fn the_image_serves_answers_its_healthcheck_and_gives_metrics_to_whoever_has_the_token() {
    let context = tempfile::tempdir().unwrap();
    fs::copy(env!("CARGO_BIN_EXE_lifeboat"), context.path().join("lifeboat")).unwrap();
    let (tag, file) = (unique("image"), repository().join("deploy/Dockerfile"));
    let build = ["build", "-q", "-t", &tag, "-f", file.to_str().unwrap(), "--target", "prebuilt"];
    let base = ["--build-arg", "BASE=lifeboat-base:bookworm", context.path().to_str().unwrap()];
    docker(&[&build[..], &base[..]].concat());

    let host = TestHost::with_folder();
    let text = fs::read_to_string(host.path("etc/lifeboat.toml")).unwrap();
    let text = text.replace(host.path("").to_str().unwrap(), "/host/");
    let door = "[service]\nmetrics = \"0.0.0.0:9470\"\nmetrics_token_file = \"/host/token\"\n";
    fs::write(host.path("etc/lifeboat.toml"), text + door).unwrap();
    fs::write(host.path("token"), "secret-of-the-test\n").unwrap();
    let mount = format!("{}:/host", host.path("").display());
    let rights = ["--cap-drop=ALL", "--cap-add=DAC_READ_SEARCH", "--cap-add=DAC_OVERRIDE", "--cap-add=CHOWN"];
    let more =
        ["--cap-add=FOWNER", "--read-only", "--tmpfs=/tmp", "--security-opt=no-new-privileges", "-v", &mount];
    let ports = ["-p", "127.0.0.1:0:9470", "--health-interval=1s", &tag, "--config", "/host/etc", "serve"];
    let container = Container::run("image", &[&rights[..], &more[..], &ports[..]].concat());

    let health = || docker(&["inspect", "-f", "{{.State.Health.Status}}", &container.name]);
    wait_until("the image's healthcheck is good", Duration::from_secs(60), || health() == "healthy");
    let bound = docker(&["port", &container.name, "9470/tcp"]);
    let url = format!("http://{}/metrics", bound.lines().next().unwrap());
    let page =
        get_with(&url, &[("Authorization", "Bearer secret-of-the-test")]).expect("metrics with the token");
    assert!(names(&page).contains("lifeboat_build_info"), "{page}");
    assert!(get_with(&url, &[]).is_none(), "metrics without a token");
    assert!(get_with(&url, &[("Authorization", "Bearer secret")]).is_none(), "metrics with another token");
    let status = url.replace("/metrics", "/api/v1/status");
    assert!(
        get_with(&status, &[("Authorization", "Bearer secret-of-the-test")]).is_none(),
        "more than metrics"
    );
    assert!(shell(&container.name, "id -u && cat /proc/1/comm").ends_with("lifeboat"));
    docker(&["stop", "-t", "30", &container.name]);
    assert_eq!(docker(&["inspect", "-f", "{{.State.ExitCode}}", &container.name]), "0");
    drop(container);
    docker(&["rmi", "-f", &tag]);
}
