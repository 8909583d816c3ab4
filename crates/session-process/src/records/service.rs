//! [`SessionRecords`]: what a user calls.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    builder::RecordsBuilder,
    core::Core,
    endings::Ending,
    entry::Entry,
    error::{RecordError, UpdateError},
    handle::RecordHandle,
    new::{Created, NewSession},
    view::{Listed, SessionView},
};
use crate::{
    Attributes, SessionId, Timestamp,
    events::Subscriber,
    store::{
        AttributeMap, Change, Edit, Expect, Fence, Lifetime, Op, Owner, OwnerText, SessionKey, SessionStore,
        StoreError, Touch, Version,
    },
};

/// Sessions with their owners, attributes and time limits, in any [`SessionStore`].
///
/// Cheap to clone: all clones are the same records, with one cache. See [the module](super) for an example and for
/// what can be relied on. When the last clone is dropped, the background tasks end; accesses that were not told to
/// the store yet are lost, so call [`shutdown`](Self::shutdown) before.
#[derive(Clone)]
pub struct SessionRecords {
    pub(super) core: Arc<Core>,
    pub(super) closing: Arc<watch::Sender<bool>>,
}

impl SessionRecords {
    /// Records in this store, with the default limits to be changed.
    pub fn builder(store: impl SessionStore) -> RecordsBuilder {
        RecordsBuilder::new(Arc::new(store))
    }

    /// Records in this store, which others use as well.
    pub fn builder_over(store: Arc<dyn SessionStore>) -> RecordsBuilder {
        RecordsBuilder::new(store)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SessionStore> {
        &self.core.backend.store
    }

    /// The time by the store's clock: that of all times here.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.core.now()
    }

    /// What happens, from now on.
    #[must_use]
    pub fn events(&self) -> Subscriber {
        self.core.events.subscribe()
    }

    /// Tells `observer` from now on of every session that ends: deleted, expired, evicted, here or elsewhere, or under
    /// another key. For whatever has the same life as a session, such as its process.
    ///
    /// It is told before whatever ended the session returns, on that thread, so it must be quick and wait for nothing;
    /// a panic of its is caught. Never removed: it lives as long as the records.
    pub fn on_ending(&self, observer: impl Fn(&Ending) + Send + Sync + 'static) {
        self.core.endings.observe(Arc::new(observer));
    }

    /// Makes a session with a new id. In the cache only when it is in the store.
    ///
    /// # Errors
    /// [`OwnerLimit`](RecordError::OwnerLimit) where the user has as many as may be and the policy is `Reject`;
    /// [`Attribute`](RecordError::Attribute); [`Store`](RecordError::Store).
    ///
    /// # Cancel safety
    /// A session may have been made that nobody knows the id of. It expires.
    pub async fn create(&self, new: NewSession) -> Result<Created, RecordError> {
        self.create_with_id(SessionId::generate(), new).await
    }

    /// Makes a session with an id that the application gives. Never one that a visitor presented: see
    /// [`SessionId`].
    ///
    /// # Errors
    /// As [`create`](Self::create), and [`Exists`](RecordError::Exists).
    ///
    /// # Cancel safety
    /// The session may have been made.
    pub async fn create_with_id(&self, id: SessionId, new: NewSession) -> Result<Created, RecordError> {
        let create = new.into_create(&self.core.config, self.core.now())?;
        self.core.flush_before_eviction(create.user_id.as_ref()).await?;
        let change = Change {
            key: SessionKey::of(&id),
            expect: Expect::default(),
            op: Op::Create(Box::new(create)),
        };
        let outcome = self.core.commit(change, None).await?;
        let done = outcome.map_err(|conflict| RecordError::from_conflict(conflict, 1))?;
        let entry = done.entry.ok_or(RecordError::Missing)?;
        self.core.saved(entry.record.key, &done.changed, 1, None);
        Ok(Created {
            id,
            session: self.view(entry),
            evicted: done.changed.evicted,
        })
    }

    /// A session, from the cache where it is there. This is a use: its idle time begins anew.
    ///
    /// # Errors
    /// [`StoreError`] where the store had to be asked and did not answer: never `None`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn get(&self, id: &SessionId) -> Result<Option<SessionView>, StoreError> {
        let (key, now) = (SessionKey::of(id), self.core.now());
        match self.core.cache.get(&key, now) {
            Some(entry) if !entry.is_nearly_unused(now) => {
                self.core.accesses.note(&entry, now);
                let current = true;
                Ok(Some(SessionView { entry, now, current }))
            }
            _ => self.find_used(key, Version::default()).await,
        }
    }

    /// A session, from the cache where it is there. No use of it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn peek(&self, id: &SessionId) -> Result<Option<SessionView>, StoreError> {
        let (found, current) = self.core.find_or_known(SessionKey::of(id), Version::default()).await?;
        Ok(found.map(|entry| SessionView {
            current,
            ..self.view(entry)
        }))
    }

    /// A session as it is in the store, whatever the cache says. A use.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn get_fresh(&self, id: &SessionId) -> Result<Option<SessionView>, StoreError> {
        let found = self.core.find_fresh(SessionKey::of(id)).await?;
        self.used(found).await
    }

    /// A session that is at least as new as `version`: from the cache if that is, else from the store. A use. For a
    /// reader that knows of a version from elsewhere, such as a cookie of another node. Where the store itself has an
    /// older one, that is the newest there is.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn get_at_least(&self, id: &SessionId, version: Version) -> Result<Option<SessionView>, StoreError> {
        self.find_used(SessionKey::of(id), version).await
    }

    /// Changes attributes: `change` is given those that are there, and what it leaves is saved before this returns.
    /// Nothing is saved if it returns an error, or leaves them as they were.
    ///
    /// **No update is lost.** If somebody else was first, `change` runs again on what they left, up to
    /// [`update_attempts`](super::RecordsConfig::update_attempts) times: it must have no other effects. Updates of one
    /// session on this node take turns, and those that come while the store is at work are saved together.
    ///
    /// No use by itself: the request that updates a session has read it.
    ///
    /// # Errors
    /// [`UpdateError`].
    ///
    /// # Panics
    /// If `change` does. Nothing is saved then.
    ///
    /// # Cancel safety
    /// What `change` left may be saved, whole or not at all.
    pub async fn update<T, E>(
        &self,
        id: &SessionId,
        change: impl FnMut(&mut Attributes) -> Result<T, E>,
    ) -> Result<T, UpdateError<E>> {
        self.core.update(SessionKey::of(id), change).await
    }

    /// As [`update`](Self::update), if the session has this version: `change` runs once, and not at all otherwise.
    ///
    /// # Errors
    /// [`Changed`](UpdateError::Changed) with the version that the session has, or as `update`.
    ///
    /// # Panics
    /// If `change` does. Nothing is saved then.
    ///
    /// # Cancel safety
    /// As `update`.
    pub async fn update_version<T, E>(
        &self,
        id: &SessionId,
        version: Version,
        change: impl FnMut(&mut Attributes) -> Result<T, E>,
    ) -> Result<T, UpdateError<E>> {
        self.core.update_version(SessionKey::of(id), version, change).await
    }

    /// As [`update`](Self::update), but what `change` leaves takes the place of whatever others have saved meanwhile:
    /// **their updates are lost.** Among callers on this node none are.
    ///
    /// # Errors
    /// As `update`, but never `Contended`.
    ///
    /// # Panics
    /// If `change` does. Nothing is saved then.
    ///
    /// # Cancel safety
    /// As `update`.
    pub async fn update_last_writer_wins<T, E>(
        &self,
        id: &SessionId,
        change: impl FnMut(&mut Attributes) -> Result<T, E>,
    ) -> Result<T, UpdateError<E>> {
        self.core.overwrite(SessionKey::of(id), change).await
    }

    /// Puts these attributes in place of all that are there, and sets when the session ends however much it is used
    /// (`None`: at any age), in one step. **What others have changed meanwhile is lost**: for those who have read the
    /// whole session and write it back whole. [`update`](Self::update) loses nothing.
    ///
    /// # Errors
    /// [`RecordError`].
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn replace(
        &self,
        id: &SessionId,
        attributes: Attributes,
        ends_at: Option<Timestamp>,
    ) -> Result<SessionView, RecordError> {
        let attributes = attributes.into_map();
        self.core.config.attributes.check(&attributes, &AttributeMap::new())?;
        self.edit(id, |entry| Edit {
            attributes: Some(attributes.clone()),
            lifetime: Some(Lifetime {
                expires_at: ends_at,
                ..entry.record.lifetime
            }),
            ..Edit::default()
        })
        .await
    }

    /// As [`update`](Self::update), **under a lock**: what `change` leaves is saved only if the lock was not lost before
    /// it was. So a holder that was paused for longer than its lease can't overwrite what the next one did. Saved by
    /// itself, not together with other updates; where `change` leaves everything as it was, nobody asks about the lock.
    ///
    /// ```
    /// use session_process::{SessionId, locks::Locks, records::SessionRecords, store::LockName};
    ///
    /// async fn pay(records: &SessionRecords, locks: &Locks, id: &SessionId) -> Result<(), Box<dyn std::error::Error>> {
    ///     let lock = locks.lock(LockName::of_session(id, "payment")).await?;
    ///     // ... whatever takes long, and must not happen twice at a time ...
    ///     records.update_under(id, lock.fence(), |attributes| attributes.insert("paid", true)).await?;
    ///     lock.release().await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`LockLost`](UpdateError::LockLost), or as `update`. A store without locks fails.
    ///
    /// # Panics
    /// If `change` does. Nothing is saved then.
    ///
    /// # Cancel safety
    /// As `update`.
    pub async fn update_under<T, E>(
        &self,
        id: &SessionId,
        lock: Fence,
        change: impl FnMut(&mut Attributes) -> Result<T, E>,
    ) -> Result<T, UpdateError<E>> {
        self.core.update_under(SessionKey::of(id), lock, change).await
    }

    /// Gives a session to a user, at login, or (`None`) to nobody. The limit on a user's sessions counts it. Change
    /// its id as well: [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// [`RecordError`].
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn set_user(&self, id: &SessionId, user: Option<&str>) -> Result<SessionView, RecordError> {
        let user = user.map(OwnerText::new).transpose()?;
        let done = self.core.set_user(SessionKey::of(id), user).await?;
        self.changed(done.entry)
    }

    /// Puts a session into a group, or (`None`) into none.
    ///
    /// # Errors
    /// [`RecordError`].
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn set_group(&self, id: &SessionId, group: Option<&str>) -> Result<SessionView, RecordError> {
        let group = group.map(OwnerText::new).transpose()?;
        self.edit(id, |_| Edit {
            group_id: Some(group.clone()),
            ..Edit::default()
        })
        .await
    }

    /// Changes how a session's user tells it from others.
    ///
    /// # Errors
    /// [`RecordError`].
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn set_label(&self, id: &SessionId, label: Option<&str>) -> Result<SessionView, RecordError> {
        let label = label.map(OwnerText::new).transpose()?;
        self.edit(id, |_| Edit {
            label: Some(label.clone()),
            ..Edit::default()
        })
        .await
    }

    /// Changes when one session ends, however much it is used: so long from now; `None`: at any age.
    ///
    /// # Errors
    /// [`RecordError`].
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn set_lifetime(
        &self,
        id: &SessionId,
        from_now: impl Into<Option<Duration>>,
    ) -> Result<SessionView, RecordError> {
        let from_now = from_now.into();
        let expires_at = from_now.map(|from_now| self.core.now().saturating_add(from_now));
        self.edit(id, |entry| Edit {
            lifetime: Some(Lifetime {
                expires_at,
                ..entry.record.lifetime
            }),
            ..Edit::default()
        })
        .await
    }

    /// Changes how long one session may go unused; `None`: for good. A use of it.
    ///
    /// # Errors
    /// [`RecordError`].
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn set_idle_timeout(
        &self,
        id: &SessionId,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<SessionView, RecordError> {
        let idle_timeout = timeout.into();
        let now = self.core.now();
        self.edit(id, |entry| Edit {
            lifetime: Some(Lifetime {
                idle_timeout,
                ..entry.record.lifetime
            }),
            accessed_at: Some(now),
            ..Edit::default()
        })
        .await
    }

    /// Gives a session a new id, and returns it: at login, and whenever its rights change. The old id is unknown from
    /// then on. (Its process on this node ends as asleep, and comes back
    /// under the new id. [`Sessions::rotate`](crate::Sessions::rotate) takes it along as it is.)
    ///
    /// # Errors
    /// [`RecordError`].
    ///
    /// # Cancel safety
    /// It may have been done, and then nobody knows the new id.
    pub async fn rotate(&self, id: &SessionId) -> Result<SessionId, RecordError> {
        let new = SessionId::generate();
        self.rotate_to(id, &new).await?;
        Ok(new)
    }

    /// Gives a session an id that the application has made.
    ///
    /// # Errors
    /// [`Exists`](RecordError::Exists) if there is a session with that id; as [`rotate`](Self::rotate).
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn rotate_to(&self, id: &SessionId, new: &SessionId) -> Result<SessionView, RecordError> {
        let to = SessionKey::of(new);
        let done = self.core.change(SessionKey::of(id), |_| Op::Rotate(to)).await?;
        // The uses of the old id that the store was not told of are those of the new one.
        if let Some(entry) = &done.entry {
            self.core.accesses.note(entry, self.core.now());
        }
        self.changed(done.entry)
    }

    /// Ends a session. `false`: there was none.
    ///
    /// An update at the same time can't bring it back.
    ///
    /// # Errors
    /// [`StoreError`]: it is open whether it was ended.
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn delete(&self, id: &SessionId) -> Result<bool, StoreError> {
        self.core.delete(SessionKey::of(id)).await
    }

    /// Ends all sessions of an owner, and returns how many. Those that are made meanwhile may stay.
    ///
    /// # Errors
    /// [`StoreError`]: some may have been ended.
    ///
    /// # Cancel safety
    /// Some may have been ended.
    pub async fn delete_all(&self, owner: &Owner) -> Result<usize, StoreError> {
        self.core.delete_of(owner, None).await
    }

    /// Ends all sessions of an owner but this one: "sign out everywhere else".
    ///
    /// # Errors
    /// As [`delete_all`](Self::delete_all).
    ///
    /// # Cancel safety
    /// Some may have been ended.
    pub async fn delete_all_but(&self, owner: &Owner, id: &SessionId) -> Result<usize, StoreError> {
        self.core.delete_of(owner, Some(SessionKey::of(id))).await
    }

    /// Ends the session of this handle if it is one of the owner's; `false` if not. So a user can end a session from
    /// the list without having its id, and nobody else's by guessing.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn delete_listed(&self, owner: &Owner, handle: RecordHandle) -> Result<bool, StoreError> {
        self.core.delete_listed(owner, handle).await
    }

    /// Live sessions of an owner, `limit` at the most, in an order that stays. The next page begins `after` the
    /// [`key`](Listed::key) of the last one.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn list(
        &self,
        owner: &Owner,
        after: Option<SessionKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        self.core.list(owner, after, limit).await
    }

    /// Removes one attribute from all of an owner's sessions, and returns from how many.
    ///
    /// # Errors
    /// [`RecordError`]: it may have been removed from some.
    ///
    /// # Cancel safety
    /// It may have been removed from some.
    pub async fn remove_attribute(&self, owner: &Owner, name: &str) -> Result<usize, RecordError> {
        let mut removed = 0;
        for key in self.core.with_attribute(owner, name).await? {
            let done = self.core.update(key, |attributes| {
                let was_there = attributes.contains_key(name);
                attributes.discard(name);
                Ok::<_, std::convert::Infallible>(was_there)
            });
            match done.await {
                Ok(was_there) => removed += usize::from(was_there),
                // It ended meanwhile, and the attribute with it.
                Err(UpdateError::Missing) => {}
                Err(UpdateError::Refused(never)) => match never {},
                Err(UpdateError::Contended { attempts }) => return Err(RecordError::Contended { attempts }),
                // No lock was asked for.
                Err(UpdateError::Changed { .. } | UpdateError::LockLost) => {
                    return Err(RecordError::Contended { attempts: 1 });
                }
                Err(UpdateError::Attribute(error)) => return Err(error.into()),
                Err(UpdateError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(removed)
    }

    /// Tells the store of all uses so far. Returns how many sessions it were.
    ///
    /// # Errors
    /// [`StoreError`]. What it was not told is kept.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn flush_accesses(&self) -> Result<usize, StoreError> {
        self.core.flush_accesses().await
    }

    /// Removes what has expired from the store, now. Returns how many sessions it were.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Some may have been removed, and observers not told.
    pub async fn clean_up(&self) -> Result<usize, StoreError> {
        self.core.clean_up().await
    }

    /// Reads everything anew from now on.
    pub fn clear_cache(&self) {
        self.core.cache.clear();
    }

    /// How much is in memory.
    #[must_use]
    pub fn stats(&self) -> RecordsStats {
        RecordsStats {
            cached: self.core.cache.len(),
            cache_weight: self.core.cache.weight(),
            pending_accesses: self.core.accesses.len(),
            cache_in_use: self.core.cache.is_trusted(),
        }
    }

    /// Tells the store of all uses, and ends the background tasks. Afterwards everything still works, without the
    /// cache; a second shutdown tells the store what came since.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not take them within `deadline`; [`Timeout`](StoreError::Timeout) if it did not
    /// answer.
    ///
    /// # Cancel safety
    /// The tasks end all the same.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), StoreError> {
        self.closing.send_replace(true);
        let clock = &self.core.backend.clock;
        let until = clock.now().saturating_add(crate::clock::nanos(deadline));
        let flushed = clock.before(until, self.core.flush_accesses()).await;
        let timeout = StoreError::Timeout { context: "shutdown" };
        flushed.unwrap_or(Err(timeout)).map(|_| ())
    }

    fn view(&self, entry: Arc<Entry>) -> SessionView {
        SessionView {
            entry,
            now: self.core.now(),
            current: true,
        }
    }

    async fn find_used(&self, key: SessionKey, at_least: Version) -> Result<Option<SessionView>, StoreError> {
        match self.core.find_or_known(key, at_least).await? {
            (Some(entry), false) => {
                // The store is told of the use when it is back.
                self.core.accesses.note(&entry, self.core.now());
                Ok(Some(SessionView {
                    current: false,
                    ..self.view(entry)
                }))
            }
            (found, _) => self.used(found).await,
        }
    }

    fn changed(&self, entry: Option<Arc<Entry>>) -> Result<SessionView, RecordError> {
        entry.map(|entry| self.view(entry)).ok_or(RecordError::Missing)
    }

    async fn edit(&self, id: &SessionId, make: impl Fn(&Entry) -> Edit) -> Result<SessionView, RecordError> {
        let done = self.core.edit(SessionKey::of(id), make).await?;
        self.changed(done.entry)
    }

    /// Notes a use. One that comes at the last moment goes to the store at once, and counts only if it came in time.
    async fn used(&self, found: Option<Arc<Entry>>) -> Result<Option<SessionView>, StoreError> {
        let Some(mut entry) = found else { return Ok(None) };
        let now = self.core.now();
        if entry.is_nearly_unused(now) {
            let key = entry.record.key;
            let touch = Touch { key, accessed_at: now };
            self.core.backend.touch(vec![touch]).await?;
            match self.core.find_fresh(key).await? {
                Some(found) => entry = found,
                None => return Ok(None),
            }
        }
        self.core.accesses.note(&entry, now);
        Ok(Some(self.view(entry)))
    }
}

impl fmt::Debug for SessionRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRecords")
            .field("config", &self.core.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// How much of the records is in memory: [`SessionRecords::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordsStats {
    /// Sessions in the cache.
    pub cached: usize,
    /// What they weigh: as many, or bytes where the cache is bounded by bytes.
    pub cache_weight: u64,
    /// Sessions whose last use the store was not told yet.
    pub pending_accesses: usize,
    /// The cache serves: changes are reported by the store.
    pub cache_in_use: bool,
}
