//! [`Directory`]: which sessions a user has.
//!
//! # Invariants
//! 1. An entry is there exactly as long as its `Listing`, which the session's process holds. It goes with the
//!    process, whether that was signed out, expired, panicked or was cut off.
//! 2. An id is in here to find its session. It leaves as a public handle only.
//!
//! It is the memory of one node. The store keeps owners once there is one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use session_process::SessionId;

/// Signed-in sessions by user. Cheap to clone.
#[derive(Clone, Default)]
pub struct Directory(Arc<Mutex<HashMap<String, Vec<Entry>>>>);

/// A session of a user.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    pub(crate) device: String,
}

impl Directory {
    pub(crate) fn list(&self, user: &str, id: SessionId, device: String) -> Listing {
        let entry = Entry { id: id.clone(), device };
        self.lock().entry(user.to_owned()).or_default().push(entry);
        Listing {
            directory: self.clone(),
            user: user.to_owned(),
            id,
        }
    }

    pub(crate) fn of(&self, user: &str) -> Vec<Entry> {
        self.lock().get(user).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("users", &self.lock().len()).finish()
    }
}

/// Keeps a session in the directory until it is dropped.
#[derive(Debug)]
pub struct Listing {
    directory: Directory,
    user: String,
    id: SessionId,
}

impl Drop for Listing {
    fn drop(&mut self) {
        let mut users = self.directory.lock();
        let Some(entries) = users.get_mut(&self.user) else {
            return;
        };
        entries.retain(|entry| entry.id != self.id);
        if entries.is_empty() {
            users.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_goes_with_its_listing() {
        let directory = Directory::default();
        let one = directory.list("Ada", SessionId::generate(), "phone".into());
        let other = directory.list("Ada", SessionId::generate(), "laptop".into());
        assert_eq!(directory.of("Ada").len(), 2);
        drop(one);
        assert_eq!(directory.of("Ada")[0].device, "laptop");
        drop(other);
        assert!(directory.of("Ada").is_empty() && directory.lock().is_empty());
    }
}
