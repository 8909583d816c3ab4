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
        Event::Rotated { .. } => counter!("session_process_ids_rotated_total").increment(1),
        Event::IdRefused { reason } => {
            counter!("session_process_ids_rejected_total", "reason" => reason.as_str()).increment(1);
        }
        Event::Swept { expired, .. } => {
            counter!("session_process_sessions_swept_total").increment(*expired as u64);
        }
    }
}
