//! Changes to the other parts of a session: owner, label, time limits, id.

use std::sync::Arc;

use super::{
    core::{Core, Done},
    entry::Entry,
    error::RecordError,
};
use crate::store::{Change, Conflict, Edit, Op, OwnerText, SessionKey, Version};

impl Core {
    /// Does what `make` makes of the session as it is; again if others were first.
    ///
    /// In the session's turn, so that no update of this node is in the way twice.
    pub(super) async fn change(
        self: &Arc<Self>,
        key: SessionKey,
        make: impl Fn(&Entry) -> Op,
    ) -> Result<Done, RecordError> {
        let desk = self.desks.at(key);
        let _turn = desk.turn.lock().await;
        let attempts = self.config.update_attempts;
        for _ in 0..attempts {
            let entry = self.find(key, Version::default()).await?.ok_or(RecordError::Missing)?;
            let change = Change {
                key,
                expect: Self::expect(&entry),
                op: make(&entry),
            };
            match self.commit(change, Some(entry)).await? {
                Ok(done) => {
                    self.saved(key, &done.changed, 1, None);
                    return Ok(done);
                }
                Err(Conflict::Version { .. } | Conflict::Epoch { .. }) => self.conflicted(key, 1),
                Err(conflict) => return Err(RecordError::from_conflict(conflict, attempts)),
            }
        }
        Err(RecordError::Contended { attempts })
    }

    pub(super) async fn edit(
        self: &Arc<Self>,
        key: SessionKey,
        make: impl Fn(&Entry) -> Edit,
    ) -> Result<Done, RecordError> {
        self.change(key, |entry| Op::Edit(Box::new(make(entry)))).await
    }

    pub(super) async fn set_user(
        self: &Arc<Self>,
        key: SessionKey,
        user: Option<OwnerText>,
    ) -> Result<Done, RecordError> {
        self.flush_before_eviction(user.as_ref()).await?;
        let limit = self.config.sessions_per_user;
        self.edit(key, |_| Edit {
            user_id: Some(user.clone()),
            limit,
            ..Edit::default()
        })
        .await
    }
}
