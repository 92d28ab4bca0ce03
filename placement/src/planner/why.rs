//! A decision with its reasons: what it was made from is kept beside it, and makes the same decision again.

mod json;

use super::{Planned, balance, merge, place, slow, split};
use minicbor::{Decode, Encode};
use quorate_proto::{NodeId, ShardId, Timestamp, placement::PlacementDecision};

/// What a decision was made from: as much of the picture as could have made it another one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Inputs {
    #[n(0)]
    Split(#[n(0)] split::Input),
    #[n(1)]
    Merge(#[n(0)] merge::Input),
    #[n(2)]
    Balance(#[n(0)] balance::Input),
    #[n(3)]
    Place(#[n(0)] place::Input),
    #[n(4)]
    Slow(#[n(0)] slow::Input),
}

/// The reasons, in words.
pub(super) struct Words {
    pub scheduler: &'static str,
    pub shard: ShardId,
    pub seen: String,
    pub candidates: Vec<(NodeId, i64, String)>,
    pub options: Vec<(String, i64, String)>,
    pub chosen: String,
}

impl Inputs {
    /// What is to be done, with the reasons and with this input.
    pub fn decide(&self, at: Timestamp) -> Option<Planned> {
        let (operation, words) = match self {
            Inputs::Split(input) => input.decide(),
            Inputs::Merge(input) => input.decide(),
            Inputs::Balance(input) => input.decide(),
            Inputs::Place(input) => input.decide(),
            Inputs::Slow(input) => input.decide(),
        }?;
        let decision = PlacementDecision {
            id: 0,
            at,
            scheduler: words.scheduler.into(),
            shard: Some(words.shard),
            seen: words.seen,
            candidates: words.candidates,
            chosen: words.chosen,
            options: words.options,
            inputs: quorate_proto::rpc::encode(self).into(),
            ..PlacementDecision::default()
        };
        Some(Planned { operation, decision })
    }

    /// Makes a decision again from what is kept with it. `None` if that is everything it says in words.
    pub fn replay(decision: &PlacementDecision) -> Option<Planned> {
        let inputs: Inputs = quorate_proto::rpc::decode(&decision.inputs).ok()?;
        inputs.decide(decision.at)
    }

    /// What a decision was made from, for people. Empty if it is kept in words only.
    pub fn told(decision: &PlacementDecision) -> String {
        let inputs = quorate_proto::rpc::decode::<Inputs>(&decision.inputs);
        inputs.map(|inputs| inputs.json().to_string()).unwrap_or_default()
    }
}
