//! The engine against a reference model: random operations over four ids, one after the other, with handlers that are
//! held in their midst, full mailboxes, callers that go away, crashes, rotations, expiry and all limits. After each
//! operation everything that can be seen is compared.
//!
//! More of them in `cargo xtask test --long`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use proptest::prelude::*;
use session_process::*;
use testkit::Gate;
use tokio::task::JoinHandle;

const IDS: usize = 4;
const MAX_SESSIONS: usize = 3;
const PER_MINUTE: u32 = 6;
const CAPACITY: usize = 2;
const RESTARTS: usize = 2;
const MINUTE: u64 = 60;

// ------------------------------------------------------------------------------------------------ what is modelled

/// Of an engine: which birth ended, and why its hook said so.
#[derive(Clone, Default)]
struct Log {
    hooks: Arc<Mutex<Vec<(u64, EndReason)>>>,
    births: Arc<AtomicU64>,
    inits: Arc<AtomicU64>,
}

struct Cell {
    birth: u64,
    sum: u64,
    log: Log,
}

impl Process for Cell {
    const RESTART: Restart = Restart::OnFailure {
        max_restarts: RESTARTS as u32,
        within: Duration::from_secs(MINUTE),
    };

    async fn terminate(&mut self, reason: EndReason, _: &mut Context<Self>) {
        self.log.hooks.lock().unwrap().push((self.birth, reason));
    }
}

#[derive(Clone)]
struct Args {
    log: Log,
    fails: bool,
    /// Gives the thread up, so that it goes on in a task.
    slow: bool,
}

impl Init<Args> for Cell {
    async fn init(args: Args, _: &mut Context<Self>) -> Result<Self, InitError> {
        args.log.inits.fetch_add(1, SeqCst);
        if args.slow {
            tokio::task::yield_now().await;
        }
        if args.fails {
            return Err("as told".into());
        }
        let birth = args.log.births.fetch_add(1, SeqCst);
        Ok(Self {
            birth,
            sum: 0,
            log: args.log,
        })
    }
}

#[derive(Clone, Debug)]
enum Do {
    Add(u64),
    Boom,
    Stop,
    Hold(Gate),
}

impl Handle<Do> for Cell {
    type Reply = (u64, u64);

    async fn handle(&mut self, what: Do, cx: &mut Context<Self>) -> (u64, u64) {
        match what {
            Do::Add(n) => self.sum += n,
            Do::Boom => panic!("as told"),
            Do::Stop => cx.stop(EndReason::Stopped),
            Do::Hold(gate) => gate.pass().await,
        }
        (self.birth, self.sum)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Add(u64),
    Boom,
    Stop,
}

impl What {
    fn message(self) -> Do {
        match self {
            Self::Add(n) => Do::Add(n),
            Self::Boom => Do::Boom,
            Self::Stop => Do::Stop,
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Start {
        id: usize,
        idle: Option<u64>,
        life: Option<u64>,
        fails: bool,
        slow: bool,
    },
    Call(usize, What),
    Cast(usize, What),
    Hold(usize),
    Release(usize),
    /// The caller of the youngest call that waits goes away.
    Abandon(usize),
    Touch(usize),
    SetIdle(usize, Option<u64>),
    SetLife(usize, Option<u64>),
    Rotate(usize, usize),
    Terminate(usize),
    Kill(usize),
    Advance(u64),
    Sweep,
    TerminateAll,
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![8 => (1..100u64).prop_map(What::Add), 2 => Just(What::Boom), 1 => Just(What::Stop)]
}

fn op() -> impl Strategy<Value = Op> {
    let id = || 0..IDS;
    let limit = || prop_oneof![1 => Just(None), 4 => (1..90u64).prop_map(Some)];
    prop_oneof![
        12 => (id(), limit(), limit(), prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(id, idle, life, fails, slow)| Op::Start { id, idle, life, fails, slow }),
        12 => (id(), what()).prop_map(|(id, what)| Op::Call(id, what)),
        8 => (id(), what()).prop_map(|(id, what)| Op::Cast(id, what)),
        6 => id().prop_map(Op::Hold),
        6 => id().prop_map(Op::Release),
        2 => id().prop_map(Op::Abandon),
        4 => id().prop_map(Op::Touch),
        2 => (id(), limit()).prop_map(|(id, limit)| Op::SetIdle(id, limit)),
        2 => (id(), limit()).prop_map(|(id, limit)| Op::SetLife(id, limit)),
        4 => (id(), id()).prop_map(|(from, to)| Op::Rotate(from, to)),
        3 => id().prop_map(Op::Terminate),
        2 => id().prop_map(Op::Kill),
        10 => (0..50u64).prop_map(Op::Advance),
        3 => Just(Op::Sweep),
        1 => Just(Op::TerminateAll),
    ]
}

// ------------------------------------------------------------------------------------------------------- the model

type Reply = Result<(u64, u64), String>;

struct Waits {
    what: What,
    /// A call; of a cast there is none.
    call: Option<JoinHandle<Reply>>,
    gone: bool,
}

struct Held {
    gate: Gate,
    call: JoinHandle<Reply>,
}

struct One {
    birth: u64,
    sum: u64,
    begun: u64,
    used: u64,
    idle: Option<u64>,
    life: Option<u64>,
    held: Option<Held>,
    queue: VecDeque<Waits>,
    closing: Option<EndReason>,
    restarts: Vec<u64>,
    monitor: Monitor,
    terminates: Vec<JoinHandle<bool>>,
}

impl One {
    fn overdue(&self, now: u64) -> bool {
        self.life.is_some_and(|life| now >= self.begun + life)
    }

    fn expired(&self, now: u64) -> Option<Expiry> {
        if self.overdue(now) {
            return Some(Expiry::Absolute);
        }
        let idled = self.idle.is_some_and(|idle| now - self.used >= idle);
        (self.held.is_none() && idled).then_some(Expiry::Idle)
    }

    fn live(&self, now: u64) -> bool {
        self.closing.is_none() && self.expired(now).is_none()
    }
}

struct World {
    sessions: Sessions<Cell>,
    clock: ManualClock,
    log: Log,
    ids: Vec<SessionId>,
    now: u64,
    model: BTreeMap<usize, One>,
    hooks: Vec<(u64, EndReason)>,
    births: u64,
    inits: u64,
    starts: Vec<u64>,
    started: u64,
    ended: u64,
}

async fn settle() {
    for _ in 0..40 {
        tokio::task::yield_now().await;
    }
}

fn kind<M>(error: &CallError<M>) -> String {
    match error {
        CallError::Ended { reason, message, .. } => format!("ended {reason} {}", message.is_some()),
        CallError::Crashed { message, .. } => format!("crashed {}", message.is_some()),
        other => other.kind().to_owned(),
    }
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        let sessions = Sessions::builder()
            .clock(clock.clone())
            .max_sessions(MAX_SESSIONS)
            .rate_limit(PER_MINUTE)
            .mailbox_capacity(CAPACITY)
            .idle_timeout(None)
            .max_lifetime(None)
            .call_timeout(Duration::from_secs(1_000_000))
            .sweep_interval(Duration::from_secs(100_000_000))
            .build()
            .unwrap();
        Self {
            sessions,
            clock,
            log: Log::default(),
            ids: (0..IDS).map(|n| format!("id-{n}").parse().unwrap()).collect(),
            now: 0,
            model: BTreeMap::new(),
            hooks: Vec::new(),
            births: 0,
            inits: 0,
            starts: Vec::new(),
            started: 0,
            ended: 0,
        }
    }

    fn spawn_call(&self, id: usize, message: Do) -> JoinHandle<Reply> {
        let (sessions, id) = (self.sessions.clone(), self.ids[id].clone());
        tokio::spawn(async move { sessions.call(&id, message).await.map_err(|error| kind(&error)) })
    }

    /// It has left: nothing is held any more.
    async fn gone(&mut self, id: usize, reason: EndReason, hook: bool) {
        let one = self.model.remove(&id).unwrap();
        self.ended += 1;
        if hook {
            self.hooks.push((one.birth, reason));
        }
        settle().await;
        assert_eq!(one.monitor.reason(), Some(reason), "monitor of {id}");
        for terminate in one.terminates {
            assert!(terminate.is_finished(), "a terminate waits for ever");
            terminate.await.unwrap();
        }
        assert!(one.queue.iter().all(|waits| waits.call.is_none()), "refused before");
    }

    /// Closed: what waits is refused.
    async fn close(&mut self, id: usize, reason: EndReason) {
        let one = self.model.get_mut(&id).unwrap();
        one.closing = Some(reason);
        let queue = std::mem::take(&mut one.queue);
        settle().await;
        refused(queue, &format!("ended {reason} true")).await;
    }

    async fn crash(&mut self, id: usize) {
        let now = self.now;
        let one = self.model.get_mut(&id).unwrap();
        self.hooks.push((one.birth, EndReason::Crashed));
        let queue = std::mem::take(&mut one.queue);
        one.restarts.retain(|at| now - at < MINUTE);
        let again = one.closing.is_none() && one.restarts.len() < RESTARTS;
        if again {
            one.restarts.push(now);
            one.birth = self.births;
            one.sum = 0;
            self.births += 1;
            self.inits += 1;
        }
        settle().await;
        refused(queue, "crashed true").await;
        if !again {
            let reason = self.model[&id].closing.unwrap_or(EndReason::Crashed);
            self.gone(id, reason, false).await;
        }
    }

    /// The session is idle and gets a message. What its sender sees.
    async fn handles(&mut self, id: usize, what: What) -> Reply {
        let now = self.now;
        let one = self.model.get_mut(&id).unwrap();
        one.used = now;
        match what {
            What::Add(n) => {
                one.sum += n;
                Ok((one.birth, one.sum))
            }
            What::Boom => {
                self.crash(id).await;
                Err("crashed false".into())
            }
            What::Stop => {
                let reply = (one.birth, one.sum);
                self.close(id, EndReason::Stopped).await;
                self.gone(id, EndReason::Stopped, true).await;
                Ok(reply)
            }
        }
    }

    /// Whether there is one that takes messages; ends one whose time is up, as a message does.
    async fn meets(&mut self, id: usize) -> bool {
        let Some(one) = self.model.get(&id) else { return false };
        if one.closing.is_some() {
            return false;
        }
        let Some(expiry) = one.expired(self.now) else {
            return true;
        };
        let held = one.held.is_some();
        self.close(id, EndReason::Expired(expiry)).await;
        if !held {
            self.gone(id, EndReason::Expired(expiry), true).await;
        }
        false
    }

    fn has_room(&mut self, id: usize) -> bool {
        let queue = &mut self.model.get_mut(&id).unwrap().queue;
        if queue.len() >= CAPACITY {
            queue.retain(|waits| !waits.gone);
        }
        queue.len() < CAPACITY
    }

    async fn apply(&mut self, op: &Op) {
        match *op {
            Op::Start {
                id,
                idle,
                life,
                fails,
                slow,
            } => self.start(id, idle, life, fails, slow).await,
            Op::Call(id, what) => {
                let call = self.spawn_call(id, what.message());
                settle().await;
                if !self.meets(id).await {
                    assert_eq!(call.await.unwrap(), Err("not_started".into()));
                } else if self.model[&id].held.is_none() {
                    assert!(call.is_finished(), "an idle session answers");
                    let expected = self.handles(id, what).await;
                    assert_eq!(call.await.unwrap(), expected);
                } else if self.has_room(id) {
                    assert!(!call.is_finished(), "the session is held: {:?}", call.await);
                    let one = self.model.get_mut(&id).unwrap();
                    one.used = self.now;
                    let (call, gone) = (Some(call), false);
                    one.queue.push_back(Waits { what, call, gone });
                } else {
                    assert_eq!(call.await.unwrap(), Err("mailbox_full".into()));
                }
            }
            Op::Cast(id, what) => {
                let cast = self
                    .sessions
                    .cast(&self.ids[id], what.message())
                    .map_err(|error| error.kind());
                settle().await;
                if !self.meets(id).await {
                    assert_eq!(cast, Err("not_started"));
                } else if self.model[&id].held.is_none() {
                    assert_eq!(cast, Ok(()));
                    let _ = self.handles(id, what).await;
                } else if self.has_room(id) {
                    assert_eq!(cast, Ok(()));
                    let one = self.model.get_mut(&id).unwrap();
                    one.used = self.now;
                    let (call, gone) = (None, false);
                    one.queue.push_back(Waits { what, call, gone });
                } else {
                    assert_eq!(cast, Err("mailbox_full"));
                }
            }
            Op::Hold(id) => {
                if self.model.get(&id).is_some_and(|one| one.held.is_some()) {
                    return;
                }
                let gate = Gate::new();
                let call = self.spawn_call(id, Do::Hold(gate.clone()));
                settle().await;
                if self.meets(id).await {
                    assert!(!call.is_finished());
                    let one = self.model.get_mut(&id).unwrap();
                    one.used = self.now;
                    one.held = Some(Held { gate, call });
                } else {
                    assert_eq!(call.await.unwrap(), Err("not_started".into()));
                }
            }
            Op::Release(id) => self.release(id).await,
            Op::Abandon(id) => {
                let Some(one) = self.model.get_mut(&id) else { return };
                if let Some(waits) = one.queue.iter_mut().rev().find(|waits| waits.call.is_some())
                    && let Some(call) = waits.call.take()
                {
                    waits.gone = true;
                    call.abort();
                    assert!(call.await.unwrap_err().is_cancelled());
                }
            }
            Op::Touch(id) => {
                let live = self.is_live(id);
                assert_eq!(self.sessions.touch(&self.ids[id]).is_ok(), live);
                if live {
                    self.model.get_mut(&id).unwrap().used = self.now;
                }
            }
            Op::SetIdle(id, idle) => {
                let live = self.is_live(id);
                let set = self
                    .sessions
                    .set_idle_timeout(&self.ids[id], idle.map(Duration::from_secs));
                assert_eq!(set.is_ok(), live);
                if live {
                    self.model.get_mut(&id).unwrap().idle = idle;
                }
            }
            Op::SetLife(id, life) => {
                let live = self.is_live(id);
                let set = self
                    .sessions
                    .set_max_lifetime(&self.ids[id], life.map(Duration::from_secs));
                assert_eq!(set.is_ok(), live);
                if live {
                    self.model.get_mut(&id).unwrap().life = life;
                }
            }
            Op::Rotate(from, to) => {
                let live = self.is_live(from);
                if live {
                    self.model.get_mut(&from).unwrap().used = self.now;
                }
                let outcome = self.sessions.rotate_to(&self.ids[from], &self.ids[to]).await;
                match outcome {
                    Ok(()) => {
                        assert!(live && !self.model.contains_key(&to));
                        let one = self.model.remove(&from).unwrap();
                        self.model.insert(to, one);
                    }
                    Err(RotateError::Taken { .. }) => assert!(live && self.model.contains_key(&to)),
                    Err(RotateError::NotStarted { .. }) => assert!(!live),
                    Err(other) => panic!("{other:?}"),
                }
            }
            Op::Terminate(id) => {
                let (sessions, name) = (self.sessions.clone(), self.ids[id].clone());
                let terminate = tokio::spawn(async move { sessions.terminate(&name).await.is_ok() });
                settle().await;
                let Some(one) = self.model.get_mut(&id) else {
                    assert!(!terminate.await.unwrap());
                    return;
                };
                let expired = one.expired(self.now).is_some();
                let (held, closing) = (one.held.is_some(), one.closing.is_some());
                if held {
                    assert!(!terminate.is_finished(), "it waits for the handler");
                    one.terminates.push(terminate);
                    if !closing {
                        self.close(id, EndReason::Terminated).await;
                    }
                } else {
                    assert_eq!(terminate.await.unwrap(), !expired);
                    self.close(id, EndReason::Terminated).await;
                    self.gone(id, EndReason::Terminated, true).await;
                }
            }
            Op::Kill(id) => {
                let there = self.model.contains_key(&id);
                assert_eq!(self.sessions.kill(&self.ids[id]).is_ok(), there);
                settle().await;
                if there {
                    let reason = self.model[&id].closing.unwrap_or(EndReason::Terminated);
                    self.close(id, reason).await;
                    if let Some(held) = self.model.get_mut(&id).unwrap().held.take() {
                        assert_eq!(held.call.await.unwrap(), Err(format!("ended {reason} false")));
                    }
                    self.gone(id, reason, false).await;
                }
            }
            Op::Advance(seconds) => {
                self.now += seconds;
                self.clock.advance(Duration::from_secs(seconds));
                settle().await;
            }
            Op::Sweep => {
                let swept = self.sessions.expire_now().await;
                settle().await;
                let mut expected = 0;
                for id in 0..IDS {
                    let Some(one) = self.model.get(&id) else { continue };
                    if one.closing.is_none() && one.expired(self.now).is_some() {
                        expected += 1;
                        self.meets(id).await;
                    }
                }
                assert_eq!(swept, expected);
            }
            Op::TerminateAll => {
                let asked = self.sessions.terminate_all().await;
                settle().await;
                let mut expected = 0;
                for id in 0..IDS {
                    let Some(one) = self.model.get(&id) else { continue };
                    if one.closing.is_some() {
                        continue;
                    }
                    expected += 1;
                    let held = one.held.is_some();
                    self.close(id, EndReason::Terminated).await;
                    if !held {
                        self.gone(id, EndReason::Terminated, true).await;
                    }
                }
                assert_eq!(asked, expected);
            }
        }
    }

    async fn start(&mut self, id: usize, idle: Option<u64>, life: Option<u64>, fails: bool, slow: bool) {
        // It would wait for the handler's end.
        let waits = |one: &One| one.held.is_some() && (one.closing.is_some() || one.overdue(self.now));
        if self.model.get(&id).is_some_and(waits) {
            return;
        }
        let args = Args {
            log: self.log.clone(),
            fails,
            slow,
        };
        let options = StartOptions::new()
            .idle_timeout(idle.map(Duration::from_secs))
            .max_lifetime(life.map(Duration::from_secs));
        let outcome = self.sessions.start_with_options(&self.ids[id], args, &options).await;
        settle().await;
        let outcome = outcome.map_err(|error| error.kind());
        if self.meets(id).await {
            assert_eq!(outcome, Ok(false));
            self.model.get_mut(&id).unwrap().used = self.now;
            return;
        }
        let now = self.now;
        let lately = self.starts.iter().filter(|at| now - **at < MINUTE).count();
        if lately >= PER_MINUTE as usize {
            assert_eq!(outcome, Err("rate_limit"));
            return;
        }
        if self.model.len() >= MAX_SESSIONS {
            assert_eq!(outcome, Err("session_limit"));
            return;
        }
        self.starts.push(now);
        self.inits += 1;
        if fails {
            assert_eq!(outcome, Err("init_failed"));
            self.ended += 1;
            return;
        }
        assert_eq!(outcome, Ok(true));
        self.started += 1;
        let birth = self.births;
        self.births += 1;
        let monitor = self.sessions.monitor(&self.ids[id]).unwrap();
        let one = One {
            birth,
            sum: 0,
            begun: now,
            used: now,
            idle,
            life,
            held: None,
            queue: VecDeque::new(),
            closing: None,
            restarts: Vec::new(),
            monitor,
            terminates: Vec::new(),
        };
        self.model.insert(id, one);
    }

    async fn release(&mut self, id: usize) {
        let now = self.now;
        let Some(one) = self.model.get_mut(&id) else { return };
        let Some(held) = one.held.take() else { return };
        held.gate.open();
        settle().await;
        assert_eq!(held.call.await.unwrap(), Ok((one.birth, one.sum)));
        one.used = now;
        if let Some(reason) = one.closing {
            self.gone(id, reason, true).await;
            return;
        }
        while let Some(one) = self.model.get_mut(&id)
            && let Some(Waits { what, call, gone }) = one.queue.pop_front()
        {
            if one.overdue(now) {
                let reason = EndReason::Expired(Expiry::Absolute);
                if let Some(call) = call {
                    assert_eq!(call.await.unwrap(), Err(format!("ended {reason} true")));
                }
                self.close(id, reason).await;
                self.gone(id, reason, true).await;
                return;
            }
            if gone {
                continue;
            }
            let expected = self.handles(id, what).await;
            if let Some(call) = call {
                assert!(call.is_finished(), "handled in its turn");
                assert_eq!(call.await.unwrap(), expected);
            }
        }
    }

    fn is_live(&self, id: usize) -> bool {
        self.model.get(&id).is_some_and(|one| one.live(self.now))
    }

    fn compare(&self) {
        let stats = self.sessions.stats();
        assert_eq!(stats.sessions, self.model.len(), "sessions");
        assert_eq!(
            (stats.started, stats.ended),
            (self.started, self.ended),
            "started and ended"
        );
        assert_eq!(
            stats.started + self.inits_failed(),
            stats.ended + stats.sessions as u64,
            "books"
        );
        assert_eq!(self.log.births.load(SeqCst), self.births, "births");
        assert_eq!(self.log.inits.load(SeqCst), self.inits, "inits");
        let sorted = |mut hooks: Vec<(u64, EndReason)>| {
            hooks.sort_by_key(|(birth, reason)| (*birth, reason.as_str()));
            hooks
        };
        assert_eq!(
            sorted(self.log.hooks.lock().unwrap().clone()),
            sorted(self.hooks.clone()),
            "hooks"
        );
        let mut listed: Vec<String> = self.sessions.list().iter().map(|id| id.expose().to_owned()).collect();
        listed.sort();
        let live = (0..IDS).filter(|id| self.is_live(*id));
        let live: Vec<String> = live.map(|id| self.ids[id].expose().to_owned()).collect();
        assert_eq!(listed, live, "list");
        for id in 0..IDS {
            assert_eq!(
                self.sessions.is_started(&self.ids[id]),
                self.is_live(id),
                "is_started {id}"
            );
            let Some(one) = self.model.get(&id) else { continue };
            assert_eq!(one.monitor.reason(), None, "monitor {id}");
            if let Ok(stats) = self.sessions.session_stats(&self.ids[id]) {
                assert_eq!(stats.running, one.held.is_some(), "running {id}");
                assert_eq!(stats.waiting, one.queue.len(), "waiting {id}");
                if one.live(self.now) {
                    assert_eq!(stats.idle_for, Duration::from_secs(self.now - one.used), "idle {id}");
                    assert_eq!(stats.age, Duration::from_secs(self.now - one.begun), "age {id}");
                }
            }
        }
    }

    fn inits_failed(&self) -> u64 {
        // Each start that was let in and did not come to be.
        self.starts.len() as u64 - self.started
    }

    /// All handlers are let go, and the engine shut down.
    async fn finish(mut self) {
        for id in 0..IDS {
            self.release(id).await;
        }
        self.compare();
        let left = self.model.len();
        let report = self.sessions.shutdown(Duration::from_secs(1)).await;
        assert_eq!((report.ended, report.cut.len()), (left, 0));
        for one in std::mem::take(&mut self.model).into_values() {
            self.hooks.push((one.birth, EndReason::Shutdown));
            assert_eq!(one.monitor.reason(), Some(EndReason::Shutdown));
            self.ended += 1;
        }
        settle().await;
        self.compare();
    }
}

async fn refused(queue: VecDeque<Waits>, expected: &str) {
    for waits in queue {
        if let Some(call) = waits.call {
            assert!(call.is_finished(), "refused at once");
            assert_eq!(call.await.unwrap(), Err(expected.to_owned()));
        }
    }
}

fn cases() -> u32 {
    u32::try_from(testkit::long_or(400, 20_000)).expect("not so many")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_the_model_does(ops in prop::collection::vec(op(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for op in &ops {
                world.apply(op).await;
                world.compare();
            }
            world.finish().await;
        });
    }
}
