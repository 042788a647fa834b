//! A tenant is brought to the size that its file states, and back; a backup from its replica is equal.

use std::fs;

use super::{Scene, assert_whole};
use crate::support::cli::docker;

impl Scene {
    /// Replaces the size in the tenant's file.
    fn state_size(&self, size: &str) {
        let path = self.host.path("etc/tenants").join(format!("{}.toml", self.tenant));
        let text = fs::read_to_string(&path).unwrap();
        let (head, rest) = text.split_once("[size]\n").unwrap();
        let tail = rest.find("\n[").map_or("", |at| &rest[at..]);
        fs::write(path, format!("{head}[size]\n{size}\n{tail}")).unwrap();
    }

    fn limit(&self, part: &str, field: &str) -> String {
        docker(&["inspect", "-f", &format!("{{{{.HostConfig.{field}}}}}"), &self.container(part)])
    }
}

#[test]
fn a_tenant_grows_to_two_workers_and_a_replica_and_back() {
    let scene = Scene::new("sizes");
    scene.run(&[]).expect(0);
    let small = scene.running();
    scene.state_size(
        "workers = 2\nqueue_workers = 2\napp_memory = \"512MiB\"\ndb_memory = \"768MiB\"\nreplica = true",
    );
    scene.run(&["--apply"]).expect(0);
    for part in ["backend-2", "frontend-2", "queue-short-2", "queue-long-2", "db-replica"] {
        assert!(scene.running().contains(&part.to_owned()), "{part}: {:?}", scene.running());
    }
    assert_eq!(scene.limit("backend", "Memory"), (512_u64 << 20).to_string());
    assert_eq!(scene.limit("db", "Memory"), (768_u64 << 20).to_string());
    let grown = scene.picture();
    scene.run(&["--apply"]).expect(0);
    assert_eq!(scene.picture(), grown, "twice changes nothing");

    scene.state_size("app_memory = \"256MiB\"\ndb_memory = \"512MiB\"");
    scene.run(&["--apply"]).expect(0);
    assert_eq!(scene.running(), small);
    assert_whole(&scene);
}
