//! The browser's client, as this crate serves it.

use axum::{Router, routing::get};
use http::{HeaderName, HeaderValue, header};

/// The module itself, also at `client/live.js` of this crate.
const SOURCE: &str = include_str!("../../client/live.js");

const HASH: [u8; 16] = hex(fnv(SOURCE.as_bytes()));

/// FNV-1a: to tell one version from another, when the program is compiled.
const fn fnv(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

const fn hex(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    let mut at = 0;
    while at < 16 {
        text[at] = b"0123456789abcdef"[(number >> (60 - 4 * at) & 15) as usize];
        at += 1;
    }
    text
}

/// Where [`script`] serves the client: `/live-….js`, another address for another version. For the page:
/// `<script type="module">import { live } from "…"</script>`.
#[must_use]
pub fn script_path() -> String {
    let hash = std::str::from_utf8(&HASH).expect("hexadecimal digits");
    format!("/live-{hash}.js")
}

/// The route of the browser's client at [`script_path`], which browsers keep for good.
pub fn script<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/javascript; charset=utf-8"),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Router::new().route(&script_path(), get(move || async move { (headers, SOURCE) }))
}
