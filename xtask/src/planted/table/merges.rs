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
    Planted {
        names: "shard.proof_merged_away",
        what: "26: a shard is merged away that another is sealed for, because it can never absorb that one",
        found_by: &[Test(
            "shard-server/cluster",
            "merges::a_shard_that_another_is_sealed_for_in_vain_is_not_sealed_itself",
        )],
    },
    Planted {
        names: "shard.undecided_copy_destroyed",
        what: "26: a sealed copy goes before its left neighbour here knows what becomes of it",
        found_by: &[
            Test("shard-server/cluster", "merges::a_sealed_shard_changes_in_no_way"),
            Test(
                "shard-server/cluster",
                "merges::a_sealed_copy_goes_after_its_left_was_replaced_and_split_again",
            ),
        ],
    },
    Planted {
        names: "shard.late_split_accepted",
        what: "25: a copy of a split that comes after a merge at its key is carried out",
        found_by: &[Test(
            "shard-server/cluster",
            "merges::a_copy_of_a_split_that_comes_after_its_merge_is_refused",
        )],
    },
];
