//! Their words for a session, and ours.

use std::sync::Arc;

use session_process::{
    Attributes, SessionId, Timestamp,
    records::{RecordError, SessionView},
    store::{Attribute, AttributeMap, Version},
};
use time::{OffsetDateTime, PrimitiveDateTime};
use tower_sessions_core::{
    session::{Id, Record},
    session_store::Error,
};

/// The id under which a session of tower-sessions is in the records: what
/// [`set_user`](session_process::records::SessionRecords::set_user) and its like take.
///
/// ```
/// use session_process_tower_sessions::session_id;
/// use tower_sessions::session::Id;
///
/// let id = Id::default();
/// assert_eq!(session_id(id).expose(), id.to_string());
/// ```
#[must_use]
pub fn session_id(id: Id) -> SessionId {
    let text = id.to_string();
    text.parse().expect("22 characters of base64 for URLs are an id")
}

/// The values of a session. Limits on them are the records' affair.
///
/// # Errors
/// A value that can't be written as JSON.
pub(crate) fn attributes(record: &Record, now: Timestamp) -> Result<Attributes, Error> {
    let mut map = AttributeMap::new();
    for (name, value) in &record.data {
        let json = serde_json::to_string(value).map_err(|error| Error::Encode(error.to_string()))?;
        let attribute = Attribute {
            json: Arc::from(json),
            version: Version::default(),
            expires_at: None,
        };
        map.insert(Arc::from(name.as_str()), attribute);
    }
    Ok(Attributes::from_map(map, now))
}

/// A session as tower-sessions has it.
///
/// # Errors
/// A value that isn't JSON.
pub(crate) fn record(id: Id, view: &SessionView) -> Result<Record, Error> {
    let mut data = std::collections::HashMap::new();
    for (name, attribute) in view.attributes().iter() {
        let value = serde_json::from_str(&attribute.json);
        // Not what serde says: it may repeat the value.
        let value = value.map_err(|_| Error::Decode(format!("the value of {name:?} is not JSON")))?;
        data.insert(name.to_owned(), value);
    }
    Ok(Record {
        id,
        data,
        expiry_date: date(view.expires_at()),
    })
}

/// To the microsecond, as stores keep it.
pub(crate) fn timestamp(date: OffsetDateTime) -> Timestamp {
    let micros = date.unix_timestamp_nanos().div_euclid(1_000);
    // Years from -9999 to 9999 are within an `i64` of microseconds.
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// What is later than their calendar goes is its end.
pub(crate) fn date(at: Timestamp) -> OffsetDateTime {
    let nanos = i128::from(at.as_micros()) * 1_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(PrimitiveDateTime::MAX.assume_utc())
}

pub(crate) fn error(error: RecordError) -> Error {
    match error {
        RecordError::Attribute(error) => Error::Encode(error.to_string()),
        RecordError::Missing => Error::Backend("the session has ended meanwhile, and is not brought back".to_owned()),
        error => Error::Backend(text(&error)),
    }
}

/// An error with what it came from.
pub(crate) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_date_is_kept_to_the_microsecond() {
        let now = OffsetDateTime::now_utc();
        let kept = date(timestamp(now));
        assert_eq!(kept, now.replace_microsecond(now.microsecond()).unwrap());
        assert_eq!(date(Timestamp::MAX), PrimitiveDateTime::MAX.assume_utc());
        let before = OffsetDateTime::UNIX_EPOCH - time::Duration::nanoseconds(1);
        assert_eq!(timestamp(before), Timestamp::from_micros(-1), "never later");
    }
}
