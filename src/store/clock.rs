//! The time by a store's own clock, asked for without writing anything.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::error::{Context, Error, Kind, Result};

/// Returns the time by the clock of the server at an `http://` or `https://` address.
///
/// Every answer of a web server, a refusal too, has a `Date` in whole seconds (RFC 9110, 6.6.1).
pub async fn time_at(server: &str, limit: Duration) -> Result<Timestamp> {
    let client = reqwest::Client::builder()
        .timeout(limit)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context(Kind::Bug, "web client")?;
    let answer = client.head(server).send().await.map_err(|e| {
        Error::new(Kind::Store, format!("{server} does not answer")).caused_by(e.without_url())
    })?;
    let date = answer.headers().get(reqwest::header::DATE).and_then(|d| d.to_str().ok());
    let date = date.ok_or_else(|| Error::new(Kind::Store, format!("{server} does not tell its time")))?;
    let zoned = rfc2822::parse(date)
        .context(Kind::Store, format_args!("{server} tells its time in a way that is not understood"))?;
    Ok(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_servers_date_is_read_from_a_refusal_too() {
        let router = axum::Router::new().fallback(|| async {
            (axum::http::StatusCode::FORBIDDEN, [("date", "Mon, 23 Nov 2026 02:00:07 GMT")])
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let told = time_at(&address, Duration::from_secs(30)).await.unwrap();
        assert_eq!(told.to_string(), "2026-11-23T02:00:07Z");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let e = time_at("http://127.0.0.1:1", Duration::from_secs(5)).await.unwrap_err();
        assert!(e.to_string().starts_with("http://127.0.0.1:1 does not answer"), "{e}");
    }
}
