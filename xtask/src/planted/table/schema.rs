//! Faults of schema versions: who may use which, and until when.

use super::{Finder::Test, Planted};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "sql.schema_lease_unbounded",
        what: "20: a commit is not bounded by the lease on its schema version",
        found_by: &[Test(
            "sql-frontend/wire",
            "dropping::nothing_is_committed_beyond_the_lease_on_the_schema",
        )],
    },
    Planted {
        names: "txn.bound_not_checked_again",
        what: "20: a commit that was pushed above its bound goes on",
        found_by: &[Test("txn-coordinator/machine", "a_commit_that_is_pushed_above_its_bound_fails")],
    },
    Planted {
        names: "sql.schema_settled_too_early",
        what: "20: a schema change is through when everybody has heard of it",
        found_by: &[
            Test("sql-frontend/wire", "dropping::a_drop_waits_for_who_has_used_the_table"),
            Test("sql-frontend/wire", "dropping::a_version_raised_before_a_change_does_not_count_for_it"),
        ],
    },
    Planted {
        names: "sql.schema_settled_by_hearsay",
        what: "20: a version raised before a schema change counts for it",
        found_by: &[Test(
            "sql-frontend/wire",
            "dropping::a_version_raised_before_a_change_does_not_count_for_it",
        )],
    },
    Planted {
        names: "sql.statement_holds_nothing",
        what: "20: a statement that is being bound does not hold its version",
        found_by: &[Test("sql-frontend", "catalog::pins::tests::a_running_statement_holds_its_version")],
    },
    Planted {
        names: "sql.used_table_holds_nothing",
        what: "20: a transaction does not hold the tables that it has used",
        found_by: &[Test("sql-frontend", "catalog::pins::tests::a_bound_statement_holds_its_tables_only")],
    },
    Planted {
        names: "sql.closed_table_is_written",
        what: "20: a table that was dropped is written to",
        found_by: &[
            Test(
                "sql-frontend",
                "catalog::pins::tests::who_has_used_a_closed_table_commits_before_it_closes_or_never",
            ),
            Test("sql-frontend/wire", "dropping::what_is_written_to_a_dropped_table_is_not_acknowledged"),
        ],
    },
    Planted {
        names: "sql.commit_under_way_holds_nothing",
        what: "20: a drop does not wait for commits under way",
        found_by: &[Test(
            "sql-frontend",
            "catalog::pins::tests::who_has_used_a_closed_table_commits_before_it_closes_or_never",
        )],
    },
];
