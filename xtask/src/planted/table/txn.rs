//! Faults of the transaction coordinator.

use super::{
    Finder::{Live, Seeds, Test},
    Planted,
};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "txn.lost_commit_told_as_failed",
        what: "12: a commit whose answer was lost is told to have failed",
        found_by: &[Test("txn-coordinator/machine", "a_refusal_after_a_lost_answer_is_not_the_records_word")],
    },
    Planted {
        names: "txn.unknown_told_as_failed",
        what: "12: who cannot find the outcome out says that it failed",
        found_by: &[Test("txn-coordinator/machine", "a_question_without_an_answer_leaves_the_outcome_open")],
    },
    Planted {
        names: "txn.unproven_reads",
        what: "13: the refresh of reads at commit is skipped",
        found_by: &[
            Test(
                "txn-coordinator/transactions",
                "costs::what_is_read_where_it_is_written_costs_no_second_round",
            ),
            Test("txn-coordinator/transactions", "reads::write_skew_is_refused_and_retried"),
            Test("txn-coordinator/serializable", "in_peace"),
            Seeds(200),
            Live(3),
        ],
    },
    Planted {
        names: "txn.place_in_line_lost",
        what: "10: each request of a wait for a lock counts as one that comes now",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "locks::a_long_wait_is_one_wait_in_all_its_requests",
        )],
    },
    Planted {
        names: "txn.locks_in_any_order",
        what: "19: who locks several rows asks all their shards at once",
        found_by: &[Test("txn-coordinator/transactions", "locks::who_locks_the_same_rows_waits_in_one_line")],
    },
    Planted {
        names: "txn.intents_unbounded",
        what: "12: commits do not wait while too many intents of their gateway are unresolved",
        found_by: &[Test("txn-coordinator/transactions", "commits::unresolved_intents_are_bounded")],
    },
    Planted {
        names: "txn.lock_holders_wait",
        what: "12: who holds locks waits for room that those have who wait for his locks",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "locks::one_that_waits_for_a_lock_takes_no_room_from_the_locks_owner",
        )],
    },
    Planted {
        names: "txn.no_heartbeats",
        what: "18: nobody keeps the record of a transaction that lives alive",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "locks::who_lives_keeps_its_locks_and_who_dies_does_not",
        )],
    },
    Planted {
        names: "txn.waits_unwatched",
        what: "19: without the deadlock detector a wait for a lock has no end",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "locks::a_wait_that_nobody_looks_at_ends_and_no_other",
        )],
    },
    Planted {
        names: "txn.locks_fix_nothing",
        what: "13: a transaction that has only locked so far reads at the present time",
        found_by: &[Test(
            "txn-coordinator/isolation",
            "a_transaction_that_locks_first_reads_on_as_of_its_lock",
        )],
    },
    Planted {
        names: "txn.moved_unproven",
        what: "13: the read timestamp moves without a refresh",
        found_by: &[
            Test(
                "txn-coordinator/transactions",
                "reads::a_locked_read_brings_the_newest_version_and_moves_the_transaction_there",
            ),
            Seeds(200),
        ],
    },
    Planted {
        names: "txn.unproven_locks",
        what: "13: a commit does not prove its locks",
        found_by: &[
            Test("txn-coordinator/isolation", "a_lock_lost_with_the_leader_is_found_at_every_level"),
            Test(
                "txn-coordinator/transactions",
                "locks::an_exclusion_lost_with_the_leader_is_found_at_commit",
            ),
            Seeds(200),
        ],
    },
    Planted {
        names: "txn.undone_locks_unread",
        what: "13: what was read under a lock that a savepoint has given back is not proven",
        found_by: &[
            Test(
                "txn-coordinator/transactions",
                "locks::what_was_read_under_a_lock_that_is_given_back_stays_read",
            ),
            Test("txn-coordinator/serializable", "in_peace"),
            Seeds(200),
        ],
    },
    Planted {
        names: "txn.undone_locks_unproven",
        what: "13: a lock that was lost before a savepoint has given it back is not noticed",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "locks::a_lock_that_was_lost_before_it_was_given_back_is_found_at_commit",
        )],
    },
    Planted {
        names: "txn.numbers_start_over",
        what: "13: what an attempt has undone means locks of the next one",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "locks::what_an_attempt_has_undone_takes_nothing_from_the_next",
        )],
    },
    Planted {
        names: "txn.unproven_writes",
        what: "13: a commit does not prove what it writes without a lock",
        found_by: &[Test("txn-coordinator/isolation", "the_first_of_two_writers_wins_under_repeatable_read")],
    },
    Planted {
        names: "txn.newer_row_changed",
        what: "13: REPEATABLE READ locks rows that are newer than its snapshot",
        found_by: &[Test(
            "txn-coordinator/isolation",
            "repeatable_read_refuses_to_lock_what_has_changed_since",
        )],
    },
    Planted {
        names: "txn.unseen_overwritten",
        what: "13: a row is overwritten that its writer has not seen",
        found_by: &[Test("txn-coordinator/isolation", "nobody_overwrites_a_row_that_he_has_not_seen")],
    },
    Planted {
        names: "txn.unique_by_snapshot",
        what: "13: what is unique is looked for in the snapshot",
        found_by: &[
            Test("txn-coordinator/isolation", "repeatable_read_refuses_to_lock_what_has_changed_since"),
            Test("sql-frontend/wire", "isolation::each_level_shows_what_it_may"),
        ],
    },
    Planted {
        names: "txn.local_not_pinned",
        what: "13: a commit in one shard moves past its reads in others",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "costs::reading_elsewhere_does_not_cost_a_second_round",
        )],
    },
    Planted {
        names: "txn.staged_unproven",
        what: "14: what the intents do not prove is staged all the same",
        found_by: &[
            Test(
                "txn-coordinator/transactions",
                "costs::what_is_read_where_it_is_written_costs_no_second_round",
            ),
            Seeds(200),
        ],
    },
    Planted {
        names: "txn.begun_again_in_doubt",
        what: "14: staged again without proof that the first staging did not commit",
        found_by: &[
            Test(
                "txn-coordinator/transactions",
                "commits::a_staged_commit_without_answers_is_unknown_until_its_intents_are_asked",
            ),
            Test("txn-coordinator/machine", "a_conflict_that_may_be_with_itself_is_asked_about"),
        ],
    },
    Planted {
        names: "txn.high_intent_believed",
        what: "14: an intent above the staged timestamp passes for proof after a lost answer",
        found_by: &[Test(
            "txn-coordinator/machine",
            "an_intent_above_the_staged_timestamp_proves_nothing_after_a_lost_answer",
        )],
    },
    Planted {
        names: "txn.own_commit_conflicts",
        what: "14: a refusal due to the transaction's own commit passes for a failure",
        found_by: &[Test(
            "txn-coordinator/machine",
            "a_prepare_that_finds_the_record_committed_is_asked_about",
        )],
    },
    Planted {
        names: "txn.taken_apart_unnoticed",
        what: "14: a split takes reads from the intents that were to prove them",
        found_by: &[Test(
            "txn-coordinator/machine",
            "no_intents_are_laid_for_reads_that_a_split_has_taken_away",
        )],
    },
    Planted {
        names: "txn.uncertainty_ignored",
        what: "16: who reads under clocks that are far apart takes what it cannot place for later",
        found_by: &[Test("txn-coordinator/serializable", "with_clocks_far_apart")],
    },
    Planted {
        names: "txn.commit_wait_skipped",
        what: "15: a commit is acknowledged before its time",
        found_by: &[Test("txn-coordinator/transactions", "costs::a_transfer_between_shards_costs_one_round")],
    },
    Planted {
        names: "txn.old_stages_below",
        what: "18: an old transaction stages where it has read",
        found_by: &[Test(
            "txn-coordinator/staging",
            "an_old_transaction_stages_at_the_present_and_a_young_one_where_it_reads",
        )],
    },
    Planted {
        names: "txn.many_staged",
        what: "18: a commit of many keys is staged",
        found_by: &[Test(
            "txn-coordinator/staging",
            "a_commit_of_many_keys_is_decided_by_a_record_of_its_own_and_never_staged",
        )],
    },
    Planted {
        names: "txn.bound_let_go",
        what: "20: a commit does not keep its schema version in use",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "bounds::what_the_commit_bound_rests_on_lives_exactly_as_long_as_the_commit",
        )],
    },
    Planted {
        names: "txn.bound_kept",
        what: "20: what is over keeps its schema version in use",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "bounds::a_commit_of_nothing_and_one_that_fails_at_once_let_go_of_their_bound_too",
        )],
    },
    Planted {
        names: "txn.reads_hold_nothing",
        what: "24: a gateway does not hold what its transactions read",
        found_by: &[Test(
            "txn-coordinator/holds",
            "a_gateway_holds_what_its_oldest_transaction_needs_and_no_more",
        )],
    },
    Planted {
        names: "txn.halves_keep_locks",
        what: "25: only one half of a split is told that locks are given back",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "locks::locks_are_given_back_to_the_halves_of_a_split_too",
        )],
    },
    Planted {
        names: "txn.missing_quorum_unsaid",
        what: "21: a gateway that cannot measure its clock for want of others says that its clock is fenced",
        found_by: &[Test("quorate/quorum", "a_write_without_a_quorum_is_refused_until_it_is_back")],
    },
    Planted {
        names: "txn.past_is_read_at_leaders",
        what: "23: reads of the past are answered by leaders alone",
        found_by: &[Test("quorate/past", "the_past_is_read_without_a_call_and_without_the_leader")],
    },
];
