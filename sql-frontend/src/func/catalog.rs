//! The table of all functions, operators and casts, filled once.

use super::cast::CastContext;
use super::context::ContextValue;
use super::kind::*;
use super::scalar::{Function, PgFunction, Variadic};
use crate::Result;
use crate::types::PgType;
use datafusion::logical_expr::{Operator, ScalarUDF, Volatility};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// What an entry is called through.
#[derive(Clone)]
pub(crate) enum Target {
    Udf(Arc<Function>, Arc<ScalarUDF>),
    /// DataFusion's comparison on the keys of both sides.
    Compare(Operator),
    Context(ContextValue),
}

/// One row of `pg_proc` or `pg_operator`.
#[derive(Clone)]
pub(crate) struct Entry {
    pub params: Vec<PgType>,
    pub work: Vec<PgType>,
    pub variadic: Variadic,
    pub result: PgType,
    pub target: Target,
}

/// How `pg_cast` says a cast is done.
#[derive(Clone)]
pub(crate) enum CastMethod {
    /// Same bytes.
    Relabel,
    Udf(Arc<Function>, Arc<ScalarUDF>),
}

pub(crate) struct Catalog {
    pub functions: BTreeMap<&'static str, Vec<Entry>>,
    pub operators: BTreeMap<&'static str, Vec<Entry>>,
    pub casts: BTreeMap<(PgType, PgType), (CastContext, CastMethod)>,
    /// Length coercions: value, typmod, explicit.
    pub lengths: BTreeMap<PgType, (Arc<Function>, Arc<ScalarUDF>)>,
    /// `greatest` (true) and `least`, by type.
    pub extremes: BTreeMap<(bool, PgType), (Arc<Function>, Arc<ScalarUDF>)>,
    /// Conversions through text.
    pub io: BTreeMap<(PgType, PgType), (Arc<Function>, Arc<ScalarUDF>)>,
    /// Output functions, for arguments of any type; none where the value is its text.
    pub outputs: BTreeMap<PgType, (Arc<Function>, Arc<ScalarUDF>)>,
    /// Keys for equality and order.
    pub keys: BTreeMap<PgType, Arc<ScalarUDF>>,
    next: u32,
}

pub(crate) static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let mut catalog = Catalog {
        functions: BTreeMap::new(),
        operators: BTreeMap::new(),
        casts: BTreeMap::new(),
        lengths: BTreeMap::new(),
        extremes: BTreeMap::new(),
        io: BTreeMap::new(),
        outputs: BTreeMap::new(),
        keys: BTreeMap::new(),
        next: 0,
    };
    super::key::register(&mut catalog);
    super::special::register(&mut catalog);
    super::compare::register(&mut catalog);
    super::integer::register(&mut catalog);
    super::float::register(&mut catalog);
    super::numeric::register(&mut catalog);
    super::string::register(&mut catalog);
    super::hash::register(&mut catalog);
    super::pattern::register(&mut catalog);
    super::bytes::register(&mut catalog);
    super::datetime::register(&mut catalog);
    super::extract::register(&mut catalog);
    super::session::register(&mut catalog);
    super::casts::register(&mut catalog);
    catalog
});

/// What deviates from a strict, immutable function of exactly its parameters.
pub(crate) struct Options {
    pub volatility: Volatility,
    pub strict: bool,
    pub variadic: Variadic,
    pub hidden: Vec<ContextValue>,
    /// Types of the work, when not those of the parameters.
    pub work: Option<Vec<PgType>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            volatility: Volatility::Immutable,
            strict: true,
            variadic: Variadic::No,
            hidden: Vec::new(),
            work: None,
        }
    }
}

impl Options {
    /// For work that reads something of the session.
    pub(crate) fn hidden(hidden: impl Into<Vec<ContextValue>>) -> Self {
        Options { hidden: hidden.into(), ..Options::default() }
    }

    pub(crate) fn lenient() -> Self {
        Options { strict: false, ..Options::default() }
    }

    pub(super) fn function(
        self,
        id: u32,
        name: &str,
        params: &[PgType],
        result: PgType,
        body: Body,
    ) -> (Arc<Function>, Arc<ScalarUDF>) {
        let function = Arc::new(Function {
            id,
            name: name.to_string(),
            params: params.to_vec(),
            work: self.work.unwrap_or_else(|| params.to_vec()),
            variadic: self.variadic,
            result,
            strict: self.strict,
            volatility: self.volatility,
            hidden: self.hidden,
            body,
        });
        let udf = PgFunction::udf(&function);
        (function, udf)
    }
}

impl Catalog {
    pub(crate) fn make(
        &mut self,
        name: &str,
        params: &[PgType],
        result: PgType,
        options: Options,
        body: Body,
    ) -> (Arc<Function>, Arc<ScalarUDF>) {
        self.next += 1;
        options.function(self.next, name, params, result, body)
    }

    fn entry(
        &mut self,
        name: &str,
        params: &[PgType],
        result: PgType,
        options: Options,
        body: Body,
    ) -> Entry {
        let (function, udf) = self.make(name, params, result, options, body);
        Entry {
            params: function.params.clone(),
            work: function.work.clone(),
            variadic: function.variadic,
            result,
            target: Target::Udf(function, udf),
        }
    }

    pub(crate) fn function(
        &mut self,
        name: &'static str,
        params: &[PgType],
        result: PgType,
        options: Options,
        body: Body,
    ) {
        let entry = self.entry(name, params, result, options, body);
        self.functions.entry(name).or_default().push(entry);
    }

    pub(crate) fn operator(
        &mut self,
        name: &'static str,
        params: &[PgType],
        result: PgType,
        options: Options,
        body: Body,
    ) {
        let entry = self.entry(name, params, result, options, body);
        self.operators.entry(name).or_default().push(entry);
    }

    pub(crate) fn compare(&mut self, name: &'static str, op: Operator, params: [PgType; 2], work: PgType) {
        self.operators.entry(name).or_default().push(Entry {
            params: params.to_vec(),
            work: vec![work, work],
            variadic: Variadic::No,
            result: PgType::Bool,
            target: Target::Compare(op),
        });
    }

    pub(crate) fn context(&mut self, name: &'static str, value: ContextValue) {
        self.functions.entry(name).or_default().push(Entry {
            params: Vec::new(),
            work: Vec::new(),
            variadic: Variadic::No,
            result: value.ty(),
            target: Target::Context(value),
        });
    }

    pub(crate) fn fn1<A: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: for<'a> fn(A::Ref<'a>) -> Result<Option<R::Owned>>,
    ) {
        self.function(name, &[A::TYPE], R::TYPE, Options::default(), map1::<A, R>(f));
    }

    pub(crate) fn fn2<A: Kind, B: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: for<'a> fn(A::Ref<'a>, B::Ref<'a>) -> Result<Option<R::Owned>>,
    ) {
        self.function(name, &[A::TYPE, B::TYPE], R::TYPE, Options::default(), map2::<A, B, R>(f));
    }

    pub(crate) fn fn3<A: Kind, B: Kind, C: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: for<'a> fn(A::Ref<'a>, B::Ref<'a>, C::Ref<'a>) -> Result<Option<R::Owned>>,
    ) {
        self.function(name, &[A::TYPE, B::TYPE, C::TYPE], R::TYPE, Options::default(), map3::<A, B, C, R>(f));
    }

    pub(crate) fn fn4<A: Kind, B: Kind, C: Kind, D: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: for<'a> fn(A::Ref<'a>, B::Ref<'a>, C::Ref<'a>, D::Ref<'a>) -> Result<Option<R::Owned>>,
    ) {
        let params = [A::TYPE, B::TYPE, C::TYPE, D::TYPE];
        self.function(name, &params, R::TYPE, Options::default(), map4::<A, B, C, D, R>(f));
    }

    pub(crate) fn op1<A: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: for<'a> fn(A::Ref<'a>) -> Result<Option<R::Owned>>,
    ) {
        self.operator(name, &[A::TYPE], R::TYPE, Options::default(), map1::<A, R>(f));
    }

    pub(crate) fn op2<A: Kind, B: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: for<'a> fn(A::Ref<'a>, B::Ref<'a>) -> Result<Option<R::Owned>>,
    ) {
        self.operator(name, &[A::TYPE, B::TYPE], R::TYPE, Options::default(), map2::<A, B, R>(f));
    }

    pub(crate) fn cast1<A: Kind, R: Kind>(
        &mut self,
        context: CastContext,
        f: for<'a> fn(A::Ref<'a>) -> Result<Option<R::Owned>>,
    ) {
        self.cast_body(A::TYPE, R::TYPE, context, Options::default(), map1::<A, R>(f));
    }

    pub(crate) fn cast_body(
        &mut self,
        from: PgType,
        to: PgType,
        context: CastContext,
        options: Options,
        body: Body,
    ) {
        let name = format!("{}_from_{}", to.name(), from.name());
        let (function, udf) = self.make(&name, &[from], to, options, body);
        self.casts.insert((from, to), (context, CastMethod::Udf(function, udf)));
    }

    /// The conversion through output and input function, where both ends have them.
    pub(crate) fn io_cast(&self, from: PgType, to: PgType) -> Option<CastMethod> {
        self.io.get(&(from, to)).map(|(function, udf)| CastMethod::Udf(function.clone(), udf.clone()))
    }

    pub(crate) fn relabel(&mut self, from: PgType, to: PgType, context: CastContext) {
        self.casts.insert((from, to), (context, CastMethod::Relabel));
    }
}
