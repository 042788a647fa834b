//! What `doctor` says of a host: what is not protected, who may read Lifeboat's own files, and where the store lies.

use std::os::unix::fs::PermissionsExt;

use jiff::SignedDuration;
use lifeboat::ops::appliance::Appliance;
use lifeboat::ops::doctor::{self, Diagnosis, Question, Weight};

use crate::scene::{Scene, around};
use crate::support::cli::{Container, LABEL, docker, unique};

async fn diagnose(scene: &Scene) -> Diagnosis {
    let appliance = Appliance::open(scene.config(), around(SignedDuration::ZERO)).await.unwrap();
    doctor::diagnose(&appliance).await.unwrap()
}

fn bad<'a>(d: &'a Diagnosis, question: Question, word: &str) -> Vec<&'a str> {
    let of = d.findings.iter().filter(|f| f.question == question && f.weight == Weight::Bad);
    of.map(|f| f.said.as_str()).filter(|said| said.contains(word)).collect()
}

/// What the tenant has is protected; what stands beside it is named until it is excluded with a reason.
pub async fn all(scene: &Scene) {
    let well = diagnose(scene).await;
    let project = scene.tenant.project();
    let mine: Vec<&str> = bad(&well, Question::Covered, project);
    // The store of a test lies in a folder beside Docker's, which is to be said; nothing else of the tenant is.
    assert!(mine.iter().all(|said| said.contains("lies on the disk of the tenants")), "{mine:#?}");
    assert_eq!(mine.len(), 1, "{mine:#?}");
    assert!(bad(&well, Question::Permissions, "").is_empty(), "{well:#?}");
    assert!(
        well.findings.iter().any(|f| f.question == Question::Versions && f.said.contains("mariadb 10.")),
        "{well:#?}"
    );
    unprotected(scene).await;
    open_state(scene).await;
}

async fn unprotected(scene: &Scene) {
    let volume = unique("orphan");
    docker(&["volume", "create", "--label", LABEL, &volume]);
    let bare = Container::run(
        "bare",
        &["-v", &format!("{volume}:/data"), "lifeboat-base:bookworm", "sleep", "3600"],
    );
    let found = diagnose(scene).await;
    let said = bad(&found, Question::Covered, &volume);
    assert!(
        said.iter().any(|s| s.contains("is in no tenant's backup") && s.contains(&bare.name)),
        "{said:#?}"
    );
    assert_eq!(bad(&found, Question::Covered, &format!("container {}", bare.name)).len(), 1);

    let file = scene.host.path("etc/lifeboat.toml");
    let was = std::fs::read_to_string(&file).unwrap();
    let more = format!(
        "[coverage]\nexclude = [{{ name = \"{volume}\", reason = \"scratch\" }}, {{ name = \"*-bare-*\", reason = \"no data\" }}]\n"
    );
    std::fs::write(&file, format!("{was}\n{more}")).unwrap();
    let found = diagnose(scene).await;
    std::fs::write(&file, was).unwrap();
    assert!(bad(&found, Question::Covered, &volume).is_empty(), "{found:#?}");
    assert!(
        found.findings.iter().any(|f| f.said.contains(&volume) && f.said.contains("scratch")),
        "{found:#?}"
    );
    drop(bare);
    docker(&["volume", "rm", &volume]);
}

async fn open_state(scene: &Scene) {
    let key = scene.host.path("state/keys/host.key");
    let open = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    open(0o644);
    let found = diagnose(scene).await;
    open(0o600);
    assert_eq!(bad(&found, Question::Permissions, "host.key").len(), 1, "{found:#?}");
}
