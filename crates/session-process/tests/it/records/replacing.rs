//! Whole sessions, written back by those who have read them whole.

use session_process::{Attributes, Timestamp, records::RecordError};

use super::*;

fn values(bench: &Bench, values: &[(&str, u64)]) -> Attributes {
    let mut attributes = Attributes::new(bench.records.now());
    for (name, value) in values {
        attributes.insert(name, value).unwrap();
    }
    attributes
}

#[tokio::test]
async fn a_replacement_takes_the_place_of_all_attributes_and_keeps_the_owner() {
    let bench = Bench::new();
    let id = bench.session().await;
    let ends_at = bench.records.now().saturating_add(HOUR);
    let view = bench
        .records
        .replace(&id, values(&bench, &[("m", 1)]), Some(ends_at))
        .await
        .unwrap();
    assert_eq!(
        (view.get::<u64>("m").unwrap(), view.get::<u64>("n").unwrap()),
        (Some(1), None)
    );
    assert_eq!((view.user_id(), view.expires_at()), (Some("ada"), ends_at));
    let elsewhere = bench.another().get(&id).await.unwrap().unwrap();
    assert_eq!(elsewhere.get::<u64>("m").unwrap(), Some(1));
    bench.clock.advance(HOUR);
    assert!(bench.records.get(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_replacement_is_made_also_if_others_are_first_and_never_brings_back() {
    let bench = Bench::new();
    let id = bench.session().await;
    // This node has an old version in its cache.
    let other = bench.another();
    add(&other, &id).await.unwrap();
    bench
        .records
        .replace(&id, values(&bench, &[("n", 7)]), None)
        .await
        .unwrap();
    assert_eq!(bench.stored(&id).await, Some(7));
    assert!(other.delete(&id).await.unwrap());
    let gone = bench.records.replace(&id, values(&bench, &[("n", 8)]), None).await;
    assert!(matches!(gone, Err(RecordError::Missing)));
    assert_eq!(bench.stored(&id).await, None);
}

#[tokio::test]
async fn a_replacement_within_limits_or_none() {
    let bench = Bench::new();
    let id = bench.session().await;
    let mut large = Attributes::new(bench.records.now())
        .with_limits(session_process::attributes::Limits::new().max_value_len(usize::MAX));
    large.insert("large", "x".repeat(20_000)).unwrap();
    let refused = bench.records.replace(&id, large, None).await;
    assert!(matches!(refused, Err(RecordError::Attribute(_))));
    assert_eq!(bench.stored(&id).await, Some(0));
}

#[tokio::test]
async fn a_session_can_be_made_to_end_at_a_moment() {
    let bench = Bench::new();
    let at = bench.records.now().saturating_add(MINUTE);
    let made = bench
        .create(NewSession::new().lives(HOUR).ends_at(at).idle_timeout(None))
        .await;
    assert_eq!(made.session.expires_at(), at);
    bench.clock.advance(MINUTE);
    assert!(bench.records.get(&made.id).await.unwrap().is_none());
    let past = bench.create(NewSession::new().ends_at(Timestamp::default())).await;
    assert!(bench.records.get(&past.id).await.unwrap().is_none());
}
