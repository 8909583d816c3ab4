//! A route that reads a counter of its session and writes it.

use axum::{Router, routing::get};
use tower_sessions::{Session, SessionManagerLayer};
use tower_sessions_core::SessionStore;

async fn add(session: Session) -> String {
    let n: u64 = session.get("n").await.expect("the store works").unwrap_or(0) + 1;
    session.insert("n", n).await.expect("the store works");
    n.to_string()
}

/// Prints where, and serves until the program is ended.
pub(crate) async fn serve(store: impl SessionStore + Clone) {
    let layer = SessionManagerLayer::new(store).with_secure(false);
    let app = Router::new().route("/", get(add)).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("a port"));
    axum::serve(listener, app).await.expect("a server");
}
