//! `quorate fault run`: one fault after the other, with quiet in between.

use super::{
    action::Fault,
    draw::{self, Draw, Kind},
    issue::Issuer,
};
use crate::demo::{self, Cluster};
use anyhow::{Context, Result};
use futures::FutureExt;
use quorate_env::time;
use std::time::Duration;

/// How a series goes.
pub struct Series {
    pub lasts: Duration,
    /// From one beginning to the next.
    pub every: Duration,
    pub kinds: Vec<Kind>,
    pub seed: u64,
}

/// After each fault all nodes must answer again; if one does not, that ends the series.
pub async fn run(cluster: &Cluster, series: Series, mut issuer: Issuer) -> Result<()> {
    let kinds = draw::kinds(cluster, series.kinds)?;
    let nodes: Vec<u64> = cluster.nodes.iter().map(|node| node.id).collect();
    let mut draw = Draw::new(series.seed);
    let end = time::now() + series.lasts;
    loop {
        let next = time::now() + series.every;
        let (action, lasts) = draw.fault(&kinds, &nodes, series.every);
        issuer.run(cluster, &Fault::new(action, Some(lasts))).await?;
        for node in &cluster.nodes {
            let answered = issuer.wait_for(demo::until_it_answers(cluster, node)).await;
            answered.with_context(|| format!("after a fault of seed {}", series.seed))?;
        }
        if next >= end {
            return Ok(());
        }
        issuer.wait_for(demo::pause(next.saturating_sub(time::now())).map(Ok)).await?;
    }
}
