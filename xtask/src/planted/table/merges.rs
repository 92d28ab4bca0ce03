//! Faults of merges: what a shard that is absorbed leaves to its left neighbour, and when.

use super::{
    Finder::{Script, Test},
    Planted,
};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "shard.sealed_serves",
        what: "26: a sealed shard is read and written on",
        found_by: &[
            Script("merge.txt"),
            Test(
                "shard-server/cluster",
                "merges::behind_a_seal_nothing_is_read_or_written_until_the_left_has_forgotten_it",
            ),
        ],
    },
    Planted {
        names: "shard.unsealed_unproven",
        what: "26: a shard is unsealed though its left neighbour has not forgotten the seal",
        found_by: &[
            Script("merge.txt"),
            Test(
                "shard-server/cluster",
                "merges::behind_a_seal_nothing_is_read_or_written_until_the_left_has_forgotten_it",
            ),
        ],
    },
    Planted {
        names: "shard.low_water_lost_at_merge",
        what: "26: the left writes below what was read in the right",
        found_by: &[Test("shard-server/cluster", "merges::the_left_writes_above_what_was_read_in_the_right")],
    },
    Planted {
        names: "shard.absorbed_too_early",
        what: "26: a copy takes keys over before its copy of the right has come to the seal",
        found_by: &[Test(
            "shard-server/cluster",
            "merges::a_copy_that_has_not_come_to_the_seal_absorbs_nothing",
        )],
    },
    Planted {
        names: "shard.locks_lost_at_merge",
        what: "26: the locks of the right are lost when it is absorbed",
        found_by: &[
            Script("merge.txt"),
            Test("shard-server/cluster", "merges::locks_go_along_with_their_keys"),
        ],
    },
];
