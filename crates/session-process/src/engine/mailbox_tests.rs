//! The bound of a mailbox, and what its senders take back. (Not in its file, which the models compile against loom.)

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::mailbox::{Item, Mailbox, Next, Push, Queue, RunRight};

#[derive(Debug, Default)]
struct Letter {
    gone: AtomicBool,
    looks: AtomicUsize,
}

impl Item for Arc<Letter> {
    fn is_gone(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.gone.load(Ordering::Relaxed)
    }
}

fn left(mailbox: &Mailbox<'_, Arc<Letter>>, bound: Option<usize>) -> Option<Arc<Letter>> {
    let letter = Arc::new(Letter::default());
    match mailbox.push(Arc::clone(&letter), bound) {
        Push::Queued => Some(letter),
        _ => None,
    }
}

fn withdraw(mailbox: &Mailbox<'_, Arc<Letter>>, letter: &Letter) {
    letter.gone.store(true, Ordering::Relaxed);
    mailbox.withdrawn();
}

#[test]
fn what_has_no_bound_takes_up_no_place_of_what_has() {
    let (right, queue) = (RunRight::held(), Queue::new());
    let mailbox = Mailbox::of(&right, &queue);
    for _ in 0..100 {
        left(&mailbox, None).unwrap();
    }
    let bounded: Vec<_> = (0..3).map(|_| left(&mailbox, Some(3)).unwrap()).collect();
    assert!(left(&mailbox, Some(3)).is_none());
    left(&mailbox, None).unwrap();
    withdraw(&mailbox, &bounded[1]);
    left(&mailbox, Some(3)).unwrap();
    assert!(left(&mailbox, Some(3)).is_none());
    for _ in 0..101 {
        assert!(
            matches!(mailbox.next(), Next::Message(_)),
            "the first bounded among them"
        );
    }
    left(&mailbox, Some(3)).unwrap();
    assert!(left(&mailbox, Some(3)).is_none());
}

#[test]
fn a_refused_message_looks_at_those_that_wait_only_if_one_was_taken_back() {
    let (right, queue) = (RunRight::held(), Queue::new());
    let mailbox = Mailbox::of(&right, &queue);
    let waiting: Vec<_> = (0..1_000).map(|_| left(&mailbox, Some(1_000)).unwrap()).collect();
    let looks = || {
        waiting
            .iter()
            .map(|letter| letter.looks.load(Ordering::Relaxed))
            .sum::<usize>()
    };
    assert!(left(&mailbox, Some(1_000)).is_none());
    assert_eq!(looks(), 0);
    withdraw(&mailbox, &waiting[7]);
    left(&mailbox, Some(1_000)).unwrap();
    assert!(left(&mailbox, Some(1_000)).is_none());
    assert_eq!(looks(), 1_000, "once for one");
}

/// While an `init` hangs, callers come and go away, for as long as it hangs.
#[test]
fn what_was_taken_back_doesnt_pile_up_where_there_is_no_bound() {
    let (right, queue) = (RunRight::held(), Queue::new());
    let mailbox = Mailbox::of(&right, &queue);
    let stay: Vec<_> = (0..100).map(|_| left(&mailbox, None).unwrap()).collect();
    for _ in 0..10_000 {
        let letter = left(&mailbox, None).unwrap();
        withdraw(&mailbox, &letter);
        assert!(mailbox.waiting() <= 2 * stay.len() + 20);
    }
    let looks: usize = stay.iter().map(|letter| letter.looks.load(Ordering::Relaxed)).sum();
    assert!(looks <= 10_000, "{looks}: at most one for each that was taken back");
}
