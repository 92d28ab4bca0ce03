//! Settings and cursors.

use super::{Make, Rows, Spec, text};
use crate::{
    error::SqlError,
    session::{cursor::Declared, view::SessionView},
    types::{
        Datum, Interval,
        datetime::{NamedZone, zones_at},
    },
};

const PG: &str = "pg_catalog";

pub static TABLES: &[Spec] = &[
    Spec(
        PG,
        "pg_settings",
        "name:text setting:text unit:text category:text short_desc:text extra_desc:text context:text vartype:text \
         source:text min_val:text max_val:text enumvals:text boot_val:text reset_val:text sourcefile:text \
         sourceline:int4 pending_restart:bool",
        Make::Now(settings),
    ),
    Spec(
        PG,
        "pg_cursors",
        "name:text statement:text is_holdable:bool is_binary:bool is_scrollable:bool creation_time:timestamptz",
        Make::Now(cursors),
    ),
    Spec(
        PG,
        "pg_timezone_names",
        "name:text abbrev:text utc_offset:interval is_dst:bool",
        Make::Now(time_zones),
    ),
];

/// Also a function of this name, see [`super::is_function`].
fn time_zones(view: &SessionView) -> Result<Rows, SqlError> {
    let now = view.shared.env.clock().physical().unix_micros() as i64;
    let row = |zone: NamedZone| {
        let micros = i64::from(zone.offset) * 1_000_000;
        vec![
            text(zone.name),
            text(zone.abbreviation),
            Datum::Interval(Interval { micros, ..Interval::default() }),
            Datum::Bool(zone.summer),
        ]
    };
    Ok(zones_at(now).map(row).collect())
}

fn cursors(view: &SessionView) -> Result<Rows, SqlError> {
    let row = |cursor: &Declared| {
        vec![
            text(&cursor.name),
            text(&*cursor.statement),
            Datum::Bool(false),
            Datum::Bool(cursor.binary),
            Datum::Bool(cursor.scroll),
            Datum::Timestamptz(cursor.created),
        ]
    };
    Ok(view.cursors.iter().map(row).collect())
}

fn settings(view: &SessionView) -> Result<Rows, SqlError> {
    let row = |shown: crate::session::settings::Shown| {
        let value = || text(shown.value.clone());
        vec![
            text(shown.name),
            value(),
            Datum::Null,
            text("Session"),
            text(shown.about),
            Datum::Null,
            text("user"),
            text("string"),
            text("session"),
            Datum::Null,
            Datum::Null,
            Datum::Null,
            value(),
            value(),
            Datum::Null,
            Datum::Null,
            Datum::Bool(false),
        ]
    };
    Ok(view.settings.now().all().into_iter().map(row).collect())
}
