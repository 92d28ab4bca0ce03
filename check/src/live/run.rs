//! Several clients over all gateways, until the time is over.

use super::{
    host,
    session::{Session, Step},
};
use crate::{
    attempt::{Attempt, Outcome},
    level::Level,
};
use anyhow::{Result, bail};
use rand::{SeedableRng, rngs::StdRng};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Where nothing was committed nothing is shown: the clients go on beyond their time until this many are, but not for ever.
const ENOUGH: u64 = 10;
const BEYOND: Duration = Duration::from_secs(90);
/// Before a gateway that does not answer, or refuses, is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the cluster may take to answer again once the clients are done.
const SETTLING: Duration = Duration::from_secs(120);

/// What the runs of one check have in common.
pub struct Plan {
    pub urls: Vec<String>,
    pub clients: usize,
    pub seed: u64,
    /// Each run's time.
    pub time: Duration,
    /// Somebody wants it to end.
    pub stop: Cell<bool>,
}

/// One workload at one level.
pub struct Run<'a> {
    pub plan: &'a Plan,
    pub level: Level,
    began: Instant,
    committed: Cell<u64>,
    refusals: RefCell<BTreeMap<String, u64>>,
    mistake: RefCell<Option<String>>,
    /// Why the last session could not be opened.
    unopened: RefCell<Option<anyhow::Error>>,
}

pub trait Workload {
    type Did;
    /// One transaction.
    async fn step(&self, session: &Session, random: &mut StdRng) -> Step<Self::Did>;
}

impl<'a> Run<'a> {
    pub fn new(plan: &'a Plan, level: Level) -> Self {
        Run {
            plan,
            level,
            began: host::now(),
            committed: Cell::default(),
            refusals: RefCell::default(),
            mistake: RefCell::default(),
            unopened: RefCell::default(),
        }
    }

    /// What the clients did and were told, in the order in which they were told.
    ///
    /// # Errors
    /// When a statement cannot be run at all, or no session can be opened.
    pub async fn history<W: Workload>(&self, workload: &W) -> Result<Vec<Attempt<W::Did>>> {
        let told = RefCell::new(Vec::new());
        let clients = (0..self.plan.clients).map(|number| self.client(number, workload, &told));
        futures::future::join_all(clients).await;
        if let Some(mistake) = self.mistake.take() {
            bail!("{mistake}");
        }
        let told = told.into_inner();
        match self.unopened.take() {
            Some(error) if told.is_empty() => Err(error),
            _ => Ok(told),
        }
    }

    /// How often which SQLSTATE was answered; the empty one is a lost connection.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        self.refusals.borrow().clone()
    }

    fn goes_on(&self) -> bool {
        let elapsed = self.began.elapsed();
        let patient = self.committed.get() < ENOUGH && elapsed < self.plan.time + BEYOND;
        !self.plan.stop.get() && self.mistake.borrow().is_none() && (elapsed < self.plan.time || patient)
    }

    async fn client<W: Workload>(&self, number: usize, workload: &W, told: &RefCell<Vec<Attempt<W::Did>>>) {
        let mut random = StdRng::seed_from_u64(self.plan.seed.wrapping_add(number as u64));
        let mut gateway = number;
        let mut open: Option<Session> = None;
        while self.goes_on() {
            let Some(session) = open.take().filter(|session| !session.is_over()) else {
                let url = &self.plan.urls[gateway % self.plan.urls.len()];
                match Session::open(url, self.level).await {
                    Ok(session) => open = Some(session),
                    Err(error) => {
                        // The next one may be up.
                        gateway += 1;
                        *self.unopened.borrow_mut() = Some(error);
                        host::sleep(PAUSE).await;
                    }
                }
                continue;
            };
            let begun = self.began.elapsed();
            let step = workload.step(&session, &mut random).await;
            let ended = self.began.elapsed();
            let pause = self.note(&step);
            let Step { did, outcome, .. } = step;
            told.borrow_mut().push(Attempt { client: number, begun, ended, outcome, did });
            if pause {
                host::sleep(PAUSE).await;
            }
            open = Some(session);
        }
    }

    /// Counts an end; says whether to wait before the next.
    fn note<D>(&self, step: &Step<D>) -> bool {
        if step.outcome == Outcome::Committed {
            self.committed.set(self.committed.get() + 1);
        }
        let Some(broken) = &step.broken else { return false };
        let state = broken.state.clone().unwrap_or_default();
        if broken.is_mistake() {
            *self.mistake.borrow_mut() = Some(format!("{state}: {}", broken.message));
        }
        let usual = state.starts_with("40");
        *self.refusals.borrow_mut().entry(state).or_default() += 1;
        !usual
    }
}

impl Plan {
    /// Something read once the clients are done, from whichever gateway answers.
    ///
    /// # Errors
    /// When none does for long.
    pub async fn settled<T>(&self, read: impl AsyncFn(&Session) -> Result<T>) -> Result<T> {
        let began = host::now();
        for url in self.urls.iter().cycle() {
            let tried = match Session::patient(url).await {
                Ok(session) => read(&session).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(read) => return Ok(read),
                Err(error) if began.elapsed() > SETTLING => {
                    return Err(error.context("what is there in the end cannot be read"));
                }
                Err(_) => host::sleep(10 * PAUSE).await,
            }
        }
        bail!("no gateway is named")
    }
}
