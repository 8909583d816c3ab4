//! [`Connect`]: connections that are somebody else's to make; a pool's, say.

use std::{error::Error, fmt};

use session_process::store::BoxFuture;

/// A connection that a store is given, for as long as it needs it: [`Connect`].
pub struct Connection(Box<dyn Held>);

trait Held: Send + Sync {
    fn client(&self) -> &tokio_postgres::Client;
}

struct Lent<G, C, E: FnOnce(G)> {
    guard: Option<G>,
    client: C,
    end: Option<E>,
}

impl<G, C, E> Held for Lent<G, C, E>
where
    G: Send + Sync,
    C: Fn(&G) -> &tokio_postgres::Client + Send + Sync,
    E: FnOnce(G) + Send + Sync,
{
    fn client(&self) -> &tokio_postgres::Client {
        (self.client)(self.guard.as_ref().expect("until it is dropped"))
    }
}

impl<G, C, E: FnOnce(G)> Drop for Lent<G, C, E> {
    fn drop(&mut self) {
        if let (Some(guard), Some(end)) = (self.guard.take(), self.end.take()) {
            end(guard);
        }
    }
}

impl Connection {
    /// By a guard: what a pool gives out. `client` leads to the connection; `close` ends it.
    ///
    /// The store sets the connection up for itself, and gives it up only when it doesn't need it any more, or when nobody
    /// knows what it is at: in the midst of a transaction, perhaps. So `close` must not put it back into the pool.
    pub fn lent<G, C, E>(guard: G, client: C, close: E) -> Self
    where
        G: Send + Sync + 'static,
        C: Fn(&G) -> &tokio_postgres::Client + Send + Sync + 'static,
        E: FnOnce(G) + Send + Sync + 'static,
    {
        Self(Box::new(Lent {
            guard: Some(guard),
            client,
            end: Some(close),
        }))
    }

    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        self.0.client()
    }
}

/// One that was made for the store; somebody else drives it.
impl From<tokio_postgres::Client> for Connection {
    fn from(client: tokio_postgres::Client) -> Self {
        Self::lent(client, |client| client, drop)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("is_closed", &self.client().is_closed())
            .finish()
    }
}

/// Makes a store's connections: [`Builder::from_connect`](crate::Builder::from_connect). A function that returns a future
/// of a [`Connection`] is one.
pub trait Connect: Send + Sync + 'static {
    /// Another connection. The store asks again when it has lost one, with a back-off, and waits no longer than its
    /// [`timeout`](crate::Builder::timeout).
    ///
    /// # Errors
    /// Whatever is in the way. It is logged, and in the source of errors: it must not hold a password.
    ///
    /// # Cancel safety
    /// The future is dropped when it takes too long; what it was at must come to nothing by that.
    fn connect(&self) -> BoxFuture<'_, Result<Connection, Box<dyn Error + Send + Sync>>>;
}

impl<F, Connecting, Failure> Connect for F
where
    F: Fn() -> Connecting + Send + Sync + 'static,
    Connecting: Future<Output = Result<Connection, Failure>> + Send + 'static,
    Failure: Into<Box<dyn Error + Send + Sync>>,
{
    fn connect(&self) -> BoxFuture<'_, Result<Connection, Box<dyn Error + Send + Sync>>> {
        let connecting = self();
        Box::pin(async move { connecting.await.map_err(Into::into) })
    }
}
