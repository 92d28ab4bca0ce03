//! What users ask of the driver about places: rules for the keys of tables, how far they are kept, and why copies lie where they do.

use crate::{
    Placement,
    command::Command,
    leader::Session,
    planner::{explain, kept, why::Inputs},
    run,
    state::State,
};
use quorate_proto::{
    ShardId, Span,
    placement::{
        ExplainPlacement, Explained, Operation, PlacementChange, PlacementDecision, PlacementError,
        PlacementReply, PlacementRule, PlacementStatus,
    },
};

/// Decisions about a shard that an explanation names.
const DECISIONS: usize = 3;

impl Placement {
    pub(crate) async fn configure(
        &self,
        session: &Session,
        span: Span,
        change: Option<PlacementChange>,
    ) -> Result<PlacementReply, PlacementError> {
        self.propose(Command::Configure(span.clone(), change)).await?;
        Ok(PlacementReply::Rules(
            self.rules(session).into_iter().filter(|told| told.rule.span == span).collect(),
        ))
    }

    /// All rules, and how far they are kept.
    pub(crate) fn rules(&self, session: &Session) -> Vec<PlacementStatus> {
        let view = run::view(self, session);
        let status = |rule: &PlacementRule| {
            let (unfulfilled, impossible) = kept::kept(&view, rule);
            PlacementStatus { rule: rule.clone(), unfulfilled, impossible }
        };
        view.rules.values().map(status).collect()
    }

    pub(crate) fn explain(
        &self,
        session: &Session,
        asked: ExplainPlacement,
    ) -> Result<PlacementReply, PlacementError> {
        let mut picture = run::schedule::present(self, session);
        // As it is, not as it will be by what is under way.
        let mut real = run::view(self, session);
        picture.view.shards.extend(real.shards.remove_entry(&asked.shard));
        picture.view.leaders.extend(real.leaders.remove_entry(&asked.shard));
        let at = self.env.clock().physical();
        let told = match asked.why_not {
            None => explain::shard(&picture, asked.shard, at),
            Some(node) => explain::why_not(&picture, asked.shard, node, at),
        };
        let refused = || PlacementError::Refused(format!("there is no shard {}", asked.shard));
        let mut told = told.ok_or_else(refused)?;
        if asked.why_not.is_none() {
            told.extend(decided(&self.machine.state(), asked.shard));
        }
        Ok(PlacementReply::Explained(told))
    }

    pub(crate) fn decisions(&self, limit: u64) -> Vec<PlacementDecision> {
        let state = self.machine.state();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let newest = state.decisions.values().rev().take(if limit == 0 { usize::MAX } else { limit });
        newest
            .map(|decision| PlacementDecision { told: Inputs::told(decision), ..decision.clone() })
            .collect()
    }
}

/// The last decisions about a shard, the newest first.
fn decided(state: &State, shard: ShardId) -> Vec<Explained> {
    let own = state.decisions.values().rev().filter(|decision| decision.shard == Some(shard));
    let told = |decision: &PlacementDecision| {
        let PlacementDecision { id, scheduler, seen, chosen, outcome, .. } = decision;
        let outcome = if outcome.is_empty() { "under way" } else { outcome };
        Explained {
            about: format!("decision {id}"),
            text: format!("{scheduler}: {seen} → {chosen} ({outcome})"),
        }
    };
    own.take(DECISIONS).map(told).collect()
}

impl State {
    /// Why an operator's operation would break what users have asked for.
    pub(crate) fn breaks_a_rule(&self, operation: &Operation) -> Option<String> {
        match operation {
            Operation::MoveReplica { shard, to, .. } => {
                let rule = self.rule_of(&self.shards.get(shard)?.descriptor)?;
                let tiers = &self.nodes.get(to)?.info.locality;
                let for_all = rule.constraints.iter().filter(|constraint| constraint.copies.is_none());
                let violated = for_all.into_iter().find(|constraint| !tiers.contains(&constraint.tier))?;
                Some(format!("node {to} is not in {violated}, where the copies of shard {shard} are to be"))
            }
            Operation::Merge { at } => {
                let (left, right) = self.neighbours(at)?;
                (self.rule_of(left) != self.rule_of(right)).then(|| {
                    format!("users have asked for different places for shards {} and {}", left.id, right.id)
                })
            }
            _ => None,
        }
    }
}
