//! actix 0.13.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use actix::{Actor, Addr, Arbiter, ArbiterHandle, Context, Handler, Message, System};
use dashmap::DashMap;
use tokio::sync::oneshot;

use super::population::{Member, Population};
use crate::{contender::Contender, setting::Setting};

/// Sessions as actix actors, dealt out to as many arbiters as the runtime has workers. The callers stay on the
/// tokio runtime.
#[derive(Debug, Clone)]
pub struct Actix {
    sessions: Arc<DashMap<String, Addr<Session>>>,
    population: &'static Population,
    arbiters: Arc<Arbiters>,
}

/// The state of one session.
#[derive(Debug)]
struct Session {
    sum: u64,
    _member: Member,
}

impl Actor for Session {
    type Context = Context<Self>;
}

/// Adds and answers the sum; actix leaves the answer out for a `do_send`.
struct Add(u64);

impl Message for Add {
    type Result = u64;
}

impl Handler<Add> for Session {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.sum += n;
        self.sum
    }
}

impl Contender for Actix {
    const NAME: &'static str = "actix";
    type Id = String;

    fn id(text: String) -> String {
        text
    }

    async fn new() -> Self {
        Self {
            sessions: Arc::default(),
            population: Population::leak(),
            arbiters: Arc::new(Arbiters::start().await),
        }
    }

    async fn start(&self, id: &String) {
        let population = self.population;
        let session = Session::start_in_arbiter(self.arbiters.next(), move |context| {
            // Instead of the default of 16: measured, a tenth faster with 64 callers at one session.
            context.set_mailbox_capacity(64);
            Session {
                sum: 0,
                _member: population.join(),
            }
        });
        self.sessions.insert(id.clone(), session);
    }

    async fn usable(&self, count: usize) {
        self.population.reaches(count).await;
    }

    async fn call(&self, id: &String, n: u64) -> u64 {
        // The message is on its way when `send` returns; the request holds on to nothing of the map.
        let request = self.sessions.get(id).expect("the session is started").send(Add(n));
        request.await.expect("the session lives")
    }

    async fn cast(&self, id: &String, n: u64) {
        // Not bound by the mailbox's room.
        self.sessions.get(id).expect("the session is started").do_send(Add(n));
    }

    fn is_started(&self, id: &String) -> bool {
        self.sessions.contains_key(id)
    }

    fn len(&self) -> usize {
        self.sessions.len()
    }

    async fn stop_all(&self) {
        // An actor ends when its last address goes.
        self.sessions.clear();
        self.population.reaches(0).await;
    }
}

/// A running actix system and its arbiters; ends when dropped.
#[derive(Debug)]
struct Arbiters {
    system: System,
    handles: Vec<ArbiterHandle>,
    turn: AtomicUsize,
}

impl Arbiters {
    async fn start() -> Self {
        let (running, handles) = oneshot::channel();
        // A system blocks the thread that runs it.
        thread::spawn(move || {
            let runner = System::new();
            runner.block_on(async {
                let arbiters: Vec<_> = (0..Setting::WORKERS).map(|_| Arbiter::new().handle()).collect();
                // The receiver waits for exactly this.
                let _ = running.send((System::current(), arbiters));
            });
            runner.run()
        });
        let (system, handles) = handles.await.expect("the actix system starts");
        Self {
            system,
            handles,
            turn: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> &ArbiterHandle {
        &self.handles[self.turn.fetch_add(1, Relaxed) % self.handles.len()]
    }
}

impl Drop for Arbiters {
    fn drop(&mut self) {
        self.system.stop();
    }
}
