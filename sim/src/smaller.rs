//! What a failing run can do without: fault points, steps, knobs, clients.

use crate::ddmin::ddmin;
use quorate_sim::{ALL, LeftOut};

/// What a run has that could be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    pub points: Vec<String>,
    pub steps: Vec<u64>,
    pub knobs: Vec<String>,
    pub clients: u64,
}

impl Parts {
    /// How many are left of each sort.
    pub fn count(&self, left_out: &LeftOut) -> String {
        let points =
            self.points.iter().filter(|point| !out(left_out.without_points, &left_out.points, point));
        let steps = self.steps.iter().filter(|step| !left_out.steps.0.contains(step));
        let knobs = self.knobs.iter().filter(|knob| !usual(left_out, knob));
        let clients = left_out.clients.unwrap_or(self.clients);
        format!(
            "{} steps, {} points, {} knobs, {clients} clients",
            steps.count(),
            points.count(),
            knobs.count()
        )
    }
}

fn out(all: bool, named: &[String], name: &String) -> bool {
    all || named.contains(name)
}

fn usual(left_out: &LeftOut, knob: &String) -> bool {
    out(left_out.usual.iter().any(|name| name == ALL), &left_out.usual, knob)
}

/// Leaves out as much as the failure can do without, one sort after the other, until nothing more goes. `fails` is asked of
/// each thing several times and must remember.
pub fn smaller(parts: &Parts, from: &LeftOut, mut fails: impl FnMut(&LeftOut) -> bool) -> LeftOut {
    let mut now = from.clone();
    loop {
        let before = now.clone();
        now = fewer_points(parts, now, &mut fails);
        now = fewer_steps(parts, now, &mut fails);
        now = fewer_knobs(parts, now, &mut fails);
        now = fewer_clients(parts, now, &mut fails);
        if now == before {
            return now;
        }
    }
}

/// Those of `all` that are not among `kept`.
fn others<T: Clone + PartialEq>(all: &[T], kept: &[T]) -> Vec<T> {
    all.iter().filter(|one| !kept.contains(one)).cloned().collect()
}

/// Tries to leave out the parts that are still there; `next` is `now` with those of them that are kept.
fn fewer<T: Clone>(
    there: &[T],
    now: LeftOut,
    next: impl Fn(&[T]) -> LeftOut,
    fails: &mut impl FnMut(&LeftOut) -> bool,
) -> LeftOut {
    let kept = ddmin(there, |kept| fails(&next(kept)));
    if kept.len() < there.len() { next(&kept) } else { now }
}

fn fewer_points(parts: &Parts, now: LeftOut, fails: &mut impl FnMut(&LeftOut) -> bool) -> LeftOut {
    let there: Vec<String> =
        parts.points.iter().filter(|point| !out(now.without_points, &now.points, point)).cloned().collect();
    let (base, here) = (now.clone(), there.clone());
    let next = move |kept: &[String]| match kept {
        // Smaller runs may come by others.
        [] => LeftOut { points: Vec::new(), without_points: true, ..base.clone() },
        _ => LeftOut { points: [&base.points[..], &others(&here, kept)].concat(), ..base.clone() },
    };
    fewer(&there, now, next, fails)
}

fn fewer_steps(parts: &Parts, now: LeftOut, fails: &mut impl FnMut(&LeftOut) -> bool) -> LeftOut {
    let there = others(&parts.steps, &now.steps.0.iter().copied().collect::<Vec<_>>());
    let (base, here) = (now.clone(), there.clone());
    let next = move |kept: &[u64]| {
        let mut next = base.clone();
        next.steps.0.extend(others(&here, kept));
        next
    };
    fewer(&there, now, next, fails)
}

fn fewer_knobs(parts: &Parts, now: LeftOut, fails: &mut impl FnMut(&LeftOut) -> bool) -> LeftOut {
    let there: Vec<String> = parts.knobs.iter().filter(|knob| !usual(&now, knob)).cloned().collect();
    let (base, here) = (now.clone(), there.clone());
    let next = move |kept: &[String]| match kept {
        [] => LeftOut { usual: vec![ALL.to_owned()], ..base.clone() },
        _ => LeftOut { usual: [&base.usual[..], &others(&here, kept)].concat(), ..base.clone() },
    };
    fewer(&there, now, next, fails)
}

fn fewer_clients(parts: &Parts, now: LeftOut, fails: &mut impl FnMut(&LeftOut) -> bool) -> LeftOut {
    let with = |clients| LeftOut { clients: Some(clients), ..now.clone() };
    let less = (1..now.clients.unwrap_or(parts.clients)).map(with).find(|next| fails(next));
    less.unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_sim::Numbers;

    fn parts() -> Parts {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Parts {
            points: names(&["p", "q", "r"]),
            steps: (1..=12).collect(),
            knobs: names(&["k", "l", "m", "n"]),
            clients: 7,
        }
    }

    #[test]
    fn only_what_the_failure_needs_is_left() {
        let fails = |left_out: &LeftOut| {
            let needed = [4, 9].iter().all(|step| !left_out.steps.0.contains(step));
            let point = !out(left_out.without_points, &left_out.points, &"q".to_owned());
            needed && point && !usual(left_out, &"l".to_owned()) && left_out.clients.is_none_or(|n| n >= 3)
        };
        let left = smaller(&parts(), &LeftOut::default(), fails);
        assert_eq!(left.steps.to_string(), "1-3,5-8,10-12");
        assert_eq!(left.points, ["p", "r"]);
        assert_eq!((left.usual.join(","), left.clients), ("k,m,n".into(), Some(3)));
        assert_eq!(parts().count(&left), "2 steps, 1 points, 1 knobs, 3 clients");
    }

    #[test]
    fn what_is_not_needed_at_all_goes_at_once() {
        let mut tries = 0;
        let left = smaller(&parts(), &LeftOut::default(), |_| {
            tries += 1;
            true
        });
        assert_eq!(left.arguments().join(" "), "--without 1-12 --usual all --clients 1 --without-points");
        assert_eq!(tries, 4);
    }

    #[test]
    fn a_step_that_another_needs_goes_with_it() {
        // Step 2 must not stand alone, and a knob hides that both can go.
        let fails = |left_out: &LeftOut| {
            let has = |step: u64| !left_out.steps.0.contains(&step);
            usual(left_out, &"k".to_owned()) || (has(2) && has(3))
        };
        let left = smaller(&parts(), &LeftOut::default(), fails);
        assert_eq!(left.steps, Numbers((1..=12).collect()));
    }

    #[test]
    fn what_was_left_out_before_stays_out() {
        let from = LeftOut { steps: Numbers([1].into()), usual: vec!["k".into()], ..LeftOut::default() };
        let left = smaller(&parts(), &from, |_| false);
        assert_eq!(left, from);
        let left = smaller(&parts(), &from, |left_out| {
            usual(left_out, &"k".to_owned()) && !usual(left_out, &"n".to_owned())
        });
        assert_eq!(left.usual, ["k", "l", "m"]);
    }
}
