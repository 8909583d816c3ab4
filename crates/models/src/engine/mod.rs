//! The engine's files, and stubs of what they stand on.

#[path = "../../../session-process/src/engine/life.rs"]
pub(crate) mod life;
#[path = "../../../session-process/src/engine/mailbox.rs"]
pub(crate) mod mailbox;
#[path = "../../../session-process/src/engine/registry.rs"]
pub(crate) mod registry;
#[path = "../../../session-process/src/engine/table.rs"]
mod table;
#[path = "../../../session-process/src/engine/ticket.rs"]
pub(crate) mod ticket;

/// As much of a session as the registry sees.
pub(crate) mod session {
    use std::any::Any;

    use crate::SessionId;

    pub(crate) trait AnySession: Any + Send + Sync {
        fn is(&self, id: &SessionId) -> bool;
        fn id(&self) -> SessionId;
        fn set_id(&self, id: SessionId);
        fn due_at(&self) -> u64;
        fn prefetch(&self) {}
    }
}
