use std::time::Duration;

use crate::{
    EndReason, PublicHandle,
    store::{SessionKey, Version},
};

/// Something that happened in an engine. Sessions appear by their [`PublicHandle`]; no event holds an id, a message
/// or a state.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A session was started.
    Started {
        /// The session.
        session: PublicHandle,
        /// The type of its process.
        process: &'static str,
        /// How long its `init` took.
        took: Duration,
    },
    /// A session could not be started.
    StartFailed {
        /// The session.
        session: PublicHandle,
        /// The type of its process.
        process: &'static str,
        /// [`StartError::kind`](crate::StartError::kind).
        error: &'static str,
    },
    /// A limit turned a start away.
    Limited {
        /// Which: `session_limit`, `rate_limit` or `key_rate_limit`.
        limit: &'static str,
    },
    /// A session ended. Its terminate hook has run.
    Ended {
        /// The session.
        session: PublicHandle,
        /// The type of its process.
        process: &'static str,
        /// Why.
        reason: EndReason,
        /// How long it lived.
        lifetime: Duration,
    },
    /// A call was answered.
    Called {
        /// The session.
        session: PublicHandle,
        /// The type of the message.
        message: &'static str,
        /// From the call to the reply, waiting included.
        took: Duration,
    },
    /// A cast was handled where it was sent, or left in the mailbox.
    Cast {
        /// The session.
        session: PublicHandle,
        /// The type of the message.
        message: &'static str,
        /// How long the sender was held up.
        took: Duration,
    },
    /// A call or a cast failed.
    MessageFailed {
        /// The session.
        session: PublicHandle,
        /// The type of the message.
        message: &'static str,
        /// [`CallError::kind`](crate::CallError::kind) or [`CastError::kind`](crate::CastError::kind).
        error: &'static str,
    },
    /// A handler panicked.
    Crashed {
        /// The session.
        session: PublicHandle,
        /// The type of its process.
        process: &'static str,
        /// What the panic said.
        panic: String,
    },
    /// A process began anew after a panic.
    Restarted {
        /// The session.
        session: PublicHandle,
        /// The type of its process.
        process: &'static str,
        /// Restarts that count against the policy now.
        restarts: u32,
    },
    /// A terminate hook panicked or ran out of time; the session ended all the same.
    HookFailed {
        /// The session.
        session: PublicHandle,
        /// The type of its process.
        process: &'static str,
        /// What the panic said, or that the time was up.
        error: String,
    },
    /// The state of a durable process was saved.
    Saved {
        /// The session.
        session: PublicHandle,
        /// The type of its process.
        process: &'static str,
        /// How long the store took.
        took: Duration,
    },
    /// The state of a durable process could not be saved.
    SaveFailed {
        /// The session.
        session: PublicHandle,
        /// The type of its process.
        process: &'static str,
        /// [`SaveError::kind`](crate::SaveError::kind).
        error: &'static str,
    },
    /// A session has a new id.
    Rotated {
        /// The session under its old id.
        from: PublicHandle,
        /// The session under its new id.
        to: PublicHandle,
    },
    /// A request presented an id that was not taken. Many of them are somebody guessing.
    IdRefused {
        /// Why.
        reason: RefusedId,
    },
    /// Somebody has presented so many different ids without a session that they are guessing, and is held off.
    Guessing {
        /// Whoever it is, as the web layer tells requests apart: usually an address. Personal data, so not in metrics.
        source: std::sync::Arc<str>,
        /// How many different ids it was by now.
        ids: u32,
    },
    /// A request was refused before its session was looked at.
    RequestRefused {
        /// Why: `cross_site`, because another site caused it.
        reason: &'static str,
    },
    /// A live page was opened, and greeted.
    PageOpened {
        /// Its session.
        session: PublicHandle,
        /// What carries its frames: `sse` or `websocket`.
        transport: &'static str,
        /// `none`: it is new. It was away before: `resumed`, it goes on where it was; `whole`, it is told everything.
        resume: &'static str,
    },
    /// A live page was closed.
    PageClosed {
        /// Its session.
        session: PublicHandle,
        /// What carried its frames.
        transport: &'static str,
        /// `left`: it went away. `ended`: its session did. `moved`: the session has a new id, or went to sleep.
        /// `shutdown`; `failed`: the view or the process did. `stuck`: it took nothing of what was written to it.
        /// `silent`: it did not answer heartbeats. `refused`: what it sent was no frame, too large or too much.
        reason: &'static str,
        /// How long it was open.
        open_for: Duration,
    },
    /// A live page, or what one sent, was refused by a limit.
    PageRefused {
        /// Which: `session`, `user` or `all` for the number of pages; `frames` for their rate.
        limit: &'static str,
    },
    /// Sessions whose time was up were ended.
    Swept {
        /// How many.
        expired: usize,
        /// How long the sweep took.
        took: Duration,
    },
    /// A session was saved in the store: made or changed. Of [`SessionRecords`](crate::records::SessionRecords), as
    /// all events from here on; sessions appear by the first bytes of their key.
    RecordSaved {
        /// The session.
        key: SessionKey,
        /// Its version now.
        version: Version,
        /// How many updates were saved together.
        updates: usize,
        /// How long the store took, for updates.
        took: Duration,
    },
    /// Somebody else had changed a session meanwhile; the updates are tried again, unless they asked for a version.
    RecordConflicted {
        /// The session.
        key: SessionKey,
        /// How many updates.
        updates: usize,
    },
    /// A session is no more in the store.
    RecordRemoved {
        /// The session.
        key: SessionKey,
        /// [`Because::as_str`](crate::records::Because::as_str).
        reason: &'static str,
    },
    /// Sessions that had expired were removed from the store.
    RecordsCleaned {
        /// How many.
        expired: usize,
        /// How long it took.
        took: Duration,
    },
    /// They could not be removed. It is tried again.
    RecordCleanupFailed {
        /// [`StoreError::kind`](crate::store::StoreError::kind).
        error: &'static str,
    },
    /// The store could not be told when sessions were last used. It is tried again.
    AccessFlushFailed {
        /// [`StoreError::kind`](crate::store::StoreError::kind).
        error: &'static str,
    },
    /// Everything is read anew, because changes may have been missed.
    RecordCacheCleared {
        /// `lagged`: notices were lost. `deaf`: none come, and nothing is served from the cache. `hearing`: they come
        /// again, and it starts afresh.
        reason: &'static str,
    },
}

/// Why a presented id was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedId {
    /// It is not a well-formed id.
    Malformed,
    /// More than one was presented.
    Ambiguous,
    /// It has no session: made up, or of a session that has ended.
    Unknown,
    /// It is not signed by any key that is in use.
    Forged,
}

impl RefusedId {
    /// A short stable word, for logs and metrics: `malformed`, `ambiguous`, `unknown`, `forged`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Ambiguous => "ambiguous",
            Self::Unknown => "unknown",
            Self::Forged => "forged",
        }
    }
}
