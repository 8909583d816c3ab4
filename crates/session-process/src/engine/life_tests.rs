//! Here and not in `life.rs`, which `crates/models` compiles too.

use std::time::Duration;

use super::life::Life;
use crate::process::Expiry;

const IDLE: Option<Duration> = Some(Duration::from_nanos(100));

#[test]
fn use_defers_idle_expiry_and_not_the_deadline() {
    let (used, limits) = Life::begin(0, IDLE, Some(Duration::from_nanos(150)));
    let life = Life::of(&used, &limits);
    assert_eq!(life.judge(99), None);
    life.used(99);
    assert_eq!(life.judge(149), None);
    assert_eq!(life.judge(150), Some(Expiry::Absolute));
}

#[test]
fn expired_once_is_expired_for_good() {
    let (used, limits) = Life::begin(0, IDLE, None);
    let life = Life::of(&used, &limits);
    assert!(life.touch(99, false));
    assert_eq!(life.judge(199), Some(Expiry::Idle));
    assert!(!life.touch(100, false), "also when the clock goes back");
    assert_eq!(life.judge(100), Some(Expiry::Idle));
}

#[test]
fn a_clock_that_goes_backwards_expires_nothing() {
    let (used, limits) = Life::begin(1_000, IDLE, None);
    let life = Life::of(&used, &limits);
    assert_eq!(life.judge(5), None);
    life.used(5);
    assert_eq!(life.judge(1_099), None, "the later use still counts");
}

#[test]
fn limits_can_be_lifted_and_set_for_one_session() {
    let (used, limits) = Life::begin(0, IDLE, None);
    let life = Life::of(&used, &limits);
    life.set_idle_timeout(None);
    assert_eq!(life.judge(u64::MAX - 1), None);
    life.set_max_lifetime(Some(Duration::from_nanos(7)));
    assert_eq!(life.expires_at(), 7);
}

#[test]
fn who_was_told_that_it_has_expired_is_right_for_good() {
    let (used, limits) = Life::begin(0, IDLE, None);
    let life = Life::of(&used, &limits);
    assert_eq!(life.judge_use(99), None, "a message that begins");
    assert_eq!(life.look(198, false), None);
    assert_eq!(life.look(199, false), Some(Expiry::Idle));
    // The message was at work meanwhile, and says so only now.
    assert_eq!(life.look(200, true), Some(Expiry::Idle));
    life.used(200);
    assert_eq!(life.judge_at_work(200), Some(Expiry::Idle));
    assert!(!life.touch(200, true));
    assert_eq!(life.judge_use(200), Some(Expiry::Idle));
}

#[test]
fn a_session_in_use_has_only_its_deadline() {
    let (used, limits) = Life::begin(0, IDLE, Some(Duration::from_nanos(1_000)));
    let life = Life::of(&used, &limits);
    assert_eq!(life.look(500, true), None);
    life.used(500);
    assert_eq!(life.judge(599), None, "its idle time begins when it is done");
    assert_eq!(life.look(1_000, true), Some(Expiry::Absolute));
}

#[test]
fn a_message_that_waits_says_nothing_of_what_was_before_it() {
    let (used, limits) = Life::begin(0, IDLE, None);
    let life = Life::of(&used, &limits);
    life.touch_if_in_time(50, false);
    assert_eq!(life.judge(149), None);
    life.touch_if_in_time(150, false);
    assert_eq!(life.judge_at_work(150), None, "nobody was told");
    assert_eq!(life.judge(150), Some(Expiry::Idle));
}
