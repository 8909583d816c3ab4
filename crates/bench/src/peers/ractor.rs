//! ractor 0.16.

use std::sync::Arc;

use dashmap::DashMap;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, concurrency};

use super::population::{Member, Population};
use crate::contender::Contender;

/// Sessions as ractor actors. Their mailboxes are unbounded; ractor has no others.
#[derive(Debug, Clone)]
pub struct Ractor {
    sessions: Arc<DashMap<String, ActorRef<Add>>>,
    population: &'static Population,
}

/// The behaviour of all sessions; ractor keeps the state beside it.
struct Session;

/// The state of one session.
struct State {
    sum: u64,
    _member: Member,
}

/// Adds, and answers if somebody waits.
struct Add {
    n: u64,
    reply: Option<RpcReplyPort<u64>>,
}

impl Actor for Session {
    type Msg = Add;
    type State = State;
    type Arguments = &'static Population;

    async fn pre_start(&self, _: ActorRef<Add>, population: &'static Population) -> Result<State, ActorProcessingErr> {
        Ok(State {
            sum: 0,
            _member: population.join(),
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Add>,
        Add { n, reply }: Add,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.sum += n;
        if let Some(reply) = reply {
            // The caller may have gone; the message is handled all the same.
            let _ = reply.send(state.sum);
        }
        Ok(())
    }
}

impl Contender for Ractor {
    const NAME: &'static str = "ractor";
    type Id = String;

    fn id(text: String) -> String {
        text
    }

    async fn new() -> Self {
        Self {
            sessions: Arc::default(),
            population: Population::leak(),
        }
    }

    async fn start(&self, id: &String) {
        // Measured: faster than `spawn_instant`, which makes two tasks of one start.
        let (session, _) = Session::spawn(None, Session, self.population)
            .await
            .expect("the start can't fail");
        self.sessions.insert(id.clone(), session);
    }

    async fn usable(&self, count: usize) {
        self.population.reaches(count).await;
    }

    async fn call(&self, id: &String, n: u64) -> u64 {
        // What `ActorRef::call` does without a time limit, with the map's guard let go before the wait.
        let (reply, answer) = concurrency::oneshot();
        self.send(
            id,
            Add {
                n,
                reply: Some(reply.into()),
            },
        );
        answer.await.expect("the session lives")
    }

    async fn cast(&self, id: &String, n: u64) {
        self.send(id, Add { n, reply: None });
    }

    fn is_started(&self, id: &String) -> bool {
        self.sessions.contains_key(id)
    }

    fn len(&self) -> usize {
        self.sessions.len()
    }

    async fn stop_all(&self) {
        // A ractor actor holds a reference to itself, so it must be told.
        for session in self.sessions.iter() {
            session.stop(None);
        }
        self.sessions.clear();
        self.population.reaches(0).await;
    }
}

impl Ractor {
    fn send(&self, id: &String, add: Add) {
        let session = self.sessions.get(id).expect("the session is started");
        assert!(session.cast(add).is_ok(), "the session lives");
    }
}
