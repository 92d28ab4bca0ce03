//! Checks a live cluster through its SQL ports.

mod bank;
mod host;
mod lists;
mod registers;
mod run;
mod session;
mod tables;

use crate::{
    IsolationArgs, Progress, append,
    level::Level,
    register,
    report::{Report, Section, Workload},
};
use anyhow::{Result, bail};
use bank::Bank;
use futures::future::{Either, select};
use lists::Lists;
use registers::Registers;
use run::{Plan, Run};
use session::Session;
use std::{cell::Cell, pin::pin, time::Instant};
use tables::Tables;

/// Runs what was asked for and judges it. `ready` is called when all is there that the clients need, before they begin.
///
/// # Errors
/// When the cluster cannot be checked.
pub async fn isolation(args: &IsolationArgs, progress: Progress, ready: impl FnOnce()) -> Result<Report> {
    let (began, runs) = (host::now(), args.runs());
    if runs.is_empty() {
        bail!("register runs at serializable only");
    }
    let plan = Plan {
        urls: args.url.clone(),
        clients: args.clients as usize,
        seed: args.seed.unwrap_or_else(host::unique),
        time: args.duration / u32::try_from(runs.len().max(1))?,
        stop: Cell::default(),
    };
    let check = Check { plan, quiet: args.json, progress, began };
    let session = Session::patient(&check.plan.urls[0]).await?;
    let tables = Tables::create(&session).await?;
    let report = check.all(&session, &tables, &runs, ready).await;
    let waiting = check.waiting("removing the tables");
    tables.drop(&check.plan).await;
    drop(waiting);
    report
}

struct Check {
    plan: Plan,
    quiet: bool,
    progress: Progress,
    began: Instant,
}

/// A workload with its tables.
enum Prepared {
    Lists(Lists),
    Bank(Bank),
    Registers(Registers),
}

impl Check {
    fn waiting(&self, what: impl Into<String>) -> Option<Box<dyn Send>> {
        (!self.quiet).then(|| (self.progress)(what.into()))
    }

    /// All tables first: whatever happens to the cluster then, they are there.
    async fn all(
        &self,
        session: &Session,
        tables: &Tables,
        runs: &[(Workload, Level)],
        ready: impl FnOnce(),
    ) -> Result<Report> {
        let waiting = self.waiting("making tables");
        let mut prepared = Vec::new();
        for (number, (workload, level)) in runs.iter().enumerate() {
            prepared.push((prepare(session, tables, number, *workload, *level).await?, *level));
        }
        let probe = tables.table(session, "probe".into(), "k int8 PRIMARY KEY", std::iter::empty()).await?;
        let strict = tables::strict(&self.plan.urls, &probe).await?;
        drop(waiting);
        ready();
        let sections = pin!(self.sections(prepared, Report::new(self.plan.seed, strict)));
        match select(sections, pin!(tokio::signal::ctrl_c())).await {
            Either::Left((report, _)) => report,
            Either::Right((_, sections)) => {
                eprintln!("ending early; what was seen so far is judged");
                self.plan.stop.set(true);
                match select(sections, pin!(tokio::signal::ctrl_c())).await {
                    Either::Left((report, _)) => report,
                    Either::Right(_) => bail!("interrupted"),
                }
            }
        }
    }

    async fn sections(&self, prepared: Vec<(Prepared, Level)>, mut report: Report) -> Result<Report> {
        for (prepared, level) in prepared {
            if self.plan.stop.get() {
                break;
            }
            if matches!(prepared, Prepared::Registers(_)) && !report.strict {
                report.left_out.push("register: only strict serializable binds it to real time".into());
                continue;
            }
            let section = self.section(prepared, level, report.strict).await?;
            if !self.quiet {
                println!("{}", section.text());
            }
            report.sections.push(section);
        }
        Ok(report)
    }

    async fn section(&self, prepared: Prepared, level: Level, strict: bool) -> Result<Section> {
        let began = self.began.elapsed();
        let run = Run::new(&self.plan, level);
        let _waiting = self.waiting(format!("{} at {}", prepared.workload().name(), level.name()));
        let mut section;
        match prepared {
            Prepared::Lists(lists) => {
                let transactions = run.history(&lists).await?;
                section = Section::new(Workload::ListAppend, level, began, &transactions, run.refusals());
                let last = Some(lists.last(&self.plan).await?);
                let verdict = append::judge(&append::History { transactions, last }, level, strict);
                section.lists(verdict);
            }
            Prepared::Bank(bank) => {
                let transactions = run.history(&bank).await?;
                section = Section::new(Workload::Bank, level, began, &transactions, run.refusals());
                let history = bank.history(transactions, &self.plan).await?;
                section.findings = crate::bank::judge(&history);
            }
            Prepared::Registers(registers) => {
                let attempts = run.history(&registers).await?;
                section = Section::new(Workload::Register, level, began, &attempts, run.refusals());
                section.registers(register::judge(&attempts));
            }
        }
        Ok(section)
    }
}

impl Prepared {
    fn workload(&self) -> Workload {
        match self {
            Prepared::Lists(_) => Workload::ListAppend,
            Prepared::Bank(_) => Workload::Bank,
            Prepared::Registers(_) => Workload::Register,
        }
    }
}

async fn prepare(
    session: &Session,
    tables: &Tables,
    number: usize,
    workload: Workload,
    level: Level,
) -> Result<Prepared> {
    Ok(match workload {
        Workload::ListAppend => Prepared::Lists(Lists::create(session, tables, number, level).await?),
        Workload::Bank => Prepared::Bank(Bank::create(session, tables, number, level).await?),
        Workload::Register => Prepared::Registers(Registers::create(session, tables, number).await?),
    })
}
