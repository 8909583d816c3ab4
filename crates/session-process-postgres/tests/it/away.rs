//! What is read while the database is away, where that is wanted.

use std::{sync::Arc, time::Duration};

use session_process::records::NewSession;
use session_process_postgres::{Builder, Coherence};
use testkit::postgres::{Disk, Server};

use crate::support::records_with;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn cached_sessions_are_served_for_as_long_as_was_said_and_say_so() {
    for coherence in [
        Coherence::default(),
        Coherence::Poll {
            interval: Duration::from_secs(1),
        },
    ] {
        let server = Server::private(Disk::Careless).await;
        let database = server.database().await;
        let clock = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let store = Builder::from_config(database.config())
            .coherence(coherence)
            .clock_offset(Arc::clone(&clock))
            .open()
            .await
            .unwrap();
        let records = |bound: Option<Duration>| {
            let builder = records_with(&store);
            builder.cached_while_away(bound).build().unwrap()
        };
        let (serves, fails) = (records(Some(MINUTE)), records(None));
        let id = serves.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
        let other = fails.create(NewSession::new()).await.unwrap().id;
        for records in [&serves, &fails] {
            assert!(records.get(&id).await.unwrap().unwrap().is_current());
        }

        tokio::task::block_in_place(|| server.stop());
        while serves.stats().cache_in_use || fails.stats().cache_in_use {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let view = serves.get(&id).await.unwrap().expect("it was known");
        assert!(!view.is_current() && view.get::<u32>("n").unwrap() == Some(1));
        assert!(!serves.peek(&id).await.unwrap().unwrap().is_current());
        assert!(
            serves.get(&other).await.is_err_and(|error| error.is_transient()),
            "it was not"
        );
        assert!(serves.get_fresh(&id).await.is_err_and(|error| error.is_transient()));
        assert!(
            serves
                .update(&id, |attributes| attributes.insert("n", 2))
                .await
                .is_err()
        );
        assert!(fails.get(&id).await.is_err_and(|error| error.is_transient()));

        let by = i64::try_from((MINUTE + Duration::from_secs(1)).as_micros()).unwrap();
        clock.fetch_add(by, std::sync::atomic::Ordering::AcqRel);
        assert!(
            serves.get(&id).await.is_err_and(|error| error.is_transient()),
            "too long"
        );

        tokio::task::block_in_place(|| server.start());
        let view = loop {
            match serves.get(&id).await {
                Ok(view) => break view.unwrap(),
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(view.is_current());
    }
}
