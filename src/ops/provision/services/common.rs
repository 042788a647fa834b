//! The bench's `common_site_config.json`: where database and Redis are.
//!
//! Written through standard input by Python, not by `bench set-config`, whose arguments everybody on the host can read:
//! the addresses of the two Redis hold their passwords.

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::component::bench::Program;
use crate::config::Role;
use crate::error::Result;

use super::super::job::{COMMAND_LIMIT, Job};
use super::super::secrets::Secret;
use super::super::step::Standing;

/// Answers which keys are not as they should be.
const LOOK: &str = r#"
path = "sites/common_site_config.json"
found = json.load(open(path)) if os.path.exists(path) else {}
answer(sorted(k for k, v in {**ARGS, **SECRETS}.items() if found.get(k) != v))
"#;

/// Sets the keys, whole or not at all, and names the apps where that file lacks, as `frappe_docker`'s configurator does.
const WRITE: &str = r#"
path = "sites/common_site_config.json"
found = json.load(open(path)) if os.path.exists(path) else {}
found.update(ARGS)
found.update(SECRETS)
with open(path + ".new", "w") as f:
    json.dump(found, f, indent=1, sort_keys=True)
    f.flush()
    os.fsync(f.fileno())
os.rename(path + ".new", path)
if not os.path.exists("sites/apps.txt"):
    with open("sites/apps.txt", "w") as f:
        f.write("".join(app + "\n" for app in sorted(os.listdir("apps"))))
answer(True)
"#;

/// Looks whether the configuration leads to this tenant's servers.
pub async fn check(job: &Job) -> Result<Standing> {
    let running = job.docker.state(&job.order.backend()).await?.is_some_and(|s| s.is_running());
    if !running {
        return Ok(Standing::missing(format!("container {}, running", job.order.backend())));
    }
    let differing = job.bench().bare_python(program(job, "look at its configuration", LOOK)?).await?;
    let keys: Vec<&str> = differing.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Ok(match keys.as_slice() {
        [] => Standing::Done,
        keys => Standing::missing(format!("{} in common_site_config.json", keys.join(", "))),
    })
}

/// Writes it.
pub async fn apply(job: &Job) -> Result<()> {
    job.bench().bare_python(program(job, "write its configuration", WRITE)?).await.map(drop)
}

fn program<'a>(job: &Job, what: &'a str, text: &'a str) -> Result<Program<'a>> {
    let names = &job.order.names;
    let address = |service: &str, secret: Secret| -> Result<String> {
        let password = job.order.secret(secret)?;
        Ok(format!("redis://:{}@{}:6379", password.expose_secret(), names.container(service)))
    };
    let queue = address("redis-queue", Secret::RedisQueue)?;
    let args = json!({
        "db_host": names.container("db"), "db_port": 3306, "socketio_port": 9000,
        "socketio_host": names.of_role(Role::Websocket, 1),
    });
    let secrets = json!({
        "redis_cache": address("redis-cache", Secret::RedisCache)?, "redis_queue": queue, "redis_socketio": queue,
    });
    Ok(Program { what, text, args, secrets, limit: COMMAND_LIMIT })
}
