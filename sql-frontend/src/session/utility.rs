//! Statements about the session, and the way to those about the schema.

use super::{
    Session,
    parse::{Command, Discard, Level, Modes},
    run::Outcome,
    settings::IDEMPOTENCY_KEY,
    tx::{Tx, options},
};
use crate::{
    bind::OutColumn,
    ddl,
    error::{SqlError, SqlState},
    types::{Datum, PgType},
    wire::{backend::Severity, io::Outbox},
};
use quorate_txn::Isolation;
use sqlparser::ast::ObjectName;
use std::sync::Arc;

fn column(name: &str, ty: PgType) -> OutColumn {
    OutColumn { name: name.into(), ty, typmod: -1, origin: None }
}

/// What a command of the session returns.
pub fn columns_of(command: &Command) -> Option<Vec<OutColumn>> {
    let text = |names: &[&str]| Some(names.iter().map(|name| column(name, PgType::Text)).collect());
    match command {
        Command::Show(name) => text(&[shown_name(name)]),
        Command::ShowAll => text(&["name", "setting", "description"]),
        Command::ShowShards(_) => Some(ddl::shards::show_columns()),
        Command::ShowPlacement(_) => Some(ddl::placement::show_columns()),
        Command::ExplainPlacement(_) => Some(ddl::placement::explain_columns()),
        Command::ShowEvidence(_) => text(&["certificate", "shard_id", "value"]),
        _ => None,
    }
}

/// The column's name is the setting's, as PostgreSQL spells it.
fn shown_name(name: &str) -> &str {
    match name {
        "timezone" => "TimeZone",
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        other => other,
    }
}

impl Session {
    /// Carries out what is no statement on data.
    pub(super) async fn utility(
        &mut self,
        command: &Command,
        sql: &Arc<str>,
        out: &mut Outbox,
    ) -> Result<Outcome, SqlError> {
        match command {
            Command::Set { local, name, value } => {
                self.set(*local, name, value.as_deref(), out)?;
                Ok(Outcome::done("SET"))
            }
            Command::SetTransaction(modes) => {
                if !self.is_in_explicit_tx() {
                    let text = "SET TRANSACTION can only be used in transaction blocks";
                    self.warn(out, SqlState::NO_ACTIVE_TRANSACTION, text);
                }
                self.set_modes(modes, out)?;
                Ok(Outcome::done("SET"))
            }
            Command::SetCharacteristics(modes) => {
                self.set_characteristics(modes, out)?;
                Ok(Outcome::done("SET"))
            }
            Command::Reset(name) => {
                self.change_settings(false, out, |settings| settings.reset(name).map(drop))?;
                Ok(Outcome::done("RESET"))
            }
            Command::ResetAll => {
                self.change_settings(false, out, |settings| settings.reset_all().map(drop))?;
                Ok(Outcome::done("RESET"))
            }
            Command::Show(name) => {
                self.show(name).map(|value| Outcome::rows(vec![vec![Datum::Text(value)]], "SHOW"))
            }
            Command::ShowAll => Ok(Outcome::rows(
                self.present_settings()
                    .all()
                    .into_iter()
                    .map(|shown| {
                        vec![
                            Datum::Text(shown.name),
                            Datum::Text(shown.value),
                            Datum::Text(shown.about.into()),
                        ]
                    })
                    .collect(),
                "SHOW",
            )),
            Command::Discard(what) => self.discard(*what, out).await,
            Command::Deallocate(name) => {
                match name {
                    Some(name) => {
                        self.find_prepared(name)?;
                        self.prepared.remove(name);
                    }
                    None => self.prepared.clear(),
                }
                Ok(Outcome::done(if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" }))
            }
            Command::Prepare { name, types, statement, body } => {
                if self.prepared.contains_key(name) {
                    return Err(SqlError::new(
                        SqlState::DUPLICATE_PREPARED_STATEMENT,
                        format!("prepared statement \"{name}\" already exists"),
                    ));
                }
                let mut declared = Vec::new();
                for ty in types {
                    declared.push(Some(crate::bind::bind_type(ty, None)?.0));
                }
                let inner = Arc::new(Command::Statement(statement.clone()));
                self.prepare(name.clone(), Arc::from(&sql[body.clone()]), Some(inner), declared).await?;
                Ok(Outcome::done("PREPARE"))
            }
            Command::Maintenance { vacuum, tables } => self.maintenance(*vacuum, tables, out).await,
            Command::Checkpoint => {
                let text = "every acknowledged commit is on the disks of a quorum already";
                self.note(out, text);
                Ok(Outcome::done("CHECKPOINT"))
            }
            Command::Unlisten => Ok(Outcome::done("UNLISTEN")),
            Command::ShowEvidence(id) => self.evidence(id),
            Command::Refused(what) => Err(SqlError::unsupported(what)),
            Command::Wrong(error) => Err(SqlError::clone(error)),
            Command::ShowShards(_)
            | Command::AlterSequence(_)
            | Command::SplitAt { .. }
            | Command::Unsplit { .. }
            | Command::Scatter(_)
            | Command::ConfigurePlacement { .. }
            | Command::ShowPlacement(_)
            | Command::ExplainPlacement(_)
            | Command::Statement(_) => self.ddl(command, sql, out).await,
            _ => Err(SqlError::internal("a command that is carried out elsewhere")),
        }
    }

    fn note(&self, out: &mut Outbox, text: impl Into<String>) {
        self.notice(out, Severity::Notice, &SqlError::new(SqlState("00000"), text));
    }

    async fn ddl(
        &mut self,
        command: &Command,
        sql: &Arc<str>,
        out: &mut Outbox,
    ) -> Result<Outcome, SqlError> {
        let snapshot = self.snapshot();
        let (coordinator, pid) = (self.shared.coordinator.clone(), self.pid());
        let open = self.open_mut()?;
        // Whatever ran before in the same transaction would be committed or held back together with this.
        let shared = open.explicit || !open.log.is_empty();
        // What is alone in its transaction also proves what it has only read.
        if !shared && open.txn.isolation() != Isolation::Serializable {
            open.txn = coordinator.begin(options(pid, Isolation::Serializable, open.read_only));
        }
        let txn = open.txn.clone();
        let ctx = self.exec_context(snapshot.clone())?;
        let mut change = ddl::Change::new(ctx, snapshot, txn, shared, sql.clone());
        let open = self.open_mut()?;
        if !shared {
            // The steps of the change wait for everybody to let go of the old catalog, this session included.
            open.pinned.end_statement();
        }
        let outcome = self.in_company(out, ddl::run(&mut change, command)).await;
        let ddl::Change { overlay, after_commit, notices, committed, txn, .. } = change;
        for notice in notices {
            self.notice(out, Severity::Notice, &notice);
        }
        let open = self.open_mut()?;
        if committed {
            open.txn = txn;
            // Steps are behind it that must not be taken twice.
            open.log.close();
        }
        let outcome = outcome?;
        let open = self.open_mut()?;
        if overlay.is_some() {
            open.overlay = overlay;
        }
        open.after_commit.extend(after_commit);
        Ok(outcome)
    }

    /// Changes settings, within the transaction if there is one.
    pub(super) fn change_settings(
        &mut self,
        local: bool,
        out: &mut Outbox,
        change: impl Fn(&mut super::settings::Settings) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let mut next = (*self.settings).clone();
        change(&mut next)?;
        if !local && let Tx::Open(open) = &mut self.tx {
            change(Arc::make_mut(&mut open.settings_after))?;
        }
        self.switch_settings(Arc::new(next), out);
        Ok(())
    }

    fn set(
        &mut self,
        local: bool,
        name: &str,
        value: Option<&[String]>,
        out: &mut Outbox,
    ) -> Result<(), SqlError> {
        if local && !self.is_in_explicit_tx() {
            let text = "SET LOCAL can only be used in transaction blocks";
            self.warn(out, SqlState::NO_ACTIVE_TRANSACTION, text);
        }
        if name == IDEMPOTENCY_KEY {
            self.check_key_may_change()?;
        }
        let one = match value {
            Some([one]) => Some(one.to_lowercase()),
            _ => None,
        };
        let flag = |modes: fn(bool) -> Modes| match one.as_deref() {
            Some("on" | "true" | "yes" | "1" | "t" | "y") => Ok(modes(true)),
            Some("off" | "false" | "no" | "0" | "f" | "n") => Ok(modes(false)),
            _ => Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("parameter \"{name}\" requires a Boolean value"),
            )),
        };
        match name {
            "transaction_isolation" => {
                if let Some(level) = one.as_deref().and_then(Level::of_name) {
                    return self.set_modes(&Modes { isolation: Some(level), ..Modes::default() }, out);
                }
            }
            "transaction_read_only" => {
                let modes = flag(|on| Modes { read_only: Some(on), ..Modes::default() })?;
                return self.set_modes(&modes, out);
            }
            "transaction_deferrable" => {
                let modes = flag(|on| Modes { deferrable: Some(on), ..Modes::default() })?;
                return self.set_modes(&modes, out);
            }
            _ => {}
        }
        self.change_settings(local, out, |settings| match value {
            Some(values) => settings.set(name, values).map(drop),
            None => settings.reset(name).map(drop),
        })
    }

    fn set_characteristics(&mut self, modes: &Modes, out: &mut Outbox) -> Result<(), SqlError> {
        if modes.as_of.is_some() {
            return Err(SqlError::unsupported("AS OF SYSTEM TIME for all transactions of a session")
                .hint("SET read_staleness lets read-only transactions read the past."));
        }
        if modes.idempotency_key.is_some() {
            return Err(SqlError::unsupported("one idempotency key for all transactions of a session")
                .hint("Each transaction needs a key of its own."));
        }
        if let Some(level) = modes.isolation {
            let name = level.name().to_string();
            self.set(false, "default_transaction_isolation", Some(&[name]), out)?;
        }
        let flags = [
            ("default_transaction_read_only", modes.read_only),
            ("default_transaction_deferrable", modes.deferrable),
        ];
        for (name, on) in flags {
            let Some(on) = on else { continue };
            self.set(false, name, Some(&[if on { "on" } else { "off" }.to_string()]), out)?;
        }
        Ok(())
    }

    fn show(&self, name: &str) -> Result<String, SqlError> {
        Ok(match name {
            "session_authorization" => self.user().into(),
            "max_connections" => self.shared.config.max_connections.to_string(),
            "guarantee" => format!("⟨{}⟩", self.full_guarantee()),
            "role" => "none".into(),
            name => self.present_settings().get(name)?.into(),
        })
    }

    /// The last statement's guarantee with the session's own parts (DESIGN §1).
    fn full_guarantee(&self) -> String {
        if self.guarantee.is_empty() {
            return format!("session, none, none, none, none, trust({})", self.user());
        }
        format!("{}, trust({})", self.guarantee, self.user())
    }

    async fn discard(&mut self, what: Discard, out: &mut Outbox) -> Result<Outcome, SqlError> {
        if what == Discard::All {
            if self.is_in_explicit_tx() {
                return Err(SqlError::new(
                    SqlState::ACTIVE_TRANSACTION,
                    "DISCARD ALL cannot run inside a transaction block",
                ));
            }
            self.change_settings(false, out, |settings| settings.reset_all().map(drop))?;
            self.prepared.clear();
            let freed = self.locks.unlock_all();
            self.await_release(freed).await;
        }
        if matches!(what, Discard::All | Discard::Plans) {
            self.plans.clear();
            self.shapes.clear();
        }
        if matches!(what, Discard::All | Discard::Sequences) {
            self.sequences.forget();
        }
        Ok(Outcome::done(match what {
            Discard::All => "DISCARD ALL",
            Discard::Plans => "DISCARD PLANS",
            Discard::Sequences => "DISCARD SEQUENCES",
            Discard::Temp => "DISCARD TEMP",
        }))
    }

    async fn maintenance(
        &mut self,
        vacuum: bool,
        tables: &[ObjectName],
        out: &mut Outbox,
    ) -> Result<Outcome, SqlError> {
        if vacuum && self.is_in_explicit_tx() {
            return Err(SqlError::new(
                SqlState::ACTIVE_TRANSACTION,
                "VACUUM cannot run inside a transaction block",
            ));
        }
        let names = self.names(self.snapshot());
        for table in tables {
            names.table(table)?;
        }
        if vacuum {
            self.note(out, "VACUUM has no effect: old versions are removed in the background, once they are older than gc_ttl and nobody reads them");
        } else {
            self.note(out, "ANALYZE has no effect: the planner uses no statistics yet");
        }
        Ok(Outcome::done(if vacuum { "VACUUM" } else { "ANALYZE" }))
    }

    fn evidence(&self, id: &str) -> Result<Outcome, SqlError> {
        let id = id.parse().map_err(|_| {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("\"{id}\" is not a transaction id"))
                .hint("A transaction id has 32 hexadecimal digits.")
        })?;
        let Some(evidence) = self.shared.coordinator.evidence(id) else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("no evidence for transaction {id} on this node"),
            )
            .hint("Ask the node that coordinated it; each remembers its latest transactions."));
        };
        let row = |what: &str, shard: Option<String>, value: String| {
            vec![Datum::Text(what.into()), shard.into(), Datum::Text(value)]
        };
        let mut rows = vec![
            row("outcome", None, format!("{:?}", evidence.outcome)),
            row("anchor", None, evidence.anchor.escape_ascii().to_string()),
        ];
        for (shard, position) in &evidence.prepared {
            rows.push(row("prepare", Some(shard.to_string()), position.to_string()));
        }
        if let Some((shard, position)) = &evidence.decided {
            rows.push(row("decision", Some(shard.to_string()), position.to_string()));
        }
        Ok(Outcome::rows(rows, "SHOW"))
    }
}
