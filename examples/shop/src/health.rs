//! `GET /health`: whether a load balancer should send requests here, and what an operator asks first.

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};
use session_process::{Health, Sessions};
use shop::visitor::Visit;

use crate::serve::Open;

#[derive(Clone)]
struct Node {
    sessions: Sessions<Visit>,
    store: Open,
}

pub(crate) fn routes(sessions: Sessions<Visit>, store: Open) -> Router {
    Router::new()
        .route("/health", get(health))
        .with_state(Node { sessions, store })
}

/// 503: not here, for the time being. A shop that is full still serves those it has.
async fn health(State(node): State<Node>) -> (StatusCode, Json<Value>) {
    let engine = node.sessions.health();
    let mut ready = engine != Health::ShuttingDown;
    let mut body = json!({
        "sessions": match engine {
            Health::Ok => "ok",
            Health::Full => "full",
            _ => "shutting down",
        },
    });
    if let Open::Postgres(store) = &node.store {
        let health = store.health().await;
        ready &= health.is_ready();
        body["database"] = json!({
            "state": health.database.to_string(),
            "for_seconds": health.database_for.as_secs(),
            "round_trip_ms": health.round_trip.map(|took| took.as_secs_f64() * 1e3),
            // Not the message: everybody may ask here.
            "last_error": health.last_error.map(|error| json!({
                "kind": error.kind,
                "sqlstate": error.sqlstate,
                "seconds_ago": error.ago.as_secs(),
            })),
            "waiting": {
                "writes": health.waiting.writes,
                "write_bytes": health.waiting.write_bytes,
                "reads": health.waiting.reads,
                "locks": health.waiting.locks,
            },
        });
        body["cache"] = json!({
            "state": health.cache.to_string(),
            "for_seconds": health.cache_for.as_secs(),
        });
    }
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body))
}
