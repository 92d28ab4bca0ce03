//! Functions that need the session, the catalog or sequences. They are found before the built-in ones.
//!
//! A bound statement belongs to its session, and so do these functions in it: they hold the session's [`Link`], through
//! which they see the statement that runs now.

use super::names::Names;
use super::view::SessionView;
use super::{advisory, config, inquiry, outcome, signal, sleep};
use crate::{
    bind::bind_type,
    catalog::{
        SequenceDescriptor,
        virtuals::{oid, pg_catalog},
    },
    error::{SqlError, SqlState},
    func::{CastContext, Resolved, cast, column_of},
    types::{Datum, PgType, datum_at},
};
use datafusion::{
    arrow::datatypes::DataType,
    common::{DataFusionError, Result as DfResult},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};
use parking_lot::Mutex;
use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// From a session's functions to the statement that runs in it, whose view holds the link in turn: so it is cleared with
/// the transaction.
#[derive(Default)]
pub struct Link(Mutex<Option<Arc<SessionView>>>);

impl Link {
    pub fn set(&self, view: Arc<SessionView>) {
        *self.0.lock() = Some(view);
    }

    pub fn clear(&self) {
        let view = self.0.lock().take();
        drop(view);
    }

    pub(super) fn get(&self) -> Result<Arc<SessionView>, SqlError> {
        self.0.lock().clone().ok_or_else(|| SqlError::internal("a session function runs without a session"))
    }
}

pub(super) type Run = fn(&SessionView, &[Datum]) -> Result<Datum, SqlError>;

pub(super) struct Function {
    name: &'static str,
    args: &'static [PgType],
    result: PgType,
    run: Run,
    /// A null argument makes the result null.
    strict: bool,
}

pub(super) const fn function(
    name: &'static str,
    args: &'static [PgType],
    result: PgType,
    run: Run,
) -> Function {
    Function { name, args, result, run, strict: true }
}

/// One that looks at nulls.
pub(super) const fn lenient(
    name: &'static str,
    args: &'static [PgType],
    result: PgType,
    run: Run,
) -> Function {
    Function { name, args, result, run, strict: false }
}

use PgType::{Bool, Int4, Int8, Name, Oid, Regclass, Regtype, Text};

static FUNCTIONS: &[Function] = &[
    function("nextval", &[Text], Int8, |view, args| nextval(view, &*sequence_by_name(view, &args[0])?)),
    function("nextval", &[Regclass], Int8, |view, args| nextval(view, &*sequence_by_oid(view, &args[0])?)),
    function("currval", &[Text], Int8, |view, args| currval(view, &*sequence_by_name(view, &args[0])?)),
    function("currval", &[Regclass], Int8, |view, args| currval(view, &*sequence_by_oid(view, &args[0])?)),
    function("lastval", &[], Int8, |view, _| {
        view.sequences.last().map(Datum::Int8).ok_or_else(|| {
            SqlError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "lastval is not yet defined in this session",
            )
        })
    }),
    function("setval", &[Text, Int8], Int8, |view, args| {
        setval(view, &*sequence_by_name(view, &args[0])?, &args[1], true)
    }),
    function("setval", &[Regclass, Int8], Int8, |view, args| {
        setval(view, &*sequence_by_oid(view, &args[0])?, &args[1], true)
    }),
    function("setval", &[Text, Int8, Bool], Int8, |view, args| {
        setval(view, &*sequence_by_name(view, &args[0])?, &args[1], args[2] == Datum::Bool(true))
    }),
    function("setval", &[Regclass, Int8, Bool], Int8, |view, args| {
        setval(view, &*sequence_by_oid(view, &args[0])?, &args[1], args[2] == Datum::Bool(true))
    }),
    function("pg_get_serial_sequence", &[Text, Text], Text, serial_sequence),
    function("pg_get_userbyid", &[Oid], Name, |_, args| {
        Ok(Datum::Text(match args[0] {
            Datum::Oid(oid::ROOT) => "root".into(),
            Datum::Oid(16) => "postgres".into(),
            Datum::Oid(other) => format!("unknown (OID={other})"),
            _ => String::new(),
        }))
    }),
    function("pg_table_is_visible", &[Oid], Bool, table_is_visible),
    function("pg_type_is_visible", &[Oid], Bool, |_, _| Ok(Datum::Bool(true))),
    function("pg_function_is_visible", &[Oid], Bool, |_, _| Ok(Datum::Bool(true))),
    function("format_type", &[Oid, Int4], Text, format_type),
    function("pg_get_expr", &[Text, Oid], Text, |_, args| Ok(args[0].clone())),
    function("pg_get_expr", &[Text, Oid, Bool], Text, |_, args| Ok(args[0].clone())),
    function("pg_get_indexdef", &[Oid], Text, index_definition),
    function("pg_get_indexdef", &[Oid, Int4, Bool], Text, index_definition),
    function("pg_get_constraintdef", &[Oid], Text, constraint_definition),
    function("pg_get_constraintdef", &[Oid, Bool], Text, constraint_definition),
    function("obj_description", &[Oid], Text, |_, _| Ok(Datum::Null)),
    function("obj_description", &[Oid, Name], Text, |_, _| Ok(Datum::Null)),
    function("shobj_description", &[Oid, Name], Text, |_, _| Ok(Datum::Null)),
    function("col_description", &[Oid, Int4], Text, |_, _| Ok(Datum::Null)),
    function("pg_encoding_to_char", &[Int4], Name, |_, args| {
        Ok(Datum::Text(if args[0] == Datum::Int4(6) { "UTF8" } else { "" }.into()))
    }),
    function("pg_is_in_recovery", &[], Bool, |_, _| Ok(Datum::Bool(false))),
    function("pg_my_temp_schema", &[], Oid, |_, _| Ok(Datum::Oid(0))),
    function("pg_is_other_temp_schema", &[Oid], Bool, |_, _| Ok(Datum::Bool(false))),
    function("regclassin", &[Text], Regclass, relation_by_name),
    function("regclassout", &[Regclass], Text, relation_name),
    function("to_regclass", &[Text], Regclass, |view, args| {
        let (schema, name) = split_name(&string(&args[0]))?;
        let oid = found(view, |names| relation_oid(names, schema.as_deref(), &name))?;
        Ok(oid.map_or(Datum::Null, Datum::Oid))
    }),
    function("to_regtype", &[Text], Regtype, type_by_name),
];

/// Functions of schema `pg_catalog` by name and argument types.
pub fn resolve(link: &Arc<Link>, schema: Option<&str>, name: &str, args: &[PgType]) -> Option<Resolved> {
    let ours = schema == Some("quorate") && name == outcome::FUNCTION;
    if !ours && (schema.is_some_and(|schema| schema != "pg_catalog") || name == outcome::FUNCTION) {
        return None;
    }
    let fits = |f: &&Function, exact: bool| {
        f.name == name
            && f.args.len() == args.len()
            && f.args.iter().zip(args).all(|(want, have)| {
                want == have
                    // A literal is a string first.
                    || (*have == PgType::Unknown && (!exact || want.is_string()))
                    || (!exact && cast(*have, *want, -1, CastContext::Implicit).is_some())
            })
    };
    let all = || {
        FUNCTIONS
            .iter()
            .chain(inquiry::FUNCTIONS)
            .chain(config::FUNCTIONS)
            .chain(signal::FUNCTIONS)
            .chain(sleep::FUNCTIONS)
            .chain(advisory::FUNCTIONS)
            .chain(outcome::FUNCTIONS)
    };
    let found = all().find(|f| fits(f, true)).or_else(|| all().find(|f| fits(f, false)))?;
    let udf = ScalarUDF::new_from_impl(SessionFunction {
        function: found,
        link: link.clone(),
        signature: match found.args.len() {
            0 => Signature::nullary(Volatility::Volatile),
            n => Signature::any(n, Volatility::Volatile),
        },
    });
    Some(Resolved::external(found.name, found.args.to_vec(), found.result, Arc::new(udf)))
}

struct SessionFunction {
    function: &'static Function,
    link: Arc<Link>,
    signature: Signature,
}

impl fmt::Debug for SessionFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.function.name, self.function.args)
    }
}

impl PartialEq for SessionFunction {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.function, other.function) && Arc::ptr_eq(&self.link, &other.link)
    }
}

impl Eq for SessionFunction {}

impl Hash for SessionFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
        self.function.args.hash(state);
    }
}

impl ScalarUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.function.result.arrow())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let view = self.link.get()?;
        let rows = args.number_rows;
        let arrays =
            args.args.iter().map(|arg| arg.clone().into_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let mut values = Vec::with_capacity(arrays.len());
        let column = column_of(self.function.result, rows, |row| {
            values.clear();
            for (array, ty) in arrays.iter().zip(self.function.args) {
                values.push(datum_at(array, row, *ty)?);
            }
            let null = self.function.strict && values.iter().any(Datum::is_null);
            if null { Ok(Datum::Null) } else { (self.function.run)(&view, &values) }
        });
        Ok(ColumnarValue::Array(column.map_err(DataFusionError::from)?))
    }
}

pub(super) fn string(datum: &Datum) -> String {
    match datum {
        Datum::Text(text) => text.clone(),
        _ => String::new(),
    }
}

fn number(datum: &Datum) -> u32 {
    match datum {
        Datum::Oid(oid) => *oid,
        _ => 0,
    }
}

/// `schema.name` as written in a text, quotes and all.
pub(super) fn split_name(text: &str) -> Result<(Option<String>, String), SqlError> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, tail) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"').ok_or_else(|| invalid_name(text))?;
                (quoted[..end].to_string(), &quoted[end + 1..])
            }
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].trim().to_lowercase(), &rest[end..])
            }
        };
        if part.is_empty() {
            return Err(invalid_name(text));
        }
        parts.push(part);
        match tail.strip_prefix('.') {
            Some(tail) => rest = tail,
            None if tail.is_empty() => break,
            None => return Err(invalid_name(text)),
        }
    }
    match parts.as_slice() {
        [name] => Ok((None, name.clone())),
        [schema, name] => Ok((Some(schema.clone()), name.clone())),
        _ => Err(invalid_name(text)),
    }
}

fn invalid_name(text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_NAME, format!("invalid name syntax: \"{text}\""))
}

/// What is found among the names; when that is nothing, among the newest ones.
fn found<T>(view: &SessionView, find: impl Fn(&Names) -> Option<T>) -> Result<Option<T>, SqlError> {
    if let Some(found) = find(&view.names) {
        return Ok(Some(found));
    }
    Ok(find(&view.names.within(wait(view.shared.catalog.refresh())?)))
}

fn sequence_by_name(view: &SessionView, name: &Datum) -> Result<Arc<SequenceDescriptor>, SqlError> {
    let (schema, name) = split_name(&string(name))?;
    let missing = || view.names.sequence_named(schema.as_deref(), &name);
    found(view, |names| names.sequence_named(schema.as_deref(), &name).ok())?.map_or_else(missing, Ok)
}

fn sequence_by_oid(view: &SessionView, oid: &Datum) -> Result<Arc<SequenceDescriptor>, SqlError> {
    let number = number(oid);
    let by_id = |names: &Names| names.snapshot().sequences.get(&oid::object_id(number)?).cloned();
    found(view, by_id)?.ok_or_else(|| {
        SqlError::new(SqlState::UNDEFINED_TABLE, format!("could not open relation with OID {number}"))
    })
}

/// Waits for a future from where nothing can be awaited; rare: blocks of numbers are taken ahead.
pub(super) fn wait<T>(future: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let handle = Handle::current();
    if handle.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Err(SqlError::unsupported("waiting in a function on a single-threaded runtime"));
    }
    tokio::task::block_in_place(|| handle.block_on(future))
}

fn writable(view: &SessionView, name: &str) -> Result<(), SqlError> {
    if view.txn.read_only() {
        return Err(SqlError::new(
            SqlState::READ_ONLY_TRANSACTION,
            format!("cannot execute {name}() in a read-only transaction"),
        ));
    }
    Ok(())
}

fn nextval(view: &SessionView, sequence: &SequenceDescriptor) -> Result<Datum, SqlError> {
    writable(view, "nextval")?;
    let value = match view.shared.sequences.try_next(sequence) {
        Some(value) => value,
        None => wait(view.shared.sequences.next(sequence))?,
    };
    view.sequences.took(sequence.id, value);
    Ok(Datum::Int8(value))
}

fn currval(view: &SessionView, sequence: &SequenceDescriptor) -> Result<Datum, SqlError> {
    view.sequences.current(sequence.id).map(Datum::Int8).ok_or_else(|| {
        SqlError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("currval of sequence \"{}\" is not yet defined in this session", sequence.name),
        )
    })
}

fn setval(
    view: &SessionView,
    sequence: &SequenceDescriptor,
    value: &Datum,
    called: bool,
) -> Result<Datum, SqlError> {
    writable(view, "setval")?;
    let Datum::Int8(number) = *value else { return Ok(Datum::Null) };
    wait(view.shared.sequences.set(sequence, number, called))?;
    if called {
        view.sequences.took(sequence.id, number);
    }
    Ok(Datum::Int8(number))
}

fn serial_sequence(view: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    let (schema, name) = split_name(&string(&args[0]))?;
    let table = view.names.table_named(schema.as_deref(), &name)?;
    let column = string(&args[1]);
    let found = table.column_named(&column).ok_or_else(|| {
        SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{column}\" of relation \"{name}\" does not exist"),
        )
    })?;
    let sequence = found.sequence.and_then(|id| view.snapshot().sequences.get(&id));
    Ok(sequence.map(|s| format!("{}.{}", pg_catalog::quote(&s.schema), pg_catalog::quote(&s.name))).into())
}

pub(super) fn relation_oid(names: &Names, schema: Option<&str>, name: &str) -> Option<u32> {
    use crate::catalog::Object;
    match names.object(schema, name) {
        Some((_, Object::Table(id) | Object::Sequence(id))) => Some(oid::object(id)),
        Some((_, Object::Index(table, index))) => Some(oid::index(table, index)),
        None => {
            let wanted = schema.unwrap_or("pg_catalog");
            crate::catalog::virtuals::all()
                .find(|(_, table)| {
                    use crate::exec::VirtualTable;
                    table.schema_name() == wanted && table.name() == name
                })
                .map(|(number, _)| number)
        }
    }
}

fn table_is_visible(view: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    use crate::exec::VirtualTable;
    let wanted = number(&args[0]);
    if let Some((_, table)) = crate::catalog::virtuals::all().find(|(number, _)| *number == wanted) {
        return Ok(Datum::Bool(table.schema_name() == "pg_catalog"));
    }
    let snapshot = view.snapshot();
    let visible = |name: &str| relation_oid(&view.names, None, name) == Some(wanted);
    for table in snapshot.public_tables() {
        if oid::table(table.id) == wanted {
            return Ok(Datum::Bool(visible(&table.name)));
        }
        for index in std::iter::once(&table.primary).chain(&table.indexes) {
            if oid::index(table.id, index.id) == wanted {
                return Ok(Datum::Bool(visible(&index.name)));
            }
        }
    }
    let sequence = snapshot.sequences.values().find(|s| oid::object(s.id) == wanted);
    Ok(sequence.map_or(Datum::Null, |s| Datum::Bool(visible(&s.name))))
}

fn relation_name(view: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    Ok(Datum::Text(relation_text(Some(&view.names), number(&args[0]))))
}

/// A relation's name as the search path allows it; the number of what is not there.
pub(super) fn relation_text(names: Option<&Names>, wanted: u32) -> String {
    let Some(names) = names else { return wanted.to_string() };
    let snapshot = names.snapshot();
    let tables = snapshot.public_tables().flat_map(|table| {
        let own = (oid::table(table.id), table.schema.as_str(), table.name.as_str());
        let indexes = pg_catalog::shown_indexes(table);
        let indexes =
            indexes.map(|index| (oid::index(table.id, index.id), table.schema.as_str(), index.name.as_str()));
        std::iter::once(own).chain(indexes)
    });
    let sequences =
        snapshot.sequences.values().map(|s| (oid::object(s.id), s.schema.as_str(), s.name.as_str()));
    let found = tables.chain(sequences).find(|(number, _, _)| *number == wanted);
    if let Some((_, schema, name)) = found {
        let visible = relation_oid(names, None, name) == Some(wanted);
        let name = pg_catalog::quote(name);
        return if visible { name } else { format!("{}.{name}", pg_catalog::quote(schema)) };
    }
    use crate::exec::VirtualTable;
    let system = crate::catalog::virtuals::all().find(|(number, _)| *number == wanted);
    match system {
        Some((_, table)) if table.schema_name() == "pg_catalog" => table.name().to_string(),
        Some((_, table)) => format!("{}.{}", table.schema_name(), table.name()),
        None if wanted == 0 => "-".into(),
        None => wanted.to_string(),
    }
}

/// The relation of a name, or of a number, in a text.
fn relation_by_name(view: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    let text = string(&args[0]);
    if text == "-" || text.parse::<u32>().is_ok() {
        return Datum::from_text(Regclass, &text, -1, &crate::types::TimeZone::UTC);
    }
    let (schema, name) = split_name(&text)?;
    let oid = found(view, |names| relation_oid(names, schema.as_deref(), &name))?;
    oid.map(Datum::Oid).ok_or_else(|| super::names::no_relation(schema.as_deref(), &name))
}

/// The type of a name as a statement would write it; null for one that is not here.
fn type_by_name(_: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    let ty = super::parse::parse_type(&string(&args[0]))?;
    match bind_type(&ty, None) {
        Ok((ty, _)) => Ok(Datum::Oid(ty.oid())),
        Err(error)
            if matches!(error.sqlstate, SqlState::UNDEFINED_OBJECT | SqlState::FEATURE_NOT_SUPPORTED) =>
        {
            Ok(Datum::Null)
        }
        Err(error) => Err(error),
    }
}

fn format_type(_: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    let typmod = match args[1] {
        Datum::Int4(typmod) => typmod,
        _ => -1,
    };
    let wanted = number(&args[0]);
    let plain = PgType::from_oid(wanted).map(|ty| ty.format(typmod));
    let array = || {
        PgType::all()
            .find(|ty| ty.array_oid() == wanted && wanted != 0)
            .map(|ty| format!("{}[]", ty.format(typmod)))
    };
    Ok(Datum::Text(plain.or_else(array).unwrap_or_else(|| "???".into())))
}

fn index_definition(view: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    let wanted = number(&args[0]);
    let column = match args.get(1) {
        Some(Datum::Int4(n)) => *n,
        _ => 0,
    };
    for table in view.snapshot().public_tables() {
        for index in pg_catalog::shown_indexes(table) {
            if oid::index(table.id, index.id) != wanted {
                continue;
            }
            if column > 0 {
                let found = index.columns.get(column as usize - 1).and_then(|c| table.column(c.column));
                return Ok(found.map(|c| pg_catalog::quote(&c.name)).into());
            }
            return Ok(Datum::Text(pg_catalog::index_definition(table, index)));
        }
    }
    Ok(Datum::Null)
}

fn constraint_definition(view: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    Ok(pg_catalog::constraint_definition(view.snapshot(), number(&args[0])).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_texts() {
        assert_eq!(split_name("A_b").unwrap(), (None, "a_b".into()));
        assert_eq!(split_name("public.\"T x\"").unwrap(), (Some("public".into()), "T x".into()));
        assert!(split_name("a..b").is_err() && split_name("\"a").is_err());
    }
}
