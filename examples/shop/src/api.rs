//! JSON under `/api`. Ids of sessions are in no answer; sessions have public handles.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    routing::{delete, get, post},
};
use serde::Deserialize;
use session_process::{records::SessionRecords, redux};
use session_process_axum::{Session, live::Pages};

use crate::{
    Shop,
    cart::CartAction,
    catalogue::{self, ITEMS},
    device,
    error::{ApiError, ApiJson},
    house::{House, News},
    live, my_sessions,
    visitor::{AccountAction, View, Visit, Visitor, VisitorAction, look},
};

/// Far more than any request here needs.
const MAX_BODY: usize = 16 * 1024;

const MAX_NAME: usize = 40;

type Answer<T> = Result<Json<T>, ApiError>;

pub(crate) fn routes() -> Router<Shop> {
    Router::new()
        .route("/catalogue", get(|| async { Json(&ITEMS) }))
        .route("/cart", get(cart).post(add))
        .route("/cart/{item}", delete(remove))
        .route("/actions", post(action))
        .route("/news", get(news))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .merge(my_sessions::routes())
        .fallback(|| async { ApiError::NotFound })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Only looks: who has put nothing into a cart gets neither a process nor a cookie.
async fn cart(session: Session<Visit>) -> Answer<View> {
    Ok(Json(look(&session, Visitor::view).await?.unwrap_or_default()))
}

#[derive(Debug, Deserialize)]
struct Wanted {
    item: String,
}

async fn add(session: Session<Visit>, ApiJson(wanted): ApiJson<Wanted>) -> Answer<View> {
    // Asked here too, so that nonsense begins no session.
    let item = catalogue::find(&wanted.item).ok_or(ApiError::UnknownItem)?;
    dispatch(&session, CartAction::Add(item.id.to_owned())).await
}

async fn remove(session: Session<Visit>, item: Result<Path<String>, PathRejection>) -> Answer<View> {
    let item = item.ok().and_then(|Path(id)| catalogue::find(&id));
    let item = item.ok_or(ApiError::UnknownItem)?;
    if !session.is_started().await? {
        return Err(ApiError::NotInCart);
    }
    dispatch(&session, CartAction::Remove(item.id.to_owned())).await
}

async fn dispatch(session: &Session<Visit>, action: impl Into<VisitorAction>) -> Answer<View> {
    session
        .call(redux::dispatch(action.into()))
        .await?
        .map_err(|refused| ApiError::Refused(*refused))?;
    Ok(Json(look(session, Visitor::view).await?.unwrap_or_default()))
}

/// An action by its name, of those that the page may send.
#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    payload: serde_json::Value,
}

async fn action(session: Session<Visit>, ApiJson(named): ApiJson<Named>) -> Answer<View> {
    let by_name = redux::dispatch_by_name(named.name, named.payload);
    session
        .call(by_name)
        .await?
        .map_err(|refused| ApiError::Refused(*refused))?;
    Ok(Json(look(&session, Visitor::view).await?.unwrap_or_default()))
}

async fn news(State(house): State<House>) -> Json<News> {
    Json(house.news().await)
}

#[derive(Debug, Deserialize)]
struct Login {
    name: String,
}

/// A name is all it takes: this shop shows sessions, not passwords.
async fn login(
    session: Session<Visit>,
    State(records): State<SessionRecords>,
    State(pages): State<Pages>,
    headers: HeaderMap,
    ApiJson(login): ApiJson<Login>,
) -> Answer<View> {
    let name = login.name.trim();
    if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(ApiError::BadName);
    }
    // A visitor's cart becomes the user's. Another user's does not.
    let before = look(&session, |visitor| visitor.account.user.clone()).await?.flatten();
    if before.is_some_and(|before| before != name) {
        session.end().await?;
    }
    // First a new id, then the owner, then the name: an id that somebody planted is never signed in. And what is
    // signed in is in the user's list, where it can be ended.
    let id = session.rotate().await?;
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let device = device::label(user_agent.unwrap_or_default());
    records.set_label(&id, Some(&device)).await?;
    records.set_user(&id, Some(name)).await?;
    let view = dispatch(&session, AccountAction::SignIn { name: name.to_owned() }).await?;
    live::sessions_changed(&pages, name);
    Ok(view)
}

async fn logout(session: Session<Visit>, State(pages): State<Pages>) -> Result<StatusCode, ApiError> {
    let user = look(&session, |visitor| visitor.account.user.clone()).await?.flatten();
    session.end().await?;
    if let Some(user) = user {
        live::sessions_changed(&pages, &user);
    }
    Ok(StatusCode::NO_CONTENT)
}
