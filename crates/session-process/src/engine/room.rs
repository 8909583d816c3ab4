//! Where a handler's future lies: a piece of memory that each thread keeps and uses again for the next.
//!
//! A future that may have to wait needs a place that it can be moved to a task with, so it is on the heap from its first
//! poll. Most end in that poll. To allocate for each of them is the dearest part of a small message; what it costs
//! depends on what the heap looks like, too: glibc's is five times as slow where a free piece is a little larger than
//! the one that is asked for.

use std::{cell::Cell, pin::Pin};

use recycle_box::RecycleBox;

/// A future, and the memory that can be used again when it is done.
pub(super) type Roomed<F> = Pin<RecycleBox<F>>;

/// What a thread keeps at most, in bytes: above nearly all handlers. A handler that waits takes it along.
const KEPT: usize = 1024;

thread_local! {
    /// Empty while it is in use: a handler that sends a message to another session, which is handled inside it, has
    /// that one allocated.
    static SPARE: Cell<Option<RecycleBox<()>>> = const { Cell::new(None) };
}

/// Puts a future where it can be polled.
#[inline]
pub(super) fn place<F: Future>(future: F) -> Roomed<F> {
    // One that is not kept must not take what smaller ones use. An error: the thread is ending, and its storage has gone
    // before.
    let spare = (size_of::<F>() <= KEPT).then(|| SPARE.try_with(Cell::take).ok().flatten());
    match spare.flatten() {
        Some(room) => RecycleBox::into_pin(RecycleBox::recycle(room, future)),
        None => RecycleBox::pin(future),
    }
}

/// Keeps the memory of a future that is done.
#[inline]
pub(super) fn keep<F: Future>(done: Roomed<F>) {
    if size_of::<F>() <= KEPT {
        let room = RecycleBox::vacate_pinned(done);
        let _ = SPARE.try_with(|spare| spare.set(Some(room)));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, pending, ready};

    use super::*;

    fn kept() -> Option<RecycleBox<()>> {
        SPARE.take()
    }

    /// Where a future lies.
    fn at<T>(future: &Roomed<Ready<T>>) -> usize {
        std::ptr::from_ref(&**future).addr()
    }

    #[test]
    fn the_next_future_lies_where_the_last_one_did() {
        kept();
        let first = place(ready([0_u64; 4]));
        let before = at(&first);
        keep(first);
        assert_eq!(at(&place(ready(1_u8))), before);
    }

    #[test]
    fn one_that_waits_takes_its_room_along() {
        kept();
        keep(place(ready(1_u64)));
        let waits = place(pending::<u64>());
        assert!(kept().is_none());
        drop(waits);
        assert!(kept().is_none());
    }

    #[test]
    fn what_is_large_is_not_kept() {
        kept();
        keep(place(ready([0_u8; KEPT + 1])));
        assert!(kept().is_none());
    }

    #[test]
    fn what_is_large_leaves_the_room_to_others() {
        kept();
        keep(place(ready(1_u64)));
        let large = place(ready([0_u8; KEPT + 1]));
        assert!(kept().is_some());
        drop(large);
    }
}
