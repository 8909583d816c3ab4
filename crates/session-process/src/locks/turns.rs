//! Those of this node who want the same lock take turns.

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    keyed::{At, Keyed},
    store::LockKey,
};

#[derive(Debug, Default, Clone)]
pub(super) struct Turns(Keyed<LockKey, Mutex<()>>);

/// The turn of one of them: it may ask the store for the lock, and then has it.
#[derive(Debug)]
pub(super) struct Turn {
    // The fields are dropped in this order: whoever is last at the key holds nothing of it.
    _guard: OwnedMutexGuard<()>,
    _place: At<LockKey, Mutex<()>>,
}

impl Turns {
    /// Waits for it.
    ///
    /// # Cancel safety
    /// The place in the queue is given up.
    pub(super) async fn wait(&self, key: LockKey) -> Turn {
        let place = self.0.at(key);
        let guard = place.shared().lock_owned().await;
        Turn {
            _guard: guard,
            _place: place,
        }
    }

    pub(super) fn try_now(&self, key: LockKey) -> Option<Turn> {
        let place = self.0.at(key);
        let guard = place.shared().try_lock_owned().ok()?;
        Some(Turn {
            _guard: guard,
            _place: place,
        })
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
        assert_eq!(turns.0.len(), 0);
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
