//! Whether a request comes from a page of ours.
//!
//! `Sec-Fetch-Site` says so where browsers send it; `Origin` where they don't (on plain http, and with a WebSocket). A
//! comparison is of the whole text: no suffix, no prefix, no pattern.

use http::{HeaderMap, header};

/// Origins besides our own, as browsers write them.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    pub(super) allowed: Vec<String>,
}

impl Origins {
    /// A GET or POST of a page, or of a program that is no browser and says nothing of where it is from.
    pub(super) fn allow_request(&self, headers: &HeaderMap) -> bool {
        if let Some(origin) = headers.get(header::ORIGIN) {
            return self.is_ours(origin.as_bytes(), headers);
        }
        match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
            // `none`: the user has typed the address.
            None | Some(b"same-origin" | b"none") => true,
            Some(_) => false,
        }
    }

    /// A WebSocket: browsers always say where it is from.
    pub(super) fn allow_socket(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => self.is_ours(origin.as_bytes(), headers),
            _ => false,
        }
    }

    fn is_ours(&self, origin: &[u8], headers: &HeaderMap) -> bool {
        if self.allowed.iter().any(|allowed| allowed.as_bytes() == origin) {
            return true;
        }
        // Which scheme we were asked by, a server behind a proxy doesn't know; and by the other one there is nobody
        // else under our name.
        let host = headers.get(header::HOST).map(|host| host.as_bytes());
        let authority = origin
            .strip_prefix(b"https://")
            .or_else(|| origin.strip_prefix(b"http://"));
        authority.is_some() && authority == host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let list = list.iter();
        list.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_the_whole_origin_is_ours() {
        let origins = Origins {
            allowed: vec!["https://shop.example".to_owned()],
        };
        for (origin, ours) in [
            ("https://shop.example", true),
            ("https://inner:8080", true),
            ("https://evil.example", false),
            ("https://shop.example.evil.example", false),
            ("https://evil-shop.example", false),
            ("https://shop.example:444", false),
            ("http://shop.example", false),
            ("https://inner", false),
            ("https://inner:80801", false),
            ("null", false),
            ("", false),
        ] {
            let headers = headers(&[("host", "inner:8080"), ("origin", origin)]);
            assert_eq!(origins.allow_socket(&headers), ours, "{origin}");
            assert_eq!(origins.allow_request(&headers), ours, "{origin}");
        }
        assert!(!origins.allow_socket(&headers(&[("host", "inner:8080")])), "missing");
    }

    #[test]
    fn what_the_browser_says_of_the_site_counts_where_there_is_no_origin() {
        let origins = Origins::default();
        for (site, ours) in [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
        ] {
            assert_eq!(
                origins.allow_request(&headers(&[("host", "a"), ("sec-fetch-site", site)])),
                ours,
                "{site}"
            );
        }
    }
}
