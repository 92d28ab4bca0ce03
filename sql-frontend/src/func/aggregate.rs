//! Aggregates: their resolution, and ours as DataFusion sees them.

pub use super::accumulate::Place;
use super::accumulate::{Adapter, Distinct, Kind, Replay, State, new_state};
use super::cast::coercible;
use super::resolve::no_function;
use crate::types::PgType;
use crate::{Result, SqlError};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility, lit,
};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// An aggregate that was chosen. `count(*)` is `resolve_aggregate("count", &[])`.
#[derive(Clone, Debug)]
pub struct ResolvedAggregate {
    pub arg_types: Vec<PgType>,
    pub result: PgType,
    pub udaf: Arc<AggregateUDF>,
    /// One of ours, which can also be had over the different values only.
    own: Option<(&'static str, Kind)>,
}

impl ResolvedAggregate {
    /// The arguments DataFusion wants for the SQL ones: `count(*)` counts a literal.
    pub fn args(&self, args: Vec<Expr>) -> Vec<Expr> {
        if args.is_empty() { vec![lit(1i64)] } else { args }
    }

    /// For `aggregate(DISTINCT … ORDER BY …)`: the function, its arguments, and DataFusion's own `distinct` flag. Types whose equality
    /// is not Arrow's are told apart by ours, inside; `count` counts keys. The others do not depend on an order.
    pub fn distinct(&self, args: Vec<Expr>, order: Vec<Place>) -> (Arc<AggregateUDF>, Vec<Expr>, bool) {
        match self.own {
            Some((name, kind)) => (ours(name, kind, &self.arg_types, self.result, Some(order)), args, false),
            None => {
                let keys = args.into_iter().zip(&self.arg_types).map(|(a, ty)| super::key(*ty, a)).collect();
                (self.udaf.clone(), keys, true)
            }
        }
    }
}

#[derive(Debug)]
struct PgAggregate {
    name: &'static str,
    kind: Kind,
    params: Vec<PgType>,
    result: PgType,
    /// Over the different rows only, in this order of their arguments.
    distinct: Option<Vec<Place>>,
    signature: Signature,
}

impl PartialEq for PgAggregate {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.params, &self.distinct) == (other.kind, &other.params, &other.distinct)
    }
}

impl Eq for PgAggregate {}

impl std::hash::Hash for PgAggregate {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.kind, &self.params, &self.distinct).hash(state);
    }
}

impl AggregateUDFImpl for PgAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.arrow())
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        let state: Box<dyn State> = match &self.distinct {
            Some(order) => Box::new(Distinct::new(self.kind, self.params.clone(), order)),
            None => new_state(self.kind, &self.params),
        };
        Ok(Box::new(Adapter::new(state, self.params.clone(), self.result)))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        if self.distinct.is_some() {
            return Err(SqlError::unsupported("DISTINCT in a window aggregate").into());
        }
        if new_state(self.kind, &self.params).can_retract() {
            return self.accumulator(args);
        }
        Ok(Box::new(Replay::new(self.kind, self.params.clone(), self.result)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        let own = Arc::new(Field::new(format!("{}[state]", args.name), DataType::Binary, true));
        Ok(std::iter::once(own).chain(args.ordering_fields.iter().cloned()).collect())
    }
}

fn ours(
    name: &'static str,
    kind: Kind,
    params: &[PgType],
    result: PgType,
    distinct: Option<Vec<Place>>,
) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(PgAggregate {
        name,
        kind,
        params: params.to_vec(),
        result,
        distinct,
        signature: Signature::any(params.len(), Volatility::Immutable),
    }))
}

struct Entry {
    params: Vec<PgType>,
    found: ResolvedAggregate,
}

static TABLE: LazyLock<BTreeMap<&'static str, Vec<Entry>>> = LazyLock::new(fill);

fn fill() -> BTreeMap<&'static str, Vec<Entry>> {
    use PgType as T;
    let mut table: BTreeMap<&'static str, Vec<Entry>> = BTreeMap::new();
    let mut add = |name: &'static str, params: &[T], result: T, kind: Kind| {
        table.entry(name).or_default().push(Entry {
            params: params.to_vec(),
            found: ResolvedAggregate {
                arg_types: params.to_vec(),
                result,
                udaf: ours(name, kind, params, result, None),
                own: Some((name, kind)),
            },
        });
    };
    for (ty, sum) in [(T::Int2, T::Int8), (T::Int4, T::Int8), (T::Int8, T::Numeric)] {
        add("sum", &[ty], sum, Kind::Sum);
        add("avg", &[ty], T::Numeric, Kind::Avg);
    }
    for ty in [T::Numeric, T::Float4, T::Float8, T::Interval] {
        add("sum", &[ty], ty, Kind::Sum);
        add("avg", &[ty], if ty == T::Float4 { T::Float8 } else { ty }, Kind::Avg);
    }
    let spreads = [
        ("variance", Kind::VarSamp),
        ("var_samp", Kind::VarSamp),
        ("var_pop", Kind::VarPop),
        ("stddev", Kind::StddevSamp),
        ("stddev_samp", Kind::StddevSamp),
        ("stddev_pop", Kind::StddevPop),
    ];
    for (name, kind) in spreads {
        for ty in [T::Int2, T::Int4, T::Int8, T::Numeric] {
            add(name, &[ty], T::Numeric, kind);
        }
        for ty in [T::Float4, T::Float8] {
            add(name, &[ty], T::Float8, kind);
        }
    }
    for ty in [T::Numeric, T::Float4, T::Float8, T::Interval, T::Bpchar] {
        add("min", &[ty], ty, Kind::Min);
        add("max", &[ty], ty, Kind::Max);
    }
    for ty in T::all() {
        if let Some(array) = ty.array() {
            add("array_agg", &[ty], array, Kind::ArrayAgg);
        }
    }
    // DataFusion's of these let no row go out of a frame, or count one that has gone.
    for (name, kind) in [("bool_and", Kind::Every), ("every", Kind::Every), ("bool_or", Kind::Any)] {
        add(name, &[T::Bool], T::Bool, kind);
    }
    for ty in [T::Int2, T::Int4, T::Int8] {
        add("bit_and", &[ty], ty, Kind::BitAnd);
        add("bit_or", &[ty], ty, Kind::BitOr);
        add("bit_xor", &[ty], ty, Kind::BitXor);
    }
    add("string_agg", &[T::Text, T::Text], T::Text, Kind::StringAgg);
    add("string_agg", &[T::Bytea, T::Bytea], T::Bytea, Kind::BytesAgg);
    let mut native = |name: &'static str, params: &[T], result: T, udaf: Arc<AggregateUDF>| {
        table.entry(name).or_default().push(Entry {
            params: params.to_vec(),
            found: ResolvedAggregate { arg_types: params.to_vec(), result, udaf, own: None },
        });
    };
    for ty in [T::Int2, T::Int4, T::Int8, T::Text, T::Date, T::Time, T::Timestamp, T::Timestamptz, T::Oid] {
        native("min", &[ty], ty, min_udaf());
        native("max", &[ty], ty, max_udaf());
    }
    table
}

/// Aggregates of PostgreSQL that are refused by name, rather than as unknown functions.
const REFUSED: [&str; 11] = [
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
    "xmlagg",
    "corr",
    "covar_pop",
    "covar_samp",
    "mode",
    "percentile_cont",
    "percentile_disc",
];

pub(crate) fn exists(name: &str) -> bool {
    name == "count" || TABLE.contains_key(name) || REFUSED.contains(&name)
}

/// The aggregate of that name: `Ok(None)` when no aggregate has the name, 42883 when none fits the arguments, 0A000 for PostgreSQL's that
/// are not here.
pub fn resolve_aggregate(name: &str, args: &[PgType]) -> Result<Option<ResolvedAggregate>> {
    if name == "count" {
        return match args {
            [] | [_] => Ok(Some(ResolvedAggregate {
                // What is counted keeps its type; an untyped literal is text.
                arg_types: args
                    .iter()
                    .map(|t| if *t == PgType::Unknown { PgType::Text } else { *t })
                    .collect(),
                result: PgType::Int8,
                udaf: count_udaf(),
                own: None,
            })),
            _ => Err(no_function(name, args)),
        };
    }
    if REFUSED.contains(&name) {
        return Err(SqlError::unsupported(format!("the aggregate {name}")));
    }
    let Some(entries) = TABLE.get(name) else { return Ok(None) };
    let fits = |params: &[PgType]| {
        params.len() == args.len() && params.iter().zip(args).all(|(p, a)| coercible(*a, *p))
    };
    if let Some(entry) = entries.iter().find(|e| e.params == args) {
        return Ok(Some(entry.found.clone()));
    }
    let usable: Vec<&Entry> = entries.iter().filter(|e| fits(&e.params)).collect();
    // Preferred types of the argument's own category decide; strings for untyped literals.
    let score = |e: &Entry| {
        e.params
            .iter()
            .zip(args)
            .filter(|(p, a)| match **a {
                PgType::Unknown => **p == PgType::Text,
                PgType::Varchar => **p == PgType::Text,
                a => p.is_preferred() && p.category() == a.category(),
            })
            .count()
    };
    let top = usable.iter().map(|e| score(e)).max().unwrap_or(0);
    let best: Vec<&&Entry> = usable.iter().filter(|e| score(e) == top).collect();
    match best[..] {
        [] => Err(no_function(name, args)),
        [one] => Ok(Some(one.found.clone())),
        _ => {
            let shown = args.iter().map(|t| t.sql_name()).collect::<Vec<_>>().join(", ");
            Err(SqlError::new(
                crate::SqlState::AMBIGUOUS_FUNCTION,
                format!("function {name}({shown}) is not unique"),
            )
            .hint("Could not choose a best candidate function. You might need to add explicit type casts."))
        }
    }
}
