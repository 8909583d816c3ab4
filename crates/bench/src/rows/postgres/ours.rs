//! Our side: the store, without the cache of the records over it.

use std::{hint::black_box, sync::Arc};

use session_process::{
    SessionId,
    store::{Attribute, AttributeMap, Change, Create, Edit, Expect, Lifetime, Op, SessionKey, SessionStore, Version},
};
use session_process_postgres::{Builder, PostgresStore};
use testkit::postgres::{Database, Server};

use super::{VALUE, callers::Side};

pub(super) struct Ours {
    store: PostgresStore,
    _database: Database,
    _server: Arc<Server>,
}

/// A session as a node's cache holds it: with what it was read as.
pub(super) struct Session {
    key: SessionKey,
    version: Version,
    saves: u64,
}

fn attributes(saves: u64) -> AttributeMap {
    let attribute = |json: &str| Attribute {
        json: json.into(),
        version: Version(0),
        expires_at: None,
    };
    AttributeMap::from([
        ("settings".into(), attribute(VALUE)),
        ("saves".into(), attribute(&saves.to_string())),
    ])
}

impl Ours {
    async fn commit(&self, change: Change) -> Version {
        let outcome = self
            .store
            .commit(vec![change])
            .await
            .expect("the store works")
            .remove(0);
        outcome.expect("nobody else changes it").version
    }
}

impl Ours {
    pub(super) const NAME: &'static str = "ours";

    pub(super) async fn open(server: Arc<Server>) -> Self {
        let database = server.database().await;
        let store = Builder::from_config(database.config())
            .open()
            .await
            .expect("an empty database");
        Self {
            store,
            _database: database,
            _server: server,
        }
    }
}

impl Side for Ours {
    type Session = Session;

    async fn create(&self) -> Session {
        let key = SessionKey::of(&SessionId::generate());
        let op = Op::Create(Box::new(Create {
            lifetime: Lifetime {
                expires_at: Some(self.store.now().saturating_add(std::time::Duration::from_secs(86_400))),
                idle_timeout: None,
            },
            attributes: attributes(0),
            ..Create::default()
        }));
        let version = self
            .commit(Change {
                key,
                expect: Expect::default(),
                op,
            })
            .await;
        Session { key, version, saves: 0 }
    }

    async fn load(&self, session: &Session) {
        let found = self.store.load(&[session.key]).await.expect("the store works");
        assert!(black_box(found)[0].is_some());
    }

    async fn save(&self, session: &mut Session) {
        session.saves += 1;
        let change = Change {
            key: session.key,
            expect: Expect {
                version: Some(session.version),
                epoch: None,
            },
            op: Op::Edit(Box::new(Edit {
                attributes: Some(attributes(session.saves)),
                accessed_at: Some(self.store.now()),
                ..Edit::default()
            })),
        };
        session.version = self.commit(change).await;
    }

    async fn delete(&self, session: Session) {
        let expect = Expect::default();
        self.commit(Change {
            key: session.key,
            expect,
            op: Op::Delete,
        })
        .await;
    }
}
