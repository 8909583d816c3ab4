//! The browser's client, as this crate serves it.

use std::io::Write;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, header};

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

/// The route of the browser's client at [`script_path`], which browsers keep for good. It is compressed for those that
/// accept gzip, once, here.
pub fn script<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let gzipped = gzip(SOURCE.as_bytes());
    let serve = async move |headers: HeaderMap| serve(&headers, &gzipped);
    Router::new().route(&script_path(), get(serve))
}

fn serve(request: &HeaderMap, gzipped: &Bytes) -> Response {
    let headers: [(HeaderName, HeaderValue); 4] = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/javascript; charset=utf-8"),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    if accepts_gzip(request) {
        let gzip = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        return (headers, gzip, gzipped.clone()).into_response();
    }
    (headers, SOURCE).into_response()
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("memory takes what is written").into()
}

/// Whether `Accept-Encoding` names gzip, or all that it doesn't name, with a weight above zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let codings = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    let (mut gzip, mut any) = (None, false);
    for coding in codings {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters
            .split_once('=')
            .filter(|(q, _)| q.trim().eq_ignore_ascii_case("q"));
        // What can't be read is no reason to send what may not be wanted.
        let wanted = weight.map_or(parameters.trim().is_empty(), |(_, weight)| {
            weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0)
        });
        match name.trim() {
            "*" => any = wanted,
            name if name.eq_ignore_ascii_case("gzip") => gzip = Some(wanted),
            _ => {}
        }
    }
    gzip.unwrap_or(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(lines: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        accepts_gzip(&headers)
    }

    #[test]
    fn gzip_is_for_those_who_say_that_they_take_it() {
        for taken in [
            "gzip",
            "GZip",
            "gzip, deflate, br, zstd",
            "br;q=1.0, gzip;q=0.8, *;q=0.1",
            "gzip ; q=0.001",
            "gzip;Q=1",
            "*",
            "identity, *;q=0.5",
        ] {
            assert!(accepts(&[taken]), "{taken}");
        }
        for refused in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "gzip; q=0.000",
            "*;q=0",
            "gzip;q=0, *",
            "*, gzip;q=0",
            "gzip;q=much",
            "gzip;q=NaN",
            "gzipped",
        ] {
            assert!(!accepts(&[refused]), "{refused}");
        }
        assert!(!accepts(&[]));
        assert!(accepts(&["br", "gzip"]), "in two lines");
    }
}
