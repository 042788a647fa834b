//! The tenant's client in Authentik, back from a backup where that is asked for.

use crate::component::archive::Archive;
use crate::component::sso::{Authentik, Export};
use crate::config::Sso;
use crate::error::{Context, Kind, Result};
use crate::ops::backup::sso::MEMBER;

use super::apply::Work;

/// Puts the client back where that is asked for, or says that it could be.
///
/// An Authentik that does not answer holds up no tenant: the rest comes back, and the lack is named.
pub(super) async fn put_back(work: &mut Work<'_>, archive: &Archive) {
    let Some(member) = archive.get(MEMBER) else {
        if work.request.with_sso {
            work.lacks.push("a client of Authentik, which this snapshot does not hold".to_owned());
        }
        return;
    };
    let platform = work.appliance.config.machine.platform.as_ref();
    let Some(sso) = platform.and_then(|p| p.sso.as_ref()).filter(|_| work.request.with_sso) else {
        work.notes.push("its client in Authentik is left as it is; --with-sso puts it back".to_owned());
        return;
    };
    match replace(sso, &member.content).await {
        Ok(done) if done.is_empty() => work.notes.push("its client in Authentik is as recorded".to_owned()),
        Ok(done) => work.notes.extend(done.into_iter().map(|what| format!("Authentik: {what}"))),
        Err(e) => {
            work.appliance.around.monitor.problem(&e);
            work.lacks.push(format!("its client in Authentik ({e}); `--only config --with-sso` tries again"));
        }
    }
}

async fn replace(sso: &Sso, member: &[u8]) -> Result<Vec<String>> {
    let export: Export =
        serde_json::from_slice(member).map_err(|_| damaged()).context(Kind::Damaged, MEMBER)?;
    Authentik::new(&sso.url, &sso.token.resolve()?)?.put_back(&export).await
}

/// The parser's message may quote a secret.
fn damaged() -> std::io::Error {
    std::io::Error::other("not in its shape")
}
