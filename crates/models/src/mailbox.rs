//! The run right.

// Not loom's: it must not order what it watches.
use std::sync::Mutex;

use loom::{cell::UnsafeCell, sync::Arc, thread};

use crate::engine::mailbox::{Close, Item, Mailbox, Next, Push, Queue, RunRight};

impl Item for u32 {
    fn is_gone(&self) -> bool {
        false
    }
}

/// What the run right protects.
struct World {
    right: RunRight,
    queue: Queue<u32>,
    /// Touched by the holder of the run right: loom fails the model if two do so at a time.
    process: UnsafeCell<()>,
    handled: Mutex<Vec<u32>>,
    ends: Mutex<u32>,
}

impl World {
    fn idle() -> Arc<Self> {
        let world = Self {
            right: RunRight::held(),
            queue: Queue::new(),
            process: UnsafeCell::new(()),
            handled: Mutex::new(Vec::new()),
            ends: Mutex::new(0),
        };
        assert!(world.mailbox().release());
        Arc::new(world)
    }

    fn mailbox(&self) -> Mailbox<'_, u32> {
        Mailbox::of(&self.right, &self.queue)
    }

    fn handle(&self, message: u32) {
        self.process.with_mut(|_| self.handled.lock().unwrap().push(message));
    }

    fn end(&self) {
        self.process.with_mut(|_| *self.ends.lock().unwrap() += 1);
    }

    fn log(&self) -> Vec<u32> {
        self.handled.lock().unwrap().clone()
    }

    /// As `handle_here` and `proceed` do.
    fn send(&self, message: u32) -> bool {
        if self.mailbox().try_begin() {
            self.handle(message);
            if !self.mailbox().release() {
                self.drain();
            }
            return true;
        }
        self.leave(message)
    }

    /// As `post` does.
    fn leave(&self, message: u32) -> bool {
        match self.mailbox().push(message, None) {
            Push::Queued => true,
            Push::Begin => {
                self.drain();
                true
            }
            Push::Full(_) => unreachable!("there is no bound here"),
            Push::Closed(_) => false,
        }
    }

    fn drain(&self) {
        loop {
            match self.mailbox().next() {
                Next::Message(message) => self.handle(message),
                Next::Idle => return,
                Next::Closed => return self.end(),
            }
        }
    }

    /// As `request_end` does: who begins the end doesn't look at the queue.
    fn close(&self) {
        if self.mailbox().close() == Close::Begin {
            self.end();
        }
    }
}

#[test]
fn every_message_is_handled_once_one_at_a_time_and_in_its_senders_order() {
    loom::model(|| {
        let world = World::idle();
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                assert!(world.send(10));
                assert!(world.send(11));
            })
        };
        assert!(world.send(20));
        assert!(world.send(21));
        other.join().unwrap();
        let log = world.log();
        assert_eq!(log.len(), 4, "none lost, none twice: {log:?}");
        let of = |tens: u32| log.iter().copied().filter(|n| n / 10 == tens).collect::<Vec<_>>();
        assert_eq!(of(1), [10, 11]);
        assert_eq!(of(2), [20, 21]);
        assert!(!world.mailbox().is_running(), "the right was given up");
    });
}

#[test]
fn three_senders_leave_nothing_in_the_queue() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let world = World::idle();
        let others: Vec<_> = (1..3)
            .map(|n| {
                let world = Arc::clone(&world);
                thread::spawn(move || assert!(world.send(n)))
            })
            .collect();
        assert!(world.send(3));
        for other in others {
            other.join().unwrap();
        }
        let mut log = world.log();
        log.sort_unstable();
        assert_eq!(log, [1, 2, 3]);
        assert_eq!(world.mailbox().waiting(), 0);
        assert!(!world.mailbox().is_running());
    });
}

#[test]
fn whoever_closes_the_end_comes_once_and_after_all_that_was_accepted() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let world = World::idle();
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || u32::from(world.send(1)))
        };
        let closer = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.close())
        };
        world.close();
        let accepted = sender.join().unwrap();
        closer.join().unwrap();
        assert_eq!(
            world.log().len() as u32,
            accepted,
            "accepted is handled, refused is not"
        );
        assert_eq!(*world.ends.lock().unwrap(), 1, "one end");
        assert_eq!(world.mailbox().waiting(), 0);
        assert!(!world.send(2), "closed for good");
    });
}

#[test]
fn what_is_left_as_an_idle_session_closes_is_handled_or_comes_back() {
    loom::model(|| {
        let world = World::idle();
        let senders: Vec<_> = (1..3)
            .map(|n| {
                let world = Arc::clone(&world);
                thread::spawn(move || u32::from(world.leave(n)))
            })
            .collect();
        world.close();
        let accepted: u32 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        assert_eq!(world.log().len() as u32, accepted);
        assert_eq!(*world.ends.lock().unwrap(), 1, "one end");
        assert_eq!(world.mailbox().waiting(), 0);
    });
}

#[test]
fn who_closes_and_takes_what_waits_leaves_nothing() {
    loom::model(|| {
        let world = World::idle();
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.send(1) && world.leave(2))
        };
        world.close();
        let refused = world.mailbox().take().count();
        sender.join().unwrap();
        assert!(world.log().len() + refused <= 2, "none twice");
        assert_eq!(*world.ends.lock().unwrap(), 1, "one end");
        assert_eq!(world.mailbox().waiting(), 0);
    });
}

/// As `crashed_here` does: what waits goes back to its senders, and what comes from then on is for the process after the
/// crash.
#[test]
fn what_comes_as_a_handler_crashes_goes_back_or_is_handled_after_it() {
    loom::model(|| {
        let world = World::idle();
        assert!(world.mailbox().try_begin());
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || assert!(world.leave(1) && world.leave(2)))
        };
        // Without this, loom never has the sender come before the first look.
        thread::yield_now();
        let refused: Vec<u32> = world.mailbox().take().collect();
        world.drain();
        sender.join().unwrap();
        assert_eq!([refused, world.log()].concat(), [1, 2], "each once, in order");
        assert_eq!(world.mailbox().waiting(), 0);
        assert!(!world.mailbox().is_running());
    });
}
