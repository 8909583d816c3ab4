//! Our side: sessions with everything on that is on by default (both clocks, limits, events, `tracing`).

use std::time::Instant;

use session_process::{Context, Handle, Process, SessionId, Sessions, StartOptions};

use crate::contender::Contender;

/// The engine, as an application holds it.
#[derive(Debug, Clone)]
pub struct Ours(Sessions<Sum>);

/// What the process of every side does: adds.
#[derive(Debug, Default)]
pub(crate) struct Sum(u64);

impl Process for Sum {}

pub(crate) struct Add(pub(crate) u64);

impl Handle<Add> for Sum {
    type Reply = u64;

    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.0 += n;
        self.0
    }
}

impl Contender for Ours {
    const NAME: &'static str = "ours";
    type Id = SessionId;

    fn id(text: String) -> SessionId {
        text.parse().expect("32 characters of the alphabet")
    }

    async fn new() -> Self {
        // The limit alone is raised: the largest row has a million sessions, and others beside them.
        let sessions = Sessions::builder().max_sessions(2_000_000).build();
        Self(sessions.expect("called inside the runtime"))
    }

    async fn start(&self, id: &SessionId) {
        self.0.start(id).await.expect("below every limit");
    }

    async fn usable(&self, count: usize) {
        assert_eq!(self.len(), count, "`start` returns when the session is usable");
    }

    async fn call(&self, id: &SessionId, n: u64) -> u64 {
        self.0.call(id, Add(n)).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn cast(&self, id: &SessionId, n: u64) {
        let mut message = Add(n);
        while let Err(error) = self.0.cast(id, message) {
            // A full mailbox: wait for room, as the peers do.
            message = error.into_message();
            tokio::task::yield_now().await;
        }
    }

    fn is_started(&self, id: &SessionId) -> bool {
        self.0.is_started(id)
    }

    fn len(&self) -> usize {
        self.0.stats().sessions
    }

    async fn stop_all(&self) {
        self.0.terminate_all().await;
        while self.0.stats().sessions > 0 {
            tokio::task::yield_now().await;
        }
    }

    async fn start_expiring(&self, ids: &[SessionId], at: Instant) -> Option<()> {
        for id in ids {
            let rest = at.saturating_duration_since(Instant::now());
            let options = StartOptions::new().max_lifetime(rest);
            self.0
                .start_with_options(id, (), &options)
                .await
                .expect("below every limit");
        }
        Some(())
    }
}
