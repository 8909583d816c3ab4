//! What many callers write at once goes together, and what some of them wait for the others don't.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::{Duration, Instant},
};

use session_process::store::{
    Change, Conflict, Create, Edit, Op, Outcome, OwnerLimit, OwnerLimitPolicy, OwnerText, SessionKey, SessionStore,
    StoreError,
};
use session_process_postgres::{Builder, PostgresStore};
use tokio::task::JoinSet;

use crate::support::{Fresh, apply, change, fresh, obstruct};

fn key(n: u16) -> SessionKey {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    SessionKey::from_bytes(bytes)
}

async fn create(store: &PostgresStore, keys: impl IntoIterator<Item = u16>) {
    let create = |n| change(key(n), Op::Create(Box::default()));
    let outcomes = store.commit(keys.into_iter().map(create).collect()).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

fn label(text: &str) -> Op {
    Op::Edit(Box::new(Edit {
        label: Some(Some(OwnerText::new(text).unwrap())),
        ..Edit::default()
    }))
}

/// A session of a user who may have one.
fn login(user: &str) -> Op {
    Op::Create(Box::new(Create {
        user_id: Some(OwnerText::new(user).unwrap()),
        limit: Some(OwnerLimit {
            max: NonZeroU32::MIN,
            policy: OwnerLimitPolicy::EvictOldest,
        }),
        ..Create::default()
    }))
}

/// One writer, and locks that are waited for but a short while.
async fn impatient(fresh: &Fresh) -> PostgresStore {
    Builder::from_config(fresh.database.config())
        .lock_timeout(Duration::from_millis(300))
        .writers(NonZeroUsize::MIN)
        .open()
        .await
        .unwrap()
}

/// Each by a caller of its own, all at once.
async fn at_once(store: &PostgresStore, changes: Vec<Change>) -> Vec<Answer> {
    calls_at_once(store, changes.into_iter().map(|change| vec![change]).collect()).await
}

type Answer = Result<Vec<Outcome>, StoreError>;

async fn calls_at_once(store: &PostgresStore, calls: Vec<Vec<Change>>) -> Vec<Answer> {
    let mut callers = JoinSet::new();
    for (n, changes) in calls.into_iter().enumerate() {
        let store = store.clone();
        callers.spawn(async move { (n, store.commit(changes).await) });
    }
    let mut answers = callers.join_all().await;
    answers.sort_unstable_by_key(|(n, _)| *n);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// How many transactions wrote the rows that are there.
async fn transactions(fresh: &Fresh) -> i64 {
    let sql = "SELECT count(DISTINCT xmin::text) FROM session_process.session";
    let client = fresh.database.connect().await;
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_gather_are_one_transaction() {
    let fresh = fresh().await;
    create(&fresh.store, 0..400).await;
    let edits = (0..400).map(|n| change(key(n), Op::Edit(Box::default()))).collect();
    for answer in at_once(&fresh.store, edits).await {
        answer.unwrap()[0].as_ref().unwrap();
    }
    let transactions = transactions(&fresh).await;
    assert!(transactions < 200, "{transactions} transactions for 400 saves");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_that_gather_are_one_transaction() {
    let fresh = fresh().await;
    create(&fresh.store, 0..400).await;
    // To keys in the opposite order; and the last to one that is taken.
    let rotations = (0..400).map(|n| change(key(n), Op::Rotate(if n == 399 { key(0) } else { key(999 - n) })));
    let answers = at_once(&fresh.store, rotations.collect()).await;
    let mut moved = 0;
    for (n, answer) in answers.into_iter().enumerate() {
        match answer.unwrap().remove(0) {
            Ok(_) => moved += 1,
            // The first moved away before, or not.
            Err(conflict) => assert!(n == 399 && conflict == Conflict::Exists, "{n}: {conflict:?}"),
        }
    }
    assert!(moved >= 399);
    let transactions = transactions(&fresh).await;
    assert!(transactions < 200, "{transactions} transactions for {moved} rotations");
    let keys: Vec<SessionKey> = (600..1000).map(key).collect();
    let found = fresh.store.load(&keys).await.unwrap();
    for (n, record) in (600..1000).zip(found) {
        // 600 is where the last one would have gone.
        assert_eq!(
            record.map(|record| record.first_key),
            (n > 600).then(|| key(999 - n)),
            "{n}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_session_and_its_rotations_keep_their_order() {
    let fresh = fresh().await;
    let store = impatient(&fresh).await;
    create(&store, [1, 2, 9]).await;
    let changes = vec![
        change(key(1), label("before")),
        change(key(1), Op::Rotate(key(3))),
        change(key(9), label("aside")),
        change(key(3), label("after")),
        change(key(3), Op::Rotate(key(4))),
        change(key(2), Op::Rotate(key(3))),
        change(key(1), label("too late")),
    ];
    let outcomes = store.commit(changes).await.unwrap();
    let done: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(done, [true, true, true, true, true, true, false], "{outcomes:?}");
    let found = store.load(&[key(3), key(4)]).await.unwrap();
    let labels = found.iter().map(|record| record.as_ref().unwrap().label.clone());
    assert_eq!(
        labels.collect::<Vec<_>>(),
        [None, Some(OwnerText::new("after").unwrap())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_that_somebody_locks_hold_the_others_up_but_once() {
    let fresh = fresh().await;
    let store = impatient(&fresh).await;
    create(&store, 0..400).await;
    let mut client = fresh.database.connect().await;
    let transaction = client.transaction().await.unwrap();
    let locked: Vec<SessionKey> = (0..400).step_by(10).map(key).collect();
    let bytes: Vec<&[u8]> = locked.iter().map(|key| &key.as_bytes()[..]).collect();
    let lock = "SELECT 1 FROM session_process.session WHERE key = ANY($1) FOR UPDATE";
    transaction.query(lock, &[&bytes]).await.unwrap();
    let begun = Instant::now();
    let edits = (0..400).map(|n| change(key(n), Op::Edit(Box::default()))).collect();
    let answers = at_once(&store, edits).await;
    // 40 locks, each waited for by itself, were 12 seconds.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    for (n, answer) in answers.into_iter().enumerate() {
        if n % 10 == 0 {
            assert!(matches!(answer, Err(StoreError::Timeout { .. })), "{n}: {answer:?}");
        } else {
            answer.unwrap()[0].as_ref().unwrap();
        }
    }
    transaction.rollback().await.unwrap();
    apply(&store, change(key(0), Op::Edit(Box::default()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_locks_is_an_error_after_a_while_however_many_wait() {
    let fresh = fresh().await;
    let store = impatient(&fresh).await;
    create(&store, 0..200).await;
    let mut client = fresh.database.connect().await;
    let transaction = client.transaction().await.unwrap();
    // As CREATE INDEX does.
    let lock = "LOCK TABLE session_process.session IN SHARE MODE";
    transaction.batch_execute(lock).await.unwrap();
    let begun = Instant::now();
    let edits = (0..200).map(|n| change(key(n), Op::Edit(Box::default()))).collect();
    for answer in at_once(&store, edits).await {
        assert!(matches!(answer, Err(StoreError::Timeout { .. })), "{answer:?}");
    }
    // One after the other: a minute.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    transaction.rollback().await.unwrap();
    apply(&store, change(key(0), Op::Edit(Box::default()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_changed_all_the_time_can_be_evicted() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    apply(&fresh.store, change(key(0), login("ada"))).await.unwrap();
    // So that somebody has the row at almost any time.
    let client = fresh.database.connect().await;
    obstruct(&client, "IF TG_OP = 'UPDATE' THEN PERFORM pg_sleep(0.05); END IF;").await;
    for n in 0..2 {
        let mut savers = JoinSet::new();
        for _ in 0..8 {
            let other = other.clone();
            savers.spawn(async move {
                // Until it is gone.
                while apply(&other, change(key(n), Op::Edit(Box::default()))).await.is_ok() {}
            });
        }
        apply(&fresh.store, change(key(n + 1), login("ada"))).await.unwrap();
        savers.join_all().await;
    }
}

const LOCKED: &str = "SELECT 1 FROM session_process.session WHERE key = $1 FOR UPDATE";
const INSERTED: &str = "INSERT INTO session_process.session (key, version, born, created_at, accessed_at, ends_at, \
                        sweep_at) VALUES ($1, 1, 1, 0, 0, 9223372036854775807, 9223372036854775807)";

/// What becomes of calls that one writer takes together, while somebody has done that to the row of a session and did not
/// commit it.
async fn gathered_while(
    fresh: &Fresh,
    store: &PostgresStore,
    (done, n): (&str, u16),
    calls: Vec<Vec<Change>>,
) -> Vec<Answer> {
    const BUSY: u16 = u16::MAX;
    create(store, [BUSY]).await;
    let mut client = fresh.database.connect().await;
    let transaction = client.transaction().await.unwrap();
    for (done, n) in [(done, n), (LOCKED, BUSY)] {
        transaction.query(done, &[&&key(n).as_bytes()[..]]).await.unwrap();
    }
    // They gather behind this one.
    let busy = tokio::spawn({
        let store = store.clone();
        async move { store.commit(vec![change(key(BUSY), Op::Delete)]).await }
    });
    let admin = fresh.database.connect().await;
    let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while admin.query(waits, &[]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let answers = calls_at_once(store, calls).await;
    assert!(matches!(busy.await.unwrap(), Err(StoreError::Timeout { .. })));
    transaction.rollback().await.unwrap();
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_locks_is_found_among_ten_thousand() {
    let fresh = fresh().await;
    let store = impatient(&fresh).await;
    create(&store, 0..10_000).await;
    let deletes = |call: u16| (0..100).map(move |n| change(key(call * 100 + n), Op::Delete)).collect();
    let answers = gathered_while(&fresh, &store, (LOCKED, 4_242), (0..100).map(deletes).collect()).await;
    for (call, answer) in answers.into_iter().enumerate() {
        if call == 42 {
            assert!(matches!(answer, Err(StoreError::Timeout { .. })), "{answer:?}");
        } else {
            let outcomes = answer.unwrap_or_else(|error| panic!("{call}: {error}"));
            assert!(outcomes.iter().all(Result::is_ok), "{call}: {outcomes:?}");
        }
    }
}

/// The row that one login of many has to evict is somebody's. It is none of the rows that were asked to be changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_to_be_evicted_and_that_somebody_locks_fails_that_login_only() {
    let fresh = fresh().await;
    let store = impatient(&fresh).await;
    let login = |n: u16, user: u16| change(key(n), login(&format!("user {user}")));
    for user in 0..64 {
        apply(&store, login(user, user)).await.unwrap();
    }
    let logins = (0..64).map(|user| vec![login(1_000 + user, user)]).collect();
    let answers = gathered_while(&fresh, &store, (LOCKED, 2), logins).await;
    for (user, answer) in answers.into_iter().enumerate() {
        if user == 2 {
            assert!(matches!(answer, Err(StoreError::Timeout { .. })), "{answer:?}");
        } else {
            let outcome = answer.unwrap_or_else(|error| panic!("{user}: {error}")).remove(0);
            assert_eq!(outcome.unwrap().evicted.len(), 1, "{user}");
        }
    }
    apply(&store, login(2_000, 2)).await.unwrap();
}

/// A row that is not there yet can't be found to be held.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_nobody_knows_what_takes_few_of_the_others_with_it() {
    let fresh = fresh().await;
    let store = impatient(&fresh).await;
    let creates = (0..64).map(|n| vec![change(key(n), Op::Create(Box::default()))]);
    let answers = gathered_while(&fresh, &store, (INSERTED, 2), creates.collect()).await;
    assert!(
        matches!(answers[2], Err(StoreError::Timeout { .. })),
        "{:?}",
        answers[2]
    );
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(failed <= 64 / 8, "{failed} of 64");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_call_is_written_after_its_caller_was_told_that_it_failed() {
    let fresh = fresh().await;
    create(&fresh.store, [1]).await;
    let client = fresh.database.connect().await;
    // As if somebody were quicker each time.
    obstruct(&client, "IF NEW.label = 'never' THEN RETURN NULL; END IF;").await;
    let changes = vec![change(key(1), label("never")), change(key(1), label("after"))];
    let failed = fresh.store.commit(changes).await;
    assert!(matches!(failed, Err(StoreError::Overloaded)), "{failed:?}");
    // Behind whatever its writer is still at.
    apply(&fresh.store, change(key(1), Op::Edit(Box::default())))
        .await
        .unwrap();
    let found = fresh.store.load(&[key(1)]).await.unwrap().remove(0).unwrap();
    assert_eq!(found.label, None);
}
