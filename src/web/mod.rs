//! What the service answers over HTTP: health, status and metrics on loopback; metrics, and which sites there are, at another
//! address too.
//!
//! Owns the routes and media types. Knows nothing of runs and schedules beyond the desk it asks; changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::config::Tenant;
use crate::error::{Context, Kind, Result};
use crate::id::Sha256;
use crate::service::metrics::Format;
use crate::service::{Clock, Desk, Status, metrics};

struct Office<C> {
    desk: Arc<Desk>,
    clock: Arc<C>,
}

impl<C: Clock> Office<C> {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Returns all routes.
pub fn router<C: Clock>(desk: Arc<Desk>, clock: Arc<C>) -> Router {
    Router::new()
        .route("/health", get(health::<C>))
        .route("/api/v1/status", get(status::<C>))
        .route("/metrics", get(metrics_text::<C>))
        .with_state(Arc::new(Office { desk, clock }))
}

/// Returns the routes of the door for Prometheus; where there is a token, whoever asks must bear it.
pub fn metrics_router<C: Clock>(desk: Arc<Desk>, clock: Arc<C>, token: Option<&SecretString>) -> Router {
    // Hashes are compared, so that the time it takes tells nothing of the token.
    let wanted = token.map(|t| Sha256::of(format!("Bearer {}", t.expose_secret()).as_bytes()));
    let ask = move |headers: HeaderMap, request: Request, next: Next| async move {
        let borne = headers.get(header::AUTHORIZATION).map(|v| Sha256::of(v.as_bytes()));
        if wanted.is_some() && borne != wanted {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (StatusCode::UNAUTHORIZED, challenge).into_response();
        }
        next.run(request).await
    };
    Router::new()
        .route("/metrics", get(metrics_text::<C>))
        .route("/targets/sites", get(sites::<C>))
        .layer(axum::middleware::from_fn(ask))
        .with_state(Arc::new(Office { desk, clock }))
}

/// Answers on `listener` until `stop` is ready.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await.context(Kind::Io, "the web service")
}

/// Says whether the service itself works; how the tenants stand is another question.
async fn health<C: Clock>(State(office): State<Arc<Office<C>>>) -> Response {
    let alive = office.desk.is_alive(office.now());
    let code = if alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(serde_json::json!({ "alive": alive }))).into_response()
}

async fn status<C: Clock>(State(office): State<Arc<Office<C>>>) -> Json<Status> {
    Json(office.desk.status(office.now()))
}

/// A group of targets, as Prometheus' HTTP service discovery reads it.
#[derive(Serialize)]
struct TargetGroup {
    targets: [String; 1],
    labels: BTreeMap<&'static str, String>,
}

/// Names the sites that users reach by a domain, for whoever asks them from outside.
async fn sites<C: Clock>(State(office): State<Arc<Office<C>>>) -> Json<Vec<TargetGroup>> {
    let config = office.desk.config();
    let group = |t: &Tenant| {
        let target = format!("https://{}/api/method/ping", t.domain.as_deref()?);
        Some(TargetGroup { targets: [target], labels: [("tenant", t.name.to_string())].into() })
    };
    Json(config.tenants().filter_map(group).collect())
}

async fn metrics_text<C: Clock>(State(office): State<Arc<Office<C>>>, headers: HeaderMap) -> Response {
    let format = Format::asked(headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()));
    match metrics::text(&office.desk.sight(office.now()), format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.media_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
