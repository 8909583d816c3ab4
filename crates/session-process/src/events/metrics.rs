//! Events as metrics, through the facade of the `metrics` crate. Never a label by session, user or message.

use metrics::{counter, gauge, histogram};

use super::Event;

pub(super) fn record(event: &Event) {
    match event {
        Event::Started { .. } => {
            counter!("session_process_sessions_started_total").increment(1);
            gauge!("session_process_sessions_active").increment(1.0);
        }
        Event::StartFailed { error, .. } => {
            counter!("session_process_start_failures_total", "error" => *error).increment(1);
        }
        Event::Limited { limit } => {
            counter!("session_process_starts_limited_total", "limit" => *limit).increment(1);
        }
        Event::Ended { reason, lifetime, .. } => {
            counter!("session_process_sessions_ended_total", "reason" => reason.as_str()).increment(1);
            gauge!("session_process_sessions_active").decrement(1.0);
            histogram!("session_process_session_lifetime_seconds").record(*lifetime);
        }
        Event::Called { took, .. } => {
            histogram!("session_process_message_duration_seconds", "kind" => "call").record(*took);
        }
        Event::Cast { took, .. } => {
            histogram!("session_process_message_duration_seconds", "kind" => "cast").record(*took);
        }
        Event::MessageFailed { error, .. } => {
            counter!("session_process_messages_failed_total", "error" => *error).increment(1);
        }
        Event::Crashed { .. } => counter!("session_process_process_crashes_total").increment(1),
        Event::Restarted { .. } => counter!("session_process_process_restarts_total").increment(1),
        Event::HookFailed { .. } => counter!("session_process_hook_failures_total").increment(1),
        Event::Saved { took, .. } => {
            histogram!("session_process_persist_duration_seconds", "outcome" => "saved").record(*took);
        }
        Event::SaveFailed { error, .. } => {
            counter!("session_process_persist_failures_total", "error" => *error).increment(1);
        }
        Event::Rotated { .. } => counter!("session_process_ids_rotated_total").increment(1),
        Event::IdRefused { reason } => {
            counter!("session_process_ids_rejected_total", "reason" => reason.as_str()).increment(1);
        }
        Event::Guessing { .. } => counter!("session_process_guessing_total").increment(1),
        Event::RequestRefused { reason } => {
            counter!("session_process_requests_refused_total", "reason" => *reason).increment(1);
        }
        Event::PageOpened { transport, resume, .. } => {
            counter!("session_process_live_pages_opened_total", "transport" => *transport).increment(1);
            gauge!("session_process_live_pages_open", "transport" => *transport).increment(1.0);
            if *resume != "none" {
                counter!("session_process_live_resumes_total", "outcome" => *resume).increment(1);
            }
        }
        Event::PageClosed { transport, reason, .. } => {
            counter!("session_process_live_pages_closed_total", "reason" => *reason).increment(1);
            gauge!("session_process_live_pages_open", "transport" => *transport).decrement(1.0);
        }
        Event::PageRefused { limit } => {
            counter!("session_process_live_refused_total", "limit" => *limit).increment(1);
        }
        Event::Swept { expired, .. } => {
            counter!("session_process_sessions_swept_total").increment(*expired as u64);
        }
        Event::RecordSaved { updates, took, .. } => {
            counter!("session_process_records_saved_total").increment(1);
            counter!("session_process_record_updates_total").increment(*updates as u64);
            histogram!("session_process_record_save_duration_seconds").record(*took);
        }
        Event::RecordConflicted { .. } => counter!("session_process_record_conflicts_total").increment(1),
        Event::RecordRemoved { reason, .. } => {
            counter!("session_process_records_removed_total", "reason" => *reason).increment(1);
        }
        Event::RecordsCleaned { took, .. } => {
            histogram!("session_process_record_cleanup_duration_seconds").record(*took);
        }
        Event::RecordCleanupFailed { error } => {
            counter!("session_process_record_cleanup_failures_total", "error" => *error).increment(1);
        }
        Event::AccessFlushFailed { error } => {
            counter!("session_process_access_flush_failures_total", "error" => *error).increment(1);
        }
        Event::RecordCacheCleared { reason } => {
            counter!("session_process_record_cache_clears_total", "reason" => *reason).increment(1);
        }
    }
}

/// A frame went to a page. No event: there are too many of them.
pub(crate) fn frame_sent(frame: &'static str, coalesced: u64, dropped: u64) {
    counter!("session_process_live_frames_total", "frame" => frame).increment(1);
    if coalesced > 0 {
        counter!("session_process_live_frames_coalesced_total").increment(coalesced);
    }
    if dropped > 0 {
        counter!("session_process_live_events_dropped_total").increment(dropped);
    }
}
