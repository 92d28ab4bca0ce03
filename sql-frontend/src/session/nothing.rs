//! Queries on catalogs that never have rows (policies, publications, statistics objects …).
//!
//! Tools ask them with expressions that we do not have (arrays, most of all). Whatever the expressions are, nothing is
//! their result where an inner part of `FROM` is empty; so such a query is answered without being bound.

use super::parse::fold;
use crate::{bind::OutColumn, catalog::virtuals, types::PgType};
use sqlparser::ast::{
    Expr, GroupByExpr, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    TableFactor, TableWithJoins,
};

/// The columns of a query that cannot have rows; `None` if it could.
pub fn columns(query: &Query) -> Option<Vec<OutColumn>> {
    if query.with.is_some() {
        return None;
    }
    of_body(&query.body)
}

fn of_body(body: &SetExpr) -> Option<Vec<OutColumn>> {
    match body {
        SetExpr::Select(select) => of_select(select),
        SetExpr::Query(query) => columns(query),
        SetExpr::SetOperation { left, right, .. } => {
            let columns = of_body(left)?;
            of_body(right).map(|_| columns)
        }
        _ => None,
    }
}

fn of_select(select: &Select) -> Option<Vec<OutColumn>> {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(list, _) if list.is_empty());
    if !select.from.iter().any(is_empty) || select.having.is_some() {
        return None;
    }
    let mut columns = Vec::new();
    for item in &select.projection {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, name_of(expr)),
            SelectItem::ExprWithAlias { expr, alias } => (expr, fold(alias)),
            _ => return None,
        };
        // An aggregate without groups has a row even over nothing.
        if !grouped && may_aggregate(&expr.to_string().to_lowercase()) {
            return None;
        }
        columns.push(OutColumn { name, ty: PgType::Text, typmod: -1, origin: None });
    }
    Some(columns)
}

fn may_aggregate(text: &str) -> bool {
    ["count(", "sum(", "min(", "max(", "avg(", "_agg(", "bool_and(", "bool_or(", "every("]
        .iter()
        .any(|name| text.contains(name))
}

fn is_empty(table: &TableWithJoins) -> bool {
    let kept = |operator: &JoinOperator| {
        !matches!(operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_))
    };
    let inner = |operator: &JoinOperator| {
        matches!(operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    (factor_is_empty(&table.relation) && table.joins.iter().all(|join| kept(&join.join_operator)))
        || (table.joins.iter().all(|join| kept(&join.join_operator))
            && table.joins.iter().any(|join| inner(&join.join_operator) && factor_is_empty(&join.relation)))
}

fn factor_is_empty(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => always_empty(name),
        TableFactor::NestedJoin { table_with_joins, .. } => is_empty(table_with_joins),
        _ => false,
    }
}

fn always_empty(name: &ObjectName) -> bool {
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| match part {
            ObjectNamePart::Identifier(ident) => Some(fold(ident)),
            _ => None,
        })
        .collect();
    match parts.as_slice() {
        [name] => virtuals::is_always_empty(name),
        [schema, name] if schema == "pg_catalog" => virtuals::is_always_empty(name),
        _ => false,
    }
}

fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => fold(ident),
        Expr::CompoundIdentifier(parts) => parts.last().map(fold).unwrap_or_default(),
        Expr::Function(function) => match function.name.0.last() {
            Some(ObjectNamePart::Identifier(ident)) => fold(ident),
            _ => "?column?".into(),
        },
        _ => "?column?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::parse::{Command, parse};
    use sqlparser::ast::Statement;

    fn names(sql: &str) -> Option<Vec<String>> {
        let Command::Statement(statement) = parse(sql).unwrap().remove(0).command else { panic!() };
        let Statement::Query(query) = *statement else { panic!() };
        Some(columns(&query)?.into_iter().map(|column| column.name).collect())
    }

    #[test]
    fn only_what_cannot_have_rows() {
        let policies = "SELECT pol.polname, CASE WHEN pol.polroles = '{0}' THEN NULL ELSE \
            pg_catalog.array_to_string(array(select rolname from pg_catalog.pg_roles), ',') END AS r \
            FROM pg_catalog.pg_policy pol WHERE pol.polrelid = '16384' ORDER BY 1";
        assert_eq!(names(policies), Some(vec!["polname".into(), "r".into()]));
        assert_eq!(names("select 1 from pg_class c left join pg_policy p on true"), None);
        assert_eq!(names("select 1 from pg_class c join pg_policy p on true"), Some(vec!["?column?".into()]));
        assert_eq!(names("select 1 from pg_policy p right join pg_class c on true"), None);
        assert_eq!(names("select count(*) from pg_policy"), None);
        assert_eq!(names("select a from pg_policy union select b from pg_class"), None);
        assert_eq!(names("select 1 from pg_class, pg_trigger t"), Some(vec!["?column?".into()]));
    }
}
