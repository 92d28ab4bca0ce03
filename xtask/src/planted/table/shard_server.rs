//! Faults of the shards.

use super::{
    Finder::{Live, Script, Seeds, Test},
    Planted,
};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "shard.eager_leader",
        what: "4: a leader evaluates before its term's blank entry is applied",
        found_by: &[Test(
            "shard-server/cluster",
            "leaders::a_new_leader_evaluates_nothing_before_it_has_applied_what_was_acknowledged",
        )],
    },
    Planted {
        names: "shard.shared_entry_believed",
        what: "4: what shared an entry that was lost is told that it is applied",
        found_by: &[Test("shard-server/cluster", "grouping::commands_of_an_entry_that_is_lost_are_all_told")],
    },
    Planted {
        names: "shard.waits_past_term",
        what: "5: who comes to a lock when its leader's term has just ended waits for it there",
        found_by: &[Seeds(200)],
    },
    Planted {
        names: "shard.waiters_outlive_term",
        what: "5: a leader that steps down sends nobody away",
        found_by: &[Test("shard-server/cluster", "leaders::stepping_down_sends_lock_waiters_away")],
    },
    Planted {
        names: "shard.place_in_line_lost",
        what: "10: who waits for a lock in a second request stands behind those who came meanwhile",
        found_by: &[Test("shard-server/cluster", "locking::a_long_wait_keeps_its_place")],
    },
    Planted {
        names: "shard.locks_not_taken_over",
        what: "5, 18: the locks that were handed over are not taken",
        found_by: &[Test(
            "shard-server/cluster",
            "hand_overs::locks_go_along_when_leadership_is_handed_over",
        )],
    },
    Planted {
        names: "shard.returned_locks_come_back",
        what: "5, 18: locks that were handed over are taken whoever has led since",
        found_by: &[Test("shard-server/cluster", "hand_overs::what_was_released_since_is_not_taken_over")],
    },
    Planted {
        names: "shard.low_water_not_raised",
        what: "5, 11, 21: a new leader writes below what its predecessors read",
        found_by: &[
            Test(
                "shard-server/cluster",
                "leaders::a_new_leader_writes_above_earlier_reads_and_knows_earlier_commits",
            ),
            Script("leader_change.txt"),
            Seeds(200),
            Live(6),
        ],
    },
    Planted {
        names: "shard.reads_not_noted",
        what: "5: reads leave no trace in the timestamp cache",
        found_by: &[Script("own_reads.txt"), Seeds(200)],
    },
    Planted {
        names: "shard.proofs_not_noted",
        what: "5: what was proven up to a later time leaves no trace in the timestamp cache",
        found_by: &[Script("own_reads.txt")],
    },
    Planted {
        names: "shard.cache_forgets",
        what: "5: what the timestamp cache has no room for was never read",
        found_by: &[Test("shard-server", "ts_cache::tests::forgetting_raises_the_low_water")],
    },
    Planted {
        names: "shard.flushed_too_early",
        what: "6, 8: F moves without a flush",
        found_by: &[Test("shard-server/cluster", "membership::the_flusher_follows_and_rests")],
    },
    Planted {
        names: "shard.snapshot_without_intents",
        what: "8: a snapshot leaves the intents behind",
        found_by: &[Test(
            "shard-server/cluster",
            "membership::a_copy_moves_to_another_node_and_the_old_one_is_destroyed",
        )],
    },
    Planted {
        names: "shard.lease_checked_early,shard.waiters_outlive_term",
        what: "9: a reader checks term and lease before it waits for a latch",
        found_by: &[Test(
            "shard-server/cluster",
            "leaders::a_reader_behind_a_latch_of_a_deposed_leader_is_sent_away",
        )],
    },
    Planted {
        names: "shard.waits_with_latches",
        what: "10: a commit waits for a lock with its latches held",
        found_by: &[Script("locks.txt")],
    },
    Planted {
        names: "shard.damaged_copy_serves",
        what: "7: a copy that does not read back goes on",
        found_by: &[Test("shard-server/cluster", "damage::a_damaged_copy_is_replaced_under_a_new_id")],
    },
    Planted {
        names: "shard.damaged_copy_comes_back",
        what: "7: a copy that does not read back is begun anew under its id",
        found_by: &[Test("shard-server/cluster", "damage::a_damaged_copy_is_replaced_under_a_new_id")],
    },
    Planted {
        names: "shard.full_disk_ignored",
        what: "a leader takes in new rows though no quorum has space for them",
        found_by: &[Test("shard-server/cluster", "disks::rows_are_refused_unless_a_quorum_has_space")],
    },
    Planted {
        names: "shard.future_admitted",
        what: "11: requests beyond the clock are admitted",
        found_by: &[Script("time.txt")],
    },
    Planted {
        names: "shard.commit_repeated",
        what: "12: a copy of a commit in one shard is carried out again",
        found_by: &[Script("commit_local.txt")],
    },
    Planted {
        names: "shard.final_overwritten",
        what: "12: a final record is written over",
        found_by: &[Script("intents.txt")],
    },
    Planted {
        names: "shard.deadline_ignored",
        what: "12: transactions commit after their deadline",
        found_by: &[Script("commit_local.txt")],
    },
    Planted {
        names: "shard.abort_not_written",
        what: "12: a question is answered with \"aborted\", which is not written down",
        found_by: &[Script("recovery.txt"), Seeds(200)],
    },
    Planted {
        names: "shard.silent_kept_alive",
        what: "12: nobody finishes a dead coordinator's transaction",
        found_by: &[Script("recovery.txt"), Test("sim/seed", "a_gateway_may_die_at_every_step_of_a_commit")],
    },
    Planted {
        names: "shard.forgotten_made_anew",
        what: "12: late copies make records anew that were removed",
        found_by: &[
            Script("forget.txt"),
            Test("shard-server/cluster", "forgetting::no_leader_takes_a_late_copy_for_a_new_transaction"),
        ],
    },
    Planted {
        names: "shard.gone_means_aborted",
        what: "12: a record that is gone passes for an abort, whoever asks",
        found_by: &[Script("forget.txt")],
    },
    Planted {
        names: "shard.record_before_intents",
        what: "12: a commit's record goes while intents are left",
        found_by: &[Script("forget.txt"), Seeds(200)],
    },
    Planted {
        names: "shard.forgets_unannounced",
        what: "12: records go without the threshold being raised",
        found_by: &[Script("forget.txt")],
    },
    Planted {
        names: "shard.locks_outlive_commit",
        what: "12: a commit whose outcome is unknown to its proposer keeps its locks",
        found_by: &[Script("commit_local.txt")],
    },
    Planted {
        names: "shard.intents_asked_at_former_anchor",
        what: "12: an intent's transaction is asked after where it was when it locked the key, and passes for aborted",
        found_by: &[Test("shard-server", "lock_table::tests::an_intent_is_asked_after_where_it_says")],
    },
    Planted {
        names: "shard.earlier_locks_given_back",
        what: "13: a return to a savepoint gives back what was locked before",
        found_by: &[Test(
            "shard-server/cluster",
            "locking::a_return_to_a_savepoint_gives_back_what_was_locked_since",
        )],
    },
    Planted {
        names: "shard.later_locks_given_back",
        what: "13: a return to a savepoint, heard of late, gives back what was locked anew",
        found_by: &[Test(
            "shard-server/cluster",
            "locking::a_return_to_a_savepoint_gives_back_what_was_locked_since",
        )],
    },
    Planted {
        names: "shard.exclusion_unproven",
        what: "13: a commit does not prove that its keys have not changed",
        found_by: &[Script("commit_local.txt"), Script("leader_change.txt"), Seeds(200)],
    },
    Planted {
        names: "shard.absence_unproven",
        what: "13: a commit does not prove that a key is absent",
        found_by: &[Script("commit_local.txt")],
    },
    Planted {
        names: "shard.refresh_unproven",
        what: "13: a commit does not prove that its reads have not changed",
        found_by: &[Script("commit_local.txt"), Seeds(200)],
    },
    Planted {
        names: "shard.intents_not_asked",
        what: "14: a recovery takes a staged record's word for its intents",
        found_by: &[Script("staging.txt"), Seeds(200), Live(5)],
    },
    Planted {
        names: "shard.prevention_not_noted",
        what: "14: an intent that was found missing may be laid afterwards",
        found_by: &[Script("staging.txt")],
    },
    Planted {
        names: "shard.staged_over_final",
        what: "14: a transaction is staged over its abort",
        found_by: &[Script("staging.txt")],
    },
    Planted {
        names: "shard.late_copy_accepted",
        what: "14: a prepare that comes after its transaction's end lays intents",
        found_by: &[Script("late_copies.txt")],
    },
    Planted {
        names: "shard.older_attempt_accepted",
        what: "14: writes of an older attempt are accepted",
        found_by: &[Script("intents.txt")],
    },
    Planted {
        names: "shard.revealed_early",
        what: "15: answers leave before the clock has passed what they met",
        found_by: &[Script("time.txt")],
    },
    Planted {
        names: "shard.uncertain_ignored",
        what: "16: uncertain values pass for later ones",
        found_by: &[Script("time.txt")],
    },
    Planted {
        names: "shard.locks_outlive_gateway",
        what: "18: unspilled locks stay when their gateway or deadline is gone",
        found_by: &[Script("locks.txt")],
    },
    Planted {
        names: "shard.orphaned_locks_stay",
        what: "18: locks that nobody will give back stay where nobody waits for them",
        found_by: &[Test("shard-server/cluster", "locking::locks_that_nobody_gives_back_go_by_themselves")],
    },
    Planted {
        names: "shard.resolved_in_one_entry",
        what: "18: all that is known of a large transaction's intents is resolved by one entry, which every copy holds in memory",
        found_by: &[Test(
            "shard-server/cluster",
            "leaders::what_a_large_transaction_has_left_is_not_resolved_at_once",
        )],
    },
    Planted {
        names: "shard.acknowledged_passed_by",
        what: "18: an intent whose commit was acknowledged counts as a lock for those who do not wait",
        found_by: &[Script("passing.txt")],
    },
    Planted {
        names: "shard.asked_locks_not_kept",
        what: "13: a lock that was asked for counts as held where the shard keeps no more",
        found_by: &[Test("shard-server/cluster", "locking::a_lock_that_was_asked_for_is_held_or_refused")],
    },
    Planted {
        names: "shard.passed_by_unasked",
        what: "18: who does not wait for a lock does not have its holder asked after",
        found_by: &[Script("locks.txt")],
    },
    Planted {
        names: "shard.unwatched_untold",
        what: "19: who has waited is not told that the deadlock detector was not reached",
        found_by: &[Script("deadlock.txt")],
    },
    Planted {
        names: "shard.local_circle_unnoticed",
        what: "19: circles of waiters within a shard are not broken",
        found_by: &[Script("locks.txt")],
    },
    Planted {
        names: "shard.circle_unnoticed",
        what: "19: the deadlock detector finds no circles",
        found_by: &[
            Script("deadlock.txt"),
            Test("shard-server", "detector::tests::the_youngest_of_a_circle_across_shards_is_told"),
        ],
    },
    Planted {
        names: "shard.bound_ignored",
        what: "20: the shard accepts commits above their bound",
        found_by: &[Script("commit_local.txt"), Script("intents.txt")],
    },
    Planted {
        names: "shard.closed_without_lease",
        what: "22: who has no lease goes on closing",
        found_by: &[Test(
            "shard-server/cluster",
            "closing::a_deposed_leader_closes_nothing_over_its_successors_writes",
        )],
    },
    Planted {
        names: "shard.evaluations_not_counted",
        what: "22: evaluations under way do not hold K back",
        found_by: &[
            Script("closing.txt"),
            Test(
                "shard-server",
                "closed::evaluations::tests::what_is_under_way_holds_it_back_and_what_comes_later_goes_above",
            ),
            Seeds(200),
        ],
    },
    Planted {
        names: "shard.written_below_closed",
        what: "22: evaluations go below K",
        found_by: &[
            Test("shard-server/cluster", "closing::nothing_is_written_where_it_is_closed"),
            Seeds(200),
        ],
    },
    Planted {
        names: "shard.closed_before_applied",
        what: "22: a follower takes K before it has applied what it rests on",
        found_by: &[
            Test("shard-server", "closed::frontier::tests::nothing_is_taken_before_its_entry_in_its_range"),
            Seeds(200),
        ],
    },
    Planted {
        names: "shard.gap_unnoticed",
        what: "22: a lost closing message goes unnoticed",
        found_by: &[Test(
            "shard-server",
            "closed::inbox::tests::after_a_lost_message_nothing_counts_until_all_is_said_anew",
        )],
    },
    Planted {
        names: "shard.split_forgets_closed",
        what: "22, 25: a split leaves K behind",
        found_by: &[
            Test("shard-server/cluster", "closing::halves_of_a_split_and_a_snapshot_inherit_what_was_closed"),
            Script("closing.txt"),
        ],
    },
    Planted {
        names: "shard.follower_too_new",
        what: "23: a replica answers above its K",
        found_by: &[
            Test(
                "shard-server/cluster",
                "closing::every_replica_answers_what_is_closed_and_sends_what_is_not_to_the_leader",
            ),
            Seeds(200),
        ],
    },
    Planted {
        names: "shard.intents_skipped",
        what: "23: a replica reads past intents",
        found_by: &[
            Test("shard-server/cluster", "closing::an_intent_is_never_skipped"),
            Script("closing.txt"),
            Seeds(200),
        ],
    },
    Planted {
        names: "shard.threshold_unchecked",
        what: "24: reads and proofs do not look at the threshold",
        found_by: &[
            Script("gc.txt"),
            Test("shard-server/cluster", "gc::no_replica_answers_below_the_threshold_under_no_leader"),
            Seeds(200),
        ],
    },
    Planted {
        names: "shard.threshold_not_raised",
        what: "24: versions go without the threshold being raised",
        found_by: &[Script("gc.txt"), Seeds(200)],
    },
    Planted {
        names: "shard.garbage_above_closed",
        what: "24: the threshold rises above K",
        found_by: &[
            Script("gc.txt"),
            Test("shard-server/cluster", "gc::no_replica_answers_below_the_threshold_under_no_leader"),
        ],
    },
    Planted {
        names: "shard.snapshot_without_threshold",
        what: "24: a snapshot leaves the threshold behind",
        found_by: &[Test("shard-server/cluster", "gc::a_copy_that_comes_by_snapshot_inherits_the_threshold")],
    },
    Planted {
        names: "shard.locks_lost_at_split",
        what: "25: the right half of a split loses its locks",
        found_by: &[
            Script("split.txt"),
            Test("shard-server/cluster", "split_locks::whoever_leads_the_right_half_first_has_its_locks"),
        ],
    },
    Planted {
        names: "shard.locks_lost_at_split,txn.unproven_locks",
        what: "13, 25: the right half of a split loses its locks, and no commit proves them",
        found_by: &[Live(3)],
    },
    Planted {
        names: "shard.right_half_raced_for",
        what: "25: every replica of a split's right half campaigns as soon as it is there",
        found_by: &[Test(
            "shard-server/cluster",
            "split_locks::the_parents_leader_is_left_time_to_lead_the_right_half",
        )],
    },
    Planted {
        names: "shard.split_unlatched",
        what: "25: a split does not keep others out",
        found_by: &[Test("shard-server/cluster", "split_locks::what_is_given_back_during_a_split_is_free")],
    },
    Planted {
        names: "shard.records_not_latched",
        what: "25: a split does not wait for the records it moves",
        found_by: &[Test(
            "shard-server",
            "latch::tests::a_split_waits_for_the_records_that_it_moves_and_they_for_it",
        )],
    },
    Planted {
        names: "shard.overlap_allowed",
        what: "25: a copy is created over keys that another one here still holds",
        found_by: &[Test(
            "shard-server/cluster",
            "splits::a_copy_of_overlapping_keys_is_created_by_the_split_only",
        )],
    },
];
