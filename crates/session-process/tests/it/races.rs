//! Races of threads that last some nanoseconds: tried again and again for a while, longer in `cargo xtask test --long`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use session_process::{Context, Handle, ManualClock, Process, SessionId, Sessions};

const SECOND: Duration = Duration::from_secs(1);

fn a_while() -> Duration {
    Duration::from_secs(testkit::long_or(1, 20))
}

#[derive(Default)]
struct Counter(u64);
impl Process for Counter {}
struct Add(u64);
impl Handle<Add> for Counter {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.0 += n;
        self.0
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn engine(
    rt: &tokio::runtime::Runtime,
    idle_timeout: Option<Duration>,
    sweep_interval: Duration,
) -> (Sessions<Counter>, ManualClock) {
    let _in = rt.enter();
    let clock = ManualClock::new();
    let sessions = Sessions::<Counter>::builder()
        .idle_timeout(idle_timeout)
        .max_lifetime(None)
        .sweep_interval(sweep_interval)
        .clock(clock.clone())
        .build()
        .unwrap();
    (sessions, clock)
}

/// Two threads go on from here at the same moment, the one that calls this with a lag some time later.
#[derive(Clone, Default)]
struct Line(Arc<AtomicUsize>);

impl Line {
    fn go(&self, lag: u32) {
        self.0.fetch_add(1, SeqCst);
        while self.0.load(SeqCst) < 2 {}
        for _ in 0..lag {
            std::hint::spin_loop();
        }
    }
}

/// A session that gets a new id again and again, until `stop`.
struct Rotated {
    sessions: Sessions<Counter>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<SessionId>,
}

impl Rotated {
    fn start(rt: &tokio::runtime::Runtime) -> Self {
        let sessions = {
            let _in = rt.enter();
            Sessions::<Counter>::builder().build().unwrap()
        };
        let mut id = SessionId::generate();
        rt.block_on(sessions.start(&id)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (sessions, stop) = (sessions.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(SeqCst) {
                    match futures_block(sessions.rotate(&id)) {
                        Ok(to) => id = to,
                        Err(_) => break,
                    }
                }
                id
            })
        };
        Self { sessions, stop, thread }
    }

    /// The id that it has.
    fn stop(self) -> SessionId {
        self.stop.store(true, SeqCst);
        self.thread.join().unwrap()
    }
}

/// "An expired session is never served. It can't be touched, called or rotated back to life."
/// Two requests at once to a session that has idled out and was not swept yet.
fn revive(first: impl Fn(&Sessions<Counter>, &SessionId, &tokio::runtime::Handle) -> bool + Send + Sync + 'static) {
    let rt = runtime();
    let (sessions, clock) = engine(&rt, Some(SECOND), 300_000_000 * SECOND);
    let begun = Instant::now();
    let (mut tries, mut touched, mut served) = (0u64, 0u64, 0u64);
    let first = Arc::new(first);
    while begun.elapsed() < a_while() && touched + served < 20 {
        tries += 1;
        let id = SessionId::generate();
        rt.block_on(sessions.start(&id)).unwrap();
        rt.block_on(sessions.call(&id, Add(1))).unwrap();
        clock.advance(2 * SECOND);
        let line = Line::default();
        let other = {
            let (sessions, id, line) = (sessions.clone(), id.clone(), line.clone());
            let (handle, first) = (rt.handle().clone(), first.clone());
            let lag = (tries % 7) as u32 * 3;
            std::thread::spawn(move || {
                line.go(lag);
                first(&sessions, &id, &handle)
            })
        };
        line.go(0);
        touched += u64::from((0..40).any(|_| sessions.touch(&id).is_ok()));
        served += u64::from(other.join().unwrap());
    }
    assert_eq!(
        (touched, served),
        (0, 0),
        "an expired session was touched or served, in {tries} tries"
    );
}

#[test]
fn a_call_and_a_touch_bring_no_expired_session_back() {
    revive(|sessions, id, rt| {
        // On the engine's runtime, so that it begins in place.
        let (s, id) = (sessions.clone(), id.clone());
        let _in = rt.enter();
        futures_block(async move { s.call(&id, Add(1)).await.is_ok() })
    });
}

#[test]
fn a_cast_and_a_touch_bring_no_expired_session_back() {
    revive(|sessions, id, rt| {
        let _in = rt.enter();
        sessions.cast(id, Add(1)).is_ok()
    });
}

fn futures_block<F: Future>(f: F) -> F::Output {
    let mut f = std::pin::pin!(f);
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    loop {
        if let std::task::Poll::Ready(x) = f.as_mut().poll(&mut cx) {
            return x;
        }
        std::thread::yield_now();
    }
}

/// Two `start`s (what a session middleware does) of one that has idled out: it must begin anew, so exactly one says
/// "started", and the counter is new.
#[test]
fn two_starts_bring_no_expired_session_back() {
    let rt = runtime();
    let (sessions, clock) = engine(&rt, Some(SECOND), 300_000_000 * SECOND);
    let begun = Instant::now();
    let (mut tries, mut old) = (0u64, 0u64);
    while begun.elapsed() < a_while() && old < 5 {
        tries += 1;
        let id = SessionId::generate();
        rt.block_on(sessions.start(&id)).unwrap();
        rt.block_on(sessions.call(&id, Add(1000))).unwrap();
        clock.advance(2 * SECOND);
        let line = Line::default();
        let work = |lag: u32| {
            let (sessions, id, line, handle) = (sessions.clone(), id.clone(), line.clone(), rt.handle().clone());
            move || {
                let _in = handle.enter();
                line.go(lag);
                let started = futures_block(sessions.start(&id)).unwrap();
                (started, futures_block(sessions.call(&id, Add(1))).unwrap())
            }
        };
        let other = std::thread::spawn(work((tries % 5) as u32));
        let mine = work(0)();
        let theirs = other.join().unwrap();
        if mine.1 > 1000 || theirs.1 > 1000 {
            old += 1;
        }
    }
    assert_eq!(old, 0, "an expired session was served, in {tries} tries");
}

/// A shutdown while one session gets a new id again and again.
#[test]
fn a_shutdown_passes_no_session_by_that_is_rotated() {
    let rt = runtime();
    let mut missed = 0;
    for _ in 0..30 {
        let rotated = Rotated::start(&rt);
        let sessions = rotated.sessions.clone();
        std::thread::sleep(Duration::from_millis(3));
        let report = rt.block_on(sessions.shutdown(Duration::from_millis(200)));
        let left = sessions.stats().sessions;
        rotated.stop();
        if !report.cut.is_empty() || left > 0 {
            missed += 1;
        }
    }
    assert_eq!(missed, 0, "shutdowns that passed an idle session by");
}

#[test]
fn terminate_all_passes_no_session_by_that_is_rotated() {
    let rt = runtime();
    let mut missed = 0;
    for _ in 0..100 {
        let rotated = Rotated::start(&rt);
        let sessions = rotated.sessions.clone();
        std::thread::sleep(Duration::from_millis(1));
        rt.block_on(sessions.terminate_all());
        std::thread::sleep(Duration::from_millis(1));
        let last = rotated.stop();
        missed += usize::from(sessions.is_started(&last));
    }
    assert_eq!(missed, 0, "of 100 sessions lived on after terminate_all");
}

/// set_idle_timeout while the id is rotated: the sweeper must still come.
#[test]
fn a_shorter_idle_timeout_is_heard_also_while_the_id_changes() {
    let rt = runtime();
    let (sessions, clock) = engine(&rt, None, SECOND);
    let mut lost = 0;
    let begun = Instant::now();
    let mut tries = 0;
    while begun.elapsed() < a_while() && lost == 0 {
        for _ in 0..500 {
            tries += 1;
            let id = SessionId::generate();
            rt.block_on(sessions.start(&id)).unwrap();
            let line = Line::default();
            let to = SessionId::generate();
            let other = {
                let (sessions, id, to, line) = (sessions.clone(), id.clone(), to.clone(), line.clone());
                let lag = (tries % 11) as u32 * 2;
                std::thread::spawn(move || {
                    line.go(lag);
                    futures_block(sessions.rotate_to(&id, &to)).unwrap();
                })
            };
            line.go(0);
            let set = sessions.set_idle_timeout(&id, Some(Duration::from_secs(10))).is_ok();
            other.join().unwrap();
            if !set {
                rt.block_on(sessions.terminate(&to)).unwrap();
            }
        }
        // The sweeper's own way.
        let swept = Instant::now();
        while sessions.stats().sessions > 0 && swept.elapsed() < Duration::from_secs(10) {
            clock.advance(Duration::from_secs(1));
            std::thread::sleep(Duration::from_millis(2));
        }
        lost += sessions.stats().sessions;
    }
    assert_eq!(
        lost, 0,
        "expired sessions that thousands of sweeps passed by, of {tries}"
    );
}
