//! [`write_timeout`]: connections that take nothing are closed.

use std::time::Duration;

use tokio::net::TcpStream;

/// Closes connections that take nothing of what is written to them for `within`: because whoever reads is stuck, or because
/// the other side is gone without a word. For the listener of a server that has live pages:
///
/// ```no_run
/// # async fn f(app: axum::Router) -> std::io::Result<()> {
/// use std::time::Duration;
/// use axum::serve::ListenerExt;
/// use session_process_axum::live;
///
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:4000").await?;
/// let listener = listener.tap_io(live::write_timeout(Duration::from_secs(30)));
/// axum::serve(listener, app).await
/// # }
/// ```
///
/// A server that has something to write to a connection waits for it, for as long as the system keeps it up: many
/// minutes if the other side is gone, for ever if it is there and does not read. Live pages are closed by themselves then
/// ([`Live::with_write_timeout`](super::Live::with_write_timeout)), but what the server holds of the connection is not
/// theirs to free; until then it counts against the limits of pages.
///
/// What the other side's system has room for counts as taken, whether anybody reads it or not: a reader that is stuck is
/// found when that is full.
///
/// It is the option `TCP_USER_TIMEOUT` of Linux and Android, so it costs neither a timer nor memory; other systems have
/// none like it, and there it does nothing. Behind a proxy, it is the proxy that has to close stuck connections.
///
/// # Panics
/// If it is less than a millisecond: to the system that is no limit.
pub fn write_timeout(within: Duration) -> impl FnMut(&mut TcpStream) + Clone + Send + 'static {
    assert!(
        within >= Duration::from_millis(1),
        "a write timeout has a millisecond at least"
    );
    move |stream| {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Err(error) = socket2::SockRef::from(&*stream).set_tcp_user_timeout(Some(within)) {
            tracing::debug!(%error, "a connection has no write timeout");
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = (stream, within);
    }
}
