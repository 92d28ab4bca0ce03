//! Faults of shards that are brought back when their quorum is lost for good.

use super::{Finder::Test, Planted};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "consensus.revived_from_another_log",
        what: "7: a copy goes on alone from another log than was shown",
        found_by: &[
            Test("consensus/groups", "revive::a_log_with_another_end_than_was_shown_is_left_alone"),
            Test("shard-server/cluster", "revive::a_log_that_has_moved_on_is_not_taken"),
        ],
    },
    Planted {
        names: "shard.revived_at_its_version",
        what: "7: who knows a shard that was recovered is answered by the old members",
        found_by: &[Test(
            "shard-server/cluster",
            "revive::who_knows_the_new_epoch_is_not_answered_by_an_old_copy_nor_the_other_way_round",
        )],
    },
    Planted {
        names: "shard.fenced_copy_votes",
        what: "7: a copy that was given up votes after a restart",
        found_by: &[Test(
            "shard-server/cluster",
            "revive::a_copy_that_is_given_up_never_votes_again_and_can_be_taken_all_the_same",
        )],
    },
    Planted {
        names: "placement.ended_copy_learned",
        what: "7: the map takes back what the old members of a recovered shard say",
        found_by: &[Test(
            "placement",
            "state::recoveries::tests::what_old_members_say_is_not_learned_any_more",
        )],
    },
    Planted {
        names: "placement.ended_leader_stays",
        what: "7: an old member of a recovered shard stays as long as it takes itself for the leader",
        found_by: &[Test("placement/driver", "recovery::old_members_that_come_back_are_not_believed_and_go")],
    },
    Planted {
        names: "placement.one_majority_proves_all",
        what: "7: nothing is said to be missing where one of two configurations has lost its majority",
        found_by: &[Test("placement", "planner::recover::tests::each_of_two_configurations_must_prove_it")],
    },
];
