//! What the service answers over HTTP, on loopback: health, status, metrics.
//!
//! Owns the routes and media types. Knows nothing of runs and schedules beyond the desk it asks; changes nothing.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::error::{Context, Kind, Result};
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

async fn metrics_text<C: Clock>(State(office): State<Arc<Office<C>>>) -> Response {
    match metrics::text(&office.desk.status(office.now())) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
