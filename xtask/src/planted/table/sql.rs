//! Faults of the SQL frontend.

use super::{Finder::Test, Planted};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "sql.key_not_looked_for",
        what: "17: nobody looks whether a key has been used",
        found_by: &[
            Test(
                "sql-frontend/wire",
                "once::the_same_transaction_again_gets_the_same_answers_and_does_nothing",
            ),
            Test("quorate/once", "transfers_whose_connections_break_around_commit_happen_once"),
        ],
    },
    Planted {
        names: "sql.key_unconditional",
        what: "17: the record of a key is not written on condition of absence",
        found_by: &[Test("sql-frontend/wire", "once::of_many_at_once_one_happens")],
    },
    Planted {
        names: "sql.other_statements_answered",
        what: "17: other statements under a key get the first ones' answers",
        found_by: &[Test(
            "sql-frontend/wire",
            "once::single_statements_and_the_extended_protocol_count_as_well",
        )],
    },
    Planted {
        names: "sql.old_keys_count",
        what: "17: keys count for ever",
        found_by: &[Test("sql-frontend/wire", "once::an_old_key_is_as_one_that_was_never_used")],
    },
    Planted {
        names: "sql.advisory_circle_unnoticed",
        what: "19: circles over advisory locks are not broken",
        found_by: &[Test(
            "sql-frontend/wire",
            "advisory::of_sessions_that_wait_for_one_another_one_gives_way",
        )],
    },
    Planted {
        names: "sql.lost_locks_trusted",
        what: "20: something is committed under an advisory lock whose lease has run out",
        found_by: &[Test("sql-frontend/wire", "advisory::locks_whose_lease_has_run_out_are_lost")],
    },
    Planted {
        names: "sql.changed_row_trusted",
        what: "13: a row that has changed before it was locked is not looked at again",
        found_by: &[Test("sql-frontend/wire", "isolation::each_level_shows_what_it_may")],
    },
    Planted {
        names: "sql.limit_after_locks",
        what: "13: more rows are locked than an order and a limit leave",
        found_by: &[Test("sql-frontend/wire", "queue::only_what_an_order_and_a_limit_leave_is_locked")],
    },
    Planted {
        names: "sql.candidates_unproven",
        what: "13: what is read to find rows to lock is not proven",
        found_by: &[Test("sql-frontend/wire", "isolation::each_level_shows_what_it_may")],
    },
    Planted {
        names: "sql.past_beside_present",
        what: "23: a statement of the past shares its transaction with others",
        found_by: &[Test("sql-frontend/wire", "past::what_cannot_be_read_as_of_then_is_refused")],
    },
    Planted {
        names: "sql.past_goes_back",
        what: "23: a session sees an older state than before",
        found_by: &[Test(
            "sql-frontend/wire",
            "past::a_session_that_reads_the_past_sees_what_it_has_written",
        )],
    },
    Planted {
        names: "sql.column_withheld_at_once",
        what: "20: rows without a column's value are written while somebody still sees the column",
        found_by: &[Test(
            "sql-frontend/wire",
            "columns::rows_are_whole_for_those_who_still_use_a_column_that_is_dropped",
        )],
    },
    Planted {
        names: "sql.abandoned_jobs_stay",
        what: "20: nobody goes on with a schema change whose node has died",
        found_by: &[Test("quorate/columns", "a_change_whose_node_dies_is_finished_by_another")],
    },
];
