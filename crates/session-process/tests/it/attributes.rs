//! The default process: attributes by session id.

use session_process::{
    AttributeError, Attributes, CallError, ManualClock, Sessions, Timestamp,
    attributes::{self, Error, Limits},
};

use crate::support::*;

fn sessions() -> (Sessions, ManualClock) {
    with_clock::<Attributes>(|builder| builder)
}

#[tokio::test]
async fn an_expired_value_is_never_returned() {
    let (sessions, clock) = sessions();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    sessions.insert_expiring(&a, "code", 4711, 10 * SECOND).await.unwrap();
    clock.advance(10 * SECOND - std::time::Duration::from_micros(1));
    assert_eq!(sessions.get(&a, "code").await.unwrap(), Some(4711));
    clock.advance(std::time::Duration::from_micros(1));
    assert_eq!(sessions.get::<i32>(&a, "code").await.unwrap(), None);
    clock.set(SECOND);
    assert_eq!(
        sessions.get::<i32>(&a, "code").await.unwrap(),
        None,
        "also when the clock is set back"
    );
    assert!(sessions.attributes(&a).await.unwrap().is_empty());
}

#[tokio::test]
async fn concurrent_updates_lose_nothing() {
    let sessions = <Sessions>::builder().build().unwrap();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (sessions, a) = (sessions.clone(), a.clone());
            tokio::spawn(async move {
                sessions
                    .update(&a, |attributes| attributes.update("n", |n: &mut u32| *n += 1))
                    .await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(sessions.get(&a, "n").await.unwrap(), Some(64));
}

#[tokio::test]
async fn an_update_that_fails_or_panics_changes_nothing_and_ends_nothing() {
    let (sessions, _clock) = sessions();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    sessions.insert(&a, "n", 1).await.unwrap();
    let refused = sessions
        .update(&a, |attributes| {
            attributes.insert("n", 2)?;
            attributes.insert("m", 2)?;
            attributes.get::<String>("n")
        })
        .await;
    assert!(matches!(
        refused,
        Err(Error::Attribute(AttributeError::WrongType { .. }))
    ));
    let panicked = sessions
        .update(&a, |attributes| -> Result<(), AttributeError> {
            attributes.clear();
            panic!("as told")
        })
        .await;
    assert!(matches!(panicked, Err(Error::Attribute(AttributeError::Panicked))));
    let all = sessions.attributes(&a).await.unwrap();
    assert_eq!((all.len(), all.get::<i32>("n").unwrap()), (1, Some(1)));
    sessions.clear(&a).await.unwrap();
    assert!(sessions.attributes(&a).await.unwrap().is_empty());
}

#[tokio::test]
async fn limits_come_from_the_builder_and_a_start_may_bring_values() {
    let (sessions, _clock) = with_clock::<Attributes>(|builder| builder.extension(Limits::new().max_count(1)));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    sessions.insert(&a, "one", 1).await.unwrap();
    assert_eq!(sessions.insert(&a, "two", 2).await.unwrap_err().kind(), "too_many");
    let mut given = Attributes::new(Timestamp::default());
    given.insert("one", 1).unwrap();
    given.insert("two", 2).unwrap();
    sessions.start_with(&id("b"), given.clone()).await.unwrap();
    assert_eq!(sessions.remove(&id("b"), "two").await.unwrap(), Some(2));
    assert_eq!(
        sessions.insert(&id("b"), "two", 2).await.unwrap_err().kind(),
        "too_many"
    );
    // Their own limits stay.
    sessions
        .start_with(&id("c"), given.with_limits(Limits::new().max_count(3)))
        .await
        .unwrap();
    sessions.insert(&id("c"), "three", 3).await.unwrap();
}

#[tokio::test]
async fn without_a_session_each_is_a_clear_error() {
    let (sessions, _clock) = sessions();
    let missing = sessions.get::<u8>(&id("a"), "n").await.unwrap_err();
    assert!(matches!(missing, Error::Call(CallError::NotStarted { .. })));
    assert_eq!(missing.kind(), "not_started");
    let message = sessions.call(&id("a"), attributes::insert("n", 5)).await.unwrap_err();
    let message = message.into_message().expect("it comes back");
    assert_eq!(format!("{message:?}"), r#"Insert { key: "n", after: None, .. }"#);
}
