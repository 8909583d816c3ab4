//! What tokio-postgres says by way of `log`, which an application may well print at DEBUG while it looks for something.

use std::{fmt::Write as _, sync::Mutex, time::Duration};

use session_process::{
    SessionId,
    store::{
        Attribute, Create, Edit, Holder, LockName, LockStore, Op, Owner, OwnerText, SessionKey, SessionStore, Snapshot,
        Touch, Version,
    },
};
use session_process_postgres::{Builder, PostgresStore};
use testkit::postgres::Server;

use crate::support::{apply, change};

struct Log(Mutex<String>);

static LOG: Log = Log(Mutex::new(String::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        writeln!(self.0.lock().unwrap(), "{}", record.args()).unwrap();
    }

    fn flush(&self) {}
}

/// Of everything that a store is asked.
async fn use_it(store: &PostgresStore, from: &SessionId, to: &SessionId) {
    let (user, lock) = (OwnerText::new("secret user").unwrap(), LockName::new("secret lock"));
    let attribute = |json: &str| {
        let attribute = Attribute {
            json: json.into(),
            version: Version(0),
            expires_at: None,
        };
        [("secret name".into(), attribute)].into()
    };
    let create = Create {
        user_id: Some(user.clone()),
        attributes: attribute("\"secret value\""),
        snapshot: Some(Snapshot {
            kind: "cart".into(),
            schema: 1,
            bytes: b"secret state".as_slice().into(),
        }),
        ..Create::default()
    };
    let edit = Edit {
        attributes: Some(attribute("\"secret as well\"")),
        label: Some(Some(OwnerText::new("secret label").unwrap())),
        ..Edit::default()
    };
    let (from, to) = (SessionKey::of(from), SessionKey::of(to));
    apply(store, change(from, Op::Create(Box::new(create)))).await.unwrap();
    apply(store, change(from, Op::Edit(Box::new(edit)))).await.unwrap();
    apply(store, change(from, Op::Rotate(to))).await.unwrap();
    let touch = Touch {
        key: to,
        accessed_at: store.now(),
    };
    store.touch(vec![touch]).await.unwrap();
    assert!(store.load(&[to]).await.unwrap()[0].is_some());
    assert_eq!(store.locate(&[from]).await.unwrap(), [Some(to)]);
    assert_eq!(store.list(&Owner::User(user), None, 9).await.unwrap().len(), 1);
    let holder = Holder::random().unwrap();
    store.acquire(&lock, holder, Duration::from_secs(9)).await.unwrap();
    assert!(store.release(lock.key(), holder).await.unwrap());
    if let Some(channel) = store.channel() {
        channel.send(vec!["secret message".to_owned()]).await.unwrap();
    }
    apply(store, change(to, Op::Delete)).await.unwrap();
    store.delete_expired(9).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_written_or_asked_for_is_in_the_log() {
    log::set_logger(&LOG).expect("nobody else logs in this process");
    log::set_max_level(log::LevelFilter::Trace);
    let server = Server::shared().await;
    let database = server.database().await;
    let (from, to) = (SessionId::generate(), SessionId::generate());
    for pooled in [false, true] {
        let builder = Builder::from_config(database.config()).behind_pooler(pooled);
        use_it(&builder.open().await.unwrap(), &from, &to).await;
    }
    let said = LOG.0.lock().unwrap();
    assert!(said.contains("executing statement"), "it says what it is at:\n{said}");
    let mut secrets = vec!["secret".to_owned(), format!("{:?}", b"secret state")];
    for id in [from, to] {
        let key = *SessionKey::of(&id).as_bytes();
        let hex = key.iter().map(|byte| format!("{byte:02x}")).collect();
        secrets.extend([id.expose().to_owned(), format!("{key:?}"), hex]);
    }
    for secret in secrets {
        assert!(!said.contains(&secret), "{secret}:\n{said}");
    }
}
