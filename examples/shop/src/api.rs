//! JSON under `/api`. Ids of sessions are in no answer; sessions have public handles.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    routing::{delete, get, post},
};
use serde::{Deserialize, Serialize};
use session_process::{Sessions, redux};
use session_process_axum::Session;

use crate::{
    Shop,
    cart::CartAction,
    catalogue::{self, ITEMS},
    device,
    directory::{Directory, Entry},
    error::{ApiError, ApiJson},
    house::{House, News},
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
        .route("/sessions", get(sessions))
        .route("/sessions/{handle}", delete(end))
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
    if !session.is_started() {
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
    State(directory): State<Directory>,
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
        session.end().await;
    }
    // First a new id, then the name: an id that somebody planted is never signed in.
    let id = session.rotate().await?;
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let device = device::label(user_agent.unwrap_or_default());
    let sign_in = AccountAction::SignIn {
        name: name.to_owned(),
        listing: Some(directory.list(name, id, device).into()),
    };
    dispatch(&session, sign_in).await
}

async fn logout(session: Session<Visit>) -> StatusCode {
    session.end().await;
    StatusCode::NO_CONTENT
}

/// A session as its user sees it.
#[derive(Debug, Serialize)]
struct Listed {
    handle: String,
    device: String,
    /// Seconds since 1970.
    started: u64,
    last_used: u64,
    current: bool,
}

#[derive(Debug, Serialize)]
struct List {
    user: String,
    sessions: Vec<Listed>,
}

async fn sessions(
    session: Session<Visit>,
    State(directory): State<Directory>,
    State(sessions): State<Sessions<Visit>>,
) -> Answer<List> {
    let user = user(&session).await?;
    let current = session.id();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let listed = |Entry { id, device }: Entry| {
        // Gone since the directory was asked: not in the list.
        let stats = sessions.session_stats(&id).ok()?;
        Some(Listed {
            handle: id.public_handle().to_string(),
            device,
            started: now.saturating_sub(stats.age).as_secs(),
            last_used: now.saturating_sub(stats.idle_for).as_secs(),
            current: current.as_ref() == Some(&id),
        })
    };
    let sessions = directory.of(&user).into_iter().filter_map(listed).collect();
    Ok(Json(List { user, sessions }))
}

/// Ends one of the user's own sessions.
async fn end(
    session: Session<Visit>,
    State(directory): State<Directory>,
    State(sessions): State<Sessions<Visit>>,
    handle: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let user = user(&session).await?;
    let Path(handle) = handle.map_err(|_| ApiError::UnknownSession)?;
    let mut own = directory.of(&user).into_iter();
    let found = own.find(|entry| entry.id.public_handle().to_string() == handle);
    let id = found.ok_or(ApiError::UnknownSession)?.id;
    if session.id().as_ref() == Some(&id) {
        session.end().await;
    } else {
        sessions.terminate(&id).await.map_err(|_| ApiError::UnknownSession)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn user(session: &Session<Visit>) -> Result<String, ApiError> {
    let user = look(session, |visitor| visitor.account.user.clone()).await?;
    user.flatten().ok_or(ApiError::NotSignedIn)
}
