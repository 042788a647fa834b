//! The replica: a second server that follows the first by GTID, read-only.

use secrecy::ExposeSecret;

use crate::component::mariadb::{self, Credentials, Following, Server};
use crate::error::{Error, Kind, Result};

use super::super::job::Job;
use super::super::journal::Thing;
use super::super::secrets::Secret;
use super::super::step::{Standing, StepName};

/// How far a replica may be behind before that is worth a word, in seconds.
const LAG_LIMIT_S: u64 = 60;

const ACCOUNT: &str = "lifeboat_replica";
const VOLUME: &str = "volume";

fn server(job: &Job, service: &str) -> Server {
    Server {
        docker: job.docker.clone(),
        container: job.order.names.container(service),
        credentials: Credentials::Container,
    }
}

/// Looks whether the replica follows, where there is to be one, and is gone where not.
pub async fn check(job: &Job) -> Result<Standing> {
    if !job.order.tenant.size.replica {
        let volume = job.order.names.volume("db-replica-data");
        let left = job.journal.has(StepName::Services, VOLUME, &volume);
        return Ok(if left {
            Standing::differs(format!("volume {volume} is left of a replica"))
        } else {
            Standing::Done
        });
    }
    let what = format!("the replica {}", job.order.names.container("db-replica"));
    Ok(match mariadb::following(&server(job, "db-replica")).await? {
        Following::Nothing => Standing::missing(format!("{what}, following")),
        Following::Broken(why) => Standing::differs(format!("{what} does not follow: {why}")),
        Following::Behind(seconds) if seconds > LAG_LIMIT_S => {
            Standing::differs(format!("{what} is {seconds} s behind"))
        }
        Following::Behind(_) => Standing::Done,
    })
}

/// Makes it follow, from a copy of all that the first server holds; removes its data where it is not wanted any more.
pub async fn apply(job: &Job) -> Result<()> {
    if !job.order.tenant.size.replica {
        return remove_data(job).await;
    }
    let (first, replica) = (server(job, "db"), server(job, "db-replica"));
    match mariadb::following(&replica).await? {
        Following::Nothing => {}
        Following::Broken(_) => {
            mariadb::resume(&replica).await?;
            return caught_up(&replica).await;
        }
        Following::Behind(_) => return caught_up(&replica).await,
    }
    let password = job.order.secret(Secret::DbReplica)?;
    mariadb::allow_replica(&first, ACCOUNT, password.expose_secret()).await?;
    job.around.monitor.note("the replica is filled from the first server");
    mariadb::follow(&replica, &job.order.names.container("db"), ACCOUNT, password.expose_secret()).await?;
    caught_up(&replica).await
}

/// Waits until the replica is no longer behind: it has the changes since its copy still to make.
async fn caught_up(replica: &Server) -> Result<()> {
    let mut broken = 0;
    for _ in 0..300 {
        match mariadb::following(replica).await? {
            Following::Behind(0) => return Ok(()),
            // It takes a moment to connect.
            Following::Broken(why) if broken >= 15 => {
                return Err(Error::new(Kind::Source, format!("{replica} does not follow: {why}"))
                    .hint("set replica = false, `provision --apply`, then true and again: it is made anew"));
            }
            Following::Broken(_) => {
                broken += 1;
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            _ => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
        }
    }
    Err(Error::new(Kind::Timeout, format!("{replica} is still behind after 300 s"))
        .hint("run `lifeboat provision --apply` again: it goes on from there"))
}

async fn remove_data(job: &Job) -> Result<()> {
    let volume = job.order.names.volume("db-replica-data");
    if job.journal.has(StepName::Services, VOLUME, &volume) {
        job.docker.remove_volume(&volume).await?;
        job.journal.undone(job.now(), StepName::Services, &Thing::new(VOLUME, volume.as_str()))?;
        mariadb::refuse_replica(&server(job, "db"), ACCOUNT).await?;
    }
    Ok(())
}
