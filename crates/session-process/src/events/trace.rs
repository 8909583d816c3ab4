//! Events as `tracing` records, all under the target `session_process`.

use tracing::{Level, debug, enabled, error, info, trace, warn};

use super::Event;

const TARGET: &str = "session_process";

/// Whether anybody could want a record of a single message.
#[inline]
pub(super) fn messages_enabled() -> bool {
    enabled!(target: TARGET, Level::TRACE)
}

/// Whether anybody could want any record.
pub(super) fn any_enabled() -> bool {
    enabled!(target: TARGET, Level::ERROR)
}

/// No event: nobody can have subscribed yet.
pub(crate) fn warn_of_no_records(process: &'static str) {
    warn!(
        target: TARGET,
        process, "a durable process in an engine without records: its sessions end with the program"
    );
}

/// No event: who drops an engine is its last user.
pub(crate) fn warn_of_unsaved(sessions: usize) {
    warn!(
        target: TARGET,
        sessions, "an engine was dropped without `shutdown`, and sessions had changes that were not saved yet: they are lost"
    );
}

pub(super) fn write(event: &Event) {
    match event {
        Event::Started { session, process, took } => {
            debug!(target: TARGET, %session, process, ?took, "session started");
        }
        Event::StartFailed {
            session,
            process,
            error,
        } => warn!(target: TARGET, %session, process, error, "session not started"),
        // At debug: a flood of refused starts must not become a flood of warnings. The counter tells.
        Event::Limited { limit } => debug!(target: TARGET, limit, "start refused by a limit"),
        Event::Ended {
            session,
            process,
            reason,
            lifetime,
        } => debug!(target: TARGET, %session, process, %reason, ?lifetime, "session ended"),
        Event::Called { session, message, took } => {
            trace!(target: TARGET, %session, message, ?took, "called");
        }
        Event::Cast { session, message, took } => trace!(target: TARGET, %session, message, ?took, "cast"),
        Event::MessageFailed {
            session,
            message,
            error,
        } => debug!(target: TARGET, %session, message, error, "message failed"),
        Event::Crashed {
            session,
            process,
            panic,
        } => error!(target: TARGET, %session, process, panic, "process panicked"),
        Event::Restarted {
            session,
            process,
            restarts,
        } => info!(target: TARGET, %session, process, restarts, "process restarted"),
        Event::HookFailed {
            session,
            process,
            error,
        } => error!(target: TARGET, %session, process, error, "terminate hook failed"),
        Event::Saved { session, process, took } => trace!(target: TARGET, %session, process, ?took, "state saved"),
        // What two nodes are there for, and what the caller is told; no affair of whoever watches over the server.
        Event::SaveFailed {
            session,
            process,
            error: error @ "conflict",
        } => debug!(target: TARGET, %session, process, error, "state not saved"),
        Event::SaveFailed {
            session,
            process,
            error,
        } => warn!(target: TARGET, %session, process, error, "state not saved"),
        Event::Rotated { from, to } => debug!(target: TARGET, %from, %to, "session id rotated"),
        Event::IdRefused { reason } => debug!(target: TARGET, reason = reason.as_str(), "session id refused"),
        Event::Guessing { source, ids } => warn!(target: TARGET, %source, ids, "session ids are being guessed"),
        Event::RequestRefused { reason } => debug!(target: TARGET, reason, "request refused"),
        Event::PageOpened {
            session,
            transport,
            resume,
        } => debug!(target: TARGET, %session, transport, resume, "page opened"),
        Event::PageClosed {
            session,
            transport,
            reason,
            open_for,
        } => debug!(target: TARGET, %session, transport, reason, ?open_for, "page closed"),
        Event::PageRefused { limit } => debug!(target: TARGET, limit, "page refused by a limit"),
        Event::Swept { expired, took } => debug!(target: TARGET, expired, ?took, "expired sessions swept"),
        Event::RecordSaved {
            key,
            version,
            updates,
            took,
        } => trace!(target: TARGET, ?key, version = version.0, updates, ?took, "session saved"),
        Event::RecordConflicted { key, updates } => {
            debug!(target: TARGET, ?key, updates, "session was changed by others meanwhile");
        }
        Event::RecordRemoved { key, reason } => debug!(target: TARGET, ?key, reason, "session removed from the store"),
        Event::RecordsCleaned { expired, took } => {
            debug!(target: TARGET, expired, ?took, "expired sessions removed from the store");
        }
        Event::RecordCleanupFailed { error } => {
            warn!(target: TARGET, error, "expired sessions not removed; trying again");
        }
        Event::AccessFlushFailed { error } => {
            warn!(target: TARGET, error, "last accesses not written; trying again");
        }
        Event::RecordCacheCleared { reason } => warn!(target: TARGET, reason, "session cache cleared"),
    }
}
