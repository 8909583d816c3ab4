//! The process's side of a [`Hub`]: looks at the state after each message, and tells it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::Value;
use session_process::Observer;

use super::{
    hub::{End, Hub},
    pages::Pages,
};

/// What pages see of a process.
pub(super) struct View<P> {
    pub(super) project: Box<Project<P>>,
    pub(super) user: Option<Box<User<P>>>,
    pub(super) patches: bool,
    pub(super) max_bytes: usize,
}

pub(super) type Project<P> = dyn Fn(&P, bool) -> Result<Seen, serde_json::Error> + Send + Sync;

/// Whose session it is.
pub(super) type User<P> = dyn Fn(&P) -> Option<String> + Send + Sync;

/// A view as JSON; as a value too, where patches are made.
pub(super) struct Seen {
    pub(super) json: String,
    pub(super) value: Option<Value>,
}

pub(super) struct Watch<P> {
    pub(super) view: Arc<View<P>>,
    pub(super) hub: Arc<Hub>,
    pub(super) pages: Pages,
    pub(super) staged: Option<Staged>,
}

/// The view and whose session it is; `None`: the view failed.
pub(super) type Staged = Option<(Seen, Option<String>)>;

impl<P: 'static> Observer<P> for Watch<P> {
    fn look(&mut self, process: &P) {
        let View {
            project,
            user,
            patches,
            max_bytes,
        } = &*self.view;
        let seen = catch_unwind(AssertUnwindSafe(|| {
            let seen = project(process, *patches)?;
            let user = user.as_ref().and_then(|user| user(process));
            Ok::<_, serde_json::Error>((seen, user))
        }));
        self.staged = Some(match seen {
            Ok(Ok((seen, user))) if seen.json.len() <= *max_bytes => Some((seen, user)),
            Ok(Ok((seen, _))) => {
                tracing::error!(bytes = seen.json.len(), max_bytes, "a view is too large for its pages");
                None
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "a view could not be written as JSON");
                None
            }
            // What it says is on the standard error stream, and may hold what the state holds.
            Err(_) => {
                tracing::error!("a view panicked");
                None
            }
        });
    }

    fn publish(&mut self) {
        match self.staged.take() {
            Some(Some((seen, user))) => {
                if self.view.user.is_some() {
                    self.pages.set_user(&self.hub.id, user.as_deref());
                }
                self.hub.put(seen.json, seen.value);
            }
            Some(None) => {
                self.hub.close(End::ViewFailed);
            }
            None => {}
        }
    }

    fn is_done(&self) -> bool {
        self.hub.is_done()
    }
}
