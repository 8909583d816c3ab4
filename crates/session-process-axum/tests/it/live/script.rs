//! The browser's client, as it is served.

use std::io::Read;

use axum::body::Bytes;
use session_process_axum::live;

use super::*;

const SOURCE: &str = include_str!("../../../client/live.js");

async fn asked(method: &str, accept: &[&str]) -> (http::response::Parts, Bytes) {
    let mut request = Request::builder().method(method).uri(live::script_path());
    for accept in accept {
        request = request.header(header::ACCEPT_ENCODING, *accept);
    }
    let app: Router = live::script();
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn whoever_accepts_gzip_gets_three_kilobytes() {
    let (parts, body) = asked("GET", &["gzip, deflate, br, zstd"]).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(parts.headers[header::CONTENT_ENCODING], "gzip");
    assert_eq!(parts.headers[header::CONTENT_LENGTH], body.len().to_string());
    assert!(body.len() < 3_500, "the documents say 3 kB: {}", body.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, SOURCE);
}

#[tokio::test]
async fn whoever_does_not_accept_it_gets_the_file_as_it_is() {
    for accept in [&[][..], &["br"], &["gzip;q=0"], &["*", "gzip; q=0.0"]] {
        let (parts, body) = asked("GET", accept).await;
        assert_eq!(parts.status, StatusCode::OK);
        assert!(!parts.headers.contains_key(header::CONTENT_ENCODING), "{accept:?}");
        assert_eq!(body, SOURCE, "{accept:?}");
    }
}

#[tokio::test]
async fn caches_are_told_that_there_are_two_of_it() {
    for accept in ["gzip", "identity"] {
        for method in ["GET", "HEAD"] {
            let (parts, _) = asked(method, &[accept]).await;
            assert_eq!(parts.headers[header::VARY], "accept-encoding");
            assert_eq!(parts.headers[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
            assert_eq!(
                parts.headers[header::CACHE_CONTROL],
                "public, max-age=31536000, immutable"
            );
        }
    }
}
