//! What open pages are told: the cart to all tabs, the list of sessions when it changes, and what others take.

use axum::Router;
use serde::Serialize;
use session_process_axum::live::{self, Live, Pages, PushError};

use crate::{
    Shop,
    visitor::{Visit, Visitor},
};

/// Somebody put this into a cart.
pub(crate) const TAKEN: &str = "taken";

/// The list of the user's sessions is another one.
pub(crate) const SESSIONS: &str = "sessions";

pub(crate) fn routes(shop: &Shop) -> Router<Shop> {
    let cart = Live::of_store(&shop.sessions, Visitor::view)
        .with_user(|visit: &Visit| visit.state().account.user.clone())
        .with_pages(shop.pages.clone());
    let mut routes = cart.routes("/live").merge(live::script());
    if shop.developer {
        // `null` where the history can't be shown, which the page can say.
        let timeline = Live::new(&shop.sessions, |visit: &Visit| visit.timeline().ok()).with_pages(shop.pages.clone());
        routes = routes.merge(timeline.routes("/live/developer"));
    }
    routes
}

/// Tells the pages of all of a user's sessions to look at their list again.
pub(crate) fn sessions_changed(pages: &Pages, user: &str) {
    tell(pages.push_to_user(user, SESSIONS, &()));
}

/// Tells everybody what was taken.
pub(crate) fn taken(pages: &Pages, news: &impl Serialize) {
    tell(pages.push_to_all(TAKEN, news));
}

fn tell(told: Result<usize, PushError>) {
    if let Err(error) = told {
        tracing::error!(%error, "pages were not told");
    }
}
