//! Where a container is reached, and what it said last.

use std::net::IpAddr;

use bollard::container::LogOutput;
use bollard::query_parameters::{InspectContainerOptions, LogsOptionsBuilder};
use futures::StreamExt;

use super::{Docker, call, fault};
use crate::error::Result;

/// The most that is kept of what a container said.
const WORDS_BYTES: usize = 16 * 1024;

impl Docker {
    /// Returns a running container's addresses in its networks; none where there is no such container.
    pub async fn addresses(&self, container: &str) -> Result<Vec<IpAddr>> {
        let answer = match self.client.inspect_container(container, None::<InspectContainerOptions>).await {
            Ok(answer) => answer,
            Err(e) if fault::is_missing(&e) => return Ok(Vec::new()),
            Err(e) => return Err(fault::of(e, format_args!("container {container}"))),
        };
        let networks = answer.network_settings.and_then(|n| n.networks).unwrap_or_default();
        let mut all: Vec<IpAddr> =
            networks.into_values().filter_map(|n| n.ip_address?.parse().ok()).collect();
        all.sort();
        Ok(all)
    }

    /// Returns the end of what a container wrote, stdout and stderr together, at most so many lines.
    pub async fn last_words(&self, container: &str, lines: u32) -> Result<String> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let mut frames = Box::pin(self.client.logs(container, Some(options)));
        let mut text = Vec::new();
        let read = async {
            while let Some(frame) = frames.next().await {
                match frame? {
                    LogOutput::StdOut { message } | LogOutput::StdErr { message } => {
                        text.extend_from_slice(&message);
                    }
                    LogOutput::Console { message } => text.extend_from_slice(&message),
                    LogOutput::StdIn { .. } => {}
                }
                let excess = text.len().saturating_sub(WORDS_BYTES);
                text.drain(..excess);
            }
            Ok(())
        };
        call(format!("container {container}"), read).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
