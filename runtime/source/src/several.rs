//! Several sources as one: each has topics of its own, and is asked for those alone.

use std::time::{Duration, Instant};

use floe_core::ports::{PartitionFacts, Source, StartAt};
use floe_core::{Error, Position, Records, Result, TopicPartition};

/// One of several sources.
pub struct Member {
    pub source: Box<dyn Source>,
    /// No other member has them. What else the source holds is not looked at.
    pub topics: Vec<String>,
}

impl Member {
    fn has(&self, partition: &TopicPartition) -> bool {
        self.topics.iter().any(|it| **it == *partition.topic)
    }

    fn part_of(&self, position: &Position) -> Position {
        let own = position.0.iter().filter(|it| self.has(it.0));
        Position(own.map(|(partition, offset)| (partition.clone(), *offset)).collect())
    }
}

pub struct SeveralSources {
    members: Vec<Member>,
    /// The member that is waited for first.
    turn: usize,
}

/// One is waited for so long before the next is looked at.
const WAIT: Duration = Duration::from_millis(1);

impl SeveralSources {
    pub fn new(members: Vec<Member>) -> SeveralSources {
        SeveralSources { members, turn: 0 }
    }

    /// What is there now, of all of them.
    fn take(&mut self, records_max: usize) -> Result<Vec<Records>> {
        let mut all = Vec::new();
        for member in &mut self.members {
            all.extend(member.source.poll(Duration::ZERO, records_max)?);
        }
        Ok(all)
    }
}

impl Source for SeveralSources {
    fn partitions(&mut self) -> Result<Vec<PartitionFacts>> {
        let mut all = Vec::new();
        for member in &mut self.members {
            let found = member.source.partitions()?;
            let before = all.len();
            all.extend(found.into_iter().filter(|it| member.has(&it.topic_partition)));
            if all.len() == before {
                return Err(Error::invalid(format!(
                    "there are no records of {}, which one of the sources is to bring",
                    member.topics.join(", ")
                )));
            }
        }
        all.sort_by(|a, b| a.topic_partition.cmp(&b.topic_partition));
        Ok(all)
    }

    fn resolve_start(&mut self, partitions: &[TopicPartition], start: StartAt) -> Result<Position> {
        let mut all = Position::default();
        for member in &mut self.members {
            let own: Vec<TopicPartition> =
                partitions.iter().filter(|it| member.has(it)).cloned().collect();
            if !own.is_empty() {
                all.0.extend(member.source.resolve_start(&own, start)?.0);
            }
        }
        Ok(all)
    }

    fn assign(&mut self, position: &Position) -> Result<()> {
        for member in &mut self.members {
            let own = member.part_of(position);
            member.source.assign(&own)?;
        }
        Ok(())
    }

    /// A silent source never keeps the others waiting.
    fn poll(&mut self, timeout: Duration, records_max: usize) -> Result<Vec<Records>> {
        let begin = Instant::now();
        loop {
            let all = self.take(records_max)?;
            let left = timeout.saturating_sub(begin.elapsed());
            if !all.is_empty() || left.is_zero() {
                return Ok(all);
            }
            self.turn = (self.turn + 1) % self.members.len();
            let waited = self.members[self.turn].source.poll(WAIT.min(left), records_max)?;
            if !waited.is_empty() {
                return Ok(waited);
            }
        }
    }

    fn report(&mut self, committed: &Position) -> Result<()> {
        for member in &mut self.members {
            let own = member.part_of(committed);
            if !own.0.is_empty() {
                member.source.report(&own)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use floe_core::Offset;

    use super::*;
    use crate::RecordingSource;

    fn recording(lines: &[&str]) -> (tempfile::NamedTempFile, Box<dyn Source>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        lines.iter().for_each(|it| writeln!(file, "{it}").unwrap());
        let source = RecordingSource::open(file.path(), "own").unwrap();
        (file, Box::new(source))
    }

    fn member(source: Box<dyn Source>, topic: &str) -> Member {
        Member { source, topics: vec![topic.to_owned()] }
    }

    const LINES: [&str; 4] = [
        r#"{"topic":"orders","partition":0,"offset":0,"value":"a"}"#,
        r#"{"topic":"rates","partition":0,"offset":0,"value":"r"}"#,
        r#"{"topic":"orders","partition":1,"offset":7,"value":"b"}"#,
        r#"{"topic":"else","partition":0,"offset":0,"value":"x"}"#,
    ];

    /// Two members may read one file: each has its own topics of it.
    #[test]
    fn each_member_has_its_own_topics_alone() {
        let (_a, orders) = recording(&LINES);
        let (_b, rates) = recording(&LINES);
        let members = vec![member(rates, "rates"), member(orders, "orders")];
        let mut both = SeveralSources::new(members);
        let facts = both.partitions().unwrap();
        let names: Vec<String> = facts.iter().map(|it| it.topic_partition.to_string()).collect();
        assert_eq!(names, ["orders/0", "orders/1", "rates/0"]);
        let partitions: Vec<_> = facts.into_iter().map(|it| it.topic_partition).collect();
        let mut position = both.resolve_start(&partitions, StartAt::Earliest).unwrap();
        assert_eq!(position.0[&TopicPartition::new("orders", 1)], Offset(7));
        position.0.insert(TopicPartition::new("orders", 0), Offset(1));
        both.assign(&position).unwrap();
        let mut found = Vec::new();
        for _ in 0..4 {
            for records in both.poll(Duration::ZERO, 100).unwrap() {
                let topic = records.topic_partition().to_string();
                found.extend(records.iter().map(|it| (topic.clone(), it.offset().0)));
            }
        }
        found.sort();
        assert_eq!(found, [("orders/1".to_owned(), 7), ("rates/0".to_owned(), 0)]);
    }

    #[test]
    fn a_member_without_records_is_named() {
        let (_a, orders) = recording(&LINES);
        let (_b, other) = recording(&LINES);
        let mut both =
            SeveralSources::new(vec![member(orders, "orders"), member(other, "missing")]);
        assert!(both.partitions().unwrap_err().message.contains("no records of missing"));
    }
}
