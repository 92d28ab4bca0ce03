//! What a run goes without, of all that its seed draws. As arguments, so that a smaller run can be asked for by one command.

use clap::Args;
use std::{collections::BTreeSet, fmt, str::FromStr};

/// Stands for all knobs.
pub const ALL: &str = "all";

#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Steps of the plan to leave out, by number
    #[arg(long = "without", value_name = "3,5-7", default_value = "", hide_default_value = true)]
    pub steps: Numbers,
    /// A fault point that is not to fire
    #[arg(long = "without-point", value_name = "NAME", value_delimiter = ',')]
    pub points: Vec<String>,
    /// No fault point is to fire
    #[arg(long)]
    pub without_points: bool,
    /// Knobs that stand at their usual values, or `all`
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub usual: Vec<String>,
    /// So many clients instead of those drawn
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub clients: Option<u64>,
    /// The same plan, knobs and fault points, but another course of what is drawn meanwhile: the network, the clients' work, who
    /// runs first
    #[arg(long, value_name = "K", default_value_t = 0, hide_default_value = true)]
    pub chance: u64,
}

impl LeftOut {
    /// The arguments that ask for the same again.
    pub fn arguments(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut add = |name: &str, value: String| {
            if !value.is_empty() {
                all.extend([name.to_owned(), value]);
            }
        };
        add("--without", self.steps.to_string());
        add("--without-point", self.points.join(","));
        add("--usual", self.usual.join(","));
        add("--clients", self.clients.map(|clients| clients.to_string()).unwrap_or_default());
        add("--chance", Some(self.chance).filter(|k| *k > 0).map(|k| k.to_string()).unwrap_or_default());
        all.extend(self.without_points.then(|| "--without-points".to_owned()));
        all
    }
}

/// Some numbers, written as `3,5-7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(pub BTreeSet<u64>);

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.trim().parse::<u64>().map_err(|_| format!("{text:?} is neither a number nor a range"))
        };
        let mut numbers = BTreeSet::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            numbers.extend(number(first)?..=number(last)?.min(10_000));
        }
        Ok(Numbers(numbers))
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &number in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        let shown = ranges.iter().map(|(first, last)| match last - first {
            0 => first.to_string(),
            _ => format!("{first}-{last}"),
        });
        f.write_str(&shown.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        left_out: LeftOut,
    }

    fn parsed(line: &[String]) -> LeftOut {
        Line::try_parse_from(std::iter::once("sim".to_owned()).chain(line.iter().cloned())).unwrap().left_out
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for text in ["", "3", "3,5-7", "1-2,4,6-9"] {
            assert_eq!(Numbers::from_str(text).unwrap().to_string(), text);
        }
        assert_eq!(Numbers::from_str("7, 5-6,5").unwrap().to_string(), "5-7");
        assert!(Numbers::from_str("a").is_err());
        assert!(Numbers::from_str("1-").is_err());
    }

    #[test]
    fn arguments_ask_for_the_same_again() {
        assert_eq!(parsed(&[]), LeftOut::default());
        let left_out = LeftOut {
            steps: Numbers([1, 2, 5].into()),
            points: vec!["txn.lost_answer".into(), "shard.late_closing".into()],
            without_points: true,
            usual: vec!["nodes".into(), "shake".into()],
            clients: Some(2),
            chance: 3,
        };
        assert_eq!(parsed(&left_out.arguments()), left_out);
        let line: Vec<String> = ["--clients", "0"].map(str::to_owned).into();
        assert!(Line::try_parse_from(std::iter::once("sim".to_owned()).chain(line)).is_err());
    }
}
