//! Faults of the shards' copies: how they come to life, and what a split leaves to its right half.

use super::{
    Finder::{Script, Test},
    Planted,
};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "shard.lost_copy_comes_back",
        what: "7: a copy is made anew under the id of one that is lost",
        found_by: &[Test(
            "shard-server/cluster",
            "splits::a_right_half_that_no_split_made_is_made_unless_it_was_here",
        )],
    },
    Planted {
        names: "shard.destroyed_copy_comes_back",
        what: "8: a copy that was destroyed is made again",
        found_by: &[Test(
            "shard-server/cluster",
            "membership::a_copy_moves_to_another_node_and_the_old_one_is_destroyed",
        )],
    },
    Planted {
        names: "shard.destroyed_copy_leaves_data",
        what: "8: a copy that is destroyed leaves its rows",
        found_by: &[Test(
            "shard-server/cluster",
            "membership::a_copy_moves_to_another_node_and_the_old_one_is_destroyed",
        )],
    },
    Planted {
        names: "shard.split_forgets_low_water,consensus.predecessors_clocks_forgotten",
        what: "21, 25: a split leaves behind what its leader has read",
        found_by: &[Test("shard-server/cluster", "clocks::a_new_leader_of_a_right_half_does_so_too")],
    },
    Planted {
        names: "shard.split_forgets_thresholds",
        what: "24, 25: a split leaves the thresholds of versions and records behind",
        found_by: &[Script("gc.txt"), Script("forget.txt")],
    },
];
