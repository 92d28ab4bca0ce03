//! PostgreSQL's choice among functions or operators of one name (manual 10.2 and 10.3; `parse_func.c`, `parse_oper.c`).

use super::cast::coercible;
use super::catalog::Entry;
use super::scalar::Variadic;
use crate::types::{Category, PgType};

pub(crate) enum Choice<'a> {
    One(&'a Entry),
    Ambiguous,
    None,
}

/// The declared type at a position; `None` where anything goes.
fn param(entry: &Entry, at: usize) -> Option<PgType> {
    entry.params.get(at).copied()
}

fn accepts_count(entry: &Entry, count: usize) -> bool {
    match entry.variadic {
        Variadic::No => entry.params.len() == count,
        Variadic::Any => count > entry.params.len(),
        Variadic::One => count == entry.params.len() + 1,
    }
}

pub(crate) fn choose<'a>(entries: &'a [Entry], args: &[PgType], operator: bool) -> Choice<'a> {
    let of_count: Vec<&Entry> = entries.iter().filter(|e| accepts_count(e, args.len())).collect();
    // An exact match wins. For an operator, an unknown side is first taken to be of the other side's type.
    let mut exact = args.to_vec();
    if operator && let [left, right] = &mut exact[..] {
        match (*left, *right) {
            (PgType::Unknown, known) => *left = known,
            (known, PgType::Unknown) => *right = known,
            _ => {}
        }
    }
    if !exact.contains(&PgType::Unknown) {
        let hit = of_count.iter().find(|e| e.variadic == Variadic::No && e.params == exact);
        if let Some(entry) = hit {
            return Choice::One(entry);
        }
    }
    let usable: Vec<&Entry> = of_count
        .into_iter()
        .filter(|e| args.iter().enumerate().all(|(i, ty)| param(e, i).is_none_or(|p| coercible(*ty, p))))
        .collect();
    match usable[..] {
        [] => Choice::None,
        [one] => Choice::One(one),
        _ => best(usable, args),
    }
}

/// Keeps the candidates that score highest.
fn keep_best(candidates: Vec<&Entry>, score: impl Fn(&Entry) -> usize) -> Vec<&Entry> {
    let top = candidates.iter().map(|e| score(e)).max().unwrap_or(0);
    candidates.into_iter().filter(|e| score(e) == top).collect()
}

fn best<'a>(candidates: Vec<&'a Entry>, args: &[PgType]) -> Choice<'a> {
    let known = |i: usize| args[i] != PgType::Unknown;
    // varchar has no operators of its own: it counts as text.
    let base = |ty: PgType| if ty == PgType::Varchar { PgType::Text } else { ty };
    let candidates = keep_best(candidates, |e| {
        (0..args.len()).filter(|&i| known(i) && param(e, i) == Some(base(args[i]))).count()
    });
    if let [one] = candidates[..] {
        return Choice::One(one);
    }
    let candidates = keep_best(candidates, |e| {
        (0..args.len())
            .filter(|&i| {
                known(i)
                    && param(e, i).is_some_and(|p| {
                        p == base(args[i]) || (p.is_preferred() && p.category() == args[i].category())
                    })
            })
            .count()
    });
    if let [one] = candidates[..] {
        return Choice::One(one);
    }
    if (0..args.len()).all(known) {
        return Choice::Ambiguous;
    }
    let candidates = match by_category(&candidates, args) {
        Some(kept) => kept,
        None => candidates,
    };
    if let [one] = candidates[..] {
        return Choice::One(one);
    }
    // If all known arguments are of one type, the unknown ones may be too.
    let mut known_types = args.iter().copied().filter(|t| *t != PgType::Unknown);
    if let Some(first) = known_types.next()
        && known_types.all(|t| t == first)
    {
        let fitting: Vec<&&Entry> = candidates
            .iter()
            .filter(|e| {
                (0..args.len())
                    .all(|i| param(e, i).is_none_or(|p| if known(i) { true } else { coercible(first, p) }))
            })
            .collect();
        if let [one] = fitting[..] {
            return Choice::One(one);
        }
        let same: Vec<&&Entry> = candidates
            .iter()
            .filter(|e| (0..args.len()).all(|i| known(i) || param(e, i) == Some(first)))
            .collect();
        if let [one] = same[..] {
            return Choice::One(one);
        }
    }
    Choice::Ambiguous
}

/// Decides the category of each unknown argument (strings win) and keeps what accepts them; `None` when the candidates disagree.
fn by_category<'a>(candidates: &[&'a Entry], args: &[PgType]) -> Option<Vec<&'a Entry>> {
    let mut wanted: Vec<Option<(Category, bool)>> = vec![None; args.len()];
    for (i, slot) in wanted.iter_mut().enumerate() {
        if args[i] != PgType::Unknown {
            continue;
        }
        let types: Vec<PgType> = candidates.iter().filter_map(|e| param(e, i)).collect();
        let category = if types.iter().any(|t| t.category() == Category::String) {
            Category::String
        } else {
            let first = types.first()?.category();
            if types.iter().any(|t| t.category() != first) {
                return None;
            }
            first
        };
        let preferred = types.iter().any(|t| t.category() == category && t.is_preferred());
        *slot = Some((category, preferred));
    }
    let kept: Vec<&Entry> = candidates
        .iter()
        .copied()
        .filter(|e| {
            wanted.iter().enumerate().all(|(i, slot)| match (slot, param(e, i)) {
                (Some((category, preferred)), Some(p)) => {
                    p.category() == *category && (!preferred || p.is_preferred())
                }
                // A parameter of any type has no category to match by.
                (Some(_), None) => false,
                _ => true,
            })
        })
        .collect();
    if kept.is_empty() { None } else { Some(kept) }
}
