//! Faults of the placement driver, and of who founds it.

use super::{Finder::Test, Planted};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "placement.lost_founder_starts",
        what: "7: a founder of the driver that has lost its disk votes again",
        found_by: &[Test("placement/driver", "a_founder_that_has_lost_its_disk_does_not_vote_again")],
    },
    Planted {
        names: "node.founder_in_another_directory",
        what: "7: a founder joins with another directory than the one it was founded in",
        found_by: &[Test(
            "quorate/quorate",
            "node::identity::tests::a_founder_joins_with_the_directory_of_its_founding_only",
        )],
    },
    Planted {
        names: "placement.removed_member_comes_back",
        what: "7: a node makes a replica of the driver anew that was removed there",
        found_by: &[Test("placement/driver", "exchange::a_replica_that_was_removed_is_never_made_again")],
    },
    Planted {
        names: "placement.removed_member_leaves_state",
        what: "8: a replica of the driver goes, and its state stays",
        found_by: &[Test("placement/driver", "exchange::every_member_is_exchanged_and_the_state_goes_along")],
    },
    Planted {
        names: "placement.repair_waits_for_a_member",
        what: "a member that was never made is not made while its shard is repaired",
        found_by: &[Test(
            "placement/driver",
            "a_member_that_was_never_made_is_made_also_while_its_shard_is_repaired",
        )],
    },
    Planted {
        names: "placement.merge_waits_for_a_member",
        what: "a member that was never made is not made while its shard is merged",
        found_by: &[Test(
            "placement/driver",
            "merges::a_member_that_was_never_made_is_made_also_while_its_shard_is_merged",
        )],
    },
    Planted {
        names: "placement.slow_nodes_lead",
        what: "a node whose disk is slow goes on leading",
        found_by: &[Test("placement/driver", "schedulers::a_slow_node_leads_nothing_until_it_is_fast_again")],
    },
    Planted {
        names: "placement.overtaken_leader_stays",
        what: "8: a copy that was removed stays if it takes itself for the leader",
        found_by: &[Test(
            "placement/driver",
            "a_copy_that_was_removed_goes_also_if_it_takes_itself_for_the_leader",
        )],
    },
    Planted {
        names: "placement.heartbeats_tell_all",
        what: "a node leaves for good with a copy that its last heartbeat did not tell of",
        found_by: &[Test(
            "placement/driver",
            "leaving::a_node_does_not_leave_with_a_copy_that_was_made_just_now",
        )],
    },
    Planted {
        names: "placement.leaves_while_it_joins",
        what: "a node leaves for good while it becomes a member of the driver",
        found_by: &[Test(
            "placement",
            "leaving::tests::a_node_that_becomes_a_member_of_the_driver_does_not_go_nor_the_other_way_round",
        )],
    },
    Planted {
        names: "placement.lost_id_comes_back",
        what: "7: a copy that is lost is made anew under its id",
        found_by: &[Test(
            "placement/driver",
            "a_copy_that_is_lost_on_a_node_that_lives_is_replaced_under_a_new_id",
        )],
    },
    Planted {
        names: "placement.snapshot_over_old_state",
        what: "8: a snapshot of the driver's state leaves what was there",
        found_by: &[Test("placement", "machine::tests::a_snapshot_leaves_nothing_of_what_was_there")],
    },
    Planted {
        names: "placement.schema_raised_while_used",
        what: "20: the catalog's version is raised while a node uses the one before the present",
        found_by: &[Test(
            "placement/driver",
            "a_silent_node_holds_the_catalog_up_for_its_lease_and_no_longer",
        )],
    },
    Planted {
        names: "placement.predecessors_leases_forgotten",
        what: "20: a new leader of the driver does not wait for leases that it has not granted",
        found_by: &[Test("placement/driver", "a_new_leader_waits_for_the_leases_of_its_predecessor")],
    },
    Planted {
        names: "placement.schema_lease_for_all",
        what: "20: a node that is two versions behind gets a lease",
        found_by: &[Test("placement/driver", "a_node_that_is_two_versions_behind_gets_no_lease")],
    },
    Planted {
        names: "placement.unready_copy_votes",
        what: "a copy is exchanged for one that does not hold the data yet",
        found_by: &[
            Test("placement/driver", "moves_a_copy_and_lets_the_leader_leave_first"),
            Test("placement/driver", "rules::what_is_asked_for_is_carried_out_kept_and_taken_back"),
        ],
    },
    Planted {
        names: "placement.newer_copy_replaced",
        what: "a copy that has come to a node meanwhile is taken for the one that is to go from there",
        found_by: &[Test("placement/driver", "a_new_copy_is_not_taken_for_the_one_that_was_to_go")],
    },
    Planted {
        names: "placement.spread_ignored",
        what: "copies are balanced closer together, and spread again, for ever",
        found_by: &[Test(
            "placement/planner",
            "with_localities_and_rules_they_come_to_an_end_with_all_copies_well_placed",
        )],
    },
    Planted {
        names: "placement.constraint_ignored",
        what: "copies are balanced away from where they are asked for",
        found_by: &[
            Test(
                "placement/planner",
                "with_localities_and_rules_they_come_to_an_end_with_all_copies_well_placed",
            ),
            Test("placement/planner", "scripts"),
        ],
    },
    Planted {
        names: "placement.margin_ignored",
        what: "what is moved weighs more than half of the gap, and goes back",
        found_by: &[Test("placement/planner", "from_any_picture_they_come_to_an_end_and_stay_there")],
    },
    Planted {
        names: "placement.users_boundary_merged",
        what: "a shard that a user has asked for is merged",
        found_by: &[
            Test("placement/planner", "from_any_picture_they_come_to_an_end_and_stay_there"),
            Test(
                "placement/driver",
                "schedulers::what_is_large_or_busy_is_split_and_what_is_cold_merged_but_where_a_user_has_split",
            ),
        ],
    },
    Planted {
        names: "placement.rules_merged",
        what: "shards of which different things are asked for are merged",
        found_by: &[Test(
            "placement/planner",
            "with_localities_and_rules_they_come_to_an_end_with_all_copies_well_placed",
        )],
    },
    Planted {
        names: "placement.horizon_above_holds",
        what: "24: the horizon lies above what transactions read",
        found_by: &[Test("placement/driver", "the_horizon_stays_below_what_any_node_holds")],
    },
    Planted {
        names: "placement.horizon_of_a_new_leader",
        what: "24: a new leader tells a horizon before it has heard of every node",
        found_by: &[Test("placement/driver", "the_horizon_stays_below_what_any_node_holds")],
    },
    Planted {
        names: "placement.moves_under_way_unseen",
        what: "27: of a gap that a move under way closes more is moved",
        found_by: &[Test("placement/planner", "several_at_a_time_come_to_an_end_too")],
    },
    Planted {
        names: "placement.gear_used_twice",
        what: "25: a split that was made and merged away is made again under the same ids",
        found_by: &[Test("placement", "machine::tests::ids_that_a_split_has_used_up_are_not_used_again")],
    },
    Planted {
        names: "placement.strays_kept",
        what: "27: a copy without a vote that nothing works on stays",
        found_by: &[Test("placement/driver", "a_copy_that_comes_to_nothing_is_taken_back")],
    },
    Planted {
        names: "placement.merges_overtake",
        what: "26: beside a hole in the map, merges that share a shard do not take turns",
        found_by: &[Test(
            "placement",
            "machine::tests::merges_that_share_a_shard_do_so_also_beside_a_hole_in_the_map",
        )],
    },
    Planted {
        names: "placement.awaited_left_merged_away",
        what: "26: a shard that another may be sealed for is merged away, because the map shows them as neighbours no more",
        found_by: &[Test(
            "placement",
            "state::whom::tests::a_shard_that_another_may_be_sealed_for_is_not_merged_away",
        )],
    },
    Planted {
        names: "placement.hole_taken_for_a_merge",
        what: "26: a merge is over because its left is not known for a while, and its right stays sealed",
        found_by: &[Test(
            "placement",
            "run::merge::tests::a_merge_is_not_over_because_half_of_its_left_is_not_known",
        )],
    },
];
