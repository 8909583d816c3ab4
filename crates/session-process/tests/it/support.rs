//! The processes that the tests run, and short ways to start them.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use session_process::{
    Builder, Context, EndReason, Handle, Init, InitError, ManualClock, Process, Restart, SessionId, Sessions,
};
use testkit::Gate;
use tokio::sync::mpsc;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn id(text: &str) -> SessionId {
    text.parse().expect("a well-formed id")
}

/// Counts, and writes down what it was told in which order.
#[derive(Default, Debug)]
pub(crate) struct Counter {
    pub(crate) sum: u64,
    pub(crate) log: Vec<u64>,
}

impl Process for Counter {
    const RESTART: Restart = Restart::OnFailure {
        max_restarts: 2,
        within: Duration::from_secs(60),
    };
}

pub(crate) struct Add(pub(crate) u64);

impl Handle<Add> for Counter {
    type Reply = u64;

    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.sum += n;
        self.log.push(n);
        self.sum
    }
}

pub(crate) struct Log;

impl Handle<Log> for Counter {
    type Reply = Vec<u64>;

    async fn handle(&mut self, _: Log, _: &mut Context<Self>) -> Vec<u64> {
        self.log.clone()
    }
}

/// Stops at a gate, and adds only after it.
pub(crate) struct AddAt(pub(crate) Gate, pub(crate) u64);

impl Handle<AddAt> for Counter {
    type Reply = u64;

    async fn handle(&mut self, AddAt(gate, n): AddAt, _: &mut Context<Self>) -> u64 {
        self.log.push(0);
        gate.pass().await;
        self.sum += n;
        self.log.push(n);
        self.sum
    }
}

pub(crate) struct Panic;

impl Handle<Panic> for Counter {
    type Reply = ();

    async fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("as told");
    }
}

pub(crate) struct PanicAt(pub(crate) Gate);

impl Handle<PanicAt> for Counter {
    type Reply = ();

    async fn handle(&mut self, PanicAt(gate): PanicAt, _: &mut Context<Self>) {
        gate.pass().await;
        panic!("as told");
    }
}

pub(crate) struct Stop;

impl Handle<Stop> for Counter {
    type Reply = &'static str;

    async fn handle(&mut self, _: Stop, cx: &mut Context<Self>) -> &'static str {
        cx.stop(EndReason::Stopped);
        "bye"
    }
}

pub(crate) struct WhoAmI;

impl Handle<WhoAmI> for Counter {
    type Reply = SessionId;

    async fn handle(&mut self, _: WhoAmI, cx: &mut Context<Self>) -> SessionId {
        cx.session_id()
    }
}

pub(crate) fn counters() -> Sessions<Counter> {
    Sessions::builder().build().expect("in a runtime")
}

pub(crate) fn with_clock<P: Process>(configure: impl FnOnce(Builder<P>) -> Builder<P>) -> (Sessions<P>, ManualClock) {
    let clock = ManualClock::new();
    let sessions = configure(Sessions::builder())
        .clock(clock.clone())
        .build()
        .expect("in a runtime");
    (sessions, clock)
}

/// Tells of its beginnings and ends.
pub(crate) struct Witness {
    told: Told,
}

#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) ends: mpsc::UnboundedSender<EndReason>,
    /// Where the terminate hook stops, if it is to.
    pub(crate) hook: Option<Gate>,
    /// Where `init` stops, if it is to.
    pub(crate) init: Option<Gate>,
}

pub(crate) fn told() -> (Told, mpsc::UnboundedReceiver<EndReason>) {
    let (ends, receiver) = mpsc::unbounded_channel();
    (
        Told {
            begun: Arc::default(),
            ends,
            hook: None,
            init: None,
        },
        receiver,
    )
}

impl Process for Witness {
    async fn terminate(&mut self, reason: EndReason, _: &mut Context<Self>) {
        if let Some(gate) = &self.told.hook {
            gate.pass().await;
        }
        let _ = self.told.ends.send(reason);
    }
}

impl Init<Told> for Witness {
    async fn init(told: Told, _: &mut Context<Self>) -> Result<Self, InitError> {
        told.begun.fetch_add(1, Ordering::Relaxed);
        if let Some(gate) = &told.init {
            gate.pass().await;
        }
        Ok(Self { told })
    }
}

pub(crate) struct Ping;

impl Handle<Ping> for Witness {
    type Reply = ();

    async fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

impl Handle<Panic> for Witness {
    type Reply = ();

    async fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("as told");
    }
}

pub(crate) struct Hold(pub(crate) Gate);

impl Handle<Hold> for Witness {
    type Reply = ();

    async fn handle(&mut self, Hold(gate): Hold, _: &mut Context<Self>) {
        gate.pass().await;
    }
}

/// Waits for a condition that another task is about to bring about, giving it the thread.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Polls a future once, and not in a task of its own.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
