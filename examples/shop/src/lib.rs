//! A small shop. Every visitor has one live process: all tabs and requests of one browser go through it.
//!
//! All three styles of state are here: a visitor is a Redux store of slices, and what the house tells everybody is in a
//! plain process and in attributes.
//!
//! | Module | |
//! |---|---|
//! | [`visitor`] | what a session holds, as a store of slices |
//! | [`cart`] | one of the slices |
//! | `house` | what all visitors share: a plain process, and attributes |
//! | `developer` | what happened in a session, with time travel |
//! | `live` | what open pages are told |
//! | `my_sessions` | the sessions of a user, from the records |
//! | `api` | JSON under `/api` |
//! | `page` | the pages and their files |
//!
//! Run it with `cargo run -p shop`.

mod api;
pub mod cart;
mod catalogue;
mod developer;
mod device;
mod error;
mod house;
mod live;
mod my_sessions;
mod page;
pub mod visitor;

use std::time::Duration;

use axum::{
    Router,
    extract::{FromRef, Request},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
};
use session_process::{BuildError, Builder, Sessions, records::SessionRecords, store::MemoryStore};
use session_process_axum::{SessionLayer, live::Pages};
use tower_http::csrf::CsrfLayer;

use self::{error::ApiError, house::House, visitor::Visit};

/// What the shop runs on. Many can live in one program, as the tests do.
#[derive(Clone)]
pub struct Shop {
    sessions: Sessions<Visit>,
    records: SessionRecords,
    house: House,
    pages: Pages,
    developer: bool,
    /// How long an id is good, and its predecessor with it.
    renewal: Option<(Duration, Duration)>,
}

impl Shop {
    /// A shop with these limits that forgets all when it is dropped: `Sessions::builder()` has the usual ones.
    ///
    /// # Errors
    /// [`BuildError`]: a limit of zero, or no tokio runtime.
    pub fn new(limits: Builder<Visit>) -> Result<Self, BuildError> {
        Self::with_records(limits, SessionRecords::builder(MemoryStore::new()).build()?)
    }

    /// The same with sessions in these records: in a file, for instance. The limit on a user's sessions is theirs.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_records(limits: Builder<Visit>, records: SessionRecords) -> Result<Self, BuildError> {
        let pages = Pages::new();
        let house = House::open(pages.clone())?;
        // What one node has to tell, the pages of all are told, where they share a store.
        pages.join(&records);
        Ok(Self {
            sessions: limits
                .records(records.clone())
                .extension(visitor::setup(house.clone()))
                .build()?,
            records,
            house,
            pages,
            developer: false,
            renewal: None,
        })
    }

    /// The same with the developer page: `/developer`.
    #[must_use]
    pub fn with_developer_page(mut self) -> Self {
        self.developer = true;
        self
    }

    /// The same with ids that are renewed: for one node, as others don't know what a renewed id leads to.
    #[must_use]
    pub fn with_renewal(mut self, every: Duration, overlap: Duration) -> Self {
        self.renewal = Some((every, overlap));
        self
    }

    /// The sessions as the store has them.
    #[must_use]
    pub fn records(&self) -> &SessionRecords {
        &self.records
    }

    /// The open pages. Close them before the server shuts down: it waits for them.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The visitors.
    #[must_use]
    pub fn sessions(&self) -> &Sessions<Visit> {
        &self.sessions
    }
}

impl std::fmt::Debug for Shop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shop")
            .field("sessions", &self.sessions)
            .field("developer", &self.developer)
            .finish_non_exhaustive()
    }
}

impl FromRef<Shop> for SessionRecords {
    fn from_ref(shop: &Shop) -> Self {
        shop.records.clone()
    }
}

impl FromRef<Shop> for Pages {
    fn from_ref(shop: &Shop) -> Self {
        shop.pages.clone()
    }
}

impl FromRef<Shop> for House {
    fn from_ref(shop: &Shop) -> Self {
        shop.house.clone()
    }
}

/// The whole application, for a server or a test.
///
/// # Panics
/// If [ids are renewed](Shop::with_renewal) more often than the overlap allows. (A plain cookie that has no other option
/// contradicts nothing.)
pub fn app(shop: &Shop) -> Router {
    // Plain http, for everybody to try. On a real site: https, and without this line.
    let sessions = SessionLayer::new(shop.sessions.clone()).with_insecure_cookies();
    let mut sessions = sessions.expect("a plain cookie contradicts nothing");
    if let Some((every, overlap)) = shop.renewal {
        let renewing = sessions.with_renewal(every, overlap);
        sessions = renewing.expect("an overlap that is shorter than an id's life");
    }
    let csrf = CsrfLayer::new().with_rejection_response(|_| ApiError::CrossSite.response());
    let (mut pages, mut api) = (page::routes(), api::routes());
    if shop.developer {
        pages = pages.merge(page::developer());
        api = api.merge(developer::api());
    }
    Router::new()
        .merge(pages)
        .merge(live::routes(shop))
        .nest("/api", api)
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
