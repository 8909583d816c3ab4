//! Expiry: who was told that a session has expired never meets it again.

use std::time::Duration;

use loom::{sync::Arc, thread};

use crate::{
    engine::{
        life::{LastUsed, Life, Limits},
        mailbox::{Mailbox, Next, Queue, RunRight},
    },
    process::Expiry,
    sync::{AtomicU64, Ordering},
};

const IDLE: u64 = 10;

/// A session and its clock.
struct World {
    right: RunRight,
    queue: Queue<u32>,
    life: (LastUsed, Limits),
    clock: AtomicU64,
}

impl World {
    fn new() -> Arc<Self> {
        let world = Self {
            right: RunRight::held(),
            queue: Queue::new(),
            life: Life::begin(0, Some(Duration::from_nanos(IDLE)), None),
            clock: AtomicU64::new(IDLE - 1),
        };
        assert!(world.mailbox().release());
        Arc::new(world)
    }

    fn mailbox(&self) -> Mailbox<'_, u32> {
        Mailbox::of(&self.right, &self.queue)
    }

    fn life(&self) -> Life<'_> {
        Life::of(&self.life.0, &self.life.1)
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Acquire)
    }

    /// A message that has to wait. Whether it was served.
    fn serve<'a>(&'a self, judge: impl Fn(Life<'a>, u64) -> Option<Expiry>, after: impl Fn(Life<'a>, u64)) -> bool {
        while !self.mailbox().try_begin() {
            thread::yield_now();
        }
        let in_time = judge(self.life(), self.now()).is_none();
        if in_time {
            self.mailbox().away();
            after(self.life(), self.now());
        }
        if !self.mailbox().release() {
            assert!(matches!(self.mailbox().next(), Next::Idle));
        }
        in_time
    }

    /// As `handle_here` does.
    fn send(&self) -> bool {
        self.serve(Life::judge_use, Life::used)
    }

    /// The same for one that is no use of the session: a timer's, say.
    fn send_unused(&self) -> bool {
        self.serve(Life::judge, |life, now| {
            let _ = life.judge_at_work(now);
        })
    }

    /// As `is_live` does.
    fn is_live(&self) -> bool {
        let now = self.now();
        self.life().look(now, self.mailbox().is_in_use()).is_none()
    }

    fn touch(&self) -> bool {
        let now = self.now();
        self.life().touch(now, self.mailbox().is_in_use())
    }
}

/// `first` beside a message while the idle time runs out: when one of the two was told that it was over, it is.
fn beside_a_message(
    first: impl Fn(&World) -> bool + Copy + Send + Sync + 'static,
    send: impl Fn(&World) -> bool + Copy + Send + Sync + 'static,
) {
    loom::model(move || {
        let world = World::new();
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || send(&world))
        };
        // As late as it can be for who has just noted a use.
        world.clock.store(2 * IDLE - 1, Ordering::Release);
        let alive = first(&world);
        if !alive {
            assert!(!world.touch(), "told that it has expired");
            assert!(!world.is_live(), "told that it has expired");
        }
        let served = sender.join().unwrap();
        if !alive || !served {
            assert!(!world.is_live());
            assert!(!world.touch());
            assert!(!world.send());
        }
    });
}

#[test]
fn who_looks_beside_a_message_is_right_for_good() {
    beside_a_message(World::is_live, World::send);
    beside_a_message(World::is_live, World::send_unused);
}

#[test]
fn who_touches_beside_a_message_is_right_for_good() {
    beside_a_message(World::touch, World::send);
    beside_a_message(World::touch, World::send_unused);
}

#[test]
fn a_touch_and_a_look_agree() {
    loom::model(|| {
        let world = World::new();
        let toucher = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let now = world.now();
                (now, world.life().touch(now, world.mailbox().is_in_use()))
            })
        };
        world.clock.store(IDLE, Ordering::Release);
        let alive = world.is_live();
        let (now, touched) = toucher.join().unwrap();
        assert!(now < IDLE || !touched, "too late");
        if !alive {
            assert!(
                !world.is_live() && !world.touch() && !world.send(),
                "told that it has expired"
            );
        } else if touched {
            assert!(world.is_live(), "it was in time: its idle time begins anew");
        }
    });
}
