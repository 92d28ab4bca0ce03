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
        names: "placement.horizon_above_holds",
        what: "24: the horizon lies above what transactions read",
        found_by: &[Test("placement/driver", "the_horizon_stays_below_what_any_node_holds")],
    },
    Planted {
        names: "placement.horizon_of_a_new_leader",
        what: "24: a new leader tells a horizon before it has heard of every node",
        found_by: &[Test("placement/driver", "the_horizon_stays_below_what_any_node_holds")],
    },
];
