//! What a statement's functions may ask of the session: time, user, zone, randomness.
//!
//! None of it is read while an expression runs. A function that depends on the session is resolved to a call with
//! hidden arguments, and [`ContextValue::placeholder`] is what the binder puts there: a DataFusion placeholder whose id starts with
//! `$quorate.`. A plan with such placeholders can be optimized once and cached; before each execution they
//! are bound with [`StatementContext::parameters`] together with the client's `$1`, `$2`, …. DataFusion folds what
//! becomes constant by that when it plans physically. Whoever evaluates without a plan calls [`StatementContext::value`].

use crate::types::{Datum, PgType, TimeZone, to_scalar};
use datafusion::arrow::datatypes::Field;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Something of the session that a function needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContextValue {
    /// `now()`: when the transaction began; timestamptz.
    TransactionTime,
    /// When the statement arrived; timestamptz.
    StatementTime,
    /// The session's `TimeZone`, by name; text.
    TimeZone,
    CurrentUser,
    SessionUser,
    CurrentDatabase,
    /// The first schema of the search path that exists, or null; name.
    CurrentSchema,
    /// 128 random bits, fresh for each execution; uuid. Volatile functions derive theirs from it and a counter.
    Seed,
    ApplicationName,
    /// Process id as the client knows it; int4.
    BackendPid,
}

impl ContextValue {
    pub const ALL: [ContextValue; 10] = [
        ContextValue::TransactionTime,
        ContextValue::StatementTime,
        ContextValue::TimeZone,
        ContextValue::CurrentUser,
        ContextValue::SessionUser,
        ContextValue::CurrentDatabase,
        ContextValue::CurrentSchema,
        ContextValue::Seed,
        ContextValue::ApplicationName,
        ContextValue::BackendPid,
    ];

    pub fn ty(self) -> PgType {
        match self {
            ContextValue::TransactionTime | ContextValue::StatementTime => PgType::Timestamptz,
            ContextValue::TimeZone | ContextValue::ApplicationName => PgType::Text,
            ContextValue::CurrentUser
            | ContextValue::SessionUser
            | ContextValue::CurrentDatabase
            | ContextValue::CurrentSchema => PgType::Name,
            ContextValue::Seed => PgType::Uuid,
            ContextValue::BackendPid => PgType::Int4,
        }
    }

    /// The parameter's name, without DataFusion's `$`.
    pub fn parameter(self) -> &'static str {
        match self {
            ContextValue::TransactionTime => "quorate.transaction_time",
            ContextValue::StatementTime => "quorate.statement_time",
            ContextValue::TimeZone => "quorate.timezone",
            ContextValue::CurrentUser => "quorate.current_user",
            ContextValue::SessionUser => "quorate.session_user",
            ContextValue::CurrentDatabase => "quorate.current_database",
            ContextValue::CurrentSchema => "quorate.current_schema",
            ContextValue::Seed => "quorate.seed",
            ContextValue::ApplicationName => "quorate.application_name",
            ContextValue::BackendPid => "quorate.backend_pid",
        }
    }

    /// The typed placeholder that stands for it in a plan.
    pub fn placeholder(self) -> Expr {
        let field = Arc::new(Field::new("", self.ty().arrow(), true));
        Expr::Placeholder(Placeholder::new_with_field(format!("${}", self.parameter()), Some(field)))
    }
}

/// The values for one execution of one statement.
#[derive(Clone, Debug)]
pub struct StatementContext {
    /// Microseconds since 1970.
    pub transaction_time: i64,
    /// Microseconds since 1970.
    pub statement_time: i64,
    pub timezone: TimeZone,
    pub current_user: String,
    pub session_user: String,
    pub database: String,
    pub schema: Option<String>,
    pub application_name: String,
    pub backend_pid: i32,
    /// From `Env::random_u128`, new for each execution.
    pub seed: u128,
}

impl Default for StatementContext {
    /// UTC at the epoch, user and database `quorate`: for tests and for evaluating what depends on none of it.
    fn default() -> Self {
        StatementContext {
            transaction_time: 0,
            statement_time: 0,
            timezone: TimeZone::UTC,
            current_user: "quorate".into(),
            session_user: "quorate".into(),
            database: "quorate".into(),
            schema: Some("public".into()),
            application_name: String::new(),
            backend_pid: 0,
            seed: 0,
        }
    }
}

impl StatementContext {
    pub fn value(&self, what: ContextValue) -> Datum {
        match what {
            ContextValue::TransactionTime => Datum::Timestamptz(self.transaction_time),
            ContextValue::StatementTime => Datum::Timestamptz(self.statement_time),
            ContextValue::TimeZone => Datum::Text(self.timezone.to_string()),
            ContextValue::CurrentUser => Datum::Text(self.current_user.clone()),
            ContextValue::SessionUser => Datum::Text(self.session_user.clone()),
            ContextValue::CurrentDatabase => Datum::Text(self.database.clone()),
            ContextValue::CurrentSchema => self.schema.clone().into(),
            ContextValue::Seed => Datum::Uuid(self.seed.to_be_bytes()),
            ContextValue::ApplicationName => Datum::Text(self.application_name.clone()),
            ContextValue::BackendPid => Datum::Int4(self.backend_pid),
        }
    }

    pub fn scalar(&self, what: ContextValue) -> ScalarValue {
        to_scalar(&self.value(what), what.ty())
    }

    /// Name and value of every hidden parameter, for `ParamValues::Map`.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, ScalarValue)> + '_ {
        ContextValue::ALL.into_iter().map(|what| (what.parameter(), self.scalar(what)))
    }
}
