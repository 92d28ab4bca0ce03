//! `ALTER TABLE … CONFIGURE PLACEMENT`, `… RESET PLACEMENT`, `SHOW PLACEMENT` and `EXPLAIN PLACEMENT`: where the copies of a table's
//! rows are to lie, and why they lie where they do. The placement driver keeps all of it.

use super::{Change, PLACEMENT_TIMEOUT};
use crate::{
    bind::OutColumn,
    catalog::TableDescriptor,
    error::{SqlError, SqlState},
    row::table_span,
    server::Shared,
    session::{parse::PlacementOption, run::Outcome},
    types::{Datum, PgType},
};
use quorate_proto::placement::{
    COPIES, ExplainPlacement, PlacementChange, PlacementError, PlacementReply, PlacementRequest,
    PlacementRule, PlacementStatus, read_constraints, read_tiers, show_tiers,
};
use sqlparser::ast::ObjectName;

fn columns(all: &[(&str, PgType)]) -> Vec<OutColumn> {
    let column =
        |(name, ty): &(&str, PgType)| OutColumn { name: (*name).into(), ty: *ty, typmod: -1, origin: None };
    all.iter().map(column).collect()
}

pub fn show_columns() -> Vec<OutColumn> {
    columns(&[
        ("table_name", PgType::Text),
        ("replicas", PgType::Int8),
        ("constraints", PgType::Text),
        ("leader_preference", PgType::Text),
        ("version", PgType::Int8),
        ("fulfilled", PgType::Bool),
        ("unfulfilled", PgType::Text),
        ("impossible", PgType::Text),
    ])
}

pub fn explain_columns() -> Vec<OutColumn> {
    columns(&[("about", PgType::Text), ("explanation", PgType::Text)])
}

/// A rule and how far it is kept, as `SHOW PLACEMENT` and `quorate.placement_rules` have it behind the table's name.
pub fn show_status(status: &PlacementStatus) -> Vec<Datum> {
    let PlacementStatus { rule, unfulfilled, impossible } = status;
    let constraints: Vec<String> = rule.constraints.iter().map(ToString::to_string).collect();
    vec![
        Datum::Int8(rule.replicas as i64),
        Datum::Text(constraints.join(",")),
        Datum::Text(show_tiers(&rule.leaders)),
        Datum::Int8(rule.version as i64),
        Datum::Bool(unfulfilled.is_empty()),
        Datum::Text(unfulfilled.join("; ")),
        Datum::Text(impossible.join("; ")),
    ]
}

async fn ask(shared: &Shared, request: PlacementRequest) -> Result<PlacementReply, SqlError> {
    let reply = shared.placement.request(request, PLACEMENT_TIMEOUT).await;
    reply.map_err(|error| match error {
        PlacementError::Refused(why) => SqlError::new(SqlState::INVALID_PARAMETER_VALUE, why),
        error => SqlError::new(SqlState("57Q01"), format!("placement driver: {error}")),
    })
}

/// Of a table that is gone: what users have asked for of its places, and where they have split it.
pub async fn forget(shared: &Shared, table: u64) -> Result<(), SqlError> {
    ask(shared, PlacementRequest::Forget(table_span(table))).await.map(drop)
}

/// All rules.
pub async fn rules(shared: &Shared) -> Result<Vec<PlacementStatus>, SqlError> {
    match ask(shared, PlacementRequest::Rules).await? {
        PlacementReply::Rules(all) => Ok(all),
        other => Err(SqlError::internal(format!("placement answered {other:?}"))),
    }
}

pub async fn show(change: &mut Change, name: &ObjectName) -> Result<Outcome, SqlError> {
    let table = change.view()?.names.table(name)?;
    let span = table_span(table.id);
    let rules = rules(&*change.shared()?).await?;
    let usual = || PlacementStatus {
        rule: PlacementRule::usual(span.clone()),
        unfulfilled: Vec::new(),
        impossible: Vec::new(),
    };
    let status = rules.into_iter().find(|status| status.rule.span == span).unwrap_or_else(usual);
    let row = [vec![Datum::Text(table.name.clone())], show_status(&status)].concat();
    Ok(Outcome::rows(vec![row], "SHOW"))
}

/// No options: what was asked for is taken back. What is not named stays as it is.
pub async fn configure(
    change: &mut Change,
    name: &ObjectName,
    options: Option<&[PlacementOption]>,
) -> Result<Outcome, SqlError> {
    if change.shared_tx {
        let text = "the placement of a table cannot be changed inside a transaction block";
        return Err(SqlError::new(SqlState::ACTIVE_TRANSACTION, text)
            .detail("The placement driver notes it at once: it would stay if the transaction is rolled back.")
            .hint("Run it on its own."));
    }
    let table = change.view()?.names.table(name)?;
    // Whoever drops the table comes before this, and is met, or behind it, and takes the rule along.
    let table: TableDescriptor = change.lock_table(&table).await?;
    let wanted = options.map(read).transpose()?;
    let request = PlacementRequest::Configure { span: table_span(table.id), change: wanted };
    let shared = change.shared()?;
    let PlacementReply::Rules(rules) = ask(&shared, request).await? else {
        return Err(SqlError::internal("placement answered something else"));
    };
    let impossible = rules.into_iter().flat_map(|status| status.impossible);
    for why in impossible {
        let text = format!(
            "the placement of table \"{}\" cannot be fulfilled with the present nodes: {why}",
            table.name
        );
        let hint = "What can be done is done. SHOW PLACEMENT FOR TABLE tells what is missing.";
        change.notices.push(SqlError::new(SqlState("01000"), text).hint(hint));
    }
    Ok(Outcome::done("ALTER TABLE"))
}

fn read(options: &[PlacementOption]) -> Result<PlacementChange, SqlError> {
    let wrong = |why: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, why);
    let mut change = PlacementChange::default();
    for PlacementOption { name, value } in options {
        let text = value.as_deref().unwrap_or("");
        let named_before = match name.as_str() {
            "replicas" => {
                let number = || {
                    text.parse().map_err(|_| wrong(format!("replicas = {text}: there can be 1, 3, 5 or 7")))
                };
                let replicas = if value.is_some() { number()? } else { COPIES };
                change.replicas.replace(replicas).is_some()
            }
            "constraints" => {
                let constraints = read_constraints(text).map_err(wrong)?;
                change.constraints.replace(constraints).is_some()
            }
            "leader_preference" => {
                let leaders = read_tiers(text).map_err(wrong)?;
                change.leaders.replace(leaders).is_some()
            }
            other => {
                return Err(wrong(format!("there is no placement option \"{other}\""))
                    .hint("There are replicas, constraints and leader_preference."));
            }
        };
        if named_before {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("{name} is named twice")));
        }
    }
    Ok(change)
}

pub async fn explain(change: &Change, asked: ExplainPlacement) -> Result<Outcome, SqlError> {
    let lines = match ask(&*change.shared()?, PlacementRequest::Explain(asked)).await? {
        PlacementReply::Explained(lines) => lines,
        other => return Err(SqlError::internal(format!("placement answered {other:?}"))),
    };
    let rows = lines.into_iter().map(|line| vec![Datum::Text(line.about), Datum::Text(line.text)]);
    Ok(Outcome::rows(rows.collect(), "EXPLAIN"))
}
