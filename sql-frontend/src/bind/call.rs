//! Function calls by name.

use super::Binder;
use super::datatype::fold;
use super::position::At;
use super::set_function::is_set_function;
use super::typed::Typed;
use crate::error::{SqlError, SqlState};
use crate::func::{resolve_aggregate, resolve_function};
use crate::types::PgType;
use sqlparser::ast::{
    self, DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, ObjectName, ObjectNamePart,
};

/// A call's arguments, bound.
pub(super) struct Args {
    pub star: bool,
    pub list: Vec<Typed>,
    pub distinct: bool,
    pub order_by: Vec<ast::OrderByExpr>,
}

impl Binder<'_> {
    pub(super) fn function(&mut self, function: &Function) -> Result<Typed, SqlError> {
        let pos = self.positions.of(&function.name);
        self.function_inner(function, pos).at(pos)
    }

    fn function_inner(&mut self, function: &Function, pos: Option<u32>) -> Result<Typed, SqlError> {
        if function.uses_odbc_syntax || !matches!(function.parameters, FunctionArguments::None) {
            return Err(SqlError::unsupported("this form of function call"));
        }
        if !function.within_group.is_empty() {
            return Err(SqlError::unsupported("WITHIN GROUP"));
        }
        if let FunctionArguments::Subquery(query) = &function.args
            && function.name.to_string().eq_ignore_ascii_case("array")
        {
            return self.array_subquery(query, pos);
        }
        let (schema, name) = function_name(&function.name)?;
        if function.over.is_some() {
            return self.window_call(function, &name, pos);
        }
        if function.null_treatment.is_some() {
            return Err(SqlError::unsupported("RESPECT NULLS and IGNORE NULLS"));
        }
        let args = match name.as_str() {
            "coalesce" => self.in_conditional("COALESCE", |b| b.args(&function.args, false))?,
            name => self.args(&function.args, is_aggregate_name(name))?,
        };
        if args.star && name != "count" {
            return Err(self.no_function(schema.as_deref(), &name, &[]));
        }
        if name == "grouping" {
            return Err(SqlError::unsupported("GROUPING"));
        }
        let types: Vec<PgType> = args.list.iter().map(|a| a.ty).collect();
        if let Some(aggregate) = resolve_aggregate(&name, &types).at(pos)? {
            return self.aggregate_call(aggregate, &name, args, function.filter.as_deref(), pos);
        }
        if args.distinct || function.filter.is_some() || !args.order_by.is_empty() {
            let what = if args.distinct {
                "DISTINCT"
            } else if function.filter.is_some() {
                "FILTER"
            } else {
                "ORDER BY"
            };
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("{what} specified, but {name} is not an aggregate function"),
            ));
        }
        if let Some(resolved) = self.ctx.catalog.function(schema.as_deref(), &name, &types) {
            return self.finish_call(&resolved, args.list, pos);
        }
        if schema.as_deref().is_some_and(|s| s != "pg_catalog") {
            return Err(self.no_function(schema.as_deref(), &name, &types));
        }
        if is_set_function(&name) {
            return self.set_call(&name, args.list, pos);
        }
        if is_window_name(&name) {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("window function {name} requires an OVER clause"),
            ));
        }
        let resolved = resolve_function(&name, &types).at(pos)?;
        self.finish_call(&resolved, args.list, pos)
    }

    pub(super) fn no_function(&self, schema: Option<&str>, name: &str, types: &[PgType]) -> SqlError {
        let shown: Vec<&str> = types.iter().map(|t| t.sql_name()).collect();
        let dot = schema.map(|s| format!("{s}.")).unwrap_or_default();
        SqlError::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("function {dot}{name}({}) does not exist", shown.join(", ")),
        )
        .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
    }

    /// Binds the arguments; those of an aggregate see the level's columns as not grouped.
    pub(super) fn args(&mut self, args: &FunctionArguments, aggregate: bool) -> Result<Args, SqlError> {
        let mut out = Args { star: false, list: vec![], distinct: false, order_by: vec![] };
        let list = match args {
            FunctionArguments::None => return Ok(out),
            FunctionArguments::Subquery(_) => {
                return Err(SqlError::unsupported("a query as the argument of a function"));
            }
            FunctionArguments::List(list) => list,
        };
        out.distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        for clause in &list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(order) => out.order_by = order.clone(),
                other => return Err(SqlError::unsupported(format!("{other} in a function call"))),
            }
        }
        let was = self.level_flag(aggregate);
        let bound: Result<Vec<Typed>, SqlError> = list
            .args
            .iter()
            .filter_map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(self.expr(e)),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {
                    out.star = true;
                    None
                }
                _ => Some(Err(SqlError::unsupported("named arguments"))),
            })
            .collect();
        self.restore_level_flag(was);
        out.list = bound?;
        if out.star && (list.args.len() > 1 || out.distinct) {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"*\""));
        }
        Ok(out)
    }
}

/// Schema (folded) and name.
pub(super) fn function_name(name: &ObjectName) -> Result<(Option<String>, String), SqlError> {
    let mut parts = Vec::new();
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(ident) => parts.push(fold(ident)),
            ObjectNamePart::Function(_) => return Err(SqlError::unsupported(format!("the name {name}"))),
        }
    }
    match parts.len() {
        1 => Ok((None, parts.remove(0))),
        2 => {
            let name = parts.remove(1);
            Ok((Some(parts.remove(0)), name))
        }
        _ => Err(SqlError::unsupported(format!("the name {name}"))),
    }
}

/// Whether a call of this name is an aggregate whatever its arguments.
pub(super) fn is_aggregate_name(name: &str) -> bool {
    // An aggregate resolves, or fails with 42883; anything else gives `Ok(None)`.
    !matches!(resolve_aggregate(name, &[]), Ok(None))
}

fn is_window_name(name: &str) -> bool {
    matches!(
        name,
        "row_number"
            | "rank"
            | "dense_rank"
            | "percent_rank"
            | "cume_dist"
            | "ntile"
            | "lag"
            | "lead"
            | "first_value"
            | "last_value"
            | "nth_value"
    )
}
