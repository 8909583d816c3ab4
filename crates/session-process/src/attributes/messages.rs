//! The messages that a session of attributes handles, and functions that make them.

use std::{borrow::Cow, fmt, marker::PhantomData, time::Duration};

/// Reads a value: [`get`].
pub struct Get<T> {
    pub(super) key: Cow<'static, str>,
    value: PhantomData<fn() -> T>,
}

/// Reads a value. The reply is that of [`Attributes::get`](super::Attributes::get).
pub fn get<T>(key: impl Into<Cow<'static, str>>) -> Get<T> {
    let (key, value) = (key.into(), PhantomData);
    Get { key, value }
}

/// Sets a value: [`insert`], [`insert_expiring`].
pub struct Insert<T> {
    pub(super) key: Cow<'static, str>,
    pub(super) value: T,
    pub(super) after: Option<Duration>,
}

/// Sets a value. The reply is that of [`Attributes::insert`](super::Attributes::insert).
pub fn insert<T>(key: impl Into<Cow<'static, str>>, value: T) -> Insert<T> {
    let (key, after) = (key.into(), None);
    Insert { key, value, after }
}

/// Sets a value for some time. The reply is that of
/// [`Attributes::insert_expiring`](super::Attributes::insert_expiring).
pub fn insert_expiring<T>(key: impl Into<Cow<'static, str>>, value: T, after: Duration) -> Insert<T> {
    let (key, after) = (key.into(), Some(after));
    Insert { key, value, after }
}

/// Takes a value out: [`remove`].
pub struct Remove<T> {
    pub(super) key: Cow<'static, str>,
    value: PhantomData<fn() -> T>,
}

/// Takes a value out. The reply is that of [`Attributes::remove`](super::Attributes::remove).
pub fn remove<T>(key: impl Into<Cow<'static, str>>) -> Remove<T> {
    let (key, value) = (key.into(), PhantomData);
    Remove { key, value }
}

/// Takes a value out, whatever its type, and replies whether it was there.
pub fn discard(key: impl Into<Cow<'static, str>>) -> Update<impl FnOnce(&mut super::Attributes) -> Discarded + Send> {
    let key = key.into();
    update(move |attributes| Ok(attributes.discard(&key)))
}

type Discarded = Result<bool, super::AttributeError>;

/// Changes several values as one: [`update`].
pub struct Update<F>(pub(super) F);

/// Reads and changes several values as one. If `change` returns an error or panics, all of it is undone. The reply is
/// what it returns.
///
/// ```
/// # use session_process::{SessionId, Sessions, attributes};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sessions = <Sessions>::builder().build()?;
/// # let id = SessionId::generate();
/// # sessions.start(&id).await?;
/// let visits = attributes::update(|attributes| {
///     attributes.insert("last", "home")?;
///     attributes.update("visits", |visits: &mut u64| { *visits += 1; *visits })
/// });
/// assert_eq!(sessions.call(&id, visits).await??, 1);
/// # Ok(()) }
/// ```
pub fn update<F, R>(change: F) -> Update<F>
where
    F: FnOnce(&mut super::Attributes) -> Result<R, super::AttributeError>,
{
    Update(change)
}

/// Takes all values out: [`clear`].
#[derive(Debug, Clone, Copy)]
pub struct Clear;

/// Takes all values out.
#[must_use]
pub fn clear() -> Clear {
    Clear
}

/// Reads all values: [`all`].
#[derive(Debug, Clone, Copy)]
pub struct All;

/// Reads all values. The reply is a copy of the [`Attributes`](super::Attributes); the values themselves are shared.
#[must_use]
pub fn all() -> All {
    All
}

// Without values, which may be secret.
impl<T> fmt::Debug for Get<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Get").field(&self.key).finish()
    }
}

impl<T> fmt::Debug for Insert<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Insert")
            .field("key", &self.key)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Remove<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remove").field(&self.key).finish()
    }
}

impl<F> fmt::Debug for Update<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Update")
    }
}
