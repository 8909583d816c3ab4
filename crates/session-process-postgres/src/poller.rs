//! Where nothing can be heard of what other nodes do, nothing that is cached grows old.
//!
//! # Invariants
//! 1. Twice an `interval` the database is asked, for half of it at the most. If it answers, the subscribers are told that
//!    notices were lost, and whatever they keep was read since then; if not, [`Notice::Deaf`]. So nothing is served as
//!    current that was read longer ago than `interval`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use session_process::store::{Notice, StoreError};
use tokio::{sync::watch, time};

use crate::{
    changes::Notices,
    connection::{CLOCK, Client, Connector, Link, Prepared, Statement, prepare},
    error::store_error,
    names::Names,
};

/// tokio has no interval of nothing.
const SHORTEST: Duration = Duration::from_millis(1);

struct Clock(Statement);

impl Prepared for Clock {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, tokio_postgres::Error> {
        Ok(Self(prepare(client, names, CLOCK).await?))
    }
}

pub(crate) struct Poller {
    pub(crate) connector: Arc<Connector>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) interval: Duration,
}

impl Poller {
    /// Works until `closing` changes.
    pub(crate) async fn run(self, mut closing: watch::Receiver<bool>) {
        let poll = async {
            let mut link = Link::<Clock>::new(Arc::clone(&self.connector));
            let half = (self.interval / 2).max(SHORTEST);
            let mut ticks = time::interval(half);
            ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let asked = Instant::now();
                match time::timeout(half, self.ask(&mut link, asked)).await {
                    Ok(Ok(())) => {
                        self.notices.tell([Notice::Lagged]);
                        self.notices.set_deaf(false);
                    }
                    Ok(Err(error)) => self.away(&error),
                    Err(_) => {
                        link.give_up();
                        self.away(&StoreError::Timeout { context: "poll" });
                    }
                }
            }
        };
        tokio::select! {
            () = poll => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    async fn ask(&self, link: &mut Link<Clock>, asked: Instant) -> Result<(), StoreError> {
        let (client, Clock(statement)) = link.ready().await?;
        let row = client.query_one(statement, &[]).await;
        let row = row.map_err(|error| store_error("poll", error))?;
        self.connector.clock.learn(row.get(0), asked, Instant::now());
        Ok(())
    }

    fn away(&self, error: &StoreError) {
        if !self.notices.is_deaf() {
            tracing::warn!(%error, "session store: the database doesn't answer, so caches are not used");
        }
        self.notices.set_deaf(true);
        self.connector.reach.failed(error);
    }
}
