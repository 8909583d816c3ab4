//! Callers of a store, each with sessions of its own. The program of the peer has this file too.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Sessions in each store.
const SESSIONS: usize = 10_000;
/// Deletions of a caller in one round.
const DELETIONS: usize = 150;

/// What callers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Load a session, no cache in between.
    Load,
    /// Save a session that is there, acknowledged.
    Save,
    /// Create one.
    Create,
    /// Delete one.
    Delete,
}

/// One side, with sessions in it.
pub(crate) trait Side: Send + Sync + Sized + 'static {
    /// A session as a caller holds it.
    type Session: Send + 'static;

    fn create(&self) -> impl Future<Output = Self::Session> + Send;
    fn load(&self, session: &Self::Session) -> impl Future<Output = ()> + Send;
    fn save(&self, session: &mut Self::Session) -> impl Future<Output = ()> + Send;
    fn delete(&self, session: Self::Session) -> impl Future<Output = ()> + Send;
}

/// The callers of one side, and the sessions that each has.
pub(crate) struct Callers<S: Side> {
    side: S,
    work: Work,
    sessions: Vec<Mutex<Vec<S::Session>>>,
}

impl<S: Side> Callers<S> {
    pub(crate) async fn prepare(side: S, work: Work, callers: usize) -> Arc<Self> {
        let all = Arc::new(Self {
            side,
            work,
            sessions: (0..callers).map(|_| Mutex::default()).collect(),
        });
        // As many callers at a time as will be measured, or one of ours would wait for each commit.
        let makers: Vec<_> = (0..64)
            .map(|maker| {
                let all = Arc::clone(&all);
                tokio::spawn(async move {
                    for nth in (maker..SESSIONS).step_by(64) {
                        let session = all.side.create().await;
                        all.sessions[nth % all.sessions.len()]
                            .lock()
                            .expect("no panic")
                            .push(session);
                    }
                })
            })
            .collect();
        for maker in makers {
            maker.await.expect("a creation failed");
        }
        all
    }

    /// Operations a second.
    pub(crate) async fn round(self: Arc<Self>, length: Duration) -> f64 {
        let callers = self.sessions.len();
        if self.work == Work::Delete {
            // What earlier rounds deleted.
            for nth in 0..callers {
                let all = Arc::clone(&self);
                let fill = move || async move {
                    let mut made = Vec::new();
                    for _ in 0..DELETIONS {
                        made.push(all.side.create().await);
                    }
                    all.sessions[nth].lock().expect("no panic").extend(made);
                };
                tokio::spawn(fill());
            }
            while self
                .sessions
                .iter()
                .any(|own| own.lock().expect("no panic").len() < DELETIONS)
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let begin = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|nth| {
                let all = Arc::clone(&self);
                tokio::spawn(async move { all.call(nth, begin, length).await })
            })
            .collect();
        let mut count = 0;
        for task in tasks {
            count += task.await.expect("a caller panicked");
        }
        f64::from(count) / begin.elapsed().as_secs_f64()
    }

    async fn call(&self, nth: usize, begin: Instant, length: Duration) -> u32 {
        let mut own = std::mem::take(&mut *self.sessions[nth].lock().expect("no panic"));
        let mut count = 0;
        while begin.elapsed() < length {
            let at = count as usize % own.len().max(1);
            match self.work {
                Work::Load => self.side.load(&own[at]).await,
                Work::Save => self.side.save(&mut own[at]).await,
                Work::Create => drop(self.side.create().await),
                Work::Delete => match own.pop() {
                    Some(session) => self.side.delete(session).await,
                    None => break,
                },
            }
            count += 1;
        }
        *self.sessions[nth].lock().expect("no panic") = own;
        count
    }
}
