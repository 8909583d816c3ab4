//! [`Frame`]: what goes down to a page, and [`Up`]: what comes from it. One JSON for both transports.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol, in `hello`.
const VERSION: u32 = 1;

/// A frame as server-sent event, with its JSON inside: encoded once, and shared by all pages that get it.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    kind: &'static str,
    event: Bytes,
    /// Where the JSON is in it.
    json: (u32, u32),
}

impl Frame {
    /// `json` is one line.
    fn new(kind: &'static str, id: Option<(&str, u64)>, json: &str) -> Self {
        let mut event = String::with_capacity(json.len() + kind.len() + 64);
        event.push_str("event: ");
        event.push_str(kind);
        if let Some((epoch, rev)) = id {
            event.push_str("\nid: ");
            event.push_str(&place(epoch, rev));
        }
        event.push_str("\ndata: ");
        let start = event.len();
        event.push_str(json);
        let end = event.len();
        event.push_str("\n\n");
        Self {
            kind,
            event: event.into(),
            json: (start as u32, end as u32),
        }
    }

    fn of(kind: &'static str, frame: &impl Serialize) -> Self {
        Self::new(kind, None, &to_json(frame))
    }

    pub(crate) fn hello(epoch: &str, rev: u64, resumed: bool, heartbeat: Duration) -> Self {
        #[derive(Serialize)]
        struct Hello<'a> {
            t: &'static str,
            v: u32,
            epoch: &'a str,
            rev: u64,
            resumed: bool,
            heartbeat_ms: u64,
        }
        let heartbeat_ms = millis(heartbeat);
        let (t, v) = ("hello", VERSION);
        Self::of(
            t,
            &Hello {
                t,
                v,
                epoch,
                rev,
                resumed,
                heartbeat_ms,
            },
        )
    }

    /// The whole state; `data` is JSON.
    pub(crate) fn state(epoch: &str, rev: u64, data: &str) -> Self {
        let json = format!(r#"{{"t":"state","rev":{rev},"data":{data}}}"#);
        Self::new("state", Some((epoch, rev)), &json)
    }

    /// A merge patch from one revision to another; `data` is JSON.
    pub(crate) fn patch(epoch: &str, from: u64, rev: u64, data: &str) -> Self {
        let json = format!(r#"{{"t":"patch","from":{from},"rev":{rev},"data":{data}}}"#);
        Self::new("patch", Some((epoch, rev)), &json)
    }

    pub(crate) fn event(name: &str, data: &Value) -> Self {
        #[derive(Serialize)]
        struct Event<'a> {
            t: &'static str,
            name: &'a str,
            data: &'a Value,
        }
        let t = "event";
        Self::of(t, &Event { t, name, data })
    }

    /// Without a time: it doesn't expire soon any more.
    pub(crate) fn expiring(within: Option<Duration>, kind: &'static str) -> Self {
        #[derive(Serialize)]
        struct Expiring {
            t: &'static str,
            in_ms: Option<u64>,
            kind: &'static str,
        }
        let (t, in_ms) = ("expiring", within.map(millis));
        Self::of(t, &Expiring { t, in_ms, kind })
    }

    pub(crate) fn session_expired(reason: &'static str) -> Self {
        #[derive(Serialize)]
        struct Expired {
            t: &'static str,
            reason: &'static str,
        }
        let t = "session_expired";
        Self::of(t, &Expired { t, reason })
    }

    pub(crate) fn reconnect(after: Duration, reason: &'static str) -> Self {
        #[derive(Serialize)]
        struct Reconnect {
            t: &'static str,
            after_ms: u64,
            reason: &'static str,
        }
        let (t, after_ms) = ("reconnect", millis(after));
        Self::of(t, &Reconnect { t, after_ms, reason })
    }

    pub(crate) fn ping() -> Self {
        Self::new("ping", None, r#"{"t":"ping"}"#)
    }

    /// The answer to a `send` that came through a WebSocket.
    pub(crate) fn answer(answer: &Answer) -> Self {
        Self::of("answer", answer)
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn is_ping(&self) -> bool {
        self.kind == "ping"
    }

    /// As a server-sent event.
    pub(crate) fn into_event(self) -> Bytes {
        self.event
    }

    /// As JSON alone.
    pub(crate) fn json(&self) -> Bytes {
        self.event.slice(self.json.0 as usize..self.json.1 as usize)
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a struct of texts and numbers")
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn place(epoch: &str, rev: u64) -> String {
    format!("{epoch}-{rev}")
}

/// What a page sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(crate) enum Up {
    /// Where the page was, first through a WebSocket. A page that is new has neither.
    Resume(Resume),
    /// Somebody is there: keys, the pointer.
    Active,
    /// A message for the process.
    Send(Send),
    Pong,
}

/// Where a page was when it lost its connection.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Resume {
    pub(crate) epoch: Option<String>,
    #[serde(default)]
    pub(crate) rev: u64,
}

impl Resume {
    /// From `Last-Event-ID`.
    pub(crate) fn from_event_id(id: &str) -> Option<Self> {
        let (epoch, rev) = id.rsplit_once('-')?;
        let rev = rev.parse().ok()?;
        let epoch = Some(epoch.to_owned());
        Some(Self { epoch, rev })
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Send {
    /// By which the page knows the answer.
    #[serde(default)]
    pub(crate) id: u64,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) data: Value,
}

/// What became of a `send`: `{t: "answer", id, data}` or `{t: "answer", id, error: {code, message}}`.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    t: &'static str,
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Wrong>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Wrong {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Answer {
    pub(crate) fn new(id: u64, outcome: Result<Value, Wrong>) -> Self {
        let (data, error) = match outcome {
            Ok(data) => (Some(data), None),
            Err(wrong) => (None, Some(wrong)),
        };
        Self {
            t: "answer",
            id,
            data,
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_an_event_and_its_json() {
        let frame = Frame::state("e", 7, r#"{"a":1}"#);
        assert_eq!(frame.json(), r#"{"t":"state","rev":7,"data":{"a":1}}"#);
        assert_eq!(
            frame.into_event(),
            "event: state\nid: e-7\ndata: {\"t\":\"state\",\"rev\":7,\"data\":{\"a\":1}}\n\n"
        );
    }

    #[test]
    fn no_text_of_an_event_begins_another_line() {
        let frame = Frame::event("a\nevent: b", &Value::from("x\r\n\ndata: y"));
        let text = String::from_utf8(frame.into_event().to_vec()).unwrap();
        assert_eq!(text.trim_end().lines().count(), 2, "{text}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = serde_json::from_slice::<Up>(&bytes);
        }

        #[test]
        fn any_event_id_is_a_place_or_none(id in ".{0,60}") {
            if let Some(Resume { epoch, rev }) = Resume::from_event_id(&id) {
                let id = place(&epoch.unwrap(), rev);
                prop_assert_eq!(Resume::from_event_id(&id).unwrap().rev, rev);
            }
        }
    }
}
