//! Those of this node who want the same lock take turns.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::store::LockKey;

type Place = Arc<tokio::sync::Mutex<()>>;
type Places = Arc<Mutex<HashMap<LockKey, Place>>>;

#[derive(Debug, Default, Clone)]
pub(super) struct Turns(Places);

/// The turn of one of them: it may ask the store for the lock, and then has it.
#[derive(Debug)]
pub(super) struct Turn {
    places: Places,
    key: LockKey,
    /// `None` only while it is dropped.
    place: Option<Place>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for it.
    ///
    /// # Cancel safety
    /// The place in the queue is given up.
    pub(super) async fn wait(&self, key: LockKey) -> Turn {
        let (place, mut turn) = self.place(key);
        turn.guard = Some(place.lock_owned().await);
        turn
    }

    pub(super) fn try_now(&self, key: LockKey) -> Option<Turn> {
        let (place, mut turn) = self.place(key);
        turn.guard = Some(place.try_lock_owned().ok()?);
        Some(turn)
    }

    fn place(&self, key: LockKey) -> (Place, Turn) {
        let place = Arc::clone(self.0.lock().entry(key).or_default());
        let turn = Turn {
            places: Arc::clone(&self.0),
            key,
            place: Some(Arc::clone(&place)),
            guard: None,
        };
        (place, turn)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        (self.guard, self.place) = (None, None);
        let mut places = self.places.lock();
        // The map's alone: nobody has it or waits for it. Others are made under this lock.
        if places.get(&self.key).is_some_and(|place| Arc::strong_count(place) == 1) {
            places.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_and_leave_nothing_behind() {
        let (turns, key) = (Turns::default(), LockKey::from_bytes([1; 32]));
        let first = turns.wait(key).await;
        assert!(turns.try_now(key).is_none());
        assert!(turns.try_now(LockKey::from_bytes([2; 32])).is_some());
        {
            let mut given_up = std::pin::pin!(turns.wait(key));
            assert!(futures_poll(given_up.as_mut()).is_none());
        }
        let waits = turns.clone();
        let second = tokio::spawn(async move { drop(waits.wait(key).await) });
        drop(first);
        second.await.unwrap();
        assert_eq!(turns.len(), 0);
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
