//! What users ask for of the places of copies, by the keys of which it holds. Shards that a split makes within a span are under its
//! rule without being told.

use super::{State, Touched};
use crate::command::Reply;
use quorate_proto::{
    Key, ShardDescriptor, Span,
    placement::{PlacementChange, PlacementRule},
};

impl State {
    /// Nothing: nothing is asked for any more. Versions of a rule that comes back go on from the map's.
    pub(super) fn configure(
        &mut self,
        span: Span,
        change: Option<PlacementChange>,
        touched: &mut Touched,
    ) -> Reply {
        let key = span.start.clone();
        let present = self.rules.get(&key).filter(|rule| rule.span == span);
        let foreign = |rule: &&PlacementRule| rule.span != span && rule.span.overlaps(&span);
        if let Some(other) = self.rules.values().find(foreign) {
            return Reply::Refused(format!(
                "there is a rule for {:?}, which overlaps with {span:?}",
                other.span
            ));
        }
        let Some(change) = change else {
            touched.rules.insert(key.clone());
            self.rules.remove(&key);
            return Reply::Done;
        };
        let rule = present.cloned().unwrap_or_else(|| PlacementRule::usual(span)).with(change);
        if let Err(why) = rule.check() {
            return Reply::Refused(why);
        }
        touched.rules.insert(key.clone());
        self.rules.insert(key, rule);
        Reply::Done
    }

    /// Nothing lies in the span any more: what users have said of it goes.
    pub(super) fn forget(&mut self, span: &Span, touched: &mut Touched) -> Reply {
        let rules = self.rules.iter().filter(|(_, rule)| span.contains_span(&rule.span));
        let rules: Vec<Key> = rules.map(|(key, _)| key.clone()).collect();
        let boundaries: Vec<Key> = self.boundaries.iter().filter(|at| span.contains(at)).cloned().collect();
        for key in rules {
            self.rules.remove(&key);
            touched.rules.insert(key);
        }
        for at in boundaries {
            self.boundaries.remove(&at);
            touched.boundaries.insert(at);
        }
        Reply::Done
    }

    /// What is asked for of all keys of a shard.
    pub fn rule_of(&self, shard: &ShardDescriptor) -> Option<&PlacementRule> {
        let (_, rule) = self.rules.range::<Key, _>(..=&shard.span.start).next_back()?;
        rule.span.contains_span(&shard.span).then_some(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::placement::read_constraints;

    fn change(replicas: u64, constraints: &str) -> Option<PlacementChange> {
        let constraints = Some(read_constraints(constraints).unwrap());
        Some(PlacementChange { replicas: Some(replicas), constraints, leaders: None })
    }

    #[test]
    fn rules_come_change_and_go_with_what_they_are_for() {
        let (mut state, mut touched) = (State::default(), Touched::default());
        let table = Span::new("b", "c");
        assert_eq!(state.configure(table.clone(), change(5, "region=eu"), &mut touched), Reply::Done);
        let only = PlacementChange { replicas: Some(3), ..PlacementChange::default() };
        assert_eq!(state.configure(table.clone(), Some(only), &mut touched), Reply::Done);
        let rule = &state.rules[&Key::from("b")];
        assert_eq!((rule.version, rule.replicas, rule.constraints.len()), (2, 3, 1));
        let refused = [
            state.configure(table.clone(), change(4, ""), &mut touched),
            state.configure(Span::new("a", "bb"), change(3, ""), &mut touched),
        ];
        assert!(refused.iter().all(|reply| matches!(reply, Reply::Refused(_))), "{refused:?}");
        state.boundaries = ["a", "b", "bx", "c"].map(Key::from).into();
        state.forget(&table, &mut touched);
        assert!(state.rules.is_empty());
        assert_eq!(state.boundaries, ["a", "c"].map(Key::from).into());
        assert!(touched.boundaries.contains(&Key::from("bx")) && touched.rules.contains(&Key::from("b")));
    }
}
