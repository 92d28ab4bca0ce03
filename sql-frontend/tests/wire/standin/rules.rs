//! The driver's rules about places, kept by the stand-in as the driver keeps them; it has one node, without a locality.

use parking_lot::Mutex;
use quorate_proto::{
    Span,
    placement::{
        ExplainPlacement, Explained, PlacementChange, PlacementError, PlacementReply, PlacementRule,
        PlacementStatus,
    },
};

#[derive(Default)]
pub struct Rules(Mutex<Vec<PlacementRule>>);

impl Rules {
    pub fn all(&self) -> PlacementReply {
        PlacementReply::Rules(self.0.lock().iter().map(status).collect())
    }

    pub fn configure(
        &self,
        span: Span,
        change: Option<PlacementChange>,
    ) -> Result<PlacementReply, PlacementError> {
        let mut rules = self.0.lock();
        let present = rules.iter().find(|rule| rule.span == span).cloned();
        let rule =
            change.map(|change| present.unwrap_or_else(|| PlacementRule::usual(span.clone())).with(change));
        if let Some(rule) = &rule {
            rule.check().map_err(PlacementError::Refused)?;
        }
        rules.retain(|rule| rule.span != span);
        rules.extend(rule.clone());
        Ok(PlacementReply::Rules(rule.iter().map(status).collect()))
    }

    pub fn forget(&self, span: &Span) -> PlacementReply {
        self.0.lock().retain(|rule| !span.contains_span(&rule.span));
        PlacementReply::Rules(vec![])
    }
}

fn status(rule: &PlacementRule) -> PlacementStatus {
    let open = !rule.constraints.is_empty() || rule.replicas > 1;
    PlacementStatus {
        rule: rule.clone(),
        unfulfilled: open.then(|| "shard 1 has 1 copies".to_owned()).into_iter().collect(),
        impossible: open.then(|| "there is one node".to_owned()).into_iter().collect(),
    }
}

pub fn explain(asked: ExplainPlacement) -> Result<PlacementReply, PlacementError> {
    if asked.shard.0 != 1 {
        return Err(PlacementError::Refused(format!("there is no shard {}", asked.shard)));
    }
    let line = |about: &str, text: String| Explained { about: about.into(), text };
    let told = match asked.why_not {
        None => vec![line("copy", "node 1: leads".into()), line("split", "nothing: it is small".into())],
        Some(node) => vec![line("node", format!("there is no node {node}"))],
    };
    Ok(PlacementReply::Explained(told))
}
