//! The one error of SQL processing: what the client is shown, with PostgreSQL's SQLSTATE.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use std::fmt;

pub type Result<T, E = SqlError> = std::result::Result<T, E>;

/// Five characters, as in PostgreSQL's appendix A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SqlState(pub &'static str);

macro_rules! states {
    ($($name:ident = $code:literal),* $(,)?) => { impl SqlState { $(pub const $name: SqlState = SqlState($code);)* } };
}

states! {
    WARNING = "01000",
    PROTOCOL_VIOLATION = "08P01",
    FEATURE_NOT_SUPPORTED = "0A000",
    CARDINALITY_VIOLATION = "21000",
    STRING_DATA_RIGHT_TRUNCATION = "22001",
    NULL_VALUE_NOT_ALLOWED = "22004",
    NUMERIC_VALUE_OUT_OF_RANGE = "22003",
    INVALID_DATETIME_FORMAT = "22007",
    DATETIME_FIELD_OVERFLOW = "22008",
    INVALID_TIME_ZONE_DISPLACEMENT = "22009",
    SUBSTRING_ERROR = "22011",
    DIVISION_BY_ZERO = "22012",
    INVALID_ARGUMENT_FOR_NTILE = "22014",
    INTERVAL_FIELD_OVERFLOW = "22015",
    INVALID_ARGUMENT_FOR_NTH_VALUE = "22016",
    INVALID_ARGUMENT_FOR_LOGARITHM = "2201E",
    INVALID_ARGUMENT_FOR_POWER = "2201F",
    INVALID_ARGUMENT_FOR_WIDTH_BUCKET = "2201G",
    INVALID_ROW_COUNT_IN_LIMIT = "2201W",
    INVALID_ROW_COUNT_IN_OFFSET = "2201X",
    INVALID_REGULAR_EXPRESSION = "2201B",
    INVALID_ESCAPE_SEQUENCE = "22025",
    INVALID_ESCAPE_CHARACTER = "22019",
    CHARACTER_NOT_IN_REPERTOIRE = "22021",
    INVALID_PARAMETER_VALUE = "22023",
    INVALID_TEXT_REPRESENTATION = "22P02",
    INVALID_BINARY_REPRESENTATION = "22P03",
    BAD_COPY_FILE_FORMAT = "22P04",
    UNTRANSLATABLE_CHARACTER = "22P05",
    NOT_NULL_VIOLATION = "23502",
    UNIQUE_VIOLATION = "23505",
    CHECK_VIOLATION = "23514",
    ACTIVE_TRANSACTION = "25001",
    READ_ONLY_TRANSACTION = "25006",
    NO_ACTIVE_TRANSACTION = "25P01",
    IN_FAILED_TRANSACTION = "25P02",
    INVALID_STATEMENT_NAME = "26000",
    INVALID_CURSOR_NAME = "34000",
    INVALID_SAVEPOINT = "3B001",
    INVALID_CATALOG_NAME = "3D000",
    INVALID_SCHEMA_NAME = "3F000",
    SERIALIZATION_FAILURE = "40001",
    STATEMENT_COMPLETION_UNKNOWN = "40003",
    DEADLOCK_DETECTED = "40P01",
    SYNTAX_ERROR = "42601",
    INVALID_NAME = "42602",
    AMBIGUOUS_COLUMN = "42702",
    UNDEFINED_COLUMN = "42703",
    UNDEFINED_OBJECT = "42704",
    AMBIGUOUS_FUNCTION = "42725",
    DUPLICATE_ALIAS = "42712",
    DUPLICATE_COLUMN = "42701",
    GROUPING_ERROR = "42803",
    DATATYPE_MISMATCH = "42804",
    WRONG_OBJECT_TYPE = "42809",
    CANNOT_COERCE = "42846",
    UNDEFINED_FUNCTION = "42883",
    RESERVED_NAME = "42939",
    UNDEFINED_TABLE = "42P01",
    UNDEFINED_PARAMETER = "42P02",
    DUPLICATE_CURSOR = "42P03",
    DUPLICATE_PREPARED_STATEMENT = "42P05",
    DUPLICATE_SCHEMA = "42P06",
    DUPLICATE_TABLE = "42P07",
    AMBIGUOUS_PARAMETER = "42P08",
    AMBIGUOUS_ALIAS = "42P09",
    INVALID_COLUMN_REFERENCE = "42P10",
    INVALID_TABLE_DEFINITION = "42P16",
    INDETERMINATE_DATATYPE = "42P18",
    INVALID_RECURSION = "42P19",
    WINDOWING_ERROR = "42P20",
    DUPLICATE_OBJECT = "42710",
    INSUFFICIENT_RESOURCES = "53000",
    DISK_FULL = "53100",
    OUT_OF_MEMORY = "53200",
    TOO_MANY_CONNECTIONS = "53300",
    PROGRAM_LIMIT_EXCEEDED = "54000",
    STATEMENT_TOO_COMPLEX = "54001",
    TOO_MANY_COLUMNS = "54011",
    TOO_MANY_ARGUMENTS = "54023",
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000",
    LOCK_NOT_AVAILABLE = "55P03",
    QUERY_CANCELED = "57014",
    ADMIN_SHUTDOWN = "57P01",
    CANNOT_CONNECT_NOW = "57P03",
    IO_ERROR = "58030",
    SNAPSHOT_TOO_OLD = "72000",
    INTERNAL_ERROR = "XX000",
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Names of what an error is about, for the error fields of the wire protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorFields {
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub data_type: Option<String>,
    pub constraint: Option<String>,
    /// The "where" field: a stack of what was going on (`COPY t, line 3`).
    pub context: Option<String>,
    /// Sessions that the error speaks of: what they run is added to the detail.
    pub sessions: Vec<u32>,
}

/// An error as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    pub sqlstate: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Where in the statement's text, in characters from 1.
    pub position: Option<u32>,
    pub fields: Option<Box<ErrorFields>>,
    /// Why a transaction has to give way, in a word for counters. The client is not sent it.
    pub cause: Option<&'static str>,
}

impl SqlError {
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        let message = message.into();
        let (detail, hint, position, fields, cause) = (None, None, None, None, None);
        SqlError { sqlstate, message, detail, hint, position, fields, cause }
    }

    pub fn because(mut self, cause: &'static str) -> Self {
        self.cause = Some(cause);
        self
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the position unless a more exact one is already there.
    pub fn at(mut self, position: u32) -> Self {
        self.position.get_or_insert(position);
        self
    }

    pub fn with_fields(mut self, set: impl FnOnce(&mut ErrorFields)) -> Self {
        set(self.fields.get_or_insert_default());
        self
    }

    /// 0A000: accepted by PostgreSQL, not by us.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// XX000: a broken assumption of our own.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, message)
    }

    /// 22003, as every integer type says it.
    pub fn out_of_range(type_name: &str) -> Self {
        Self::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{type_name} out of range"))
    }

    /// 22012.
    pub fn division_by_zero() -> Self {
        Self::new(SqlState::DIVISION_BY_ZERO, "division by zero")
    }

    /// 22P02, for input text that is not of the type.
    pub fn invalid_text(type_name: &str, input: &str) -> Self {
        Self::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type {type_name}: \"{input}\""),
        )
    }
}

impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<SqlError> for ArrowError {
    fn from(error: SqlError) -> Self {
        ArrowError::ExternalError(Box::new(error))
    }
}

/// Finds our own error inside DataFusion's wrappings; what DataFusion says on its own account is translated by kind.
impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        if let Some(own) = own_error(&error) {
            return own.clone();
        }
        let root = error.find_root();
        match root {
            DataFusionError::ResourcesExhausted(what) => SqlError::new(SqlState::OUT_OF_MEMORY, what.clone()),
            DataFusionError::NotImplemented(what) => {
                SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("not supported: {what}"))
            }
            DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
                ArrowError::DivideByZero => SqlError::division_by_zero(),
                ArrowError::ArithmeticOverflow(_) => SqlError::out_of_range("value"),
                other => SqlError::internal(other.to_string()),
            },
            other => SqlError::internal(other.to_string()),
        }
    }
}

impl From<ArrowError> for SqlError {
    fn from(error: ArrowError) -> Self {
        DataFusionError::ArrowError(Box::new(error), None).into()
    }
}

fn own_error(error: &DataFusionError) -> Option<&SqlError> {
    let mut at: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(own) = at.downcast_ref::<SqlError>() {
            return Some(own);
        }
        at = match at.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::Collection(all)) => return all.iter().find_map(own_error),
            Some(DataFusionError::Shared(inner)) => inner.as_ref(),
            Some(DataFusionError::External(inner)) => inner.as_ref(),
            _ => match at.downcast_ref::<ArrowError>() {
                Some(ArrowError::ExternalError(inner)) => inner.as_ref(),
                _ => at.source()?,
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn our_error_survives_datafusion() {
        let own = SqlError::division_by_zero();
        let wrapped = DataFusionError::Shared(Arc::new(DataFusionError::Context(
            "running".into(),
            Box::new(DataFusionError::ArrowError(Box::new(own.clone().into()), None)),
        )));
        assert_eq!(SqlError::from(wrapped), own);
        let other = SqlError::from(DataFusionError::ResourcesExhausted("too big".into()));
        assert_eq!(other.sqlstate, SqlState::OUT_OF_MEMORY);
    }
}
