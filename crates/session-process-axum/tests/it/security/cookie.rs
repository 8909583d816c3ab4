//! Lines 7 to 15: the cookie.

use std::time::Duration;

use axum::Router;
use http::{HeaderValue, Request, header};
use proptest::prelude::*;
use session_process::SessionId;
use session_process_axum::{ConfigError, KeyRing, SameSite, SessionLayer, SigningKey};

use crate::support::{Answer, Client, app, builder, post_with_cookie_header, routes, timed};

fn layer() -> SessionLayer {
    SessionLayer::new(builder().build().unwrap())
}

/// The attributes of the cookie that begins a session, and of the one that removes it.
async fn attributes(app: &Router) -> [Vec<String>; 2] {
    let mut client = Client::new(app);
    let set = client.post("/add/1").await;
    let removal = client.post("/logout").await;
    let attributes = |answer: &Answer| answer.set_cookie().unwrap().split("; ").map(str::to_owned).collect();
    [attributes(&set), attributes(&removal)]
}

async fn both_have(attribute: &str) {
    for cookie in attributes(&routes().layer(layer())).await {
        assert!(cookie.iter().any(|part| part == attribute), "{attribute}");
    }
}

#[tokio::test]
async fn line_07_the_cookie_is_secure() {
    both_have("Secure").await;
}

#[tokio::test]
async fn line_08_the_cookie_is_of_this_host_alone_and_the_builder_refuses_contradictions() {
    both_have("Path=/").await;
    for cookie in attributes(&routes().layer(layer())).await {
        assert!(cookie[0].starts_with("__Host-"));
        assert!(
            !cookie
                .iter()
                .any(|part| part.to_ascii_lowercase().starts_with("domain"))
        );
    }
    let insecure = layer().with_insecure_cookies().unwrap();
    let refused = insecure.with_cookie_name("__Host-id").unwrap_err();
    assert!(matches!(refused, ConfigError::PrefixWithoutSecure { .. }));
    let named = layer().with_cookie_name("__Host-id").unwrap();
    assert!(matches!(
        named.with_insecure_cookies().unwrap_err(),
        ConfigError::PrefixWithoutSecure { .. }
    ));
    for name in ["__host-id", "__HOST-id", "__Secure-id;", "a b", ""] {
        assert!(layer().with_cookie_name(name).is_err(), "{name:?}");
    }
}

#[tokio::test]
async fn line_09_no_script_sees_the_cookie() {
    both_have("HttpOnly").await;
}

#[tokio::test]
async fn line_10_same_site_is_explicit_and_none_must_be_asked_for() {
    both_have("SameSite=Lax").await;
    assert_eq!(SameSite::default(), SameSite::Lax);
    let none = layer().with_same_site(SameSite::None).unwrap();
    let [set, _] = attributes(&routes().layer(none)).await;
    assert!(set.contains(&"SameSite=None".to_owned()) && set.contains(&"Secure".to_owned()));
    let refused = layer()
        .with_insecure_cookies()
        .and_then(|layer| layer.with_same_site(SameSite::None))
        .unwrap_err();
    assert_eq!(refused, ConfigError::SameSiteNoneWithoutSecure);
}

#[test]
fn line_11_name_value_attributes_and_max_age_are_within_what_browsers_keep() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _in = runtime.enter();
    let keys = KeyRing::new(SigningKey::generate());
    let name = prop_oneof!["[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}", "[A-Za-z]{3900,4200}"];
    proptest!(ProptestConfig::with_cases(64), |(name in name, seconds in 0..=70_000_000u64, signed: bool)| {
        let mut layer = layer();
        if signed {
            layer = layer.with_signing_keys(keys.clone());
        }
        let layer = layer.with_cookie_name(name.clone());
        prop_assert_eq!(layer.is_ok(), name.len() <= 4096 - 172, "{}", name.len());
        let Ok(layer) = layer else { return Ok(()) };
        let layer = layer.with_max_age(Duration::from_secs(seconds));
        prop_assert_eq!(layer.is_ok(), (1..=400 * 86_400).contains(&seconds));
        let Ok(layer) = layer else { return Ok(()) };
        for cookie in runtime.block_on(attributes(&routes().layer(layer))) {
            prop_assert!(cookie[0].len() <= 4096);
            prop_assert!(cookie[1..].join("; ").len() <= 1024);
        }
    });
}

#[tokio::test]
async fn line_12_the_cookie_ends_with_the_browser_and_the_server_decides_on_expiry() {
    let [set, _] = attributes(&routes().layer(layer())).await;
    assert!(
        !set.iter()
            .any(|part| part.starts_with("Max-Age") || part.starts_with("Expires"))
    );

    let (sessions, clock) = timed();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let id = client.id();
    clock.advance(Duration::from_secs(61));
    assert_eq!(Client::with_id(&app, &id).get("/look").await.body, "none", "a replay");
}

#[tokio::test]
async fn line_13_the_name_says_nothing_of_what_is_behind_it() {
    let [set, _] = attributes(&routes().layer(layer())).await;
    assert!(set[0].starts_with("__Host-id="));
    let plain = layer().with_insecure_cookies().unwrap();
    let mut client = Client::new(&routes().layer(plain));
    assert!(client.post("/add/1").await.set_cookie().unwrap().starts_with("id="));
}

#[tokio::test]
async fn line_14_removal_repeats_name_path_and_secure() {
    let named = layer()
        .with_cookie_name("__Secure-shop")
        .and_then(|layer| layer.with_same_site(SameSite::Strict))
        .unwrap();
    for layer in [layer(), named] {
        let [set, removal] = attributes(&routes().layer(layer)).await;
        let (name, _) = set[0].split_once('=').unwrap();
        assert_eq!(removal[0], format!("{name}="));
        assert_eq!(removal[1..removal.len() - 1], set[1..]);
        assert_eq!(removal.last().unwrap(), "Max-Age=0");
    }
}

#[tokio::test]
async fn line_15_two_cookies_of_the_name_or_a_case_variant_of_its_prefix_are_not_accepted() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let text = client.id().expose().to_owned();
    let other = SessionId::generate();
    for cookies in [
        format!("__Host-id={text}; __Host-id={text}"),
        format!("__Host-id={text}; __Host-id={}", other.expose()),
        format!("__Host-id={text}; __host-id={}", other.expose()),
        format!("__HOST-id={text}"),
        format!("__Host-id={text}; __Host-id="),
    ] {
        let answer = post_with_cookie_header(&app, "/touch", &[cookies.as_bytes()]).await;
        assert_eq!(answer.body, "false", "{}", cookies.replace(&text, "ID"));
    }
    // In two headers, as HTTP/2 may send them.
    let mut request = Request::post("/touch").body(axum::body::Body::empty()).unwrap();
    for id in [&text, other.expose()] {
        let value = HeaderValue::from_str(&format!("__Host-id={id}")).unwrap();
        request.headers_mut().append(header::COOKIE, value);
    }
    assert_eq!(crate::support::send(&app, request).await.body, "false");
    assert_eq!(client.post("/touch").await.body, "true");
}
