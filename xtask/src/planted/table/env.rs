//! Faults of a node's clock, and of who goes by it though it strays.

use super::{Finder::Test, Planted};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "env.fenced_too_late",
        what: "21: a node is fenced at 0.8 ε from the median, not at 0.4 ε",
        found_by: &[Test("env", "offsets::tests::the_one_that_strays_is_fenced_and_the_others_are_not")],
    },
    Planted {
        names: "env.stale_measurements_count",
        what: "21: measurements count for ever",
        found_by: &[
            Test("env", "offsets::tests::exchanges_intersect_and_a_step_starts_afresh"),
            Test("env", "offsets::tests::lost_contact_fences_after_a_while_only"),
            Test("env/world", "a_clock_that_jumps_is_fenced_and_comes_back"),
        ],
    },
    Planted {
        names: "env.not_fenced_at_start",
        what: "21: a node that starts is not fenced until it has measured a majority",
        found_by: &[Test("env", "offsets::tests::fenced_at_start_until_a_majority_is_measured")],
    },
    Planted {
        names: "env.offsets_are_points",
        what: "21: the middle of a slow exchange fences",
        found_by: &[Test("env", "offsets::tests::slow_exchanges_never_fence")],
    },
    Planted {
        names: "env.own_step_unnoticed",
        what: "21: a step of the own clock goes unnoticed until the next exchange",
        found_by: &[Test("env", "offsets::tests::a_step_of_the_own_clock_is_noticed_without_an_exchange")],
    },
    Planted {
        names: "shard.fenced_answers",
        what: "21: a replica whose node's clock strays answers",
        found_by: &[Test("shard-server/cluster", "clocks::a_replica_whose_clock_strays_answers_nothing")],
    },
    Planted {
        names: "txn.fenced_acknowledges",
        what: "21: a gateway whose clock strays acknowledges commits",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "bounds::a_gateway_whose_clock_strays_acknowledges_nothing_and_begins_nothing",
        )],
    },
    Planted {
        names: "txn.fenced_begins",
        what: "21: a gateway whose clock strays begins transactions",
        found_by: &[Test(
            "txn-coordinator/transactions",
            "bounds::a_gateway_whose_clock_strays_acknowledges_nothing_and_begins_nothing",
        )],
    },
    Planted {
        names: "env.retired_clock_counts",
        what: "21: a node that has left, and is not counted, serves as one of a majority",
        found_by: &[Test("env/world", "who_has_left_neither_counts_nor_helps_a_majority")],
    },
    Planted {
        names: "env.leaping_clock_followed",
        what: "21: a clock reading far ahead is taken over",
        found_by: &[Test("env/clock", "the_hybrid_clock_rises_and_follows_its_peers_within_the_bound")],
    },
];
