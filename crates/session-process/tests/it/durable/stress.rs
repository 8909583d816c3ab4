//! Everything at once, on several threads: at rest, memory and store agree, and what was acknowledged is there. For a while
//! only; longer in `cargo xtask test --long`.

use std::{
    sync::{Mutex, atomic::AtomicU64},
    task::Poll,
    time::Instant,
};

use session_process::Restart;

use super::*;
use crate::support::poll_once;

struct Rng(u64);
impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Busy {
    sum: u64,
}
impl Process for Busy {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("ledger", 1));
    const RESTART: Restart = Restart::OnFailure {
        max_restarts: 1_000_000,
        within: Duration::from_secs(1),
    };
}
struct Put(u64, bool);
impl Handle<Put> for Busy {
    type Reply = u64;
    async fn handle(&mut self, Put(n, panics): Put, _: &mut Context<Self>) -> u64 {
        self.sum += n;
        if panics {
            panic!("as told");
        }
        self.sum
    }
}
struct Doze;
impl Handle<Doze> for Busy {
    type Reply = ();
    async fn handle(&mut self, _: Doze, cx: &mut Context<Self>) {
        cx.unchanged();
        cx.stop(EndReason::Asleep);
    }
}

impl Handle<Total> for Busy {
    type Reply = u64;
    async fn handle(&mut self, _: Total, cx: &mut Context<Self>) -> u64 {
        cx.unchanged();
        self.sum
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(3).enable_all().build().unwrap()
}

fn memory(clock: &ManualClock) -> (Arc<MemoryStore>, SessionRecords) {
    let store = Arc::new(MemoryStore::with_clock(clock.clone()));
    let records = SessionRecords::builder_over(store.clone() as Arc<dyn SessionStore>)
        .clock(clock.clone())
        .cleanup_interval(None)
        .build()
        .unwrap();
    (store, records)
}

fn a_while() -> Duration {
    Duration::from_secs(testkit::long_or(2, 60))
}

/// Sleep, crashes and rotations under load: what was acknowledged is there.
#[test]
fn what_was_acknowledged_is_there() {
    let rt = runtime();
    rt.block_on(async {
        let clock = ManualClock::new();
        clock.advance(Duration::from_secs(3600));
        let (_, records) = memory(&clock);
        let build = || {
            Sessions::<Busy>::builder()
                .records(records.clone())
                .clock(clock.clone())
                .sleep_after(Duration::from_millis(1))
                .call_timeout(Duration::from_secs(1_000_000))
                .idle_timeout(None)
                .max_lifetime(None)
                .build()
                .unwrap()
        };
        let sessions = build();
        let current = Arc::new(tokio::sync::RwLock::new(SessionId::generate()));
        sessions.start(&*current.read().await).await.unwrap();
        let (acked, open) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let until = Instant::now() + a_while();
        let mut tasks = Vec::new();
        for t in 0..4u64 {
            let (s, current, acked, open) = (sessions.clone(), current.clone(), acked.clone(), open.clone());
            tasks.push(tokio::spawn(async move {
                let mut r = Rng(t + 5);
                while Instant::now() < until {
                    // Held while it is sent: a rotation is between messages, as by the cookie.
                    let id = current.read().await;
                    match s.call(&id, Put(1, r.below(50) == 0)).await {
                        Ok(_) => drop(acked.fetch_add(1, SeqCst)),
                        Err(_) => {
                            open.fetch_add(1, SeqCst);
                        }
                    }
                    drop(id);
                    if r.below(3) == 0 {
                        tokio::time::sleep(Duration::from_micros(r.below(200))).await;
                    }
                }
            }));
        }
        {
            let (s, clock) = (sessions.clone(), clock.clone());
            tasks.push(tokio::spawn(async move {
                while Instant::now() < until {
                    clock.advance(Duration::from_millis(2));
                    s.expire_now().await;
                    tokio::task::yield_now().await;
                }
            }));
        }
        {
            let (s, current) = (sessions.clone(), current.clone());
            tasks.push(tokio::spawn(async move {
                let mut r = Rng(77);
                while Instant::now() < until {
                    if r.below(2) == 0 {
                        let mut id = current.write().await;
                        match s.rotate(&id).await {
                            Ok(to) => *id = to,
                            Err(error) => panic!("{error:?}"),
                        }
                    } else {
                        let id = current.read().await.clone();
                        let _ = s.call(&id, Doze).await;
                    }
                    tokio::time::sleep(Duration::from_micros(r.below(3000))).await;
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let id = current.read().await.clone();
        let total = sessions.call(&id, Total).await.unwrap();
        let (acked, open) = (acked.load(SeqCst), open.load(SeqCst));
        assert!(
            acked <= total && total <= acked + open,
            "total {total}, acked {acked}, open {open}"
        );
        let _ = sessions.shutdown(Duration::from_secs(5)).await;
        assert_eq!(build().call(&id, Total).await.unwrap(), total);
    });
}

/// A rotation to an id under which another is started in that very moment: whoever has it after that ends with its
/// record.
#[test]
fn a_start_in_the_midst_of_a_rotation_is_known_by_its_key() {
    let rt = runtime();
    let clock = ManualClock::new();
    let (sessions, records) = rt.block_on(async {
        let (_, records) = memory(&clock);
        (
            Sessions::<Busy>::builder()
                .records(records.clone())
                .clock(clock.clone())
                .build()
                .unwrap(),
            records,
        )
    });
    let begun = Instant::now();
    let (mut tries, mut zombies) = (0u64, 0u32);
    while begun.elapsed() < a_while() && zombies < 3 {
        tries += 1;
        let (from, to) = (SessionId::generate(), SessionId::generate());
        rt.block_on(sessions.start(&from)).unwrap();
        let rotate = {
            let (s, from, to) = (sessions.clone(), from.clone(), to.clone());
            rt.spawn(async move { s.rotate_to(&from, &to).await })
        };
        // Again and again from here, until it is there.
        let lag = tries % 64;
        let start = {
            let (s, to) = (sessions.clone(), to.clone());
            rt.spawn(async move {
                let end = Instant::now() + Duration::from_micros(lag);
                while Instant::now() < end {}
                s.start(&to).await
            })
        };
        // Whichever was first.
        let _ = rt.block_on(async { (rotate.await.unwrap(), start.await.unwrap()) });
        // "Sign out everywhere", by the records.
        rt.block_on(records.delete(&to)).unwrap();
        zombies += u32::from(!soon(&rt, || !sessions.is_started(&to)));
        let _ = rt.block_on(sessions.terminate(&to));
        let _ = rt.block_on(sessions.terminate(&from));
    }
    assert_eq!(zombies, 0);
}

/// Whether it is so within a tenth of a second.
fn soon(rt: &tokio::runtime::Runtime, mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_millis(100);
    while Instant::now() < end {
        if is() {
            return true;
        }
        rt.block_on(tokio::task::yield_now());
    }
    false
}

/// Everything at once on three ids, with callers that go away; then, at rest: what is served has a record, and no place
/// is taken for good.
#[test]
fn memory_and_store_agree_at_rest() {
    let rt = runtime();
    rt.block_on(async {
        let until = Instant::now() + a_while();
        let (mut round, mut wrong) = (0u64, Vec::new());
        while Instant::now() < until && wrong.len() < 3 {
            round += 1;
            let begun = Instant::now();
            let clock = ManualClock::new();
            clock.advance(Duration::from_secs(3600));
            let (store, records) = memory(&clock);
            let sessions = Sessions::<Busy>::builder()
                .records(records.clone())
                .clock(clock.clone())
                .call_timeout(Duration::from_secs(1_000_000))
                .build()
                .unwrap();
            let names = [id("a"), id("b"), id("c")];
            let history: Arc<Mutex<Vec<String>>> = Arc::default();
            let mut tasks = Vec::new();
            for t in 0..4u64 {
                let (s, names, records, history) = (sessions.clone(), names.clone(), records.clone(), history.clone());
                tasks.push(tokio::spawn(async move {
                    let mut r = Rng(round * 7919 + t * 104729 + 1);
                    for _ in 0..14 {
                        let name = names[r.below(3) as usize].clone();
                        let to = names[r.below(3) as usize].clone();
                        let what = r.below(14);
                        let polls = if r.below(3) == 0 { r.below(6) } else { u64::MAX };
                        let (s, records, n) = (s.clone(), records.clone(), 10 + r.below(7));
                        let text = format!("{t}: {what} {} {} {n} {polls}", name.expose(), to.expose());
                        let mut work = Box::pin(async move {
                            match what {
                                0..4 => format!("{:?}", s.start(&name).await),
                                4..8 => {
                                    format!("{:?}", s.call(&name, Put(n, false)).await.map_err(|error| error.kind()))
                                }
                                8 => format!("{:?}", s.terminate(&name).await),
                                9 => format!("{:?}", s.kill(&name)),
                                10 | 11 => format!("{:?}", s.rotate_to(&name, &to).await),
                                12 => format!("{:?}", records.delete(&name).await),
                                _ => format!("{:?}", s.cast(&name, Put(n, false)).map_err(|error| error.kind())),
                            }
                        });
                        let from = begun.elapsed().as_micros();
                        let mut outcome = None;
                        if polls == u64::MAX {
                            outcome = Some(
                                tokio::time::timeout(Duration::from_secs(20), work)
                                    .await
                                    .unwrap_or_else(|_| "HANGS".into()),
                            );
                        } else {
                            for _ in 0..=polls {
                                if let Poll::Ready(done) = poll_once(work.as_mut()).await {
                                    outcome = Some(done);
                                    break;
                                }
                                tokio::task::yield_now().await;
                            }
                        }
                        history.lock().unwrap().push(format!(
                            "{from:>6} to {:>6}: {text} -> {outcome:?}",
                            begun.elapsed().as_micros()
                        ));
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            if history.lock().unwrap().iter().any(|line| line.contains("HANGS")) {
                wrong.push(format!("hangs: {:#?}", history.lock().unwrap()));
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
            let rest = Instant::now() + Duration::from_secs(2);
            loop {
                let mut bad = Vec::new();
                for name in &names {
                    let there = store.load(&[SessionKey::of(name)]).await.unwrap()[0].is_some();
                    let live = sessions.is_started(name);
                    if live && !there {
                        let total = sessions.call(name, Total).await.map_err(|error| error.kind());
                        let keys = names.each_ref().map(SessionKey::of);
                        let at: Vec<_> = store.load(&keys).await.unwrap();
                        let at: Vec<_> = at.iter().map(Option::is_some).collect();
                        bad.push(format!(
                            "round {round}: {} lives without a record: {:?} {total:?}, records at {at:?}",
                            name.expose(),
                            sessions.session_stats(name)
                        ));
                    }
                }
                let stats = sessions.stats();
                let live = names.iter().filter(|name| sessions.is_started(name)).count();
                if stats.sessions != live {
                    bad.push(format!("{stats:?}, but {live} live"));
                }
                if bad.is_empty() {
                    break;
                }
                if Instant::now() > rest {
                    wrong.push(format!("{bad:?} after {:#?}", history.lock().unwrap()));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // What lives is known by its key: a deletion ends it.
            for name in &names {
                let _ = records.delete(name).await;
            }
            let rest = Instant::now() + Duration::from_secs(2);
            while sessions.stats().sessions > 0 {
                if Instant::now() > rest {
                    wrong.push(format!(
                        "{:?} after all records were deleted, after {:#?}",
                        sessions.stats(),
                        history.lock().unwrap()
                    ));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    });
}
