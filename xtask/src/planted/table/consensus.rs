//! Faults of the Raft groups: elections, leases, the log and its frontiers.

use super::{
    Finder::{Seeds, Test},
    Planted,
};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "consensus.leader_restored",
        what: "1: who led before a restart leads on in that term",
        found_by: &[
            Test("consensus/groups", "elections::who_led_before_a_restart_leads_in_a_new_term_only"),
            Seeds(200),
        ],
    },
    Planted {
        names: "consensus.young_votes",
        what: "2: a restarted node votes at once",
        found_by: &[Test(
            "consensus/groups",
            "elections::a_restarted_node_does_not_vote_within_a_lease_period",
        )],
    },
    Planted {
        names: "consensus.lease_without_margin",
        what: "2: a lease lasts as long as its followers refuse",
        found_by: &[Test("consensus", "support::tests::the_holder_leans_on_less_than_was_granted")],
    },
    Planted {
        names: "consensus.lease_on_one_clock",
        what: "2: a lease does not end by the physical clock",
        found_by: &[Test(
            "consensus/groups",
            "leases::a_leader_without_a_lease_reads_by_the_word_of_a_quorum_or_not_at_all",
        )],
    },
    Planted {
        names: "consensus.lease_after_hand_over",
        what: "2: who hands leadership over reads on by its lease",
        found_by: &[Test(
            "consensus/groups",
            "hand_over::a_giver_that_hears_nothing_more_has_no_lease_all_the_same",
        )],
    },
    Planted {
        names: "consensus.giver_does_not_wait",
        what: "5: who hands leadership over campaigns again at once",
        found_by: &[Test("consensus/groups", "hand_over::a_slow_heir_is_left_its_time")],
    },
    Planted {
        names: "consensus.leaving_campaigns",
        what: "5: a node that is about to stop campaigns",
        found_by: &[Test(
            "consensus",
            "pacing::tests::young_fenced_leaving_and_bound_replicas_do_not_campaign",
        )],
    },
    Planted {
        names: "consensus.stuck_hand_over_kept",
        what: "2: who gave its lease up and found no heir stays, and refuses all",
        found_by: &[Test(
            "consensus/groups",
            "hand_over::a_hand_over_whose_messages_are_lost_does_not_leave_a_leader_that_refuses_all",
        )],
    },
    Planted {
        names: "consensus.stops_without_a_word",
        what: "2: a leader's replica stops alone, and its members stay bound to the node that lives on",
        found_by: &[Test(
            "consensus/groups",
            "quiet::a_leader_that_stops_while_its_node_lives_on_is_succeeded",
        )],
    },
    Planted {
        names: "consensus.vote_against_supported",
        what: "3: votes are given while the leader is supported",
        found_by: &[Test("consensus", "elections::tests::a_vote_is_withheld_while_the_leader_is_supported")],
    },
    Planted {
        names: "consensus.late_vote_counts",
        what: "3: a vote counts that was decided while the leader came back",
        found_by: &[Test("consensus", "elections::tests::a_vote_that_was_decided_too_late_is_kept_back")],
    },
    Planted {
        names: "consensus.vote_against_supported,consensus.late_vote_counts",
        what: "3: whoever asks is elected, whom the voters support or not",
        found_by: &[Test("consensus/groups", "elections::who_supports_the_leader_elects_nobody_else")],
    },
    Planted {
        names: "consensus.candidate_while_bound",
        what: "3: who supports the leader votes for itself",
        found_by: &[Test("consensus", "elections::tests::a_vote_is_withheld_while_the_leader_is_supported")],
    },
    Planted {
        names: "consensus.leader_votes_within_lease",
        what: "3: a leader votes for others within its lease",
        found_by: &[Test(
            "consensus",
            "elections::tests::a_leader_that_is_asked_itself_keeps_its_lease_or_votes",
        )],
    },
    Planted {
        names: "consensus.lease_during_vote",
        what: "3: a leader reads by its lease while its vote for another is decided",
        found_by: &[Test(
            "consensus",
            "elections::tests::a_leader_that_is_asked_itself_keeps_its_lease_or_votes",
        )],
    },
    Planted {
        names: "consensus.lease_after_vote",
        what: "3: a leader reads by its lease after it has voted for another",
        found_by: &[Test(
            "consensus",
            "elections::tests::a_leader_that_is_asked_itself_keeps_its_lease_or_votes",
        )],
    },
    Planted {
        names: "consensus.support_without_append",
        what: "3: support counts for the lease of a term without an append acknowledged in it",
        found_by: &[
            Test("consensus", "lease::tests::only_acknowledgements_of_this_term_under_this_epoch_count"),
            Seeds(200),
        ],
    },
    Planted {
        names: "consensus.told_before_restart",
        what: "3: what a member was told before its restart counts after it",
        found_by: &[Test(
            "consensus",
            "lease::tests::what_a_member_was_told_before_it_restarted_counts_for_nothing",
        )],
    },
    Planted {
        names: "consensus.quiet_too_early",
        what: "3: a group goes quiet before its members are up to date",
        found_by: &[Test(
            "consensus/groups",
            "quiet::a_group_does_not_go_quiet_before_its_members_hold_the_whole_log",
        )],
    },
    Planted {
        names: "consensus.ready_before_blank_entry",
        what: "4: a leader answers before its term's blank entry is applied",
        found_by: &[Test(
            "consensus/groups",
            "leases::a_new_leader_answers_nothing_before_its_first_entry_is_applied",
        )],
    },
    Planted {
        names: "consensus.other_terms_entry",
        what: "4: a command is applied that was evaluated in another term",
        found_by: &[Test("consensus", "propose::tests::an_entry_of_another_term_is_applied_as_nothing")],
    },
    Planted {
        names: "consensus.cut_off_counts_as_durable",
        what: "6: the durability of entries that were cut off counts for those in their place",
        found_by: &[Test("consensus", "frontiers::tests::durability_of_what_was_cut_off_counts_for_nothing")],
    },
    Planted {
        names: "consensus.applied_before_durable",
        what: "6: entries are applied before they are durable here",
        found_by: &[Test("consensus/groups", "elections::who_led_before_a_restart_leads_in_a_new_term_only")],
    },
    Planted {
        names: "consensus.trimmed_before_flushed",
        what: "6: the log is trimmed up to A, not F",
        found_by: &[Test("consensus/groups", "members::a_member_whose_log_was_trimmed_away_gets_a_snapshot")],
    },
    Planted {
        names: "consensus.snapshot_part_taken_twice",
        what: "8: a part of a snapshot that is sent again is taken in again",
        found_by: &[Test("consensus/groups", "snapshots::a_part_whose_answer_is_lost_is_taken_in_once")],
    },
    Planted {
        names: "consensus.vote_before_fsync",
        what: "7: a vote is given before it is on the disk",
        found_by: &[Test("consensus/groups", "elections::no_vote_counts_before_it_is_on_the_disk")],
    },
    Planted {
        names: "consensus.opened_without_log",
        what: "7: a replica that has lost its log takes part",
        found_by: &[Test("consensus/groups", "elections::a_replica_that_has_lost_its_log_is_not_opened")],
    },
    Planted {
        names: "consensus.fenced_lease",
        what: "21: a leader whose clock strays reads by its lease",
        found_by: &[Test(
            "consensus/groups",
            "leases::a_leader_whose_clock_strays_reads_nothing_and_gives_up",
        )],
    },
    Planted {
        names: "consensus.fenced_leader_stays",
        what: "21: a leader whose clock strays leads on",
        found_by: &[Test(
            "consensus/groups",
            "leases::a_leader_whose_clock_strays_reads_nothing_and_gives_up",
        )],
    },
    Planted {
        names: "consensus.fenced_campaigns",
        what: "21: a node whose clock strays would lead",
        found_by: &[Test(
            "consensus",
            "pacing::tests::young_fenced_leaving_and_bound_replicas_do_not_campaign",
        )],
    },
    Planted {
        names: "consensus.predecessors_clocks_forgotten",
        what: "21: a new leader's low water ignores what the voters heard of its predecessor's clock",
        found_by: &[Test(
            "shard-server/cluster",
            "clocks::a_new_leader_writes_above_what_a_clock_far_ahead_has_read",
        )],
    },
    Planted {
        names: "consensus.founded_again",
        what: "25: a split that is applied again begins the right half's log anew",
        found_by: &[Test(
            "shard-server/cluster",
            "splits::a_split_that_is_applied_again_leaves_the_right_halfs_log_alone",
        )],
    },
];
