//! Several sources: each decodes the records of its topics in its own way.

use std::sync::Arc;

use floe_core::TopicPartition;
use floe_core::ports::{Decoder, DecoderFactory};

/// How the records of one of several sources are decoded.
pub struct SourceDecoder {
    pub name: String,
    pub topics: Vec<String>,
    pub decoder: Arc<dyn DecoderFactory>,
}

/// Makes the decoder of a partition's source.
pub struct SeveralDecoders {
    name: String,
    members: Vec<SourceDecoder>,
}

impl SeveralDecoders {
    /// At least one.
    pub fn new(members: Vec<SourceDecoder>) -> SeveralDecoders {
        // The checkpoint keeps the name: which topic is which source's is a part of what was decoded.
        let name = |it: &SourceDecoder| {
            format!("{} ({}): {}", it.name, it.topics.join(", "), it.decoder.name())
        };
        let name = members.iter().map(name).collect::<Vec<_>>().join("; ");
        SeveralDecoders { name, members }
    }
}

impl DecoderFactory for SeveralDecoders {
    fn name(&self) -> &str {
        &self.name
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        self.members[0].decoder.decoder()
    }

    fn decoder_of(&self, partition: &TopicPartition) -> Box<dyn Decoder> {
        let of = |it: &&SourceDecoder| it.topics.iter().any(|it| **it == *partition.topic);
        let found = self.members.iter().find(of).unwrap_or(&self.members[0]);
        found.decoder.decoder_of(partition)
    }
}
