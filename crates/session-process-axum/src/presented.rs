//! The id that a request presents.
//!
//! # Invariants
//! 1. It comes from the cookie and from nowhere else.
//! 2. A request has one id or none. Where it could be one or another, it is none.
//! 3. No log line holds a value of a cookie.

use http::HeaderValue;
use session_process::{SessionId, events::RefusedId};

use crate::cookie::{Cookie, prefix_of};

/// What a request presents is not taken.
pub(crate) struct Refused<'h> {
    pub(crate) reason: RefusedId,
    /// To tell one from the other by.
    pub(crate) value: &'h [u8],
}

/// The id that a request presents, if it is one beyond doubt, and whether it is written as it would be today; or why
/// what it presents is none.
pub(crate) fn read<'h>(
    cookie: &Cookie,
    headers: impl IntoIterator<Item = &'h HeaderValue>,
) -> Result<Option<(SessionId, bool)>, Refused<'h>> {
    let Some(value) = find(cookie.name(), headers)? else {
        return Ok(None);
    };
    let opened = cookie.open(value);
    opened.map(Some).map_err(|reason| Refused { reason, value })
}

fn find<'h>(ours: &str, headers: impl IntoIterator<Item = &'h HeaderValue>) -> Result<Option<&'h [u8]>, Refused<'h>> {
    let ambiguous = |value| Refused {
        reason: RefusedId::Ambiguous,
        value,
    };
    let mut found = None;
    for pair in headers.into_iter().flat_map(pairs) {
        // A pair without `=` is a value without a name.
        let Some(end) = pair.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (name, value) = (&pair[..end], &pair[end + 1..]);
        if name == ours.as_bytes() {
            if found.replace(value).is_some() {
                return Err(ambiguous(value));
            }
        } else if is_variant(ours, name) {
            return Err(ambiguous(value));
        }
    }
    Ok(found)
}

/// Our name, but for the case of its prefix. Browsers that know the prefix in one case only let any page of a
/// neighbouring domain set such a cookie.
fn is_variant(ours: &str, name: &[u8]) -> bool {
    let Some(prefix) = prefix_of(ours) else {
        return false;
    };
    let ours = ours.as_bytes();
    name.len() == ours.len()
        && name[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
        && name[prefix.len()..] == ours[prefix.len()..]
}

fn pairs(header: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    header.as_bytes().split(|byte| *byte == b';').map(move |pair| {
        let start = pair.iter().position(|byte| !is_space(byte)).unwrap_or(pair.len());
        let end = pair
            .iter()
            .rposition(|byte| !is_space(byte))
            .map_or(start, |last| last + 1);
        &pair[start..end]
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> SessionId {
        "0123456789abcdef".parse().unwrap()
    }

    fn read(lines: &[&str]) -> Option<SessionId> {
        let headers: Vec<_> = lines.iter().map(|line| HeaderValue::from_str(line).unwrap()).collect();
        let (id, _) = super::read(&Cookie::default(), &headers).ok().flatten()?;
        Some(id)
    }

    #[test]
    fn one_cookie_of_the_name_is_read_wherever_it_stands() {
        for line in [
            "__Host-id=0123456789abcdef",
            "a=b; __Host-id=0123456789abcdef",
            "__Host-id=0123456789abcdef; a=b",
            " ;;a; =x;\t__Host-id=0123456789abcdef ;",
        ] {
            assert_eq!(read(&[line]), Some(id()), "{line}");
        }
        assert_eq!(read(&["a=b", "__Host-id=0123456789abcdef"]), Some(id()));
    }

    #[test]
    fn what_is_not_beyond_doubt_is_not_read() {
        for lines in [
            &["__Host-id=0123456789abcdef; __Host-id=0123456789abcdef"] as &[_],
            &["__Host-id=0123456789abcdef", "__Host-id=other"],
            &["__Host-id=0123456789abcdef; __HOST-id=other"],
            &["__host-id=0123456789abcdef"],
            &["__Host-ID=0123456789abcdef"],
            &["__Host-id =0123456789abcdef"],
            &["__Host-id=\"0123456789abcdef\""],
            &["__Host-id="],
            &["__Host-id"],
            &["id=0123456789abcdef"],
            &[],
        ] {
            assert_eq!(read(lines), None, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(line in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                let _ = super::read(&Cookie::default(), [&value]);
            }
        }

        #[test]
        fn any_value_is_an_id_or_nothing(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = [b"__Host-id=".as_slice(), &value].concat();
            if let Ok(header) = HeaderValue::from_bytes(&line)
                && let Ok(Some((id, _))) = super::read(&Cookie::default(), [&header])
            {
                prop_assert!(line.windows(id.expose().len()).any(|part| part == id.expose().as_bytes()));
            }
        }
    }
}
