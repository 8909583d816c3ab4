//! The pages: HTML from here, with the files `app.css` and `app.js` beside it. All that a user has typed is escaped.

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use session_process_axum::{Error, Session, live};

use crate::{
    Shop,
    catalogue::{ITEMS, Item, price},
    visitor::{Visit, look},
};

const LAYOUT: &str = include_str!("../assets/layout.html");
const SHOP: &str = include_str!("../assets/shop.html");
const NOT_FOUND: &str = include_str!("../assets/not_found.html");
const SESSIONS: &str = include_str!("../assets/sessions.html");
const APP: &str = include_str!("../assets/app.js");
const DEVELOPER_SCRIPT: &str = include_str!("../assets/developer.js");
const DEVELOPER: &str = include_str!("../assets/developer.html");

pub(crate) fn routes() -> Router<Shop> {
    Router::new()
        .route("/", get(shop))
        .route("/sessions", get(sessions))
        .route(
            "/app.css",
            get(|| file("text/css; charset=utf-8", include_str!("../assets/app.css"))),
        )
        .route(
            "/app.js",
            get(async || file("text/javascript; charset=utf-8", script(APP)).await),
        )
        .route(
            "/icon.svg",
            get(|| file("image/svg+xml", include_str!("../assets/icon.svg"))),
        )
}

/// With `--developer` only.
pub(crate) fn developer() -> Router<Shop> {
    Router::new()
        .route("/developer", get(developer_page))
        .route(
            "/developer.js",
            get(async || file("text/javascript; charset=utf-8", script(DEVELOPER_SCRIPT)).await),
        )
        .route(
            "/developer.css",
            get(|| file("text/css; charset=utf-8", include_str!("../assets/developer.css"))),
        )
}

async fn developer_page() -> Html<String> {
    page("What happened · Hearth & Shelf", DEVELOPER)
}

/// The client of live pages has another address for each of its versions.
fn script(source: &str) -> String {
    source.replace("/live.js", &live::script_path())
}

async fn file(kind: &'static str, content: impl Into<String>) -> impl IntoResponse {
    // Asked for again each time, as a new build may have changed it.
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
    (
        headers.map(|(name, value)| (name, HeaderValue::from_static(value))),
        content.into(),
    )
}

async fn shop(session: Session<Visit>) -> Result<Html<String>, Error> {
    let cards: String = ITEMS.iter().map(card).collect();
    let account = account(&session).await?;
    let main = fill(SHOP, &[("cards", &cards), ("account", &account)]);
    Ok(page("Hearth & Shelf", &main))
}

async fn sessions(session: Session<Visit>) -> Result<Html<String>, Error> {
    let account = account(&session).await?;
    Ok(page(
        "Your sessions · Hearth & Shelf",
        &fill(SESSIONS, &[("account", &account)]),
    ))
}

pub(crate) async fn not_found(session: Session<Visit>) -> Result<(StatusCode, Html<String>), Error> {
    let main = fill(NOT_FOUND, &[("account", &account(&session).await?)]);
    Ok((StatusCode::NOT_FOUND, page("Not found · Hearth & Shelf", &main)))
}

fn page(title: &str, main: &str) -> Html<String> {
    Html(fill(LAYOUT, &[("title", &escape(title)), ("main", main)]))
}

fn card(item: &Item) -> String {
    format!(
        r#"<li class="card" data-item="{id}" data-name="{name}" data-cents="{cents}">
  <svg class="drawing" viewBox="0 0 24 24" aria-hidden="true"><path d="{drawing}"/></svg>
  <h3>{name}</h3>
  <p class="note">{note}</p>
  <div class="buy"><span class="price">{price}</span><button type="button" data-add="{id}" aria-label="Add {name} to the cart">Add</button></div>
</li>
"#,
        id = item.id,
        name = escape(item.name),
        note = escape(item.note),
        cents = item.cents,
        drawing = item.drawing,
        price = price(item.cents),
    )
}

/// Who is signed in, or the form for it. Does not begin a session.
async fn account(session: &Session<Visit>) -> Result<String, Error> {
    Ok(match look(session, |visitor| visitor.account.user.clone()).await?.flatten() {
        Some(name) => format!(
            r#"<p class="hello">Hello, <strong id="user">{}</strong></p><button type="button" class="quiet" id="logout">Sign out</button>"#,
            escape(&name)
        ),
        None => r#"<form id="login"><label for="name">Sign in with any name</label>
<div class="row"><input id="name" name="name" required maxlength="40" autocomplete="nickname" placeholder="Your name"><button>Sign in</button></div></form>"#
            .to_owned(),
    })
}

/// Puts values in the place of `{{names}}`, in one pass: what is put in is not looked at again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("a template closes its braces");
        let value = values.iter().find(|(known, _)| *known == name);
        filled.push_str(before);
        filled.push_str(value.expect("a template names known values").1);
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            escape(r#"<b a="1" c='2'>&"#),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;"
        );
    }

    #[test]
    fn a_value_is_not_a_template() {
        let filled = fill("{{a}}-{{b}}", &[("a", "{{b}}"), ("b", "x")]);
        assert_eq!(filled, "{{b}}-x");
    }
}
