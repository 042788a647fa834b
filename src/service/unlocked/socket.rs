//! The socket through which keys come, and who may use it.
//!
//! A socket in the state folder, for the service's own user and root only. One line of JSON each way; a connection that
//! says nothing for some seconds is closed. Each loan is noted in `unlocks.jsonl`, without the key.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use zeroize::{Zeroize, Zeroizing};

use super::Unlocked;
use crate::error::{Context, Error, Kind, Result};
use crate::id::TenantName;
use crate::repo::age_file::Identities;
use crate::service::Clock;

const SOCKET: &str = "unlock.sock";
const AUDIT: &str = "unlocks.jsonl";
/// A line with a key is shorter, in bytes.
const LINE_BYTES: u64 = 4096;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of a service.
pub enum Asked<'a> {
    /// Keep this tenant's key, as the text of an identity, for so long.
    Lend(&'a SecretString, Duration),
    /// Wipe it.
    TakeBack,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// No service runs on this host.
    NoService,
    /// The service keeps the key until then.
    Lent(Timestamp),
    /// The service has no key of the tenant.
    TakenBack,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    tenant: TenantName,
    /// None: wipe what was lent.
    key: Option<String>,
    seconds: u64,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
struct Answer {
    until: Option<Timestamp>,
    error: Option<String>,
}

/// A line of the record of loans.
#[derive(Serialize)]
struct Loan<'a> {
    at: Timestamp,
    tenant: &'a TenantName,
    /// None: it was taken back.
    until: Option<Timestamp>,
    by_uid: u32,
}

/// The service's side of the socket.
pub struct Door {
    listener: UnixListener,
    state_dir: PathBuf,
    unlocked: Arc<Unlocked>,
}

impl Door {
    /// Opens the socket in the state folder. Only one service runs on a host: what lies there is of a dead one.
    pub fn open(state_dir: &Path, unlocked: Arc<Unlocked>) -> Result<Door> {
        let path = state_dir.join(SOCKET);
        let what = || format!("socket {}", path.display());
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context(Kind::Io, what()),
            _ => {}
        }
        let listener = UnixListener::bind(&path).context(Kind::Io, what())?;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, mode).context(Kind::Io, what())?;
        Ok(Door { listener, state_dir: state_dir.to_owned(), unlocked })
    }

    /// Answers one after the other until `stop` is ready, and wipes keys whose time is over.
    pub async fn serve(self, clock: Arc<impl Clock>, stop: impl Future<Output = ()>) {
        const SWEEP: Duration = Duration::from_secs(5);
        let mut stop = std::pin::pin!(stop);
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(SWEEP) => { self.unlocked.sweep(clock.now()); continue }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(e) => {
                        tracing::warn!(error = %e, "a connection to the unlock socket failed");
                        tokio::time::sleep(SWEEP).await;
                        continue;
                    }
                },
            };
            match tokio::time::timeout(PATIENCE, self.answer(stream, clock.now())).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => tracing::warn!(error = %e, "an unlock was not answered"),
                Err(_) => tracing::warn!("whoever asked to unlock said nothing"),
            }
        }
        // Removed so that the next command finds no service rather than a dead one.
        drop(std::fs::remove_file(self.state_dir.join(SOCKET)));
    }

    async fn answer(&self, mut stream: UnixStream, now: Timestamp) -> Result<()> {
        let uid = stream.peer_cred().context(Kind::Io, "unlock socket")?.uid();
        let (reader, mut writer) = stream.split();
        let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES as usize));
        let mut reader = BufReader::new(reader.take(LINE_BYTES));
        reader.read_until(b'\n', &mut line).await.context(Kind::Io, "unlock socket")?;
        let answer = match self.decide(&line, uid, now) {
            Ok(until) => Answer { until, error: None },
            Err(e) => Answer { until: None, error: Some(e.to_string()) },
        };
        let mut text = serde_json::to_vec(&answer).context(Kind::Bug, "answer to an unlock")?;
        text.push(b'\n');
        writer.write_all(&text).await.context(Kind::Io, "unlock socket")
    }

    fn decide(&self, line: &[u8], uid: u32, now: Timestamp) -> Result<Option<Timestamp>> {
        // The error of the parser could quote the line.
        let question: Question = serde_json::from_slice(line)
            .map_err(|_| Error::new(Kind::Usage, "what was asked is not understood"))?;
        let Some(key) = &question.key else {
            self.unlocked.take_back(&question.tenant);
            self.note(&Loan { at: now, tenant: &question.tenant, until: None, by_uid: uid })?;
            return Ok(None);
        };
        let identities = Identities::of_secret(&SecretString::from(key.as_str()))?;
        let time = Duration::from_secs(question.seconds);
        // Noted before it is lent: what cannot be noted is not lent.
        let until = now.checked_add(time.min(super::LONGEST)).unwrap_or(now);
        self.note(&Loan { at: now, tenant: &question.tenant, until: Some(until), by_uid: uid })?;
        Ok(Some(self.unlocked.lend(question.tenant.clone(), identities, now, time)))
    }

    fn note(&self, loan: &Loan<'_>) -> Result<()> {
        let path = self.state_dir.join(AUDIT);
        let what = || format!("record of unlocks {}", path.display());
        let mut line = serde_json::to_vec(loan).context(Kind::Bug, what())?;
        line.push(b'\n');
        let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let mut file = file.context(Kind::Io, what())?;
        file.write_all(&line).and_then(|()| file.sync_data()).context(Kind::Io, what())?;
        match loan.until {
            Some(until) => {
                tracing::warn!(tenant.name = %loan.tenant, %until, by_uid = loan.by_uid, "unlocked")
            }
            None => tracing::info!(tenant.name = %loan.tenant, by_uid = loan.by_uid, "locked again"),
        }
        Ok(())
    }
}

/// Asks the service of this host; [`Kind::Denied`] where this user may not.
pub async fn ask(state_dir: &Path, tenant: &TenantName, asked: Asked<'_>) -> Result<Reply> {
    use std::io::ErrorKind;
    let path = state_dir.join(SOCKET);
    let what = || format!("socket {}", path.display());
    let mut stream = match UnixStream::connect(&path).await {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(Reply::NoService);
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Err(e).context(Kind::Denied, what()),
        stream => stream.context(Kind::Io, what())?,
    };
    let (key, time) = match asked {
        Asked::Lend(key, time) => (Some(key.expose_secret().to_owned()), time),
        Asked::TakeBack => (None, Duration::ZERO),
    };
    let question = Question { tenant: tenant.clone(), key, seconds: time.as_secs() };
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES as usize));
    serde_json::to_writer(&mut *line, &question).context(Kind::Bug, what())?;
    line.push(b'\n');
    let talk = async {
        stream.write_all(&line).await?;
        let mut said = Vec::new();
        BufReader::new(stream.take(LINE_BYTES)).read_until(b'\n', &mut said).await?;
        Ok::<_, std::io::Error>(said)
    };
    let said = tokio::time::timeout(PATIENCE, talk).await.context(Kind::Timeout, what())?;
    let answer: Answer =
        serde_json::from_slice(&said.context(Kind::Io, what())?).context(Kind::Damaged, what())?;
    match (answer.error, answer.until) {
        (Some(error), _) => {
            Err(Error::new(Kind::Denied, format!("the service refuses to unlock {tenant}: {error}")))
        }
        (None, Some(until)) => Ok(Reply::Lent(until)),
        (None, None) => Ok(Reply::TakenBack),
    }
}
