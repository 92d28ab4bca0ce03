//! `quorate shard recover`: what is left of shards that have lost their quorum, what may be missing, and, if that is agreed to,
//! going on from it.

use super::{client, operation};
use crate::cli::HostArgs;
use anyhow::{Context, Result, bail};
use quorate_proto::{
    Replica, ShardId, Timestamp,
    placement::{
        Loss, LostCopy, Operation, PlacementReply, PlacementRequest, RecoveryPlan, Survey, Testimony,
    },
};
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Write};

/// Tells of all shards without a quorum, or of one; then asks, unless that is answered beforehand.
pub async fn recover(host: &HostArgs, shard: Option<u64>, yes: bool) -> Result<()> {
    let surveys = survey(host, shard.map(ShardId)).await?;
    let plans: Vec<RecoveryPlan> = surveys.iter().filter_map(|survey| survey.plan.clone().ok()).collect();
    if !host.json {
        println!("{}", told(&surveys));
    } else if !yes {
        // Programs are shown the plan, and agree with --yes.
        let all: Vec<Value> = surveys.iter().map(|survey| as_json(survey, None)).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    if shard.is_some()
        && let Some(Err(why)) = surveys.first().map(|survey| &survey.plan)
    {
        bail!("{why}");
    }
    if plans.is_empty() || !(yes || is_agreed(&plans)?) {
        return Ok(());
    }
    let mut done = Vec::new();
    for survey in &surveys {
        let Ok(plan) = &survey.plan else { continue };
        let operation = Operation::Recover { plan: Box::new(plan.clone()), by: whoami() };
        let id = operation::follow(host, operation).await?;
        if host.json {
            done.push(as_json(survey, Some(id)));
        } else {
            println!("shard {}: recovered by operation {id}", plan.shard);
        }
    }
    if host.json {
        println!("{}", serde_json::to_string_pretty(&done)?);
    }
    Ok(())
}

async fn survey(host: &HostArgs, shard: Option<ShardId>) -> Result<Vec<Survey>> {
    let _waiting = super::asking(host);
    let asked = client::placement(&host.host, PlacementRequest::Survey(shard)).await;
    match asked.context(
        "what is left can be asked of the placement driver only; bring back a majority of the nodes that carry it (`quorate \
         node ls` shows them)",
    )? {
        PlacementReply::Surveyed(surveys) => Ok(surveys),
        _ => bail!("unexpected answer"),
    }
}

fn whoami() -> String {
    ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "operator".into())
}

fn is_agreed(plans: &[RecoveryPlan]) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nothing is done without a word: --yes says it beforehand");
    }
    let shards: Vec<String> = plans.iter().map(|plan| plan.shard.to_string()).collect();
    print!(
        "Copies on the lost nodes are given up for good, whatever they hold.\nGo on with shard {}? [yes/no] ",
        shards.join(", ")
    );
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn told(surveys: &[Survey]) -> String {
    if surveys.is_empty() {
        return "every shard has a quorum in reach".into();
    }
    surveys.iter().map(of_shard).collect::<Vec<_>>().join("\n\n")
}

fn of_shard(survey: &Survey) -> String {
    let head = format!(
        "shard {}: {} of {} copies left",
        survey.descriptor.id,
        survey.left.len(),
        survey.left.len() + survey.lost.len()
    );
    let lost = survey.lost.iter().map(of_lost);
    let left = survey.left.iter().map(of_left);
    let plan = match &survey.plan {
        Ok(plan) => of_plan(plan),
        Err(why) => vec![format!("not to be recovered: {why}")],
    };
    let lines = lost.chain(left).chain(plan).map(|line| format!("  {line}"));
    [head].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

fn of_lost(lost: &LostCopy) -> String {
    format!("lost: {}, last heard of {}: {}", named(&lost.replica), time(lost.heard), lost.why)
}

fn of_left(left: &Testimony) -> String {
    let Testimony { replica, last, committed, applied, closed, .. } = left;
    format!(
        "left: {}, log up to {last}, committed up to {committed}, applied up to {applied}, complete up to {}",
        named(replica),
        time(*closed)
    )
}

fn of_plan(plan: &RecoveryPlan) -> Vec<String> {
    let (before, after) = (plan.before, plan.after);
    let epochs = format!(
        "{} goes on alone; the epoch {}.{} ends, and {}.{} begins",
        named(&plan.taken),
        before.0,
        before.1,
        after.0,
        after.1
    );
    vec![epochs, of_loss(&plan.loss)]
}

fn of_loss(loss: &Loss) -> String {
    match loss {
        Loss::Nothing(proof) => format!("PROVEN: no acknowledged write is missing: {proof}"),
        Loss::Interval { from, until, after } => format!(
            "AT RISK: commits acknowledged from {} to {} may be missing, in entries behind {after}",
            time(*from),
            time(*until)
        ),
    }
}

fn named(replica: &Replica) -> String {
    let role = format!("{:?}", replica.role).to_lowercase();
    format!("{role} {} on node {}", replica.id, replica.node)
}

/// To the microsecond; nothing is known from before the beginning of the clock.
fn time(at: Timestamp) -> String {
    let when = chrono::DateTime::from_timestamp_micros(i64::try_from(at.unix_micros()).unwrap_or(i64::MAX));
    match when {
        Some(when) if at > Timestamp::ZERO => when.format("%Y-%m-%d %H:%M:%S%.6f UTC").to_string(),
        _ => "the beginning".into(),
    }
}

fn as_json(survey: &Survey, operation: Option<u64>) -> Value {
    let replica = |replica: &Replica| {
        let role = format!("{:?}", replica.role).to_lowercase();
        json!({ "replica": replica.id.0, "node": replica.node.0, "role": role })
    };
    let lost = |lost: &LostCopy| json!({ "copy": replica(&lost.replica), "heard": time(lost.heard), "why": lost.why });
    let left = |left: &Testimony| {
        json!({
            "copy": replica(&left.replica), "log_end": left.last.to_string(), "committed": left.committed.to_string(),
            "applied": left.applied.to_string(), "complete_up_to": time(left.closed),
        })
    };
    let loss = |loss: &Loss| match loss {
        Loss::Nothing(proof) => json!({ "verdict": "proven", "proof": proof }),
        Loss::Interval { from, until, after } => json!({
            "verdict": "at risk", "from": time(*from), "until": time(*until), "after": after.to_string(),
        }),
    };
    let plan = survey.plan.as_ref().map(|plan| {
        json!({
            "taken": replica(&plan.taken), "epoch_before": [plan.before.0, plan.before.1],
            "epoch_after": [plan.after.0, plan.after.1], "loss": loss(&plan.loss),
        })
    });
    json!({
        "shard": survey.descriptor.id.0,
        "left": survey.left.iter().map(left).collect::<Vec<_>>(),
        "lost": survey.lost.iter().map(lost).collect::<Vec<_>>(),
        "plan": plan.as_ref().ok(),
        "obstacle": plan.as_ref().err(),
        "operation": operation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(time(Timestamp::ZERO), "the beginning");
        assert_eq!(time(Timestamp::from_micros(1_500_000)), "2020-01-01 00:00:01.500000 UTC");
    }
}
