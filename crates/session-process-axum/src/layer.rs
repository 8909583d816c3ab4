//! [`SessionLayer`]: gives the requests of a router their sessions.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::request::Parts;
use session_process::{Process, Sessions};
use tower_layer::Layer;

use crate::{
    ConfigError, GuessLimit, KeyRing, SameSite, SessionService,
    cookie::Cookie,
    guesses::Guesses,
    origin::Origins,
    renewal::Renewals,
    slot::{Shared, Untyped},
};

/// Finds the session of each request by its cookie, and keeps the cookie up to date.
///
/// One layer serves all process types of the engine, `Session<Cart>` and `Session<Admin>`; yet a session runs one
/// process, and asking it for the other type is an error. The defaults need no option; see the table of
/// [cookies](crate#the-cookie).
///
/// ```
/// use axum::{Router, routing::get};
/// use session_process::{Process, Sessions};
/// use session_process_axum::{SameSite, SessionLayer};
///
/// # #[derive(Default)] struct Cart; impl Process for Cart {}
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Sessions::<Cart>::builder().build()?;
/// let layer = SessionLayer::new(sessions)
///     .with_cookie_name("__Host-shop")?
///     .with_same_site(SameSite::Strict)?;
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(layer);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a layer does nothing before it is added to a service"]
pub struct SessionLayer {
    shared: Arc<Shared>,
}

impl SessionLayer {
    /// A layer with the default cookie, for https.
    pub fn new<P: Process>(sessions: Sessions<P>) -> Self {
        Self {
            shared: Arc::new(Shared {
                sessions: sessions.of::<Untyped>(),
                cookie: Cookie::default(),
                start_key: None,
                origins: Origins::default(),
                guesses: None,
                renewals: None,
            }),
        }
    }

    /// Another name than `__Host-id`. A name without the prefix gives up a protection: pages of neighbouring domains
    /// can then plant a cookie of that name.
    ///
    /// # Errors
    /// [`ConfigError`] if it is no name for a cookie, or its prefix and other options contradict each other.
    pub fn with_cookie_name(self, name: impl Into<Cow<'static, str>>) -> Result<Self, ConfigError> {
        self.with_cookie(|cookie| cookie.with_name(name.into()))
    }

    /// Another `SameSite` than `Lax`.
    ///
    /// # Errors
    /// [`ConfigError`] for [`SameSite::None`] on a cookie without `Secure`.
    pub fn with_same_site(self, same_site: SameSite) -> Result<Self, ConfigError> {
        self.with_cookie(|cookie| cookie.with_same_site(same_site))
    }

    /// Lets the cookie outlive the browser, for this long from the moment it is set: at the session's start and at
    /// each rotation. Default: `None`. How long the session lives is for the engine to decide, in any case.
    ///
    /// # Errors
    /// [`ConfigError`] for less than a second, and for more than the 400 days that browsers honour.
    pub fn with_max_age(self, max_age: impl Into<Option<Duration>>) -> Result<Self, ConfigError> {
        self.with_cookie(|cookie| cookie.with_max_age(max_age.into()))
    }

    /// For development on plain http: no `Secure`, and by default the name `id`, as browsers take a `__Host-` cookie
    /// only with `Secure`. Logs a warning, because anybody on the way can read such a cookie.
    ///
    /// # Errors
    /// [`ConfigError`] if the cookie has a name or a `SameSite` that needs `Secure`.
    pub fn with_insecure_cookies(self) -> Result<Self, ConfigError> {
        let layer = self.with_cookie(Cookie::insecure)?;
        tracing::warn!("session cookies are sent without `Secure`: for development on plain http only");
        Ok(layer)
    }

    /// Whom the start of a session counts for under
    /// [`rate_limit_per_key`](session_process::Builder::rate_limit_per_key): usually an address. `None` counts for
    /// nobody.
    ///
    /// Behind a proxy the peer's address is the proxy's, and a header such as `X-Forwarded-For` can be trusted only
    /// as far as your own proxy wrote it: only the application knows.
    ///
    /// ```
    /// # use axum::extract::ConnectInfo;
    /// # use std::net::SocketAddr;
    /// # fn f(layer: session_process_axum::SessionLayer) {
    /// let layer = layer.with_start_key(|parts| {
    ///     let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    ///     Some(peer.ip().to_string())
    /// });
    /// # }
    /// ```
    pub fn with_start_key(mut self, key: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.shared).start_key = Some(Arc::new(key));
        self
    }

    /// Signs the cookie's value, and turns ids without a good signature away before anything is looked up. A cookie that
    /// an older key of the ring has signed is signed anew when its session is used.
    ///
    /// Default: no signature; an id alone can't be guessed. Whoever has a cookie from before is signed out by this.
    pub fn with_signing_keys(self, keys: KeyRing) -> Self {
        let set = |cookie: Cookie| Ok(cookie.with_keys(keys));
        self.with_cookie(set).expect("keys contradict nothing")
    }

    /// Gives a session a new id when it has had one for so long, with the next request that uses it. For the `overlap`
    /// the old id still leads to the session, so that requests under way are not lost, and neither is a browser that
    /// missed the answer: it is told again.
    ///
    /// An id that was stolen without anybody noticing is good for no longer than this, unless the thief keeps up. Not in
    /// place of [`rotate`](crate::Session::rotate) at login, after which an old id is dead at once. Default: never.
    ///
    /// The overlap is known to the node that renewed. On several nodes, requests of one browser at once should go to the
    /// same.
    ///
    /// # Errors
    /// [`ConfigError::RenewalTooOften`]: `every` is not more than twice the `overlap`.
    pub fn with_renewal(mut self, every: Duration, overlap: Duration) -> Result<Self, ConfigError> {
        if overlap.is_zero() || every <= overlap.saturating_mul(2) {
            return Err(ConfigError::RenewalTooOften { every, overlap });
        }
        Arc::make_mut(&mut self.shared).renewals = Some(Arc::new(Renewals::new(every, overlap)));
        Ok(self)
    }

    /// Notices who presents many ids without a session, says so by an
    /// [event](session_process::Event::Guessing), and looks none of theirs up for a while: 429. Default: nobody counts,
    /// since only the application knows whom an address stands for.
    pub fn with_guess_limit(mut self, limit: GuessLimit) -> Self {
        Arc::make_mut(&mut self.shared).guesses = Some(Arc::new(Guesses::new(limit)));
        self
    }

    /// Origins of other sites whose pages may send requests that change something, such as
    /// `https://accounts.example.org`: exactly these, with scheme and port. In place of those that were set before.
    ///
    /// All others are answered 403 ([`CrossSiteRequest`](crate::CrossSiteRequest)): an unsafe method (other than `GET`,
    /// `HEAD`, `OPTIONS`, `TRACE`) with a `Sec-Fetch-Site` other than `same-origin` and `none`; or, from a browser that
    /// doesn't send that, with an `Origin` of another host than the request's.
    ///
    /// # Errors
    /// [`ConfigError::Origin`]: not an origin as browsers write it.
    pub fn with_trusted_origins<I>(mut self, origins: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let shared = Arc::make_mut(&mut self.shared);
        shared.origins = shared.origins.clone().with_trusted(origins)?;
        Ok(self)
    }

    /// Lets requests through that other sites cause: something else protects against them, such as a token in each form.
    pub fn with_cross_site_requests(mut self) -> Self {
        Arc::make_mut(&mut self.shared).origins.checks = false;
        self
    }

    fn with_cookie(mut self, set: impl FnOnce(Cookie) -> Result<Cookie, ConfigError>) -> Result<Self, ConfigError> {
        let shared = Arc::make_mut(&mut self.shared);
        shared.cookie = set(shared.cookie.clone())?;
        Ok(self)
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService::new(inner, Arc::clone(&self.shared))
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("sessions", &self.shared.sessions)
            .field("cookie", &self.shared.cookie)
            .finish_non_exhaustive()
    }
}
