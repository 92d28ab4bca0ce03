//! All that a run draws from its seed before it begins, less what is left out.

use crate::{
    departure,
    knobs::{self, Settings},
    left_out::{ALL, LeftOut},
    plan::{self, Plan},
    work::Kind,
};

#[derive(Clone, Debug)]
pub struct Drawn {
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
    pub(crate) fault_points: bool,
}

impl Drawn {
    /// # Errors
    /// If something is to be left out that there is not.
    pub fn new(seed: u64, left_out: &LeftOut) -> Result<Drawn, String> {
        let mut settings = knobs::draw(seed);
        // For the nodes that the seed draws, whichever there are to be.
        let mut plan = plan::draw(seed, settings.knobs.nodes);
        if let Some(number) =
            left_out.steps.0.iter().find(|number| !(1..=plan.steps.len() as u64).contains(number))
        {
            return Err(format!(
                "there is no step {number}: the plan of seed {seed} has {}",
                plan.steps.len()
            ));
        }
        plan.leave_out(&left_out.steps.0);
        if plan.has_departure_alone() {
            settings.knobs.repair_after = departure::NEVER_DEAD;
        }
        for name in &left_out.usual {
            let named: Vec<&str> = if name == ALL { knobs::names().collect() } else { vec![name] };
            if let Some(unknown) = named.into_iter().find(|name| !knobs::set_usual(&mut settings, name)) {
                let known: Vec<&str> = knobs::names().collect();
                return Err(format!("no knob is called {unknown}; there are: {}", known.join(" ")));
            }
        }
        settings.knobs.clients = left_out.clients.unwrap_or(settings.knobs.clients);
        // Nothing else rests on this seed: the plan and the knobs are drawn.
        settings.world.seed = seed ^ left_out.chance.rotate_right(8);
        settings.world.without_points = left_out.points.iter().cloned().collect();
        let settings = settings.settled();
        Ok(Drawn { settings, plan, fault_points: !left_out.without_points })
    }

    /// The numbers of the plan's steps.
    pub fn steps(&self) -> Vec<u64> {
        self.plan.steps.iter().map(|step| step.number).collect()
    }

    /// The knobs that do not stand at their usual values.
    pub fn knobs(&self) -> Vec<String> {
        knobs::unusual(&self.settings).into_iter().map(|(name, ..)| name.to_owned()).collect()
    }

    pub fn clients(&self) -> u64 {
        self.settings.knobs.clients
    }

    /// What clients work on beside the bank.
    pub(crate) fn workloads(&self) -> Vec<Kind> {
        let strict = self.real_time();
        let fits = |kind: &Kind| strict || *kind != Kind::Registers;
        self.settings.knobs.workloads.iter().copied().filter(fits).collect()
    }

    /// Whether transactions are promised to follow one another as they did in real time: clocks keep their bound, and it is small.
    pub(crate) fn real_time(&self) -> bool {
        self.settings.commits_wait() && !self.plan.breaks_clocks()
    }

    /// What is drawn, in words.
    pub fn lines(&self) -> Vec<String> {
        let knobs = knobs::unusual(&self.settings);
        let knobs: Vec<String> =
            knobs.iter().map(|(name, here, usual)| format!("{name} {here} (usually {usual})")).collect();
        let how = if self.plan.overlapping { "plan, one over the other:" } else { "plan:" };
        let mut lines = vec![how.to_owned()];
        lines.extend(self.plan.lines());
        lines.push(format!("knobs: {}", knobs.join(", ")));
        lines.push(format!("clients: {}", self.clients()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::left_out::Numbers;

    #[test]
    fn what_is_left_out_changes_nothing_else() {
        let whole = Drawn::new(7, &LeftOut::default()).unwrap();
        let smaller = |left_out| Drawn::new(7, &left_out).unwrap();
        let by_default = LeftOut::default;
        let steps = smaller(LeftOut { steps: Numbers([2, 3].into()), ..by_default() });
        assert_eq!((steps.knobs(), steps.clients()), (whole.knobs(), whole.clients()));
        assert_eq!(steps.steps().len(), whole.steps().len() - 2);
        let usual = smaller(LeftOut { usual: vec![ALL.into()], clients: Some(1), ..by_default() });
        assert_eq!((usual.knobs(), usual.clients()), (Vec::new(), 1));
        assert_eq!(usual.plan.lines(), whole.plan.lines());
    }

    #[test]
    fn what_there_is_not_cannot_be_left_out() {
        assert!(Drawn::new(7, &LeftOut { steps: Numbers([1000].into()), ..LeftOut::default() }).is_err());
        assert!(Drawn::new(7, &LeftOut { usual: vec!["colour".into()], ..LeftOut::default() }).is_err());
    }
}
