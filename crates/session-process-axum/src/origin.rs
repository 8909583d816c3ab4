//! Which site a request comes from: whether a page of another site caused it.
//!
//! # Invariants
//! 1. What a browser says of itself decides (`Sec-Fetch-Site`), then where it says that the request comes from
//!    (`Origin`). A request with neither is not from a browser of today, and carries no cookie of a user's by accident.
//! 2. An origin is trusted exactly as it was named: no suffix, no other port, no other scheme.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Uri, header, uri::Authority};

use crate::ConfigError;

/// Which requests are let through.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    /// Whether anything is checked.
    pub(crate) checks: bool,
    trusted: Arc<[Box<str>]>,
}

impl Default for Origins {
    fn default() -> Self {
        Self {
            checks: true,
            trusted: Arc::new([]),
        }
    }
}

impl Origins {
    pub(crate) fn with_trusted<I>(mut self, origins: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let checked = |origin: I::Item| check(origin.into());
        self.trusted = origins.into_iter().map(checked).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Whether another site has caused this request, which may change something.
    pub(crate) fn refuses<B>(&self, request: &Request<B>) -> bool {
        self.checks && !is_safe(request.method()) && !self.is_own(request.headers(), request.uri())
    }

    /// Whether a page of ours, or of a trusted origin, has caused the request; or nobody's page.
    pub(crate) fn is_own(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (origin, one_more) = (origins.next(), origins.next());
        if one_more.is_some() {
            return false;
        }
        // What isn't text is no origin that anybody trusts.
        let origin = origin.map(|origin| origin.to_str().unwrap_or("null"));
        if origin.is_some_and(|origin| self.trusted.iter().any(|trusted| **trusted == *origin)) {
            return true;
        }
        let mut sites = headers.get_all("sec-fetch-site").iter();
        match (sites.next(), sites.next()) {
            (Some(site), None) => matches!(site.as_bytes(), b"same-origin" | b"none"),
            (Some(_), Some(_)) => false,
            // A browser that says nothing: plain http, or older than 2023.
            (None, _) => origin.is_none_or(|origin| is_host(origin, headers, uri)),
        }
    }
}

/// RFC 9110, section 9.2.1: what is not to change anything.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Whether the origin's host and port are those that the request was sent to. Its scheme can't be known behind a
/// proxy.
fn is_host(origin: &str, headers: &HeaderMap, uri: &Uri) -> bool {
    let Some((scheme, host)) = split(origin) else {
        return false;
    };
    // With HTTP/2 it is in the URI.
    let mut hosts = headers.get_all(header::HOST).iter();
    let asked = match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), _, _) => Some(authority.clone()),
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        _ => None,
    };
    let port = |of: &Authority| of.port_u16().or(default_port(scheme));
    asked.is_some_and(|asked| asked.host().eq_ignore_ascii_case(host.host()) && port(&asked) == port(&host))
}

fn split(origin: &str) -> Option<(&str, Authority)> {
    let (scheme, authority) = origin.split_once("://")?;
    Some((scheme, authority.parse().ok()?))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

/// An origin as browsers write it: RFC 6454, section 6.2.
fn check(origin: String) -> Result<Box<str>, ConfigError> {
    let is_one = split(&origin).is_some_and(|(scheme, authority)| {
        let plain = authority
            .as_str()
            .bytes()
            .all(|byte| !byte.is_ascii_uppercase() && byte != b'@');
        let port = authority.port_u16();
        matches!(scheme, "https" | "http") && plain && (port.is_none() || port != default_port(scheme))
    });
    if is_one {
        Ok(origin.into())
    } else {
        Err(ConfigError::Origin { origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own(origins: &Origins, headers: &[(&'static str, &'static str)]) -> bool {
        let mut request = Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        !origins.refuses(&request.body(()).unwrap())
    }

    #[test]
    fn what_the_browser_says_decides() {
        let origins = Origins::default();
        for (site, own) in [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
            ("Same-Origin", false),
            ("", false),
        ] {
            assert_eq!(is_own(&origins, &[("sec-fetch-site", site)]), own, "{site}");
        }
        let twice = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
        assert!(!is_own(&origins, &twice));
    }

    #[test]
    fn without_that_the_origin_is_to_be_the_host() {
        let origins = Origins::default();
        for (origin, host, own) in [
            ("https://shop.example", "shop.example", true),
            ("https://shop.example:443", "shop.example", true),
            ("https://shop.example", "shop.example:443", true),
            ("http://127.0.0.1:3000", "127.0.0.1:3000", true),
            ("http://[::1]:3000", "[::1]:3000", true),
            ("https://SHOP.example", "shop.example", true),
            ("https://shop.example:8443", "shop.example", false),
            ("http://shop.example", "shop.example:443", false),
            ("https://evil.example", "shop.example", false),
            ("https://shop.example.evil.example", "shop.example", false),
            ("https://evil-shop.example", "shop.example", false),
            ("https://shop.exampl", "shop.example", false),
            ("null", "shop.example", false),
            ("", "shop.example", false),
            ("shop.example", "shop.example", false),
            ("https://shop.example/", "shop.example", false),
        ] {
            assert_eq!(
                is_own(&origins, &[("origin", origin), ("host", host)]),
                own,
                "{origin} at {host}"
            );
        }
        assert!(!is_own(&origins, &[("origin", "https://shop.example")]), "no host");
        assert!(is_own(&origins, &[("host", "shop.example")]), "not from a browser");
    }

    #[test]
    fn a_trusted_origin_is_trusted_exactly() {
        let origins = Origins::default().with_trusted(["https://id.example"]).unwrap();
        let from = |origin| is_own(&origins, &[("origin", origin), ("sec-fetch-site", "cross-site")]);
        assert!(from("https://id.example"));
        for origin in [
            "http://id.example",
            "https://id.example:8443",
            "https://www.id.example",
            "null",
        ] {
            assert!(!from(origin), "{origin}");
        }
        let two = [("origin", "https://id.example"), ("origin", "https://evil.example")];
        assert!(!is_own(&origins, &two));
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for origin in [
            "id.example",
            "https://id.example/",
            "https://ID.example",
            "https://id.example:443",
            "https://u@id.example",
            "ftp://id.example",
            "https://",
            "null",
            "*",
        ] {
            let refused = Origins::default().with_trusted([origin]).unwrap_err();
            assert_eq!(refused, ConfigError::Origin { origin: origin.into() });
        }
        assert!(Origins::default().with_trusted(["http://localhost:3000"]).is_ok());
    }

    #[test]
    fn what_changes_nothing_passes() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            let request = Request::builder().method(method).header("sec-fetch-site", "cross-site");
            assert!(!Origins::default().refuses(&request.body(()).unwrap()), "{method}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PURGE", "get"] {
            let request = Request::builder().method(method).header("sec-fetch-site", "cross-site");
            assert!(Origins::default().refuses(&request.body(()).unwrap()), "{method}");
        }
    }
}
