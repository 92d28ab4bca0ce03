//! Faults of the engines and the log store.

use super::{Finder::Test, Planted};

pub const FAULTS: &[Planted] = &[
    Planted {
        names: "storage.acknowledged_before_fsync",
        what: "7: appends are acknowledged before the fsync",
        found_by: &[Test("storage", "log::file::tests::torn_tails_lose_nothing_acknowledged")],
    },
    Planted {
        names: "storage.votes_overtake",
        what: "7: a group's votes come to disk ahead of what was written before them",
        found_by: &[Test("storage/suite", "log::file::agrees_with_the_model")],
    },
    Planted {
        names: "storage.failed_fsync_ignored",
        what: "7: a failed fsync passes for a good one",
        found_by: &[Test("storage", "log::file::tests::a_failed_fsync_kills_the_log")],
    },
    Planted {
        names: "storage.recycled_with_live_entries",
        what: "7: a log file is recycled while entries in it are needed",
        found_by: &[
            Test("storage/suite", "log::file::old_entries_and_votes_outlive_their_files"),
            Test("storage", "log::file::tests::files_are_recycled_and_stay_few"),
        ],
    },
    Planted {
        names: "storage.recycled_without_heads",
        what: "7: a log file is recycled with the only copy of a group's vote",
        found_by: &[
            Test("storage/suite", "log::file::old_entries_and_votes_outlive_their_files"),
            Test("storage", "log::file::tests::an_old_file_goes_when_what_replaces_it_is_synced"),
        ],
    },
    Planted {
        names: "storage.recycled_before_heads_are_synced",
        what: "7: a log file is recycled before what replaces it is on the disk",
        found_by: &[Test("storage", "log::file::tests::an_old_file_goes_when_what_replaces_it_is_synced")],
    },
    Planted {
        names: "storage.checksum_without_generation",
        what: "7: checksums do not cover the file's generation",
        found_by: &[Test("storage", "log::file::frame::tests::round_trip_and_every_flipped_bit")],
    },
    Planted {
        names: "storage.frames_of_an_earlier_life",
        what: "7: what a file held before it was recycled counts",
        found_by: &[Test("storage", "log::file::tests::frames_of_a_files_earlier_life_are_strangers")],
    },
    Planted {
        names: "storage.damage_taken_for_a_torn_tail",
        what: "7: damage amid synced frames passes for a torn tail",
        found_by: &[Test("storage", "log::file::tests::damage_to_synced_frames_is_found")],
    },
    Planted {
        names: "storage.damaged_entries_served",
        what: "7: an entry that fails its checksum is read all the same",
        found_by: &[Test("storage", "log::file::tests::a_corrupt_entry_is_not_served")],
    },
    Planted {
        names: "storage.holes_in_older_files",
        what: "7: an older file may end at any frame",
        found_by: &[Test("storage", "log::file::tests::damage_to_synced_frames_is_found")],
    },
    Planted {
        names: "storage.ingest_keeps_what_it_replaces",
        what: "8: an ingest leaves the old range's rows",
        found_by: &[
            Test("storage/suite", "engine::rocks::ingest_replaces_at_once"),
            Test("storage/suite", "engine::mem::ingest_replaces_at_once"),
        ],
    },
    Planted {
        names: "storage.metadata_in_another_batch",
        what: "8: the applied position stands in another batch than what was applied",
        found_by: &[Test("storage/suite", "crash::engine::killed_engines_keep_a_prefix")],
    },
    Planted {
        names: "storage.ingest_without_flush",
        what: "8: what an ingest brings is durable before what was written ahead of it",
        found_by: &[Test("storage/suite", "crash::engine::killed_ingests_are_whole_or_absent")],
    },
    Planted {
        names: "storage.cache_not_told",
        what: "9: writes do not reach what is kept of keys",
        found_by: &[Test("storage", "engine::cached::tests::the_newest_is_told_after_each_write")],
    },
    Planted {
        names: "storage.cache_ahead_of_snapshot",
        what: "9: a snapshot is told what was written behind it",
        found_by: &[Test("storage", "engine::cached::tests::an_older_snapshot_keeps_its_answers")],
    },
    Planted {
        names: "storage.cache_learns_the_past",
        what: "9: what an old snapshot found is kept though it was overwritten",
        found_by: &[Test("storage", "engine::cached::tests::an_older_snapshot_teaches_nothing")],
    },
    Planted {
        names: "storage.cache_outlives_ingest",
        what: "9: what is kept of keys outlives their replacement",
        found_by: &[Test("storage", "engine::cached::tests::ingests_and_ranges_end_what_is_known")],
    },
    Planted {
        names: "storage.garbage_above_threshold",
        what: "24: versions above the threshold go",
        found_by: &[Test("storage/suite", "mvcc_model::mem::agrees_with_the_model")],
    },
    Planted {
        names: "storage.tombstones_stay",
        what: "24: tombstones below the threshold stay for ever",
        found_by: &[Test("storage/suite", "mvcc_model::mem::agrees_with_the_model")],
    },
];
