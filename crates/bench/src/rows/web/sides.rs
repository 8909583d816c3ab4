//! The applications: one route each.

use axum::{Router, routing::get};
use session_process::Sessions;
use session_process_axum::{Error, Session, SessionLayer};
use tower_sessions::{MemoryStore, SessionManagerLayer};

use crate::ours::{Add, Sum};

/// An application with a route `/`.
pub(super) trait WebSide {
    /// The name in the table.
    const NAME: &'static str;

    /// In a runtime.
    fn router() -> Router;
}

fn layered(router: Router) -> Router {
    let sessions = Sessions::<Sum>::builder().build().expect("in a runtime");
    router.layer(SessionLayer::new(sessions))
}

async fn add(session: Session<Sum>, n: u64) -> Result<String, Error> {
    session.call(Add(n)).await.map(|sum| sum.to_string())
}

/// No session, and no layer.
pub(super) struct Bare;

impl WebSide for Bare {
    const NAME: &'static str = "axum";

    fn router() -> Router {
        Router::new().route("/", get(|| async { 0.to_string() }))
    }
}

/// A layer that does nothing: what axum itself asks for any layer.
pub(super) struct Nothing;

impl WebSide for Nothing {
    const NAME: &'static str = "no-op layer";

    fn router() -> Router {
        Bare::router().layer(tower_layer::layer_fn(|service| service))
    }
}

/// A session that begins with the browser's first request, and is left alone.
pub(super) struct Idle;

impl WebSide for Idle {
    const NAME: &'static str = "session-process";

    fn router() -> Router {
        layered(
            Router::new()
                .route("/", get(|| async { 0.to_string() }))
                .route("/begin", get(|session: Session<Sum>| add(session, 0))),
        )
    }
}

/// A session whose process is asked with every request.
pub(super) struct Read;

impl WebSide for Read {
    const NAME: &'static str = "session-process";

    fn router() -> Router {
        let read = get(|session: Session<Sum>| add(session, 0));
        layered(Router::new().route("/", read.clone()).route("/begin", read))
    }
}

/// A counter in a live process.
pub(super) struct Ours;

impl WebSide for Ours {
    const NAME: &'static str = "session-process";

    fn router() -> Router {
        let count = get(|session: Session<Sum>| add(session, 1));
        layered(Router::new().route("/", count.clone()).route("/begin", count))
    }
}

/// The counter of their documentation, in memory.
pub(super) struct Tower;

impl WebSide for Tower {
    const NAME: &'static str = "tower-sessions";

    fn router() -> Router {
        let count = get(|session: tower_sessions::Session| async move {
            let count = session.get::<u64>("count").await;
            let count = count.map_err(|error| error.to_string())?.unwrap_or_default() + 1;
            let kept = session.insert("count", count).await;
            kept.map(|()| count.to_string()).map_err(|error| error.to_string())
        });
        Router::new()
            .route("/", count.clone())
            .route("/begin", count)
            .layer(SessionManagerLayer::new(MemoryStore::default()))
    }
}
