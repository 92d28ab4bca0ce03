//! Settings of a session. What is listed here has an effect or a fixed value that can be asked for; names with a dot are the
//! applications' own; everything else is 42704.

mod custom;
mod unit;
mod zone;

use crate::{
    error::{SqlError, SqlState},
    types::TimeZone,
};
use custom::Custom;
use quorate_env::gate::Priority;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Any text.
    Text,
    Bool,
    /// Milliseconds unless another unit is given; 0 switches it off.
    Millis,
    /// Kilobytes unless another unit is given; not below this.
    Kilobytes(i32),
    /// One of these.
    Choice(&'static [&'static str]),
    /// Only these mean what we do; the others of PostgreSQL's are refused as not supported.
    Only {
        supported: &'static [&'static str],
        known: &'static [&'static str],
    },
    ReadOnly,
    TimeZone,
    DateStyle,
    /// A list of names.
    Names,
    /// A text that is kept to the byte.
    Key,
}

struct Spec {
    /// As PostgreSQL spells it.
    name: &'static str,
    kind: Kind,
    default: &'static str,
    /// Told to the client whenever it changes.
    reported: bool,
    about: &'static str,
}

const LEVELS: &[&str] = &["serializable", "repeatable read", "read committed", "read uncommitted"];

const fn spec(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Spec {
    Spec { name, kind, default, reported: false, about }
}

const fn reported(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Spec {
    Spec { name, kind, default, reported: true, about }
}

static SPECS: &[Spec] = &[
    reported("application_name", Kind::Text, "", "Name of the application, for statistics."),
    spec(
        "bytea_output",
        Kind::Only { supported: &["hex"], known: &["escape"] },
        "hex",
        "Output format of bytea.",
    ),
    spec("check_function_bodies", Kind::Bool, "on", "No effect: there are no functions to check."),
    reported(
        "client_encoding",
        Kind::Only { supported: &["utf8", "utf-8", "unicode"], known: &[] },
        "UTF8",
        "Character set of the client.",
    ),
    spec(
        "client_min_messages",
        Kind::Choice(&[
            "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "info", "notice", "warning",
            "error",
        ]),
        "notice",
        "Least severity of messages sent to the client.",
    ),
    reported(
        "DateStyle",
        Kind::DateStyle,
        "ISO, MDY",
        "Output form of dates, and the order of ambiguous input.",
    ),
    spec(
        "default_table_access_method",
        Kind::Only { supported: &["heap"], known: &[] },
        "heap",
        "Rows are kept in one way only, under PostgreSQL's name for its own.",
    ),
    spec("default_tablespace", Kind::Only { supported: &[""], known: &[] }, "", "There are no tablespaces."),
    spec(
        "default_transaction_isolation",
        Kind::Choice(LEVELS),
        "serializable",
        "Isolation of new transactions.",
    ),
    spec(
        "default_transaction_deferrable",
        Kind::Bool,
        "off",
        "Whether new transactions are deferrable; no effect: what only reads never has to give way.",
    ),
    reported("default_transaction_read_only", Kind::Bool, "off", "Whether new transactions may write."),
    spec(
        "degraded_reads",
        Kind::Only { supported: &["off"], known: &["bounded"] },
        "off",
        "Whether a shard without a quorum may answer from closed state.",
    ),
    spec("escape_string_warning", Kind::Bool, "on", "No effect: backslashes in plain strings are plain."),
    spec(
        "extra_float_digits",
        Kind::Only { supported: &["1", "2", "3"], known: &["0", "-1"] },
        "1",
        "Floats are printed with as many digits as they need.",
    ),
    spec(
        "idle_in_transaction_session_timeout",
        Kind::Millis,
        "0",
        "Ends a session that idles in a transaction.",
    ),
    spec("idle_session_timeout", Kind::Millis, "0", "Ends a session that idles outside of a transaction."),
    reported("in_hot_standby", Kind::ReadOnly, "off", "Every node takes writes."),
    reported("integer_datetimes", Kind::ReadOnly, "on", "Times are counted in microseconds."),
    reported(
        "IntervalStyle",
        Kind::Only { supported: &["postgres"], known: &["postgres_verbose", "sql_standard", "iso_8601"] },
        "postgres",
        "Output form of intervals.",
    ),
    reported("is_superuser", Kind::ReadOnly, "on", "Every user is one so far."),
    spec("jit", Kind::Bool, "off", "No effect: there is no compiler to switch on."),
    spec("lc_collate", Kind::ReadOnly, "C", "Text is ordered by its bytes."),
    spec("lc_ctype", Kind::ReadOnly, "C.UTF-8", "Character classes."),
    spec("lc_messages", Kind::Only { supported: &["c", ""], known: &[] }, "C", "Language of messages."),
    spec("lc_monetary", Kind::Only { supported: &["c", ""], known: &[] }, "C", "Form of amounts of money."),
    spec("lc_numeric", Kind::Only { supported: &["c", ""], known: &[] }, "C", "Form of numbers."),
    spec("lc_time", Kind::Only { supported: &["c", ""], known: &[] }, "C", "Form of dates."),
    spec("lock_timeout", Kind::Millis, "0", "Longest wait for a lock."),
    spec("maintenance_work_mem", Kind::Kilobytes(1024), "64MB", "No effect, as with work_mem."),
    spec("max_identifier_length", Kind::ReadOnly, "63", "Longest identifier."),
    spec("max_index_keys", Kind::ReadOnly, "32", "Most columns of an index."),
    spec(
        "min_guarantee",
        Kind::Only { supported: &[""], known: &[] },
        "",
        "The weakest guarantee that an answer may have.",
    ),
    spec(
        IDEMPOTENCY_KEY,
        Kind::Key,
        "",
        "Transactions under one key happen once; the same again get the first one's answers.",
    ),
    spec(
        "read_staleness",
        Kind::Millis,
        "0",
        "How old the answers of read-only statements and transactions may be; 0: not at all.",
    ),
    spec("row_security", Kind::Bool, "on", "No effect: there are no policies."),
    spec("search_path", Kind::Names, "\"$user\", public", "Schemas in which names are looked up."),
    spec(
        "quorate.priority",
        Kind::Choice(&["low", "normal", "high"]),
        "normal",
        "Who begins first on a node that has more to do than it bears.",
    ),
    reported("server_encoding", Kind::ReadOnly, "UTF8", "Character set of the server."),
    reported("server_version", Kind::ReadOnly, SERVER_VERSION, "The PostgreSQL version that is followed."),
    spec("server_version_num", Kind::ReadOnly, "150000", "The same as a number."),
    reported("session_authorization", Kind::ReadOnly, "", "The session's user."),
    reported(
        "standard_conforming_strings",
        Kind::Only { supported: &["on"], known: &["off"] },
        "on",
        "Backslashes in plain strings are plain.",
    ),
    spec("statement_timeout", Kind::Millis, "0", "Longest run of a statement."),
    spec(
        "synchronous_commit",
        Kind::Only { supported: &["on"], known: &["off", "local", "remote_write", "remote_apply"] },
        "on",
        "A commit is acknowledged once a quorum has it on disk.",
    ),
    spec("synchronize_seqscans", Kind::Bool, "on", "No effect: every scan begins at its start."),
    reported("TimeZone", Kind::TimeZone, "UTC", "Time zone of timestamps with time zone."),
    spec(
        "transaction_deferrable",
        Kind::ReadOnly,
        "off",
        "Whether the present transaction is deferrable; no effect.",
    ),
    spec("transaction_isolation", Kind::ReadOnly, "serializable", "Isolation of the present transaction."),
    spec("transaction_read_only", Kind::Bool, "off", "Whether the present transaction may write."),
    spec("work_mem", Kind::Kilobytes(64), "4MB", "No effect: memory is granted to all statements together."),
    spec("xmloption", Kind::Only { supported: &["content"], known: &["document"] }, "content", "No XML."),
];

/// Version of PostgreSQL that we follow, as drivers parse it.
pub const SERVER_VERSION: &str = "15.0 (Quorate)";

/// `role` is only another way to say nothing.
const ROLE: Spec = spec("role", Kind::Only { supported: &["none"], known: &[] }, "none", "The role in use.");

fn find(name: &str) -> Result<&'static Spec, SqlError> {
    static ROLE_REF: &Spec = &ROLE;
    if name.eq_ignore_ascii_case("role") {
        return Ok(ROLE_REF);
    }
    SPECS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name)).ok_or_else(|| unrecognized(name))
}

fn unrecognized(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

/// The values of a session: defaults, what the client set at the start, and what it set since.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What `RESET` returns to, where it is not the built-in default.
    initial: BTreeMap<&'static str, String>,
    values: BTreeMap<&'static str, String>,
    custom: Custom,
    zone: TimeZone,
    statement_timeout: Duration,
    lock_timeout: Duration,
    idle_in_transaction: Duration,
    idle_session: Duration,
    read_staleness: Duration,
    idempotency_key: Option<Arc<str>>,
    priority: Priority,
}

/// The setting that holds it.
pub const IDEMPOTENCY_KEY: &str = "quorate.idempotency_key";
/// Longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

/// One row of `SHOW ALL`.
pub struct Shown {
    pub name: String,
    pub value: String,
    pub about: &'static str,
}

impl Settings {
    pub fn new(user: &str) -> Self {
        let mut settings = Settings {
            initial: BTreeMap::new(),
            values: BTreeMap::new(),
            custom: Custom::default(),
            zone: TimeZone::UTC,
            statement_timeout: Duration::ZERO,
            lock_timeout: Duration::ZERO,
            idle_in_transaction: Duration::ZERO,
            idle_session: Duration::ZERO,
            read_staleness: Duration::ZERO,
            idempotency_key: None,
            priority: Priority::Normal,
        };
        settings.initial.insert("session_authorization", user.into());
        settings
    }

    pub fn get(&self, name: &str) -> Result<&str, SqlError> {
        if let Some(value) = self.custom.get(name) {
            return Ok(value);
        }
        let spec = find(name)?;
        Ok(self.of(spec))
    }

    fn of(&self, spec: &Spec) -> &str {
        let set = self.values.get(spec.name).or_else(|| self.initial.get(spec.name));
        set.map_or(spec.default, String::as_str)
    }

    /// Sets a value; the name and new value if the client is to be told.
    pub fn set(&mut self, name: &str, values: &[String]) -> Result<Option<(&'static str, String)>, SqlError> {
        if Custom::takes(name)? {
            self.custom.set(name, single(name, values)?.clone());
            return Ok(None);
        }
        let spec = find(name)?;
        let value = check(spec, values)?;
        self.values.insert(spec.name, value);
        self.derive()?;
        Ok(spec.reported.then(|| (spec.name, self.of(spec).to_string())))
    }

    /// What the present transaction is, in place of the defaults.
    pub fn tell_transaction(&mut self, level: &str, read_only: bool, deferrable: bool) {
        let flag = |on| if on { "on" } else { "off" };
        self.values.insert("transaction_isolation", level.to_string());
        self.values.insert("transaction_read_only", flag(read_only).to_string());
        self.values.insert("transaction_deferrable", flag(deferrable).to_string());
    }

    /// Sets a value that is one text, lists included.
    pub fn set_text(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        let values = match find(name) {
            Ok(spec) => listed(spec, value),
            Err(_) => vec![value.to_string()],
        };
        self.set(name, &values).map(drop)
    }

    /// What the client asked for in its startup packet; `RESET` returns to it.
    pub fn set_initial(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        // Some drivers quote what they send here.
        let value = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')).unwrap_or(value);
        if Custom::takes(name)? {
            self.custom.set_initial(name, value);
            return Ok(());
        }
        let spec = find(name)?;
        let value = check(spec, &listed(spec, value))?;
        self.initial.insert(spec.name, value);
        self.derive()
    }

    pub fn reset(&mut self, name: &str) -> Result<Option<(&'static str, String)>, SqlError> {
        if self.custom.reset(name) {
            return Ok(None);
        }
        let spec = find(name)?;
        if matches!(spec.kind, Kind::ReadOnly) {
            return Err(read_only(spec));
        }
        self.values.remove(spec.name);
        self.derive()?;
        Ok(spec.reported.then(|| (spec.name, self.of(spec).to_string())))
    }

    /// Everything back to its start; what the client is to be told.
    pub fn reset_all(&mut self) -> Result<Vec<(&'static str, String)>, SqlError> {
        self.values.clear();
        self.custom.reset_all();
        self.derive()?;
        Ok(self.reported())
    }

    /// All that is told to the client at the start.
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        let told = SPECS.iter().filter(|spec| spec.reported);
        told.map(|spec| (spec.name, self.of(spec).to_string())).collect()
    }

    /// What differs between two states and is to be told to the client.
    pub fn changes_to(&self, other: &Settings) -> Vec<(&'static str, String)> {
        other
            .reported()
            .into_iter()
            .filter(|(name, value)| self.get(name).is_ok_and(|v| v != value))
            .collect()
    }

    pub fn all(&self) -> Vec<Shown> {
        let known = SPECS.iter().map(|spec| (spec.name, self.of(spec), spec.about));
        let custom = self.custom.all().map(|(name, value)| (name, value, ""));
        known
            .chain(custom)
            .map(|(name, value, about)| Shown { name: name.to_string(), value: value.to_string(), about })
            .collect()
    }

    fn derive(&mut self) -> Result<(), SqlError> {
        self.zone = zone::parse(self.get("TimeZone")?)?.0;
        let millis = |settings: &Settings, name: &str| -> Result<Duration, SqlError> {
            let value = unit::MILLIS.parse(name, settings.get(name)?, 0)?;
            Ok(Duration::from_millis(value.unsigned_abs().into()))
        };
        self.statement_timeout = millis(self, "statement_timeout")?;
        self.lock_timeout = millis(self, "lock_timeout")?;
        self.idle_in_transaction = millis(self, "idle_in_transaction_session_timeout")?;
        self.idle_session = millis(self, "idle_session_timeout")?;
        self.read_staleness = millis(self, "read_staleness")?;
        let key = self.get(IDEMPOTENCY_KEY)?;
        self.idempotency_key = (!key.is_empty()).then(|| Arc::from(key));
        self.priority = match self.get("quorate.priority")? {
            "low" => Priority::Low,
            "high" => Priority::High,
            _ => Priority::Normal,
        };
        Ok(())
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Zero: none.
    pub fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// Zero: none.
    pub fn lock_timeout(&self) -> Duration {
        self.lock_timeout
    }

    /// Within a transaction, and outside of any; zero: none.
    pub fn idle_timeouts(&self) -> (Duration, Duration) {
        (self.idle_in_transaction, self.idle_session)
    }

    /// Zero: answers are as of now.
    pub fn read_staleness(&self) -> Duration {
        self.read_staleness
    }

    pub fn priority(&self) -> Priority {
        self.priority
    }

    pub fn idempotency_key(&self) -> Option<&Arc<str>> {
        self.idempotency_key.as_ref()
    }

    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_ok_and(|value| value == "on")
    }

    /// Schemas in the order in which names are looked up; `$user` is the user's name.
    pub fn search_path(&self, user: &str) -> Vec<String> {
        let path = self.get("search_path").unwrap_or("public");
        let names = path.split(',').map(|part| unquote(part.trim())).filter(|name| !name.is_empty());
        names.map(|name| if name == "$user" { user.to_string() } else { name }).collect()
    }

    /// Whether a message of this severity goes to the client.
    pub fn wants(&self, severity: &str) -> bool {
        let order =
            ["debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "info", "notice", "warning"];
        let rank = |name: &str| order.iter().position(|&s| s == name).unwrap_or(order.len());
        severity == "info" || rank(severity) >= rank(self.get("client_min_messages").unwrap_or("notice"))
    }
}

fn read_only(spec: &Spec) -> SqlError {
    SqlError::new(SqlState("55P02"), format!("parameter \"{}\" cannot be changed", spec.name))
}

fn invalid(name: &str, value: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{name}\": \"{value}\""),
    )
}

/// The values that one text stands for.
fn listed(spec: &Spec, value: &str) -> Vec<String> {
    match spec.kind {
        Kind::Names => value.split(',').map(|part| unquote(part.trim())).collect(),
        _ => vec![value.to_string()],
    }
}

fn single<'a>(name: &str, values: &'a [String]) -> Result<&'a String, SqlError> {
    match values {
        [value] => Ok(value),
        _ => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("SET {name} takes only one argument"),
        )),
    }
}

fn check(spec: &Spec, values: &[String]) -> Result<String, SqlError> {
    if let Kind::Names = spec.kind {
        let quoted: Vec<String> = values.iter().map(|name| quote(name)).collect();
        return Ok(quoted.join(", "));
    }
    if let Kind::DateStyle = spec.kind {
        return date_style(&values.join(","));
    }
    let value = single(spec.name, values)?;
    let lower = value.to_lowercase();
    match spec.kind {
        Kind::ReadOnly => {
            let same = value == spec.default;
            if same { Ok(value.clone()) } else { Err(read_only(spec)) }
        }
        Kind::Text => Ok(value.chars().filter(|c| !c.is_control()).take(63).collect()),
        Kind::Bool => match lower.as_str() {
            "on" | "true" | "yes" | "1" | "t" | "y" => Ok("on".into()),
            "off" | "false" | "no" | "0" | "f" | "n" => Ok("off".into()),
            _ => Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("parameter \"{}\" requires a Boolean value", spec.name),
            )),
        },
        Kind::Millis => Ok(unit::MILLIS.show(unit::MILLIS.parse(spec.name, value, 0)?)),
        Kind::Kilobytes(least) => Ok(unit::KILOBYTES.show(unit::KILOBYTES.parse(spec.name, value, least)?)),
        Kind::Choice(choices) => {
            if choices.contains(&lower.as_str()) {
                return Ok(lower);
            }
            let listed: Vec<&str> = choices.iter().copied().filter(|c| *c != "debug").collect();
            Err(invalid(spec.name, value).hint(format!("Available values: {}.", listed.join(", "))))
        }
        Kind::Only { supported, known } => {
            if supported.contains(&lower.as_str()) {
                return Ok(match spec.name {
                    "client_encoding" => "UTF8".into(),
                    _ => value.clone(),
                });
            }
            let state =
                if known.contains(&lower.as_str()) || supported == [""] || spec.name == "read_staleness" {
                    SqlState::FEATURE_NOT_SUPPORTED
                } else {
                    SqlState::INVALID_PARAMETER_VALUE
                };
            Err(SqlError::new(state, format!("parameter \"{}\" cannot be set to \"{value}\"", spec.name))
                .detail(format!("{} Supported: {}.", spec.about, supported.join(", "))))
        }
        Kind::TimeZone => zone::parse(value).map(|(_, shown)| shown),
        Kind::Key if value.len() > MAX_KEY => Err(invalid(spec.name, value)
            .detail(format!("A key has at most {MAX_KEY} bytes, this one has {}.", value.len()))),
        Kind::Names | Kind::DateStyle | Kind::Key => Ok(value.clone()),
    }
}

fn date_style(value: &str) -> Result<String, SqlError> {
    for part in value.split(',').map(|part| part.trim().to_lowercase()) {
        match part.as_str() {
            "iso" | "mdy" | "us" | "noneuro" | "noneuropean" | "" => {}
            "german" | "postgres" | "sql" | "dmy" | "euro" | "european" | "ymd" => {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("DateStyle \"{value}\" is not supported; dates are ISO, ambiguous ones MDY"),
                ));
            }
            _ => return Err(invalid("DateStyle", value)),
        }
    }
    Ok("ISO, MDY".into())
}

fn unquote(part: &str) -> String {
    match part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => part.to_string(),
    }
}

fn quote(name: &str) -> String {
    let plain = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(settings: &mut Settings, name: &str, value: &str) -> Result<(), SqlError> {
        settings.set(name, &[value.to_string()]).map(drop)
    }

    #[test]
    fn values_are_checked() {
        let mut s = Settings::new("root");
        assert_eq!(set(&mut s, "no_such", "1").unwrap_err().sqlstate, SqlState::UNDEFINED_OBJECT);
        set(&mut s, "statement_timeout", "2min").unwrap();
        assert_eq!(s.get("statement_timeout").unwrap(), "2min");
        assert_eq!(s.statement_timeout(), Duration::from_secs(120));
        set(&mut s, "lock_timeout", "1500").unwrap();
        assert_eq!(s.get("lock_timeout").unwrap(), "1500ms");
        assert!(set(&mut s, "lock_timeout", "soon").is_err());
        assert_eq!(set(&mut s, "server_version", "9").unwrap_err().sqlstate, SqlState("55P02"));
        assert_eq!(
            set(&mut s, "bytea_output", "escape").unwrap_err().sqlstate,
            SqlState::FEATURE_NOT_SUPPORTED
        );
        set(&mut s, "quorate.idempotency_key", "A key").unwrap();
        assert_eq!(s.idempotency_key().map(|key| &**key), Some("A key"));
        let long = "k".repeat(256);
        assert_eq!(
            set(&mut s, "quorate.idempotency_key", &long).unwrap_err().sqlstate,
            SqlState::INVALID_PARAMETER_VALUE
        );
        s.set("search_path", &["a".into(), "B c".into(), "$user".into()]).unwrap();
        assert_eq!(s.get("search_path").unwrap(), "a, \"B c\", \"$user\"");
        assert_eq!(s.search_path("root"), ["a", "B c", "root"]);
        s.set_text("search_path", "\"A\", b").unwrap();
        assert_eq!(s.search_path("root"), ["A", "b"]);
        set(&mut s, "App.tenant", "7").unwrap();
        assert_eq!(s.get("app.Tenant").unwrap(), "7");
        assert_eq!(s.get("app.other").unwrap_err().sqlstate, SqlState::UNDEFINED_OBJECT);
        assert_eq!(set(&mut s, "quorate.nothing", "1").unwrap_err().sqlstate, SqlState::UNDEFINED_OBJECT);
        assert_eq!(set(&mut s, "app.1", "1").unwrap_err().sqlstate, SqlState::INVALID_NAME);
        s.reset_all().unwrap();
        assert_eq!(s.get("app.tenant").unwrap(), "");
        assert_eq!(s.search_path("root"), ["root", "public"]);
        assert!(!s.wants("debug1") && s.wants("warning"));
    }
}
