//! Step `certs`: a certificate for the tenant's domain, issued through Traefik or given as files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::{Job, Order, Standing, Step, StepName, Thing};
use crate::component::tls::{self, Given, Issued};
use crate::error::{Context, Kind, Result};

/// How long Traefik may take: it notices the container, answers a challenge and writes the file.
const ISSUED_LIMIT: Duration = Duration::from_secs(240);

/// What the journal calls the file that hands a given certificate to Traefik.
const FILE: &str = "certificate file";

/// The step.
#[derive(Debug)]
pub struct CertsStep;

/// Where the certificate comes from.
#[derive(Debug, Clone)]
enum Way {
    /// Traefik gets it.
    Issued { acme_file: PathBuf, resolver: String },
    /// The operator has it.
    Given { from: PathBuf, dynamic: PathBuf },
}

/// Returns the way, or why there is none.
fn way(order: &Order) -> Result<Way, String> {
    let Some(proxy) = &order.platform.proxy else { return Err("no [platform.proxy]".to_owned()) };
    match (&proxy.resolver, &proxy.acme_file, &proxy.given_dir, &proxy.dynamic_dir) {
        (Some(resolver), Some(acme_file), ..) => {
            Ok(Way::Issued { acme_file: acme_file.clone(), resolver: resolver.clone() })
        }
        (Some(_), None, ..) => {
            Err("no acme_file in [platform.proxy], so what Traefik gets cannot be seen".to_owned())
        }
        (None, _, Some(from), Some(dynamic)) => {
            Ok(Way::Given { from: from.clone(), dynamic: dynamic.clone() })
        }
        (None, ..) => {
            Err("neither resolver and acme_file nor given_dir and dynamic_dir in [platform.proxy]".to_owned())
        }
    }
}

/// Reads what is given and what Traefik has of it.
async fn given(job: &Job, from: &Path, dynamic: &Path) -> Result<(Given, Option<Given>)> {
    let (from, dynamic, domain, now) =
        (from.to_owned(), dynamic.to_owned(), job.order.domain.clone(), job.now());
    let look = move || Ok((tls::read_given(&from, &domain, now)?, tls::look_given(&dynamic, &domain)?));
    tokio::task::spawn_blocking(look).await.context(Kind::Bug, "look at certificates")?
}

#[async_trait]
impl Step for CertsStep {
    fn name(&self) -> StepName {
        StepName::Certs
    }

    fn sentence(&self, order: &Order) -> String {
        let domain = &order.domain;
        match way(order) {
            Ok(Way::Issued { acme_file, resolver }) => {
                format!(
                    "Traefik gets a certificate for {domain} through {resolver} into {}",
                    acme_file.display()
                )
            }
            Ok(Way::Given { from, dynamic }) => format!(
                "the certificate {} is handed to Traefik in {}",
                from.join(format!("{domain}.crt")).display(),
                tls::given_file_of(&dynamic, domain).display()
            ),
            Err(_) => String::new(),
        }
    }

    fn skipped(&self, order: &Order) -> Option<String> {
        way(order).err()
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        let domain = &job.order.domain;
        match way(&job.order) {
            Err(_) => Ok(Standing::Done),
            Ok(Way::Issued { acme_file, resolver }) => {
                Ok(match tls::look_issued(&acme_file, Some(&resolver), domain, job.now())? {
                    Issued::Serves(_) => Standing::Done,
                    Issued::Lacks(what) => Standing::differs(what),
                })
            }
            Ok(Way::Given { from, dynamic }) => Ok(match given(job, &from, &dynamic).await? {
                (given, Some(there)) if given == there => Standing::Done,
                (_, Some(_)) => Standing::differs(format!("Traefik has another certificate for {domain}")),
                (_, None) => Standing::missing(tls::given_file_of(&dynamic, domain).display().to_string()),
            }),
        }
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        let domain = job.order.domain.clone();
        match way(&job.order) {
            Err(_) => Ok(()),
            Ok(Way::Issued { acme_file, resolver }) => {
                let clock = || job.now();
                let chain =
                    tls::await_issued(&acme_file, Some(&resolver), &domain, ISSUED_LIMIT, clock).await?;
                job.around
                    .monitor
                    .note(&format!("certificate of {} until {}", chain.leaf.issuer, chain.leaf.not_after));
                Ok(())
            }
            Ok(Way::Given { from, dynamic }) => {
                let (given, there) = given(job, &from, &dynamic).await?;
                let thing = Thing::new(FILE, tls::given_file_of(&dynamic, &domain).to_string_lossy());
                let put = async {
                    tokio::task::spawn_blocking(move || tls::put_given(&dynamic, &domain, &given))
                        .await
                        .context(Kind::Bug, "certificate file")?
                };
                match there {
                    // One that was there before is renewed, not made.
                    Some(_) => put.await,
                    None => job.make(StepName::Certs, thing, put).await,
                }
            }
        }
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        // What Traefik got stays: it is of use to whoever comes next under this name, and Traefik alone writes its file.
        job.unmake(StepName::Certs, |thing| async move {
            tokio::task::spawn_blocking(move || tls::remove_given(&PathBuf::from(thing.name)))
                .await
                .context(Kind::Bug, "certificate file")?
        })
        .await
    }
}
