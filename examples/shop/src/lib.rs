//! A small shop. Every visitor has one live [`Cart`]: all tabs and requests of one browser go through it.
//!
//! | Module | |
//! |---|---|
//! | [`cart`] | the process: what a session holds and does |
//! | [`directory`] | which sessions a user has |
//! | `api` | JSON under `/api` |
//! | `page` | the two pages and their files |
//!
//! Run it with `cargo run -p shop`.

mod api;
pub mod cart;
mod catalogue;
mod device;
pub mod directory;
mod error;
mod page;

use axum::{
    Router,
    extract::{FromRef, Request},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
};
use session_process::{BuildError, Builder, Sessions};
use session_process_axum::SessionLayer;
use tower_http::csrf::CsrfLayer;

use self::{cart::Cart, directory::Directory, error::ApiError};

/// What the shop runs on. Many can live in one program, as the tests do.
#[derive(Debug, Clone)]
pub struct Shop {
    sessions: Sessions<Cart>,
    directory: Directory,
}

impl Shop {
    /// A shop with these limits: `Sessions::<Cart>::builder()` has the usual ones.
    ///
    /// # Errors
    /// [`BuildError`]: a limit of zero, or no tokio runtime.
    pub fn new(limits: Builder<Cart>) -> Result<Self, BuildError> {
        let directory = Directory::default();
        Ok(Self {
            sessions: limits.extension(directory.clone()).build()?,
            directory,
        })
    }

    /// The carts.
    #[must_use]
    pub fn sessions(&self) -> &Sessions<Cart> {
        &self.sessions
    }
}

impl FromRef<Shop> for Directory {
    fn from_ref(shop: &Shop) -> Self {
        shop.directory.clone()
    }
}

impl FromRef<Shop> for Sessions<Cart> {
    fn from_ref(shop: &Shop) -> Self {
        shop.sessions.clone()
    }
}

/// The whole application, for a server or a test.
///
/// # Panics
/// Never: a plain cookie that has no other option contradicts nothing.
pub fn app(shop: &Shop) -> Router {
    // Plain http, for everybody to try. On a real site: https, and without this line.
    let sessions = SessionLayer::new(shop.sessions.clone()).with_insecure_cookies();
    let sessions = sessions.expect("a plain cookie contradicts nothing");
    let csrf = CsrfLayer::new().with_rejection_response(|_| ApiError::CrossSite.response());
    Router::new()
        .merge(page::routes())
        .nest("/api", api::routes())
        .fallback(page::not_found)
        .with_state(shop.clone())
        .layer(sessions)
        .layer(csrf)
        .layer(middleware::from_fn(secure_headers))
}

/// Nothing from elsewhere, nothing inline, and no frame around the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

async fn secure_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
