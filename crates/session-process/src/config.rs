//! [`Config`]: every limit of an engine, with its default and the reason for it.

use std::time::Duration;

/// The limits of an engine. [`Builder`](crate::Builder) has a method for each; with the feature `serde` they can come
/// from a file, durations as text such as `"90s"` or `"1h 30m"`, and `"off"` for a time limit that is to be absent.
///
/// | Option | Ours | Phoenix.SessionProcess | Why |
/// |---|---|---|---|
/// | `max_sessions` | 1,000,000 | 10,000 | Some 300 MB of idle sessions (`idle_bytes_1m` of the benchmark). A limit is there to save the process from a flood, and ten thousand visitors are no flood. |
/// | `rate_limit` | none | 100 a minute | One limit for all lets any single visitor lock out everybody else: 100 requests without a cookie, and nobody can start a session for a minute. |
/// | `rate_limit_per_key` | none | absent | What the limit above is meant for. It is off because only the application knows its key: behind a proxy every address is the proxy's. |
/// | `idle_timeout` | 1 h | 1 h | |
/// | `max_lifetime` | 30 days | absent | NIST SP 800-63B asks for re-authentication after 30 days at the latest at its lowest level of assurance. |
/// | `sleep_after` | none | absent | Of use where there are more sessions than memory; each wake costs a read of the store. |
/// | `mailbox_capacity` | 1,000 | unbounded | A second of waiting at a millisecond each; more would miss the deadline anyway before it could be of use. |
/// | `call_timeout` | 15 s | 15 s | |
/// | `terminate_timeout` | 5 s | 5 s (OTP's `shutdown`) | |
/// | `sweep_interval` | 1 s | 60 s | Open pages hear of their session's end within this time. Expiry is exact at use without it. |
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Config {
    /// How many sessions may live at a time.
    pub max_sessions: usize,
    /// How many sessions may be started in any minute (a sliding window), in all.
    pub rate_limit: Option<u32>,
    /// How many sessions may be started in a minute for one key, such as an address.
    pub rate_limit_per_key: Option<u32>,
    /// A session that is not used for this long expires.
    #[cfg_attr(feature = "serde", serde(with = "text::optional"))]
    pub idle_timeout: Option<Duration>,
    /// A session that is this old expires, however much it is used.
    #[cfg_attr(feature = "serde", serde(with = "text::optional"))]
    pub max_lifetime: Option<Duration>,
    /// A durable process that is not used for this long is put to sleep.
    #[cfg_attr(feature = "serde", serde(with = "text::optional"))]
    pub sleep_after: Option<Duration>,
    /// How many messages may wait for one session.
    pub mailbox_capacity: usize,
    /// How long a call waits, its time in the mailbox and in the handler together; and a start for its `init`.
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub call_timeout: Duration,
    /// How long a terminate hook may take.
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub terminate_timeout: Duration,
    /// How often expired sessions are looked for.
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub sweep_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            max_sessions: 1_000_000,
            rate_limit: None,
            rate_limit_per_key: None,
            idle_timeout: Some(HOUR),
            max_lifetime: Some(30 * 24 * HOUR),
            sleep_after: None,
            mailbox_capacity: 1_000,
            call_timeout: Duration::from_secs(15),
            terminate_timeout: Duration::from_secs(5),
            sweep_interval: Duration::from_secs(1),
        }
    }
}

/// Durations as people write them.
#[cfg(feature = "serde")]
mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|error| {
            de::Error::custom(format_args!(
                "{text:?} is no duration such as \"15s\" or \"1h\": {error}"
            ))
        })
    }

    pub(super) mod optional {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serializer, de};

        const OFF: &str = "off";

        pub(in super::super) fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_str(OFF),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
            if text == OFF {
                return Ok(None);
            }
            humantime::parse_duration(&text).map(Some).map_err(|error| {
                de::Error::custom(format_args!(
                    "{text:?} is neither \"off\" nor a duration such as \"15s\" or \"1h\": {error}"
                ))
            })
        }
    }
}
