//! What every [`SessionStore`] must do, as tests: [`store_conformance!`](crate::store_conformance).
//!
//! Write a type that gives a fresh store and moves its clock, and a function that makes one. The macro expands to one
//! `#[tokio::test]` for each fact, in a module for each concern:
//!
//! ```ignore
//! struct Mine { store: Arc<MyStore>, clock: MyClock }
//!
//! impl testkit::conformance::StoreUnderTest for Mine {
//!     fn store(&self) -> Arc<dyn SessionStore> { self.store.clone() }
//!     fn advance(&self, by: Duration) { self.clock.advance(by) }
//! }
//!
//! async fn fresh() -> Mine { /* an empty store, which no other test sees */ }
//!
//! testkit::store_conformance!(super::fresh);
//! ```
//!
//! The tests run in parallel, so stores of one server need a schema each. Each test drops what it was given at its
//! end. Points in time are compared with a margin of a second, since a store's clock may be an estimate.
#![allow(
    missing_docs,
    reason = "the name of a fact is what it says; the store's contract says the rest"
)]

pub mod attributes;
pub mod batches;
pub mod changes;
pub mod contention;
pub mod creation;
pub mod deletion;
pub mod expectations;
pub mod expiry;
mod fixture;
pub mod limits;
pub mod listing;
pub mod model;
pub mod rotation;
pub mod snapshots;
pub mod sweeping;
pub mod texts;
pub mod touching;

use std::{sync::Arc, time::Duration};

use session_process::store::SessionStore;

/// A fresh store, and its clock.
pub trait StoreUnderTest: Send + Sync + 'static {
    /// The store: the same each time.
    fn store(&self) -> Arc<dyn SessionStore>;

    /// Moves the store's clock forward.
    fn advance(&self, by: Duration);
}

/// One test for each thing that a [`SessionStore`] must do; see [`conformance`](crate::conformance).
///
/// The argument is a function without parameters that returns a future of a
/// [`StoreUnderTest`](crate::conformance::StoreUnderTest), named from inside a module: `super::fresh`. The crate of
/// the tests needs tokio with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_conformance {
    ($make:path) => {
        $crate::store_conformance! { @facts $make;
            creation {
                a_new_record_is_loaded_as_it_was_created
                a_record_may_have_nothing_in_it
                a_key_that_is_taken_is_not_created_again
                records_come_in_the_order_of_the_keys_that_were_asked_for
                a_key_that_was_never_created_is_absent_for_every_operation
            }
            expectations {
                every_change_adds_to_the_version
                a_change_under_an_old_version_is_refused_and_changes_nothing
                a_conflict_shows_the_record_as_it_is_if_it_shows_one
                without_an_expectation_the_last_writer_wins
                a_creation_expects_nothing_but_a_free_key
                an_epoch_that_is_not_the_expected_one_is_refused
                an_epoch_only_grows
                a_version_is_never_given_twice_under_a_key
            }
            expiry {
                a_record_is_absent_from_its_end_on_whether_or_not_it_was_removed
                an_idle_record_ends_when_it_was_not_used_for_its_timeout
                use_prolongs_an_idle_record_and_never_beyond_its_absolute_end
                a_record_without_time_limits_does_not_end
                time_limits_can_be_changed_and_turned_off
                time_limits_beyond_the_end_of_time_are_none
                an_expired_record_is_not_brought_back
                the_key_of_an_expired_record_is_free
                a_record_created_with_its_end_behind_it_is_absent
            }
            sweeping {
                what_has_expired_is_removed_and_named_once
                what_has_not_expired_is_left_alone
                a_sweep_removes_as_many_as_it_may_and_the_next_the_rest
                a_record_that_was_used_meanwhile_is_not_swept
                a_record_whose_time_was_cut_short_is_swept
                a_sweep_finds_the_expired_among_many_that_were_used
            }
            limits {
                a_user_with_as_many_sessions_as_may_be_gets_no_other
                the_oldest_access_makes_room
                a_limit_that_was_lowered_evicts_as_many_as_are_too_many
                only_live_sessions_of_the_same_user_count
                without_a_user_or_a_limit_nothing_is_counted
                a_session_that_moves_to_a_user_is_counted_there
                a_session_that_stays_with_its_user_is_not_counted_again
                a_limit_holds_at_every_moment_for_a_hundred_at_once
                eviction_holds_at_every_moment_for_a_hundred_at_once
                a_hundred_at_once_move_to_one_user_within_the_limit
            }
            attributes {
                those_that_differ_get_the_records_version_and_the_others_keep_theirs
                new_attributes_replace_all_that_were_there
                other_edits_leave_attributes_alone
                a_value_is_kept_byte_for_byte
                an_expired_attribute_goes_with_the_next_change
                a_large_attribute_and_many_are_kept
            }
            snapshots {
                a_snapshot_is_set_replaced_and_removed
                other_edits_leave_the_snapshot_alone
                any_bytes_and_any_size_are_kept
            }
            rotation {
                a_record_moves_with_all_it_has
                a_key_that_is_taken_refuses_the_move
                the_old_key_is_free_and_stale_writes_to_it_find_nothing
                of_many_rotations_at_once_one_takes_place
                the_key_of_an_expired_record_can_be_moved_to
                a_record_is_found_by_the_key_it_began_under
            }
            touching {
                an_access_moves_forward_only_and_changes_no_version
                many_are_touched_at_once_and_unknown_keys_are_passed_over
                an_edit_may_carry_an_access
                a_touch_that_comes_too_late_revives_nothing
            }
            deletion {
                a_deleted_record_is_gone_for_every_operation
                a_racing_write_brings_nothing_back
                of_many_deletions_at_once_one_takes_place
            }
            listing {
                an_owner_sees_their_sessions_and_nobody_elses
                pages_follow_the_keys_and_hold_each_record_once
                a_list_has_everything_but_snapshots
                a_changed_owner_is_found_at_once
                a_user_and_a_group_of_one_name_are_two
                paging_goes_on_where_its_last_record_was_deleted
            }
            changes {
                every_change_is_told
                a_rotation_is_told_as_a_move_and_a_change
                what_made_room_and_what_expired_is_told
                a_refused_change_and_a_touch_are_not_told
                every_subscriber_is_told
                a_subscriber_that_gives_up_waiting_loses_nothing
            }
            batches {
                each_change_has_its_own_outcome
                changes_of_one_batch_to_one_key_are_applied_in_its_order
                a_batch_of_nothing_is_nothing
                a_thousand_changes_go_in_one_batch
                a_batch_that_is_given_up_is_whole_or_not_at_all
            }
            texts {
                owners_and_labels_of_any_text_are_told_apart
                names_of_attributes_of_any_text_are_told_apart
                the_longest_owner_is_kept
                patterns_match_nothing_but_themselves
            }
            contention {
                no_increment_is_lost_where_conflicts_are_retried
                of_many_writers_under_one_version_one_wins
                of_many_creations_under_one_key_one_wins
                a_reader_never_sees_half_a_change
                what_was_acknowledged_is_seen_by_whoever_reads_next
            }
            model {
                any_history_ends_as_the_model_says
            }
        }
    };
    (@facts $make:path; $($concern:ident { $($fact:ident)* })*) => {
        $(mod $concern {
            $(
                #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $fact() {
                    $crate::conformance::$concern::$fact($crate::store_conformance!(@call $make)).await;
                }
            )*
        })*
    };
    (@call $make:path) => { $make().await };
}
